//! The synchronization primitives while a model is explored: those of loom, and those built of
//! them.

use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use concurrent_queue::{PopError, PushError};
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use loom::sync::{Arc as Shared, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};
pub(crate) use loom::thread;

/// Like the standard macro, but loom has no constant initialisers.
macro_rules! per_thread {
    ($($(#[$doc:meta])* static $name:ident: $type:ty = const { $init:expr };)+) => {
        $(loom::thread_local! {
            $(#[$doc])*
            static $name: $type = $init;
        })+
    };
}
pub(crate) use per_thread as thread_local;

/// The queue of `concurrent-queue`, each of whose calls is one step.
pub(crate) struct ConcurrentQueue<T>(Mutex<Queue<T>>);

struct Queue<T> {
    items: VecDeque<T>,
    is_closed: bool,
}

impl<T> ConcurrentQueue<T> {
    pub(crate) fn unbounded() -> Self {
        Self(Mutex::new(Queue {
            items: VecDeque::new(),
            is_closed: false,
        }))
    }

    pub(crate) fn push(&self, item: T) -> Result<(), PushError<T>> {
        let mut queue = self.queue();
        if queue.is_closed {
            return Err(PushError::Closed(item));
        }
        queue.items.push_back(item);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Result<T, PopError> {
        let mut queue = self.queue();
        match queue.items.pop_front() {
            Some(item) => Ok(item),
            None if queue.is_closed => Err(PopError::Closed),
            None => Err(PopError::Empty),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue().items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue().items.is_empty()
    }

    pub(crate) fn close(&self) -> bool {
        !std::mem::replace(&mut self.queue().is_closed, true)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue().is_closed
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A poller whose notification loom sees. Everything else is that of the real poller, which never
/// waits in a model.
#[derive(Debug)]
pub(crate) struct Poller {
    real: polling::Poller,
    /// Set from a notification until a wait has ended.
    notified: AtomicBool,
    wake_fd: WakeFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            real: polling::Poller::new()?,
            notified: AtomicBool::new(false),
            wake_fd: WakeFd::new(),
        })
    }

    pub(crate) fn notify(&self) -> io::Result<()> {
        let was = (self.notified).compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst);
        if was.is_ok() {
            self.wake_fd.notify();
        }
        Ok(())
    }

    /// Times are not waited for: they are over at once.
    pub(crate) fn wait(
        &self,
        events: &mut polling::Events,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        match timeout {
            None => self.wake_fd.wait(),
            Some(_) => drop(self.wake_fd.disarm()),
        }
        self.notified.swap(false, Ordering::SeqCst);
        self.real.wait(events, Some(Duration::ZERO))
    }
}

impl Deref for Poller {
    type Target = polling::Poller;

    fn deref(&self) -> &polling::Poller {
        &self.real
    }
}

/// A descriptor that is readable from a notification until a wait has seen it, as the kernel's is.
#[derive(Debug)]
pub(crate) struct WakeFd {
    notified: Mutex<bool>,
    heard: Condvar,
}

impl WakeFd {
    pub(crate) fn new() -> Self {
        Self {
            notified: Mutex::new(false),
            heard: Condvar::new(),
        }
    }

    pub(crate) fn notify(&self) {
        *self.notified() = true;
        self.heard.notify_one();
    }

    /// Waits for a notification, perhaps an earlier one.
    pub(crate) fn wait(&self) {
        let mut notified = self.notified();
        while !*notified {
            notified = self
                .heard
                .wait(notified)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *notified = false;
    }

    /// Consumes a notification; returns whether there was one.
    fn disarm(&self) -> bool {
        std::mem::take(&mut *self.notified())
    }

    fn notified(&self) -> MutexGuard<'_, bool> {
        self.notified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a pair like `parking::pair`.
pub(crate) fn pair() -> (Parker, Unparker) {
    let wake_fd = Arc::new(WakeFd::new());
    (Parker(wake_fd.clone()), Unparker(wake_fd))
}

/// Replaces `parking::Parker`.
pub(crate) struct Parker(Arc<WakeFd>);

impl Parker {
    pub(crate) fn park(&self) {
        self.0.wait();
    }

    /// A time is not waited for: it is over at once, unless there was a call before. A timeout of
    /// zero waits.
    pub(crate) fn park_timeout(&self, timeout: Duration) -> bool {
        if timeout == Duration::MAX {
            self.0.wait();
            return true;
        }
        thread::yield_now();
        self.0.disarm()
    }
}

/// Replaces `parking::Unparker`.
#[derive(Clone)]
pub(crate) struct Unparker(Arc<WakeFd>);

impl Unparker {
    pub(crate) fn unpark(&self) -> bool {
        self.0.notify();
        true
    }
}

impl From<Unparker> for Waker {
    fn from(unparker: Unparker) -> Self {
        Self::from(unparker.0)
    }
}

impl Wake for WakeFd {
    fn wake(self: Arc<Self>) {
        self.notify();
    }
}

/// Runs a model once for each interleaving of its threads' steps, and prints their number.
///
/// All of them, unless `preemptions` bounds how often a thread may be interrupted where it need not
/// wait.
#[cfg(test)]
pub(crate) fn explore(
    name: &str,
    preemptions: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
) {
    use std::sync::atomic::AtomicUsize;

    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let mut builder = loom::model::Builder::new();
    builder.max_branches = MANY;
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = preemptions;
    }
    let bound = match builder.preemption_bound {
        Some(bound) => format!(", with at most {bound} preemptions"),
        None => String::new(),
    };
    let start = std::time::Instant::now();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let runs = runs.load(Ordering::Relaxed);
    println!("{name}: {runs} interleavings{bound}, {:?}", start.elapsed());
    assert!(runs > 1, "nothing in this model can happen in two ways");
}

/// More steps than any model has in one run, unless it runs forever.
#[cfg(test)]
const MANY: usize = 100_000;
