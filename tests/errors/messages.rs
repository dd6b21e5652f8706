//! The texts of errors, and their conversions.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::num::ParseIntError;
use std::panic;
use std::path::Path;
use std::rc::Rc;
use torsade::net::ClientEndpoint;

use support::{HERE, MS, Spy};
use torsade::clock::{ClockStopped, TimedOut};
use torsade::defer::{self, DeferredError};
use torsade::failure::FailureError;
use torsade::http::{HttpError, Phase, StatusCode};
use torsade::locks::{LockError, QueueOverflow};
use torsade::net::datagram::DatagramError;
use torsade::net::{ConnectError, ConnectorState, ListenError, Network};
use torsade::protocols::FrameError;
use torsade::protocols::irc::IrcError;
use torsade::reactor::{ReactorError, Stopped};
use torsade::repeat::CooperateError;
use torsade::services::ServiceError;
use torsade::signals::SignalError;
use torsade::testing::Wire;
use torsade::threads::PoolError;
use torsade::tls::{CertificateProblem, Identity, TlsError};
use torsade::transport::ConnectionError;
use torsade::{
    Address, Cancelled, Deferred, Failure, Reactor, Signal, VirtualClock, fail, testing,
};

#[derive(Debug, PartialEq)]
struct Broken(u8);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {} is broken", self.0)
    }
}

impl Error for Broken {}

#[derive(Debug)]
struct Outer(Broken);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// As `thiserror` generates for `#[from]`, `#[source]` and `transparent`.
#[derive(Debug)]
enum AppError {
    Network(Failure),
    Loading(Failure),
    Plain(Box<Self>),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(_) => f.write_str("the network failed"),
            Self::Loading(_) => f.write_str("while loading"),
            Self::Plain(error) => error.fmt(f),
        }
    }
}

impl Error for AppError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Network(failure) | Self::Loading(failure) => Some(as_error(failure)),
            Self::Plain(error) => error.source(),
        }
    }
}

impl From<Failure> for AppError {
    fn from(failure: Failure) -> Self {
        Self::Network(failure)
    }
}

/// Converts as `thiserror` does: by a trait that errors have, and types that dereference to one.
fn as_error(failure: &Failure) -> &(dyn Error + 'static) {
    failure.as_ref()
}

impl Unpin for AppError {}

fn broken() -> Failure {
    Failure::new(Outer(Broken(3)))
}

/// Converts an error as `?` does.
fn question_mark<E, F: From<E>>(error: E) -> F {
    let result: Result<(), F> = (|| Err(error)?)();
    result.unwrap_err()
}

fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |error| (*error).source())
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_failure_turned_into_a_box_is_the_error_in_it() {
    let boxed: Box<dyn Error + Send + Sync> = broken().into();
    assert!(boxed.downcast_ref::<Outer>().is_some());
    assert!(boxed.source().unwrap().is::<Broken>());
    let boxed: Box<dyn Error> = question_mark(broken());
    assert!(boxed.downcast::<Outer>().is_ok());
    let error = io::Error::other(broken());
    assert!(error.get_ref().unwrap().is::<Outer>());
}

#[test]
fn a_shared_failure_turned_into_a_box_has_the_error_as_its_source() {
    let failure = broken();
    let boxed: Box<dyn Error + Send + Sync> = failure.clone().into();
    assert!(boxed.source().unwrap().is::<Outer>());
    let said = chain(&*boxed);
    assert!(
        said[0].starts_with(concat!("failed at ", file!(), ":")),
        "{said:?}"
    );
    assert_eq!(said[1..], ["outer", "part 3 is broken"]);
    assert!(boxed.is::<FailureError>());
    assert!(Failure::from(boxed).ptr_eq(&failure));
}

