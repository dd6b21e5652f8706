//! Requests in TLS: which version is agreed on, and whom an agent trusts.

use std::time::Duration;

use torsade::http::{self, Agent, HttpError, Phase, Request};
use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::tls::{CertificateProblem, ClientConfig, Identity, Roots, ServerConfig, TlsError};
use torsade::{Failure, defer};

/// A server that says which version a request has, and the URL of it; and what trusts it.
fn server(alpn: &[&str]) -> Result<(http::HttpPort, String, ClientConfig), Failure> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let pem = made.cert.pem() + &made.signing_key.serialize_pem();
    let config = ServerConfig::new(Identity::from_pem(&pem)?).alpn(alpn);
    let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.tls(config);
    let port = http::serve(endpoint, async |request| {
        let host = request.headers().get("host").cloned();
        let host = host.map_or_else(|| "no host".to_owned(), |host| format!("{host:?}"));
        Ok(format!("{:?} {host} {}", request.version(), request.uri()))
    })?;
    let number = port.local_addr().inet().unwrap().port();
    let roots = Roots::empty().pem(&pem)?;
    let url = format!("https://localhost:{number}/x");
    Ok((port, url, ClientConfig::new().roots(roots)))
}

on_both! {
    async fn http2_is_spoken_with_a_server_that_agrees_on_it(reactor) {
        let (port, url, config) = server(&["h2", "http/1.1"])?;
        let agent = Agent::new().tls(config);
        let pages = defer::gather((0..10).map(|_| agent.get_page(&url))).await?;
        for page in pages {
            assert_eq!(page, format!("HTTP/2.0 no host {url}"));
        }
        assert!(format!("{agent:?}").contains("connections: 1"));
        let old = agent.clone().http1_only();
        let page = String::from_utf8(old.get_page(&url).await?.to_vec())?;
        assert!(page.starts_with("HTTP/1.1 \"localhost:") && page.ends_with(" /x"), "{page}");
        let failure = agent.upgrade(Request::get(&url).body(())?).await.unwrap_err();
        assert!(expect_error!(failure, HttpError::Status { body, .. } => body).starts_with(b"HTTP/1.1"));
        drop((agent, old));
        port.stop(Duration::from_secs(1)).await?;
        let _ = reactor;
    }

    async fn http1_is_spoken_with_other_servers(reactor) {
        let (port, url, config) = server(&["http/1.1"])?;
        let agent = Agent::new().tls(config).connections_per_host(3);
        for agent in [agent.clone(), agent.http2_prior_knowledge()] {
            let pages = defer::gather((0..10).map(|_| agent.get_page(&url))).await?;
            for page in pages {
                assert!(page.starts_with(b"HTTP/1.1"));
            }
            assert_eq!(port.port().connections(), 3);
            drop(agent);
            port.port().lose_connections(Duration::ZERO).await?;
        }
        port.stop(Duration::from_secs(1)).await?;
        let _ = reactor;
    }

    async fn a_server_that_is_not_trusted_is_sent_nothing(reactor) {
        let (port, url, config) = server(&["h2"])?;
        let failure = Agent::new().get(&url).await.unwrap_err();
        assert_failure!(failure, HttpError::Failed { phase: Phase::Connecting, .. });
        let problem = failure.find::<TlsError>();
        assert!(matches!(
            problem,
            Some(TlsError::Certificate { problem: CertificateProblem::UnknownIssuer, .. })
        ), "{problem:?}");
        let agent = Agent::new().tls(config);
        let failure = agent.get(url.replace("localhost", "127.0.0.1")).await.unwrap_err();
        assert_failure!(failure, HttpError::Failed { phase: Phase::Connecting, .. });
        // The name of the URL counts, not that of the endpoint.
        let over = agent.connect_to(ClientEndpoint::new(port.local_addr()));
        let page = over.get_page("https://localhost/y").await?;
        assert_eq!(page, "HTTP/2.0 no host https://localhost/y");
        drop(over);
        port.stop(Duration::from_secs(1)).await?;
        let _ = reactor;
    }

    async fn a_page_comes_through_a_tunnel(reactor) {
        let (port, url, config) = server(&["h2", "http/1.1"])?;
        let target = port.local_addr();
        let proxy = reactor.serve("127.0.0.1:0", move |mut conn| {
            let target = target.clone();
            async move {
                assert_eq!(crate::peers::head(&mut conn).await?[0], "CONNECT localhost:9 HTTP/1.1");
                let reactor = torsade::Reactor::current().unwrap();
                let server = reactor.connect_stream(target).await?;
                conn.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                let ((mut read, mut write), (mut from, mut to)) = (conn.split(), server.split());
                let there = async { futures::io::copy(&mut read, &mut to).await?; to.close().await };
                let back = async { futures::io::copy(&mut from, &mut write).await?; write.close().await };
                futures::future::try_join(there, back).await?;
                Ok(())
            }
        })?;
        let conn = reactor.connect_stream(proxy.local_addr()).await?;
        let agent = Agent::new().with_connection(conn).await?;
        let request = Request::connect("localhost:9").body(())?;
        let (response, mut conn) = agent.upgrade(request).await?;
        assert_eq!(response.status(), 200);
        let config = config.server_name("localhost").alpn(["h2"]);
        conn.start_tls(&config).await?;
        let agent = Agent::new().with_connection(conn).await?;
        assert_eq!(agent.get_page(&url).await?, format!("HTTP/2.0 no host {url}"));
        drop(agent);
        proxy.stop().await?;
        port.stop(Duration::from_secs(1)).await?;
    }
}
