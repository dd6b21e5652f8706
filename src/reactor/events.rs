//! System event triggers: functions that are called before, during and after an event such as
//! shutdown.
//!
//! # The idea
//!
//! An event has a name; the reactor fires `"startup"` and `"shutdown"`, and programs may fire any
//! other. Triggers are grouped in three phases. Those *before* may return a Deferred, and the event
//! goes on when all of them have fired or failed, while the loop turns as usual.
//!
//! # Invariants
//!
//! 1. Within a phase the triggers run in the order they were added.
//! 2. A trigger runs once. A trigger that is added while its event is being fired runs in this
//!    firing if its phase is not over.
//! 3. A trigger that panics or fails is reported and does not keep the others from running.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use super::{Reactor, WeakReactor};
use crate::defer::{Deferred, IntoOutcome, Outcome};
use crate::failure::Failure;
use crate::report::{self, Origin};
use crate::spans;

/// When a trigger runs: before, during or after its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Runs first. The event waits for the Deferreds that triggers of this phase return.
    Before,
    /// Runs after all triggers *before* are done. At shutdown all connections were closed by then.
    During,
    /// Runs last.
    After,
}

/// A handle to a trigger, to remove it. Dropping the handle does not remove the trigger.
#[derive(Clone)]
pub struct Trigger {
    id: u64,
    reactor: WeakReactor,
}

impl Trigger {
    /// Removes the trigger. Returns `false` when it had run or was removed before.
    #[doc(alias = "removeSystemEventTrigger")]
    pub fn remove(&self) -> bool {
        let reactor = self.reactor.upgrade();
        let removed = reactor.and_then(|reactor| reactor.inner().triggers.remove(self.id));
        match removed {
            Some(entry) => {
                report::discard(entry.call, entry.location);
                true
            }
            None => false,
        }
    }
}

/// All triggers of a reactor.
#[derive(Default)]
pub(super) struct Triggers {
    list: RefCell<VecDeque<Entry>>,
    next: Cell<u64>,
}

struct Entry {
    id: u64,
    event: String,
    phase: Phase,
    location: &'static Location<'static>,
    call: Box<dyn FnOnce() -> Outcome<()>>,
}

impl Triggers {
    fn add(
        &self,
        event: &str,
        phase: Phase,
        location: &'static Location<'static>,
        call: Call,
    ) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        self.list.borrow_mut().push_back(Entry {
            id,
            event: event.to_owned(),
            phase,
            location,
            call,
        });
        id
    }

    fn remove(&self, id: u64) -> Option<Entry> {
        let mut list = self.list.borrow_mut();
        let at = list.iter().position(|trigger| trigger.id == id)?;
        list.remove(at)
    }

    fn next(&self, event: &str, phase: Phase) -> Option<Entry> {
        let mut list = self.list.borrow_mut();
        let at = list
            .iter()
            .position(|trigger| trigger.phase == phase && trigger.event == event)?;
        list.remove(at)
    }

    /// Runs one phase; returns the Deferreds that the event waits for.
    fn run(&self, event: &str, phase: Phase) -> Vec<(Deferred<()>, &'static Location<'static>)> {
        let mut waits = Vec::new();
        while let Some(Entry { call, location, .. }) = self.next(event, phase) {
            match report::contain_rarely(Origin::Trigger, location, call) {
                Some(Outcome::Wait(deferred)) => waits.push((deferred, location)),
                Some(Outcome::Ready(Err(failure))) => {
                    report::deliver(Origin::Trigger, failure, location)
                }
                Some(Outcome::Ready(Ok(()))) | None => {}
            }
        }
        waits
    }

    /// Drops all triggers.
    pub(super) fn clear(&self) {
        let list = self.list.take();
        for trigger in list {
            report::discard(trigger.call, trigger.location);
        }
    }
}

