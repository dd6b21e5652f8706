//! Telling work that runs on another thread that nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Cancelled;

/// What work on another thread looks at to learn that it may stop.
///
/// Nobody can end a thread from outside, so work that takes long asks now and then. See
/// [`Reactor::defer_to_thread_with`](crate::Reactor::defer_to_thread_with).
///
/// # Examples
///
/// ```
/// use torsade::threads::CancelToken;
/// use torsade::{Cancelled, Failure};
///
/// fn count_to(n: u64, token: &CancelToken) -> Result<u64, Failure> {
///     let mut count = 0;
///     while count < n {
///         token.check()?;
///         count += 1;
///     }
///     Ok(count)
/// }
///
/// let token = CancelToken::new();
/// assert_eq!(count_to(3, &token)?, 3);
/// token.cancel();
/// assert!(count_to(3, &token).unwrap_err().is::<Cancelled>());
/// # Ok::<(), Failure>(())
/// ```
#[doc(alias("CancellationToken", "threading.Event"))]
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// One that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels it, for good and for all its clones.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Was it cancelled?
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// The same, for `?`.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] when it was.
    pub fn check(&self) -> Result<(), Cancelled> {
        match self.is_cancelled() {
            false => Ok(()),
            true => Err(Cancelled),
        }
    }
}
