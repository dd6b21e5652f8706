//! How a pool is made that is not like all others.

use std::time::Duration;

/// Makes a [`ThreadPool`](super::ThreadPool); see [`ThreadPool::builder`](super::ThreadPool::builder).
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

    /// What its threads are called, each with a number behind it. (The system may show no more than the first fifteen bytes.)
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many threads stay, once there was work for them: none unless told.
    pub fn min(mut self, min: usize) -> Self {
        self.min = min;
        self
    }

    /// How many threads there may be: ten unless told.
    pub fn max(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// How many pieces of work may wait: any number unless told. One more is refused.
    ///
    /// What there may be threads for does not count as waiting, also where the system gives fewer. Work counts until its thread is
    /// done with it, which is a moment after its result is told: who awaits one piece and gives the next may find its place taken.
    pub fn queue_limit(mut self, limit: usize) -> Self {
        self.queue_limit = Some(limit);
        self
    }

    /// How long an idle thread stays: ten seconds unless told.
    pub fn idle_after(mut self, idle: Duration) -> Self {
        self.idle_after = idle;
        self
    }
}

#[track_caller]
pub(super) fn check(min: usize, max: usize) {
    assert!(
        max > 0 && min <= max,
        "a pool of {min} to {max} threads cannot be"
    );
}

/// As many threads as Twisted's pool has.
const USUAL_MAX: usize = 10;

/// An idle thread stays for so long.
const USUAL_IDLE: Duration = Duration::from_secs(10);
