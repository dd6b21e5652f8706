//! Connections of an agent: how many there are, who gets them, and when they end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures::stream;
use torsade::http::{self, Agent, Body, HttpError, Phase, Request};
use torsade::testing::{self, NetworkFaults, Random, each_seed};
use torsade::{Cancelled, Clock, Deferred, Failure, defer};

use crate::peers::{head, ok, server};
use support::{HERE, MS};

const SECOND: Duration = Duration::from_secs(1);

/// A server whose handlers take some time. Returns its URL, and notes how many ran at once at most.
fn slow(most: &Rc<Cell<usize>>) -> Result<(http::HttpPort, String), Failure> {
    let (now, most) = (Rc::new(Cell::new(0)), most.clone());
    let port = http::serve(HERE, async move |request| {
        now.set(now.get() + 1);
        most.set(most.get().max(now.get()));
        let reactor = torsade::Reactor::current().unwrap();
        let is_long = request.uri().path() == "/long";
        reactor.sleep(if is_long { SECOND * 9 } else { MS }).await?;
        now.set(now.get() - 1);
        Ok(request.uri().path().to_owned())
    })?;
    let url = format!("http://{}", port.local_addr());
    Ok((port, url))
}

/// A server of a page that is larger than what is buffered on the way.
fn large() -> Result<(http::HttpPort, String), Failure> {
    let port = http::serve(HERE, async |_| Ok("x".repeat(10_000_000)))?;
    let url = format!("http://{}/", port.local_addr());
    Ok((port, url))
}