#[test]
fn a_question_mark_makes_a_failure_of_everything() {
    let here = |failure: Failure| {
        assert_eq!(failure.location().file(), file!());
        failure
    };
    assert!(here(question_mark("x".parse::<u8>().unwrap_err())).is::<ParseIntError>());
    assert_eq!(here(question_mark("plain")).to_string(), "plain");
    let text = String::from("owned");
    assert_eq!(here(question_mark(text.as_str())).to_string(), "owned");
    assert_eq!(here(question_mark(text)).to_string(), "owned");
    let boxed: Box<dyn Error + Send + Sync> = Box::new(Outer(Broken(1)));
    let failure = here(question_mark(boxed));
    assert!(failure.is::<Outer>() && failure.find::<Broken>() == Some(&Broken(1)));
    let failure = here(question_mark(
        anyhow::Error::new(Broken(2)).context("above"),
    ));
    assert_eq!(format!("{failure:#}"), "above: part 2 is broken");
    assert_eq!(failure.find(), Some(&Broken(2)));
    let failure = here(question_mark(
        eyre::Report::new(Broken(2)).wrap_err("above"),
    ));
    assert_eq!(format!("{failure:#}"), "above: part 2 is broken");
    assert_eq!(failure.find(), Some(&Broken(2)));
    let failure = here(question_mark(AppError::Loading(fail!("no {}", "disk"))));
    assert_eq!(format!("{failure:#}"), "while loading: no disk");
    assert!(failure.is::<AppError>());
}

#[test]
fn a_question_mark_turns_a_failure_into_the_errors_of_other_crates() {
    let error: anyhow::Error = question_mark(broken().context("starting"));
    assert_eq!(error.root_cause().downcast_ref(), Some(&Broken(3)));
    assert!(format!("{error:#}").ends_with(": starting: outer: part 3 is broken"));
    let failure: Failure = question_mark(error);
    assert_eq!(failure.find(), Some(&Broken(3)));

    let report: eyre::Report = question_mark(broken());
    assert_eq!(report.root_cause().downcast_ref(), Some(&Broken(3)));
    let failure: Failure = question_mark(report);
    assert_eq!(failure.find(), Some(&Broken(3)));

    let error: AppError = question_mark(broken());
    assert_eq!(
        chain(&error),
        ["the network failed", "outer", "part 3 is broken"]
    );
    let error = AppError::Plain(Box::new(error));
    assert_eq!(
        chain(&error),
        ["the network failed", "outer", "part 3 is broken"]
    );
    let failure: Failure = question_mark(error);
    assert_eq!(failure.find(), Some(&Broken(3)));
}

#[test]
fn an_error_made_of_a_failure_keeps_all_of_it() {
    let failure = broken();
    let error = failure.clone().into_error();
    assert!(error.failure().ptr_eq(&failure));
    let again: Failure = question_mark(error);
    assert!(again.ptr_eq(&failure));
    assert!(Failure::new(again.into_error()).ptr_eq(&failure));
}

#[test]
fn fail_formats_and_names_its_line() {
    let (n, line) = (3, line!() + 1);
    let failure = fail!("part {n} of {}", 4);
    assert_eq!(failure.to_string(), "part 3 of 4");
    assert_eq!(failure.location().line(), line);
    assert_eq!(failure.location().file(), file!());
}

const WHY: &str = "the cable is cut";

