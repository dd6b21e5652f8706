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
    /// `f` must be `Send`, so it cannot own a protocol, a [`Transport`](crate::Transport) or a
    /// [`Resolver`](crate::Resolver): these stay on the reactor's thread. A thread sends its values
    /// to a task that owns them, through a channel; for one result there is
    /// [`RemoteResolver`](crate::reactor::RemoteResolver).
    ///
    /// # Errors
    ///
    /// Fails with [`ReactorError::Ended`] when the reactor has ended; `f` is then dropped on this
    /// thread without being called.
    ///
    /// # Examples
    ///
    /// A thread whose values are written to a connection (Twisted:
    /// `reactor.callFromThread(transport.write, value)`):
    ///
    /// ```
    /// use futures::StreamExt;
    /// use futures::channel::mpsc;
    /// use torsade::prelude::*;
    ///
    /// struct Report;
    ///
    /// impl Protocol for Report {
    ///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
    ///         let (sender, mut values) = mpsc::unbounded();
    ///         std::thread::spawn(move || {
    ///             for value in [1, 2, 3] {
    ///                 // Fails when nothing receives the values any more.
    ///                 let _ = sender.unbounded_send(value);
    ///             }
    ///         });
    ///         let transport = cx.transport().clone();
    ///         spawn(async move {
    ///             while let Some(value) = values.next().await {
    ///                 transport.write(format!("{value}\n"));
    ///             }
    ///             transport.lose_connection();
    ///         })
    ///         .detach();
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Failure> {
    /// torsade::run(async |reactor| {
    ///     let port = reactor.listen("127.0.0.1:0", |_peer| Report)?;
    ///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
    ///     let mut text = Vec::new();
    ///     conn.read_to_end(&mut text).await?;
    ///     assert_eq!(text, b"1\n2\n3\n");
    ///     port.stop().await
    /// })
    /// # }
    /// ```
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
