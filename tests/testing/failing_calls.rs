//! Every system call of a small conversation fails once, in every way it may: nothing hangs,
//! nothing panics, nothing is left behind, and only those whose call it was are harmed. There are
//! five: over TCP, over a UNIX socket with a descriptor passed, with datagrams, behind a proxy's
//! header, and with other programs. (Those have their own calls fail too.)
//!
//! strace makes them fail (<https://man7.org/linux/man-pages/man1/strace.1.html>, `--inject`): the
//! first call with the first error, the second, and so on until the conversation makes no more of
//! them. Those with other programs have a separate process for each. The others have one for
//! each error: strace counts the calls of each thread, and has the call number `FAULTY` fail, so a
//! conversation whose third call is to fail runs in a new thread after `FAULTY - 3` calls of that
//! kind which do nothing.
#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures::future::{Either, select};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{self, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags};
use support::folder::Folder;
use support::foreign::{need, say};
use support::noted::Noted;
use support::program::which;
use support::{HERE, Log, MS, Spy, children, own, until};
use torsade::process::{Command as Program, ProcessError};
use torsade::{
    Address, Clock, Connection, Context, DatagramPort, DatagramProtocol, Failure, Reactor,
    UdpSocket, testing,
};

/// In which conversation which system calls fail, and how.
const FAULTS: [(&str, &str, &[&str]); 32] = [
    (
        "tcp",
        "accept4",
        &[
            "EMFILE",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
            "ECONNABORTED",
            "EPROTO",
            "EPERM",
            "EINTR",
            "EAGAIN",
        ],
    ),
    ("tcp", "recvfrom", READING),
    ("tcp", "sendto", WRITING),
    (
        "tcp",
        "connect",
        &[
            "ECONNREFUSED",
            "ETIMEDOUT",
            "ENETUNREACH",
            "EADDRNOTAVAIL",
            "EAGAIN",
            "EINTR",
        ],
    ),
    ("tcp", "epoll_ctl", WATCHING),
    ("unix", "accept4", &["EMFILE", "ENOMEM", "EINTR", "EAGAIN"]),
    ("unix", "recvmsg", READING),
    (
        "unix",
        "sendmsg",
        &[
            "EPIPE",
            "ECONNRESET",
            "ENOBUFS",
            "ETOOMANYREFS",
            "EINTR",
            "EAGAIN",
        ],
    ),
    ("unix", "sendto", WRITING),
    (
        "unix",
        "connect",
        &["ECONNREFUSED", "EACCES", "EAGAIN", "EINTR"],
    ),
    ("unix", "epoll_ctl", WATCHING),
    (
        "udp",
        "recvfrom",
        &["ECONNREFUSED", "ENOMEM", "EINTR", "EAGAIN"],
    ),
    (
        "udp",
        "sendto",
        &[
            "ECONNREFUSED",
            "ENETUNREACH",
            "EPERM",
            "ENOBUFS",
            "EINTR",
            "EAGAIN",
        ],
    ),
    ("udp", "connect", &["ENETUNREACH", "EINTR"]),
    ("udp", "epoll_ctl", WATCHING),
    ("proxied", "recvfrom", READING),
    ("proxied", "epoll_ctl", WATCHING),
    ("programs", "pipe2", &["EMFILE"]),
    ("programs", "clone", &["EAGAIN"]),
    ("programs", "execve", &["EACCES", "ENOMEM"]),
    ("programs", "pidfd_open", &["ENOSYS", "EMFILE"]),
    ("programs", "epoll_ctl", &["ENOSPC"]),
    ("programs", "wait4", &["EINTR"]),
    ("programs", "fcntl", &["EMFILE"]),
    ("programs", "dup2", &["EMFILE"]),
    ("programs", "close_range", &["ENOSYS"]),
    ("programs", "ioctl", &["EIO"]),
    ("programs", "setsid", &["EPERM"]),
    ("programs", "setpgid", &["EPERM"]),
    ("programs", "openat", &["EMFILE"]),
    ("programs", "writev", &["EINTR", "EAGAIN"]),
    ("programs", "poll", &["EINTR"]),
];

