//! [`Context`]: what the current thread is doing, the one thread local of the crate.
//!
//! A turn of a reactor, a poll of a task and a call of a callback record their state here, and
//! restore the earlier value when they end. Every field has a constant initial value and none has a
//! destructor, so an access is a load or a store at a fixed offset.
//!
//! This module is below all that run user code, so it cannot name their types. A [`Slot`] holds an
//! `Rc` of such a type, and the module that defines the type reads it back by that type.

use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::mem::ManuallyDrop;
use std::ptr::null;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::sync::thread_local;

/// What one thread is doing.
pub(crate) struct Context {
    /// The executor for new tasks, an `Rc`, and the address of its inbox, by which its tasks
    /// recognise it. Only `task/current_executor.rs` uses these two.
    pub(crate) executor: Cell<*const ()>,
    pub(crate) inbox: Cell<*const ()>,
    /// Whether a reactor is in a turn on this thread.
    pub(crate) in_turn: Cell<bool>,
    /// Whether that executor accepts work: no longer once it has been shut down.
    pub(crate) accepts_work: Cell<bool>,
    /// The number of batches that were begun and ended on this thread: odd while one runs.
    pub(crate) batches: Cell<u64>,
    /// The rest of the running task's budget, in bytes; see [`crate::task`].
    pub(crate) budget: Cell<usize>,
    /// Whether the running task has given way to others before that was used up.
    pub(crate) gave_way: Cell<bool>,
    /// How often tasks were refused since the limit of refusals was last reached.
    pub(crate) refusals: Cell<u32>,
    /// The info of the task that is being polled.
    pub(crate) task: Slot,
    /// The task-locals that are set.
    pub(crate) locals: Slot,
    /// The counted waker of the present poll.
    pub(crate) counted: Slot,
    /// The data of that waker; null when none is counted.
    pub(crate) counted_waker_data: Cell<*const ()>,
    /// The work for a loop that this thread does.
    pub(crate) work: Slot,
    /// Whether that work was cancelled: the value of its token.
    pub(crate) token: Held<Arc<AtomicBool>>,
    /// The address of the loop that the future just polled waits for; 0 for none.
    pub(crate) awaited_loop: Cell<usize>,
    /// The key of the connection for which user code runs, or [`NO_CONNECTION`].
    pub(crate) acting: Cell<usize>,
    /// The reactor that is in a turn, or was entered.
    pub(crate) reactor: Slot,
    /// The sink of reports; see [`crate::report`].
    pub(crate) sink: Slot,
    /// The number of calls in progress that may run callbacks, and whether a panic is kept.
    pub(crate) unwinding: Cell<usize>,
    /// The payload of the panic that is kept.
    pub(crate) payload: Held<Box<dyn Any + Send>>,
    /// The errors that wait to be dropped, while one is being dropped.
    pub(crate) errors: Held<Vec<Box<dyn Error + Send + Sync>>>,
    /// The number of reactors in debug mode on this thread.
    pub(crate) debugged: Cell<usize>,
    /// The watchdog of the turn, if it has one.
    pub(crate) watchdog: Slot,
    /// The part of the present measurement that was reported for code inside of it.
    pub(crate) blamed: Cell<Duration>,
    /// Whether the watchdog's own report runs, which is not measured.
    pub(crate) reporting: Cell<bool>,
    /// The coroutine that is being polled.
    pub(crate) coroutine: Slot,
    /// Grows with every poll of a coroutine.
    pub(crate) tick: Cell<u64>,
    /// Grows with every cancel.
    pub(crate) round: Cell<u64>,
    /// The number of dropped Deferreds that are being cancelled, one inside the other.
    pub(crate) cancelling: Cell<usize>,
    /// Dropped Deferreds that are nested too deeply to be cancelled there.
    pub(crate) to_cancel: Slot,
    /// The number of cancels of several Deferreds that run, one inside the other.
    pub(crate) grant_holds: Cell<usize>,
    /// The wait queues that are served after them.
    pub(crate) to_serve: Slot,
    /// Whether a record of TLS is to be put aside, and that record.
    #[cfg(feature = "tls")]
    pub(crate) takes_record: Cell<bool>,
    #[cfg(feature = "tls")]
    pub(crate) record: Held<Vec<u8>>,
    /// Whether a Deferred is being abandoned.
    pub(crate) abandoning: Cell<bool>,
    /// Deferreds that are abandoned after it.
    pub(crate) to_abandon: Slot,
    /// In debug mode: the trackers of results.
    pub(crate) traces: Slot,
    /// In debug mode: the Deferreds that are alive.
    pub(crate) live: Slot,
}

/// The key of no connection.
pub(crate) const NO_CONNECTION: usize = usize::MAX;

/// The budget outside a turn, which has no limit.
pub(crate) const UNLIMITED: usize = usize::MAX;