/// Returns a failure of each public error, by the error's name.
fn all_errors() -> Vec<(&'static str, Failure)> {
    let why = || io::Error::other(WHY);
    let address = || Address::from(([127, 0, 0, 1], 80));
    let refused = |last| {
        let address = Address::from(([127, 0, 0, last], 80));
        let error = io::Error::other(format!("{WHY} at {last}"));
        (
            address.clone(),
            Failure::new(ConnectError::Refused { address, error }),
        )
    };
    let fail = || Failure::new(WHY);
    let settled = |deferred: Deferred<()>| now(deferred).unwrap_err();
    let mut all = Vec::new();
    macro_rules! each {
        ($($name:path $(= $failure:expr)?;)+) => {
            $(all.push((stringify!($name), each!(@ $name $(= $failure)?)));)+
        };
        (@ $name:path) => { Failure::new($name) };
        (@ $name:path = $failure:expr) => { Failure::from($failure) };
    }
    each! {
        DeferredError::ResultTaken;
        DeferredError::Abandoned = settled(abandoned());
        Cancelled;
        ClockStopped;
        ConnectionError::Aborted;
        ConnectionError::Done;
        ConnectionError::Lost = connection_lost();
        ConnectionError::NotSent = bytes_not_sent();
        ConnectionError::DescriptorOverrun = ConnectionError::DescriptorOverrun { left: 1 };
        FailureError = fail().into_error().into_failure();
        FailureGroup = settled(defer::race([Deferred::<()>::fail("one"), Deferred::fail("two")]).map(drop));
        FirstError = settled(defer::gather([Deferred::<()>::fail(WHY)]).map(drop));
        ConnectionError::HandedOver;
        FrameError::LineTooLong = FrameError::LineTooLong { limit: 9 };
        FrameError::FrameTooLong = FrameError::FrameTooLong { length: 300, limit: 255 };
        FrameError::NegativeLength = FrameError::NegativeLength { value: 3 };
        FrameError::BadNetstring = FrameError::BadNetstring { found: b'x', expected: "a comma" };
        FrameError::ContainsDelimiter = FrameError::ContainsDelimiter { position: 7 };
        FrameError::Incomplete = FrameError::Incomplete { received: 5 };
        HttpError::BodyBroken = HttpError::BodyBroken { cause: Failure::new(WHY) };
        HttpError::Failed = HttpError::Failed {
            phase: Phase::Connecting,
            url: "http://a/".into(),
            cause: Failure::new(WHY),
        };
        HttpError::NoUpgrade;
        HttpError::BodyDropped;
        HttpError::Redirect = HttpError::Redirect {
            url: "http://a/".into(),
            problem: "20 redirects were followed before".into(),
        };
        HttpError::Status = HttpError::Status {
            url: "http://a/".into(),
            status: StatusCode::NOT_FOUND,
            headers: Default::default(),
            body: "no".into(),
        };
        HttpError::TimedOut = HttpError::TimedOut {
            phase: Phase::Reading,
            url: "http://a/".into(),
            limit: MS,
        };
        HttpError::TooLarge = HttpError::TooLarge { limit: 5 };
        HttpError::WriterDropped;
        HttpError::Url = HttpError::Url {
            url: "a".into(),
            problem: "it has no scheme".into(),
        };
        IrcError::NoCommand = IrcError::NoCommand { line: ":x".into() };
        IrcError::BadCommand = IrcError::BadCommand { found: "A1".into() };
        IrcError::ForbiddenByte = IrcError::ForbiddenByte { found: b'\n' };
        IrcError::BadParam = IrcError::BadParam { found: "a b".into() };
        IrcError::LineTooLong = IrcError::LineTooLong { limit: 512 };
        IrcError::NoSpaceForText;
        IrcError::NotConnected;
        IrcError::QueueFull = IrcError::QueueFull { limit: 1000 };
        IrcError::TooManyEvents = IrcError::TooManyEvents { limit: 4096 };
        IrcError::NoSuchNick = IrcError::NoSuchNick { nick: "ada".into() };
        IrcError::NickRefused = IrcError::NickRefused { nick: "ada".into() };
        IrcError::Refused = IrcError::Refused { text: WHY.into() };
        IrcError::SaslFailed = IrcError::SaslFailed { text: WHY.into() };
        IrcError::ServerClosed = IrcError::ServerClosed { text: WHY.into() };
        IrcError::RegistrationTimedOut = IrcError::RegistrationTimedOut { limit: MS };
        IrcError::PongMissing = IrcError::PongMissing { limit: MS };
        PoolError::NotStarted;
        LockError::NoPermits;
        DeferredError::NoReactor;
        DeferredError::Empty;
        ReactorError::OverBudget = ReactorError::OverBudget { held: 1, used: 3, limit: 2 };
        Panicked = panicked();
        PoolError::Closed;
        PoolError::Full = PoolError::Full { limit: 3 };
        PoolError::NoThread;
        ConnectionError::ProducerRegistered;
        QueueOverflow = QueueOverflow(3);
        ReactorError::PollerUnavailable = "kevent".parse::<torsade::reactor::Poller>().unwrap_err();
        LockError::QueueUnderflow = LockError::QueueUnderflow { waiting: 3 };
        ReactorError::AlreadyRunning;
        ReactorError::Ended;
        ReactorError::NotRestartable;
        ReactorError::NotRunning;
        CooperateError::SchedulerStopped;
        LockError::SemaphoreClosed;
        ConnectionError::SendTimedOut = ConnectionError::SendTimedOut { queued: 1, limit: MS };
        ConnectionError::Idle = ConnectionError::Idle { limit: MS };
        ConnectionError::FrameTimedOut = ConnectionError::FrameTimedOut { limit: MS };
        TlsError::Alert = TlsError::Alert { alert: "handshake_failure".into() };
        TlsError::Certificate = TlsError::Certificate { problem: CertificateProblem::Expired };
        TlsError::Config = Identity::from_pem("").unwrap_err();
        TlsError::HandshakeClosed;
        TlsError::HandshakeTimedOut = TlsError::HandshakeTimedOut { limit: MS };
        TlsError::Incompatible = TlsError::Incompatible { problem: "no version".into() };
        TlsError::NotTls = TlsError::NotTls { found: b"GET /\r\n".to_vec() };
        TlsError::PlaintextReceived = TlsError::PlaintextReceived { bytes: 6 };
        TlsError::Truncated;
        TlsError::Violation = TlsError::Violation { problem: "two hellos".into() };
        ReactorError::StillRunning;
        Stopped;
        CooperateError::TaskDone;
        CooperateError::TaskFailed = CooperateError::TaskFailed(fail());
        CooperateError::TaskStopped;
        TimedOut = TimedOut(MS);
        SignalError::Fault = SignalError::Fault { signal: Signal::SEGV };
        SignalError::Reserved = SignalError::Reserved { signal: Signal::SEGV };
        SignalError::UnknownName = "SIGNOT".parse::<Signal>().unwrap_err();
        SignalError::UnknownNumber = Signal::from_number(-1).unwrap_err();
        SignalError::NotCatchable = testing_failure(async |reactor| reactor.signals([Signal::KILL]).map(drop));
        DeferredError::WaitsForItself;
        LockError::WatchEnded;
        ReactorError::WouldDeadlock;
        ConnectionError::WriteOverflow = ConnectionError::WriteOverflow { queued: 2, limit: 1 };
    }
    let bad_endpoint =
        testing_failure(async |reactor| reactor.listen("nonsense:1", |_| Spy::echo()).map(drop));
    all.push(("EndpointError::Endpoint", bad_endpoint));
    let unknown = testing_failure(async |reactor| reactor.resolve("no.such").await.map(drop));
    all.push(("LookupError", unknown));
    let bad_name = testing_failure(async |reactor| reactor.resolve("a b").await.map(drop));
    all.push(("LookupError::InvalidName", bad_name));
    each! {
        ConnectError::Refused = ConnectError::Refused { address: address(), error: why() };
        ConnectError::NoRoute = ConnectError::NoRoute { address: address(), error: why() };
        ConnectError::TimedOut = ConnectError::TimedOut {
            address: address(), limit: Some(MS), error: Some(why())
        };
        ConnectError::Failed = ConnectError::Failed { address: address(), error: why() };
        ConnectError::AllFailed = ConnectError::AllFailed {
            attempts: vec![refused(1), refused(2), refused(3)]
        };
        ConnectError::NoAddress;
        ConnectError::Busy = ConnectError::Busy(ConnectorState::Connected);
        ListenError::Failed = ListenError::Failed { address: address(), error: why() };
        ListenError::NoAddress;
        ListenError::Closed;
        ListenError::AlreadyAdopted;
        ListenError::StdioInUse;
        EndpointError::Address = "x".parse::<Address>().unwrap_err();
        EndpointError::Network = "10.0.0.0/99".parse::<Network>().unwrap_err();
        DatagramError::TooLong = DatagramError::TooLong { size: 1 };
        DatagramError::Truncated = DatagramError::Truncated { size: 2, kept: 1, from: address() };
        DatagramError::QueueFull = DatagramError::QueueFull { queued: 1, limit: 2 };
        DatagramError::NotSent = DatagramError::NotSent { datagrams: 2, bytes: 9, from: address() };
        DatagramError::SendFailed = DatagramError::SendFailed { to: Some(address()), error: why() };
        DatagramError::InvalidAddress = DatagramError::InvalidAddress {
            address: "x".into(), expected: "an address"
        };
        DatagramError::AlreadyConnected = DatagramError::AlreadyConnected { to: address() };
        DatagramError::Closed;
        DatagramError::MulticastJoin = DatagramError::MulticastJoin {
            group: IpAddr::from([224, 0, 0, 1]), error: why()
        };
        ServiceError::NameTaken = ServiceError::NameTaken { name: "web".into() };
        ServiceError::NoProtocol;
    }
    #[cfg(unix)]
    all.extend(errors_of_unix());
    all
}

