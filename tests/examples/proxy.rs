//! The example proxy: it loses and mixes up nothing, forwards each end of file and each reset, and
//! slows a writer down to the reader's speed.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::foreign::need;
use support::program::{PATIENCE, Program};

fn start(server: &TcpListener) -> (Program, String) {
    start_at("127.0.0.1:0", server)
}

fn start_at(listen: &str, server: &TcpListener) -> (Program, String) {
    let to = server.local_addr().unwrap().to_string();
    let proxy = Program::example("proxy", &[listen, &to]);
    let address = proxy.address();
    (proxy, address)
}

/// Returns the two ends that the proxy connects.
fn ends(address: &str, server: &TcpListener) -> [TcpStream; 2] {
    let near = TcpStream::connect(address).unwrap();
    let (far, _) = server.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    [near, far]
}

fn bytes(count: usize, seed: u32) -> Vec<u8> {
    let numbers = (0_u32..).map(|n| (n ^ seed).wrapping_mul(0x9E37_79B9) >> 24);
    numbers.take(count).map(|n| n as u8).collect()
}

/// Writes all bytes, and then closes its side.
fn send(stream: &TcpStream, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || {
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    })
}

fn rest_of(mut stream: &TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

#[test]
fn megabytes_go_both_ways_at_once() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (proxy, address) = start(&server);
    let [near, far] = ends(&address, &server);
    let (up, down) = (bytes(8 << 20, 1), bytes(6 << 20, 2));
    let writers = [send(&near, up.clone()), send(&far, down.clone())];
    let reader = thread::spawn({
        let near = near.try_clone().unwrap();
        move || rest_of(&near)
    });
    assert!(rest_of(&far) == up, "what went up");
    assert!(reader.join().unwrap() == down, "what came down");
    for writer in writers {
        writer.join().unwrap();
    }
    let said = format!(
        "{}: {} up, {} down",
        near.local_addr().unwrap(),
        up.len(),
        down.len()
    );
    assert_eq!(proxy.line(), said);
}

#[test]
fn an_end_of_file_is_forwarded_and_the_other_direction_stays_open() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (proxy, address) = start(&server);
    for [first, second] in [[0, 1], [1, 0]] {
        let both = ends(&address, &server);
        let (first, second) = (&both[first], &both[second]);
        send(first, b"a question".into()).join().unwrap();
        assert_eq!(rest_of(second), b"a question");
        send(second, bytes(1 << 20, 3)).join().unwrap();
        assert!(rest_of(first) == bytes(1 << 20, 3));
        proxy.line();
    }
}

#[test]
fn a_slow_reader_slows_the_writer_down() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (proxy, address) = start(&server);
    for [writer, reader] in [[0, 1], [1, 0]] {
        let both = ends(&address, &server);
        let (mut writer, reader) = (&both[writer], &both[reader]);
        writer
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let piece = bytes(1 << 16, 4);
        let mut sent = Vec::new();
        let begun = Instant::now();
        // The system's buffers on the way hold some megabytes.
        loop {
            assert!(
                sent.len() < 64 << 20,
                "the peer reads nothing, and still it takes more"
            );
            assert!(begun.elapsed() < PATIENCE);
            match writer.write(&piece) {
                Ok(count) => sent.extend_from_slice(&piece[..count]),
                Err(error) => {
                    assert!(matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut
                    ));
                    break;
                }
            }
        }
        let kilobytes = memory_of(&proxy);
        assert!(
            kilobytes < 24_000,
            "{kilobytes} kB for {} bytes",
            sent.len()
        );
        writer.shutdown(Shutdown::Write).unwrap();
        assert!(rest_of(reader) == sent, "what was held up comes");
    }
}

#[test]
fn a_reset_is_forwarded_to_the_other_side() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (proxy, address) = start(&server);
    for [first, second] in [[0, 1], [1, 0]] {
        let mut both = ends(&address, &server).map(Some);
        let (breaks, mut hears) = (both[first].take().unwrap(), both[second].take().unwrap());
        hears.write_all(b"never read").unwrap();
        breaks.peek(&mut [0]).unwrap();
        // Unread bytes turn the close into a reset.
        drop(breaks);
        let heard = hears.read(&mut [0]).unwrap_err();
        assert_eq!(heard.kind(), ErrorKind::ConnectionReset);
        let line = proxy.line();
        assert!(line.contains("reset"), "{line}");
    }
}

#[test]
fn a_missing_server_affects_its_client_only() {
    // No other test uses this address, so none takes its port meanwhile.
    let server = TcpListener::bind("127.83.0.1:0").unwrap();
    let (proxy, address) = start(&server);
    drop(server);
    for _ in 0..2 {
        assert_eq!(rest_of(&TcpStream::connect(&address).unwrap()), b"");
        let line = proxy.line();
        assert!(line.contains("refused"), "{line}");
    }
}

#[test]
fn two_proxies_in_a_row_and_socat() {
    let Some(socat) = need("socat") else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_last, address) = start(&server);
    let first = Program::example("proxy", &["127.0.0.1:0", &address]);
    let mut client = Command::new(socat);
    client.args([
        "-u",
        "OPEN:/dev/zero,readbytes=3000000",
        &format!("TCP:{}", first.address()),
    ]);
    let client = Program::start(&mut client);
    let (far, _) = server.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(rest_of(&far) == vec![0; 3_000_000]);
    drop(far);
    client.end();
    assert!(first.line().ends_with(": 3000000 up, 0 down"));
}

#[test]
fn the_proxy_may_be_behind_another_proxy() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (proxy, address) = start_at("haproxy:127.0.0.1:0", &server);
    let mut near = TcpStream::connect(&address).unwrap();
    near.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 50001 80\r\nhello")
        .unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    let (far, _) = server.accept().unwrap();
    assert_eq!(rest_of(&far), b"hello");
    drop(far);
    assert_eq!(proxy.line(), "192.0.2.7:50001: 5 up, 0 down");
}

/// Returns the memory of a program, in kilobytes.
fn memory_of(program: &Program) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