thread_local! {
    static CONTEXT: Context = const {
        Context {
            executor: Cell::new(null()),
            inbox: Cell::new(null()),
            in_turn: Cell::new(false),
            accepts_work: Cell::new(false),
            batches: Cell::new(0),
            budget: Cell::new(UNLIMITED),
            gave_way: Cell::new(false),
            refusals: Cell::new(0),
            task: Slot::new(),
            locals: Slot::new(),
            counted: Slot::new(),
            counted_waker_data: Cell::new(null()),
            work: Slot::new(),
            token: Held::new(),
            awaited_loop: Cell::new(0),
            acting: Cell::new(NO_CONNECTION),
            reactor: Slot::new(),
            sink: Slot::new(),
            unwinding: Cell::new(0),
            payload: Held::new(),
            errors: Held::new(),
            debugged: Cell::new(0),
            watchdog: Slot::new(),
            blamed: Cell::new(Duration::ZERO),
            reporting: Cell::new(false),
            coroutine: Slot::new(),
            tick: Cell::new(0),
            round: Cell::new(0),
            cancelling: Cell::new(0),
            to_cancel: Slot::new(),
            grant_holds: Cell::new(0),
            to_serve: Slot::new(),
            #[cfg(feature = "tls")]
            takes_record: Cell::new(false),
            #[cfg(feature = "tls")]
            record: Held::new(),
            abandoning: Cell::new(false),
            to_abandon: Slot::new(),
            traces: Slot::new(),
            live: Slot::new(),
        }
    };
}

thread_local! {
    /// Created when a value is stored that lasts as long as the thread.
    static CLEARED: Cleared = const { Cleared };
}

/// Drops at the thread's end the values that [`Slot::get_or_make`] made.
struct Cleared;

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = CONTEXT.try_with(|context| {
            let lasting = [&context.traces, &context.live];
            for slot in lasting {
                drop(slot.0.replace(None));
            }
        });
    }
}

/// Calls `f` with the current thread's context.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&Context) -> R) -> R {
    CONTEXT.with(f)
}

/// Storage for a value. A value left in it at the thread's end is leaked.
pub(crate) struct Held<T>(Cell<ManuallyDrop<Option<T>>>);

impl<T> Held<T> {
    const fn new() -> Self {
        Self(Cell::new(ManuallyDrop::new(None)))
    }

    /// Stores `value`. Returns the former value.
    #[inline]
    pub(crate) fn replace(&self, value: Option<T>) -> Option<T> {
        ManuallyDrop::into_inner(self.0.replace(ManuallyDrop::new(value)))
    }

    /// Calls `f`, which must run no user code, with the value, and leaves it there.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Option<T>) -> R) -> R {
        let mut value = self.replace(None);
        let result = f(&mut value);
        self.0.set(ManuallyDrop::new(value));
        result
    }
}

/// Storage for an `Rc` of a type that a higher module defines.
///
/// The code that stores a value must take it out again: what is left at the thread's end is leaked.
pub(crate) struct Slot(Held<Rc<dyn Any>>);

impl Slot {
    const fn new() -> Self {
        Self(Held::new())
    }

    /// Returns the value if it is a `T`.
    #[inline]
    pub(crate) fn get<T: Any>(&self) -> Option<Rc<T>> {
        self.0.with(|value| value.clone())?.downcast().ok()
    }

    /// Returns the value, which is made if there is none, and dropped at the thread's end.
    pub(crate) fn get_or_make<T: Any + Default>(&self) -> Rc<T> {
        self.get().unwrap_or_else(|| {
            let made = Rc::<T>::default();
            // During the thread's end, a new value might not be dropped any more.
            if CLEARED.try_with(|_| ()).is_ok() {
                drop(self.replace(Some(made.clone())));
            }
            made
        })
    }

    /// Returns whether there is a value.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.with(|value| value.is_some())
    }

    /// Stores `value`. Returns the former value.
    #[inline]
    pub(crate) fn replace<T: Any>(&self, value: Option<Rc<T>>) -> Option<Rc<T>> {
        let value = value.map(|value| -> Rc<dyn Any> { value });
        let before = self.0.replace(value);
        before.and_then(|before| before.downcast().ok())
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_returns_its_value_only_by_its_type() {
        let slot = Slot::new();
        assert!(!slot.is_set());
        assert_eq!(slot.replace(Some(Rc::new(1_u32))), None);
        assert_eq!(slot.get(), Some(Rc::new(1_u32)));
        assert_eq!(slot.get::<i32>(), None);
        let value = Rc::new(2_u32);
        let before = slot.replace(Some(value.clone()));
        assert_eq!(before, Some(Rc::new(1)));
        assert_eq!(slot.replace::<u32>(None), Some(value.clone()));
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn a_thread_needs_no_destructor_for_its_context() {
        assert!(!std::mem::needs_drop::<Context>());
    }
}