#[cfg(unix)]
fn errors_of_unix() -> Vec<(&'static str, Failure)> {
    use std::os::fd::OwnedFd;
    use torsade::locks::DeferredFilesystemLock;
    use torsade::net::activation;
    use torsade::process::{Command, ExitStatus, ProcessError};

    let folder = support::folder::Folder::create();
    let path = folder.path("lock");
    let lock = DeferredFilesystemLock::new(&path, &VirtualClock::new());
    fs::write(&path, "").unwrap();
    let no_lock = lock.lock().unwrap_err();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("1", &path).unwrap();
    let not_ours = lock.unlock().unwrap_err();
    let file = || OwnedFd::from(fs::File::open("Cargo.toml").unwrap());
    let cannot_adopt = testing_failure(async |_| {
        let reactor = Reactor::current().unwrap();
        let adopted = reactor.connect_stream(ClientEndpoint::adopt(file()));
        adopted.await.map(drop)
    });
    let terminated = {
        use std::os::unix::process::ExitStatusExt;
        ProcessError::Terminated {
            status: ExitStatus::from_raw(256),
        }
    };
    let not_started = Reactor::new()
        .unwrap()
        .run_until(async {
            let reactor = Reactor::current().unwrap();
            Command::new("/no/such/program")
                .output(&reactor)
                .await
                .map(drop)
        })
        .and_then(|result| result)
        .unwrap_err();
    vec![
        (
            "LockError::AlreadyWaiting",
            LockError::AlreadyWaiting.into(),
        ),
        ("ListenError::NotAdoptable", cannot_adopt),
        (
            "ProcessError::NoSuchPipe",
            ProcessError::NoSuchPipe { fd: 1 }.into(),
        ),
        ("LockError::NotALock", no_lock.into()),
        (
            "ListenError::NotInherited",
            activation::take(99).unwrap_err(),
        ),
        ("LockError::NotHeld", not_ours.into()),
        ("ProcessError::NotStarted", not_started),
        (
            "ProcessError::OutputTooLong",
            ProcessError::OutputTooLong { limit: 1 }.into(),
        ),
        ("ProcessError::Done", ProcessError::Done.into()),
        (
            "ProcessError::AlreadyExited",
            ProcessError::AlreadyExited.into(),
        ),
        ("ProcessError::Terminated", terminated.into()),
        (
            "ProcessError::StatusTaken",
            ProcessError::StatusTaken.into(),
        ),
    ]
}

