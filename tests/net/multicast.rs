//! Multicast: joining, leaving, several ports with one number, loopback; on the loopback interface
//! and in memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[cfg(unix)]
use libc::{EADDRINUSE, EADDRNOTAVAIL, EINVAL};
use support::{HERE, poll_once, some_turns};
use torsade::net::ListenError;
use torsade::net::datagram::{DatagramError, DatagramOptions, Interface};
use torsade::{Failure, Reactor, UdpSocket};
#[cfg(windows)]
use windows_sys::Win32::Networking::WinSock::{
    WSAEADDRINUSE as EADDRINUSE, WSAEADDRNOTAVAIL as EADDRNOTAVAIL, WSAEINVAL as EINVAL,
};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const LO: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A member of the group, at a port that other sockets may share.
async fn member(reactor: &Reactor, number: u16) -> Result<UdpSocket, Failure> {
    let options = DatagramOptions::new().listen_multiple(true);
    let socket = reactor.bind_datagram((("0.0.0.0", number), &options))?;
    socket.port().join_group_on(GROUP, LO).await?;
    Ok(socket)
}

fn number(socket: &UdpSocket) -> u16 {
    socket.local_addr().port().unwrap()
}

/// A socket that sends to the group on the loopback interface.
fn sender(reactor: &Reactor) -> Result<UdpSocket, Failure> {
    let socket = reactor.bind_datagram(HERE)?;
    socket.port().set_outgoing_interface(LO)?;
    Ok(socket)
}

async fn hears_nothing(socket: &UdpSocket) -> bool {
    some_turns().await;
    poll_once(&mut Box::pin(socket.recv(&mut [0; 100])))
        .await
        .is_pending()
}

