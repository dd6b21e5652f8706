//! Descriptors passed over UNIX sockets: with their bytes, in order, closed if unused, and limited
//! in number.
#![cfg(target_os = "linux")]

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use torsade::net::ClientEndpoint;

use rustix::io::{FdFlags, fcntl_getfd};
use support::folder::Folder;
use support::passing::send_together;
use support::{HERE, Log, MS, Spy, await_that, cpu_time, ends, some_turns, until};
use torsade::protocols::{LineProtocol, Lines};
use torsade::transport::ConnectionError;
use torsade::{Address, Connection, Context, Failure, Port, Protocol, Reactor, Transport};

/// A protocol that records what it receives, in order; each descriptor by the text that is written
/// to it.
#[derive(Clone, Default)]
struct Taker {
    log: Log,
    kept: Rc<RefCell<Vec<OwnedFd>>>,
    on_descriptor: Option<fn(&Transport)>,
}

impl Protocol for Taker {
    fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
        let flags = fcntl_getfd(&descriptor).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC), "closed on exec");
        self.log.note("descriptor");
        self.kept.borrow_mut().push(descriptor);
        if let Some(hook) = self.on_descriptor {
            hook(cx);
        }
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
        self.log.note(data.escape_ascii());
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.note(support::how(&reason));
    }
}

type Conns = Rc<RefCell<Option<Transport>>>;

/// A protocol that pauses at each descriptor.
struct Pauses(Log, Conns);

impl Protocol for Pauses {
    fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, _descriptor: OwnedFd) {
        self.0.note("descriptor");
        cx.pause_producing();
        self.1.replace(Some(cx.transport().clone()));
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
        self.0.note(data.escape_ascii());
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.0.note(support::how(&reason));
    }
}

fn resume(conns: &Conns) {
    if let Some(transport) = conns.take() {
        transport.resume_producing();
    }
}

/// Pairs of sockets, one end to read and one to pass. (Pipes would need a newer Rust.)
fn pipes(count: usize) -> (Vec<UnixStream>, Vec<UnixStream>) {
    (0..count).map(|_| UnixStream::pair().unwrap()).unzip()
}

/// Returns whether the last copy of the other end was closed, with nothing written. A child that
/// another test starts has copies until it executes its program.
fn is_closed(reader: &UnixStream) -> bool {
    rustix::io::ioctl_fionread(reader).unwrap() == 0 && {
        rustix::fs::fcntl_setfl(reader, rustix::fs::OFlags::NONBLOCK).unwrap();
        matches!((&*reader).read(&mut [0]), Ok(0))
    }
}

/// Returns a client, and the record of a listening protocol.
async fn given(
    reactor: &Reactor,
    folder: &Folder,
    taker: &Taker,
) -> Result<(Connection, Port), Failure> {
    let taker = taker.clone();
    let port = reactor.listen(folder.socket(), move |_| taker.clone())?;
    Ok((reactor.connect_stream(folder.socket()).await?, port))
}

