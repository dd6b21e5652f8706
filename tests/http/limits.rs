//! The limits of a server, for peers that are slow, silent, or send too much.

use std::time::Duration;

use torsade::http::{self, Body, BodyWriter, Request, Response, Server};
use torsade::{Clock, Connection, Failure, Reactor, testing};

/// Reads until the server closes; returns what it sent, and how long that took.
async fn wait_for_end(
    reactor: &Reactor,
    conn: &mut Connection,
) -> Result<(String, Duration), Failure> {
    let start = reactor.now();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = conn.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok((answer, reactor.now() - start))
}

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";

fn is_about(took: Duration, seconds: u64) -> bool {
    let least = Duration::from_secs(seconds) - Duration::from_millis(50);
    (least..least + SECOND).contains(&took)
}

#[test]
fn a_peer_that_never_sends_its_head_is_disconnected() {
    testing::run(async |reactor| {
        let port = http::serve("127.0.0.1:0", async |_request| Ok("hello"))?;
        for beginning in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nHost: he"] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(beginning.as_bytes()).await?;
            let (answer, took) = wait_for_end(&reactor, &mut conn).await?;
            assert!(
                answer.is_empty() && is_about(took, 30),
                "{beginning:?}: {took:?} {answer}"
            );
        }
        assert_eq!(port.port().connections(), 0);
        port.stop(SECOND).await?;
        Ok(())
    });
}

#[test]
fn a_byte_now_and_then_does_not_move_the_limit_of_the_head() {
    testing::run(async |reactor| {
        let port = http::serve("127.0.0.1:0", async |_request| Ok("hello"))?;
        // Also after a request.
        for before in [&b""[..], HELLO] {
            let conn = reactor.connect_stream(port.local_addr()).await?;
            let (mut reading, mut writing) = conn.split();
            writing.write_all(before).await?;
            reactor.sleep(SECOND).await?;
            let start = reactor.now();
            writing.write_all(b"GET / HTTP/1.1\r\nX: ").await?;
            let sleeping = reactor.clone();
            let dripping = torsade::spawn(async move {
                while writing.write_all(b"x").await.is_ok() && writing.flush().await.is_ok() {
                    let _ = sleeping.sleep(SECOND).await;
                }
            });
            let mut answer = Vec::new();
            let _ = reading.read_to_end(&mut answer).await;
            let took = reactor.now() - start;
            let least = if before.is_empty() { 29 } else { 30 };
            assert!(is_about(took, least), "{took:?}");
            drop(reading);
            dripping.await?;
        }
        port.stop(SECOND).await?;
        Ok(())
    });
}

#[test]
fn a_connection_is_kept_for_an_hour_while_it_is_used_and_closed_when_it_is_idle() {
    testing::run(async |reactor| {
        let port = http::serve("127.0.0.1:0", async |_request| Ok("hello"))?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        for _ in 0..72 {
            conn.write_all(HELLO).await?;
            let mut length = 0;
            while length < 100 {
                length += conn.read(&mut [0; 1000]).await?;
            }
            reactor.sleep(50 * SECOND).await?;
        }
        let (answer, took) = wait_for_end(&reactor, &mut conn).await?;
        assert!(answer.is_empty() && is_about(took, 10), "{took:?} {answer}");
        port.stop(SECOND).await?;
        Ok(())
    });
}

