//! Hostile peers against each codec, as a protocol and as async code: the server's memory stays
//! flat, its other clients are served, and a refused connection costs one line in the log at most.
//!
//! With `TORSADE_ATTACKS=full`, `cargo test --release --test memory attacks -- --nocapture
//! --test-threads=1` runs them at full size and prints the figures: what the server's thread had
//! allocated above that before the attack, the memory of the process, and the time within which
//! others were answered.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::counted::{BYTES, PEAK};
use torsade::net::{ListenOptions, ProxyOptions, ServerEndpoint};
use torsade::protocols::irc::IrcCodec;
use torsade::protocols::{
    Decoder, FrameProtocol, LengthCodec, LineCodec, LineProtocol, Lines, NetstringCodec, Rejected,
};
use torsade::{Clock, Connection, Context, Failure, Port, Reactor};

mod tls;

#[path = "../../examples/bgp_speaker/codec.rs"]
#[allow(dead_code, reason = "nothing is sent")]
mod codec;
#[path = "../../examples/bgp_speaker/message.rs"]
#[allow(dead_code, reason = "nothing is sent")]
mod message;
#[path = "../../examples/redis/resp.rs"]
#[allow(dead_code, reason = "nothing is sent")]
mod resp;

pub(super) const HERE: &str = "127.0.0.1:0";
/// What the server's thread may allocate above what it had: one connection is attacked at a time.
pub(super) const FLAT: isize = 1 << 20;

/// How much is sent.
pub(super) struct Size {
    pub(super) bytes: usize,
    pub(super) bombs: usize,
    pub(super) empty_frames: usize,
    pub(super) slow_peers: usize,
    pub(super) frame_timeout: Duration,
    pub(super) calm: Duration,
    pub(super) linger: Duration,
}

pub(super) fn is_full() -> bool {
    std::env::var_os("TORSADE_ATTACKS").is_some_and(|size| size == "full")
}

pub(super) fn size() -> Size {
    match is_full() {
        true => Size {
            bytes: 500_000_000,
            bombs: 20_000,
            empty_frames: 5_000_000,
            slow_peers: 100,
            frame_timeout: Duration::from_secs(10),
            calm: Duration::from_secs(1),
            linger: Duration::from_secs(2),
        },
        false => Size {
            bytes: 3_000_000,
            bombs: 5,
            empty_frames: 10_000,
            slow_peers: 5,
            frame_timeout: Duration::from_millis(500),
            calm: Duration::from_millis(10),
            linger: Duration::from_millis(10),
        },
    }
}

/// Opens a port whose connections count their frames.
pub(super) type Listen =
    Box<dyn Fn(&Reactor, ListenOptions, Rc<Cell<usize>>) -> Result<Port, Failure>>;

/// A codec under attack, by each of its faces.
struct Target {
    name: &'static str,
    faces: Vec<(&'static str, Listen)>,
    /// What must be refused at once.
    bombs: Vec<Vec<u8>>,
    /// A frame without content, and how many frames it is.
    empty: (&'static [u8], usize),
    /// The beginning of a frame that goes on with any bytes.
    open: Vec<u8>,
}

/// Counts frames, and leaves errors to the default.
struct Counts<C>(C, Rc<Cell<usize>>);

impl<C: Decoder + 'static> FrameProtocol for Counts<C> {
    type Codec = C;
    fn codec(&mut self) -> &mut C {
        &mut self.0
    }
    fn frame_received(&mut self, _cx: &mut Context<'_, Self>, _frame: C::Frame<'_>) {
        self.1.set(self.1.get() + 1);
    }
}

/// Stays connected to a peer whose frames are invalid.
struct Patient<C>(C, Rc<Cell<usize>>);

impl<C: Decoder + 'static> FrameProtocol for Patient<C> {
    type Codec = C;
    fn codec(&mut self) -> &mut C {
        &mut self.0
    }
    fn frame_received(&mut self, _cx: &mut Context<'_, Self>, _frame: C::Frame<'_>) {
        self.1.set(self.1.get() + 1);
    }
    fn frame_rejected(&mut self, _: &mut Context<'_, Self>, _: Rejected<'_, C::Error>) {}
}

