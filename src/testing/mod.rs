//! Tests in virtual time: protocols without sockets, whole programs on an in-memory network, and a
//! check that a test leaves nothing behind.
//!
//! # The idea
//!
//! An in-memory reactor ([`Reactor::in_memory`]) runs the same code as one on the machine driver,
//! with a network in memory and [virtual time](crate::guide::glossary#virtual-time).
//!
//! To test one protocol, a [`Wire`] connects it to the test; a [`WirePair`] connects two protocols
//! to each other. To test a whole program, [`run`] runs an async function on an in-memory reactor,
//! and fails the test for everything that it leaves behind: a task, a timer, a connection, a port,
//! or an unhandled failure, each with the line that made it. [`run_on`] does the same on any
//! reactor, so one test can run on every driver.
//!
//! A test that expects an unhandled failure takes it with [`take_reports`]; a test that expects a
//! panic calls [`expect_panics`] before the panic, too. [`success_of`], [`failure_of`] and
//! [`pending`] check the state of a Deferred. [`Stdio`] gives the test the user's end of standard
//! input and output, and [`Programs`] replaces the programs that child processes run.
//!
//! An in-memory network can have faults: delays, split reads, broken connections, lost datagrams
//! ([`NetworkFaults`]). One seed decides all faults, and [`each_seed`] runs a test for many of
//! them. [`deliver_signal`] delivers a signal to one reactor.

mod pair;
mod reports;
mod results;
mod seeds;
#[cfg(unix)]
mod stdio;
mod wire;

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

#[doc(alias("iosim", "IOPump", "FakeTransport", "connectedServerAndClient"))]
pub use self::pair::WirePair;
pub use self::reports::expect_panics;
#[doc(alias("flushLoggedErrors", "assert_logged"))]
pub use self::reports::take_reports;
#[doc(alias("failureResultOf", "failure_result_of"))]
pub use self::results::failure_of;
#[doc(alias("assertNoResult", "assert_no_result"))]
pub use self::results::pending;
#[doc(alias("successResultOf", "success_result_of"))]
pub use self::results::success_of;
#[doc(alias("waitFor", "eventually", "advance_until"))]
pub use self::results::wait_until;
pub use self::seeds::each_seed;
#[cfg(unix)]
#[doc(alias("StandardIO", "stdin", "stdout"))]
pub use self::stdio::Stdio;
#[doc(alias("StringTransport", "iosim", "proto_helpers"))]
pub use self::wire::Wire;
use crate::clock::Clock;
pub use crate::driver::{NetworkFaults, Random};
use crate::failure::Failure;
#[cfg(feature = "proxy-protocol")]
#[doc(hidden)]
pub use crate::net::read_header;
#[cfg(unix)]
pub use crate::process::fake::FakeProgram;
#[cfg(unix)]
#[doc(alias("MemoryReactor", "spawnProcess", "fake"))]
pub use crate::process::fake::Programs;
use crate::reactor::{OnPanic, Reactor};
use crate::signal::Signal;
use crate::sync::ThreadBody;
use crate::task::yield_now;

/// Runs a test on an in-memory reactor; otherwise as [`run_on`] does.
///
/// Virtual time does not advance while work runs on the reactor's threads
/// ([`Reactor::spawn_blocking`]). The reactor does not know the threads that a test starts itself:
/// while a Deferred waits for such a thread ([`RemoteResolver`](crate::reactor::RemoteResolver),
/// [`Remote`](crate::Remote)), virtual time jumps to the next timer, so a time limit of that
/// Deferred expires at once. A test with such a limit uses `spawn_blocking`.
///
/// # Panics
///
/// Panics as [`run_on`] does.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::{Clock, testing};
///
/// testing::run(async |reactor| {
///     reactor.sleep(Duration::from_secs(365 * 86_400)).await // takes no real time
/// });
/// ```
///
/// ```should_panic
/// # use std::time::Duration;
/// # use torsade::{Clock, testing};
/// testing::run(async |reactor| {
///     reactor.call_later(Duration::from_secs(1), || {}); // left behind
///     Ok(())
/// });
/// ```
#[doc(alias = "TestCase")]
#[track_caller]
pub fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    run_on(
        Reactor::in_memory().expect("a reactor in memory needs little"),
        test,
    );
}

