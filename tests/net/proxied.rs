//! Endpoints behind a proxy: the header is read before the protocol is made, the connection has its
//! addresses, and invalid connections are closed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use support::{HERE, Log, MS, Spy, alive, expect_reports, own, some_turns, until};
use torsade::net::{EndpointError, ProxyOptions, ServerEndpoint};
use torsade::reactor::Stopped;
use torsade::testing::Random;
use torsade::{Address, Clock, Connection, Factory, Failure, Port, Reactor, testing};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 50001 80\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x07\xc0\0\x02\x01\xc3\x51\0\x50\x04\0\0";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const SAID: &str = "192.0.2.7:50001 at 192.0.2.1:80";

fn here() -> Result<ServerEndpoint, Failure> {
    ServerEndpoint::parse(HERE)
}

/// A port that records the peers and their bytes.
fn listen(reactor: &Reactor, endpoint: ServerEndpoint, log: &Log) -> Result<Port, Failure> {
    let log = log.clone();
    reactor.listen(endpoint, move |peer| {
        log.note(format_args!("build {peer}"));
        let made = log.clone();
        Spy::new(&log).on_made(move |transport| {
            let (peer, host) = (transport.peer(), transport.local_addr().unwrap());
            made.note(format_args!("{peer} at {host}"));
        })
    })
}

/// Reads to the end, which may be a reset.
async fn is_cut_off(mut conn: Connection) -> bool {
    let mut buf = [0; 80];
    !matches!(conn.read(&mut buf).await, Ok(1..))
}

struct Noting(Log);

impl Factory for Noting {
    type Protocol = Spy;

    fn build_protocol(&mut self, peer: Address) -> Option<Spy> {
        self.0.note(format_args!("build {peer}"));
        Some(Spy::new(&self.0))
    }

    fn started(&mut self) {
        self.0.note("started");
    }

    fn stopped(&mut self) {
        self.0.note("stopped");
    }
}