/// # Events of the reactor
impl Reactor {
    /// Adds a trigger: calls `f` before, during or after an event, which is `"startup"`,
    /// `"shutdown"`, or one that the program [fires](Reactor::fire_system_event).
    ///
    /// `f` may return nothing, `Ok`/`Err`, a Deferred or an async block. The event waits for the
    /// Deferreds and async blocks that triggers *before* it return, and does not wait for those of
    /// the other phases. A panic or failure of a trigger is reported, and the event goes on.
    ///
    /// A trigger is called once. A trigger of an event that does not come, such as `"startup"`
    /// when the reactor runs already, is not called.
    ///
    /// # Order
    ///
    /// Before, during, after; within a phase in the order of the calls. At shutdown the reactor
    /// closes all connections between *before* and *during*, so a program that says goodbye to its
    /// peers does so *before*. A trigger *after* `"startup"` is Twisted's `callWhenRunning`; when
    /// the reactor runs already, use [`Reactor::call_soon`].
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
    #[doc(alias("addSystemEventTrigger", "callWhenRunning", "call_when_running"))]
    #[track_caller]
    pub fn add_system_event_trigger<V, R: IntoOutcome<V, Value = ()>>(
        &self,
        phase: Phase,
        event: &str,
        f: impl FnOnce() -> R + 'static,
    ) -> Trigger {
        let location = Location::caller();
        let span = spans::current();
        let call = Box::new(move || spans::within(span, || f().into_outcome(location)));
        let trigger = Trigger {
            id: self.inner().triggers.add(event, phase, location, call),
            reactor: self.downgrade(),
        };
        if self.has_ended() {
            // The event cannot come any more, so the trigger is dropped at once.
            trigger.remove();
        }
        trigger
    }

    /// Fires an event that the program defines: runs its triggers and removes them. Without
    /// triggers it does nothing.
    ///
    /// # Order
    ///
    /// The triggers *before* the event run inside this call. If the event has to wait for none of
    /// them, the triggers of the other phases run inside this call as well; otherwise they run in a
    /// later turn, when the Deferreds of the triggers *before* have fired.
    #[doc(alias = "fireSystemEvent")]
    pub fn fire_system_event(&self, event: &str) {
        self.fire(
            event,
            |_| Deferred::succeed(()),
            Box::new(|_| {}),
            Box::new(|_| {}),
        );
    }

    /// Fires an event. The reactor's own functions run with it: one to wait for after the triggers
    /// *before*, one at the beginning of *during*, and one at the very end.
    pub(super) fn fire(
        &self,
        event: &str,
        ready: fn(&Self) -> Deferred<()>,
        during: Box<dyn FnOnce(&Self)>,
        end: Box<dyn FnOnce(&Self)>,
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
                    for (deferred, location) in reactor.inner().triggers.run(&event, phase) {
                        report_failure(deferred, location);
                    }
                }
                end(&reactor);
            };
            when_done(ready(&reactor), Box::new(move |_| go_on()));
        };
        if waits.is_empty() {
            return rest();
        }
        let left = Rc::new(Cell::new(waits.len()));
        let rest = Rc::new(Cell::new(Some(rest)));
        for (deferred, location) in waits {
            let (left, rest) = (left.clone(), rest.clone());
            let executor = self.inner().executor.clone();
            let done = move |result| {
                if let Err(failure) = result {
                    report::deliver(Origin::Trigger, failure, location);
                }
                left.set(left.get() - 1);
                if left.get() == 0 {
                    // From the loop's turn, because this call may be inside a hook of a connection
                    // that is about to be lost.
                    if let Some(rest) = rest.take() {
                        executor.call(location, rest);
                    }
                }
            };
            when_done(deferred, Box::new(done));
        }
    }
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trigger").field(&self.id).finish()
    }
}

impl fmt::Debug for Triggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Triggers")
            .field("waiting", &self.list.borrow().len())
            .finish()
    }
}

fn report_failure(deferred: Deferred<()>, location: &'static Location<'static>) {
    let done = move |result| {
        if let Err(failure) = result {
            report::deliver(Origin::Trigger, failure, location);
        }
    };
    when_done(deferred, Box::new(done));
}

/// Calls `f` with the result: one type of callback for all triggers.
pub(super) fn when_done(deferred: Deferred<()>, f: Box<dyn FnOnce(Result<(), Failure>)>) {
    drop(deferred.add_both(f));
}

type Call = Box<dyn FnOnce() -> Outcome<()>>;
