//! Many connections that are written to together: [`Group`].

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::Transport;

/// A set of connections that are written to together. Clones are handles to the same set.
///
/// A connection that has ended, or that was asked to close, is no longer in the group. Writing
/// queues the bytes, as [`Transport::write`] does.
///
/// # Examples
///
/// ```
/// use torsade::{Context, Group, Protocol};
///
/// struct Member { group: Group }
///
/// impl Protocol for Member {
///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
///         self.group.join(cx);
///     }
///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
///         self.group.write_others(cx, data);
///     }
/// }
/// ```
#[derive(Clone, Default)]
pub struct Group {
    members: Rc<RefCell<Vec<Member>>>,
}

#[derive(Clone)]
struct Member {
    transport: Transport,
    name: Option<Rc<str>>,
}

impl Group {
    /// Makes an empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a connection, unless it is in the group already. A hook passes its `cx`.
    pub fn join(&self, member: &Transport) {
        self.add(member, None);
    }

    /// Adds a connection under a name, unless another member has that name; returns `false` if one
    /// has. A connection that is in the group already gets the name, in place of an earlier one.
    /// The name is free again when the connection closes or leaves.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::testing::Wire;
    /// use torsade::{Context, Group, Protocol};
    ///
    /// struct Member(Group);
    ///
    /// impl Protocol for Member {
    ///     fn data_received(&mut self, cx: &mut Context<'_, Self>, name: &[u8]) {
    ///         if !self.0.join_as(cx, &String::from_utf8_lossy(name)) {
    ///             cx.write("that name is taken");
    ///         }
    ///     }
    /// }
    ///
    /// let group = Group::new();
    /// let mut ann = Wire::new(Member(group.clone()));
    /// let mut other = Wire::new(Member(group.clone()));
    /// ann.send("ann");
    /// other.send("ann");
    /// assert_eq!(other.take_received(), b"that name is taken");
    /// assert_eq!(group.names(), ["ann"]);
    /// ann.send_eof();
    /// assert!(group.names().is_empty());
    /// other.send("ann");
    /// assert_eq!(group.names(), ["ann"]);
    /// ```
    pub fn join_as(&self, member: &Transport, name: &str) -> bool {
        self.add(member, Some(name))
    }

    fn add(&self, transport: &Transport, name: Option<&str>) -> bool {
        let mut members = self.present();
        let mut is_there = false;
        for member in members.iter_mut() {
            let is_same = member.transport.ptr_eq(transport);
            if !is_same && name.is_some() && member.name.as_deref() == name {
                return false;
            }
            is_there |= is_same;
        }
        if !is_there {
            members.push(Member {
                transport: transport.clone(),
                name: None,
            });
        }
        let member = members
            .iter_mut()
            .find(|member| member.transport.ptr_eq(transport));
        if let (Some(member), Some(name)) = (member, name) {
            member.name = Some(name.into());
        }
        true
    }

    /// Returns the names of the members that have one, in the order in which they joined.
    pub fn names(&self) -> Vec<String> {
        let members = self.present();
        let names = members.iter().filter_map(|member| member.name.as_deref());
        names.map(String::from).collect()
    }

    /// Returns the name of a member, or `None` when it has no name or is not in the group. A
    /// connection leaves the group when it is closed or ends: at a reset, before `connection_lost`
    /// is called.
    pub fn name_of(&self, member: &Transport) -> Option<String> {
        let members = self.present();
        let found = members.iter().find(|other| other.transport.ptr_eq(member));
        found.and_then(|member| member.name.as_deref().map(String::from))
    }

    /// Returns the connection of the member with this name, if there is one.
    pub fn find(&self, name: &str) -> Option<Transport> {
        let members = self.present();
        let found = members
            .iter()
            .find(|member| member.name.as_deref() == Some(name));
        found.map(|member| member.transport.clone())
    }

    /// Borrows the members that are connected, for statements that run no user code.
    fn present(&self) -> RefMut<'_, Vec<Member>> {
        let mut members = self.members.borrow_mut();
        members.retain(|member| member.transport.is_connected());
        members
    }

    /// Removes a connection; does nothing when it is not in the group.
    pub fn leave(&self, member: &Transport) {
        self.members
            .borrow_mut()
            .retain(|other| !other.transport.ptr_eq(member));
    }

    /// Writes to all connections of the group.
    pub fn write(&self, bytes: impl AsRef<[u8]>) {
        self.write_where(bytes.as_ref(), |_| true);
    }

    /// Writes to all connections of the group except `but`.
    pub fn write_others(&self, but: &Transport, bytes: impl AsRef<[u8]>) {
        self.write_where(bytes.as_ref(), |member| !member.ptr_eq(but));
    }

    /// Returns the connections that are in the group now, in the order in which they joined.
    ///
    /// The list does not change when connections join, leave or end afterwards.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Group;
    ///
    /// fn peers(group: &Group) -> Vec<torsade::Address> {
    ///     group.iter().map(|member| member.peer()).collect()
    /// }
    /// assert!(peers(&Group::new()).is_empty());
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = Transport> + use<> {
        self.connected().into_iter()
    }

    /// Returns whether a connection is in the group.
    pub fn contains(&self, member: &Transport) -> bool {
        self.connected().iter().any(|other| other.ptr_eq(member))
    }

    /// Closes all connections after their queued bytes have been sent, as
    /// [`Transport::lose_connection`] does. The group is then empty.
    #[doc(alias("close", "loseConnection"))]
    pub fn lose_connections(&self) {
        for member in self.take() {
            member.lose_connection();
        }
    }

    /// Closes all connections after their queued bytes have been sent, and aborts those for which
    /// that takes longer than `limit`. The group is then empty.
    pub fn lose_connections_within(&self, limit: Duration) {
        for member in self.take() {
            member.lose_connection_within(limit);
        }
    }

    /// Aborts all connections at once, as [`Transport::abort_connection`] does. The group is then
    /// empty.
    #[doc(alias = "abortConnection")]
    pub fn abort_connections(&self) {
        for member in self.take() {
            member.abort_connection();
        }
    }

    fn connected(&self) -> Vec<Transport> {
        let members = self.present();
        members
            .iter()
            .map(|member| member.transport.clone())
            .collect()
    }

    fn take(&self) -> Vec<Transport> {
        let members = self.connected();
        self.members.take();
        members
    }

    /// Returns the number of connections in the group.
    pub fn len(&self) -> usize {
        self.present().len()
    }

    /// Returns whether no connection is in the group.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write_where(&self, bytes: &[u8], wanted: impl Fn(&Transport) -> bool) {
        // Writing runs no user code, so the set may stay borrowed.
        for member in self.present().iter() {
            if wanted(&member.transport) {
                member.transport.write(bytes);
            }
        }
    }
}

impl IntoIterator for &Group {
    type Item = Transport;
    type IntoIter = std::vec::IntoIter<Transport>;

    fn into_iter(self) -> Self::IntoIter {
        self.connected().into_iter()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).finish()
    }
}