on_both! {
    async fn the_connection_has_the_addresses_of_the_header(reactor) {
        for header in [LINE, BINARY] {
            let log = Log::new();
            let port = listen(&reactor, here()?.proxied(ProxyOptions::new()), &log)?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            some_turns().await;
            assert!(log.is_empty(), "no hook is called before the header");
            conn.write_all(&[header, b"the rest"].concat()).await?;
            until(|| log.has("data the rest")).await;
            drop(conn);
            until(|| log.has("lost done")).await;
            let all = ["build 192.0.2.7:50001", "made", SAID, "data the rest", "eof", "lost done"];
            assert_eq!(log.all(), all);
            port.stop().await?;
        }
    }

    async fn a_header_may_arrive_byte_by_byte(reactor) {
        for header in [LINE, BINARY] {
            let log = Log::new();
            let port = listen(&reactor, here()?.proxied(ProxyOptions::new()), &log)?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            for byte in header {
                assert!(log.is_empty());
                conn.write_all(&[*byte]).await?;
                for _ in 0..5 {
                    torsade::yield_now().await;
                }
            }
            until(|| log.has(SAID)).await;
            conn.write_all(b"x").await?;
            until(|| log.has("data x")).await;
            drop(conn);
            until(|| log.has("lost done")).await;
            port.stop().await?;
        }
    }

    async fn the_bytes_after_the_header_are_delivered_however_they_are_split(reactor) {
        let said: Rc<RefCell<Vec<u8>>> = Rc::default();
        let ended = Rc::new(Cell::new(0));
        let (kept, count) = (said.clone(), ended.clone());
        let port = reactor.serve(here()?.proxied(ProxyOptions::new()), async move |mut conn| {
            assert_eq!(conn.peer().to_string(), "192.0.2.7:50001");
            assert_eq!(conn.local_addr()?.to_string(), "192.0.2.1:80");
            let mut buf = [0; 7000];
            loop {
                match conn.read(&mut buf).await? {
                    0 => break,
                    n => kept.borrow_mut().extend_from_slice(&buf[..n]),
                }
            }
            conn.write_all(b"thanks\n").await?;
            count.set(count.get() + 1);
            Ok(())
        })?;
        let mut random = Random::new(3);
        for round in 1..=12 {
            let header = if round % 2 == 0 { LINE } else { BINARY };
            let mut rest = vec![0; random.below(300_000)];
            for byte in &mut rest {
                *byte = random.next_u64() as u8;
            }
            let whole = [header, &rest].concat();
            let (mut read, mut write) = reactor.connect_stream(port.local_addr()).await?.split();
            let mut left = &whole[..];
            while !left.is_empty() {
                let most = if left.len() > rest.len() { 20 } else { 50_000 };
                let (piece, after) = left.split_at((random.below(most) + 1).min(left.len()));
                write.write_all(piece).await?;
                left = after;
                torsade::yield_now().await;
            }
            drop(write);
            assert_eq!(read.read_line(80).await?.as_deref(), Some(&b"thanks"[..]));
            assert!(said.take() == rest, "round {round}");
            assert_eq!(ended.get(), round);
        }
        port.stop().await?;
    }

    async fn a_header_without_addresses_keeps_those_of_the_socket(reactor) {
        for header in [LOCAL, UNKNOWN] {
            let log = Log::new();
            let port = listen(&reactor, here()?.proxied(ProxyOptions::new()), &log)?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(&[header, b"x"].concat()).await?;
            until(|| log.has("data x")).await;
            let said = format!("{} at {}", conn.local_addr()?, port.local_addr());
            assert_eq!(log.all()[1..3], ["made", &said]);
            drop(conn);
            until(|| log.has("lost done")).await;
            port.stop().await?;
        }
    }

    async fn without_a_header_the_connection_is_closed_and_the_port_stays_open(reactor) {
        let log = Log::new();
        let port = listen(&reactor, here()?.proxied(ProxyOptions::new()), &log)?;
        for bad in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x31\0\0\0", b"PROXY TCP4 1.1.1.1 2.2.2.2 x 1\r\n"] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(bad).await?;
            assert!(is_cut_off(conn).await);
        }
        // The end in the middle of the header, and before it.
        for cut in [&LINE[..20], b""] {
            let (mut read, mut write) = reactor.connect_stream(port.local_addr()).await?.split();
            write.write_all(cut).await?;
            drop(write);
            assert!(!matches!(read.read(&mut [0; 8]).await, Ok(1..)));
        }
        assert!(log.is_empty());
        until(|| alive(&reactor).iter().all(|kind| *kind == "port")).await;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(LINE).await?;
        until(|| log.has(SAID)).await;
        drop(conn);
        until(|| log.has("lost done")).await;
        port.stop().await?;
    }

    async fn a_late_header_closes_the_connection(reactor) {
        let log = Log::new();
        let options = ProxyOptions::new().timeout(MS * 30);
        let port = listen(&reactor, here()?.proxied(options), &log)?;
        let begun = reactor.now();
        let mut silent = reactor.connect_stream(port.local_addr()).await?;
        let mut slow = reactor.connect_stream(port.local_addr()).await?;
        slow.write_all(&LINE[..30]).await?;
        let mut quick = reactor.connect_stream(port.local_addr()).await?;
        quick.write_all(LINE).await?;
        until(|| log.has(SAID)).await;
        assert!(!matches!(silent.read(&mut [0; 8]).await, Ok(1..)));
        assert!(is_cut_off(slow).await);
        assert!(reactor.now() - begun >= MS * 30);
        reactor.sleep(MS * 30).await?;
        quick.write_all(b"still here").await?;
        until(|| log.has("data still here")).await;
        drop((silent, quick));
        until(|| log.has("lost done")).await;
        assert_eq!(log.count("made"), 1);
        port.stop().await?;
    }

    async fn only_trusted_peers_may_send_a_header(reactor) {
        let log = Log::new();
        for (trusted, is_believed) in [("192.0.2.0/24", false), ("127.0.0.0/8", true), ("::/0", false)] {
            let options = ProxyOptions::new().trust(trusted.parse()?);
            let port = listen(&reactor, here()?.proxied(options), &log)?;
            let conn = reactor.connect_stream(port.local_addr()).await;
            if is_believed {
                let mut conn = conn?;
                conn.write_all(LINE).await?;
                until(|| log.has(SAID)).await;
                drop(conn);
                until(|| log.has("lost done")).await;
                log.take();
            } else if let Ok(mut conn) = conn {
                // The connection may be closed before or after this.
                let _ = conn.write_all(LINE).await;
                assert!(is_cut_off(conn).await);
            }
            assert!(log.is_empty());
            port.stop().await?;
        }
    }

    async fn closing_a_port_closes_connections_without_a_header(reactor) {
        let log = Log::new();
        let port = reactor.listen_factory(here()?.proxied(ProxyOptions::new()), Noting(log.clone()))?;
        let mut done = reactor.connect_stream(port.local_addr()).await?;
        done.write_all(LINE).await?;
        until(|| log.has("made")).await;
        let mut coming = reactor.connect_stream(port.local_addr()).await?;
        coming.write_all(&LINE[..20]).await?;
        let silent = reactor.connect_stream(port.local_addr()).await?;
        some_turns().await;
        port.stop().await?;
        assert!(is_cut_off(coming).await && is_cut_off(silent).await);
        done.write_all(b"go on").await?;
        until(|| log.has("data go on")).await;
        drop(done);
        until(|| log.has("lost done")).await;
        let all = ["started", "build 192.0.2.7:50001", "made", "stopped", "data go on", "eof", "lost done"];
        assert_eq!(log.all(), all);
    }

    async fn a_panic_of_the_builder_closes_its_connection_only(reactor) {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let (first, noted) = (Cell::new(true), log.clone());
        let port = reactor.listen(here()?.proxied(ProxyOptions::new()), move |_peer| {
            assert!(!first.replace(false), "the first");
            Spy::new(&noted)
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(LINE).await?;
        assert!(is_cut_off(conn).await);
        assert_eq!(reports.borrow().len(), 1);
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(LINE).await?;
        until(|| log.has("made")).await;
        drop(conn);
        until(|| log.has("lost done")).await;
        port.stop().await?;
    }

    async fn a_builder_may_stop_its_port_and_refuse_the_connection(reactor) {
        let port: Rc<RefCell<Option<Port>>> = Rc::default();
        let kept = port.clone();
        let made = reactor.listen(here()?.proxied(ProxyOptions::new()), move |_peer| {
            let port = kept.take();
            if let Some(port) = port {
                drop(port.stop());
            }
            None::<Spy>
        })?;
        *port.borrow_mut() = Some(made.clone());
        let mut conn = reactor.connect_stream(made.local_addr()).await?;
        conn.write_all(LINE).await?;
        assert!(is_cut_off(conn).await);
        until(|| !made.is_listening()).await;
        made.stop().await?;
    }

    async fn the_options_can_be_given_as_text(reactor) {
        let log = Log::new();
        let endpoint = ServerEndpoint::parse("haproxy:tcp:0:interface=127.0.0.1:trust=127.0.0.0/8,10.0.0.1:headertimeout=5")?;
        let port = listen(&reactor, endpoint, &log)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(BINARY).await?;
        until(|| log.has(SAID)).await;
        drop(conn);
        until(|| log.has("lost done")).await;
        port.stop().await?;
    }
}

on_both_by_hand! {
    fn the_end_of_the_reactor_closes_connections_without_a_header(reactor) {
        let log = Log::new();
        let noted = log.clone();
        let result = reactor.run_until(async {
            let endpoint = here().unwrap().proxied(ProxyOptions::new());
            let port = reactor.listen_factory(endpoint, Noting(noted)).unwrap();
            let mut conn = reactor.connect_stream(port.local_addr()).await.unwrap();
            conn.write_all(&LINE[..20]).await.unwrap();
            some_turns().await;
            reactor.stop().unwrap();
            std::future::pending::<()>().await;
        });
        result.unwrap_err().trap::<Stopped>().unwrap();
        assert!(alive(&reactor).is_empty(), "{:?}", alive(&reactor));
        assert_eq!(log.all(), ["started", "stopped"]);
    }
}

#[test]
fn by_default_a_header_has_ten_seconds() {
    testing::run(async |reactor| {
        let log = Log::new();
        let port = listen(&reactor, here()?.proxied(ProxyOptions::new()), &log)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        reactor.sleep(Duration::from_millis(9_900)).await?;
        conn.write_all(LINE).await?;
        until(|| log.has(SAID)).await;
        let late = reactor.connect_stream(port.local_addr()).await?;
        let begun = reactor.now();
        assert!(is_cut_off(late).await);
        assert_eq!(reactor.now() - begun, Duration::from_secs(10));
        drop(conn);
        until(|| log.has("lost done")).await;
        port.stop().await?;
        Ok(())
    });
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::io::Read;
    use support::folder::Folder;

    on_both! {
        async fn proxied_unix_sockets_pass_descriptors_to_the_protocol(reactor) {
            let folder = Folder::create();
            let text = format!("haproxy:{}:trust=192.0.2.0/24", folder.socket());
            let port = reactor.serve(text, async |mut conn| {
                let peer = conn.peer();
                conn.write_all(format!("{peer}\n").as_bytes()).await?;
                let mut byte = [0];
                conn.read_exact(&mut byte).await?;
                if let Some(descriptor) = conn.take_descriptor() {
                    let mut said = String::new();
                    std::fs::File::from(descriptor).read_to_string(&mut said)?;
                    conn.write_all(format!("{said}\n").as_bytes()).await?;
                }
                Ok(())
            })?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(LINE).await?;
            some_turns().await;
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            conn.send_descriptor(theirs)?;
            std::io::Write::write_all(&mut &ours, b"from the pipe")?;
            drop(ours);
            conn.write_all(b"x").await?;
            assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"192.0.2.7:50001"[..]));
            assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"from the pipe"[..]));
            drop(conn);
            port.stop().await?;
        }
    }
}

