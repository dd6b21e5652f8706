//! Requests and their responses, against servers that are told byte by byte what to send.

use torsade::http::{self, Agent, Body, HttpError, Phase, Request};
use torsade::{Connection, Failure, Port, Reactor};

use crate::support::HERE;

/// Reads a request's head.
async fn head(conn: &mut Connection) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    while let Some(line) = conn.read_line(10_000).await? {
        match line.is_empty() {
            true => break,
            false => lines.push(String::from_utf8_lossy(&line).into_owned()),
        }
    }
    Ok(lines)
}

/// Serves each connection with one response to each request.
fn server(reactor: &Reactor, answer: &'static str) -> Result<(Port, String), Failure> {
    let port = reactor.serve(HERE, async move |mut conn| {
        while !head(&mut conn).await?.is_empty() {
            conn.write_all(answer.as_bytes()).await?;
        }
        Ok(())
    })?;
    let url = format!("http://{}/", port.local_addr());
    Ok((port, url))
}

on_both! {
    async fn a_page_is_requested_and_read(reactor) {
        let (port, url) = server(&reactor, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")?;
        assert_eq!(http::get_page(&url).await?, "hello");
        let both = (http::get_page(&url), http::get_page(&url));
        assert_eq!((both.0.await?, both.1.await?), ("hello".into(), "hello".into()));
        port.stop().await?;
    }

    async fn a_request_has_what_it_was_given(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            let mut lines = head(&mut conn).await?;
            lines.sort();
            let mut body = [0; 4];
            conn.read_exact(&mut body).await?;
            let text = format!("{}|{}", lines.join("|"), String::from_utf8_lossy(&body));
            let text = format!("HTTP/1.0 200 OK\r\n\r\n{text}");
            Ok(conn.write_all(text.as_bytes()).await?)
        })?;
        let address = port.local_addr().to_string();
        let agent = Agent::new();
        let request = Request::post(format!("http://{address}/a%20b?c#d")).header("x-y", "z");
        let response = agent.request(request.body("body")?).await?;
        let text = response.into_body().read(1000).await?;
        let all = format!(
            "POST /a%20b?c HTTP/1.1|content-length: 4|host: {address}|user-agent: torsade/{}|x-y: z|body",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text, all);
        drop(agent);
        port.stop().await?;
    }

    async fn an_error_status_is_an_error_of_a_page(reactor) {
        let (port, url) = server(
            &reactor,
            "HTTP/1.1 404 Not Found\r\nx-why: gone\r\ncontent-length: 4\r\n\r\nnone",
        )?;
        let failure = http::get_page(&url).await.unwrap_err();
        let (at, code, headers, text) = expect_error!(
            failure, HttpError::Status { url, status, headers, body } => (url, status, headers, body)
        );
        assert_eq!((at, code.as_u16(), text), (&url, 404, &"none".into()));
        assert_eq!(headers["x-why"], "gone");

        let agent = Agent::new();
        let response = agent.get(&url).await?;
        assert_eq!(response.status(), 404);
        drop((response, agent));
        port.stop().await?;
    }

    async fn an_error_says_which_phase_failed_for_which_url(reactor) {
        let (port, url) = server(&reactor, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell")?;
        let agent = Agent::new();
        let failure = Agent::new().get("gopher://x/").await.unwrap_err();
        assert_failure!(failure, HttpError::Url { .. });

        let body = agent.get(&url).await?.into_body();
        port.lose_connections(std::time::Duration::ZERO).await?;
        let failure = body.read(100).await.unwrap_err();
        let (phase, at) =
            expect_error!(failure, HttpError::Failed { phase, url, .. } => (phase, url));
        assert_eq!((*phase, at), (Phase::Reading, &url));

        port.stop().await?;
        let failure = agent.get(&url).await.unwrap_err();
        let phase = expect_error!(failure, HttpError::Failed { phase, .. } => phase);
        assert_eq!(*phase, Phase::Connecting);
        drop(agent);
    }

    async fn a_connection_is_used_again(reactor) {
        let (port, url) = server(&reactor, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")?;
        let agent = Agent::new();
        for _ in 0..3 {
            let response = agent.get(&url).await?;
            assert_eq!(response.into_body().read(5).await?, "hello");
            assert_eq!(port.connections(), 1);
        }
        drop(agent);
        port.stop().await?;
    }

    async fn a_body_is_streamed_both_ways(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            head(&mut conn).await?;
            conn.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            while let Some(line) = conn.read_line(1000).await? {
                conn.write_all(&[&line[..], b"\r\n"].concat()).await?;
            }
            Ok(())
        })?;
        let agent = Agent::new();
        let (writer, body) = Body::channel();
        let request = Request::post(format!("http://{}/", port.local_addr())).body(body)?;
        writer.write("one");
        let mut response = agent.request(request).await?.into_body();
        assert_eq!(response.chunk().await?.unwrap(), "one");
        writer.send("two").await?;
        assert_eq!(response.chunk().await?.unwrap(), "two");
        writer.finish();
        assert_eq!(response.chunk().await?, None);
        drop(agent);
        port.stop().await?;
    }
}
