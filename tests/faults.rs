//! Every system call of a small conversation fails once, in every way it may: nothing hangs, nothing panics, nothing is left
//! behind, and only those whose call it was are harmed.
//!
//! strace makes them fail (<https://man7.org/linux/man-pages/man1/strace.1.html>, `--inject`), in a process of its own for
//! each: the first call with the first error, the second, and so on until the conversation makes no more of them.
#![cfg(target_os = "linux")]

mod support;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::foreign::{need, say};
use support::{HERE, Log, MS, Spy};
use torsade::{Address, Clock, Failure, Reactor};

/// The system calls, and how each may fail.
const FAULTS: [(&str, &[&str]); 5] = [
    (
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
    (
        "recvfrom",
        &["ECONNRESET", "ETIMEDOUT", "ENOMEM", "EINTR", "EAGAIN"],
    ),
    (
        "sendto",
        &["EPIPE", "ECONNRESET", "ENOBUFS", "EINTR", "EAGAIN"],
    ),
    (
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
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
];

#[test]
fn each_system_call_fails_once_and_only_its_own_connection_is_harmed() {
    let Some(strace) = need("strace") else { return };
    if run(&strace, "getpid", "EPERM", 1).is_none() {
        return say("skipped: strace may not attach here");
    }
    let next = AtomicUsize::new(0);
    let points = AtomicUsize::new(0);
    let kinds: Vec<_> = FAULTS
        .iter()
        .flat_map(|(call, errors)| errors.iter().map(|error| (*call, *error)))
        .collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((call, error)) = kinds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for nth in 1.. {
                        match run(&strace, call, error, nth) {
                            Some(true) => points.fetch_add(1, Ordering::Relaxed),
                            _ => break,
                        };
                    }
                }
            });
        }
    });
    let points = points.into_inner();
    say(&format!("{points} points of failure tried"));
    assert!(points > 100, "only {points} calls failed");
}

/// Runs the conversation with the `nth` call failing. Did it come to that call? `None` if strace cannot be used.
#[track_caller]
fn run(strace: &Path, call: &str, error: &str, nth: usize) -> Option<bool> {
    let name = format!("faults-{call}-{error}-{nth}");
    let trace = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    let output = Command::new("timeout")
        .args(["--signal=KILL", "20"])
        .arg(strace)
        .args(["-f", "-qq", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error={error}:when={nth}")])
        .arg("-o")
        .arg(&trace)
        .arg(env::current_exe().unwrap())
        .args(["the_conversation", "--exact", "--nocapture"])
        .env("TORSADE_FAULTS", "1")
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
    let harmed = said
        .lines()
        .find_map(|line| line.strip_prefix("harmed: "))
        .and_then(|count| count.parse::<usize>().ok());
    let is_fine = output.status.success() && harmed.is_some_and(|harmed| harmed <= 1);
    assert!(
        is_fine,
        "{call} {error} {nth}: {:?}\n{said}\n{errors}\n{text}",
        output.status
    );
    Some(text.contains("(INJECTED)"))
}

/// What is run under strace: does nothing unless it is told to.
#[test]
fn the_conversation() {
    if env::var_os("TORSADE_FAULTS").is_none() {
        return;
    }
    // What fails here is to be a call of the conversation, so what comes before it is tried again.
    let reactor = Reactor::new().or_else(|_| Reactor::new()).unwrap();
    torsade::testing::run_on(reactor, async |reactor| {
        // A failure may be told, where nobody could be given it: a connection that the server could not keep.
        let panics = Log::new();
        let seen = panics.clone();
        reactor.on_report(move |report| {
            if report.is_panic() {
                seen.note(report.failure());
            }
        });
        let port = open(&reactor).await?;
        let address = port.local_addr();
        let mut harmed = 0;
        let mut kept = reactor.connect_stream(&address).await.ok();
        for kind in [talk_by_stream, talk_by_stream] {
            harmed += usize::from(!limited(&reactor, kind(&reactor, &address)).await);
        }
        // Whoever was there before still is.
        let fine = match &mut kept {
            Some(kept) => limited(&reactor, echo(kept)).await,
            None => false,
        };
        harmed += usize::from(!fine);
        drop(kept);
        assert_eq!(panics.all(), [""; 0]);
        println!("harmed: {harmed}");
        port.stop().await
    });
}

/// A port: tried again when the system has refused it once.
async fn open(reactor: &Reactor) -> Result<torsade::Port, Failure> {
    match reactor.listen(HERE, |_| Spy::echo()) {
        Ok(port) => Ok(port),
        Err(_) => reactor.listen(HERE, |_| Spy::echo()),
    }
}

/// Does it go well, within its time?
async fn limited(reactor: &Reactor, talk: impl Future<Output = Result<(), Failure>>) -> bool {
    let mut talk = std::pin::pin!(talk);
    let mut limit = std::pin::pin!(reactor.sleep(Duration::from_secs(5)));
    std::future::poll_fn(|cx| {
        if let std::task::Poll::Ready(result) = talk.as_mut().poll(cx) {
            return std::task::Poll::Ready(result.is_ok());
        }
        limit.as_mut().poll(cx).map(|_| panic!("it hangs"))
    })
    .await
}

async fn talk_by_stream(reactor: &Reactor, address: &Address) -> Result<(), Failure> {
    let mut conn = reactor.connect_stream(address).await?;
    echo(&mut conn).await?;
    reactor.sleep(MS).await?;
    echo(&mut conn).await?;
    conn.transport().lose_write();
    match conn.read(&mut [0; 16]).await? {
        0 => Ok(()),
        _ => Err(Failure::new("there is more than was sent")),
    }
}

async fn echo(conn: &mut torsade::Connection) -> Result<(), Failure> {
    conn.write_all(b"hello").await?;
    let mut answer = [0; 5];
    conn.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}
