//! Foreign programs against our servers and clients: socat, curl, strace, Python with its own
//! sockets (`clients.py`), and Twisted (`twisted_side.py`, installed into a virtual environment
//! under `target/`).
//!
//! A test whose program is missing says so and passes. The measured figures are printed. Larger
//! volumes, such as 300 MB through each echo server, take about a minute:
//!
//! ```text
//! cargo build --release --examples && TORSADE_LONG=1 cargo test --release --test interop
//! ```
#![cfg(target_os = "linux")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, fs};

use support::foreign::{have, need, python, say, script, twisted};
use support::program::{Client, PATIENCE, Program, example_path};
use support::{HERE, Log, MS, Spy, how};
use torsade::protocols::{LineProtocol, Lines};
use torsade::transport::Limits;
use torsade::{Clock, Context, Failure, Protocol, Reactor, testing};

#[test]
fn bytes_from_socat_are_echoed() {
    if !have("socat") {
        return;
    }
    for name in ECHOES {
        let server = Program::example(name, &[HERE]);
        let (seconds, same) = through_socat(&server.address(), &noise(volume()));
        assert!(same, "{name} mixed the bytes up");
        say(&format!(
            "socat, {name}: {} bytes in {seconds:.2} s",
            volume()
        ));
    }
}

#[test]
fn bytes_from_python_in_pieces_of_all_sizes_are_echoed() {
    let Some(python) = python() else { return };
    for name in ECHOES {
        let server = Program::example(name, &[HERE]);
        let begin = Instant::now();
        let client = clients(&python, "echo", &server.address(), volume());
        let (lines, _) = client.end_within(patience());
        let seconds = begin.elapsed().as_secs_f32();
        say(&format!("Python, {name}: {} in {seconds:.2} s", lines[0]));
    }
}

#[test]
fn a_request_that_python_half_closes_gets_its_reply() {
    let Some(python) = python() else { return };
    for name in ECHOES {
        let server = Program::example(name, &[HERE]);
        let client = clients(&python, "requests", &server.address(), 200);
        assert_eq!(client.end().0, ["200 of 200"], "{name}");
    }
}

#[test]
fn a_request_that_socat_half_closes_gets_its_reply() {
    if !have("socat") {
        return;
    }
    for name in ECHOES {
        let server = Program::example(name, &[HERE]);
        let address = server.address();
        for n in 1..=20 {
            let (_, same) = through_socat(&address, &noise(n * 1000));
            assert!(same, "{name}, request {n}");
        }
    }
}

#[test]
fn a_client_that_never_reads_costs_little_and_delays_no_other() {
    let Some(python) = python() else { return };
    for name in ECHOES {
        let server = Program::example(name, &[HERE]);
        let address = server.address();
        let mut other = Client::new(&address);
        other.say("before");
        other.hears("before");

        let before = peak_memory(server.id());
        let glutton = clients(&python, "glut", &address, 500);
        assert_eq!(glutton.line(), "begun");
        let (mut served, mut max_delay) = (0_u32, Duration::ZERO);
        let sent = loop {
            let begin = Instant::now();
            other.say("meanwhile");
            other.hears("meanwhile");
            max_delay = max_delay.max(begin.elapsed());
            served += 1;
            if let Some(line) = glutton.line_within(MS) {
                break line;
            }
        };
        let grown = peak_memory(server.id()) - before;
        say(&format!(
            "never reading, {name}: {sent}, {} KiB more memory; meanwhile {served} replies, the slowest in {max_delay:.0?}",
            grown >> 10
        ));
        let allowed = Limits::default().high + READ_BUFFER + (4 << 20);
        assert!(grown < allowed as u64, "{name} grew by {grown} bytes");
        assert!(served > 10, "{name} served {served} replies");
    }
}

