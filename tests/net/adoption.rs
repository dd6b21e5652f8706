//! Adopted sockets: listeners and connections opened by the program, and those that a supervisor
//! passes.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use torsade::net::ClientEndpoint;
use torsade::net::datagram::DatagramEndpoint;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_setfd};
use support::folder::Folder;
use support::program::{Client, PATIENCE, Program, example_path};
use support::{HERE, Log, MS, Spy, cpu_time, some_turns, until};
use torsade::net::{ListenError, ServerEndpoint, activation};
use torsade::{
    Address, Cancelled, Clock, Context, DatagramPort, DatagramProtocol, Failure, Reactor, testing,
};

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

#[test]
fn adopting_a_listener_of_std_works_and_stop_only_closes_it() {
    run(async |reactor| {
        let listener = TcpListener::bind(HERE)?;
        let (other, address) = (listener.try_clone()?, listener.local_addr()?);
        let port = reactor.listen(ServerEndpoint::adopt(listener), |_| Spy::echo())?;
        assert_eq!(port.local_addr(), address);
        let mut conn = reactor.connect_stream(address).await?;
        conn.write_all(b"x").await?;
        conn.read_exact(&mut [0]).await?;
        drop(conn);
        port.stop().await?;
        // The other owner of the socket continues; the socket is non-blocking for both.
        let client = TcpStream::connect(address)?;
        until(|| other.accept().is_ok()).await;
        drop(client);
        Ok(())
    });
}

#[test]
fn adopting_a_unix_listener_keeps_its_file() {
    run(async |reactor| {
        let folder = Folder::create();
        let listener = UnixListener::bind(folder.path("socket"))?;
        let endpoint = ServerEndpoint::adopt(listener);
        assert_eq!(endpoint.to_string(), "an adopted socket");
        let port = reactor.serve(&endpoint, async |mut conn| {
            conn.write_all(b"hello").await?;
            Ok(())
        })?;
        assert_eq!(port.local_addr(), folder.socket());
        let mut conn = reactor.connect_stream(folder.socket()).await?;
        let mut text = Vec::new();
        conn.read_to_end(&mut text).await?;
        assert_eq!(text, b"hello");
        drop(conn);
        port.stop().await?;
        assert_eq!(folder.files(), ["socket"]);

        let failure = reactor.listen(endpoint, |_| Spy::echo()).unwrap_err();
        assert!(matches!(failure.trap()?, ListenError::AlreadyAdopted));
        assert_eq!(failure.location().file(), file!());
        Ok(())
    });
}

#[test]
fn connections_are_adopted_at_both_ends() {
    run(async |reactor| {
        let listener = TcpListener::bind(HERE)?;
        let one = TcpStream::connect(listener.local_addr()?)?;
        let (other, _) = listener.accept()?;
        let peers = [one.peer_addr()?, other.peer_addr()?];
        let log = Log::new();
        let handle = reactor
            .connect(ClientEndpoint::adopt(one), Spy::new(&log))
            .await?;
        assert_eq!(log.take(), ["made"]);
        let mut conn = reactor.connect_stream(ClientEndpoint::adopt(other)).await?;
        let transport = handle.transport().unwrap();
        assert!(transport.peer() == peers[0] && conn.peer() == peers[1]);
        conn.write_all(b"hello").await?;
        until(|| log.has("data hello")).await;
        drop(conn);
        until(|| log.has("lost done")).await;
        Ok(())
    });
}

#[test]
fn datagram_sockets_are_adopted_too() {
    run(async |reactor| {
        struct Echo(Log);
        impl DatagramProtocol for Echo {
            fn started(&mut self, _cx: &mut Context<'_, Self, DatagramPort>) {
                self.0.note("started");
            }
            fn datagram_received(
                &mut self,
                cx: &mut Context<'_, Self, DatagramPort>,
                data: &[u8],
                from: Address,
            ) {
                self.0.note(data.escape_ascii());
                match cx.peer() {
                    Some(_) => cx.write_connected(data).unwrap(),
                    None => cx.write(data, from).unwrap(),
                }
            }
            fn stopped(&mut self) {
                self.0.note("stopped");
            }
        }
        let log = Log::new();
        let (given, asking) = (UdpSocket::bind(HERE)?, UdpSocket::bind(HERE)?);
        let (copy, address) = (given.try_clone()?, given.local_addr()?);
        asking.connect(address)?;
        let port = reactor.listen_datagram(DatagramEndpoint::adopt(given), Echo(log.clone()))?;
        assert_eq!(log.take(), ["started"]);
        assert_eq!((port.local_addr(), port.peer()), (address.into(), None));
        let asker = reactor.bind_datagram(DatagramEndpoint::adopt(asking))?;
        assert_eq!(asker.port().peer(), Some(address.into()));
        asker.send(b"hello").await?;
        assert_eq!(asker.recv(&mut [0; 8]).await?, 5);
        port.stop().await?;
        assert_eq!(log.take(), ["hello", "stopped"]);
        // The other owner of the socket continues.
        asker.send(b"still there?").await?;
        until(|| copy.recv(&mut [0; 20]).is_ok_and(|count| count == 12)).await;

        let (one, other) = UnixDatagram::pair()?;
        let port = reactor.listen_datagram(DatagramEndpoint::adopt(one), Echo(log.clone()))?;
        other.send(b"over UNIX")?;
        let mut buf = [0; 20];
        let answered = reactor.bind_datagram(DatagramEndpoint::adopt(other))?;
        assert_eq!(answered.recv(&mut buf).await?, 9);
        port.stop().await
    });
}

