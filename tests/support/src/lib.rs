//! Shared code of the behaviour tests: each behaviour on both drivers, a protocol that records its
//! hooks, and waiting.
mod anywhere;
pub mod circles;
pub mod debugged;
mod drivers;
#[cfg(unix)]
pub mod folder;
#[cfg(target_os = "linux")]
pub mod foreign;
#[cfg(target_os = "linux")]
pub mod nginx;
#[cfg(unix)]
pub mod noted;
pub mod own;
#[cfg(target_os = "linux")]
pub mod passing;
pub mod polled;
pub mod program;
#[cfg(any(target_os = "linux", windows))]
pub mod role;
#[allow(unsafe_code, reason = "Windows is asked in C's terms")]
pub mod signals;
#[cfg(unix)]
pub mod watched;

pub use anywhere::{Anywhere, over_unix};

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::Poll;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tracing::subscriber::NoSubscriber;

use torsade::net::ToServerEndpoint;
use torsade::reactor::Stopped;
use torsade::report::Report;
use torsade::transport::ConnectionError;
use torsade::{
    Connection, Context, Failure, Port, Protocol, Reactor, Transport, testing, yield_now,
};

/// Returns whether the failure holds an error that matches the pattern.
#[macro_export]
macro_rules! is_error {
    ($failure:expr, $error:pat) => {
        matches!($failure.downcast_ref(), Some($error))
    };
}

/// Asserts that a failure holds an error that matches a pattern.
#[macro_export]
macro_rules! assert_failure {
    ($failure:expr, $pattern:pat) => {{
        let failure = &$failure;
        assert!(
            matches!(failure.downcast_ref(), Some($pattern)),
            "{failure:?}"
        );
    }};
}

/// Returns what the pattern binds in the failure's error, and panics if the error does not match.
#[macro_export]
macro_rules! expect_error {
    ($failure:expr, $pattern:pat => $value:expr) => {
        match $failure.downcast_ref() {
            Some($pattern) => $value,
            _ => panic!("another error was expected: {:?}", $failure),
        }
    };
}

/// Any free port.
pub const HERE: &str = "127.0.0.1:0";
/// The built-in types of endpoints, as an error lists them.
#[cfg(unix)]
pub const ENDPOINT_TYPES: &str = "tcp, tcp6, unix, systemd, fd, stdio, tls, ssl, haproxy";
#[cfg(not(unix))]
pub const ENDPOINT_TYPES: &str = "tcp, tcp6, unix, tls, ssl, haproxy";
pub const MS: Duration = Duration::from_millis(1);

/// The events, in order.
#[derive(Clone, Default)]
pub struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn note(&self, what: impl Display) {
        self.0.borrow_mut().push(what.to_string());
    }

    pub fn take(&self) -> Vec<String> {
        self.0.take()
    }

    pub fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    pub fn count(&self, what: &str) -> usize {
        self.0.borrow().iter().filter(|note| *note == what).count()
    }

    pub fn has(&self, what: &str) -> bool {
        self.count(what) > 0
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

type DataHook = Box<dyn FnMut(&Transport, &[u8])>;
type LostHook = Box<dyn FnMut(&Failure)>;
type Hook = Box<dyn FnMut(&Transport)>;

/// A protocol that records its hooks, and calls the functions that the test set.
pub struct Spy {
    log: Log,
    name: &'static str,
    made: Option<Hook>,
    data: Option<DataHook>,
    eof: Option<Hook>,
    ready: Option<Hook>,
    lost: Option<LostHook>,
}

impl Spy {
    pub fn new(log: &Log) -> Self {
        Self::named(log, "")
    }

    pub fn named(log: &Log, name: &'static str) -> Self {
        Self {
            log: log.clone(),
            name,
            made: None,
            data: None,
            eof: None,
            ready: None,
            lost: None,
        }
    }

    /// A protocol that records nothing, and echoes.
    pub fn echo() -> Self {
        Self::new(&Log::new()).on_data(|cx, data| cx.write(data))
    }

    pub fn on_made(mut self, f: impl FnMut(&Transport) + 'static) -> Self {
        self.made = Some(Box::new(f));
        self
    }

    pub fn on_data(mut self, f: impl FnMut(&Transport, &[u8]) + 'static) -> Self {
        self.data = Some(Box::new(f));
        self
    }

    pub fn on_eof(mut self, f: impl FnMut(&Transport) + 'static) -> Self {
        self.eof = Some(Box::new(f));
        self
    }

    pub fn on_ready(mut self, f: impl FnMut(&Transport) + 'static) -> Self {
        self.ready = Some(Box::new(f));
        self
    }

    pub fn on_lost(mut self, f: impl FnMut(&Failure) + 'static) -> Self {
        self.lost = Some(Box::new(f));
        self
    }

    fn note(&self, what: impl Display) {
        match self.name {
            "" => self.log.note(what),
            name => self.log.note(format_args!("{name} {what}")),
        }
    }
}

/// The hooks, for protocols that hold a spy.
impl Spy {
    pub fn made_on(&mut self, transport: &Transport) {
        self.note("made");
        if let Some(hook) = &mut self.made {
            hook(transport);
        }
    }

    pub fn data_on(&mut self, transport: &Transport, data: &[u8]) {
        assert!(!data.is_empty(), "data is never empty");
        match data.len() {
            0..=40 => self.note(format_args!("data {}", data.escape_ascii())),
            _ => self.note("data"),
        }
        if let Some(hook) = &mut self.data {
            hook(transport, data);
        }
    }

    pub fn eof_on(&mut self, transport: &Transport) {
        self.note("eof");
        match &mut self.eof {
            Some(hook) => hook(transport),
            None => transport.lose_connection(),
        }
    }

    pub fn ready_on(&mut self, transport: &Transport) {
        self.note("ready");
        if let Some(hook) = &mut self.ready {
            hook(transport);
        }
    }
}

impl Protocol for Spy {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.made_on(cx);
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        self.data_on(cx, data);
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        self.eof_on(cx);
    }

    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        self.ready_on(cx);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.note(format_args!("lost {}", how(&reason)));
        if let Some(hook) = &mut self.lost {
            hook(&reason);
        }
    }
}

