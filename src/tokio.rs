//! Crates that need a tokio runtime around them, inside the tasks of a reactor: [`enter`].
//!
//! A reactor that has entered tokio has a current-thread runtime on a thread of its own, which
//! drives tokio's sockets and timers. The code that the reactor runs (tasks, callbacks, hooks)
//! finds that runtime as the current one, so `reqwest`, `sqlx`, `redis`, `lettre` and others work
//! in it unchanged: their futures are polled by the reactor's tasks, and are dropped with them, by
//! a time limit or a cancel. Only what they spawn themselves runs on the runtime's thread.
//!
//! Cargo feature `tokio-rt`. A reactor that has not entered tokio has neither runtime nor thread.
//! The other direction, a reactor inside a program of tokio's, is [`Reactor::start`]
//! ([hosts](crate::guide::hosts)).
//!
//! # Limits
//!
//! * Each wake-up of such a future crosses threads, as any wake-up from another thread does.
//! * tokio's time is the machine's, also for a reactor in memory: there a time limit of the
//!   reactor's may fire at once, because virtual time does not wait for tokio.
//! * `tokio::task::spawn_local` and `block_in_place` do not work: the reactor's thread is not the
//!   runtime's. `torsade::spawn` is the former.

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

/// Gives the reactor a tokio runtime of its own, which all code that the reactor runs finds as the
/// current one, from now on until the reactor ends. Returns the runtime's handle.
///
/// It may be called before the run and inside of it. A second call returns the same handle. In
/// guest mode the runtime is entered for each turn, and while a guard of [`Reactor::enter`] lives;
/// so a host that is tokio itself keeps its own runtime for its own code.
///
/// The runtime ends with the reactor, after the reactor's tasks were dropped; what crates have
/// spawned on it is dropped then.
///
/// # Errors
///
/// Fails with the system's error when the runtime or its thread cannot be made, and with
/// [`ReactorError::NotRestartable`] when the reactor has ended.
///
/// # Panics
///
/// A task must not hold a guard of tokio's `Handle::enter` while it waits: the turn then ends
/// before the guard, which tokio answers with a panic.
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
    let runtime = made.map_err(|(what, error)| {
        Failure::at(error, location).context(format!("cannot {what} for tokio"))
    })?;
    let handle = runtime.handle.clone();
    reactor
        .inner()
        .insert_extension(Rc::new(Entered(handle.clone())));
    reactor.set_turn_context(Rc::new(runtime));
    Ok(handle)
}

/// The handle of a reactor's runtime.
struct Entered(Handle);

/// A runtime on a thread of its own.
struct Runtime {
    handle: Handle,
    /// Enters the runtime and leaves it in turn. It is a future, because a guard borrows from the
    /// handle that it is the guard of.
    context: RefCell<Pin<Box<dyn Future<Output = ()>>>>,
    /// Dropped to end the runtime.
    running: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Makes a runtime. Fails with what could not be done and why.
    fn start() -> Result<Self, (&'static str, io::Error)> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ("make a runtime", error))?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel::<()>();
        let (ends, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("torsade-tokio".into());
        let thread = thread.spawn(move || {
            let _ = runtime.block_on(stopped);
            // What blocks one of its other threads is not waited for.
            runtime.shutdown_background();
            let _ = ends.send(());
        });
        let thread = thread.map_err(|error| ("start a thread", error))?;
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