const READING: &[&str] = &["ECONNRESET", "ETIMEDOUT", "ENOMEM", "EINTR", "EAGAIN"];
const WRITING: &[&str] = &["EPIPE", "ECONNRESET", "ENOBUFS", "EINTR", "EAGAIN"];
const WATCHING: &[&str] = &["ENOMEM", "ENOSPC"];

#[test]
fn each_call_of_tcp_fails_once_and_only_its_own_connection_is_harmed() {
    each_call_fails_once("tcp");
}

#[test]
fn each_call_of_a_unix_socket_fails_once_and_only_its_own_connection_is_harmed() {
    each_call_fails_once("unix");
}

#[test]
fn each_call_of_a_datagram_socket_fails_once_and_only_its_own_peer_is_harmed() {
    each_call_fails_once("udp");
}

#[test]
fn each_call_behind_a_proxys_header_fails_once_and_only_its_own_connection_is_harmed() {
    each_call_fails_once("proxied");
}

#[test]
fn each_call_that_runs_a_program_fails_once_and_never_gives_a_wrong_result() {
    each_call_fails_once("programs");
}

/// The number of the call that fails in a thread: more than any conversation makes.
const FAULTY: usize = 64;

#[track_caller]
fn each_call_fails_once(talk: &str) {
    let Some(strace) = &need("strace") else {
        return;
    };
    if run(&[], strace, talk, "getpid", "EPERM", 1).is_none() {
        return say("skipped: strace may not attach here");
    }
    let (next, points) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    // A program and its strace wait for each other, which costs a third where both share a core.
    let cores = cores();
    let are_pinned = which("taskset").is_some();
    let kinds: &Vec<_> = &FAULTS
        .iter()
        .filter(|(of, ..)| *of == talk)
        .flat_map(|(_, call, errors)| errors.iter().map(|error| (*call, *error)))
        .collect();
    thread::scope(|scope| {
        for core in cores.iter().cycle().take(4) {
            scope.spawn(move || {
                let on = ["taskset", "-c", core];
                let on = if are_pinned { &on[..] } else { &[] };
                while let Some((call, error)) = kinds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tried = match talk {
                        "programs" => {
                            let is_reached =
                                |nth: &usize| run(on, strace, talk, call, error, *nth) == Some(1);
                            (1..).take_while(is_reached).count()
                        }
                        _ => run(on, strace, talk, call, error, FAULTY).unwrap(),
                    };
                    points.fetch_add(tried, Ordering::Relaxed);
                }
            });
        }
    });
    let points = points.load(Ordering::Relaxed);
    say(&format!("{talk}: {points} points of failure tried"));
    assert!(points > 30, "{points}");
}

/// Runs the program under strace, where the words `on` put it, with the `nth` call of each of its
/// threads failing. How many calls have failed? `None` if strace cannot be used.
#[track_caller]
fn run(
    on: &[&str],
    strace: &Path,
    talk: &str,
    call: &str,
    error: &str,
    nth: usize,
) -> Option<usize> {
    let name = format!("faults-{talk}-{call}-{error}-{nth}");
    let trace = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    let output = Command::new("timeout")
        .args(["--signal=KILL", "60"])
        .args(on)
        .arg(strace)
        // The system stops it, and what it starts, at that call alone.
        .args(["-f", "-qq", "--seccomp-bpf"])
        .args(["-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error={error}:when={nth}")])
        .arg("-o")
        .arg(&trace)
        .arg(own::program())
        .args(own::words("the_conversation"))
        .env("TORSADE_FAULTS", format!("{talk} {call}"))
        // With cargo's folders the loader would look for each library in many places.
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = fs::read_to_string(&trace).unwrap_or_default();
    let _ = fs::remove_file(&trace);
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if text.is_empty() && errors.contains("strace:") {
        return None;
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{talk} {call} {error} {nth}: {:?}\n{said}\n{errors}\n{text}",
        output.status
    );
    let points = said
        .lines()
        // On one core the name of the test stands before it.
        .find_map(|line| line.split_once("points: "))
        .map(|(_, count)| count.parse::<usize>().unwrap());
    points.or_else(|| Some(usize::from(text.contains("(INJECTED)"))))
}