#[test]
fn adopted_sockets_are_non_blocking_and_close_on_exec() {
    run(async |reactor| {
        let (ours, theirs) = UnixStream::pair()?;
        let copy = ours.try_clone()?;
        fcntl_setfd(&ours, FdFlags::empty())?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&ours);
        let conn = reactor.connect_stream(ClientEndpoint::adopt(ours)).await?;
        assert!(fcntl_getfl(&copy)?.contains(OFlags::NONBLOCK));
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & OFlags::CLOEXEC.bits(), 0);
        drop((conn, theirs));
        Ok(())
    });
}

#[test]
fn the_error_names_a_descriptor_of_another_kind() {
    run(async |reactor| {
        let udp = || OwnedFd::from(UdpSocket::bind(HERE).unwrap());
        let file = || OwnedFd::from(File::open("/dev/null").unwrap());
        let tcp = || OwnedFd::from(TcpListener::bind(HERE).unwrap());
        let (pair, rest) = UnixStream::pair()?;
        let (datagram, _rest) = UnixDatagram::pair()?;
        let fresh = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
        for (fd, found) in [
            (udp(), "a datagram socket"),
            (datagram.into(), "a datagram socket"),
            (file(), "no socket"),
            (pair.into(), "a UNIX socket that is connected"),
            (
                fresh.into(),
                "a TCP socket that neither listens nor is connected",
            ),
        ] {
            let failure = reactor
                .listen(ServerEndpoint::adopt(fd), |_| Spy::echo())
                .unwrap_err();
            let said =
                format!("cannot adopt the descriptor as a listening stream socket: it is {found}");
            assert_eq!(failure.trap::<ListenError>()?.to_string(), said);
            assert_eq!(failure.location().file(), file!());
        }
        for (fd, found) in [
            (udp(), "a datagram socket"),
            (file(), "no socket"),
            (tcp(), "a TCP socket that listens"),
        ] {
            let said =
                format!("cannot adopt the descriptor as a connected stream socket: it is {found}");
            let copy = fd.try_clone()?;
            let failure = reactor
                .connect_stream(ClientEndpoint::adopt(fd))
                .await
                .unwrap_err();
            assert_eq!(failure.trap::<ListenError>()?.to_string(), said);
            let failure = reactor
                .connect(ClientEndpoint::adopt(copy), Spy::echo())
                .await
                .unwrap_err();
            assert_eq!(failure.trap::<ListenError>()?.to_string(), said);
        }
        drop(rest);
        for (fd, found) in [
            (file(), "no socket"),
            (tcp(), "a TCP socket that listens"),
            (
                UnixStream::pair()?.0.into(),
                "a UNIX socket that is connected",
            ),
        ] {
            let said = format!("cannot adopt the descriptor as a datagram socket: it is {found}");
            let failure = reactor
                .bind_datagram(DatagramEndpoint::adopt(fd))
                .unwrap_err();
            assert_eq!(failure.trap::<ListenError>()?.to_string(), said);
            assert_eq!(failure.location().file(), file!());
        }
        Ok(())
    });
}

#[test]
fn an_in_memory_reactor_adopts_no_socket_of_the_machine() {
    testing::run_on(Reactor::in_memory().unwrap(), async |reactor| {
        let listener = TcpListener::bind(HERE)?;
        let failure = reactor
            .listen(ServerEndpoint::adopt(listener), |_| Spy::echo())
            .unwrap_err();
        assert!(matches!(failure.trap()?, ListenError::NotAdoptable { .. }));
        let (one, _other) = UnixStream::pair()?;
        let failure = reactor
            .connect(ClientEndpoint::adopt(one), Spy::echo())
            .await
            .unwrap_err();
        assert!(matches!(failure.trap()?, ListenError::NotAdoptable { .. }));
        let failure = reactor
            .bind_datagram(DatagramEndpoint::adopt(UdpSocket::bind(HERE)?))
            .unwrap_err();
        assert!(matches!(failure.trap()?, ListenError::NotAdoptable { .. }));
        Ok(())
    });
}

#[test]
fn cancelling_before_adoption_closes_the_socket() {
    run(async |reactor| {
        let ((one, mut other), log) = (UnixStream::pair()?, Log::new());
        let adopted = reactor.connect(ClientEndpoint::adopt(one), Spy::new(&log));
        adopted.cancel();
        adopted.await.unwrap_err().trap::<Cancelled>()?;
        assert_eq!(other.read(&mut [0])?, 0);
        some_turns().await;
        assert!(log.is_empty());
        Ok(())
    });
}