/// Sets a subscriber for this thread that misses nothing which other threads reach first.
///
/// While there is one subscriber, `tracing` asks that of the thread which reaches a place first; if
/// the thread has none, the place is switched off for all. Of two, it asks both.
pub fn subscribe(
    subscriber: impl tracing::Subscriber + Send + Sync + 'static,
) -> tracing::subscriber::DefaultGuard {
    static OTHER: OnceLock<tracing::Dispatch> = OnceLock::new();
    OTHER.get_or_init(|| tracing::Dispatch::new(NoSubscriber::new()));
    tracing::subscriber::set_default(subscriber)
}

/// Returns whether a loss was caused by a peer that accepted nothing.
pub fn is_of_a_stall(loss: &Failure) -> bool {
    let Some(ConnectionError::NotSent { cause, .. }) = loss.downcast_ref() else {
        return false;
    };
    matches!(
        cause.downcast_ref(),
        Some(ConnectionError::SendTimedOut { .. })
    )
}

/// A reason in a word.
pub fn how(reason: &Failure) -> String {
    match reason.downcast_ref() {
        Some(ConnectionError::Done) => "done".into(),
        Some(ConnectionError::Aborted) => "aborted".into(),
        Some(ConnectionError::HandedOver) => "handed over".into(),
        Some(ConnectionError::WriteOverflow { .. }) => "overflow".into(),
        Some(lost @ ConnectionError::Lost { .. }) => match lost.io_error() {
            Some(error) => format!("broken {:?}", error.kind()),
            None if reason.find::<Stopped>().is_some() => "stopped".into(),
            None => "broken".into(),
        },
        _ if reason.is_panic() => format!("{reason}"),
        _ => format!("{reason:?}"),
    }
}

/// So many looks find what the loop itself brings about; the rest leave the processor to others.
const QUICK_LOOKS: u32 = 100;

/// Waits for an event without letting time in memory pass.
#[track_caller]
pub fn until(mut cond: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let location = std::panic::Location::caller();
    let patience = Instant::now() + Duration::from_secs(20);
    async move {
        let mut looks = 0;
        while !cond() {
            assert!(
                Instant::now() < patience,
                "the condition did not become true at {location}"
            );
            looks += 1;
            let machine = Reactor::current().filter(|reactor| reactor.poller().is_some());
            match machine.filter(|_| looks > QUICK_LOOKS) {
                Some(reactor) => drop(torsade::Clock::sleep(&reactor, MS).await),
                None => yield_now().await,
            }
        }
    }
}

