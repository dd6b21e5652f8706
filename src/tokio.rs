//! Runs crates that need a tokio runtime inside the tasks of a reactor.
//!
//! [`enter`] starts a tokio runtime for a reactor: a current-thread runtime on another thread,
//! which drives tokio's sockets and timers. All code that the reactor runs (tasks, callbacks,
//! hooks) then finds this runtime as the current one, so that `reqwest`, `sqlx`, `redis`, `lettre`
//! and others work unchanged. The reactor's tasks poll the futures of these crates, and drop them
//! when a time limit passes or a task is cancelled. Only the tasks that the crates spawn on tokio
//! run on the runtime's thread.
//!
//! Cargo feature `tokio-rt`. Without a call of `enter` there is no runtime and no thread, and these
//! crates panic: "there is no reactor running, must be called from the context of a Tokio 1.x
//! runtime". (tokio's I/O traits on connections are another feature, `tokio-io`.) For the
//! opposite, a reactor inside a program that runs on tokio, see [hosts](crate::guide::hosts).
//!
//! # Limits
//!
//! * The runtime's thread wakes the futures, so each wake-up has the cost of one from another
//!   thread.
//! * tokio's timers and sockets use the time of the machine, also with a reactor in memory. A time
//!   limit of such a reactor around a tokio future may pass at once, because virtual time does not
//!   wait for tokio.
//! * `tokio::task::spawn_local` and `block_in_place` do not work, because the reactor's thread is
//!   not a thread of the runtime. [`spawn`](crate::spawn()) replaces `spawn_local`, and
//!   [`Reactor::spawn_blocking`] replaces `block_in_place`.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::channel::oneshot;
use tokio::runtime::{Builder, Handle};

use crate::failure::Failure;
use crate::reactor::{Reactor, ReactorError, TurnContext};
use crate::task::yield_now;

/// Starts a tokio runtime for the reactor, and returns the runtime's handle.
///
/// From now on until the reactor ends, all code that the reactor runs finds this runtime as the
/// current one. The function may be called before the reactor runs or while it runs. A second call
/// returns the same handle.
///
/// If the reactor is a guest in another loop ([`Reactor::start`]), the runtime is the current one
/// in each of the reactor's turns, and while a guard of [`Reactor::enter`] exists. The code of a
/// host that runs on tokio itself finds the host's runtime.
///
/// The runtime ends with the reactor, after the reactor's tasks were dropped. The tasks that crates
/// have spawned on it are dropped then.
///
/// # Errors
///
/// Fails with the system's error when the runtime or its thread cannot be created, and with
/// [`ReactorError::NotRestartable`] when the reactor has ended.
///
/// # Panics
///
/// tokio panics when a task of the reactor holds a guard of tokio's `Handle::enter` across an
/// `await`: the guard then outlives the reactor's turn.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::{Clock, Failure};
///
/// # fn main() -> Result<(), Failure> {
/// torsade::run(async |reactor| {
///     torsade::tokio::enter(&reactor)?;
///     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let accepted = torsade::spawn(async move { listener.accept().await });
///     tokio::net::TcpStream::connect(address).await?;
///     accepted.await??;
///
///     // The reactor's time limits cancel tokio's futures.
///     let endless = tokio::time::sleep(Duration::from_secs(3600));
///     let limited = reactor.timeout(Duration::from_millis(1), endless).await;
///     assert!(limited.is_err());
///     Ok(())
/// })
/// # }
/// ```
#[doc(alias("reqwest", "sqlx", "async-compat", "Handle::enter"))]
#[track_caller]
pub fn enter(reactor: &Reactor) -> Result<Handle, Failure> {
    let location = Location::caller();
    if reactor.inner().is_ended() {
        return Err(Failure::at(ReactorError::NotRestartable, location));
    }
    if let Some(runtime) = reactor.inner().extension::<Entered>() {
        return Ok(runtime.0.clone());
    }
    let made = Runtime::start();
    let runtime = made
        .map_err(|(what, error)| Failure::at(error, location).context(format!("cannot {what}")))?;
    let handle = runtime.handle.clone();
    reactor
        .inner()
        .insert_extension(Rc::new(Entered(handle.clone())));
    reactor.set_turn_context(Rc::new(runtime));
    Ok(handle)
}

/// The handle of a reactor's runtime.
struct Entered(Handle);

/// A tokio runtime, and the thread that runs it.
struct Runtime {
    handle: Handle,
    /// Enters and leaves the runtime alternately, at each poll. It is a future, because a guard
    /// borrows from its handle.
    context: RefCell<Pin<Box<dyn Future<Output = ()>>>>,
    /// Dropped to end the runtime.
    running: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts a runtime. The error names the step that failed.
    fn start() -> Result<Self, (&'static str, io::Error)> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ("create a tokio runtime", error))?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel::<()>();
        let (ends, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("torsade-tokio".into());
        let thread = thread.spawn(move || {
            let _ = runtime.block_on(stopped);
            // Blocking tasks on the runtime's other threads are not waited for.
            runtime.shutdown_background();
            let _ = ends.send(());
        });
        let thread = thread.map_err(|error| ("start the thread of a tokio runtime", error))?;
        Ok(Self {
            context: RefCell::new(Box::pin(enter_and_leave(handle.clone()))),
            handle,
            running: Some(running),
            ended,
            thread: Some(thread),
        })
    }
}

async fn enter_and_leave(handle: Handle) {
    loop {
        let guard = handle.enter();
        yield_now().await;
        drop(guard);
        yield_now().await;
    }
}

impl TurnContext for Runtime {
    fn toggle(&self) {
        let mut context = self.context.borrow_mut();
        let polled = context
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        debug_assert_eq!(polled, Poll::Pending);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.running.take());
        // A future that blocks the runtime's thread for ever does not block the reactor's.
        let ended = self.ended.recv_timeout(PATIENCE);
        if let (Ok(()), Some(thread)) = (ended, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

/// How long the end of a reactor waits for the end of the runtime's thread.
const PATIENCE: Duration = Duration::from_secs(1);