/// Runs turns of a reactor until nothing is left to do, without waiting and without advancing its
/// clock. For reactors outside of [`run`]: inside, `await` lets the loop turn.
///
/// # Panics
///
/// Panics when called from inside a turn, and when there is still something to do after a million
/// turns.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use torsade::{Reactor, testing};
///
/// let reactor = Reactor::in_memory()?;
/// let called = Rc::new(Cell::new(false));
/// let note = called.clone();
/// reactor.call_soon(move || note.set(true));
/// testing::settle(&reactor);
/// assert!(called.get());
/// # Ok::<(), std::io::Error>(())
/// ```
#[track_caller]
pub fn settle(reactor: &Reactor) {
    reactor.settle();
}

/// Runs a test on a reactor, and checks that it leaves nothing behind.
///
/// After the test has returned, everything that it began may finish within a second (in memory:
/// without time passing); everything that is left then fails the test. A test that has not returned
/// after a minute of real time fails.
///
/// In memory, a test also fails at once when it cannot continue, because nothing is ready, no timer
/// is set and no thread of the reactor is at work. While other threads have a
/// [`Remote`](crate::Remote), it fails after ten seconds; while code outside the reactor has a
/// waker of the test, or there are listeners to signals, after two seconds. The message shows
/// everything that is alive and for what each task waits ([`Reactor::dump`], in full in debug
/// mode).
///
/// # Panics
///
/// Panics when the test fails or panics, when any code that the reactor ran panicked, when a
/// failure was not handled, and when something is left behind. Failures and panics that the test
/// has taken with [`take_reports`] do not count.
#[track_caller]
pub fn run_on(reactor: Reactor, test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    let own = reactor.clone();
    run_boxed(reactor, Box::pin(async move { test(own).await }));
}

/// Wraps all stream connections of the reactor in TLS, except those whose endpoint sets up TLS
/// itself, so that a test of a protocol can be run over TLS without changes.
///
/// The client's configuration needs [`server_name`](crate::tls::ClientConfig::server_name) if the
/// test connects to addresses for which the certificate is not valid.
///
/// # Examples
///
/// ```
/// use torsade::{Failure, Reactor, testing, tls};
///
/// async fn test(reactor: Reactor) -> Result<(), Failure> {
///     let port = reactor.serve("127.0.0.1:0", async |mut conn| Ok(conn.write_all(b"x").await?))?;
///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
///     conn.read_exact(&mut [0]).await?;
///     drop(conn);
///     port.stop().await
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// let pem = made.cert.pem() + &made.signing_key.serialize_pem();
/// let server = tls::ServerConfig::new(tls::Identity::from_pem(&pem)?);
/// let client = tls::ClientConfig::new().roots(tls::Roots::empty().pem(&pem)?);
///
/// testing::run(test);
/// testing::run(async |reactor| {
///     testing::use_tls(&reactor, server, client.server_name("localhost"));
///     test(reactor).await
/// });
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
#[track_caller]
pub fn use_tls(
    reactor: &Reactor,
    server: crate::tls::ServerConfig,
    client: crate::tls::ClientConfig,
) {
    reactor.use_tls_everywhere(server, client);
}