/// Waits for something that other threads and programs bring about, without a loop.
#[track_caller]
pub fn await_that(mut cond: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    let mut looks = 0;
    while !cond() {
        assert!(
            Instant::now() < patience,
            "the condition did not become true"
        );
        looks += 1;
        if looks > QUICK_LOOKS {
            std::thread::park_timeout(MS);
        } else {
            std::thread::yield_now();
        }
    }
}

/// Lets the loop turn for a while, for what should not happen to have its chance.
pub async fn some_turns() {
    for _ in 0..300 {
        yield_now().await;
    }
}

/// The two ends of a connection by way of a port there: the client's, and the server's.
pub async fn ends(
    reactor: &Reactor,
    at: impl ToServerEndpoint,
) -> Result<(Connection, Connection, Port), Failure> {
    let slot: Rc<Cell<Option<Connection>>> = Rc::default();
    let kept = slot.clone();
    let port = reactor.serve(at, async move |conn| {
        kept.set(Some(conn));
        Ok(())
    })?;
    let client = reactor.connect_stream(port.local_addr()).await?;
    loop {
        if let Some(server) = slot.take() {
            return Ok((client, server, port));
        }
        yield_now().await;
    }
}

/// An address at which nothing listens. On the machine its port stays bound, so that no other test
/// gets it.
pub async fn nowhere(reactor: &Reactor) -> Result<SocketAddr, Failure> {
    if reactor.poller().is_none() {
        return free_addr(reactor).await;
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let addr = socket.local_addr()?.as_socket();
    // Until the process ends.
    std::mem::forget(socket);
    Ok(addr.expect("it is an IP address"))
}

/// An address at which nothing listens now, and that is free to bind.
pub async fn free_addr(reactor: &Reactor) -> Result<SocketAddr, Failure> {
    let port = reactor.listen(HERE, |_| Spy::echo())?;
    port.stop().await?;
    Ok(port.local_addr().inet().unwrap())
}

/// Returns the microseconds of CPU time of this thread; only Linux provides them.
pub fn cpu_time() -> u128 {
    if cfg!(not(target_os = "linux")) {
        return 0;
    }
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = text.split_whitespace().next().unwrap();
    nanoseconds.parse::<u128>().unwrap() / 1000
}

/// Records panics and unhandled failures instead of failing the test.
pub fn expect_reports(reactor: &Reactor) -> Rc<RefCell<Vec<Report>>> {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let log = reports.clone();
    reactor.on_report(move |report| {
        log.borrow_mut().push(report.clone());
        // Not a strong handle: the reactor owns the hook.
        if let Some(reactor) = Reactor::current() {
            testing::take_reports(&reactor);
        }
    });
    testing::expect_panics(reactor);
    reports
}

/// Returns the kinds of everything that is alive, except ports.
pub fn alive(reactor: &Reactor) -> Vec<&'static str> {
    let mut kinds: Vec<_> = testing::leftovers(reactor)
        .iter()
        .map(|left| left.kind)
        .collect();
    kinds.sort_unstable();
    kinds
}

/// Polls a future once.
pub async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// The processes that this one has started and not waited for, zombies among them.
#[cfg(target_os = "linux")]
pub fn children() -> Vec<u32> {
    let mut children = Vec::new();
    let tasks = || std::fs::read_dir("/proc/self/task");
    for task in tasks().or_else(|_| tasks()).unwrap() {
        let path = task.unwrap().path().join("children");
        // A thread may have ended meanwhile.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        children.extend(
            text.split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    children
}

/// Returns whether one of them has exited.
#[cfg(target_os = "linux")]
pub fn has_zombies() -> bool {
    children().iter().any(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") Z ")
    })
}

/// Returns a builder for another reactor with the driver of this one.
pub fn builder_like(reactor: &Reactor) -> torsade::ReactorBuilder {
    match reactor.poller() {
        Some(poller) => Reactor::builder().poller(poller),
        None => Reactor::builder().in_memory(),
    }
}

/// Puts all streams of the reactor in TLS.
pub fn use_tls(reactor: &Reactor) {
    use std::sync::OnceLock;
    static PEM: OnceLock<String> = OnceLock::new();
    let pem = PEM.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        made.cert.pem() + &made.signing_key.serialize_pem()
    });
    let server = torsade::tls::ServerConfig::new(torsade::tls::Identity::from_pem(pem).unwrap());
    let client =
        torsade::tls::ClientConfig::new().roots(torsade::tls::Roots::empty().pem(pem).unwrap());
    testing::use_tls(reactor, server, client.server_name("localhost"));
}
