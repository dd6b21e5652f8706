//! The settings of a thread pool: [`ThreadPoolBuilder`].

use std::time::Duration;

/// A builder for a [`ThreadPool`](super::ThreadPool); see
/// [`ThreadPool::builder`](super::ThreadPool::builder).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::threads::ThreadPool;
///
/// let pool = ThreadPool::builder()
///     .name("database")
///     .max(4)
///     .queue_limit(100)
///     .idle_after(Duration::from_secs(60))
///     .build();
/// assert_eq!(pool.statistics().threads, 0);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it makes nothing until `build` is called"]
pub struct ThreadPoolBuilder {
    pub(super) name: String,
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) queue_limit: Option<usize>,
    pub(super) idle_after: Duration,
}

impl ThreadPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: "torsade-pool".to_owned(),
            min: 0,
            max: USUAL_MAX,
            queue_limit: None,
            idle_after: USUAL_IDLE,
        }
    }

    /// Sets the name of the threads, to which a number is appended for each thread. Default:
    /// `torsade-pool`. (The system may show no more than the first fifteen bytes.)
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the number of threads that stay once they have been started, even if they are idle.
    /// Default: 0.
    pub fn min(mut self, min: usize) -> Self {
        self.min = min;
        self
    }

    /// Sets the maximum number of threads. Default: 10.
    pub fn max(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// Sets the maximum number of calls that wait in the queue for a thread. Default: no limit.
    ///
    /// A call is refused with [`PoolError::Full`](super::PoolError::Full) while as many calls as
    /// [`max`](Self::max) and this limit together are queued or running, even if the system has
    /// refused to start some of the threads. A call counts until its thread is ready for another
    /// one, which is a moment after its result is available: code that awaits one call and submits
    /// the next may be refused.
    pub fn queue_limit(mut self, limit: usize) -> Self {
        self.queue_limit = Some(limit);
        self
    }

    /// Sets the time after which an idle thread ends, unless it is one of [`min`](Self::min)
    /// threads. Default: ten seconds.
    pub fn idle_after(mut self, idle: Duration) -> Self {
        self.idle_after = idle;
        self
    }
}

#[track_caller]
pub(super) fn check(min: usize, max: usize) {
    assert!(
        max > 0 && min <= max,
        "a pool cannot have {min} to {max} threads"
    );
}

/// The default maximum of threads, as in Twisted's pool.
const USUAL_MAX: usize = 10;

/// The default time that an idle thread stays.
const USUAL_IDLE: Duration = Duration::from_secs(10);