/// The program under strace: does nothing unless requested.
#[test]
fn the_conversation() {
    let Ok(faults) = env::var("TORSADE_FAULTS") else {
        return;
    };
    let (kind, call) = faults.split_once(' ').unwrap();
    if kind == "programs" || call == "getpid" {
        return converse(kind);
    }
    let mut points = 0;
    loop {
        let nth = points + 1;
        match thread::scope(|scope| scope.spawn(|| is_reached(kind, call, nth)).join()) {
            Ok(true) => points += 1,
            Ok(false) => break,
            Err(panic) => {
                eprintln!("that was with call {nth} failing");
                panic::resume_unwind(panic);
            }
        }
        assert_eq!(sockets(), 0, "sockets after call {nth} failed");
    }
    println!("points: {points}");
}

/// Holds the conversation after so many calls of this thread that its `nth` call fails. Did it come
/// to that call?
fn is_reached(kind: &str, call: &str, nth: usize) -> bool {
    assert!(nth < FAULTY, "the conversation makes too many calls");
    let idle = Idle::new(call);
    let natural = idle.call();
    for _ in 1..FAULTY - nth {
        assert_eq!(idle.call(), natural);
    }
    converse(kind);
    (0..nth).all(|_| idle.call() == natural)
}

/// Makes calls that do nothing, because they fail of themselves, each time in the same way.
struct Idle<'a> {
    call: &'a str,
    /// No socket.
    file: File,
    epoll: OwnedFd,
}

