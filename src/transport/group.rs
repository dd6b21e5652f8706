//! Many connections that are written to together: [`Group`].

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::Transport;

/// A set of connections that are written to together. Clones are handles to the same set.
///
/// Connections that have ended leave the group by themselves. Writing queues the bytes; the loop
/// sends them.
///
/// # Examples
///
/// ```
/// use torsade::{Context, Group, Protocol};
///
/// struct Member { room: Group }
///
/// impl Protocol for Member {
///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
///         self.room.join(cx);
///     }
///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
///         self.room.write_others(cx, data);
///     }
/// }
/// ```
#[derive(Clone, Default)]
pub struct Group {
    members: Rc<RefCell<Vec<Transport>>>,
}

impl Group {
    /// Makes an empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a connection. In a hook, pass `cx`.
    pub fn join(&self, member: &Transport) {
        let mut members = self.members.borrow_mut();
        members.retain(Transport::is_connected);
        if !members.iter().any(|other| other.ptr_eq(member)) {
            members.push(member.clone());
        }
    }

    /// Removes a connection.
    pub fn leave(&self, member: &Transport) {
        self.members
            .borrow_mut()
            .retain(|other| !other.ptr_eq(member));
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
    /// [`Transport::lose_connection`] does. The group is empty then.
    #[doc(alias("close", "loseConnection"))]
    pub fn lose_connections(&self) {
        for member in self.take() {
            member.lose_connection();
        }
    }

    /// Closes all connections after their queued bytes have been sent, and aborts those for which
    /// that takes longer than `limit`. The group is empty then.
    pub fn lose_connections_within(&self, limit: Duration) {
        for member in self.take() {
            member.lose_connection_within(limit);
        }
    }

    /// Aborts all connections at once, as [`Transport::abort_connection`] does. The group is empty
    /// then.
    #[doc(alias = "abortConnection")]
    pub fn abort_connections(&self) {
        for member in self.take() {
            member.abort_connection();
        }
    }

    fn connected(&self) -> Vec<Transport> {
        let mut members = self.members.borrow_mut();
        members.retain(Transport::is_connected);
        members.clone()
    }

    fn take(&self) -> Vec<Transport> {
        let mut members = self.members.take();
        members.retain(Transport::is_connected);
        members
    }

    /// Returns the number of connections in the group.
    pub fn len(&self) -> usize {
        let mut members = self.members.borrow_mut();
        members.retain(Transport::is_connected);
        members.len()
    }

    /// Returns whether no connection is in the group.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write_where(&self, bytes: &[u8], wanted: impl Fn(&Transport) -> bool) {
        let mut members = self.members.borrow_mut();
        members.retain(Transport::is_connected);
        // Writing runs no user code, so the set may stay borrowed.
        for member in members.iter().filter(|member| wanted(member)) {
            member.write(bytes);
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
