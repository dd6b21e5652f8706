//! Work on other threads that waits for the loop that awaits it.
//!
//! In memory, time stands still while another thread does work that the loop awaits. But when all
//! such threads wait for this loop, in [`block_on`](super::block_on), nothing happens until time
//! moves. So each piece of work has a phase that both sides see, and the waker of the waiting
//! thread changes the phase: when the loop wakes it, there is no moment in which the thread is
//! awake and still counts as waiting.

use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::task::Wake;

use super::Inbox;
use crate::context;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, Shared, Unparker};

/// A piece of work that a loop awaits, shared by the loop and the thread that does it.
pub(crate) struct AwaitedWork {
    /// The loop's inbox.
    inbox: Shared<Inbox>,
    phase: Mutex<Phase>,
    is_given_up: AtomicBool,
}

/// The work that this thread does.
struct Present(Shared<AwaitedWork>);

/// The phase of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Queued,
    Running,
    /// Its thread waits for the loop that awaits it.
    Waiting,
    Ended,
}

impl AwaitedWork {
    pub(crate) fn new(inbox: Shared<Inbox>) -> Shared<Self> {
        Shared::new(Self {
            inbox,
            phase: Mutex::new(Phase::Queued),
            is_given_up: AtomicBool::new(false),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.lock()
    }

    /// Does the work on this thread.
    pub(crate) fn run<R>(this: &Shared<Self>, work: impl FnOnce() -> R) -> R {
        /// Records on drop, also after a panic, that the thread no longer does the work.
        struct Running(Option<Rc<Present>>);
        impl Drop for Running {
            fn drop(&mut self) {
                let before = self.0.take();
                let this = context::with(|thread| thread.work.replace(before));
                drop(this);
            }
        }
        *this.lock() = Phase::Running;
        let present = Rc::new(Present(this.clone()));
        let _running = Running(context::with(|thread| thread.work.replace(Some(present))));
        work()
    }

    /// Records that the work is done and its result was sent, or that it was dropped.
    pub(crate) fn end(&self) {
        *self.lock() = Phase::Ended;
    }

    /// Records that no task awaits the work any more.
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::SeqCst)
    }

    /// Returns the work that this thread does, if it is for a loop.
    pub(super) fn present() -> Option<Shared<Self>> {
        let present = context::with(|thread| thread.work.get::<Present>())?;
        Some(present.0.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that a future is pending until this loop does something.
pub(crate) fn note_loop(inbox: &Shared<Inbox>) {
    context::with(|thread| thread.awaited_loop.set(Shared::as_ptr(inbox).addr()));
}

/// Wakes a thread that does work for a loop.
pub(super) struct WorkWaker {
    unparker: Unparker,
    work: Shared<AwaitedWork>,
    /// Woken since the future was last polled; read and changed with the phase locked.
    woken: AtomicBool,
}

impl WorkWaker {
    pub(super) fn new(unparker: Unparker, work: Shared<AwaitedWork>) -> Arc<Self> {
        Arc::new(Self {
            unparker,
            work,
            woken: AtomicBool::new(false),
        })
    }

    /// Records that the future is about to be polled.
    pub(super) fn begin(&self) {
        let _phase = self.work.lock();
        self.woken.store(false, Ordering::SeqCst);
        context::with(|thread| thread.awaited_loop.set(0));
    }

    /// Records that the future is pending, and the thread is about to sleep.
    pub(super) fn sleep(&self) {
        let noted = context::with(|thread| thread.awaited_loop.get());
        if noted != Shared::as_ptr(&self.work.inbox).addr() {
            return;
        }
        let mut phase = self.work.lock();
        let is_waiting = !self.woken.load(Ordering::SeqCst);
        if is_waiting {
            *phase = Phase::Waiting;
        }
        drop(phase);
        if is_waiting {
            // The loop checks whether this was the last working thread.
            self.work.inbox.wake();
        }
    }
}

impl Wake for WorkWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut phase = self.work.lock();
        self.woken.store(true, Ordering::SeqCst);
        if *phase == Phase::Waiting {
            *phase = Phase::Running;
        }
        drop(phase);
        self.unparker.unpark();
    }
}
