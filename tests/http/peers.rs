//! Servers that a test directs byte by byte.

use std::rc::Rc;

use torsade::{Connection, Failure, Port, Reactor};

use support::HERE;

/// Reads a request's head: its lines, none at the end of the connection.
pub(crate) async fn head(conn: &mut Connection) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    while let Some(line) = conn.read_line(10_000).await? {
        match line.is_empty() {
            true => break,
            false => lines.push(String::from_utf8_lossy(&line).into_owned()),
        }
    }
    Ok(lines)
}

/// A response with the text.
pub(crate) fn ok(text: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Serves a response to each request without a body: what `answer` makes of the request line. A
/// request for `/end` is the last one of its connection.
/// Returns the port and its URL.
pub(crate) fn server(
    reactor: &Reactor,
    answer: impl AsyncFn(String) -> String + 'static,
) -> Result<(Port, String), Failure> {
    let answer = Rc::new(answer);
    let port = reactor.serve(HERE, move |mut conn| {
        let answer = answer.clone();
        async move {
            while let Some(line) = head(&mut conn).await?.first() {
                let answer = answer(line.clone()).await;
                conn.write_all(answer.as_bytes()).await?;
                if line.contains("/end") {
                    break;
                }
            }
            Ok(())
        }
    })?;
    let url = format!("http://{}/", port.local_addr());
    Ok((port, url))
}