#[test]
fn nothing_spins_over_a_closed_connection_with_a_duplicated_descriptor() {
    run(async |reactor| {
        for aborted in [false, true] {
            let ((ours, mut theirs), log) = (UnixStream::pair()?, Log::new());
            let copy = ours.try_clone()?;
            let handle = reactor
                .connect(ClientEndpoint::adopt(ours), Spy::new(&log))
                .await?;
            if aborted {
                handle.transport().unwrap().abort_connection();
            } else {
                theirs.shutdown(std::net::Shutdown::Write)?;
            }
            until(|| !handle.is_connected()).await;
            theirs.write_all(b"for the copy").ok();
            some_turns().await;
            let before = cpu_time();
            reactor.sleep(MS * 20).await?;
            assert!(cpu_time() - before < 5_000);
            drop(copy);
        }
        Ok(())
    });
}

/// Starts a server with a listening socket as its descriptor 3, and environment variables like a
/// supervisor's.
fn supervised(listener: impl Into<OwnedFd>, variables: &str, address: &str) -> Program {
    let mut command = Command::new("sh");
    let script = format!("{variables} exec \"$0\" \"$1\" 3<&0 0</dev/null");
    command
        .args(["-c", &script])
        .arg(example_path("echo_async"))
        .arg(address);
    Program::start_with(command.stdin(Stdio::from(listener.into())))
}

#[test]
fn sockets_of_a_supervisor_are_found_by_index_name_and_number() {
    for (variables, address) in [
        (
            "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web",
            "systemd:domain=INET:index=0",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web",
            "systemd:name=web",
        ),
        ("LISTEN_PID=$$ LISTEN_FDS=1", "systemd:index=0"),
        ("", "fd:3"),
        ("", "fd:3:domain=INET"),
    ] {
        let listener = TcpListener::bind(HERE).unwrap();
        let here = listener.local_addr().unwrap().to_string();
        let server = supervised(listener, variables, address);
        assert_eq!(server.address(), here, "{address}");
        let mut client = Client::new(&here);
        client.say("hello");
        client.hears("hello");
    }
    let folder = Folder::create();
    let listener = UnixListener::bind(folder.path("socket")).unwrap();
    let server = supervised(listener, "", "fd:3:domain=UNIX");
    assert_eq!(server.address(), folder.socket().to_string());
    drop(server);
    assert_eq!(folder.files(), ["socket"]);
}

#[test]
fn the_error_names_a_socket_that_was_not_passed() {
    let tcp = || TcpListener::bind(HERE).unwrap();
    for (variables, address, said) in [
        (
            "",
            "systemd:index=0",
            "this process was started without systemd:index=0 (its supervisor passed 0 descriptors)",
        ),
        (
            "LISTEN_PID=1 LISTEN_FDS=1",
            "systemd:index=0",
            "without systemd:index=0 (its supervisor passed 0 ",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=1",
            "systemd:index=1",
            "without systemd:index=1 (its supervisor passed 1 ",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web",
            "systemd:name=x",
            "without systemd:name=x (its supervisor passed 1 ",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=1",
            "systemd:domain=UNIX:index=0",
            "as a listening UNIX socket: it is a listening IPv4 TCP socket",
        ),
        ("", "fd:777", "this process was started without fd:777"),
        ("", "fd:0", "as a listening stream socket: it is no socket"),
    ] {
        let (_, _, errors) = supervised(tcp(), variables, address).end_somehow(PATIENCE);
        assert!(errors.contains(said), "{address}: {errors}");
    }
}

#[test]
fn an_inherited_descriptor_is_taken_once() {
    // Without a supervisor: a descriptor of the test itself.
    run(async |reactor| {
        assert!(activation::names().is_empty());
        let listener = TcpListener::bind(HERE)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&listener.as_fd());
        let text = format!("fd:{number}");
        let endpoint = ServerEndpoint::parse(&text)?;
        assert_eq!(endpoint.to_string(), text);
        let other = format!("{text}:domain=UNIX");
        let failure = reactor.listen(&other, |_| Spy::echo()).unwrap_err();
        assert!(matches!(failure.trap()?, ListenError::NotAdoptable { .. }));
        let port = reactor.listen(&endpoint, |_| Spy::echo())?;
        let failure = reactor.listen(&endpoint, |_| Spy::echo()).unwrap_err();
        assert!(matches!(failure.trap()?, ListenError::AlreadyAdopted));
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"x").await?;
        conn.read_exact(&mut [0]).await?;
        drop(conn);
        port.stop().await?;
        drop(listener);
        Ok(())
    });
}

/// The loop ends with the attempt pending.
#[test]
fn a_socket_that_was_never_adopted_is_closed_and_its_deferred_abandoned() {
    let reactor = Reactor::new().unwrap();
    let (one, mut other) = UnixStream::pair().unwrap();
    let adopted = reactor.connect(ClientEndpoint::adopt(one), Spy::echo());
    drop(reactor);
    assert!(adopted.is_settled());
    other.set_nonblocking(true).unwrap();
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
    let observed = Log::new();
    let log = observed.clone();
    drop(
        adopted
            .map(drop)
            .add_errback(move |failure| log.note(failure)),
    );
    assert_eq!(observed.take().len(), 1);
}
