//! The contract of every driver: each test runs on the machine in all the ways it can be waited on,
//! and in memory.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use super::machine::Machine;
use super::*;

#[test]
fn readiness_is_level_triggered() {
    each(|driver| {
        let (client, server) = pair(driver);
        driver.add(&server, 7, Interest::Read).unwrap();
        assert_eq!(look(driver), []);
        client.write(b"ab").unwrap();
        for left in [2, 1] {
            let event = one(driver);
            assert_eq!(
                (event.key, event.readable(), event.hangup()),
                (7, true, false)
            );
            assert_eq!(one(driver), event, "{left} left");
            assert_eq!(server.read(&mut [0]).unwrap(), 1);
        }
        assert_eq!(look(driver), []);
        assert_eq!(
            server.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

#[test]
fn only_readiness_of_the_interest_is_reported() {
    each(|driver| {
        let (client, server) = pair(driver);
        driver.add(&server, 1, Interest::Read).unwrap();
        client.write(b"x").unwrap();
        one(driver);
        let readiness = |interest| {
            driver.set_interest(&server, 1, interest).unwrap();
            let events = look(driver);
            assert_eq!(events, look(driver));
            let flags = |event: &Event| (event.readable(), event.writable());
            events.first().map(flags)
        };
        assert_eq!(readiness(Interest::None), None);
        assert_eq!(readiness(Interest::Write), Some((false, true)));
        assert_eq!(readiness(Interest::Both), Some((true, true)));
        assert_eq!(readiness(Interest::Read), Some((true, false)));
        assert_eq!(readiness(Interest::None), None);
        driver.set_interest(&server, 9, Interest::Read).unwrap();
        assert_eq!(one(driver).key, 9);
        driver.remove(&server).unwrap();
        assert_eq!(look(driver), []);
    });
}

#[test]
fn adding_a_source_twice_or_changing_an_unknown_source_fails() {
    each(|driver| {
        let (client, server) = pair(driver);
        let change = driver.set_interest(&client, 1, Interest::Read);
        assert_eq!(change.unwrap_err().kind(), ErrorKind::NotFound);
        driver.add(&client, 1, Interest::Read).unwrap();
        let again = driver.add(&client, 2, Interest::Read);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        driver.remove(&client).unwrap();
        driver.remove(&client).unwrap();
        driver.remove(&server).unwrap();
        for key in [usize::MAX, usize::MAX - 1] {
            let reserved = driver.add(&server, key, Interest::Read);
            assert_eq!(reserved.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_source_without_interest_reports_its_hang_up_at_most_once() {
    each(|driver| {
        let (client, server) = pair(driver);
        driver.add(&server, 3, Interest::None).unwrap();
        client.reset_on_close().unwrap();
        drop(client);
        until(driver, || server.peer_addr().err());
        let readiness = |interest| {
            driver.set_interest(&server, 3, interest).unwrap();
            (0..50).map(|_| look(driver).len()).sum::<usize>()
        };
        assert!((0..50).map(|_| look(driver).len()).sum::<usize>() <= 1);
        assert!(readiness(Interest::None) <= 1);
        assert_eq!(readiness(Interest::Write), 50);
        driver.set_interest(&server, 3, Interest::Read).unwrap();
        let event = one(driver);
        assert!(event.hangup() && event.readable());
        driver.remove(&server).unwrap();
    });
}

#[test]
fn a_wake_from_another_thread_ends_a_wait() {
    each(|driver| {
        let waker = driver.waker();
        let (asked, asking) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || asking.iter().for_each(|()| waker.wake()));
        for _ in 0..200 {
            asked.send(()).unwrap();
            assert_eq!(wait(driver, None), []);
        }
        drop(asked);
        thread.join().unwrap();
    });
}

#[test]
fn a_wake_before_the_wait_is_not_lost_and_several_count_as_one() {
    each(|driver| {
        let waker = driver.waker();
        for _ in 0..3 {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..25).for_each(|_| waker.wake()));
                }
            });
            let before = driver.now();
            let began = Instant::now();
            assert_eq!(wait(driver, Some(GUARD)), []);
            assert!(began.elapsed() < GUARD);
            if driver.is_virtual() {
                assert_eq!(driver.now(), before, "a wake takes no time");
            }
            let before = driver.now();
            // A notification that raced with the flag may end one more wait, not two.
            assert_eq!(wait(driver, Some(SHORT)), []);
            assert_eq!(wait(driver, Some(SHORT)), []);
            assert!(driver.now() >= before + SHORT);
        }
    });
}

#[test]
fn a_wake_does_not_hide_events() {
    each(|driver| {
        let (client, server) = pair(driver);
        driver.add(&server, 4, Interest::Read).unwrap();
        client.write(b"x").unwrap();
        driver.waker().wake();
        assert_eq!(one(driver).key, 4);
        assert_eq!(one(driver).key, 4);
        driver.remove(&server).unwrap();
    });
}

#[test]
fn a_waker_outlives_its_driver() {
    let mut wakers = Vec::new();
    for (_, driver) in drivers() {
        wakers.push(driver.waker());
        drop(driver);
    }
    for waker in wakers {
        thread::spawn(move || waker.wake()).join().unwrap();
    }
}

#[test]
fn a_timeout_is_never_early() {
    each(|driver| {
        for micros in [1, 50, 999, 1_000, 1_001, 5_300] {
            let timeout = Duration::from_micros(micros);
            let before = driver.now();
            assert_eq!(wait(driver, Some(timeout)), []);
            let after = driver.now();
            assert!(after >= before + timeout, "{timeout:?}");
            if driver.is_virtual() {
                assert_eq!(after, before + timeout);
            }
        }
        let began = Instant::now();
        assert_eq!(wait(driver, Some(Duration::ZERO)), []);
        driver.waker().wake();
        assert_eq!(wait(driver, Some(Duration::MAX)), []);
        assert!(began.elapsed() < GUARD);
    });
}

#[test]
fn a_wake_makes_the_pollers_descriptor_readable() {
    each(|driver| {
        let outer = Driver::machine().unwrap();
        driver.prepare_to_lend(|_| true).unwrap();
        let inner = Descriptor(driver.as_fd());
        outer.add(&inner, 1, Interest::Read).unwrap();
        for _ in 0..3 {
            // A thread may serve the descriptor, and take a moment.
            until(&outer, || look(&outer).is_empty().then_some(()));
            driver.waker().wake();
            assert_eq!(one(&outer).key, 1);
            assert_eq!(look(driver), []);
        }
        outer.remove(&inner).unwrap();
    });
}

#[test]
fn a_descriptor_can_be_watched_on_the_machine_only() {
    each(|driver| {
        let (one_end, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        let source = Descriptor(one_end.as_fd());
        let added = driver.add(&source, 5, Interest::Read);
        if driver.is_virtual() {
            assert_eq!(added.unwrap_err().kind(), ErrorKind::Unsupported);
            return;
        }
        io::Write::write_all(&mut other, b"x").unwrap();
        assert_eq!(one(driver).key, 5);
        driver.remove(&source).unwrap();
        let memory = Driver::memory(None).unwrap();
        let (client, _server) = pair(&memory);
        let added = driver.add(&client, 6, Interest::Read);
        assert_eq!(added.unwrap_err().kind(), ErrorKind::Unsupported);
    });
}

#[test]
fn both_ends_of_a_connection_agree_on_the_addresses() {
    each(|driver| {
        let listener = listen(driver);
        let addr = listener.local_addr().unwrap();
        assert_ne!(addr.port(), Some(0));
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        driver.add(&listener, 1, Interest::Read).unwrap();
        let client = driver.connect(&addr, None, Buffers::default()).unwrap();
        assert_eq!(one(driver).key, 1);
        let (server, from) = listener.accept().unwrap();
        assert_eq!(look(driver), []);
        assert!(until(driver, || client
            .connected()
            .unwrap()
            .then_some(true)));
        assert_eq!(server.peer_addr().unwrap(), from);
        assert_eq!(client.local_addr().unwrap(), from);
        assert_eq!(client.peer_addr().unwrap(), addr);
        assert_eq!(server.local_addr().unwrap(), addr);
        for socket in [&client, &server] {
            assert!(socket.nodelay().unwrap());
            socket.set_nodelay(false).unwrap();
            assert!(!socket.nodelay().unwrap());
            assert!(!socket.keepalive().unwrap());
            socket.set_keepalive(true).unwrap();
            assert!(socket.keepalive().unwrap());
        }
        driver.remove(&listener).unwrap();
    });
}

#[test]
fn a_connection_comes_from_the_requested_address() {
    each(|driver| {
        let listener = listen(driver);
        let bind = at("127.0.0.2:0");
        let addr = listener.local_addr().unwrap();
        let client = driver
            .connect(&addr, Some(&bind), Buffers::default())
            .unwrap();
        let (_, from) = until(driver, || unblocked(listener.accept()));
        assert_eq!(from, client.local_addr().unwrap());
        assert_eq!(from.ip(), bind.ip());
        assert_ne!(from.port(), Some(0));
        let wrong = driver.connect(&addr, Some(&at("[::1]:0")), Buffers::default());
        wrong.unwrap_err();
    });
}

#[test]
fn only_one_listener_can_bind_an_address() {
    each(|driver| {
        let (one, other) = (listen(driver), listen(driver));
        let addr = one.local_addr().unwrap();
        assert_ne!(addr, other.local_addr().unwrap());
        for reuse in [false, true] {
            for taken in [addr.clone(), ([0, 0, 0, 0], addr.port().unwrap()).into()] {
                let again = driver.listen(
                    &taken,
                    &Bind {
                        backlog: 8,
                        reuse_address: reuse,
                        ..Bind::default()
                    },
                );
                assert_eq!(again.unwrap_err().kind(), ErrorKind::AddrInUse);
            }
        }
        drop(one);
        driver.listen(&addr, &Bind::default()).unwrap();
    });
}

#[test]
fn a_listener_at_the_unspecified_address_accepts_all_connections() {
    each(|driver| {
        for (any, to) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let Ok(listener) = driver.listen(&at(any), &Bind::default()) else {
                assert!(any.contains(':') && !driver.is_virtual());
                continue;
            };
            let port = listener.local_addr().unwrap().port().unwrap();
            let addr: Address = (to.parse::<IpAddr>().unwrap(), port).into();
            let client = driver.connect(&addr, None, Buffers::default()).unwrap();
            let (server, from) = until(driver, || unblocked(listener.accept()));
            assert_eq!(server.local_addr().unwrap(), addr);
            assert_eq!(from, client.local_addr().unwrap());
            if addr.ip().unwrap().is_ipv6() {
                let v4 = Address::from(([127, 0, 0, 1], port));
                refused(driver, &v4);
            }
        }
    });
}

#[test]
fn a_refused_connection_reports_its_error_once() {
    each(|driver| {
        let (addr, _bound) = closed(driver);
        refused(driver, &addr);
    });
}

#[test]
fn bytes_written_in_parts_arrive_complete() {
    each(|driver| {
        let (client, server) = pair(driver);
        driver.add(&client, 1, Interest::Both).unwrap();
        driver.add(&server, 2, Interest::Read).unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut at, mut echoed, mut back) = (0, Vec::new(), Vec::new());
        let (mut buffer, mut partial) = (vec![0; 50_000], false);
        while back.len() < sent.len() {
            for event in wait(driver, Some(GUARD)) {
                if event.key == 1 && event.writable() && at < sent.len() {
                    let count = client.write(&sent[at..]).unwrap();
                    at += count;
                    partial |= at < sent.len();
                    if at == sent.len() {
                        driver.set_interest(&client, 1, Interest::Read).unwrap();
                    }
                }
                if event.key == 1 && event.readable() {
                    let count = client.read(&mut buffer).unwrap();
                    back.extend_from_slice(&buffer[..count]);
                }
                if event.key == 2 && event.readable() {
                    let count = server.read(&mut buffer).unwrap();
                    echoed.extend_from_slice(&buffer[..count]);
                }
            }
            match server.write(&echoed) {
                Ok(count) => drop(echoed.drain(..count)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(back == sent);
        assert!(partial || !driver.is_virtual(), "a kernel may take it all");
        driver.remove(&client).unwrap();
        driver.remove(&server).unwrap();
    });
}

#[test]
fn a_full_socket_becomes_writable_when_the_peer_reads() {
    each(|driver| {
        let (client, server) = pair(driver);
        driver.add(&client, 1, Interest::Write).unwrap();
        let mut written = 0;
        let error = loop {
            match client.write(&[b'x'; 10_000]) {
                Ok(count) => written += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let mut buffer = vec![0; 1 << 20];
        while written > 0 {
            let read = until(driver, || unblocked(server.read(&mut buffer)));
            assert_ne!(read, 0);
            written -= read;
        }
        assert!(one(driver).writable());
        driver.remove(&client).unwrap();
    });
}

#[test]
fn pieces_are_written_in_order() {
    each(|driver| {
        let (client, server) = pair(driver);
        let pieces: Vec<[u8; 1]> = (0..1_500).map(|n| [(n % 256) as u8]).collect();
        let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let count = client.write_vectored(&slices).unwrap();
        assert!(count >= 1_024);
        let mut read = Vec::new();
        while read.len() < count {
            let mut buffer = [0; 4_096];
            let more = until(driver, || unblocked(server.read(&mut buffer)));
            read.extend_from_slice(&buffer[..more]);
        }
        assert_eq!(read, pieces.concat()[..count]);
    });
}

#[test]
fn shutting_down_one_direction_leaves_the_other_open() {
    each(|driver| {
        let (client, server) = pair(driver);
        driver.add(&server, 1, Interest::Read).unwrap();
        client.write(b"bye").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let error = client.write(b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let mut buffer = [0; 8];
        assert_eq!(until(driver, || unblocked(server.read(&mut buffer))), 3);
        assert_eq!(until(driver, || unblocked(server.read(&mut buffer))), 0);
        let event = one(driver);
        assert!(
            event.readable() && !event.hangup(),
            "the end is reported, and continues to be"
        );
        server.write(b"reply").unwrap();
        assert_eq!(until(driver, || unblocked(client.read(&mut buffer))), 5);
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(until(driver, || unblocked(client.read(&mut buffer))), 0);
        let hangup = || {
            look(driver)
                .first()
                .and_then(|event| event.hangup().then_some(()))
        };
        until(driver, hangup);
        driver.remove(&server).unwrap();
    });
}

#[test]
fn a_peer_that_closed_reads_as_the_end_and_then_breaks_writes() {
    each(|driver| {
        let (client, server) = pair(driver);
        client.write(b"last").unwrap();
        drop(client);
        let mut buffer = [0; 8];
        assert_eq!(until(driver, || unblocked(server.read(&mut buffer))), 4);
        assert_eq!(until(driver, || unblocked(server.read(&mut buffer))), 0);
        assert_eq!(server.write(b"anyone").unwrap(), 6);
        let error = until(driver, || server.write(b"?").err());
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(server.read(&mut buffer).unwrap(), 0);
    });
}

#[test]
fn the_peer_of_an_aborted_connection_reads_a_reset() {
    each(|driver| {
        for unread in [false, true] {
            let (client, server) = pair(driver);
            driver.add(&server, 1, Interest::Both).unwrap();
            if unread {
                server.write(b"unread").unwrap();
                driver.add(&client, 2, Interest::Read).unwrap();
                until(driver, || {
                    look(driver).iter().find(|event| event.key == 2).copied()
                });
                driver.remove(&client).unwrap();
            } else {
                client.reset_on_close().unwrap();
            }
            drop(client);
            let hangup = || {
                look(driver)
                    .first()
                    .and_then(|event| event.hangup().then_some(()))
            };
            until(driver, hangup);
            let error = server.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert!(error.raw_os_error().is_some());
            assert_eq!(server.read(&mut [0; 8]).unwrap(), 0);
            let error = server.write(b"x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            let error = server.peer_addr().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
            driver.remove(&server).unwrap();
        }
    });
}

#[test]
fn closing_a_listener_resets_the_connections_that_were_not_accepted() {
    each(|driver| {
        let listener = listen(driver);
        let client = driver
            .connect(&listener.local_addr().unwrap(), None, Buffers::default())
            .unwrap();
        assert!(until(driver, || client
            .connected()
            .unwrap()
            .then_some(true)));
        drop(listener);
        let error = until(driver, || client.take_error().unwrap());
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_client_that_left_before_it_was_accepted_is_still_accepted() {
    each(|driver| {
        let listener = listen(driver);
        let client = driver
            .connect(&listener.local_addr().unwrap(), None, Buffers::default())
            .unwrap();
        client.write(b"hi").unwrap();
        drop(client);
        let (server, _) = until(driver, || unblocked(listener.accept()));
        let mut buffer = [0; 8];
        assert_eq!(until(driver, || unblocked(server.read(&mut buffer))), 2);
        assert_eq!(until(driver, || unblocked(server.read(&mut buffer))), 0);
    });
}

#[test]
fn an_urgent_byte_arrives_inline_and_the_loop_does_not_spin() {
    each(|driver| {
        let (client, server) = pair(driver);
        let Socket::Machine(urgent) = &client else {
            return;
        };
        driver.add(&server, 1, Interest::Read).unwrap();
        urgent.send(b"a").unwrap();
        urgent.send_out_of_band(b"!").unwrap();
        let mut read = Vec::new();
        while read.len() < 2 {
            let mut buffer = [0; 8];
            let count = until(driver, || unblocked(server.read(&mut buffer)));
            read.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(read, b"a!");
        assert_eq!(look(driver), []);
        driver.remove(&server).unwrap();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn linux_waits_on_the_pollers_descriptor() {
    let driver = Driver::machine_with(Some(Poller::Epoll)).unwrap();
    assert!(matches!(driver, Driver::Machine(machine) if machine.is_direct()));
}

#[test]
fn a_notification_by_other_code_does_not_make_the_loop_spin() {
    each(|driver| {
        let Driver::Machine(machine) = driver else {
            return;
        };
        let (client, server) = pair(driver);
        driver.add(&server, 1, Interest::Read).unwrap();
        if !machine.notify() {
            return driver.remove(&server).unwrap();
        }
        assert_eq!(wait(driver, Some(GUARD)), []);
        client.write(b"x").unwrap();
        one(driver);
        machine.notify();
        assert_eq!(wait(driver, Some(GUARD)), [one(driver)]);
        server.read(&mut [0]).unwrap();
        let before = driver.now();
        assert_eq!(wait(driver, Some(SHORT)), []);
        assert!(driver.now() >= before + SHORT);
        driver.remove(&server).unwrap();
    });
}

#[test]
fn virtual_time_goes_forward_only() {
    let driver = Driver::memory(None).unwrap();
    let start = driver.now();
    driver.set_now(start + SHORT);
    driver.set_now(start);
    assert_eq!(driver.now(), start + SHORT);
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    wait(&driver, Some(year));
    assert_eq!(driver.now(), start + SHORT + year);
    let (client, server) = pair(&driver);
    driver.add(&server, 1, Interest::Read).unwrap();
    client.write(b"x").unwrap();
    let before = driver.now();
    assert_eq!(wait(&driver, Some(year)).len(), 1);
    assert_eq!(driver.now(), before, "events take no time");
    let machine = Driver::machine().unwrap();
    machine.set_now(start + year);
    assert!(machine.now() < start + year);
}

#[test]
fn in_memory_events_come_in_the_order_of_their_keys() {
    let driver = Driver::memory(None).unwrap();
    let pairs: Vec<_> = (0..20).map(|_| pair(&driver)).collect();
    for (n, (_, server)) in pairs.iter().enumerate() {
        driver.add(server, n * 7 % 20, Interest::Read).unwrap();
    }
    for (client, _) in pairs.iter().rev() {
        client.write(b"x").unwrap();
    }
    let keys: Vec<_> = look(&driver).iter().map(|event| event.key).collect();
    assert_eq!(keys, (0..20).collect::<Vec<_>>());
}

#[test]
fn in_memory_a_full_backlog_refuses() {
    let driver = Driver::memory(None).unwrap();
    let addr = at("10.1.2.3:80");
    let listener = driver
        .listen(
            &addr,
            &Bind {
                backlog: 2,
                reuse_address: false,
                ..Bind::default()
            },
        )
        .unwrap();
    let clients = [(); 2].map(|()| driver.connect(&addr, None, Buffers::default()).unwrap());
    refused(&driver, &addr);
    listener.accept().unwrap();
    let third = driver.connect(&addr, None, Buffers::default()).unwrap();
    assert!(third.connected().unwrap());
    drop((clients, third, listener));
    refused(&driver, &addr);
}

#[test]
fn in_memory_ports_are_reused() {
    let driver = Driver::memory(None).unwrap();
    let listener = listen(&driver);
    let addr = listener.local_addr().unwrap();
    for _ in 0..70_000 {
        let client = driver.connect(&addr, None, Buffers::default()).unwrap();
        assert_ne!(client.local_addr().unwrap(), addr);
        drop(client);
        drop(listener.accept().unwrap());
    }
    let bind = Some(at("127.0.0.1:5000"));
    let client = driver
        .connect(&addr, bind.as_ref(), Buffers::default())
        .unwrap();
    let again = driver
        .connect(&addr, bind.as_ref(), Buffers::default())
        .unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AddrInUse);
    drop(client);
    driver
        .connect(&addr, bind.as_ref(), Buffers::default())
        .unwrap();
}

/// Returns every kind of driver, by name.
fn drivers() -> Vec<(&'static str, Driver)> {
    vec![
        ("machine", Driver::machine().unwrap()),
        #[cfg(target_os = "linux")]
        ("coarse", Driver::Machine(Machine::coarse())),
        ("portable", Driver::Machine(Machine::portable())),
        ("oneshot", Driver::Machine(Machine::oneshot())),
        ("poll", Driver::machine_with(Some(Poller::Poll)).unwrap()),
        ("memory", Driver::memory(None).unwrap()),
    ]
}

/// Runs `test` on each; the last name printed is the one that failed.
fn each(test: impl Fn(&Driver)) {
    for (name, driver) in drivers() {
        println!("on {name}");
        test(&driver);
    }
}

fn listen(driver: &Driver) -> Listener {
    driver.listen(&at("127.0.0.1:0"), &Bind::default()).unwrap()
}

/// Makes a client and a server that are connected.
fn pair(driver: &Driver) -> (Socket, Socket) {
    let listener = listen(driver);
    let addr = listener.local_addr().unwrap();
    let client = driver.connect(&addr, None, Buffers::default()).unwrap();
    let (server, _) = until(driver, || unblocked(listener.accept()));
    assert!(until(driver, || client
        .connected()
        .unwrap()
        .then_some(true)));
    (client, server)
}

/// Parses an address.
fn at(text: &str) -> Address {
    text.parse::<SocketAddr>().unwrap().into()
}

/// Returns an address at which nothing listens. On the machine the socket with it keeps other
/// programs from listening there.
fn closed(driver: &Driver) -> (Address, Option<socket2::Socket>) {
    if driver.is_virtual() {
        return (listen(driver).local_addr().unwrap(), None);
    }
    let socket = socket2::Socket::new(Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (addr.into(), Some(socket))
}

/// Checks that a connection to `addr` is refused, and reported as a kernel does.
#[track_caller]
fn refused(driver: &Driver, addr: &Address) {
    let client = driver.connect(addr, None, Buffers::default()).unwrap();
    driver.add(&client, 2, Interest::Write).unwrap();
    let event = one(driver);
    assert!(event.writable() && event.hangup());
    let error = client.connected().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(error.raw_os_error().is_some());
    assert!(!client.connected().unwrap());
    driver.remove(&client).unwrap();
}

fn wait(driver: &Driver, timeout: Option<Duration>) -> Vec<Event> {
    let mut events = Vec::new();
    driver.wait(timeout, &mut events).unwrap();
    events
}

/// Returns the present events.
fn look(driver: &Driver) -> Vec<Event> {
    wait(driver, Some(Duration::ZERO))
}

/// Returns the one event that is there, or comes soon.
#[track_caller]
fn one(driver: &Driver) -> Event {
    let events = until(driver, || {
        Some(wait(driver, Some(SHORT))).filter(|events| !events.is_empty())
    });
    assert_eq!(events.len(), 1);
    events[0]
}

/// Waits for the kernel to do its part.
#[track_caller]
fn until<T>(driver: &Driver, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(!driver.is_virtual(), "in memory nothing takes time");
        assert!(began.elapsed() < GUARD, "it never came");
        thread::yield_now();
    }
}

/// Returns `None` when the call would block.
#[track_caller]
fn unblocked<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        result => Some(result.unwrap()),
    }
}

/// Longer than anything takes.
const GUARD: Duration = Duration::from_secs(20);

/// Short, but longer than a look without waiting.
const SHORT: Duration = Duration::from_millis(5);
