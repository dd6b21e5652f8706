//! UNIX sockets: connections by paths and abstract names, their ends, and their options.
#![cfg(target_os = "linux")]

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::task::Poll;

use support::folder::Folder;
use support::{HERE, Log, MS, Spy, cpu_time, ends, some_turns, until};
use torsade::net::{ConnectError, ConnectOptions, ListenError, ListenOptions, ServerEndpoint};
use torsade::{Address, Clock};

/// An unused abstract name.
fn name(what: &str) -> Address {
    Address::from_abstract(format!("torsade {what} {}", std::process::id()))
}

on_all! {
    async fn protocols_talk_over_a_path_and_know_their_addresses(reactor) {
        let (folder, log) = (Folder::create(), Log::new());
        let (path, to) = (folder.socket(), log.clone());
        let port = reactor.listen(&path, move |peer| {
            to.note(format_args!("build {peer}"));
            let log = to.clone();
            Spy::echo().on_made(move |cx| log.note(format_args!("{} from {}", cx.local_addr().unwrap(), cx.peer())))
        })?;
        assert_eq!(port.local_addr(), path);
        let heard = Log::new();
        let client = Spy::new(&heard).on_made(|cx| cx.write("hello"));
        let handle = reactor.connect(&path, client).await?;
        until(|| heard.has("data hello")).await;
        assert_eq!(log.take(), ["build unnamed".to_owned(), format!("{path} from unnamed")]);
        let transport = handle.transport().unwrap();
        assert_eq!((transport.peer(), transport.local_addr()?), (path, Address::Unnamed));
        transport.lose_connection();
        until(|| heard.has("lost done")).await;
        port.stop().await?;
    }

    async fn abstract_names_work_for_servers_and_clients(reactor) {
        let (server, client) = (name("server"), name("client"));
        let seen = Log::new();
        let to = seen.clone();
        let port = reactor.serve(&server, async move |mut conn| {
            to.note(conn.peer());
            conn.write_all(b"x").await?;
            Ok(())
        })?;
        assert_eq!(port.local_addr(), server);
        let options = ConnectOptions::new().bind(client.clone());
        let mut conn = reactor.connect_stream((&server, &options)).await?;
        assert_eq!((conn.peer(), conn.local_addr()?), (server.clone(), client.clone()));
        conn.read_exact(&mut [0]).await?;
        assert_eq!(seen.take(), [client.to_string()]);
        drop(conn);
        port.stop().await?;
        let failure = reactor.connect_stream(&server).await.unwrap_err();
        assert_eq!(*expect_error!(failure, ConnectError::Refused { address, .. } => address), server);
    }

    async fn the_text_of_an_address_can_be_listened_at_and_connected_to(reactor) {
        let folder = Folder::create();
        let paths = ["a:b", "a=b", r"a\b", "@x", "new\nline", "é"].map(|end| Address::from_path(folder.path(end)));
        let names = [&b"torsade x:y=z\\"[..], b"torsade \0\xff\n"].map(Address::from_abstract);
        for address in paths.into_iter().chain(names) {
            let text = address.to_string();
            assert!(!text.chars().any(char::is_control), "{text}");
            let port = reactor.serve(&text, async |_conn| Ok(()))?;
            assert_eq!(port.local_addr(), address, "{text}");
            let conn = reactor.connect_stream(text).await?;
            assert_eq!(conn.peer(), address);
            drop(conn);
            port.stop().await?;
        }
        let at = ServerEndpoint::parse(&Address::from_path("@x").to_string())?;
        assert_eq!(at.to_string(), "unix:path=@x");
    }

    async fn an_address_that_is_taken_is_an_error_until_its_port_stops(reactor) {
        let folder = Folder::create();
        for address in [folder.socket(), name("taken")] {
            let port = reactor.listen(&address, |_| Spy::echo())?;
            let failure = reactor.listen(&address, |_| Spy::echo()).unwrap_err();
            let failed = expect_error!(failure, ListenError::Failed { address, error } => (address, error.kind()));
            assert_eq!(failed, (&address, ErrorKind::AddrInUse));
            port.stop().await?;
            reactor.listen(&address, |_| Spy::echo())?.stop().await?;
        }
    }

    async fn a_path_without_a_socket_is_not_found(reactor) {
        let folder = Folder::create();
        let failure = reactor.connect_stream(folder.socket()).await.unwrap_err();
        assert_eq!(expect_error!(failure, ConnectError::Failed { error, .. } => error).kind(), ErrorKind::NotFound);
    }

    async fn the_error_of_a_long_name_has_its_length(reactor) {
        let long = |count| "x".repeat(count);
        let max_delay = Address::from_abstract(long(107));
        let port = reactor.serve(&max_delay, async |_conn| Ok(()))?;
        assert_eq!(reactor.connect_stream(&max_delay).await?.peer(), max_delay);
        port.stop().await?;
        for (address, said) in [
            (Address::from_path(long(108)), "a socket's path has at most 107 bytes, and this one has 108"),
            (Address::from_abstract(long(200)), "a socket's name has at most 107 bytes, and this one has 200"),
            (Address::from_path(""), "a socket's path must not be empty or contain a NUL"),
            (Address::from_path("a\0b"), "a socket's path must not be empty or contain a NUL"),
        ] {
            let failure = reactor.listen(&address, |_| Spy::echo()).unwrap_err();
            assert_eq!(expect_error!(failure, ListenError::Failed { error, .. } => error).to_string(), said);
            let failure = reactor.connect_stream(&address).await.unwrap_err();
            assert_eq!(expect_error!(failure, ConnectError::Failed { error, .. } => error).to_string(), said);
        }
    }

    async fn a_half_closed_request_gets_its_reply(reactor) {
        let folder = Folder::create();
        let port = reactor.listen(folder.path("socket"), |_| Spy::echo())?;
        for size in [1, 1000, 3 << 20] {
            let (mut reader, mut writer) = reactor.connect_stream(folder.path("socket").as_path()).await?.split();
            let request = vec![b'x'; size];
            let sent = request.clone();
            let writing = torsade::spawn(async move {
                writer.write_all(&sent).await?;
                writer.close().await
            });
            let mut reply = Vec::new();
            reader.read_to_end(&mut reply).await?;
            assert!(reply == request, "{size}");
            writing.await??;
        }
        port.stop().await?;
    }

    async fn bytes_before_the_end_are_read_although_the_peer_left_bytes_unread(reactor) {
        let folder = Folder::create();
        let (mut client, server, port) = ends(&reactor, folder.socket()).await?;
        client.write_all(b"never read").await?;
        some_turns().await;
        server.transport().write("last words");
        drop(server);
        let mut all = Vec::new();
        client.read_to_end(&mut all).await?;
        assert_eq!(all, b"last words");
        drop(client);
        port.stop().await?;
    }

    async fn a_closed_connection_is_gone_at_once_and_its_bytes_are_read_later(reactor) {
        let folder = Folder::create();
        let (mut client, server, port) = ends(&reactor, folder.socket()).await?;
        let transport = server.transport();
        transport.write(vec![b'x'; 30_000]);
        drop(server);
        until(|| transport.reason().is_some()).await;
        assert!(!support::alive(&reactor).contains(&"closing connection"));
        let mut all = Vec::new();
        assert_eq!(client.read_to_end(&mut all).await?, 30_000);
        drop(client);
        port.stop().await?;
    }

    async fn writing_to_a_closed_peer_is_a_broken_pipe(reactor) {
        let (folder, log) = (Folder::create(), Log::new());
        let port = reactor.serve(folder.socket(), async |_conn| Ok(()))?;
        let client = Spy::new(&log).on_eof(|cx| cx.write("anybody there?"));
        reactor.connect(folder.socket(), client).await?;
        until(|| log.all().len() == 3).await;
        assert_eq!(log.take(), ["made", "eof", "lost broken BrokenPipe"]);
        port.stop().await?;
    }

    async fn the_loop_does_not_spin_over_a_paused_connection_whose_peer_is_gone(reactor) {
        let (folder, log) = (Folder::create(), Log::new());
        let port = reactor.serve(folder.socket(), async |_conn| Ok(()))?;
        let client = Spy::new(&log).on_made(|cx| cx.pause_producing());
        let handle = reactor.connect(folder.socket(), client).await?;
        some_turns().await;
        let before = cpu_time();
        reactor.sleep(MS * 20).await?;
        assert!(cpu_time() - before < 5_000);
        assert_eq!(log.take(), ["made"]);
        handle.transport().unwrap().resume_producing();
        until(|| log.has("lost done")).await;
        port.stop().await?;
    }

    async fn options_of_tcp_are_ignored(reactor) {
        let folder = Folder::create();
        let (client, server, port) = ends(&reactor, folder.socket()).await?;
        for transport in [client.transport(), server.transport()] {
            assert!(transport.nodelay()?);
            transport.set_nodelay(false)?;
            assert!(transport.nodelay()?);
            transport.set_keepalive(true)?;
            assert!(transport.keepalive()?);
        }
        drop((client, server));
        port.stop().await?;
    }

    async fn each_end_has_the_peers_credentials(reactor) {
        let folder = Folder::create();
        let (client, server, port) = ends(&reactor, folder.socket()).await?;
        for transport in [client.transport(), server.transport()] {
            let peer = transport.peer_credentials()?;
            assert_eq!(u32::try_from(peer.pid).ok(), Some(std::process::id()));
            assert_eq!(peer.uid, rustix::process::getuid().as_raw());
            assert_eq!(peer.gid, rustix::process::getgid().as_raw());
        }
        drop((client, server));
        port.stop().await?;
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let tcp = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(tcp.transport().peer_credentials().unwrap_err().kind(), ErrorKind::Unsupported);
        drop(tcp);
        port.stop().await?;
    }

    async fn a_hundred_connect_at_once_with_a_backlog_of_one(reactor) {
        let folder = Folder::create();
        let options = ListenOptions::new().backlog(1);
        let port = reactor.listen((folder.socket(), &options), |_| Spy::echo())?;
        let connecting: Vec<_> = (0..100).map(|_| reactor.connect_stream(folder.socket())).collect();
        for one in connecting {
            let mut conn = one.await?;
            conn.write_all(b"x").await?;
            conn.read_exact(&mut [0]).await?;
        }
        port.stop().await?;
    }

    async fn a_client_bound_to_a_path_is_identified_by_it(reactor) {
        let folder = Folder::create();
        let own = Address::from_path(folder.path("client"));
        let options = ConnectOptions::new().bind(own.clone());
        let seen = Log::new();
        let to = seen.clone();
        let port = reactor.listen(folder.socket(), move |peer| {
            to.note(&peer);
            Spy::echo()
        })?;
        let conn = reactor.connect_stream((folder.socket(), &options)).await?;
        assert_eq!((conn.peer(), conn.local_addr()?), (folder.socket(), own.clone()));
        until(|| !seen.is_empty()).await;
        assert_eq!(seen.take(), [own.to_string()]);
        drop(conn);
        port.stop().await?;
    }
}