#[test]
fn without_descriptors_open_connections_are_served_and_nothing_spins() {
    let Some(python) = python() else { return };
    let Some(prlimit) = need("prlimit") else {
        return;
    };
    let seconds = if is_long() { 10 } else { 2 };
    for name in ECHOES {
        let mut command = Command::new(&prlimit);
        command.arg("--nofile=64").arg(example_path(name)).arg(HERE);
        let server = Program::start(&mut command);
        let address = server.address();
        let mut first: Vec<_> = (0..10).map(|_| Client::new(&address)).collect();

        let (begin, busy) = (Instant::now(), cpu_time(server.id()));
        let crowd = clients(&python, "crowd", &address, seconds);
        assert_eq!(crowd.line(), "begun");
        let mut rounds = 0;
        let answered = loop {
            for client in &mut first {
                client.say("hello");
            }
            for client in &mut first {
                client.hears("hello");
            }
            rounds += 1;
            if let Some(line) = crowd.line_within(MS * 50) {
                break line;
            }
        };
        let busy = (cpu_time(server.id()) - busy).as_secs_f32() / begin.elapsed().as_secs_f32();
        assert!(begin.elapsed() >= Duration::from_secs(seconds as u64));
        assert!(rounds >= seconds, "the first were served {rounds} times");

        crowd.end();
        let begin = Instant::now();
        let mut probes = 1;
        while !answers(&address, MS * 100) {
            probes += 1;
            assert!(begin.elapsed() < PATIENCE, "{name} accepts no more");
        }
        say(&format!(
            "64 descriptors and 500 clients, {name}: {answered}, the first ten {rounds} times; {:.1} % of a core; \
             accepts again after {:.0?} and {probes} probes",
            busy * 100.0,
            begin.elapsed()
        ));
        assert!(busy < 0.1, "{name} was busy: {busy}");
    }
}

#[test]
fn a_stream_and_a_twisted_server_see_each_others_closes() {
    let Some(twisted) = twisted() else { return };
    let script = script("twisted_side.py");
    let server = Program::start(Command::new(twisted).arg(script).arg("serve"));
    let address: SocketAddr = server.address().parse().unwrap();
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        // Many lines at once, then we close.
        let mut conn = reactor.connect_stream(address).await?;
        let lines: Vec<_> = (0..1000).map(|n| format!("{n:>0$}", n % 200)).collect();
        conn.write_all((lines.join("\r\n") + "\r\n").as_bytes())
            .await?;
        for line in &lines {
            assert_eq!(conn.read_line(500).await?.as_deref(), Some(line.as_bytes()));
        }
        conn.close().await?;
        assert_eq!(rest(&mut conn).await?, "after your end\r\n");
        drop(conn);

        // The peer loses the connection.
        let mut conn = reactor.connect_stream(address).await?;
        conn.write_all(b"lose\r\n").await?;
        assert_eq!(rest(&mut conn).await?, "last words\r\n");
        drop(conn);

        // The peer half-closes, and still receives.
        let mut conn = reactor.connect_stream(address).await?;
        conn.write_all(b"half\r\n").await?;
        assert_eq!(rest(&mut conn).await?, "last words\r\n");
        conn.write_all(b"note still here\r\n").await?;
        drop(conn);

        // The peer resets the connection.
        let mut conn = reactor.connect_stream(address).await?;
        conn.write_all(b"abort\r\n").await?;
        let error = conn.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        Ok(())
    });
    let said: Vec<_> = (0..8).map(|_| server.line()).collect();
    let (ends, rest) = said.split_at(3);
    assert_eq!(
        ends,
        [
            "reading is over",
            "lost ConnectionDone",
            "lost ConnectionDone"
        ]
    );
    let half = [
        "writing is over",
        "still here",
        "reading is over",
        "lost ConnectionDone",
    ];
    assert_eq!(rest[..4], half);
    assert_eq!(rest[4..], ["lost ConnectionAborted"]);
}

