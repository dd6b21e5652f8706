//! Servers: requests and responses over HTTP/1 and HTTP/2, failures of handlers, and the end.

use std::time::Duration;

use hyper::client::conn::http2;
use torsade::http::{self, Body, Request, Response, StatusCode};
use torsade::{Clock, Connection, Failure, Reactor, fail, testing};

const SECOND: Duration = Duration::from_secs(1);

/// Sends `request` to the server and returns all that it sends back.
async fn exchange(
    reactor: &Reactor,
    port: &http::HttpPort,
    request: impl AsRef<[u8]>,
) -> Result<String, Failure> {
    let mut conn = reactor.connect_stream(port.local_addr()).await?;
    conn.write_all(request.as_ref()).await?;
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Reads one response from a connection that is kept open: its head, and `length` bytes.
async fn response(conn: &mut Connection) -> Result<(String, Vec<u8>), Failure> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let Some(line) = conn.read_line(1000).await? else {
            return Err(fail!("the connection ended in a head: {head:?}"));
        };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.parse()?;
        }
        head += &line;
        head.push('\n');
    }
    let mut body = vec![0; length];
    conn.read_exact(&mut body).await?;
    Ok((head, body))
}

async fn echo(request: Request<Body>) -> Result<Response<Body>, Failure> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/fail" => Err(fail!("no luck")),
        "/panic" => panic!("no luck at all"),
        "/read" => Ok(Response::new(
            request.into_body().read(1 << 20).await?.into(),
        )),
        "/stream" => Ok(Response::new(request.into_body())),
        _ => Ok(Response::new(format!("{} {path}", request.method()).into())),
    }
}

on_both! {
    async fn a_connection_serves_one_request_after_the_other(reactor) {
        let port = http::serve("127.0.0.1:0", echo)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        for number in 0..3 {
            let request = format!("GET /{number} HTTP/1.1\r\nHost: here\r\n\r\n");
            conn.write_all(request.as_bytes()).await?;
            let (head, body) = response(&mut conn).await?;
            assert!(head.starts_with("HTTP/1.1 200 OK\n"), "{head}");
            assert_eq!(body, format!("GET /{number}").as_bytes());
        }
        // Pipelined.
        let both = "GET /a HTTP/1.1\r\nHost: here\r\n\r\nGET /b HTTP/1.1\r\nHost: here\r\n\r\n";
        conn.write_all(both.as_bytes()).await?;
        assert_eq!(response(&mut conn).await?.1, b"GET /a");
        assert_eq!(response(&mut conn).await?.1, b"GET /b");
        port.stop(SECOND).await?;
    }

    async fn bodies_go_both_ways_whole_and_in_pieces(reactor) {
        let port = http::serve("127.0.0.1:0", echo)?;
        for path in ["/read", "/stream"] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            let head = format!("POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n");
            conn.write_all(head.as_bytes()).await?;
            conn.write_all(b"hello").await?;
            let (_, body) = response(&mut conn).await?;
            assert_eq!(body, b"hello");
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\
                 Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
            );
            conn.write_all(head.as_bytes()).await?;
            let mut answer = Vec::new();
            conn.read_to_end(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.contains("hello") || answer.contains("llo\r\n0\r\n\r\n"), "{answer}");
        }
        port.stop(SECOND).await?;
    }

    async fn a_failure_and_a_panic_of_a_handler_are_reported_and_answered(reactor) {
        let port = http::serve("127.0.0.1:0", echo)?;
        for path in ["/fail", "/panic"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
            let answer = exchange(&reactor, &port, request).await?;
            assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{answer}");
            let reports = testing::take_reports(&reactor);
            assert_eq!(reports.len(), 1);
            let doing = format!("in the handler of GET {path}");
            assert_eq!(reports[0].doing(), Some(doing.as_str()));
        }
        port.stop(SECOND).await?;
    }

    async fn http2_is_spoken_by_who_begins_with_it(reactor) {
        let port = http::serve("127.0.0.1:0", echo)?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let (mut client, driver) = http2::Builder::new(torsade::hyper::Executor)
            .timer(torsade::hyper::Timer)
            .handshake(conn)
            .await?;
        let driver = torsade::spawn(driver);
        let requests = (0..20).map(|number| {
            let request = Request::post(format!("http://here/stream?{number}"));
            client.send_request(request.body(Body::from(number.to_string())).unwrap())
        });
        let responses: Vec<_> = requests.collect();
        for (number, response) in responses.into_iter().enumerate() {
            let response = response.await?;
            assert_eq!(response.status(), StatusCode::OK);
            let body = Body::from(response.into_body()).read(100).await?;
            assert_eq!(body, number.to_string());
        }
        drop(client);
        driver.await??;
        port.stop(SECOND).await?;
    }

    async fn a_body_that_is_announced_is_asked_for_when_it_is_read(reactor) {
        let port = http::serve("127.0.0.1:0", echo)?;
        for (path, is_asked_for) in [("/read", true), ("/other", false)] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            );
            conn.write_all(head.as_bytes()).await?;
            let line = conn.read_line(100).await?.unwrap_or_default();
            assert_eq!(line.starts_with(b"HTTP/1.1 100 "), is_asked_for);
            if is_asked_for {
                conn.read_line(100).await?;
                conn.write_all(b"hello").await?;
                assert_eq!(response(&mut conn).await?.1, b"hello");
            }
        }
        port.stop(SECOND).await?;
    }

    async fn head_has_the_length_and_no_body(reactor) {
        let port = http::serve("127.0.0.1:0", echo)?;
        let answer = exchange(&reactor, &port, "HEAD /x HTTP/1.0\r\n\r\n").await?;
        assert!(answer.contains("content-length: 7\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        port.stop(SECOND).await?;
    }

    async fn a_stop_waits_for_the_requests_under_way(reactor) {
        let (gate, open) = torsade::Deferred::<()>::pair();
        let gate = std::cell::Cell::new(Some(gate));
        let port = http::serve("127.0.0.1:0", async move |_request| {
            if let Some(gate) = gate.take() {
                gate.await?;
            }
            Ok("done")
        })?;
        let idle = reactor.connect_stream(port.local_addr()).await?;
        let mut busy = reactor.connect_stream(port.local_addr()).await?;
        busy.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await?;
        while port.port().connections() < 2 {
            torsade::yield_now().await;
        }
        reactor.sleep(Duration::from_millis(20)).await?;
        let stopped = port.stop(Duration::from_secs(10));
        reactor.sleep(Duration::from_millis(20)).await?;
        open.callback(());
        let (head, body) = response(&mut busy).await?;
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(body, b"done");
        assert_eq!(stopped.await?, 0);
        drop(idle);
    }
}