/// In TLS an abort is never an end in good order.
mod without_tls {
    use super::*;

    on_both! {
        async fn an_abort_is_an_end_of_file_or_a_reset_if_bytes_were_unread(reactor) {
            let folder = Folder::create();
            let (mut client, server, port) = ends(&reactor, folder.socket()).await?;
            server.transport().abort_connection();
            assert_eq!(client.read(&mut [0]).await?, 0);
            drop((client, server));
            port.stop().await?;

            let (mut client, server, port) = ends(&reactor, folder.socket()).await?;
            client.write_all(b"never read").await?;
            some_turns().await;
            server.transport().abort_connection();
            assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            drop((client, server));
            port.stop().await?;
        }
    }
}

#[test]
fn a_task_that_only_reads_learns_by_hypers_flush_that_the_loop_could_not_write() {
    use hyper::rt::{Read, ReadBuf, Write};
    torsade::testing::run_on(torsade::Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let listener = UnixListener::bind(folder.path("socket"))?;
        let mut conn = reactor
            .connect_stream(Address::from_path(folder.path("socket")))
            .await?;
        let (peer, _) = listener.accept()?;
        // The peer goes on writing, so reading does not end.
        peer.shutdown(Shutdown::Read)?;
        let (mut space, mut is_written) = ([0; 8], false);
        let failed = poll_fn(move |cx| {
            if !std::mem::replace(&mut is_written, true) {
                assert!(Pin::new(&mut conn).poll_write(cx, b"hello").is_ready());
            }
            if let Poll::Ready(Err(error)) = Pin::new(&mut conn).poll_flush(cx) {
                return Poll::Ready(error);
            }
            let mut buf = ReadBuf::new(&mut space);
            Pin::new(&mut conn)
                .poll_read(cx, buf.unfilled())
                .map(|read| read.unwrap_err())
        });
        // Nothing but its waker polls the task again: a time limit would.
        let log = Log::new();
        let to = log.clone();
        torsade::spawn(async move { to.note(format_args!("{:?}", failed.await.kind())) }).detach();
        until(|| log.has("BrokenPipe")).await;
        drop(peer);
        Ok(())
    });
}