on_both! {
    async fn there_are_no_more_connections_to_a_server_than_the_limit(reactor) {
        let most = Rc::new(Cell::new(0));
        let (port, url) = slow(&most)?;
        let agent = Agent::new().connections_per_host(3);
        let pages = (0..20).map(|n| agent.get_page(format!("{url}/{n}")));
        for (n, page) in defer::list(pages).await?.into_iter().enumerate() {
            assert_eq!(page?, format!("/{n}"));
        }
        assert_eq!(most.get(), 3);
        drop(agent);
        port.stop(SECOND).await?;
        let _ = reactor;
    }

    async fn requests_wait_in_the_order_in_which_they_were_made(reactor) {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let note = seen.clone();
        let (port, url) = server(&reactor, async move |line| {
            note.borrow_mut().push(line);
            ok("")
        })?;
        let agent = Agent::new().connections_per_host(1);
        let pages = (0..10).map(|n| agent.get_page(format!("{url}{n}")));
        defer::gather(pages).await?;
        let expected: Vec<_> = (0..10).map(|n| format!("GET /{n} HTTP/1.1")).collect();
        assert_eq!(*seen.borrow(), expected);
        drop(agent);
        port.stop().await?;
    }

    async fn an_idle_connection_makes_room_for_one_to_another_server(reactor) {
        let one = server(&reactor, async |_| ok("one"))?;
        let two = server(&reactor, async |_| ok("two"))?;
        let agent = Agent::new().connections(1);
        for _ in 0..3 {
            let pages = [&one.1, &two.1, &one.1].map(|url| agent.get_page(url));
            let pages = defer::gather(pages).await?;
            assert_eq!(pages, ["one", "two", "one"]);
            assert!(one.0.connections() + two.0.connections() <= 2);
        }
        drop(agent);
        one.0.stop().await?;
        two.0.stop().await?;
    }

    async fn a_connection_that_has_ended_is_not_used_again(reactor) {
        let (port, url) = server(&reactor, async |_| ok("hello"))?;
        let agent = Agent::new();
        for _ in 0..3 {
            assert_eq!(agent.get_page(format!("{url}end")).await?, "hello");
        }
        drop(agent);
        port.stop().await?;
    }

    async fn a_request_is_sent_again_when_its_old_connection_has_ended_and_that_is_safe(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            head(&mut conn).await?;
            conn.write_all(ok("first").as_bytes()).await?;
            // The second request is read, and not answered.
            head(&mut conn).await?;
            Ok(())
        })?;
        let url = format!("http://{}/", port.local_addr());
        let agent = Agent::new();
        for _ in 0..4 {
            assert_eq!(agent.get_page(&url).await?, "first");
        }
        let put = |body: Body| {
            let request = Request::put(&url).body(body);
            request.map(|request| agent.request(request))
        };
        let body = put("x".into())?.await?.into_body();
        assert_eq!(body.read(9).await?, "first");

        // Neither is known to be safe: the body cannot be repeated, or the method is no such.
        assert_eq!(agent.get_page(&url).await?, "first");
        let (writer, body) = Body::channel();
        writer.write("x");
        writer.finish();
        let failure = put(body)?.await.unwrap_err();
        assert_failure!(failure, HttpError::Failed { phase: Phase::Waiting, .. });
        assert_eq!(agent.get_page(&url).await?, "first");
        let post = agent.request(Request::post(&url).body(())?);
        let failure = post.await.unwrap_err();
        assert_failure!(failure, HttpError::Failed { phase: Phase::Waiting, .. });
        drop(agent);
        port.stop().await?;
    }

    async fn a_response_that_is_dropped_frees_its_connection(reactor) {
        let (port, url) = large()?;
        let agent = Agent::new().connections_per_host(1);
        for _ in 0..5 {
            drop(agent.get(&url).await?);
            let mut body = agent.get(&url).await?.into_body();
            assert!(body.chunk().await?.is_some());
        }
        drop(agent);
        port.stop(Duration::ZERO).await?;
        testing::take_reports(&reactor);
    }

    async fn one_connection_over_http2_serves_all_requests_at_once(reactor) {
        let most = Rc::new(Cell::new(0));
        let (port, url) = slow(&most)?;
        let agent = Agent::new().http2_prior_knowledge();
        let pages = (0..20).map(|n| agent.get_page(format!("{url}/{n}")));
        for (n, page) in defer::gather(pages).await?.into_iter().enumerate() {
            assert_eq!(page, format!("/{n}"));
        }
        assert_eq!(most.get(), 20);
        assert!(format!("{agent:?}").contains("connections: 1"));
        // A cancel ends the request alone.
        let (one, other) = (agent.get_page(format!("{url}/long")), agent.get_page(&url));
        reactor.sleep(MS / 2).await?;
        one.cancel();
        assert!(one.await.unwrap_err().is::<Cancelled>());
        assert_eq!(other.await?, "/");
        assert!(format!("{agent:?}").contains("connections: 1"));
        drop(agent);
        port.stop(SECOND).await?;
    }

    async fn what_a_cancelled_request_has_held_may_use_the_agent_when_it_is_dropped(reactor) {
        let serve = || http::serve(HERE, async |request| Ok(match request.uri().path() {
            "/endless" => Body::from_stream(stream::pending::<Result<Vec<u8>, Failure>>()),
            _ => Body::from("hello"),
        }));
        let ports = [serve()?, serve()?, serve()?];
        let [one, two, three] = ports.each_ref().map(|port| format!("http://{}", port.local_addr()));
        let agent = Agent::new().http2_prior_knowledge().connections(2);
        let held = agent.get(format!("{one}/endless")).await?;
        let busy = agent.get(format!("{two}/endless")).await?;
        let settings = agent.clone().redirect_if(move |_, _| held.status() == 200);
        let waiting = settings.get(&three);
        drop(settings);
        reactor.sleep(MS).await?;
        waiting.cancel();
        assert!(waiting.await.unwrap_err().is::<Cancelled>());
        let page = agent.get_page(&three);
        reactor.sleep(MS).await?;
        drop(busy);
        assert_eq!(page.await?, "hello");
        drop(agent);
        for port in ports {
            port.stop(Duration::ZERO).await?;
        }
    }
}

