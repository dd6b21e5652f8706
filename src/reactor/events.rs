//! System event triggers: what is to happen before, during and after an event such as shutdown.
//!
//! # The idea
//!
//! An event has a name; `"startup"` and `"shutdown"` are the reactor's own, any other may be fired by users.
//! Triggers are grouped in three phases. Those *before* may return a Deferred, and the event goes on when all
//! of them have fired or failed, while the loop turns as usual.
//!
//! # Invariants
//!
//! 1. Within a phase the triggers run in the order they were added.
//! 2. One firing uses the triggers up. One that was added during a phase of the event being fired runs in that
//!    phase, if it was not over.
//! 3. A trigger that panics or fails is reported and does not keep the others from running.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::Reactor;
use crate::defer::{Deferred, IntoOutcome, Outcome};
use crate::report::{self, Origin};

/// When a trigger runs: before, during or after its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// First. A Deferred returned here is waited for.
    Before,
    /// When everything *before* is done. At shutdown all connections have been lost by now.
    During,
    /// Last.
    After,
}

/// Names a trigger that was added, to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TriggerId(u64);

/// All triggers of a reactor.
#[derive(Default)]
pub(super) struct Triggers {
    list: RefCell<VecDeque<Trigger>>,
    next: Cell<u64>,
}

struct Trigger {
    id: TriggerId,
    event: String,
    phase: Phase,
    place: &'static Location<'static>,
    call: Box<dyn FnOnce() -> Outcome<()>>,
}

impl Triggers {
    fn add(
        &self,
        event: &str,
        phase: Phase,
        place: &'static Location<'static>,
        call: Call,
    ) -> TriggerId {
        let id = TriggerId(self.next.get());
        self.next.set(id.0 + 1);
        self.list.borrow_mut().push_back(Trigger {
            id,
            event: event.to_owned(),
            phase,
            place,
            call,
        });
        id
    }

    fn remove(&self, id: TriggerId) -> Option<Trigger> {
        let mut list = self.list.borrow_mut();
        let at = list.iter().position(|trigger| trigger.id == id)?;
        list.remove(at)
    }

    fn next(&self, event: &str, phase: Phase) -> Option<Trigger> {
        let mut list = self.list.borrow_mut();
        let at = list
            .iter()
            .position(|trigger| trigger.phase == phase && trigger.event == event)?;
        list.remove(at)
    }

    /// Runs one phase; gives what it has to wait for.
    fn run(&self, event: &str, phase: Phase) -> Vec<(Deferred<()>, &'static Location<'static>)> {
        let mut waits = Vec::new();
        while let Some(Trigger { call, place, .. }) = self.next(event, phase) {
            match report::contain_rarely(Origin::Trigger, place, call) {
                Some(Outcome::Wait(deferred)) => waits.push((deferred, place)),
                Some(Outcome::Ready(Err(failure))) => {
                    report::deliver(Origin::Trigger, failure, place)
                }
                Some(Outcome::Ready(Ok(()))) | None => {}
            }
        }
        waits
    }

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        let list = self.list.take();
        for trigger in list {
            report::discard(trigger.call, trigger.place);
        }
    }
}

impl Reactor {
    /// Has `f` called before, during or after an event: `"startup"`, `"shutdown"`, or a name of one's own.
    ///
    /// `f` may return nothing, `Ok`/`Err`, a Deferred or an async block. The event waits for what is returned
    /// *before* it; what is returned in the other phases runs by itself.
    ///
    /// # Order
    ///
    /// Before, during, after; within each as they were added. At shutdown, all connections are lost between
    /// *before* and *during*: whoever wants to close politely does so *before*.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use torsade::{Clock, Failure, Phase};
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let clock = reactor.clone();
    ///     reactor.add_system_event_trigger(Phase::Before, "shutdown", async move || {
    ///         clock.sleep(Duration::from_millis(1)).await?;
    ///         println!("all is saved");
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias = "addSystemEventTrigger")]
    #[track_caller]
    pub fn add_system_event_trigger<V, R: IntoOutcome<V, Value = ()>>(
        &self,
        phase: Phase,
        event: &str,
        f: impl FnOnce() -> R + 'static,
    ) -> TriggerId {
        let place = Location::caller();
        let call = Box::new(move || f().into_outcome(place));
        let id = self.inner().triggers.add(event, phase, place, call);
        if self.has_ended() {
            // There is no event to come, so it is dropped at once.
            self.remove_system_event_trigger(id);
        }
        id
    }

    /// Removes a trigger; `false` if it ran already or was removed before.
    #[doc(alias = "removeSystemEventTrigger")]
    pub fn remove_system_event_trigger(&self, id: TriggerId) -> bool {
        match self.inner().triggers.remove(id) {
            Some(trigger) => {
                report::discard(trigger.call, trigger.place);
                true
            }
            None => false,
        }
    }

    /// Fires an event of one's own: runs its triggers and uses them up.
    ///
    /// # Order
    ///
    /// The triggers *before* run inside this call, and so do the rest unless one of them is to be waited for.
    #[doc(alias = "fireSystemEvent")]
    pub fn fire_system_event(&self, event: &str) {
        self.fire(event, |_| Deferred::succeed(()), |_| {}, |_| {});
    }

    /// Fires an event, with something of the reactor's own to wait for when everything *before* is done, at the
    /// beginning of *during*, and at the very end.
    pub(super) fn fire(
        &self,
        event: &str,
        ready: impl FnOnce(&Self) -> Deferred<()> + 'static,
        during: impl FnOnce(&Self) + 'static,
        end: impl FnOnce(&Self) + 'static,
    ) {
        let waits = self.inner().triggers.run(event, Phase::Before);
        let (weak, event) = (self.downgrade(), event.to_owned());
        let rest = move || {
            let Some(reactor) = weak.upgrade() else {
                return;
            };
            let go_on = move || {
                let Some(reactor) = weak.upgrade() else {
                    return;
                };
                during(&reactor);
                for phase in [Phase::During, Phase::After] {
                    for (deferred, place) in reactor.inner().triggers.run(&event, phase) {
                        report_failure(deferred, place);
                    }
                }
                end(&reactor);
            };
            drop(ready(&reactor).add_both(move |_| go_on()));
        };
        if waits.is_empty() {
            return rest();
        }
        let left = Rc::new(Cell::new(waits.len()));
        let rest = Rc::new(Cell::new(Some(rest)));
        for (deferred, place) in waits {
            let (left, rest) = (left.clone(), rest.clone());
            let executor = self.inner().executor.clone();
            drop(deferred.add_both(move |result| {
                if let Err(failure) = result {
                    report::deliver(Origin::Trigger, failure, place);
                }
                left.set(left.get() - 1);
                if left.get() == 0 {
                    // From the loop's turn, for this may be inside a hook of what is about to be lost.
                    if let Some(rest) = rest.take() {
                        executor.call(place, rest);
                    }
                }
            }));
        }
    }
}

impl fmt::Debug for Triggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Triggers")
            .field("waiting", &self.list.borrow().len())
            .finish()
    }
}

fn report_failure(deferred: Deferred<()>, place: &'static Location<'static>) {
    drop(deferred.add_errback(move |failure| report::deliver(Origin::Trigger, failure, place)));
}

type Call = Box<dyn FnOnce() -> Outcome<()>>;