impl LineProtocol for Counts<()> {
    fn line_received(&mut self, _cx: &mut Context<'_, Self>, _line: &[u8]) {
        self.1.set(self.1.get() + 1);
    }
}

/// Answers each line, for the other clients.
struct Echo;

impl LineProtocol for Echo {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        cx.send_line(line);
    }
}

/// The faces that every codec has.
fn faces<C>(codec: C) -> Vec<(&'static str, Listen)>
where
    C: Decoder + Clone + Unpin + 'static,
    C::Error: std::error::Error + Send + Sync,
{
    let asynchronous = codec.clone();
    let protocol: Listen = Box::new(move |reactor, options, count| {
        let codec = codec.clone();
        reactor.listen((HERE, options), move |_peer| {
            Counts(codec.clone(), count.clone())
        })
    });
    let framed: Listen = Box::new(move |reactor, options, count| {
        let codec = asynchronous.clone();
        reactor.serve((HERE, options), async move |conn| {
            let mut frames = conn.framed(codec.clone());
            while let Some(frame) = frames.next().await {
                frame?;
                count.set(count.get() + 1);
            }
            Ok(())
        })
    });
    vec![("protocol", protocol), ("async", framed)]
}

/// The other ways to receive lines, and servers that go on after a line that is too long.
fn line_faces() -> Vec<(&'static str, Listen)> {
    let lines: Listen = Box::new(|reactor, options, count| {
        reactor.listen((HERE, options), move |_| {
            Lines::new(Counts((), count.clone()))
        })
    });
    let read_line: Listen = Box::new(|reactor, options, count| {
        reactor.serve((HERE, options), async move |mut conn: Connection| {
            while conn.read_line(LineCodec::MAX_LENGTH).await?.is_some() {
                count.set(count.get() + 1);
            }
            Ok(())
        })
    });
    let mut all = faces(LineCodec::new());
    all.extend([("Lines", lines), ("read_line", read_line)]);
    all
}

fn patient_faces() -> Vec<(&'static str, Listen)> {
    let protocol: Listen = Box::new(|reactor, options, count| {
        reactor.listen((HERE, options), move |_| {
            Patient(LineCodec::new(), count.clone())
        })
    });
    let framed: Listen = Box::new(|reactor, options, count| {
        reactor.serve((HERE, options), async move |conn| {
            let mut lines = conn.framed(LineCodec::new());
            while let Some(line) = lines.next().await {
                match line {
                    Ok(_) => count.set(count.get() + 1),
                    Err(error) if error.kind() == ErrorKind::InvalidData => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })
    });
    vec![("protocol", protocol), ("async", framed)]
}

fn proxied() -> Vec<(&'static str, Listen)> {
    let listen: Listen = Box::new(|reactor, options, count| {
        let proxy = ProxyOptions::new().timeout(size().frame_timeout);
        let endpoint = ServerEndpoint::parse(HERE)?.options(options).proxied(proxy);
        reactor.listen(endpoint, move |_| Lines::new(Counts((), count.clone())))
    });
    vec![("protocol", listen)]
}

fn bytes<const N: usize>(bombs: [&[u8]; N]) -> Vec<Vec<u8>> {
    bombs.map(<[u8]>::to_vec).to_vec()
}

fn targets() -> Vec<Target> {
    let length = |name, codec: LengthCodec, bombs, empty, open: &[u8]| Target {
        name,
        faces: faces(codec),
        bombs,
        empty: (empty, 1),
        open: open.to_vec(),
    };
    vec![
        Target {
            name: "lines",
            faces: line_faces(),
            bombs: vec![vec![b'x'; 20_000]],
            empty: (b"\n", 1),
            open: vec![],
        },
        Target {
            name: "lines abab",
            faces: faces(LineCodec::delimited(&b"abab"[..])),
            bombs: vec![b"aba".repeat(7_000)],
            empty: (b"abab", 1),
            open: vec![],
        },
        Target {
            name: "netstrings",
            faces: faces(NetstringCodec::new()),
            bombs: bytes([
                b"999999999:",
                b"99999999999999999999999:",
                b"0000000000000000000005:",
                b"007:",
                b"-1:",
                b":",
                b"5 :",
            ]),
            empty: (b"0:,", 1),
            open: b"90000:".to_vec(),
        },
        length(
            "u8",
            LengthCodec::u8().limit(100),
            bytes([b"\xff"]),
            b"\0",
            b"\x63",
        ),
        length(
            "u16",
            LengthCodec::u16().limit(9_000),
            bytes([b"\xff\xff", b"\x80\0"]),
            b"\0\0",
            b"\x20\0",
        ),
        length(
            "u32",
            LengthCodec::u32(),
            bytes([b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\0\x10\0\0"]),
            b"\0\0\0\0",
            b"\0\0\x7f\xff",
        ),
        length(
            "u32 in a header",
            LengthCodec::u32()
                .little_endian()
                .offset(2)
                .length_adjustment(-6)
                .keep_header(),
            bytes([b"??\xff\xff\xff\xff", b"??\0\0\0\0", b"??\x05\0\0\0"]),
            b"??\x06\0\0\0",
            b"??\xff\x7f\0\0",
        ),
        Target {
            name: "IRC",
            faces: faces(IrcCodec::new()),
            bombs: vec![vec![b'x'; 9_000], [b"@", &[b't'; 9_000][..]].concat()],
            // An empty line is no message.
            empty: (b"\r\n", 0),
            open: vec![],
        },
        Target {
            name: "RESP",
            faces: faces(resp::Resp::with_limit(100_000)),
            bombs: bytes([
                b"$999999999\r\n",
                b"$99999999999999999999999\r\n",
                b"$-2\r\n",
                b"*-2\r\n",
                b"*999999999\r\n",
                b"GET /\r\n",
            ]),
            empty: (b"*0\r\n", 1),
            open: b"$90000\r\n".to_vec(),
        },
        Target {
            name: "RESP nested",
            faces: faces(resp::Resp::with_limit(100_000)),
            bombs: vec![b"*1\r\n".repeat(30_000)],
            empty: (b"$0\r\n\r\n", 1),
            open: b"*9000\r\n".to_vec(),
        },
        Target {
            name: "BGP",
            faces: faces(codec::Frames::new()),
            bombs: [b"\xff\xff", b"\0\0", b"\0\x12", b"\x80\0"]
                .map(|length| [&[0xff; 16], &length[..]].concat())
                .to_vec(),
            empty: (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\x13\x04",
                1,
            ),
            open: [&[0xff; 16], &b"\x0f\xff"[..]].concat(),
        },
        Target {
            name: "PROXY header",
            faces: proxied(),
            bombs: vec![
                [b"PROXY TCP4 ", &[b'1'; 200][..]].concat(),
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
                b"GET / HTTP/1.1\r\n".to_vec(),
            ],
            empty: (b"PROXY UNKNOWN\r\n", 0),
            open: b"PROXY TCP4 1".to_vec(),
        },
    ]
}

/// What an attacker has done.
#[derive(Default)]
pub(super) struct Attack {
    pub(super) connections: usize,
    pub(super) refused: usize,
}

/// Opens connections until so many bytes were written. One that accepts nothing for a while is
/// given up.
pub(super) fn flood(
    to: SocketAddr,
    open: &[u8],
    total: usize,
    mut fill: impl FnMut(&mut [u8]),
) -> Attack {
    let (mut attack, mut sent) = (Attack::default(), 0);
    let mut chunk = vec![0; 64 << 10];
    while sent < total {
        let mut conn = TcpStream::connect(to).unwrap();
        conn.set_write_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        attack.connections += 1;
        let mut result = conn.write_all(open);
        while result.is_ok() && sent < total {
            fill(&mut chunk);
            result = conn.write_all(&chunk);
            sent += chunk.len();
        }
        attack.refused += usize::from(result.is_err());
    }
    attack
}

/// Waits for the end of a connection; returns whether it came.
fn is_ended(conn: &mut TcpStream, patience: Duration) -> bool {
    conn.set_read_timeout(Some(patience)).unwrap();
    match conn.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn bomb(to: SocketAddr, bombs: &[Vec<u8>], times: usize) -> Attack {
    let mut attack = Attack::default();
    for bomb in bombs.iter().cycle().take(times.max(bombs.len())) {
        let mut conn = TcpStream::connect(to).unwrap();
        // The server may have closed it already.
        let _ = conn.write_all(bomb);
        attack.connections += 1;
        attack.refused += usize::from(is_ended(&mut conn, Duration::from_secs(10)));
    }
    attack
}

fn send_empty_frames(to: SocketAddr, frame: &[u8], count: usize) -> Attack {
    let mut conn = TcpStream::connect(to).unwrap();
    let chunk = frame.repeat(1_000);
    for _ in 0..count / 1_000 {
        conn.write_all(&chunk).unwrap();
    }
    conn.shutdown(Shutdown::Write).unwrap();
    let is_ended = is_ended(&mut conn, Duration::from_secs(60));
    assert!(is_ended, "the server has not read everything");
    Attack {
        connections: 1,
        refused: 0,
    }
}

/// Sends one byte of a frame at a time on each connection, until all are closed.
pub(super) fn trickle(to: &[(SocketAddr, Vec<u8>)], each: usize, pace: Duration) -> Attack {
    let mut conns = Vec::new();
    for (to, open) in to {
        for _ in 0..each {
            conns.push((TcpStream::connect(to).unwrap(), open.clone()));
        }
    }
    let mut attack = Attack {
        connections: conns.len(),
        refused: 0,
    };
    let mut at = 0;
    while !conns.is_empty() {
        let round = Instant::now();
        conns.retain_mut(|(conn, open)| {
            let is_sent = conn.write_all(&[open.get(at).copied().unwrap_or(b'1')]);
            let is_open = is_sent.is_ok() && !is_ended(conn, Duration::from_micros(1));
            attack.refused += usize::from(!is_open);
            is_open
        });
        at += 1;
        assert!(at < 1_000, "{} connections are open for ever", conns.len());
        // The next round begins when this one's time is over.
        let left = pace
            .saturating_sub(round.elapsed())
            .max(Duration::from_millis(1));
        if let Some((conn, _)) = conns.first_mut() {
            is_ended(conn, left);
        }
    }
    attack
}

/// The times in which an echo server answered: half of its answers, 99 of 100, all.
#[derive(Clone, Copy, Debug)]
struct Answers {
    #[allow(dead_code, reason = "printed as part of the whole")]
    count: u32,
    half: Duration,
    most: Duration,
    #[allow(dead_code, reason = "printed as part of the whole")]
    all: Duration,
}

/// Talks to the echo server until a flag stops it. Times are multiples of ten microseconds.
fn ask(to: SocketAddr, stop: &dyn Fn() -> bool) -> Answers {
    let mut conns = [(); 4].map(|()| TcpStream::connect(to).unwrap());
    // How many answers took so many steps. The asker's memory does not grow either.
    let (mut steps, mut count, mut longest) = ([0_u32; 2_000], 0_u32, Duration::ZERO);
    let step = Duration::from_micros(10);
    while count == 0 || !stop() {
        for conn in &mut conns {
            conn.set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let begun = Instant::now();
            conn.write_all(b"are you there?\n").unwrap();
            conn.read_exact(&mut [0; 16]).expect("others are answered");
            let took = begun.elapsed();
            longest = longest.max(took);
            let index = usize::try_from(took.as_nanos() / step.as_nanos()).unwrap();
            steps[index.min(steps.len() - 1)] += 1;
            count += 1;
        }
        if !is_full() {
            // The times are not looked at.
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
    let within = |part: u32| {
        let mut left = part;
        let index = steps.iter().position(|some| {
            left = left.saturating_sub(*some);
            left == 0
        });
        step * (index.unwrap() + 1) as u32
    };
    Answers {
        count,
        half: within(count - count / 2),
        most: within(count - count / 100),
        all: longest,
    }
}

/// Counts the events that a program would log, and keeps the first few.
struct Logged(Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>);

impl Subscriber for Logged {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        // The access log has a line for each response, and the watchdog names what a loaded machine
        // does not get done.
        let others = ["torsade::http::access", "torsade::watchdog"];
        *about.level() <= Level::INFO && !others.contains(&about.target())
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        if self.0.fetch_add(1, Ordering::Relaxed) < 3 {
            self.1.lock().unwrap().push(format!("{event:?}"));
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Returns the resident memory of this process, and its peak, in kB.
fn resident() -> [usize; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim_end_matches(" kB").trim().parse().unwrap()
    })
}

/// Attacks servers while others talk to an echo server of the same reactor. `flat` is what the
/// server's thread may allocate meanwhile. Returns the number of frames that were received.
pub(super) fn under_attack(
    what: &str,
    listen: &[&Listen],
    flat: isize,
    attack: impl FnOnce(Vec<SocketAddr>) -> Attack + Send + 'static,
) -> (Attack, usize) {
    let (logged, lines) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let frames = Rc::new(Cell::new(0));
    let mut result = Attack::default();
    tracing::subscriber::with_default(Logged(logged.clone(), Arc::clone(&lines)), || {
        let reactor = Reactor::new().unwrap();
        let served = reactor.run_until(async {
            let options = ListenOptions::new()
                .frame_timeout(size().frame_timeout)
                .linger(size().linger);
            let ports: Vec<_> = listen
                .iter()
                .map(|listen| listen(&reactor, options.clone(), frames.clone()))
                .collect::<Result<_, _>>()?;
            let addresses = ports.iter().map(|port| port.local_addr().inet().unwrap());
            let addresses: Vec<_> = addresses.collect();
            let echo = reactor.listen(HERE, |_| Lines::new(Echo))?;
            let others = echo.local_addr().inet().unwrap();
            let calm = reactor.spawn_blocking(move || {
                let begun = Instant::now();
                Ok(ask(others, &|| begun.elapsed() > size().calm))
            });
            let calm = calm.await?;
            if is_full() {
                // The peak is counted from here.
                std::fs::write("/proc/self/clear_refs", "5")?;
            }
            let resident_before = resident();
            let before = BYTES.get();
            PEAK.set(before);
            let is_over = Arc::new(AtomicBool::new(false));
            let over = is_over.clone();
            let asking =
                reactor.spawn_blocking(move || Ok(ask(others, &|| over.load(Ordering::Relaxed))));
            let begun = Instant::now();
            let attacking = reactor.spawn_blocking(move || {
                if is_full() {
                    // As if it ran elsewhere: the others and the server have the processors first.
                    let _ = rustix::process::setpriority_process(None, 15);
                }
                Ok(attack(addresses))
            });
            let attack = attacking.await?;
            let took = begun.elapsed();
            is_over.store(true, Ordering::Relaxed);
            let busy = asking.await?;
            while ports.iter().any(|port| port.connections() > 0) {
                reactor.sleep(Duration::from_millis(1)).await?;
            }
            let (peak, after) = (PEAK.get() - before, BYTES.get() - before);
            let logged = logged.load(Ordering::Relaxed);
            if is_full() {
                let resident_after = resident();
                println!(
                    "{what:38} {:5.1} s {:5} conns {:5} refused {logged:5} logged; heap +{} KiB \
                     after +{}; RSS {} peak {} after {} KiB; half {:?} 99 % {:?} calm {:?} {:?} \
                     {busy:?}",
                    took.as_secs_f64(),
                    attack.connections,
                    attack.refused,
                    peak / 1024,
                    after / 1024,
                    resident_before[0],
                    resident_after[1],
                    resident_after[0],
                    busy.half,
                    busy.most,
                    calm.half,
                    calm.most,
                );
            }
            assert!(peak <= flat, "{what}: {peak} bytes at the peak");
            assert!(after <= flat / 2, "{what}: {after} bytes after the attack");
            assert!(
                logged <= attack.connections,
                "{what}: {logged} lines of log for {} connections: {lines:#?}",
                attack.connections
            );
            result = attack;
            Ok::<_, Failure>(())
        });
        served.and_then(|served| served).unwrap();
    });
    (result, frames.get())
}

/// Runs an attack against each face of each codec.
fn each(attack: impl Fn(&str, &Target, &Listen)) {
    for target in targets() {
        for (face, listen) in &target.faces {
            attack(&format!("{} {face}", target.name), &target, listen);
        }
    }
}

/// Bytes without order, the same in each run.
fn garbage() -> impl FnMut(&mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |chunk| {
        for word in chunk.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
    }
}

#[test]
fn a_frame_without_end_is_not_kept() {
    each(|name, target, listen| {
        let what = format!("{name}: no end");
        let open = target.open.clone();
        let attack = move |to: Vec<_>| flood(to[0], &open, size().bytes, |chunk| chunk.fill(b'1'));
        let (attack, _) = under_attack(&what, &[listen], FLAT, attack);
        assert!(attack.refused + 1 >= attack.connections, "{what}");
    });
}

#[test]
fn a_line_without_end_is_dropped_as_it_comes_where_the_connection_stays_open() {
    for (face, listen) in &patient_faces() {
        let what = format!("lines, kept open {face}: no end");
        let attack = |to: Vec<_>| flood(to[0], b"", size().bytes, |chunk| chunk.fill(b'x'));
        let (attack, frames) = under_attack(&what, &[listen], FLAT, attack);
        assert_eq!(
            (attack.connections, attack.refused, frames),
            (1, 0, 0),
            "{what}"
        );
    }
}

#[test]
fn a_length_that_is_too_large_or_invalid_is_refused_at_once() {
    each(|name, target, listen| {
        let what = format!("{name}: bombs");
        let bombs = target.bombs.clone();
        let attack = move |to: Vec<_>| bomb(to[0], &bombs, size().bombs);
        let (attack, frames) = under_attack(&what, &[listen], FLAT, attack);
        assert_eq!((attack.refused, frames), (attack.connections, 0), "{what}");
    });
}

#[test]
fn many_empty_frames_are_all_received() {
    each(|name, target, listen| {
        let what = format!("{name}: empty frames");
        let (frame, frames) = target.empty;
        let attack = move |to: Vec<_>| send_empty_frames(to[0], frame, size().empty_frames);
        let (_, count) = under_attack(&what, &[listen], FLAT, attack);
        if target.name != "PROXY header" {
            assert_eq!(count, frames * size().empty_frames, "{what}");
        }
    });
}

#[test]
fn garbage_is_refused_or_received_and_not_kept() {
    each(|name, _, listen| {
        let what = format!("{name}: garbage");
        let attack = |to: Vec<_>| flood(to[0], b"", size().bytes / 5, garbage());
        under_attack(&what, &[listen], FLAT, attack);
    });
}

#[test]
fn peers_that_send_a_byte_at_a_time_are_closed_after_the_time_of_a_frame() {
    let targets = targets();
    let faces = || {
        targets
            .iter()
            .flat_map(|target| target.faces.iter().map(move |face| (target, face)))
    };
    let listen: Vec<_> = faces().map(|(_, (_, listen))| listen).collect();
    let opens: Vec<_> = faces().map(|(target, _)| target.open.clone()).collect();
    let all = (opens.len() * size().slow_peers) as isize;
    let attack = move |to: Vec<_>| {
        let to: Vec<_> = to.into_iter().zip(opens).collect();
        trickle(&to, size().slow_peers, size().frame_timeout / 10)
    };
    // An async connection that has read a part of a frame has a buffer of 8 KiB.
    let flat = FLAT + (10 << 10) * all;
    let (attack, frames) = under_attack("all: a byte at a time", &listen, flat, attack);
    assert_eq!((attack.refused as isize, frames), (all, 0));
}