fn testing_failure(f: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) -> Failure {
    let mut failure = None;
    testing::run(async |reactor| {
        failure = f(reactor).await.err();
        Ok(())
    });
    failure.unwrap()
}

fn connection_lost() -> Failure {
    let mut wire = Wire::new(Spy::echo());
    wire.reset();
    wire.reason().unwrap()
}

/// Returns the report of a connection that had more to send than its peer takes.
fn bytes_not_sent() -> Failure {
    let reactor = Reactor::in_memory().unwrap();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let log = reports.clone();
    reactor.on_report(move |report| log.borrow_mut().push(report.failure().clone()));
    let ended = reactor.run_until(async {
        let deaf = |_| Spy::echo().on_made(torsade::Transport::pause_producing);
        let port = reactor.listen(HERE, deaf)?;
        let handle = reactor.connect(port.local_addr(), Spy::echo()).await?;
        let transport = handle.transport().unwrap();
        transport.write(vec![0; 1 << 20]);
        transport.lose_connection();
        Ok::<(), Failure>(())
    });
    ended.unwrap().unwrap();
    let reports = reports.take();
    let found = reports
        .into_iter()
        .find(|failure| is_error!(failure, ConnectionError::NotSent { .. }));
    found.expect("it is reported")
}

fn panicked() -> Failure {
    now(Deferred::succeed(()).add_callback(|()| {
        panic::resume_unwind(Box::new(WHY));
    }))
    .unwrap_err()
}