#[test]
fn a_client_of_twisted_sees_how_our_server_ends() {
    let Some(twisted) = twisted() else { return };
    let (address, server) = serve(3, |log| {
        let to = log.clone();
        Spy::new(log)
            .on_data(move |cx, data| {
                cx.write(data);
                match data {
                    b"lose\r\n" => cx.lose_connection(),
                    b"half\r\n" => cx.lose_write(),
                    _ => {}
                }
            })
            .on_eof(move |cx| {
                to.note("answered");
                cx.write("after your end\r\n");
                cx.lose_connection();
            })
    });
    let check = |steps: &[&str], heard: &[&str]| {
        let client = talk(&twisted, &address, steps);
        assert_eq!(client.end().0, heard, "{steps:?}");
    };
    let (over, lost) = ("reading is over", "lost ConnectionDone");

    // We lose the connection.
    check(&["say lose", "end", "lose"], &["hear lose", over, lost]);
    let lose = ["made", "data lose\\r\\n", "lost done"];

    // The peer half-closes, and still receives.
    let heard = [
        "hear hi",
        "writing is over",
        "hear after your end",
        over,
        lost,
    ];
    check(&["say hi", "hear hi", "half", "end", "lose"], &heard);
    let theirs = ["made", "data hi\\r\\n", "eof", "answered", "lost done"];

    // We half-close, and still receive.
    check(
        &["say half", "end", "say still here", "lose"],
        &["hear half", over, lost],
    );
    let ours = [
        "made",
        "data half\\r\\n",
        "data still here\\r\\n",
        "eof",
        "answered",
        "lost done",
    ];
    assert_eq!(server.join().unwrap(), [&lose[..], &theirs, &ours].concat());
}

#[test]
fn a_client_of_twisted_joins_the_chat() {
    let Some(twisted) = twisted() else { return };
    let server = Program::example("chat", &[HERE]);
    let address = server.address();
    let mut ben = Client::new(&address);
    ben.hears("What is your name?");
    ben.say("Ben");
    ben.hears("Welcome, Ben!");
    let steps = [
        "hear What is your name?",
        "say Ben",
        "hear Name taken, please choose another.",
        "say Ada",
        "hear Welcome, Ada!",
        "say hello",
        "hear <Ben> good-bye",
        "half",
        "end",
        "lose",
    ];
    let ada = talk(&twisted, &address, &steps);
    ben.hears("Ada has joined");
    ben.hears("<Ada> hello");
    ben.say("good-bye");
    ben.hears("Ada has left");
    let heard = [steps[0], steps[2], steps[4], steps[6]];
    let ends = ["writing is over", "reading is over", "lost ConnectionDone"];
    assert_eq!(ada.end().0, [&heard[..], &ends].concat());
}

#[test]
fn curl_and_python_fetch_a_page_that_ends_with_its_connection() {
    for size in [6, 300_000] {
        let page = "hello\n".repeat(size / 6);
        let (curl, python) = (need("curl"), python());
        let count = usize::from(curl.is_some()) + 3 * usize::from(python.is_some());
        let (address, server) = serve(count, move |log| {
            let (log, page) = (log.clone(), page.clone());
            Lines::new(Page { log, page })
        });
        if let Some(curl) = curl {
            let write_out = "%{http_code} %{size_download} %{num_connects}";
            let words = [
                "-s",
                "-S",
                "-m",
                "10",
                "-o",
                "/dev/null",
                "-w",
                write_out,
                &address,
            ];
            let (lines, _) = Program::start(Command::new(curl).args(words)).end();
            assert_eq!(lines, [format!("200 {size} 1")]);
        }
        if let Some(python) = python {
            let (lines, _) = clients(&python, "fetch", &address, 3).end();
            assert_eq!(lines.len(), 3);
            for line in lines {
                assert!(line.starts_with(&format!("200 {size} ")), "{line}");
            }
        }
        assert_eq!(server.join().unwrap(), vec!["lost done"; count]);
    }
}

