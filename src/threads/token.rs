//! [`CancelToken`]: tells work on another thread that its result is no longer wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::context;
use crate::failure::Cancelled;

/// A flag that tells work on another thread that its result is no longer needed.
///
/// A thread cannot be ended from outside, so work that takes long checks the flag from time to
/// time: [`CancelToken::current`] returns the token of the work that the calling thread runs.
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
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Makes a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the token of the work that this thread runs for
    /// [`Reactor::spawn_blocking`](crate::Reactor::spawn_blocking): it is cancelled when the
    /// Deferred is cancelled or the reactor ends. Outside such work it returns a new token, which
    /// nothing cancels.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::Clock;
    /// use torsade::clock::TimedOut;
    /// use torsade::threads::CancelToken;
    ///
    /// torsade::run(async |reactor| {
    ///     let counting = reactor.spawn_blocking(|| {
    ///         let token = CancelToken::current();
    ///         let mut count = 0_u64;
    ///         while count < u64::MAX {
    ///             token.check()?;
    ///             count += 1;
    ///         }
    ///         Ok(count)
    ///     });
    ///     let failure = counting.timeout(Duration::from_millis(1), &reactor).await.unwrap_err();
    ///     failure.trap::<TimedOut>()?;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), torsade::Failure>(())
    /// ```
    pub fn current() -> Self {
        let current = context::with(|context| context.token.with(|token| token.clone()));
        current.map_or_else(Self::new, Self)
    }

    /// Runs `f` with this as the current token.
    pub(crate) fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        /// Restores the token that was current before, also when `f` panics.
        struct Restore(Option<Arc<AtomicBool>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                context::with(|context| drop(context.token.replace(self.0.take())));
            }
        }
        let before = context::with(|context| context.token.replace(Some(self.0.clone())));
        let _restore = Restore(before);
        f()
    }

    /// Cancels the token and all its clones. A token stays cancelled.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns whether the token was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Returns an error once the token is cancelled, for `?`.
    ///
    /// # Errors
    ///
    /// Fails with [`Cancelled`] when the token was cancelled.
    pub fn check(&self) -> Result<(), Cancelled> {
        match self.is_cancelled() {
            false => Ok(()),
            true => Err(Cancelled),
        }
    }
}