fn abandoned() -> Deferred<()> {
    let (deferred, resolver) = Deferred::pair();
    drop(resolver);
    deferred
}

/// Returns the result of a settled Deferred.
fn now<T: 'static>(deferred: Deferred<T>) -> Result<T, Failure> {
    let result = Rc::new(std::cell::Cell::new(None));
    let to = result.clone();
    drop(deferred.add_both(move |it| to.set(Some(it))));
    result.take().expect("it has its result")
}

#[test]
fn each_error_describes_its_own_level_and_its_source_the_next() {
    for (name, failure) in all_errors() {
        let said: Vec<String> = failure.chain().map(ToString::to_string).collect();
        assert!(said.iter().all(|level| !level.is_empty()), "{name}");
        for pair in said.windows(2) {
            assert!(
                !pair[0].contains(&pair[1]),
                "{name} repeats its source: {said:?}"
            );
            assert!(
                !pair[1].contains(&pair[0]),
                "the source of {name} repeats it: {said:?}"
            );
        }
        let whole = format!("{failure:#}");
        assert_eq!(whole, said.join(": "), "{name}");
        // As `main` prints it.
        let debug = format!("{failure:?}");
        assert!(debug.starts_with(&whole), "{name}: {debug}");
        for level in &said {
            assert_eq!(debug.matches(level.as_str()).count(), 1, "{name}: {debug}");
        }
        assert!(whole.matches(WHY).count() <= 3, "{name}: {whole}");
    }
}

/// For errors whose cause is an error of the system, or another failure.
#[test]
fn an_error_with_a_cause_tells_it() {
    for (name, failure) in all_errors() {
        let whole = format!("{failure:#}");
        let wanted = match name {
            "ConnectError::Failed"
            | "ConnectError::NoRoute"
            | "ConnectError::Refused"
            | "ConnectError::TimedOut"
            | "DatagramError::MulticastJoin"
            | "DatagramError::SendFailed"
            | "FirstError"
            | "ListenError::Failed"
            | "CooperateError::TaskFailed"
            | "Panicked" => WHY,
            "ProcessError::NotStarted" => "No such file",
            "ConnectionError::Lost" => "reset",
            _ => continue,
        };
        assert_eq!(whole.matches(wanted).count(), 1, "{name}: {whole}");
    }
}

#[test]
fn every_error_of_the_library_is_among_them() {
    let mut known = BTreeSet::new();
    for (name, _) in all_errors() {
        // The name of a variant stands for its enum as well; a module in front is not compared.
        let parts: Vec<&str> = name
            .split("::")
            .filter(|part| part.starts_with(char::is_uppercase))
            .collect();
        known.extend([parts.join("::"), parts[0].to_owned()]);
    }
    let mut found = BTreeSet::new();
    for text in sources(Path::new("src")) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let is_public = |name: &str| {
            ["pub struct", "pub enum"].iter().any(|kind| {
                let at = code.split_once(&format!("\n{kind} {name}"));
                at.is_some_and(|(_, rest)| !rest.starts_with(char::is_alphanumeric))
            })
        };
        for line in code.lines() {
            if let Some((before, after)) = line.split_once("Error for ") {
                let name = first_word(after);
                if before.starts_with("impl") && is_public(name) {
                    found.insert(name.to_owned());
                }
            }
        }
        for block in code.split("\nerrors! {").skip(1) {
            let mut inside = None;
            for line in block.split("\n}").next().unwrap().lines() {
                let indent = line.len() - line.trim_start().len();
                let name = first_word(line.trim_start());
                match (indent, name) {
                    (4, "enum") => inside = Some(first_word(&line["    enum ".len()..])),
                    (4, "") => inside = None,
                    (4, name) if is_public(name) => {
                        found.insert(name.to_owned());
                    }
                    (8, name) if !name.is_empty() => {
                        if let Some(within) = inside.filter(|within| is_public(within)) {
                            found.insert(format!("{within}::{name}"));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(found.len() > 60, "{found:?}");
    let missing: Vec<_> = found
        .iter()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "not tried in this file: {missing:?}");
}

/// Returns the letters and digits that the text begins with.
fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric());
    &text[..end.unwrap_or(text.len())]
}

fn sources(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            all.push(fs::read_to_string(path).unwrap());
        }
    }
    all
}
