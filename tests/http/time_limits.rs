//! The time limits of a request, each in its phase.

use std::rc::Rc;
use std::time::Duration;

use torsade::http::{Agent, Body, HttpError, Phase, Request, Response};
use torsade::net::HostsTable;
use torsade::testing::{self, NetworkFaults};
use torsade::{Clock, Deferred, Failure, Reactor};

use crate::peers::head;
use support::HERE;

const SECOND: Duration = Duration::from_secs(1);

/// Returns the phase and the limit that the failure names, and the seconds that it took.
async fn limit<T>(reactor: &Reactor, work: Deferred<T>) -> (Phase, u64, u64) {
    let begin = reactor.now();
    let Err(failure) = work.await else {
        panic!("it has succeeded");
    };
    let took = (reactor.now() - begin).as_secs();
    let (phase, limit) = expect_error!(
        failure, HttpError::TimedOut { phase, limit, .. } => (*phase, limit.as_secs())
    );
    (phase, limit, took)
}

/// Reads what there is of a body, and then fails.
fn whole(response: Deferred<Response<Body>>) -> Deferred<usize> {
    Deferred::from_future(async move {
        let bytes = response.await?.into_body().read(1 << 30).await?;
        Ok(bytes.len())
    })
}

#[test]
fn looking_up_a_name_and_connecting_have_a_limit() {
    testing::run(async |reactor| {
        let hosts = HostsTable::new();
        hosts.never_answer("silent");
        reactor.set_resolver(hosts);
        let agent = Agent::new();
        let found = limit(&reactor, agent.get("http://silent/")).await;
        assert_eq!(found, (Phase::Connecting, 30, 30));
        let agent = agent.connect_timeout(SECOND * 100);
        let found = limit(&reactor, agent.get("http://silent/")).await;
        assert_eq!(found, (Phase::Connecting, 100, 100));
        Ok(())
    });
}

#[test]
fn a_handshake_of_tls_has_the_limit_of_connecting() {
    testing::run(async |reactor| {
        let port = reactor.serve(HERE, async |mut conn| {
            conn.read_to_end(&mut Vec::new()).await?;
            Ok(())
        })?;
        let url = format!(
            "https://localhost:{}/",
            port.local_addr().inet().unwrap().port()
        );
        let agent = Agent::new().connect_timeout(SECOND * 3);
        let found = limit(&reactor, agent.get(url)).await;
        assert_eq!(found, (Phase::Connecting, 3, 3));
        port.lose_connections(Duration::ZERO).await?;
        port.stop().await
    });
}

#[test]
fn a_response_has_limits_from_its_head_to_its_last_byte() {
    testing::run(async |reactor| {
        let port = reactor.serve(HERE, async |mut conn| {
            let lines = head(&mut conn).await?;
            let mut bytes = "HTTP/1.1 200 OK\r\nx-more: 1\r\n".repeat(100) + "\r\n";
            if !lines[0].contains("/no-head") {
                bytes = format!("HTTP/1.1 200 OK\r\n\r\n{bytes}");
                conn.write_all(&bytes.as_bytes()[..20]).await?;
                bytes.drain(..20);
            }
            if lines[0].contains("/no-body") {
                conn.read_to_end(&mut Vec::new()).await?;
                return Ok(());
            }
            // One byte at a time.
            for byte in bytes.bytes() {
                let reactor = Reactor::current().unwrap();
                let mut rest = Vec::new();
                let end = reactor.timeout(SECOND * 10, conn.read_to_end(&mut rest));
                if end.await.is_ok() || conn.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            Ok(())
        })?;
        let url = |path: &str| format!("http://{}/{path}", port.local_addr());
        let agent = Agent::new();
        let found = limit(&reactor, agent.get(url("no-head"))).await;
        assert_eq!(found, (Phase::Waiting, 60, 60));
        let found = limit(&reactor, whole(agent.get(url("no-body")))).await;
        assert_eq!(found, (Phase::Reading, 60, 60));
        let found = limit(&reactor, whole(agent.get(url("slow")))).await;
        assert_eq!(found, (Phase::Reading, 3600, 3600));
        let quick = agent.clone().timeout(SECOND * 7);
        let found = limit(&reactor, whole(quick.get(url("slow")))).await;
        assert_eq!(found, (Phase::Reading, 7, 7));
        let found = limit(&reactor, quick.get(url("no-head"))).await;
        assert_eq!(found, (Phase::Waiting, 7, 7));
        let found = limit(&reactor, quick.get_page(url("slow"))).await;
        assert_eq!(found, (Phase::Reading, 7, 7));
        drop((agent, quick));
        port.lose_connections(Duration::ZERO).await?;
        port.stop().await
    });
}

#[test]
fn a_large_body_is_sent_as_slowly_as_the_server_takes_it() {
    let faults = NetworkFaults::new(1).buffer_size(64_000);
    let reactor = Reactor::builder().in_memory_with(faults).build().unwrap();
    testing::run_on(reactor, async |reactor| {
        let stops = Rc::new(std::cell::Cell::new(false));
        let stop = stops.clone();
        let port = reactor.serve(HERE, move |mut conn| {
            let stop = stop.clone();
            async move {
                let reactor = Reactor::current().unwrap();
                head(&mut conn).await?;
                let mut left = 2_000_000;
                let mut buffer = vec![0; 20_000];
                while left > 0 {
                    match conn.read(&mut buffer).await {
                        Ok(count) if count > 0 => left -= count,
                        _ => return Ok(()),
                    }
                    reactor.sleep(SECOND).await?;
                    if left < 1_000_000 && stop.take() {
                        reactor.sleep(SECOND * 100).await?;
                    }
                }
                conn.write_all(b"HTTP/1.1 204 No\r\n\r\n").await?;
                Ok::<_, Failure>(())
            }
        })?;
        let url = format!("http://{}/", port.local_addr());
        let agent = Agent::new();
        let put = || Request::put(&url).body("x".repeat(2_000_000));
        let begin = reactor.now();
        assert_eq!(agent.request(put()?).await?.status(), 204);
        assert!(reactor.now() > begin + SECOND * 90);
        stops.set(true);
        let (phase, limit, _) = limit(&reactor, agent.request(put()?)).await;
        assert_eq!((phase, limit), (Phase::Sending, 60));
        drop(agent);
        reactor.sleep(SECOND * 100).await?;
        port.lose_connections(Duration::ZERO).await?;
        port.stop().await
    });
}