#[test]
fn our_stream_fetches_from_pythons_http_server() {
    let Some(python) = python() else { return };
    let folder = env!("CARGO_MANIFEST_DIR");
    let words = [
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
        folder,
    ];
    let server = Program::start(Command::new(python).args(words));
    let line = server.line();
    let (_, port) = line.split_once(" port ").expect("it says its port");
    let port: u16 = port.split(' ').next().unwrap().parse().unwrap();
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let mut conn = reactor.connect_stream(("127.0.0.1", port)).await?;
        conn.write_all(b"GET /LICENSE-APACHE HTTP/1.0\r\n\r\n")
            .await?;
        let reply = rest(&mut conn).await?;
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        let path = Path::new(folder).join("LICENSE-APACHE");
        assert_eq!(body, fs::read_to_string(path).unwrap());
        Ok(())
    });
}

#[test]
fn strace_counts_few_system_calls() {
    let Some(strace) = need("strace") else { return };
    for name in ECHOES {
        for (connections, rounds, most) in [(1, 1000, 3.05), (64, 50, 2.3)] {
            let server = Program::example(name, &[HERE]);
            let address = server.address();
            let mut clients: Vec<_> = (0..connections).map(|_| Client::new(&address)).collect();
            exchange(&mut clients, 2);

            let table = scratch(&format!("strace-{name}-{connections}"));
            let mut command = Command::new(&strace);
            command.args(["-c", "-f", "-p", &server.id().to_string(), "-o"]);
            let tracer = Program::start(command.arg(&table));
            if !is_traced(server.id()) {
                say("skipped: strace may not attach here");
                return;
            }
            exchange(&mut clients, rounds);
            tracer.interrupt();
            tracer.end_somehow(PATIENCE); // by that signal, as it should

            let text = fs::read_to_string(&table).unwrap();
            fs::remove_file(&table).unwrap();
            let counts = counts(&text);
            // Other threads wait for their part of the time.
            let of_the_loop = counts.iter().filter(|(name, _)| *name != "futex");
            let total: usize = of_the_loop.map(|(_, count)| count).sum();
            let each = total as f32 / (rounds * connections) as f32;
            say(&format!(
                "system calls, {name}, {connections} connections: {each:.3} a message; {counts:?}"
            ));
            assert!(each > 2.0, "strace missed some:\n{text}");
            assert!(each <= most, "{each} system calls a message:\n{text}");
        }
    }
}

/// The part of HTTP 1.0 that one page needs.
struct Page {
    log: Log,
    page: String,
}

impl LineProtocol for Page {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        if line.is_empty() {
            cx.write("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n");
            cx.write(&self.page);
            cx.lose_connection();
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.note(format_args!("lost {}", how(&reason)));
    }
}

/// Serves this many connections on a thread; returns the address, and the record of the hooks at
/// the end.
fn serve<P: Protocol>(
    count: usize,
    build: impl Fn(&Log) -> P + Send + 'static,
) -> (String, JoinHandle<Vec<String>>) {
    let (sender, address) = channel();
    let server = thread::spawn(move || {
        let mut noted = Vec::new();
        testing::run_on(Reactor::new().unwrap(), async |reactor| {
            let log = Log::new();
            let to = log.clone();
            let port = reactor.listen(HERE, move |_peer| build(&to))?;
            sender.send(port.local_addr().to_string()).unwrap();
            while log
                .all()
                .iter()
                .filter(|note| note.starts_with("lost"))
                .count()
                < count
            {
                reactor.sleep(MS).await?;
            }
            noted = log.take();
            port.stop().await
        });
        noted
    });
    (address.recv_timeout(PATIENCE).unwrap(), server)
}

/// Reads to the end.
async fn rest(conn: &mut torsade::Connection) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    conn.read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into())
}

