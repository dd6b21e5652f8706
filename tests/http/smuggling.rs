//! Requests that two programs may divide differently are refused, and nothing after them is read.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use torsade::http::{self, Body, Request};
use torsade::{Clock, Failure, Reactor};

/// Sends `input` in pieces of `piece` bytes. Returns what the server answers until it closes, and
/// the paths that the handler has seen.
async fn send(reactor: &Reactor, input: &str, piece: usize) -> Result<(String, String), Failure> {
    let seen = Rc::new(Cell::new(String::new()));
    let paths = seen.clone();
    let port = http::serve("127.0.0.1:0", async move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        paths.set(paths.take() + &path + " ");
        let body = request.into_body().read(1000).await?;
        Ok(format!("{} bytes", body.len()))
    })?;
    let mut conn = reactor.connect_stream(port.local_addr()).await?;
    for piece in input.as_bytes().chunks(piece) {
        if conn.write_all(piece).await.is_err() || conn.flush().await.is_err() {
            break;
        }
        reactor.sleep(Duration::from_millis(2)).await?;
    }
    let mut answer = Vec::new();
    let read = conn.read_to_end(&mut answer);
    let _ = reactor.timeout(Duration::from_secs(5), read).await;
    drop(conn);
    port.stop(Duration::ZERO).await?;
    Ok((String::from_utf8_lossy(&answer).into_owned(), seen.take()))
}

/// Sends the input of each of these texts in pieces of each size, all at the same time. Returns
/// what [`send`] does, with the text and the size.
async fn send_all<'a>(
    reactor: &Reactor,
    texts: &[&'a str],
    pieces: [usize; 3],
    input: impl Fn(&str) -> String,
) -> Result<Vec<(&'a str, usize, String, String)>, Failure> {
    let sent = texts.iter().flat_map(|text| {
        let input = input(text);
        pieces.map(|piece| {
            let input = input.clone();
            async move {
                let (answer, seen) = send(reactor, &input, piece).await?;
                Ok((*text, piece, answer, seen))
            }
        })
    });
    futures::future::try_join_all(sent).await
}

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: here\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";

on_both! {
    async fn heads_that_are_read_in_two_ways_are_refused(reactor) {
        let heads = [
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3, 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: +3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 0x3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: \r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 18446744073709551616\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: here\r\nContent-Length : 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: here\r\n Content-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: here\r\nX: y\r\n\tfolded\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nX: y\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\nHost: here\n\n",
            "POST / HTTP/1.1\r\nHost: here\r\n\n",
            "POST / HTTP/1.1\r\nHost: here\r\nX: a\rContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: here\r\nX: a\0b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nX\0: b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nHost: there\r\n\r\n",
            "GET http://there/ HTTP/1.1\r\nHost: here\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: here\r\nno colon\r\n\r\n",
            "GET /two words HTTP/1.1\r\nHost: here\r\n\r\n",
            "GET / HTTP/9.1\r\nHost: here\r\n\r\n",
            "GET /\r\nHost: here\r\n\r\n",
        ];
        let input = |head: &str| format!("{GOOD}{head}{NEXT}");
        for (head, piece, answer, seen) in send_all(&reactor, &heads, [1000, 7, 1], input).await? {
            let count = answer.matches("HTTP/1.1 ").count();
            assert_eq!(seen, "/good ", "{head:?} by {piece}: {answer}");
            assert!(answer.contains("HTTP/1.1 400 Bad Request\r\n"), "{head:?}: {answer}");
            assert_eq!(count, 2, "{head:?} by {piece}: {answer}");
        }
    }

    async fn sizes_of_chunks_that_are_read_in_two_ways_break_the_body_off(reactor) {
        let chunks = [
            "0x1\r\na\r\n0\r\n\r\n",
            "+1\r\na\r\n0\r\n\r\n",
            " 1\r\na\r\n0\r\n\r\n",
            "1 \r\na\r\n0\r\n\r\n",
            "1\na\r\n0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "1\r\naXX0\r\n\r\n",
            "1;x\ny\r\na\r\n0\r\n\r\n",
            "\r\na\r\n0\r\n\r\n",
            ";x\r\na\r\n0\r\n\r\n",
            "10000000000000001\r\na\r\n0\r\n\r\n",
            "fffffffffffffffe\r\na\r\n0\r\n\r\n",
            "1\r\na\r\n0\r\n\n",
            "1\r\na\r\n0\r\n folded\r\n\r\n",
        ];
        let head = "POST /good HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n";
        let input = |chunks: &str| format!("{head}{chunks}{NEXT}");
        for (chunks, piece, answer, seen) in send_all(&reactor, &chunks, [1000, 7, 1], input).await? {
            assert_eq!(seen, "/good ", "{chunks:?} by {piece}: {answer}");
            assert!(!answer.contains("200 OK"), "{chunks:?} by {piece}: {answer}");
        }
    }

    async fn what_is_in_order_is_taken_however_it_is_cut(reactor) {
        let inputs = [
            "\r\n\r\nPOST /a HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\na\nb",
            "POST /a HTTP/1.1\r\nhost:here\r\ncontent-length:\t3 \r\n\r\n\n\n\n",
            "POST /a HTTP/1.1\r\nHost: here\r\nTRANSFER-ENCODING: Chunked\r\n\r\n002;a=\"b\"\r\na\n\r\n1\r\nb\r\n0\r\nX: y\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: here\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 3\r\n\r\n\n\n\n",
            "POST http://here/a HTTP/1.1\r\nHost: HERE\r\nContent-Length: 3\r\n\r\nabc",
        ];
        let input = |input: &str| format!("{input}{NEXT}");
        for (input, piece, answer, seen) in send_all(&reactor, &inputs, [1000, 3, 1], input).await? {
            assert_eq!(seen, "/a /next ", "{input:?} by {piece}: {answer}");
            assert!(answer.contains("\r\n\r\n3 bytes"), "{answer}");
            assert!(answer.ends_with("\r\n\r\n0 bytes"), "{answer}");
        }
    }
}
