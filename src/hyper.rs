//! Runs the library *hyper* on a reactor, without a tokio runtime.
//!
//! The module is for programs that use hyper directly. `torsade::http` (feature `http`) has a
//! client and a server on top of it, with limits and a pool of connections.
//!
//! * A [`Connection`](crate::Connection) and its halves implement `hyper::rt::Read` and
//!   `hyper::rt::Write`, with vectored writes. The reactor sends the written bytes by itself, so a
//!   flush returns at once.
//! * [`Timer`] and [`Executor`] are for the builders of hyper's clients and servers. Futures and
//!   bodies need not be `Send`. With a reactor in memory, hyper's time limits run in virtual time.
//!
//! Cargo feature `hyper`. It enables no feature of hyper itself, such as `http1` or `server`: the
//! program's own dependency on hyper does.
//!
//! # Examples
//!
//! ```
//! use std::convert::Infallible;
//! use std::time::Duration;
//! use hyper::server::conn::http1;
//! use hyper::service::service_fn;
//! use hyper::{Request, Response, body::Incoming};
//!
//! torsade::testing::run(async |reactor| {
//!     let port = reactor.serve("127.0.0.1:0", async |conn| {
//!         let hello = async |_request: Request<Incoming>| {
//!             Ok::<_, Infallible>(Response::new(String::from("hello")))
//!         };
//!         let mut server = http1::Builder::new();
//!         server.timer(torsade::hyper::Timer).header_read_timeout(Duration::from_secs(10));
//!         Ok(server.serve_connection(conn, service_fn(hello)).await?)
//!     })?;
//!
//!     let mut client = reactor.connect_stream(port.local_addr()).await?;
//!     client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//!     let mut answer = Vec::new();
//!     client.read_to_end(&mut answer).await?;
//!     assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n") && answer.ends_with(b"hello"));
//!     port.stop().await
//! });
//! ```

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt;
use send_wrapper::SendWrapper;

use crate::clock::{Clock, Sleep};
use crate::reactor::Reactor;
use crate::task::spawn;

/// Gives hyper the clock of the reactor that runs on the current thread.
///
/// # Panics
///
/// Creating a sleep and reading the time panic when no reactor runs on the thread. A sleep panics
/// when it is polled or dropped on another thread than that on which it was created.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use hyper::rt::Timer as _;
/// use torsade::{Clock, hyper::Timer, testing};
///
/// testing::run(async |reactor| {
///     let start = reactor.now();
///     Timer.sleep(Duration::from_secs(1)).await;
///     assert!(reactor.now() >= start + Duration::from_secs(1));
///     Ok(())
/// });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer;

/// Runs hyper's futures as tasks of the reactor that runs on the current thread.
///
/// The futures need not be `Send`. hyper's builders for HTTP/2 take an executor.
///
/// # Panics
///
/// Executing a future panics when no reactor runs on the thread.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use futures::channel::oneshot;
/// use hyper::rt::Executor as _;
/// use torsade::hyper::Executor;
///
/// torsade::testing::run(async |_reactor| {
///     let (sender, receiver) = oneshot::channel();
///     let not_send = Rc::new(42);
///     Executor.execute(async move { sender.send(*not_send) });
///     assert_eq!(receiver.await?, 42);
///     Ok(())
/// });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Executor;

impl<F: Future<Output: 'static> + 'static> rt::Executor<F> for Executor {
    #[track_caller]
    fn execute(&self, future: F) {
        spawn(future).detach();
    }
}

impl rt::Timer for Timer {
    #[track_caller]
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(TimerSleep(SendWrapper::new(current().sleep(duration))))
    }

    #[track_caller]
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        let sleep = current().sleep_until(deadline);
        Box::pin(TimerSleep(SendWrapper::new(sleep)))
    }

    #[track_caller]
    fn now(&self) -> Instant {
        current().now()
    }

    #[track_caller]
    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<TimerSleep>() {
            Some(mut sleep) => sleep.0.reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// A sleep in a wrapper that is `Send` and `Sync`, which hyper requires.
struct TimerSleep(SendWrapper<Sleep>);

impl Future for TimerSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(Pin::new(&mut *self.0).poll(cx)) {
            Ok(()) => Poll::Ready(()),
            // The clock has stopped, so this task is about to be dropped: no time has passed.
            Err(_) => Poll::Pending,
        }
    }
}

impl rt::Sleep for TimerSleep {}

impl fmt::Debug for TimerSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimerSleep")
    }
}

#[track_caller]
fn current() -> Reactor {
    let location = Location::caller();
    Reactor::current().unwrap_or_else(|| {
        panic!("no reactor runs on this thread, so hyper has no timer ({location})")
    })
}
