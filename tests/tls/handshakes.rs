//! The handshake: when handlers begin, what is agreed on, limits of time and number.

use std::cell::{Cell, RefCell};
#[cfg(target_os = "linux")]
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use crate::certs::{authority, here, kinds, pair, tls_error, to};
use crate::peer::{Peer, client_config, server_config};
use support::{HERE, Log, Spy, expect_reports, some_turns, until};
use torsade::locks::Event;
use torsade::net::{ClientEndpoint, ProxyOptions, ServerEndpoint};
use torsade::tls::{ClientAuth, ClientConfig, Identities, ServerConfig, TlsError, Version};
use torsade::{Clock, Failure};

const SECOND: Duration = Duration::from_secs(1);

on_both! {
    async fn a_handler_begins_when_the_handshake_is_finished(reactor) {
        let (server, client) = pair();
        let log = Log::new();
        let port = reactor.listen(here().tls(server), {
            let log = log.clone();
            move |_| Spy::named(&log, "server").on_made(|conn| conn.write(b"hello"))
        })?;
        // A connection without a handshake has no handler.
        let silent = reactor.connect_stream(port.local_addr()).await?;
        some_turns().await;
        assert!(log.is_empty(), "{:?}", log.all());
        drop(silent);

        let mut conn = reactor.connect_stream(to(&port).tls(client)).await?;
        let tls = conn.transport().tls().unwrap();
        assert_eq!(tls.version, Version::Tls13);
        assert_eq!(tls.peer_certificates.len(), 1);
        assert!(!tls.is_resumed && tls.cipher_suite.starts_with("TLS13_"), "{tls:?}");
        let mut got = [0; 5];
        conn.read_exact(&mut got).await?;
        assert_eq!(&got, b"hello");
        conn.write_all(b"bye").await?;
        drop(conn);
        until(|| log.all().len() == 4).await;
        assert_eq!(log.take(), ["server made", "server data bye", "server eof", "server lost done"]);
        port.stop().await?;
    }

    async fn both_ends_know_the_name_and_the_application_protocol(reactor) {
        let (server, client) = pair();
        let seen = Rc::new(RefCell::new(None));
        let port = reactor.serve(here().tls(server.alpn(["h2", "http/1.1"])), {
            let seen = seen.clone();
            async move |conn| {
                seen.replace(conn.transport().tls());
                Ok(())
            }
        })?;
        let conn = reactor.connect_stream(to(&port).tls(client.clone().alpn(["http/1.1"]))).await?;
        assert_eq!(conn.transport().tls().unwrap().alpn.as_deref(), Some(&b"http/1.1"[..]));
        until(|| seen.borrow().is_some()).await;
        let tls = seen.take().unwrap();
        assert_eq!(tls.server_name.as_deref(), Some("localhost"));
        assert_eq!(tls.alpn.as_deref(), Some(&b"http/1.1"[..]));
        assert!(tls.peer_certificates.is_empty());

        // None in common, or none offered.
        let failure = reactor.connect_stream(to(&port).tls(client.clone().alpn(["ftp"]))).await.unwrap_err();
        assert!(failure.to_string().contains("application protocols"), "{failure}");
        let conn = reactor.connect_stream(to(&port).tls(client)).await?;
        assert_eq!(conn.transport().tls().unwrap().alpn, None);
        drop(conn);
        port.stop().await?;
    }

    async fn a_second_connection_resumes_the_session(reactor) {
        for tickets in [true, false] {
            let (server, client) = pair();
            let port = reactor.serve(here().tls(server.tickets(tickets)), async |mut conn| {
                Ok(conn.write_all(b"x").await?)
            })?;
            let mut resumed = Vec::new();
            for _ in 0..2 {
                let mut conn = reactor.connect_stream(to(&port).tls(client.clone())).await?;
                resumed.push(conn.transport().tls().unwrap().is_resumed);
                // The ticket comes with the first bytes.
                conn.read_exact(&mut [0]).await?;
            }
            assert_eq!(resumed, [false, tickets]);
            port.stop().await?;
        }
    }

    async fn each_connection_uses_one_ticket(reactor) {
        let mut config = Arc::unwrap_or_clone(server_config());
        config.send_tls13_tickets = 1;
        let server = ServerConfig::from_rustls(Arc::new(config));
        let port = reactor.serve(here().tls(server), async |mut conn| {
            Ok(conn.write_all(b"x").await?)
        })?;
        let client = pair().1;
        for round in 0..6 {
            let mut conn = reactor.connect_stream(to(&port).tls(client.clone())).await?;
            assert_eq!(conn.transport().tls().unwrap().is_resumed, round > 0, "{round}");
            conn.read_exact(&mut [0]).await?;
        }
        port.stop().await?;
    }

    async fn an_older_version_is_refused_where_a_newer_one_is_required(reactor) {
        let (server, client) = pair();
        let old = old_client();
        let port = reactor.serve(here().tls(server.clone()), async |_conn| Ok(()))?;
        let conn = reactor.connect_stream(to(&port).tls(old.clone())).await?;
        assert_eq!(conn.transport().tls().unwrap().version, Version::Tls12);
        port.stop().await?;

        let port = reactor.serve(here().tls(server.min_version(Version::Tls13)), async |_conn| Ok(()))?;
        let failure = reactor.connect_stream(to(&port).tls(old)).await.unwrap_err();
        assert!(matches!(tls_error(&failure), TlsError::Alert { .. }), "{failure}");
        assert!(failure.to_string().contains("versions of TLS"), "{failure}");
        let conn = reactor.connect_stream(to(&port).tls(client)).await?;
        assert_eq!(conn.transport().tls().unwrap().version, Version::Tls13);
        port.stop().await?;
    }

    async fn a_handshake_ends_by_its_time_limit(reactor) {
        let (server, client) = pair();
        let log = Log::new();
        let limit = Duration::from_millis(50);
        let port = reactor.listen(here().tls(server.handshake_timeout(limit)), {
            let log = log.clone();
            move |_| Spy::new(&log)
        })?;
        let mut silent = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(silent.read(&mut [0]).await?, 0);
        assert!(log.is_empty() && port.connections() == 0);
        port.stop().await?;

        let port = reactor.serve(HERE, async |mut conn| {
            while conn.read(&mut [0; 1024]).await? > 0 {}
            Ok(())
        })?;
        let failure = reactor.connect_stream(to(&port).tls(client.handshake_timeout(limit))).await.unwrap_err();
        assert_eq!(*tls_error(&failure), TlsError::HandshakeTimedOut { limit });
        port.stop().await?;
    }

    async fn a_peer_is_told_that_there_is_no_time_left_while_nothing_is_encrypted(reactor) {
        const LATE: [u8; 14] = [21, 3, 3, 0, 2, 1, 90, 21, 3, 3, 0, 2, 1, 0];
        let (server, client) = pair();
        let limit = Duration::from_millis(50);
        let never = server.clone().choose(async |_| std::future::pending().await);
        let slow = here().tls(never.handshake_timeout(limit));
        for (port, sends_all) in [(slow, true), (here().tls(server.handshake_timeout(limit)), false)] {
            let port = reactor.serve(port, async |_conn| Ok(()))?;
            let conn = reactor.connect_stream(port.local_addr()).await?;
            let mut peer = Peer::client(conn, &[&rustls::version::TLS13])?;
            let hello = peer.take_records();
            peer.conn.write_all(&hello[..hello.len() - usize::from(!sends_all)]).await?;
            let mut said = Vec::new();
            peer.conn.read_to_end(&mut said).await?;
            assert_eq!(said, LATE);
            port.stop().await?;
        }
        let said = Rc::new(RefCell::new(Vec::new()));
        let port = reactor.serve(HERE, {
            let said = said.clone();
            async move |mut conn| {
                let mut all = Vec::new();
                conn.read_to_end(&mut all).await?;
                said.borrow_mut().extend(all);
                Ok(())
            }
        })?;
        let connecting = reactor.connect_stream(to(&port).tls(client.handshake_timeout(limit)));
        assert!(connecting.await.is_err());
        until(|| said.borrow().ends_with(&LATE)).await;
        port.stop().await?;
    }

    async fn a_client_that_leaves_during_the_handshake_is_named(reactor) {
        // The server cannot send its part, which it makes late, to a UNIX socket that is closed.
        let unknown_ca = [21, 3, 3, 0, 2, 2, 48];
        let alert = TlsError::Alert { alert: "it does not know the issuer of this end's certificate".into() };
        for at in kinds() {
            for (last, expected) in [(&unknown_ca[..], &alert), (b"", &TlsError::HandshakeClosed)] {
                let (given, is_chosen) = (pair().0, Event::new());
                let waits = is_chosen.clone();
                let server = given.clone().choose(async move |_| {
                    waits.wait().await?;
                    Ok(given.clone())
                });
                let failure = Rc::new(RefCell::new(None));
                let seen = failure.clone();
                let port = reactor.serve(at.clone(), async move |mut conn| {
                    seen.replace(conn.start_tls_server(&server).await.err());
                    Ok(())
                })?;
                let conn = reactor.connect_stream(port.local_addr()).await?;
                let mut peer = Peer::client(conn, &[&rustls::version::TLS13])?;
                peer.flush().await?;
                peer.conn.write_all(last).await?;
                drop(peer);
                some_turns().await;
                is_chosen.set();
                until(|| failure.borrow().is_some()).await;
                assert_eq!(tls_error(&failure.take().unwrap()), expected);
                port.stop().await?;
            }
        }
    }

    async fn a_peer_that_closes_or_speaks_something_else_is_named(reactor) {
        let (server, client) = pair();
        let port = reactor.serve(HERE, async |_conn| Ok(()))?;
        let failure = reactor.connect_stream(to(&port).tls(client.clone())).await.unwrap_err();
        assert_eq!(*tls_error(&failure), TlsError::HandshakeClosed);
        port.stop().await?;

        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(b"220 mail.example.org ESMTP\r\n").await?;
            while conn.read(&mut [0; 1024]).await? > 0 {}
            Ok(())
        })?;
        let failure = reactor.connect_stream(to(&port).tls(client)).await.unwrap_err();
        assert_eq!(*tls_error(&failure), TlsError::NotTls { found: b"220 mail.example".to_vec() });
        assert_eq!(failure.to_string(), "the peer does not speak TLS: it has sent \"220 mail.example\"");
        port.stop().await?;

        // The other way round: the server closes it at once.
        let port = reactor.serve(here().tls(server), async |_conn| Ok(()))?;
        let mut plain = reactor.connect_stream(port.local_addr()).await?;
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        while plain.read(&mut [0; 64]).await? > 0 {}
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn no_more_handshakes_than_the_limit_are_under_way(reactor) {
        let (server, client) = pair();
        let server = server.max_handshakes(2).handshake_timeout(SECOND * 3600);
        let port = reactor.serve(here().tls(server), async |_conn| Ok(()))?;
        let mut silent = Vec::new();
        for _ in 0..2 {
            silent.push(reactor.connect_stream(port.local_addr()).await?);
        }
        until(|| port.connections() == 2).await;
        let mut waiting = reactor.connect_stream(to(&port).tls(client));
        for _ in 0..20 {
            some_turns().await;
        }
        assert!((&mut waiting).now_or_never().is_none() && port.connections() == 2);
        silent.pop();
        drop(waiting.await?);
        drop(silent);
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn headers_of_a_proxy_count_as_handshakes(reactor) {
        let (server, client) = pair();
        let server = server.max_handshakes(2).handshake_timeout(SECOND * 3600);
        let proxy = ProxyOptions::new().timeout(SECOND * 3600);
        let port = reactor.serve(here().proxied(proxy).tls(server), async |_conn| Ok(()))?;
        // One has sent no header, and one a header and no more.
        let mut silent = vec![reactor.connect_stream(port.local_addr()).await?];
        let mut half = reactor.connect_stream(port.local_addr()).await?;
        half.write_all(b"PROXY UNKNOWN\r\n").await?;
        silent.push(half);
        until(|| port.connections() == 2).await;
        for ends in 0..2 {
            let mut waiting = reactor.connect_stream(port.local_addr()).await?;
            waiting.write_all(b"PROXY UNKNOWN\r\n").await?;
            for _ in 0..20 {
                some_turns().await;
            }
            assert_eq!(port.connections(), 2);
            drop(silent.remove(0));
            waiting.start_tls(&client.clone().server_name("localhost")).await?;
            drop(waiting);
            until(|| port.connections() == 1 - ends).await;
        }
        port.stop().await?;
    }

    async fn a_stopped_port_ends_its_handshakes(reactor) {
        let (server, _) = pair();
        let log = Log::new();
        let port = reactor.listen(here().tls(server), { let log = log.clone(); move |_| Spy::new(&log) })?;
        let mut silent = reactor.connect_stream(port.local_addr()).await?;
        until(|| port.connections() == 1).await;
        port.stop().await?;
        assert!(silent.read(&mut [0]).await.is_err());
        assert!(log.is_empty() && port.connections() == 0);
    }

    async fn a_connect_that_is_cancelled_ends_its_handshake(reactor) {
        let (_, client) = pair();
        let ended = Rc::new(Cell::new(false));
        let port = reactor.serve(HERE, {
            let ended = ended.clone();
            async move |mut conn| {
                while conn.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
                ended.set(true);
                Ok(())
            }
        })?;
        let connecting = reactor.connect_stream(to(&port).tls(client));
        until(|| port.connections() == 1).await;
        some_turns().await;
        connecting.cancel();
        let failure = connecting.await.unwrap_err();
        assert!(failure.find::<torsade::Cancelled>().is_some(), "{failure}");
        until(|| ended.get()).await;
        port.stop().await?;
    }

    async fn a_program_chooses_the_configuration_by_the_name(reactor) {
        let names = Log::new();
        let server = ServerConfig::new(Identities::new()).choose({
            let (reactor, names) = (reactor.clone(), names.clone());
            async move |hello: torsade::tls::ClientHello| {
                reactor.sleep(Duration::from_millis(1)).await?;
                let name = hello.server_name.unwrap_or_default();
                names.note(&name);
                match &*name {
                    "one.test" | "two.test" => Ok(ServerConfig::new(authority().identity(&name))),
                    _ => Err(Failure::new(torsade::net::ListenError::NoAddress)),
                }
            }
        });
        let port = reactor.serve(here().tls(server), async |_conn| Ok(()))?;
        let client = ClientConfig::new().roots(authority().roots());
        for name in ["one.test", "two.test"] {
            let conn = reactor.connect_stream(to(&port).tls(client.clone().server_name(name))).await?;
            assert!(conn.transport().tls().is_some());
        }
        let refused = reactor.connect_stream(to(&port).tls(client.server_name("three.test"))).await;
        let failure = refused.unwrap_err();
        assert!(failure.to_string().contains("handshake_failure"), "{failure}");
        assert_eq!(names.take(), ["one.test", "two.test", "three.test"]);
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn a_choice_ends_with_its_client_and_its_panic_with_the_connection(reactor) {
        let ended = Rc::new(Cell::new(0));
        struct Ends(Rc<Cell<u32>>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let count = ended.clone();
        let server = ServerConfig::new(Identities::new()).choose(async move |_| {
            let _ends = Ends(count.clone());
            std::future::pending().await
        });
        let port = reactor.serve(here().tls(server), async |_conn| Ok(()))?;
        let connecting = reactor.connect_stream(to(&port).tls(pair().1));
        until(|| port.connections() == 1).await;
        some_turns().await;
        connecting.cancel();
        assert!(connecting.await.is_err());
        until(|| port.connections() == 0 && ended.get() == 1).await;
        port.stop().await?;

        let reports = expect_reports(&reactor);
        for panics_at_once in [true, false] {
            let server = ServerConfig::new(Identities::new()).choose(async move |_| {
                if !panics_at_once {
                    torsade::yield_now().await;
                }
                panic!("no choice")
            });
            let port = reactor.serve(here().tls(server), async |_conn| Ok(()))?;
            let failure = reactor.connect_stream(to(&port).tls(pair().1)).await.unwrap_err();
            assert!(failure.to_string().contains("InternalError"), "{failure}");
            until(|| port.connections() == 0).await;
            port.stop().await?;
        }
        assert_eq!(reports.borrow().len(), 2, "{:?}", reports.borrow());
    }

    async fn what_would_have_no_effect_on_a_configuration_of_the_library_is_an_error(reactor) {
        let given = || ServerConfig::from_rustls(server_config());
        let failure = |config: ServerConfig| reactor.serve(here().tls(config), async |_conn| Ok(())).unwrap_err();
        let auth = ClientAuth::Required(authority().roots());
        for config in [given().client_auth(auth), given().alpn(["h2"]), given().min_version(Version::Tls13)] {
            let failure = failure(config);
            assert!(failure.to_string().contains("from_rustls"), "{failure}");
        }
        let config = given().max_handshakes(3).handshake_timeout(SECOND).choose(async move |_| Ok(given()));
        let port = reactor.serve(here().tls(config), async |_conn| Ok(()))?;
        let given = || ClientConfig::from_rustls(client_config(&[&rustls::version::TLS13]));
        for config in [given().pin([0; 32]), given().roots(authority().roots())] {
            let client = config.server_name("localhost");
            let failure = reactor.connect_stream(to(&port).tls(client)).await.unwrap_err();
            assert!(failure.to_string().contains("from_rustls"), "{failure}");
        }
        let client = given().server_name("localhost").handshake_timeout(SECOND);
        drop(reactor.connect_stream(to(&port).tls(client)).await?);
        port.stop().await?;
    }

    async fn early_data_is_refused_by_configuration(reactor) {
        let mut config = server_config();
        Arc::make_mut(&mut config).max_early_data_size = 1000;
        let server = ServerConfig::from_rustls(config.clone());
        let failure = reactor.serve(here().tls(server), async |_conn| Ok(())).unwrap_err();
        assert!(failure.to_string().contains("early data"), "{failure}");
        Arc::make_mut(&mut config).max_early_data_size = 0;
        let port = reactor.serve(here().tls(ServerConfig::from_rustls(config)), async |_conn| Ok(()))?;
        drop(reactor.connect_stream(to(&port).tls(pair().1)).await?);
        until(|| port.connections() == 0).await;
        port.stop().await?;
    }

    async fn a_unix_socket_may_be_in_tls(reactor) {
        let (server, client) = pair();
        let dir = crate::certs::Dir::new();
        let path = format!("unix:{}/socket", dir.path());
        let port = reactor.serve(ServerEndpoint::parse(&path)?.tls(server), async |mut conn| {
            Ok(conn.write_all(b"x").await?)
        })?;
        let endpoint = ClientEndpoint::parse(&path)?;
        let failure = reactor.connect_stream(endpoint.clone().tls(ClientConfig::new())).await.unwrap_err();
        assert!(failure.to_string().contains("the server's name is missing"), "{failure}");
        let mut conn = reactor.connect_stream(endpoint.tls(client)).await?;
        conn.read_exact(&mut [0]).await?;
        drop(conn);
        port.stop().await?;
    }

    async fn the_names_of_a_server_choose_its_certificate_and_can_be_replaced(reactor) {
        let identities = Identities::new();
        identities.set("one.test", authority().identity("one.test"));
        identities.set("*.wild.test", authority().identity("*.wild.test"));
        let port = reactor.serve(here().tls(ServerConfig::new(identities.clone())), async |mut conn| {
            Ok(conn.write_all(b"x").await?)
        })?;
        let connect = |name: &str| {
            let client = ClientConfig::new().roots(authority().roots()).server_name(name);
            reactor.connect_stream(to(&port).tls(client))
        };
        let mut kept = connect("one.test").await?;
        let first = kept.transport().tls().unwrap().peer_certificates;
        drop(connect("A.WILD.test").await?);
        for name in ["wild.test", "a.b.wild.test", "other.test"] {
            let failure = connect(name).await.unwrap_err();
            assert!(matches!(tls_error(&failure), TlsError::Alert { .. }), "{name}: {failure}");
        }
        identities.set("one.test", authority().identity("one.test"));
        identities.set_default(authority().identity("other.test"));
        drop(connect("other.test").await?);
        let second = connect("one.test").await?.transport().tls().unwrap().peer_certificates;
        assert_ne!(first, second);
        // The connection that was there goes on.
        kept.read_exact(&mut [0]).await?;
        assert!(identities.remove("one.test") && !identities.remove("one.test"));
        port.stop().await?;
    }

    async fn text_names_the_files(reactor) {
        let dir = crate::certs::Dir::new();
        let localhost = authority().issue("localhost", |_| {});
        let (cert, key) = localhost.split_at(localhost.find("-----BEGIN PRIVATE").unwrap());
        dir.write("cert.pem", cert);
        dir.write("key.pem", key);
        dir.write("sites/localhost.pem", &localhost);
        dir.write("roots/ca.pem", &authority().pem());
        let path = dir.path();
        for server in [
            format!("ssl:0:interface=127.0.0.1:certKey={path}/cert.pem:privateKey={path}/key.pem"),
            format!("tls:0:interface=127.0.0.1:privateKey={path}/sites/localhost.pem"),
            format!("tls:{path}/sites:port=0:interface=127.0.0.1"),
            format!("haproxy:tls:{path}/sites:port=0:interface=127.0.0.1"),
        ] {
            let port = reactor.serve(&*server, async |mut conn| Ok(conn.write_all(b"x").await?))?;
            let number = port.local_addr().port().unwrap();
            for client in [
                format!("tls:127.0.0.1:{number}:trustRoots={path}/roots:hostname=localhost"),
                format!("ssl:host=127.0.0.1:port={number}:caCertsDir={path}/roots:hostname=localhost"),
                format!("tls:localhost:{number}:trustRoots={path}/roots/ca.pem"),
            ] {
                if server.starts_with("haproxy") {
                    let mut conn = reactor.connect_stream(port.local_addr()).await?;
                    conn.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 7 443\r\n").await?;
                    let config = ClientConfig::new().roots(authority().roots());
                    conn.start_tls(&config.server_name("localhost")).await?;
                    conn.read_exact(&mut [0]).await?;
                    break;
                }
                let mut conn = reactor.connect_stream(&*client).await?;
                conn.read_exact(&mut [0]).await?;
            }
            port.stop().await?;
        }
        let failure = ServerEndpoint::parse(&format!("ssl:443:privateKey={path}/none.pem")).unwrap_err();
        assert!(failure.to_string().contains("none.pem: No such file"), "{failure}");
        let failure = ClientEndpoint::parse("tls:example.org:443:colour=blue").unwrap_err();
        assert!(failure.to_string().contains("colour"), "{failure}");
        let endpoint = ClientEndpoint::parse("tls:example.org:443").unwrap();
        assert_eq!(endpoint.to_string(), "tls:example.org:443");
    }
}

/// A client that speaks TLS 1.2 only.
pub(crate) fn old_client() -> ClientConfig {
    let config = client_config(&[&rustls::version::TLS12]);
    ClientConfig::from_rustls(config).server_name("localhost")
}

#[cfg(target_os = "linux")]
#[test]
fn the_system_keeps_a_peer_back_that_has_only_connected() {
    torsade::run(async |reactor| {
        let port = reactor.serve(here().tls(pair().0), async |_conn| Ok(()))?;
        let mut peer = std::net::TcpStream::connect(port.local_addr().inet().unwrap())?;
        some_turns().await;
        assert_eq!(port.connections(), 0);
        // The beginning of a record.
        peer.write_all(&[22])?;
        until(|| port.connections() == 1).await;
        // One that says nothing comes a second later.
        let silent = std::net::TcpStream::connect(port.local_addr().inet().unwrap())?;
        until(|| port.connections() == 2).await;
        drop((peer, silent));
        until(|| port.connections() == 0).await;
        port.stop().await?;
        Ok::<_, Failure>(())
    })
    .unwrap();
}
