//! What each feature adds works without the others, and what a network program needs works with
//! none.

use std::time::Duration;

use torsade::net::ServerEndpoint;
use torsade::process::Command;
use torsade::{Clock, Context, DeferredQueue, Failure, Protocol, Reactor, Signal};

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

#[test]
fn a_network_program_needs_no_feature() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let port = reactor.listen("127.0.0.1:0", |_peer| Echo)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"hello\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        drop(conn);
        port.stop().await?;

        let udp = reactor.bind_datagram("127.0.0.1:0")?;
        udp.send_to(b"x", udp.local_addr()).await?;
        assert_eq!(udp.recv(&mut [0; 8]).await?, 1);

        let output = Command::new("echo").arg("hello").output(&reactor).await?;
        assert_eq!(output.out, b"hello\n");
        assert_eq!(reactor.spawn_blocking(|| Ok(6 * 7)).await?, 42);

        let queue = DeferredQueue::new();
        queue.put(1)?;
        assert_eq!(queue.get().await?, 1);
        let observed = Signal::USR1.wait(&reactor);
        Signal::USR1.raise()?;
        assert_eq!(observed.await?, Signal::USR1);
        reactor.sleep(Duration::from_millis(1)).await
    })
}

#[test]
fn an_endpoint_that_needs_a_feature_names_it() {
    let needs = |text: &str| {
        ServerEndpoint::parse(text)
            .err()
            .map(|error| error.to_string())
    };
    let says = |text: &str, feature: &str| {
        needs(text).is_some_and(|error| error.contains(&format!("feature `{feature}`")))
    };
    let built = cfg!(feature = "proxy-protocol");
    assert_ne!(says("haproxy:127.0.0.1:80", "proxy-protocol"), built);
    assert_eq!(needs("haproxy:127.0.0.1:80").is_none(), built);
    let built = cfg!(feature = "tls");
    assert_ne!(says("tls:0:privateKey=nothing.pem", "tls"), built);
    assert!(needs("tls:0:privateKey=nothing.pem").is_some());
    let built = cfg!(feature = "systemd");
    assert_ne!(says("systemd:index=0", "systemd"), built);
    assert_eq!(needs("fd:3").is_none(), built);
}

#[cfg(feature = "testing")]
#[test]
fn testing_has_a_network_in_memory_whose_time_jumps() {
    torsade::testing::run(async |reactor| {
        reactor.sleep(Duration::from_secs(86_400)).await?;
        let port = reactor.listen("127.0.0.1:80", |_peer| Echo)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"hello\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        drop(conn);
        port.stop().await
    });
}

#[cfg(feature = "debug")]
#[test]
fn debug_shows_what_waits() -> Result<(), Failure> {
    let reactor = Reactor::builder().debug(true).build()?;
    reactor.run_until(async {
        let sleep = torsade::spawn(reactor.sleep(Duration::from_secs(9)));
        torsade::yield_now().await;
        assert!(reactor.dump().to_string().contains("sleep, due in"));
        drop(sleep);
    })
}

#[cfg(not(feature = "debug"))]
#[test]
fn without_debug_a_failure_still_has_its_location() -> Result<(), Failure> {
    let reactor = Reactor::new()?;
    let failure = reactor.run_until(async { Failure::new("no") })?;
    assert!(failure.location().file().ends_with("alone.rs"));
    Ok(())
}

#[cfg(feature = "proxy-protocol")]
#[test]
fn proxy_protocol_reads_the_header() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let port = reactor.serve("haproxy:127.0.0.1:0", async |mut conn| {
            let peer = conn.peer().to_string();
            Ok(conn.write_all(peer.as_bytes()).await?)
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 50001 80\r\n")
            .await?;
        assert_eq!(
            conn.read_line(80).await?.as_deref(),
            Some(&b"192.0.2.7:50001"[..])
        );
        port.stop().await
    })
}