#[test]
fn a_handler_may_take_longer_than_any_limit() {
    testing::run(async |reactor| {
        let clock = reactor.clone();
        let port = http::serve("127.0.0.1:0", async move |_request| {
            clock.sleep(3600 * SECOND).await?;
            Ok("at last")
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(HELLO).await?;
        let (answer, took) = wait_for_end(&reactor, &mut conn).await?;
        assert!(
            answer.ends_with("at last") && is_about(took, 3660),
            "{took:?} {answer}"
        );
        port.stop(SECOND).await?;
        Ok(())
    });
}

#[test]
fn a_body_that_stays_away_is_answered_with_408() {
    testing::run(async |reactor| {
        let port = http::serve("127.0.0.1:0", async |request: Request<Body>| {
            request.into_body().read(1000).await
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\na")
            .await?;
        reactor.sleep(40 * SECOND).await?;
        conn.write_all(b"b").await?;
        let (answer, took) = wait_for_end(&reactor, &mut conn).await?;
        assert!(
            answer.starts_with("HTTP/1.1 408 ") && is_about(took, 60),
            "{took:?} {answer}"
        );
        port.stop(SECOND).await?;
        Ok(())
    });
}

#[test]
fn a_peer_that_does_not_read_is_disconnected() {
    testing::run(async |reactor| {
        let port = http::serve("127.0.0.1:0", async |request: Request<Body>| {
            let (writer, body) = Body::channel();
            if request.uri().path() == "/whole" {
                return Ok(Response::new(Body::from(vec![b'x'; 16 << 20])));
            }
            torsade::spawn(async move { fill(writer).await }).detach();
            Ok(Response::new(body))
        })?;
        for path in ["/whole", "/pieces"] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            let head = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
            conn.write_all(head.as_bytes()).await?;
            let start = reactor.now();
            reactor.sleep(SECOND).await?;
            while port.port().connections() > 0 {
                reactor.sleep(SECOND).await?;
            }
            let took = reactor.now() - start;
            assert!(
                took >= 59 * SECOND && took < 130 * SECOND,
                "{path}: {took:?}"
            );
            drop(conn);
        }
        testing::take_reports(&reactor);
        port.stop(SECOND).await?;
        Ok(())
    });
}

async fn fill(writer: BodyWriter) {
    while writer.send(vec![b'x'; 10_000]).await.is_ok() {}
}

#[test]
fn a_body_that_is_too_large_is_answered_with_413() {
    testing::run(async |reactor| {
        let port = Server::new()
            .max_body(10)
            .serve("127.0.0.1:0", async |request: Request<Body>| {
                request.into_body().read(1000).await
            })?;
        for (body, status) in [
            ("Content-Length: 10\r\n\r\n0123456789", "200"),
            ("Content-Length: 11\r\n\r\n0123456789a", "413"),
            (
                "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n",
                "200",
            ),
            (
                "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n",
                "413",
            ),
        ] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            let head = format!("POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{body}");
            conn.write_all(head.as_bytes()).await?;
            let (answer, _) = wait_for_end(&reactor, &mut conn).await?;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{body}: {answer}"
            );
        }
        port.stop(SECOND).await?;
        Ok(())
    });
}

#[test]
fn a_head_that_is_too_large_or_has_too_many_headers_is_answered_with_431() {
    testing::run(async |reactor| {
        let server = Server::new().max_head(8192).max_headers(10);
        let port = server.serve("127.0.0.1:0", async |_request| Ok("hello"))?;
        let many: String = (0..20).map(|number| format!("x-{number}: y\r\n")).collect();
        let large = format!("x: {}\r\n", "y".repeat(10_000));
        for headers in [many, large] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            let head = format!("GET / HTTP/1.1\r\nHost: here\r\n{headers}\r\n");
            conn.write_all(head.as_bytes()).await?;
            let (answer, _) = wait_for_end(&reactor, &mut conn).await?;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
        port.stop(SECOND).await?;
        Ok(())
    });
}

#[test]
fn a_stop_cuts_off_what_is_not_finished_in_time() {
    testing::run(async |reactor| {
        let clock = reactor.clone();
        let port = http::serve("127.0.0.1:0", async move |_request| {
            clock.sleep(3600 * SECOND).await?;
            Ok("never")
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(HELLO).await?;
        reactor.sleep(SECOND).await?;
        let start = reactor.now();
        assert_eq!(port.stop(10 * SECOND).await?, 1);
        assert!(is_about(reactor.now() - start, 10));
        assert!(wait_for_end(&reactor, &mut conn).await?.0.is_empty());
        Ok(())
    });
}