on_both! {
    async fn each_descriptor_arrives_before_its_byte_and_works(reactor) {
        let (folder, taker) = (Folder::create(), Taker::default());
        let (mut conn, port) = given(&reactor, &folder, &taker).await?;
        let (mut readers, writers) = pipes(3);
        conn.write_all(b"first").await?;
        conn.flush().await?;
        until(|| taker.log.has("first")).await;
        for writer in writers {
            conn.send_descriptor(writer)?;
        }
        conn.write_all(b"abcde").await?;
        until(|| taker.log.has("de")).await;
        let order = ["first", "descriptor", "a", "descriptor", "b", "descriptor", "c", "de"];
        assert_eq!(taker.log.take(), order);
        for (number, kept) in taker.kept.take().into_iter().enumerate() {
            File::from(kept).write_all(&[number as u8])?;
        }
        for (number, reader) in readers.iter_mut().enumerate() {
            let mut said = Vec::new();
            reader.read_to_end(&mut said)?;
            assert_eq!(said, [number as u8]);
        }
        drop(conn);
        until(|| taker.log.has("done")).await;
        port.stop().await?;
    }

    async fn a_descriptor_waits_for_a_byte_to_be_sent_with(reactor) {
        let (folder, taker) = (Folder::create(), Taker::default());
        let (mut conn, port) = given(&reactor, &folder, &taker).await?;
        conn.send_descriptor(pipes(1).1.remove(0))?;
        conn.flush().await?;
        some_turns().await;
        assert!(taker.log.is_empty());
        conn.write_all(b"x").await?;
        until(|| taker.log.has("x")).await;
        assert_eq!(taker.log.take(), ["descriptor", "x"]);
        drop(conn);
        until(|| taker.log.has("done")).await;
        port.stop().await?;
    }

    async fn a_descriptor_is_sent_with_bytes_that_are_queued(reactor) {
        let (folder, taker) = (Folder::create(), Taker::default());
        let (conn, port) = given(&reactor, &folder, &taker).await?;
        let transport = conn.transport();
        transport.write("x");
        transport.send_descriptor(pipes(1).1.remove(0))?;
        transport.lose_connection();
        until(|| taker.log.has("done")).await;
        assert_eq!(taker.log.take(), ["descriptor", "x", "done"]);
        drop(conn);
        port.stop().await?;
    }

    async fn more_descriptors_than_bytes_are_an_overrun(reactor) {
        for end in [Transport::lose_connection, Transport::lose_write] {
            let (folder, taker, lost) = (Folder::create(), Taker::default(), Rc::new(Cell::new(None)));
            let (readers, writers) = pipes(3);
            let to = taker.clone();
            let port = reactor.listen(folder.socket(), move |_| to.clone())?;
            let (slot, writers) = (lost.clone(), Cell::new(Some(writers)));
            let client = Spy::new(&Log::new())
                .on_made(move |cx| {
                    for writer in writers.take().unwrap() {
                        cx.send_descriptor(writer).unwrap();
                    }
                    cx.write("x");
                    end(cx);
                })
                .on_lost(move |reason| slot.set(Some(reason.clone())));
            reactor.connect(folder.socket(), client).await?;
            until(|| taker.log.has("done")).await;
            assert_eq!(taker.log.take(), ["descriptor", "x", "done"]);
            let reason = lost.take().unwrap();
            assert_failure!(reason, ConnectionError::DescriptorOverrun { left: 2 });
            await_that(|| is_closed(&readers[1]) && is_closed(&readers[2]));
            port.stop().await?;
        }
    }

    async fn descriptors_sent_after_the_end_are_closed(reactor) {
        let (folder, taker) = (Folder::create(), Taker::default());
        let (conn, port) = given(&reactor, &folder, &taker).await?;
        let (readers, mut writers) = pipes(2);
        conn.transport().lose_connection();
        conn.transport().send_descriptor(writers.remove(0))?;
        await_that(|| is_closed(&readers[0]));
        until(|| taker.log.has("done")).await;
        conn.transport().send_descriptor(writers.remove(0))?;
        await_that(|| is_closed(&readers[1]));
        assert_eq!(taker.log.take(), ["done"]);
        drop(conn);
        port.stop().await?;
    }

    async fn descriptors_that_a_protocol_ignores_are_closed(reactor) {
        struct Plain(Log);
        impl LineProtocol for Plain {
            fn line_received(&mut self, _cx: &mut Context<'_, Self>, line: &[u8]) {
                self.0.note(line.escape_ascii());
            }
        }
        let (folder, log) = (Folder::create(), Log::new());
        let (to, too) = (log.clone(), log.clone());
        let lines = reactor.listen(folder.socket(), move |_| Lines::new(Plain(to.clone())))?;
        let plain = reactor.listen(Address::from_path(folder.path("plain")), move |_| Spy::new(&too))?;
        for port in [&lines, &plain] {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            let (readers, writers) = pipes(20);
            for writer in writers {
                conn.send_descriptor(writer)?;
            }
            conn.write_all(b"still nineteen of them\n").await?;
            until(|| readers.iter().all(is_closed)).await;
            drop(conn);
        }
        until(|| log.has("lost done")).await;
        assert!(log.has("still nineteen of them"));
        lines.stop().await?;
        plain.stop().await?;
    }

    async fn a_wrapped_protocol_receives_descriptors(reactor) {
        struct Wants(Log);
        impl LineProtocol for Wants {
            fn line_received(&mut self, _cx: &mut Context<'_, Self>, _line: &[u8]) {
                self.0.note("line");
            }
            fn descriptor_received(&mut self, _cx: &mut Context<'_, Self>, _descriptor: OwnedFd) {
                self.0.note("descriptor");
            }
        }
        let (folder, log) = (Folder::create(), Log::new());
        let to = log.clone();
        let port = reactor.listen(folder.socket(), move |_| Lines::new(Wants(to.clone())))?;
        let mut conn = reactor.connect_stream(folder.socket()).await?;
        conn.send_descriptor(pipes(1).1.remove(0))?;
        conn.write_all(b"\n").await?;
        until(|| log.has("line")).await;
        assert_eq!(log.take(), ["descriptor", "line"]);
        drop(conn);
        port.stop().await?;
    }

    async fn pausing_at_a_descriptor_stops_delivery_until_resumed(reactor) {
        let (folder, log, conns) = (Folder::create(), Log::new(), Conns::default());
        let (to, kept) = (log.clone(), conns.clone());
        let port = reactor.listen(folder.socket(), move |_| Pauses(to.clone(), kept.clone()))?;
        let mut conn = reactor.connect_stream(folder.socket()).await?;
        let (_readers, writers) = pipes(2);
        for writer in writers {
            conn.send_descriptor(writer)?;
        }
        conn.write_all(b"xyz").await?;
        conn.close().await?;
        until(|| !log.is_empty()).await;
        some_turns().await;
        assert_eq!(log.take(), ["descriptor"]);
        resume(&conns);
        until(|| log.count("descriptor") == 1).await;
        some_turns().await;
        assert_eq!(log.take(), ["x", "descriptor"]);
        resume(&conns);
        until(|| log.has("done")).await;
        assert_eq!(log.take().concat(), "yzdone");
        drop(conn);
        port.stop().await?;
    }

    async fn no_descriptor_arrives_after_lose_connection(reactor) {
        for end in [Transport::lose_connection, Transport::abort_connection] {
            let (folder, mut taker) = (Folder::create(), Taker::default());
            taker.on_descriptor = Some(end);
            let (mut conn, port) = given(&reactor, &folder, &taker).await?;
            let (readers, writers) = pipes(3);
            for writer in writers {
                conn.send_descriptor(writer)?;
            }
            conn.write_all(b"xyz").await?;
            until(|| taker.log.all().len() == 2).await;
            let seen = taker.log.take();
            assert!(seen[0] == "descriptor" && (seen[1] == "done" || seen[1] == "aborted"), "{seen:?}");
            drop(conn);
            until(|| is_closed(&readers[1]) && is_closed(&readers[2])).await;
            port.stop().await?;
        }
    }

    async fn a_hook_that_panics_ends_its_connection(reactor) {
        let reports = support::expect_reports(&reactor);
        let (folder, mut taker) = (Folder::create(), Taker::default());
        taker.on_descriptor = Some(|_| panic!("no, thank you"));
        let (mut conn, port) = given(&reactor, &folder, &taker).await?;
        conn.send_descriptor(pipes(1).1.remove(0))?;
        conn.write_all(b"x").await?;
        until(|| taker.log.all().len() == 2).await;
        assert!(taker.log.take()[1].contains("no, thank you"));
        assert_eq!(reports.take().len(), 1);
        drop(conn);
        port.stop().await?;
    }

    async fn async_code_waits_for_a_descriptor_and_loses_no_bytes(reactor) {
        let folder = Folder::create();
        let (mut client, mut server, port) = ends(&reactor, folder.socket()).await?;
        let waiting = torsade::spawn(async move {
            let first = server.recv_descriptor().await?;
            Ok::<_, Failure>((first.is_some(), server))
        });
        client.write_all(b"before ").await?;
        some_turns().await;
        client.send_descriptor(pipes(1).1.remove(0))?;
        client.send_descriptor(pipes(1).1.remove(0))?;
        client.write_all(b"after").await?;
        let (first, mut server) = waiting.await??;
        assert!(first);
        let mut text = [0; 12];
        server.read_exact(&mut text).await?;
        assert_eq!(&text, b"before after");
        assert!(server.take_descriptor().is_some());
        assert!(server.take_descriptor().is_none());
        client.close().await?;
        assert!(server.recv_descriptor().await?.is_none());
        drop((client, server));
        port.stop().await?;
    }

    async fn the_halves_of_a_connection_pass_descriptors_too(reactor) {
        let folder = Folder::create();
        let (client, server, port) = ends(&reactor, folder.socket()).await?;
        let ((_reader, mut writer), (mut reader, _writer)) = (client.split(), server.split());
        writer.send_descriptor(pipes(1).1.remove(0))?;
        writer.write_all(b"x").await?;
        assert!(reader.recv_descriptor().await?.is_some());
        drop((_reader, writer, reader, _writer));
        port.stop().await?;
    }

    async fn waiting_for_a_descriptor_does_not_buffer_endless_bytes(reactor) {
        let folder = Folder::create();
        let (mut client, mut server, port) = ends(&reactor, folder.socket()).await?;
        client.write_all(&vec![b'x'; 20_000]).await?;
        let error = server.recv_descriptor().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        server.read_exact(&mut [0; 20_000]).await?;
        drop((client, server));
        port.stop().await?;
    }

    async fn few_descriptors_of_an_unread_flood_are_kept(reactor) {
        let folder = Folder::create();
        for (asked, kept) in [(false, 4), (true, 64)] {
            let (client, mut server, port) = ends(&reactor, folder.socket()).await?;
            if asked {
                assert!(server.take_descriptor().is_none());
            }
            let (readers, writers) = pipes(200);
            for writer in writers {
                client.transport().send_descriptor(writer)?;
                client.transport().write("x");
            }
            server.read_exact(&mut [0; 200]).await?;
            let closed = || readers.iter().filter(|reader| is_closed(reader)).count();
            await_that(|| closed() >= 200 - kept);
            assert_eq!(closed(), 200 - kept);
            for _ in 0..kept {
                assert!(server.take_descriptor().is_some());
            }
            assert!(server.take_descriptor().is_none());
            drop((client, server));
            port.stop().await?;
            await_that(|| readers.iter().all(is_closed));
        }
    }

    async fn many_descriptors_arrive_in_order_and_fill_the_queue(reactor) {
        let (folder, taker) = (Folder::create(), Taker::default());
        let (conn, port) = given(&reactor, &folder, &taker).await?;
        let (readers, writers) = pipes(300);
        for writer in writers {
            conn.transport().write("x");
            conn.transport().send_descriptor(writer)?;
        }
        assert!(conn.transport().is_full());
        until(|| taker.log.count("descriptor") == 300).await;
        until(|| !conn.transport().is_full()).await;
        for (mut reader, kept) in readers.into_iter().zip(taker.kept.take()) {
            File::from(kept).write_all(b"!")?;
            reader.read_exact(&mut [0])?;
        }
        drop(conn);
        until(|| taker.log.has("done")).await;
        port.stop().await?;
    }

    async fn at_most_a_thousand_descriptors_are_queued(reactor) {
        let folder = Folder::create();
        let (client, server, port) = ends(&reactor, folder.socket()).await?;
        let null = File::open("/dev/null")?;
        for _ in 0..1024 {
            client.transport().send_descriptor(null.try_clone()?)?;
        }
        let error = client.transport().send_descriptor(null).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        client.transport().abort_connection();
        drop((client, server));
        port.stop().await?;
    }

    async fn other_sockets_pass_no_descriptors(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let (readers, mut writers) = pipes(1);
        let error = conn.send_descriptor(writers.remove(0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        await_that(|| is_closed(&readers[0]));
        conn.write_all(b"x").await?;
        conn.read_exact(&mut [0]).await?;
        drop(conn);
        port.stop().await?;
    }
}

#[test]
fn all_descriptors_of_a_message_arrive_before_its_bytes() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let taker = Taker::default();
        let (ours, theirs) = UnixStream::pair()?;
        reactor
            .connect(ClientEndpoint::adopt(ours), taker.clone())
            .await?;
        for count in [3, 253] {
            let (readers, writers) = pipes(count);
            send_together(&theirs, b"xyz", &writers);
            drop(writers);
            until(|| taker.log.has("xyz")).await;
            assert_eq!(taker.log.count("descriptor"), count);
            assert_eq!(taker.log.take().last().unwrap(), "xyz");
            assert!(!readers.iter().any(is_closed));
            taker.kept.borrow_mut().clear();
            await_that(|| readers.iter().all(is_closed));
        }
        drop(theirs);
        until(|| taker.log.has("done")).await;
        Ok(())
    });
}