#[cfg(feature = "systemd")]
#[test]
fn systemd_names_the_missing_socket() -> Result<(), Failure> {
    let reactor = Reactor::new()?;
    let failure = reactor
        .listen("systemd:name=web", |_peer| Echo)
        .unwrap_err();
    assert!(failure.to_string().contains("web"), "{failure}");
    Ok(())
}

#[cfg(feature = "fs-lock")]
#[test]
fn fs_lock_excludes_and_is_given_back() -> Result<(), Failure> {
    use torsade::locks::DeferredFilesystemLock;
    let path = std::env::temp_dir().join(format!("torsade-features-{}", std::process::id()));
    let clock = torsade::VirtualClock::new();
    let lock = DeferredFilesystemLock::new(&path, &clock);
    assert!(lock.lock()?);
    assert!(DeferredFilesystemLock::is_locked(&path)?);
    lock.unlock()?;
    assert!(!DeferredFilesystemLock::is_locked(&path)?);
    Ok(())
}

#[cfg(feature = "tokio-io")]
#[test]
fn tokio_io_needs_no_runtime() -> Result<(), Failure> {
    fn is_of_tokio<T: tokio::io::AsyncBufRead + tokio::io::AsyncWrite>(stream: T) -> T {
        stream
    }
    torsade::run(async |reactor| {
        let port = reactor.listen("127.0.0.1:0", |_peer| Echo)?;
        drop(is_of_tokio(
            reactor.connect_stream(port.local_addr()).await?,
        ));
        port.stop().await
    })
}

#[cfg(feature = "tokio-rt")]
#[test]
fn tokio_rt_gives_tasks_a_runtime() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        torsade::tokio::enter(&reactor)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    })
}

#[cfg(feature = "http")]
#[test]
fn http_has_bodies() -> Result<(), Failure> {
    torsade::run(async |_reactor| {
        let body = torsade::http::Body::from("hello");
        assert_eq!(body.read(5).await?, "hello");
        Ok(())
    })
}

#[cfg(feature = "hyper")]
#[test]
fn hyper_has_a_timer() -> Result<(), Failure> {
    use hyper::rt::Timer;
    torsade::run(async |_reactor| {
        torsade::hyper::Timer.sleep(Duration::from_millis(1)).await;
        Ok(())
    })
}

#[cfg(feature = "send-wrapper")]
#[test]
fn send_wrapper_claims_send() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let value = torsade::task::SendWrapper::new(std::rc::Rc::new(1));
    assert_eq!(**is_send(value), 1);
}

#[cfg(feature = "irc")]
#[test]
fn irc_registers_a_client() -> Result<(), Failure> {
    use torsade::protocols::irc::{Client, Settings};
    torsade::run(async |reactor| {
        let port = reactor.serve("127.0.0.1:0", async |mut conn| {
            assert_eq!(conn.read_line(600).await?.as_deref(), Some(&b"NICK me"[..]));
            Ok(conn.write_all(b":here 001 me :Welcome\r\n").await?)
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        drop(Client::connect(conn, Settings::new("me")).await?);
        port.stop().await
    })
}

#[cfg(feature = "tls")]
#[test]
fn tls_encrypts_a_connection() -> Result<(), Failure> {
    use torsade::net::ClientEndpoint;
    use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig, Version};

    const PEM: &str = include_str!("localhost.pem");
    let server = ServerConfig::new(Identity::from_pem(PEM)?);
    let client = ClientConfig::new().roots(Roots::empty().pem(PEM)?);
    torsade::run(async |reactor| {
        let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.tls(server);
        let port = reactor.listen(endpoint, |_peer| Echo)?;
        let endpoint = ClientEndpoint::new(port.local_addr());
        let endpoint = endpoint.tls(client.server_name("localhost"));
        let mut conn = reactor.connect_stream(endpoint).await?;
        conn.write_all(b"hello\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        let agreed = conn.transport().tls().map(|agreed| agreed.version);
        assert_eq!(agreed, Some(Version::Tls13));
        drop(conn);
        port.stop().await
    })
}