impl<'a> Idle<'a> {
    fn new(call: &'a str) -> Self {
        Self {
            call,
            file: File::open("/dev/null").unwrap(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
        }
    }

    fn call(&self) -> Errno {
        let nobody = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        let file = &self.file;
        let result = match self.call {
            "accept4" => net::accept_with(file, net::SocketFlags::CLOEXEC).map(drop),
            "connect" => net::connect(file, &nobody),
            "epoll_ctl" => epoll::delete(&self.epoll, file),
            "recvfrom" => net::recv(file, &mut [0], RecvFlags::empty()).map(drop),
            "recvmsg" => {
                let mut nothing = RecvAncillaryBuffer::default();
                net::recvmsg(file, &mut [], &mut nothing, RecvFlags::empty()).map(drop)
            }
            "sendmsg" => {
                let mut nothing = SendAncillaryBuffer::default();
                net::sendmsg(file, &[], &mut nothing, SendFlags::empty()).map(drop)
            }
            "sendto" => net::send(file, &[], SendFlags::empty()).map(drop),
            call => panic!("{call}"),
        };
        result.unwrap_err()
    }
}

fn converse(kind: &str) {
    // The call that fails has to belong to the conversation, so the calls before it are retried.
    let reactor = Reactor::new().or_else(|_| Reactor::new()).unwrap();
    testing::run_on(reactor, async |reactor| {
        // A failure may be reported that no code could receive: a connection that the server could
        // not keep.
        let harmed = match kind {
            "udp" => datagrams(&reactor).await?,
            "programs" => programs(&reactor).await?,
            kind => streams(&reactor, kind).await?,
        };
        // A handler at the other end may be about to fail.
        for _ in 0..3 {
            reactor.sleep(Duration::ZERO).await?;
        }
        let panics: Vec<_> = testing::take_reports(&reactor)
            .into_iter()
            .filter(|report| report.is_panic())
            .collect();
        assert!(panics.is_empty(), "{panics:?}");
        assert!(harmed <= 1, "{harmed} were harmed");
        Ok(())
    });
}

/// One is there before; two come, and go; the first still is there. How many of them were harmed?
async fn streams(reactor: &Reactor, kind: &str) -> Result<usize, Failure> {
    let folder = Folder::create();
    let at = match kind {
        "unix" => folder.socket().to_string() + ":lockfile=0",
        "proxied" => format!("haproxy:{HERE}"),
        _ => HERE.into(),
    };
    let port = twice(|| match kind {
        "unix" => reactor.serve(&at, take_and_echo),
        _ => reactor.listen(&at, |_| Spy::echo()),
    })?;
    let address = port.local_addr();
    let kept = limited(reactor, connected(reactor, kind, &address)).await;
    let mut harmed = 0;
    for _ in 0..2 {
        let talk = limited(reactor, talk(reactor, kind, &address)).await;
        harmed += usize::from(talk.is_err());
    }
    let fine = match kept {
        Ok(mut kept) => limited(reactor, echo(&mut kept)).await.is_ok(),
        Err(_) => false,
    };
    harmed += usize::from(!fine);
    port.stop().await?;
    Ok(harmed)
}

/// The same with datagrams, of which each may be lost, and is sent again then.
async fn datagrams(reactor: &Reactor) -> Result<usize, Failure> {
    let echo = twice(|| reactor.listen_datagram(HERE, Answering))?;
    let kept = twice(|| reactor.bind_datagram(HERE))?;
    let mut harmed = usize::from(
        asked(reactor, &kept, Some(echo.local_addr()))
            .await
            .is_err(),
    );
    for _ in 0..2 {
        let talk = async {
            let socket = twice(|| reactor.bind_datagram(HERE))?;
            socket.connect(echo.local_addr())?;
            asked(reactor, &socket, None).await?;
            asked(reactor, &socket, None).await
        };
        harmed += usize::from(limited(reactor, talk).await.is_err());
    }
    let again = asked(reactor, &kept, Some(echo.local_addr()));
    harmed += usize::from(limited(reactor, again).await.is_err());
    echo.stop().await?;
    Ok(harmed)
}

/// Asks until there is an answer: any datagram may be lost.
async fn asked(reactor: &Reactor, socket: &UdpSocket, to: Option<Address>) -> Result<(), Failure> {
    let mut buf = [0; 8];
    loop {
        match &to {
            Some(to) => socket.send_to(b"hello", to).await?,
            None => socket.send(b"hello").await?,
        }
        let answer = pin!(socket.recv(&mut buf));
        if let Either::Left((count, _)) = select(answer, reactor.sleep(MS * 500)).await {
            assert_eq!(count?, 5);
            return Ok(());
        }
    }
}

/// Several are started, one after another. The result may be an error, but not a wrong one.
async fn programs(reactor: &Reactor) -> Result<usize, Failure> {
    // The objects are made once, and a call of these may fail already.
    let (before, _) = (mine(), limited(reactor, sh("exit").status(reactor)).await);
    let mut harmed = 0;
    for n in 0..4 {
        let part = async {
            match n {
                0 => filter(reactor).await,
                1 => hooks(reactor).await,
                2 => terminal(reactor).await,
                _ => ending(reactor).await,
            }
        };
        harmed += usize::from(limited(reactor, part).await.is_err());
    }
    let missing = Program::new("/no/such").output(reactor).await;
    assert!(matches!(
        missing.unwrap_err().downcast_ref(),
        Some(ProcessError::NotStarted { .. })
    ));
    limited(reactor, async {
        let is_left = |left: &testing::Leftover| left.kind.contains("process");
        until(|| !testing::leftovers(reactor).iter().any(is_left)).await;
        until(|| children().is_empty()).await;
        until(|| mine() == before).await;
        Ok(())
    })
    .await?;
    // All of them may be: each of the programs has its own first call fail.
    Ok(harmed.min(1))
}

fn sh(script: &str) -> Program {
    Program::new("sh").args(["-c", script]).kill_on_drop(true)
}

async fn filter(reactor: &Reactor) -> Result<(), Failure> {
    let input = vec![b'x'; 100_000];
    let output = Program::new("cat").input(&*input).output(reactor).await?;
    let output = output.success()?;
    assert!(output.out == input, "{} bytes", output.out.len());
    Ok(())
}

async fn hooks(reactor: &Reactor) -> Result<(), Failure> {
    let log = Log::new();
    let noted = Noted::new(&log).quiet();
    let handle = sh("echo out; echo err >&2; exit 3").spawn_protocol(reactor, noted)?;
    let reason = handle.closed().await?;
    let mut notes = log.take();
    assert_eq!(notes.remove(0), "made");
    assert!(notes.pop().unwrap().starts_with("ended with"));
    notes.sort();
    assert!(notes.pop().unwrap().starts_with("exited with"));
    assert_eq!(notes, ["0 closed", "1 closed", "2 closed"]);
    match reason.downcast_ref() {
        Some(ProcessError::Terminated { status }) if status.code() == Some(3) => Ok(()),
        Some(_) => Err(Failure::new("the program was harmed")),
        None => Err(reason),
    }
}

async fn terminal(reactor: &Reactor) -> Result<(), Failure> {
    let mut child = sh("read x; echo got $x").pty().spawn(reactor)?;
    let mut terminal = child.take_stdin()?;
    terminal.write_all(b"a\n").await?;
    let (echo, got) = (terminal.read_line(80).await?, terminal.read_line(80).await?);
    assert!(child.status().await?.code().is_some());
    match (echo.as_deref(), got.as_deref()) {
        (Some(b"a"), Some(b"got a")) => Ok(()),
        _ => Err(Failure::new("the program was harmed")),
    }
}

async fn ending(reactor: &Reactor) -> Result<(), Failure> {
    let child = sh("exec sleep 1000").lead_group().spawn(reactor)?;
    let status = child.end_within(MS).await?;
    match status.success() {
        true => Err(Failure::new("the program was harmed")),
        false => Ok(()),
    }
}

/// Returns the numbers of the cores that this process may use.
fn cores() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.split_once("Cpus_allowed_list:").unwrap().1;
    let ranges = list.lines().next().unwrap().trim().split(',');
    let numbers = ranges.flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<usize>().unwrap()..=last.parse().unwrap()
    });
    numbers.map(|number| number.to_string()).collect()
}