/// The system adds the sender's credentials if another user of the socket has requested them.
#[test]
fn descriptors_are_found_after_other_control_messages() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (ours, theirs) = UnixStream::pair()?;
        rustix::net::sockopt::set_socket_passcred(&ours, true)?;
        let mut server = reactor.connect_stream(ClientEndpoint::adopt(ours)).await?;
        let (readers, writers) = pipes(3);
        send_together(&theirs, b"x", &writers);
        drop(writers);
        for reader in &readers {
            assert!(!is_closed(reader));
            drop(server.recv_descriptor().await?.unwrap());
        }
        await_that(|| readers.iter().all(is_closed));
        assert!(server.take_descriptor().is_none());
        server.read_exact(&mut [0]).await?;
        Ok(())
    });
}

#[test]
fn descriptors_after_a_pause_wait_with_their_bytes() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (log, conns) = (Log::new(), Conns::default());
        let (ours, theirs) = UnixStream::pair()?;
        reactor
            .connect(
                ClientEndpoint::adopt(ours),
                Pauses(log.clone(), conns.clone()),
            )
            .await?;
        let (_readers, writers) = pipes(3);
        send_together(&theirs, b"xyz", &writers);
        drop(theirs);
        for _ in 0..3 {
            until(|| !log.is_empty()).await;
            some_turns().await;
            assert_eq!(log.take(), ["descriptor"]);
            resume(&conns);
        }
        until(|| log.has("done")).await;
        assert_eq!(log.take(), ["xyz", "done"]);
        Ok(())
    });
}

