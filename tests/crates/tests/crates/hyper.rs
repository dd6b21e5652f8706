//! `hyper`: HTTP/1 and HTTP/2, servers and clients, on the reactor's connections and clock.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn as client;
use hyper::server::conn as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use torsade::hyper::{Executor, Timer};
use torsade::{Clock, Connection, Failure, Port, Reactor, spawn};

use crate::{HERE, SECOND};

/// A body in two parts that is not `Send`.
struct Parts(Rc<Cell<u32>>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.0.replace(self.0.get() + 1);
        Poll::Ready((part < 2).then(|| Ok(Frame::data(Bytes::from(format!("part {part} "))))))
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Parts>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let mut response = Response::new(Parts(Rc::default()));
    let length = body.len().to_string();
    response
        .headers_mut()
        .insert("x-received", length.parse().unwrap());
    Ok(response)
}

fn post() -> Request<Full<Bytes>> {
    let request = Request::post("http://localhost/").header("host", "localhost");
    request.body(Full::from(vec![b'x'; 100_000])).unwrap()
}

async fn check(response: Response<Incoming>) -> Result<(), Failure> {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-received"], "100000");
    assert_eq!(
        response.into_body().collect().await?.to_bytes(),
        "part 0 part 1 "
    );
    Ok(())
}

async fn connect(reactor: &Reactor, port: &Port) -> Result<Connection, Failure> {
    reactor.connect_stream(port.local_addr()).await
}

on_both! {
    async fn http1_answers_several_requests_on_a_connection(reactor) {
        let port = reactor.serve(HERE, async |conn| {
            let mut server = server::http1::Builder::new();
            server.timer(Timer).header_read_timeout(30 * SECOND);
            Ok(server.serve_connection(conn, service_fn(answer)).await?)
        })?;
        let conn = connect(&reactor, &port).await?;
        let (mut sender, conn) = client::http1::handshake(conn).await?;
        let running = spawn(conn);
        for _ in 0..3 {
            check(sender.send_request(post()).await?).await?;
        }
        drop(sender);
        running.await??;
        port.stop().await?;
    }

    async fn http2_answers_many_requests_at_once(reactor) {
        let port = reactor.serve(HERE, async |conn| {
            let mut server = server::http2::Builder::new(Executor);
            server.timer(Timer).keep_alive_interval(20 * SECOND);
            Ok(server.serve_connection(conn, service_fn(answer)).await?)
        })?;
        let conn = connect(&reactor, &port).await?;
        let mut builder = client::http2::Builder::new(Executor);
        builder.timer(Timer).keep_alive_interval(20 * SECOND);
        let (mut sender, conn) = builder.handshake(conn).await?;
        let running = spawn(conn);
        let answers: Vec<_> = (0..20).map(|_| sender.send_request(post())).collect();
        for answer in answers {
            check(answer.await?).await?;
        }
        drop(sender);
        running.await??;
        port.stop().await?;
    }

    async fn a_header_that_does_not_end_is_given_up_at_its_time(reactor) {
        let (limit, ended) = (SECOND / 20, Rc::new(Cell::new(None)));
        let (ends, own) = (ended.clone(), reactor.clone());
        let port = reactor.serve(HERE, async move |conn| {
            let mut server = server::http1::Builder::new();
            server.timer(Timer).header_read_timeout(limit);
            let served = server.serve_connection(conn, service_fn(answer)).await;
            assert!(served.unwrap_err().is_timeout());
            ends.set(Some(own.now()));
            Ok(())
        })?;
        let mut conn = connect(&reactor, &port).await?;
        let start = reactor.now();
        conn.write_all(b"GET / HTTP/1.1\r\nhost: local").await?;
        conn.read_to_end(&mut Vec::new()).await?;
        assert!(ended.get().expect("it has ended") >= start + limit);
        drop(conn);
        port.stop().await?;
    }

    async fn an_http2_peer_that_stops_answering_is_noticed(reactor) {
        let (limit, silent) = (SECOND / 20, Rc::new(Cell::new(None)));
        let keeps = silent.clone();
        let port = reactor.serve(HERE, async move |mut conn| {
            // Settings, and no answer to a ping.
            conn.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
            keeps.set(Some(conn));
            Ok(())
        })?;
        let conn = connect(&reactor, &port).await?;
        let mut builder = client::http2::Builder::new(Executor);
        builder.timer(Timer);
        builder.keep_alive_interval(limit).keep_alive_timeout(limit).keep_alive_while_idle(true);
        let (sender, conn) = builder.handshake::<_, Full<Bytes>>(conn).await?;
        let start = reactor.now();
        let ended = spawn(conn).await?;
        assert!(ended.unwrap_err().is_timeout());
        assert!(reactor.now() >= start + 2 * limit);
        drop((sender, silent));
        port.stop().await?;
    }
}

#[test]
fn an_hour_of_the_timer_passes_at_once_in_memory() {
    let begun = std::time::Instant::now();
    torsade::testing::run(async |reactor| {
        let port = reactor.serve(HERE, async |conn| {
            let mut server = server::http1::Builder::new();
            server.timer(Timer).header_read_timeout(3600 * SECOND);
            let served = server.serve_connection(conn, service_fn(answer)).await;
            assert!(served.unwrap_err().is_timeout());
            Ok(())
        })?;
        let mut conn = connect(&reactor, &port).await?;
        let start = reactor.now();
        conn.write_all(b"GET / HTTP/1.1\r\n").await?;
        conn.read_to_end(&mut Vec::new()).await?;
        assert!(reactor.now() >= start + 3600 * SECOND);
        drop(conn);
        port.stop().await
    });
    assert!(begun.elapsed() < 60 * SECOND);
}
