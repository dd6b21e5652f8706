//! Who holds what a line has given out: remembered in debug mode, for dumps.
//!
//! A guard owns its [`Grant`]; the line knows the grants weakly. Outside of debug mode there are none.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::{Rc, Weak};

use crate::debug::{self, Thing};
use crate::defer::{Deferred, Resolver};
use crate::task::{self, Wait};

/// That something was given out.
pub(crate) struct Grant {
    count: usize,
    /// Where it was asked for.
    since: &'static Location<'static>,
    /// Who has it; nobody if that is not known.
    holder: RefCell<Option<Rc<dyn Wait>>>,
}

/// What a guard has of it: nothing outside of debug mode.
pub(crate) type Granted = Option<Rc<Grant>>;

/// A guard, or what else a line gives out.
pub(super) trait Held {
    fn granted(&self) -> &Granted;

    /// It is held until this Deferred has its result.
    fn is_held_by<T: 'static>(&self, deferred: &Deferred<T>) {
        if let Some(grant) = self.granted() {
            drop(grant.holder.replace(Some(deferred.tracker())));
        }
    }
}

/// What a line has given out.
#[derive(Default)]
pub(super) struct Grants(RefCell<Vec<Weak<Grant>>>);

impl Grants {
    /// To whoever runs now.
    #[inline]
    pub(super) fn to_caller(&self, count: usize, since: &'static Location<'static>) -> Granted {
        debug::is_on().then(|| {
            let info = task::current_info();
            self.add(count, since, info.map(|info| -> Rc<dyn Wait> { info }))
        })
    }

    /// To the Deferred of this resolver.
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
            // Weak handles are nobody's code: nothing runs under the borrow.
            grants.retain(|grant| grant.strong_count() > 0);
            let more = grants.len().max(1);
            grants.reserve(more);
        }
        grants.push(Rc::downgrade(&grant));
        grant
    }

    /// Those that are still held, as text, each begun by `count`; and who holds them.
    pub(super) fn tell(&self, count: impl Fn(usize) -> String) -> (Vec<String>, Vec<Thing>) {
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
                    Some(Thing { kind, name, .. }) => match name {
                        Some(name) => format!("{held} by {kind} `{name}` since {since}"),
                        None => format!("{held} by a {kind} since {since}"),
                    },
                };
                holders.extend(holder);
                text
            })
            .collect();
        if texts.len() > MOST {
            let left = texts.len() - MOST;
            texts.truncate(MOST);
            texts.push(format!("and {left} more"));
        }
        (texts, holders)
    }
}

/// So many holders are told in a line. Those that wait are shown below it all the same.
const MOST: usize = 5;
