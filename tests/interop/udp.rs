//! Datagrams to and from foreign programs: socat, and Twisted (`twisted_udp.py`). A test whose
//! program is missing says so and passes.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use support::foreign::{have, script, twisted};
use support::program::Program;
use support::{HERE, until};
use torsade::net::datagram::DatagramOptions;
use torsade::testing::run_on;
use torsade::{Reactor, UdpSocket};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 4, 5, 6);

#[test]
fn a_twisted_client_uses_our_echo_server() {
    let Some(twisted) = twisted() else { return };
    let server = Program::example("udp_echo", &[HERE]);
    let address = server.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    let script = script("twisted_udp.py");
    let client = Program::start(
        Command::new(twisted)
            .arg(script)
            .args(["ask", host, port, "200"]),
    );
    assert_eq!(client.end().0, ["200 of 200"]);
}

#[test]
fn our_client_uses_twisteds_echo_server() {
    let Some(twisted) = twisted() else { return };
    let script = script("twisted_udp.py");
    let server = Program::start(Command::new(twisted).arg(script).arg("serve"));
    let address = server.address();
    let client = Program::example("udp_echo", &["ask", &address, "one", "two", "three"]);
    assert_eq!(client.end().0, ["one", "two", "three"]);
    run_on(Reactor::new().unwrap(), async |reactor| {
        let socket = reactor.bind_datagram(HERE)?;
        socket.connect(&address)?;
        let mut buf = vec![0; 65_507];
        for size in [0, 1, 1500, 65_507] {
            let sent: Vec<u8> = (0..size).map(|n| n as u8).collect();
            socket.send(&sent).await?;
            let count = socket.recv(&mut buf).await?;
            assert!(buf[..count] == sent, "{size} bytes");
        }
        Ok(())
    });
}

#[test]
fn twisted_is_a_member_of_our_group() {
    let Some(twisted) = twisted() else { return };
    let script = script("twisted_udp.py");
    let group = GROUP.to_string();
    let member = Program::start(Command::new(twisted).arg(script).args(["member", &group]));
    let address = member.address();
    run_on(Reactor::new().unwrap(), async |reactor| {
        let socket = reactor.bind_datagram(HERE)?;
        socket.port().set_outgoing_interface(Ipv4Addr::LOCALHOST)?;
        socket.send_to(b"us", address).await?;
        assert_eq!(heard(&socket).await, "Twisted heard us");
        Ok(())
    });
}

#[test]
fn socat_answers_what_it_receives() {
    if !have("socat") {
        return;
    }
    run_on(Reactor::new().unwrap(), async |reactor| {
        let socket = reactor.bind_datagram(HERE)?;
        let free = reactor.bind_datagram(HERE)?.local_addr().port().unwrap();
        // The socket is closed in the next turn.
        torsade::yield_now().await;
        torsade::yield_now().await;
        let mut socat = Command::new("socat")
            .arg(format!("UDP4-RECVFROM:{free},bind=127.0.0.1,fork"))
            .arg("EXEC:tr a-z A-Z")
            .spawn()?;
        let to = (Ipv4Addr::LOCALHOST, free);
        let mut buf = [0; 100];
        let count = loop {
            // Nothing listens until the program has started.
            socket.send_to(b"loud", to).await?;
            let receiving = std::pin::pin!(socket.recv(&mut buf));
            let patience = torsade::Clock::sleep(&reactor, support::MS * 50);
            match futures::future::select(receiving, patience).await {
                futures::future::Either::Left((count, _)) => break count?,
                futures::future::Either::Right(_) => {}
            }
        };
        assert_eq!(&buf[..count], b"LOUD");
        socat.kill()?;
        socat.wait()?;
        Ok(())
    });
}

#[test]
fn socat_sends_to_our_group() {
    if !have("socat") {
        return;
    }
    run_on(Reactor::new().unwrap(), async |reactor| {
        let options = DatagramOptions::new().listen_multiple(true);
        let member = reactor.bind_datagram(("0.0.0.0:0", &options))?;
        member
            .port()
            .join_group_on(GROUP, Ipv4Addr::LOCALHOST)
            .await?;
        let number = member.local_addr().port().unwrap();
        let mut socat = Command::new("socat")
            .arg("-u")
            .arg("STDIN")
            .arg(format!(
                "UDP4-DATAGRAM:{GROUP}:{number},ip-multicast-if=127.0.0.1"
            ))
            .stdin(Stdio::piped())
            .spawn()?;
        socat.stdin.take().unwrap().write_all(b"to all")?;
        assert_eq!(heard(&member).await, "to all");
        until(|| socat.try_wait().unwrap().is_some()).await;
        Ok(())
    });
}

async fn heard(socket: &UdpSocket) -> String {
    let mut buf = [0; 100];
    let count = socket.recv(&mut buf).await.unwrap();
    String::from_utf8_lossy(&buf[..count]).into()
}