/// A control message is received whole, or as far as there is room; the next read finds the rest.
#[test]
fn large_control_messages_leak_at_most_one_descriptor() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        for (asked, kept) in [(false, 4), (true, 64)] {
            let (ours, theirs) = UnixStream::pair()?;
            let mut server = reactor.connect_stream(ClientEndpoint::adopt(ours)).await?;
            if asked {
                assert!(server.take_descriptor().is_none());
            }
            let (readers, writers) = pipes(253);
            for part in [&writers[..63], &writers[63..]] {
                send_together(&theirs, b"x", part);
                server.read_exact(&mut [0]).await?;
            }
            drop(writers);
            let closed = || readers.iter().filter(|reader| is_closed(reader)).count();
            await_that(|| closed() >= 253 - kept);
            assert_eq!(closed(), 253 - kept);
        }
        Ok(())
    });
}

/// The system may add other control messages: here the sender's credentials, with every message.
#[test]
fn other_control_messages_are_ignored() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let taker = Taker::default();
        let (ours, theirs) = UnixStream::pair()?;
        rustix::net::sockopt::set_socket_passcred(&ours, true).map_err(std::io::Error::from)?;
        reactor
            .connect(ClientEndpoint::adopt(ours), taker.clone())
            .await?;
        (&theirs).write_all(b"alone")?;
        until(|| taker.log.has("alone")).await;
        for count in [1, 253] {
            let (readers, writers) = pipes(count);
            send_together(&theirs, b"xyz", &writers);
            until(|| taker.log.has("xyz")).await;
            assert_eq!(taker.log.count("descriptor"), count);
            taker.log.take();
            taker.kept.borrow_mut().clear();
            drop((readers, writers));
        }
        drop(theirs);
        until(|| taker.log.has("done")).await;
        Ok(())
    });
}

#[test]
fn nothing_spins_while_a_descriptor_waits_for_its_byte() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        use torsade::Clock;
        let (ours, _theirs) = UnixStream::pair()?;
        let conn = reactor.connect_stream(ClientEndpoint::adopt(ours)).await?;
        conn.transport().send_descriptor(pipes(1).1.remove(0))?;
        let before = cpu_time();
        reactor.sleep(MS * 20).await?;
        assert!(cpu_time() - before < 5_000);
        conn.transport().abort_connection();
        Ok(())
    });
}