#[test]
fn without_a_subscriber_the_first_closed_connection_is_logged_to_stderr() {
    let output = own::command("closes_two_connections_in_the_child")
        .env("TORSADE_CHILD", "yes")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let closed = "torsade: closed the connection of the proxy ";
    assert_eq!(said.matches(closed).count(), 1, "{said}");
}

/// Does nothing in the parent.
#[test]
fn closes_two_connections_in_the_child() {
    if std::env::var_os("TORSADE_CHILD").is_none() {
        return;
    }
    testing::run(async |reactor| {
        let port = reactor.serve(here()?.proxied(ProxyOptions::new()), async |_conn| Ok(()))?;
        for _ in 0..2 {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
            assert!(is_cut_off(conn).await);
            reactor.sleep(Duration::from_secs(2)).await?;
        }
        port.stop().await
    });
}

#[cfg(target_os = "linux")]
#[test]
fn standard_input_cannot_be_behind_a_proxy() {
    let failure = ServerEndpoint::parse("haproxy:stdio:").unwrap_err();
    assert!(matches!(
        failure.trap().unwrap(),
        EndpointError::Endpoint { .. }
    ));
    let reactor = Reactor::new().unwrap();
    let endpoint = ServerEndpoint::parse("stdio:")
        .unwrap()
        .proxied(ProxyOptions::new());
    let failure = reactor.listen(endpoint, |_| Spy::echo()).unwrap_err();
    assert_eq!(failure.location().file(), file!());
    assert!(matches!(
        failure.trap().unwrap(),
        EndpointError::Endpoint { .. }
    ));
}
