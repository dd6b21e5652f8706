//! The holders of what a queue has granted: recorded in debug mode, for dumps.
//!
//! A guard owns its [`Grant`]; the queue refers to the grants weakly. Outside of debug mode there
//! are none.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::{Rc, Weak};

use crate::debug::{self, DumpItem};
use crate::defer::{Deferred, Resolver};
use crate::task::{self, Wait};

/// The record of a granted value.
pub(crate) struct Grant {
    count: usize,
    /// The line that requested it.
    since: &'static Location<'static>,
    /// The holder; `None` if it is not known.
    holder: RefCell<Option<Rc<dyn Wait>>>,
}

/// A guard's reference to its record; `None` outside of debug mode.
pub(crate) type Granted = Option<Rc<Grant>>;

/// A guard, or another value that a queue grants.
pub(super) trait Held {
    fn granted(&self) -> &Granted;

    /// Records that this Deferred holds the guard until it has its result.
    fn is_held_by<T: 'static>(&self, deferred: &Deferred<T>) {
        if let Some(grant) = self.granted() {
            drop(grant.holder.replace(Some(deferred.tracker())));
        }
    }
}

/// The records of what a queue has granted.
#[derive(Default)]
pub(super) struct Grants(RefCell<Vec<Weak<Grant>>>);

impl Grants {
    /// Records a grant to the task that runs now.
    #[inline]
    pub(super) fn to_caller(&self, count: usize, since: &'static Location<'static>) -> Granted {
        debug::is_on().then(|| {
            let info = task::current_info();
            self.add(count, since, info.map(|info| -> Rc<dyn Wait> { info }))
        })
    }

    /// Records a grant to the Deferred of this resolver.
    #[inline]
    pub(super) fn to_waiter<T: 'static>(&self, count: usize, resolver: &Resolver<T>) -> Granted {
        debug::is_on().then(|| self.add(count, resolver.location(), Some(resolver.tracker())))
    }

    #[cold]
    fn add(
        &self,
        count: usize,
        since: &'static Location<'static>,
        holder: Option<Rc<dyn Wait>>,
    ) -> Rc<Grant> {
        let grant = Rc::new(Grant {
            count,
            since,
            holder: RefCell::new(holder),
        });
        let mut grants = self.0.borrow_mut();
        if grants.len() == grants.capacity() {
            // The entries are weak handles, so no user code runs under the borrow.
            grants.retain(|grant| grant.strong_count() > 0);
            let more = grants.len().max(1);
            grants.reserve(more);
        }
        grants.push(Rc::downgrade(&grant));
        grant
    }

    /// Returns the grants that are still held, as text that begins with what `count` returns, and
    /// their holders.
    pub(super) fn describe(&self, count: impl Fn(usize) -> String) -> (Vec<String>, Vec<DumpItem>) {
        let grants: Vec<_> = self.0.borrow().iter().filter_map(Weak::upgrade).collect();
        let mut holders = Vec::new();
        let mut texts: Vec<_> = grants
            .iter()
            .map(|grant| {
                let holder = grant.holder.borrow().clone();
                let holder = holder.and_then(|holder| holder.look());
                let (held, since) = (count(grant.count), grant.since);
                let text = match &holder {
                    None => format!("{held} since {since}"),
                    Some(DumpItem { kind, name, .. }) => match name {
                        Some(name) => format!("{held} by {kind} `{name}` since {since}"),
                        None => format!("{held} by a {kind} since {since}"),
                    },
                };
                holders.extend(holder);
                text
            })
            .collect();
        if texts.len() > MAX_HOLDERS {
            let left = texts.len() - MAX_HOLDERS;
            texts.truncate(MAX_HOLDERS);
            texts.push(format!("and {left} more"));
        }
        (texts, holders)
    }
}

/// The most holders that are named in a line. All waiters are shown below it.
const MAX_HOLDERS: usize = 5;