type Test<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// The rest of [`run_on`], with one copy for all tests.
#[track_caller]
fn run_boxed(reactor: Reactor, test: Test<'_>) {
    let reports = reports::collect(&reactor);
    reactor.set_on_panic(OnPanic::Unwind);
    reactor.close_world();
    let _guard = Guard::new(&reactor);
    let is_virtual = reactor.inner().driver().is_virtual();
    let mut left = Vec::new();
    let result = reactor.run_until(async {
        let result = test.await;
        let patience = Instant::now() + LEFTOVER_LIMIT;
        let mut turns = 0;
        loop {
            left = leftovers(&reactor);
            // What other threads do takes real time, in memory as well.
            let awaits_threads = reactor.inner().awaits_threads() && Instant::now() < patience;
            turns = if awaits_threads { 0 } else { turns + 1 };
            if left.is_empty() || (turns > TURNS && (is_virtual || Instant::now() > patience)) {
                return result;
            }
            // On a slow network time has to pass until the last things have arrived.
            match reactor.inner().driver().next_arrival() {
                Some(at) => {
                    turns = 0;
                    let _ = reactor
                        .sleep(at.saturating_duration_since(reactor.now()))
                        .await;
                }
                None => yield_now().await,
            }
        }
    });
    if let Err(failure) = result.and_then(|result| result) {
        panic!("the test failed: {failure:?}");
    }
    assert!(left.is_empty(), "the test left behind: {left:#?}");
    let unhandled = reports.take();
    if !unhandled.is_empty() {
        let lines: Vec<_> = unhandled
            .iter()
            .map(|report| format!("\n* {report}"))
            .collect();
        panic!("the test did not handle:{}", lines.concat());
    }
}

/// A task, timer, connection or other object that is alive in a reactor; see [`leftovers`].
#[derive(Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The kind: `"task"`, `"delayed call"`, `"sleep"`, `"connection"`, `"port"` and so on.
    pub kind: &'static str,
    /// The line that made the object.
    pub location: &'static Location<'static>,
}

impl fmt::Debug for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} made at {}", self.kind, self.location)
    }
}

/// Returns everything that is alive in a reactor: tasks, timers, connections, ports, descriptors
/// and so on. [`run_on`] calls it at the end of a test.
pub fn leftovers(reactor: &Reactor) -> Vec<Leftover> {
    reactor
        .leftovers()
        .into_iter()
        .map(|(kind, location)| Leftover { kind, location })
        .collect()
}

/// Delivers a signal to this reactor alone, as if the system had sent it: its
/// [listeners](crate::signals) get it in the next turn, and a reactor that [stops on
/// signals](crate::ReactorBuilder::stops_on_signals) stops. The process itself gets no signal.
/// Returns `false` when there was no listener and the reactor does not stop on the signal.
///
/// # Examples
///
/// ```
/// use torsade::{Signal, testing};
///
/// testing::run(async |reactor| {
///     let received = Signal::INT.wait(&reactor);
///     assert!(testing::deliver_signal(&reactor, Signal::INT));
///     assert_eq!(received.await?, Signal::INT);
///     assert!(!testing::deliver_signal(&reactor, Signal::INT));
///     Ok(())
/// });
/// ```
#[doc(alias("raise", "kill"))]
pub fn deliver_signal(reactor: &Reactor, signal: Signal) -> bool {
    reactor.inner().deliver(signal)
}

/// Ends a test that takes too long.
struct Guard {
    /// Dropped when the test is over.
    running: Option<Arc<()>>,
    thread: Thread,
}

impl Guard {
    fn new(reactor: &Reactor) -> Self {
        let running = Arc::new(());
        let is_running = Arc::downgrade(&running);
        let remote = reactor.uncounted_remote();
        let name = thread::current().name().unwrap_or("a test").to_owned();
        let body: ThreadBody = Box::new(move || {
            if still_runs_after(&is_running, TEST_LIMIT) {
                let _ = remote.call(move || {
                    let dump = Reactor::current().map(|reactor| reactor.dump().to_string());
                    panic!(
                        "{name} has not ended within a minute
{}",
                        dump.unwrap_or_default()
                    )
                });
            }
        });
        let thread = thread::spawn(body).thread().clone();
        Self {
            running: Some(running),
            thread,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.running.take());
        self.thread.unpark();
    }
}

/// Waits until a test is over, or until `limit` has passed. Returns whether the test is still
/// running.
fn still_runs_after(test: &Weak<()>, limit: Duration) -> bool {
    let begin = Instant::now();
    while test.strong_count() > 0 {
        let Some(rest) = limit.checked_sub(begin.elapsed()) else {
            return true;
        };
        thread::park_timeout(rest);
    }
    false
}

const LEFTOVER_LIMIT: Duration = Duration::from_secs(1);
const TEST_LIMIT: Duration = Duration::from_secs(60);
/// Number of turns in which everything ends that only has to be notified.
const TURNS: usize = 1000;
