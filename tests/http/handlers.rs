//! What handlers can be and do: services, upgrades, their log, and servers under faults.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use support::subscribe;
use torsade::http::{self, Agent, Body, HttpError, Request, Response, SendBody, Server};
use torsade::testing::{self, NetworkFaults, Random, each_seed};
use torsade::{Address, Clock, Failure, fail};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const SECOND: Duration = Duration::from_secs(1);

/// A service that must be asked whether it is ready, and whose future is `Send`.
#[derive(Clone, Default)]
struct Counting {
    is_ready: bool,
}

impl tower_service::Service<Request<SendBody>> for Counting {
    type Response = Response<SendBody>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if std::mem::replace(&mut self.is_ready, true) {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, request: Request<SendBody>) -> Self::Future {
        assert!(self.is_ready, "called without being asked");
        Box::pin(async move { Ok(Response::new(request.into_body())) })
    }
}

on_both! {
    async fn a_service_is_a_handler(reactor) {
        let port = http::serve("127.0.0.1:0", http::service(Counting::default()))?;
        let _ = reactor;
        let agent = Agent::new();
        for text in ["one", "two"] {
            let request = Request::post(format!("http://{}/", port.local_addr())).body(text)?;
            let body = agent.request(request).await?.into_body().read(100).await?;
            assert_eq!(body, text);
        }
        drop(agent);
        port.stop(SECOND).await?;
    }

    async fn a_handler_is_dropped_when_its_peer_goes_away(reactor) {
        struct Count(Rc<Cell<usize>>);

        impl Drop for Count {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }

        let (begun, dropped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (note, count) = (begun.clone(), dropped.clone());
        let port = http::serve("127.0.0.1:0", async move |_request: Request<Body>| {
            let _count = Count(count.clone());
            note.set(note.get() + 1);
            std::future::pending::<()>().await;
            Ok(())
        })?;
        // Over HTTP/1: the whole connection, or only its writing side, ends.
        for is_half in [false, true] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await?;
            testing::wait_until(&reactor, SECOND, || begun.get() == 1 + usize::from(is_half)).await?;
            let (reader, writer) = conn.split();
            drop(writer);
            let reader = is_half.then_some(reader);
            testing::wait_until(&reactor, SECOND, || dropped.get() == begun.get()).await?;
            drop(reader);
        }
        // Over HTTP/2: one request, and then the connection.
        let agent = Agent::new().http2_prior_knowledge();
        let url = format!("http://{}/", port.local_addr());
        let (one, two) = (agent.get(&url), agent.get(&url));
        testing::wait_until(&reactor, SECOND, || begun.get() == 4).await?;
        one.cancel();
        testing::wait_until(&reactor, SECOND, || dropped.get() == 3).await?;
        assert_eq!(port.stop(Duration::ZERO).await?, 1);
        assert!(one.await.is_err() && two.await.is_err());
        assert_eq!(dropped.get(), 4);
        assert!(testing::take_reports(&reactor).is_empty());
    }

    async fn a_handler_may_know_the_peer_and_use_a_deferred(reactor) {
        let clock = reactor.clone();
        let server = Server::new().peers(true);
        let port = server.serve("127.0.0.1:0", async move |request: Request<Body>| {
            let peer = request.extensions().get::<Address>().cloned();
            let slept = torsade::repeat::defer_later(&clock, Duration::from_millis(1), || Ok("slept"));
            Ok(format!("{} {}", slept.await?, peer.unwrap()))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        conn.read_to_end(&mut answer).await?;
        let expected = format!("slept {}", conn.local_addr()?);
        assert!(String::from_utf8_lossy(&answer).ends_with(&expected));
        port.stop(SECOND).await?;
    }

    async fn an_upgraded_connection_has_what_came_with_the_request(reactor) {
        let port = http::serve("127.0.0.1:0", async |mut request| {
            let upgrade = http::upgrade(&mut request);
            let echo = async move {
                let mut conn = upgrade.await?;
                while let Some(line) = conn.read_line(100).await? {
                    conn.send_line(line).await?;
                }
                Ok::<(), Failure>(())
            };
            torsade::spawn(echo).detach();
            Ok(Response::builder().status(101).header("upgrade", "lines").body(Body::empty())?)
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let head = "GET / HTTP/1.1\r\nHost: here\r\nConnection: upgrade\r\nUpgrade: lines\r\n\r\n";
        // Bare line ends, and lines that are no request.
        conn.write_all(format!("{head}first\nsecond\n").as_bytes()).await?;
        while conn.read_line(1000).await?.is_some_and(|line| !line.is_empty()) {}
        conn.write_all(b"third\n").await?;
        for line in ["first", "second", "third"] {
            assert_eq!(conn.read_line(100).await?.as_deref(), Some(line.as_bytes()));
        }
        drop(conn);
        reactor.sleep(Duration::from_millis(50)).await?;
        port.stop(SECOND).await?;
    }

    async fn a_request_that_is_not_upgraded_goes_on_as_http(reactor) {
        let errors = Rc::new(RefCell::new(Vec::new()));
        let noted = errors.clone();
        let port = http::serve("127.0.0.1:0", async move |mut request| {
            let upgrade = http::upgrade(&mut request);
            let noted = noted.clone();
            torsade::spawn(async move {
                let failure = upgrade.await.unwrap_err();
                noted.borrow_mut().push(matches!(failure.downcast_ref(), Some(HttpError::NoUpgrade)));
            })
            .detach();
            Ok("no")
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let asks = "GET / HTTP/1.1\r\nHost: here\r\nConnection: upgrade\r\nUpgrade: lines\r\n\r\n";
        let asks_not = "GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        conn.write_all(format!("{asks}{asks_not}").as_bytes()).await?;
        let mut answer = Vec::new();
        conn.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
        reactor.sleep(Duration::from_millis(1)).await?;
        assert_eq!(errors.take(), [false, true]);
        port.stop(SECOND).await?;
    }

    async fn a_body_that_fails_resets_the_connection_and_is_reported(reactor) {
        let port = http::serve("127.0.0.1:0", async |_request| {
            let (writer, body) = Body::channel();
            writer.write("a part");
            writer.fail(fail!("no more"));
            Ok(Response::new(body))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let error = conn.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        port.stop(SECOND).await?;
        let reports = testing::take_reports(&reactor);
        assert!(reports.iter().any(|report| report.to_string().contains("no more")), "{reports:?}");
    }
}

/// Keeps the fields of the events of the access log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.target() == "torsade::http::access"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn the_access_log_has_a_line_for_each_response_and_escapes_what_peers_send() {
    let log = Log::default();
    let guard = subscribe(log.clone());
    testing::run(async |reactor| {
        let clock = reactor.clone();
        let port = http::serve("127.0.0.1:0", async move |_request| {
            clock.sleep(2 * SECOND).await?;
            Ok("hello")
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"GET /a?b HTTP/1.1\r\nHost: here\r\nUser-Agent: x\xff\"\t\r\n\r\n")
            .await?;
        conn.write_all(b"GET http://there/ HTTP/1.1\r\nHost: here\r\n\r\n")
            .await?;
        conn.read_to_end(&mut Vec::new()).await?;
        port.stop(SECOND).await?;
        Ok(())
    });
    drop(guard);
    let lines = log.0.lock().unwrap();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for part in [
        "method=GET",
        "target=/a?b",
        "version=HTTP/1.1",
        "status=200",
        "bytes=5",
        "seconds=2.",
        r#"user_agent=x\xff\""#,
        "referer=- ",
    ] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    assert!(lines[1].contains("status=400"), "{lines:?}");
}

/// A run under faults: whatever happens to connections, all of them end.
#[test]
fn under_faults_every_request_ends_and_a_stop_ends_the_rest() {
    each_seed(6, NetworkFaults::hostile, async |reactor, seed| {
        let mut random = Random::new(seed);
        let handled = Rc::new(Cell::new(0));
        let counted = handled.clone();
        let port = http::serve("127.0.0.1:0", async move |request: Request<Body>| {
            counted.set(counted.get() + 1);
            Ok(Response::new(request.into_body()))
        })?;
        let agent = Agent::new();
        let url = format!("http://{}/", port.local_addr());
        let mut running = Vec::new();
        for _ in 0..20 {
            let length = random.below(300);
            let request = Request::post(&url).body(vec![b'x'; length])?;
            let request = agent.request(request);
            running.push(torsade::spawn(async move {
                let body = request.await?.into_body().read(1 << 20).await?;
                if body.len() != length {
                    return Err(fail!("{} bytes of {length}", body.len()));
                }
                Ok::<_, Failure>(())
            }));
            reactor
                .sleep(Duration::from_millis(random.below(50) as u64))
                .await?;
        }
        let mut answered = 0;
        for task in running {
            match task.await? {
                Ok(()) => answered += 1,
                Err(failure) => assert!(!failure.to_string().contains(" bytes of "), "{failure:#}"),
            }
        }
        assert!(answered <= handled.get());
        port.stop(SECOND).await?;
        drop(agent);
        // Connections that are being closed wait for their peers.
        reactor.sleep(200 * SECOND).await?;
        assert_eq!(port.port().connections(), 0);
        testing::take_reports(&reactor);
        Ok(())
    });
}