/// Sends bytes through an echo server with socat; returns the time, and whether they came back.
#[track_caller]
fn through_socat(address: &str, bytes: &[u8]) -> (f32, bool) {
    let (to, from) = (scratch("socat-in"), scratch("socat-out"));
    fs::write(&to, bytes).unwrap();
    // The first file is sent to the server, and its reply written to the other.
    let files = format!("OPEN:{},rdonly!!CREATE:{}", to.display(), from.display());
    let begin = Instant::now();
    let mut command = Command::new("socat");
    command.args(["-t30", &files, &format!("TCP:{address}")]);
    Program::start(&mut command).end_within(patience());
    let seconds = begin.elapsed().as_secs_f32();
    let same = fs::read(&from).unwrap() == bytes;
    fs::remove_file(to).unwrap();
    fs::remove_file(from).unwrap();
    (seconds, same)
}

/// Each client sends 64 bytes, then each waits for its reply; this many times.
fn exchange(clients: &mut [Client], rounds: usize) {
    let mut reply = [0; 64];
    for _ in 0..rounds {
        for client in &mut *clients {
            client.stream.write_all(&[b'x'; 64]).unwrap();
        }
        for client in &mut *clients {
            client.read_exact(&mut reply);
        }
    }
}

/// Returns whether a new client gets an answer within this time.
fn answers(address: &str, patience: Duration) -> bool {
    let try_it = || {
        let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])
    };
    try_it().is_ok()
}

/// Waits until a process is traced; gives up after a while.
fn is_traced(id: u32) -> bool {
    let deadline = Instant::now() + Duration::from_secs(5);
    while status(id, "TracerPid:") == 0 {
        if Instant::now() > deadline {
            return false;
        }
        thread::yield_now();
    }
    true
}

/// Returns the number of each system call in strace's table.
fn counts(table: &str) -> Vec<(&str, usize)> {
    let mut counts = Vec::new();
    for line in table.lines() {
        // % time, seconds, usecs/call, calls, errors if any, syscall
        let words: Vec<_> = line.split_whitespace().collect();
        let (Some(calls), Some(name)) = (words.get(3), words.last()) else {
            continue;
        };
        if let (Ok(count), false) = (calls.parse(), *name == "total") {
            counts.push((*name, count));
        }
    }
    counts
}

/// Returns the peak memory of a process, in bytes.
fn peak_memory(id: u32) -> u64 {
    status(id, "VmHWM:") * 1024
}

/// Returns a number from the status of a process.
fn status(id: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.expect(name).split_whitespace().next();
    word.unwrap().parse().unwrap()
}

/// Returns the user and system time of a process.
fn cpu_time(id: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name, in parentheses, may contain anything; user and system time are the 14th and 15th
    // field.
    let (_, fields) = text.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u32 = ticks.map(|field| field.parse::<u32>().unwrap()).sum();
    MS * 10 * ticks
}

/// Starts a client of `clients.py`.
fn clients(python: &Path, what: &str, address: &str, number: usize) -> Program {
    let mut command = Command::new(python);
    command.arg(script("clients.py")).args([what, address]);
    Program::start(command.arg(number.to_string()))
}

/// Starts a client of `twisted_side.py`.
fn talk(twisted: &Path, address: &str, steps: &[&str]) -> Program {
    let mut command = Command::new(twisted);
    command
        .arg(script("twisted_side.py"))
        .args(["talk", address]);
    Program::start(command.args(steps))
}

/// Returns the path of a temporary file.
fn scratch(name: &str) -> PathBuf {
    let thread = thread::current();
    let test = thread.name().unwrap_or_default().replace(':', "-");
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{name}"))
}

/// Returns bytes without a pattern.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// Returns the number of bytes to send through an echo server.
fn volume() -> usize {
    if is_long() { 300 << 20 } else { 3 << 20 }
}

fn patience() -> Duration {
    if is_long() { PATIENCE * 10 } else { PATIENCE }
}

fn is_long() -> bool {
    env::var_os("TORSADE_LONG").is_some()
}

const ECHOES: [&str; 2] = ["echo_protocol", "echo_async"];

/// The number of bytes that a server reads at once.
const READ_BUFFER: usize = 64 << 10;