#[test]
fn an_idle_connection_is_closed_after_a_time() {
    testing::run(async |reactor| {
        let (port, url) = server(&reactor, async |_| ok("hello"))?;
        let agent = Agent::new().idle_timeout(SECOND * 10);
        let (one, two) = (agent.get_page(&url), agent.get_page(&url));
        assert_eq!((one.await?, two.await?), ("hello".into(), "hello".into()));
        assert_eq!(port.connections(), 2);
        for _ in 0..10 {
            reactor.sleep(SECOND * 6).await?;
            agent.get_page(&url).await?;
        }
        assert_eq!(port.connections(), 1);
        reactor.sleep(SECOND * 9).await?;
        assert_eq!(port.connections(), 1);
        reactor.sleep(SECOND * 2).await?;
        assert_eq!(port.connections(), 0);
        assert_eq!(agent.get_page(&url).await?, "hello");
        drop(agent);
        port.stop().await
    });
}

#[test]
fn a_body_that_is_not_read_does_not_hold_its_connection_for_ever() {
    testing::run(async |reactor| {
        let (port, url) = large()?;
        let agent = Agent::new().connections_per_host(1);
        let agent = agent.body_timeout(SECOND * 5);
        let begin = reactor.now();
        let held = agent.get(&url).await?;
        assert_eq!(agent.get_page(&url).await?.len(), 10_000_000);
        assert!(reactor.now() >= begin + SECOND * 5);
        let failure = held.into_body().read(1 << 30).await.unwrap_err();
        assert_failure!(
            failure,
            HttpError::TimedOut {
                phase: Phase::Reading,
                ..
            }
        );
        drop(agent);
        port.stop(SECOND).await?;
        Ok(())
    });
}

/// Each request ends once, whatever the network does, and no connection stays.
fn faults(count: u64, agent: impl Fn() -> Agent) {
    let ended = Cell::new([0; 2]);
    each_seed(count, NetworkFaults::hostile, async |reactor, seed| {
        let mut random = Random::new(seed);
        let port = http::serve(HERE, async |request| {
            let path = request.uri().path().to_owned();
            request.into_body().read(100_000).await?;
            Ok(path.repeat(50))
        })?;
        let url = format!("http://{}", port.local_addr());
        let agent = agent().timeout(SECOND * 20);
        let mut requests = Vec::new();
        for n in 0..12 {
            let url = format!("{url}/{n}");
            let request = match random.below(3) {
                0 => agent.get_page(&url),
                _ => {
                    let body = "x".repeat(random.below(500));
                    let response = agent.request(Request::put(&url).body(body)?);
                    let read = async move { response.await?.into_body().read(100_000).await };
                    Deferred::from_future(read)
                }
            };
            let request = request.add_both(move |result| match result {
                Ok(body) if body == format!("/{n}").repeat(50) => Ok(0),
                Ok(body) => Err(format!("{} bytes", body.len()).into()),
                Err(failure) if failure.is::<Cancelled>() || failure.is::<HttpError>() => Ok(1),
                Err(failure) => Err(failure),
            });
            if random.below(10) == 0 {
                request.cancel();
            }
            requests.push(request);
            if random.below(2) == 0 {
                reactor.sleep(MS * random.below(20) as u32).await?;
            }
        }
        for result in defer::gather(requests).await? {
            let mut counts = ended.get();
            counts[result] += 1;
            ended.set(counts);
        }
        let mut left = agent.clone().idle_timeout(Duration::ZERO);
        let _ = left.get_page(&url).await;
        for _ in 0..100 {
            if format!("{left:?}").contains("connections: 0") {
                break;
            }
            reactor.sleep(SECOND).await?;
            left = left.idle_timeout(Duration::ZERO);
        }
        assert!(format!("{left:?}").contains("connections: 0"), "{left:?}");
        drop((agent, left));
        port.stop(SECOND).await?;
        // Connections that are being closed wait for their peers.
        reactor.sleep(SECOND * 5).await?;
        testing::take_reports(&reactor);
        Ok(())
    });
    let [well, badly] = ended.get();
    assert!(well > 20 && badly > 2, "{well} {badly}");
}

#[test]
fn on_a_network_that_breaks_off_each_request_ends_once() {
    faults(8, Agent::new);
}

#[test]
fn on_a_network_that_breaks_off_each_request_over_one_connection_at_a_time_ends_once() {
    faults(8, || Agent::new().connections_per_host(1));
}

#[test]
fn on_a_network_that_breaks_off_each_request_over_http2_ends_once() {
    faults(12, || Agent::new().http2_prior_knowledge());
}
