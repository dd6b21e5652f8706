//! HAProxy in front of torsade, sending its header in every form.
//!
//! A test whose program is missing says so and passes.
#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::rc::Rc;
use torsade::net::ProxyOptions;

use support::folder::Folder;
use support::foreign::have;
use support::program::Program;
use support::{HERE, MS, until};
use torsade::net::ServerEndpoint;
use torsade::{Clock, Connection, Failure, Port, Reactor, testing};

/// Returns addresses that are free, and will be for a while.
fn free<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind(HERE).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Starts HAProxy with these listeners.
fn start(folder: &Folder, listeners: &[String]) -> Program {
    let mut text =
        "defaults\n mode tcp\n timeout connect 9s\n timeout client 9s\n timeout server 9s\n"
            .to_string();
    for (number, listener) in listeners.iter().enumerate() {
        text += &format!("listen l{number}\n{listener}\n");
    }
    let path = folder.path("haproxy.cfg");
    fs::write(&path, text).unwrap();
    Program::start(Command::new("haproxy").arg("-db").arg("-f").arg(path))
}

/// A server that sends its connection's addresses, and then echoes.
fn serve(reactor: &Reactor) -> Result<Port, Failure> {
    let endpoint = ServerEndpoint::parse("haproxy:tcp:0:interface=127.0.0.1:trust=127.0.0.1")?;
    reactor.serve(endpoint, async |mut conn| {
        let said = format!("{} {}\n", conn.peer(), conn.local_addr()?);
        conn.write_all(said.as_bytes()).await?;
        let mut buf = [0; 4096];
        loop {
            match conn.read(&mut buf).await? {
                0 => return Ok(()),
                n => conn.write_all(&buf[..n]).await?,
            }
        }
    })
}

/// Connects as soon as something listens.
async fn connect(reactor: &Reactor, to: &str) -> Result<Connection, Failure> {
    let patience = reactor.now() + support::program::PATIENCE;
    loop {
        match reactor.connect_stream(to).await {
            Err(_) if reactor.now() < patience => reactor.sleep(MS * 10).await?,
            conn => return conn,
        }
    }
}

/// Returns the addresses that the server sent, after checking the echo.
async fn addresses(conn: &mut Connection) -> Result<String, Failure> {
    let said = conn.read_line(500).await?.unwrap_or_default();
    let sent = vec![7; 100_000];
    conn.write_all(&sent).await?;
    let mut heard = vec![0; 100_000];
    conn.read_exact(&mut heard).await?;
    assert!(sent == heard);
    Ok(String::from_utf8(said)?)
}

#[test]
fn haproxy_sends_both_addresses_in_either_version() {
    if !have("haproxy") {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let port = serve(&reactor)?;
        let server = port.local_addr();
        let folder = Folder::create();
        let places = free::<4>();
        let ways = [
            "send-proxy",
            "send-proxy-v2",
            "send-proxy-v2 proxy-v2-options crc32c",
            "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority",
        ];
        let both: Vec<_> = places.into_iter().zip(ways).collect();
        let listeners: Vec<_> = both
            .iter()
            .map(|(location, way)| {
                format!(" bind {location}\n unique-id-format %pid-%rt\n server s {server} {way}")
            })
            .collect();
        let haproxy = start(&folder, &listeners);
        for (location, way) in both {
            let mut conn = connect(&reactor, &location.to_string()).await?;
            let expected = format!("{} {location}", conn.local_addr()?);
            assert_eq!(addresses(&mut conn).await?, expected, "{way}");
        }
        drop(haproxy);
        port.stop().await
    });
}

#[test]
fn haproxy_sends_unix_and_ipv6_addresses() {
    if !have("haproxy") {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let port = serve(&reactor)?;
        let server = port.local_addr();
        let folder = Folder::create();
        let (one, two) = (folder.path("one"), folder.path("two"));
        let mut listeners = vec![
            format!(
                " bind unix@{}\n server s {server} send-proxy",
                one.display()
            ),
            format!(
                " bind unix@{}\n server s {server} send-proxy-v2",
                two.display()
            ),
        ];
        let six = TcpListener::bind("[::1]:0").and_then(|listener| listener.local_addr());
        if let Ok(six) = &six {
            let [other] = free();
            let other = SocketAddr::new(six.ip(), other.port());
            listeners.push(format!(" bind {six}\n server s {server} send-proxy"));
            listeners.push(format!(" bind {other}\n server s {server} send-proxy-v2"));
        }
        let haproxy = start(&folder, &listeners);
        // Of UNIX sockets HAProxy sends no addresses, in either version, so they are those of the
        // socket.
        for socket in [one, two] {
            let mut conn = connect(&reactor, &format!("unix:{}", socket.display())).await?;
            let said = addresses(&mut conn).await?;
            assert!(said.starts_with("127.0.0.1:"), "{said}");
            assert!(said.ends_with(&format!(" {server}")), "{said}");
        }
        for listener in &listeners[2..] {
            let location = listener.split_whitespace().nth(1).unwrap();
            let mut conn = connect(&reactor, location).await?;
            let expected = format!("{} {location}", conn.local_addr()?);
            assert_eq!(addresses(&mut conn).await?, expected);
        }
        drop(haproxy);
        port.stop().await
    });
}

#[test]
fn haproxy_health_checks_pass() {
    if !have("haproxy") {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let seen: Rc<RefCell<BTreeSet<String>>> = Rc::default();
        let peers = seen.clone();
        let port = reactor.serve(
            ServerEndpoint::parse(HERE)?.proxied(ProxyOptions::new()),
            async move |conn| {
                let host = conn.local_addr()?.to_string();
                peers.borrow_mut().insert(host);
                Ok(())
            },
        )?;
        let server = port.local_addr();
        let [location] = free();
        let folder = Folder::create();
        let way = "send-proxy-v2 check check-send-proxy inter 20ms fastinter 20ms";
        let haproxy = start(
            &folder,
            &[format!(" bind {location}\n server s {server} {way}")],
        );
        // A health check has no addresses.
        until(|| seen.borrow().contains(&server.to_string())).await;
        let conn = connect(&reactor, &location.to_string()).await?;
        until(|| seen.borrow().contains(&location.to_string())).await;
        drop((conn, haproxy));
        port.stop().await
    });
}