on_both! {
    async fn members_receive_group_datagrams_until_they_leave(reactor) {
        let member = member(&reactor, 0).await?;
        let sender = sender(&reactor)?;
        let to = (GROUP, number(&member));
        sender.send_to(b"hello", to).await?;
        let mut buf = [0; 8];
        assert_eq!(member.recv_from(&mut buf).await?, (5, sender.local_addr()));
        member.port().leave_group_on(GROUP, LO).await?;
        sender.send_to(b"gone", to).await?;
        assert!(hears_nothing(&member).await);
        member.port().join_group_on(GROUP, LO).await?;
        sender.send_to(b"back", to).await?;
        assert_eq!(member.recv(&mut buf).await?, 4);
    }

    async fn a_port_that_has_not_joined_receives_nothing(reactor) {
        let first = member(&reactor, 0).await?;
        let to = (GROUP, number(&first));
        let options = DatagramOptions::new().listen_multiple(true);
        let stranger = reactor.bind_datagram((("0.0.0.0", to.1), &options))?;
        sender(&reactor)?.send_to(b"members", to).await?;
        assert_eq!(first.recv(&mut [0; 8]).await?, 7);
        assert!(hears_nothing(&stranger).await);
    }

    async fn several_ports_with_the_same_number_all_receive_a_datagram(reactor) {
        let first = member(&reactor, 0).await?;
        let to = (GROUP, number(&first));
        let others = [member(&reactor, to.1).await?, member(&reactor, to.1).await?];
        sender(&reactor)?.send_to(b"all", to).await?;
        for socket in [&first, &others[0], &others[1]] {
            assert_eq!(socket.recv(&mut [0; 8]).await?, 3);
        }
        let alone = reactor.bind_datagram(("0.0.0.0", to.1)).unwrap_err();
        assert!(is_error!(alone, ListenError::Failed { .. }), "a socket that does not share the address is refused: {alone:?}");
    }

    async fn loopback_mode_is_on_by_default(reactor) {
        let member = member(&reactor, 0).await?;
        let to = (GROUP, number(&member));
        let port = member.port();
        port.set_outgoing_interface(LO)?;
        assert!(port.loopback_mode()?);
        member.send_to(b"echo", to).await?;
        assert_eq!(member.recv(&mut [0; 8]).await?, 4);
        port.set_loopback_mode(false)?;
        assert!(!port.loopback_mode()?);
    }

    async fn ports_can_be_configured(reactor) {
        let port = sender(&reactor)?.port();
        assert_eq!(port.multicast_ttl()?, 1);
        port.set_multicast_ttl(7)?;
        assert_eq!(port.multicast_ttl()?, 7);
        assert_eq!(port.outgoing_interface()?, Interface::Address(LO));
        // A machine without a network has no default interface.
        if port.set_outgoing_interface(Interface::Any).is_ok() {
            assert_eq!(port.outgoing_interface()?, Interface::Any);
        }
        assert!(port.set_outgoing_interface(1).is_err(), "a number is for IPv6");
    }

    async fn a_failed_join_fails_with_the_reason(reactor) {
        let member = member(&reactor, 0).await?;
        let port = member.port();
        let failure = port.join_group(LO).await.unwrap_err();
        let (group, error) = expect_error!(failure, DatagramError::MulticastJoin { group, error } => (*group, error));
        assert_eq!(group, IpAddr::V4(LO));
        assert_eq!(error.raw_os_error(), Some(EINVAL));
        let failure = port.join_group_on(GROUP, LO).await.unwrap_err();
        let (group, error) = expect_error!(failure, DatagramError::MulticastJoin { group, error } => (*group, error));
        assert_eq!(group, IpAddr::V4(GROUP));
        assert_eq!(error.raw_os_error(), Some(EADDRINUSE), "joined twice");
        let other = Ipv4Addr::new(239, 9, 9, 9);
        let failure = port.leave_group_on(other, LO).await.unwrap_err();
        let (group, error) = expect_error!(failure, DatagramError::MulticastJoin { group, error } => (*group, error));
        assert_eq!(group, IpAddr::V4(other));
        assert_eq!(error.raw_os_error(), Some(EADDRNOTAVAIL), "never joined");
        port.stop().await?;
        assert!(is_error!(port.join_group_on(GROUP, LO).await.unwrap_err(), DatagramError::Closed));
    }

    async fn ipv6_has_groups_too(reactor) {
        // An interface-local group, so that no datagram leaves the machine.
        let group: Ipv6Addr = "ff01::7:7".parse()?;
        let Some(interface) = an_interface_with_ipv6() else {
            eprintln!("skipped: there is no interface for multicast of IPv6");
            return Ok(());
        };
        let options = DatagramOptions::new().listen_multiple(true);
        let member = reactor.bind_datagram(("[::]:0", &options))?;
        member.port().join_group_on(group, interface).await?;
        let sender = reactor.bind_datagram("[::]:0")?;
        sender.port().set_outgoing_interface(interface)?;
        assert_eq!(sender.port().outgoing_interface()?, Interface::Index(interface));
        sender.port().set_multicast_ttl(3)?;
        assert_eq!(sender.port().multicast_ttl()?, 3);
        let to = (group, number(&member));
        sender.send_to(b"six", to).await?;
        assert_eq!(member.recv(&mut [0; 8]).await?, 3);
        member.port().leave_group_on(group, interface).await?;
        sender.send_to(b"gone", to).await?;
        assert!(hears_nothing(&member).await);
        assert!(sender.port().set_outgoing_interface(LO).is_err(), "an address is for IPv4");
        let failure = member.port().join_group(Ipv6Addr::LOCALHOST).await.unwrap_err();
        assert!(is_error!(failure, DatagramError::MulticastJoin { .. }));
    }
}

/// The index of an interface that is not the loopback interface, which has no IPv6 groups.
fn an_interface_with_ipv6() -> Option<u32> {
    let all = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    let mut lines = all
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|fields| fields.last() != Some(&"lo"))?;
    u32::from_str_radix(line.get(1)?, 16).ok()
}

/// On the machine, datagrams sent on the loopback interface always come back, so this is tested in
/// memory only.
#[test]
fn loopback_mode_can_be_turned_off() {
    torsade::testing::run(async |reactor| {
        let member = member(&reactor, 0).await?;
        let to = (GROUP, number(&member));
        member.port().set_loopback_mode(false)?;
        member.send_to(b"silence", to).await?;
        assert!(hears_nothing(&member).await);
        Ok(())
    });
}
