//! The handle to a reactor for other threads: [`Remote`].

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::Reactor;
use super::ReactorError;
use crate::spans;
use crate::sync::Shared;
use crate::task::{Inbox, RemoteCall};

/// A handle to a reactor for other threads: it sends calls to the reactor's thread.
///
/// [`Remote::call`] returns no result, [`Remote::blocking_call`] waits for one, and
/// [`Remote::spawn`] starts a task whose result can be awaited.
///
/// # Order
///
/// The calls of one thread run in the order in which they were made, in a turn of the loop, and
/// never inside a callback, hook or task. Several calls before the loop takes them in cost one
/// wake.
///
/// # Examples
///
/// ```
/// # use torsade::Failure;
/// # fn main() -> Result<(), Failure> {
/// torsade::run(async |reactor| {
///     let remote = reactor.remote();
///     std::thread::spawn(move || {
///         remote.call(|| println!("on the loop's thread"))
///     })
///     .join()
///     .expect("the thread does not panic")?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct Remote {
    pub(super) inbox: Shared<Inbox>,
    /// Its count tells the reactor that there are handles.
    _counted: Arc<()>,
}

impl Remote {
    pub(super) fn new(inbox: Shared<Inbox>, counted: Arc<()>) -> Self {
        Self {
            inbox,
            _counted: counted,
        }
    }

    /// Calls `f` on the reactor's thread, and does not wait for that. When the reactor is not
    /// running, `f` is called once it runs. When the reactor ends before it has called `f`, `f` is
    /// dropped.
    ///
    /// # Errors
    ///
    /// Fails with [`ReactorError::Ended`] when the reactor has ended; `f` is then dropped on this
    /// thread without being called.
    #[doc(alias("callFromThread", "call_from_thread", "call_soon_threadsafe"))]
    #[track_caller]
    pub fn call(&self, f: impl FnOnce() + Send + 'static) -> Result<(), ReactorError> {
        let call = match spans::current() {
            Some(span) => RemoteCall::new(move || span.in_scope(f)),
            None => RemoteCall::new(f),
        };
        self.inbox
            .push_call(call, Location::caller())
            .map_err(|_| ReactorError::Ended)
    }

    /// Stops the reactor, as [`Reactor::stop`] does, in its next turn; when it is not running yet,
    /// as soon as it runs. Further calls have no effect.
    ///
    /// # Errors
    ///
    /// Fails with [`ReactorError::Ended`] when the reactor has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use torsade::Reactor;
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let reactor = Reactor::new()?;
    /// let remote = reactor.remote();
    /// let other = thread::spawn(move || remote.stop());
    /// reactor.run()?;
    /// other.join().expect("it does not panic")?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "callFromThread")]
    #[track_caller]
    pub fn stop(&self) -> Result<(), ReactorError> {
        self.call(|| {
            if let Some(reactor) = Reactor::current() {
                let again = reactor.downgrade();
                reactor.call_when_running(move || {
                    if let Some(reactor) = again.upgrade() {
                        // A stop may have been requested meanwhile; the error does not matter then.
                        let _ = reactor.stop();
                    }
                });
            }
        })
    }

    /// Returns whether the reactor has ended.
    pub fn has_ended(&self) -> bool {
        self.inbox.is_closed()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("has_ended", &self.has_ended())
            .finish()
    }
}