/// Returns how many sockets this process has.
fn sockets() -> usize {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.map(|entry| fs::read_link(entry.unwrap().path()));
    links
        .filter(|link| matches!(link, Ok(path) if path.to_string_lossy().starts_with("socket:")))
        .count()
}

/// Descriptors and threads of this process.
fn mine() -> (usize, usize) {
    let count = |path| twice(|| Ok(fs::read_dir(path)?.count())).unwrap();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// Tries a thing again that the system has refused once.
fn twice<T>(mut make: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    make().or_else(|_| make())
}

/// Returns its result, within its time.
async fn limited<T>(
    reactor: &Reactor,
    talk: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match select(pin!(talk), reactor.sleep(Duration::from_secs(5))).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => panic!("it hangs"),
    }
}

/// A connection that has said for whom it is, where it has to.
async fn connected(
    reactor: &Reactor,
    kind: &str,
    address: &Address,
) -> Result<Connection, Failure> {
    let mut conn = reactor.connect_stream(address).await?;
    if kind == "proxied" {
        conn.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 ")
            .await?;
        conn.flush().await?;
        reactor.sleep(MS).await?;
        conn.write_all(b"80\r\n").await?;
    }
    Ok(conn)
}

async fn talk(reactor: &Reactor, kind: &str, address: &Address) -> Result<(), Failure> {
    let mut conn = connected(reactor, kind, address).await?;
    echo(&mut conn).await?;
    reactor.sleep(MS).await?;
    if kind == "unix" {
        let (mut ours, theirs) = UnixStream::pair()?;
        conn.send_descriptor(theirs)?;
        echo(&mut conn).await?;
        ours.set_nonblocking(true)?;
        ours.read_exact(&mut [0])?;
    }
    echo(&mut conn).await?;
    conn.transport().lose_write();
    match conn.read(&mut [0; 16]).await? {
        0 => Ok(()),
        _ => Err(Failure::new("there is more than was sent")),
    }
}

async fn echo(conn: &mut Connection) -> Result<(), Failure> {
    conn.write_all(b"hello").await?;
    let mut answer = [0; 5];
    conn.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

/// Writes to each descriptor that comes, and echoes.
async fn take_and_echo(mut conn: Connection) -> Result<(), Failure> {
    let mut buf = [0; 100];
    loop {
        let count = conn.read(&mut buf).await?;
        while let Some(descriptor) = conn.take_descriptor() {
            UnixStream::from(descriptor).write_all(b"!")?;
        }
        match count {
            0 => return Ok(()),
            count => conn.write_all(&buf[..count]).await?,
        }
    }
}

/// Echoes datagrams, as far as it can.
struct Answering;

impl DatagramProtocol for Answering {
    fn datagram_received(
        &mut self,
        cx: &mut Context<'_, Self, DatagramPort>,
        data: &[u8],
        from: Address,
    ) {
        let _ = cx.write(data, from);
    }
}
