//! Connecting: `connect`, `connect_stream`, and their errors.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;

use support::{
    HERE, Log, MS, Spy, expect_reports, free_addr, nowhere, own, poll_once, some_turns, until,
};
use torsade::net::{ConnectError, ConnectOptions};
use torsade::{Cancelled, Clock, ConnectionError, Context, Deferred, Protocol, Reactor, Resolver};

on_all! {
    async fn connection_made_comes_first_then_data_then_connection_lost(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| {
            Spy::new(&Log::new()).on_made(|cx| {
                cx.write("hello");
                cx.lose_connection();
            })
        })?;
        reactor.connect(port.local_addr(), Spy::new(&log)).await?;
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["made", "data hello", "eof", "lost done"]);
        port.stop().await?;
    }

    async fn a_resolver_in_a_protocol_that_never_connects_is_dropped_after_the_failure_was_seen(reactor) {
        struct Ask(#[expect(dead_code, reason = "it is dropped")] Resolver<u32>);
        impl Protocol for Ask {}

        for cancels in [false, true] {
            let to = nowhere(&reactor).await?;
            let (answer, resolver) = Deferred::<u32>::pair();
            let asking = reactor.connect(to, Ask(resolver)).add_callback(|_| answer);
            if cancels {
                asking.cancel();
            }
            asking.await.unwrap_err();

            let (answer, resolver) = Deferred::<u32>::pair();
            let connecting = reactor.connect(to, Ask(resolver));
            if cancels {
                connecting.cancel();
            }
            let asking = async {
                connecting.await?;
                answer.await
            };
            asking.await.unwrap_err();
        }
        some_turns().await;
        // Reports would fail the test.
    }

    async fn nothing_happens_inside_the_call(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let connecting = reactor.connect(port.local_addr(), Spy::new(&log));
        assert!(log.is_empty() && !connecting.is_settled());
        let handle = connecting.await?;
        assert_eq!(log.take(), ["made"]);
        handle.transport().unwrap().lose_connection();
        port.stop().await?;
    }

    async fn several_addresses_to_connect_to_are_tried_in_order(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let all = [nowhere(&reactor).await?, nowhere(&reactor).await?, port.local_addr().inet().unwrap()];
        let handle = reactor.connect(&all[..], Spy::new(&log)).await?;
        assert_eq!(handle.transport().unwrap().peer(), port.local_addr());
        assert_eq!(log.take(), ["made"]);
        handle.transport().unwrap().lose_connection();
        port.stop().await?;
    }

    async fn the_failure_is_that_of_the_only_address_or_of_all(reactor) {
        let all = [nowhere(&reactor).await?, nowhere(&reactor).await?];
        let failure = reactor.connect(all[1], Spy::echo()).await.unwrap_err();
        let (address, error) = expect_error!(failure, ConnectError::Refused { address, error } => (address, error));
        assert_eq!(*address, all[1]);
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        #[cfg(unix)]
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        assert_eq!(failure.location().file(), file!());

        let failure = reactor.connect(&all[..], Spy::echo()).await.unwrap_err();
        let attempts = expect_error!(failure, ConnectError::AllFailed { attempts } => attempts);
        assert_eq!(failure.location().file(), file!());
        for ((address, why), tried) in attempts.iter().zip(all) {
            assert_eq!((address, expect_error!(why, ConnectError::Refused { address, .. } => address)), (&tried.into(), &tried.into()));
        }
        let source = failure.chain().nth(1).unwrap().downcast_ref();
        assert!(matches!(source, Some(ConnectError::Refused { address, .. }) if *address == all[1]));
    }

    async fn an_empty_list_has_its_own_error(reactor) {
        let none: [SocketAddr; 0] = [];
        let failure = reactor.connect(&none[..], Spy::echo()).await.unwrap_err();
        assert!(matches!(failure.trap()?, ConnectError::NoAddress));
    }

    async fn an_address_that_cannot_be_bound_keeps_its_errno(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let options = ConnectOptions::new().bind(([0, 0, 0, 0, 0, 0, 0, 1], 0));
        let failure = reactor.connect((port.local_addr(), &options), Spy::echo())
            .await
            .unwrap_err();
        let (address, error) = expect_error!(failure, ConnectError::Failed { address, error } => (address, error));
        assert!(error.raw_os_error().is_some());
        assert_eq!(*address, port.local_addr());
        port.stop().await?;
    }

    async fn cancelling_before_the_first_turn_works(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let connecting = reactor.connect(port.local_addr(), Spy::new(&log));
        connecting.cancel();
        connecting.await.unwrap_err().trap::<Cancelled>()?;
        some_turns().await;
        assert!(log.is_empty());
        port.stop().await?;
    }

    async fn dropping_the_awaited_deferred_cancels(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let mut connecting = reactor.connect(port.local_addr(), Spy::new(&log));
        assert!(poll_once(&mut connecting).await.is_pending());
        drop(connecting);
        some_turns().await;
        assert!(log.is_empty());
        port.stop().await?;
    }

    async fn dropping_a_deferred_that_was_never_awaited_connects_all_the_same(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        drop(reactor.connect(port.local_addr(), Spy::new(&log).on_made(|cx| cx.lose_connection())));
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["made", "lost done"]);
        port.stop().await?;
    }

    async fn a_stream_is_connected_and_echoed(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(conn.peer(), port.local_addr());
        conn.write_all(b"ping").await?;
        let mut buf = [0; 4];
        conn.read_exact(&mut buf).await?;
        assert_eq!(&buf, b"ping");
        drop(conn);
        port.stop().await?;
    }

    async fn a_handle_does_not_keep_the_connection(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let handle = reactor.connect(port.local_addr(), Spy::new(&log)).await?;
        assert!(handle.is_connected());
        let transport = handle.transport().unwrap();
        transport.lose_connection();
        until(|| !handle.is_connected()).await;
        assert_eq!(log.take(), ["made", "lost done"]);
        let failure = handle.ask(|_, _| ()).await.unwrap_err();
        assert!(matches!(failure.find(), Some(ConnectionError::Done)), "{failure:?}");
        handle.post(|_, _| unreachable!());
        assert_eq!(transport.peer(), port.local_addr());
        assert!(transport.local_addr().is_err() && transport.reason().is_some());
        port.stop().await?;
    }

    async fn connecting_over_ipv6_works(reactor) {
        let Ok(port) = reactor.listen("[::1]:0", |_| Spy::echo()) else {
            return Ok(()); // not on this machine
        };
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        assert!(conn.peer().ip().unwrap().is_ipv6() && conn.local_addr()?.ip().unwrap().is_ipv6());
        conn.write_all(b"6").await?;
        conn.read_exact(&mut [0]).await?;
        drop(conn);
        port.stop().await?;
    }

    async fn a_panic_in_connection_made_is_the_reason_of_the_end(reactor) {
        let log = Log::new();
        let reports = expect_reports(&reactor);
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let spy = Spy::new(&log).on_made(|_| panic!("oh"));
        let _ = reactor.connect(port.local_addr(), spy).await;
        until(|| log.has("lost panicked: oh")).await;
        assert_eq!(log.take(), ["made", "lost panicked: oh"]);
        assert_eq!(reports.borrow().len(), 1);
        assert_eq!(reports.borrow()[0].location().file(), file!());
        port.stop().await?;
    }

    async fn a_protocol_that_was_never_connected_may_panic_while_it_is_dropped(reactor) {
        struct Bomb;
        impl Protocol for Bomb {
            fn data_received(&mut self, _: &mut Context<'_, Self>, _: &[u8]) {}
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("boom");
            }
        }
        let reports = expect_reports(&reactor);
        let nowhere = nowhere(&reactor).await?;
        let failure = reactor.connect(nowhere, Bomb).await.unwrap_err();
        assert!(matches!(failure.trap()?, ConnectError::Refused { .. }));
        let connecting = reactor.connect(nowhere, Bomb);
        connecting.cancel();
        assert!(connecting.await.is_err());
        until(|| reports.borrow().len() == 2).await;
        reactor.sleep(MS).await?;
    }

    async fn a_hundred_connect_at_once(reactor) {
        let made = Rc::new(RefCell::new(0));
        let count = made.clone();
        let port = reactor.listen(HERE, move |_| {
            *count.borrow_mut() += 1;
            Spy::echo()
        })?;
        let all: Vec<_> = (0..40).map(|_| reactor.connect_stream(port.local_addr())).collect();
        for (n, connecting) in all.into_iter().enumerate() {
            let mut conn = connecting.await?;
            conn.write_all(&[n as u8]).await?;
            let mut buf = [0];
            conn.read_exact(&mut buf).await?;
            assert_eq!(buf, [n as u8]);
        }
        assert_eq!(*made.borrow(), 40);
        port.stop().await?;
    }

}

/// A listener whose queue is full accepts no connection and sends nothing.
#[test]
fn a_connect_that_takes_too_long_times_out_and_the_next_address_is_tried() {
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = HERE.parse().unwrap();
    deaf.bind(&any.into()).unwrap();
    deaf.listen(0).unwrap();
    let address = deaf.local_addr().unwrap().as_socket().unwrap();
    let _waiting = std::net::TcpStream::connect(address).unwrap();
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let options = ConnectOptions::new().timeout(MS * 10);
        let connecting = reactor.connect((address, &options), Spy::echo());
        let failure = connecting.await.unwrap_err();
        assert_eq!(
            expect_error!(failure, ConnectError::TimedOut { address, limit, .. } => (address.clone(), *limit)),
            (address.into(), Some(MS * 10))
        );

        let options = ConnectOptions::new()
            .timeout(MS * 200)
            .overall_timeout(MS * 20_000);
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let both = [address, port.local_addr().inet().unwrap()];
        let conn = reactor.connect_stream((&both[..], &options)).await?;
        assert_eq!(conn.peer(), port.local_addr());
        drop(conn);

        // Or in parallel, when the first has been silent for a while.
        let options = ConnectOptions::new().attempt_delay(MS * 10);
        let start = reactor.now();
        let conn = reactor.connect_stream((&both[..], &options)).await?;
        assert_eq!(conn.peer(), port.local_addr());
        assert!(reactor.now() - start >= MS * 10);
        drop(conn);

        // Cancelled while under way.
        let log = Log::new();
        let connecting = reactor.connect(address, Spy::new(&log));
        reactor.sleep(MS).await?;
        connecting.cancel();
        connecting.await.unwrap_err().trap::<Cancelled>()?;
        assert!(log.is_empty());
        port.stop().await
    });
}

#[test]
fn stopping_the_reactor_fails_connecting_attempts() {
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = HERE.parse().unwrap();
    deaf.bind(&any.into()).unwrap();
    deaf.listen(0).unwrap();
    let address = deaf.local_addr().unwrap().as_socket().unwrap();
    let _waiting = std::net::TcpStream::connect(address).unwrap();
    let log = Log::new();
    let reactor = Reactor::new().unwrap();
    let (to, stop) = (log.clone(), reactor.clone());
    drop(
        reactor
            .connect(address, Spy::new(&log))
            .add_both(move |result| to.note(support::how(&result.unwrap_err()))),
    );
    reactor.call_later(MS * 2, move || stop.stop().unwrap());
    reactor.run().unwrap();
    assert_eq!(log.take(), ["stopped"]);
}

/// TCP connects a client to itself whose own port is the one that it connects to, when nothing
/// listens there.
#[cfg(unix)]
mod to_itself {
    use super::*;

    fn bound_to(port: SocketAddr) -> ConnectOptions {
        ConnectOptions::new().bind(port)
    }

    on_both! {
        async fn a_connection_to_its_own_socket_is_refused(reactor) {
            let here = free_addr(&reactor).await?;
            let failure = reactor.connect_stream((here, &bound_to(here))).await.unwrap_err();
            assert_eq!(*expect_error!(failure, ConnectError::Refused { address, .. } => address), here);
            let error = failure.find::<std::io::Error>().unwrap();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }

        async fn the_wildcard_address_is_recognised_too(reactor) {
            let here = free_addr(&reactor).await?;
            let wildcard = SocketAddr::from(([0, 0, 0, 0], here.port()));
            let failure = reactor.connect_stream((wildcard, &bound_to(here))).await.unwrap_err();
            assert!(is_error!(failure, ConnectError::Refused { .. }), "{failure:?}");
        }

        async fn it_leaves_the_port_free(reactor) {
            let here = free_addr(&reactor).await?;
            let failure = reactor.connect_stream((here, &bound_to(here))).await.unwrap_err();
            assert!(is_error!(failure, ConnectError::Refused { .. }), "{failure:?}");
            // A normal close would have left the port in `TIME_WAIT`.
            let options = torsade::net::ListenOptions::new().reuse_address(false);
            let port = reactor.listen((here, &options), |_| Spy::echo())?;
            port.stop().await?;
        }

        async fn the_next_address_is_tried(reactor) {
            let here = free_addr(&reactor).await?;
            let port = reactor.listen(HERE, |_| Spy::echo())?;
            let both = [here, port.local_addr().inet().unwrap()];
            let conn = reactor.connect_stream((both, &bound_to(here))).await?;
            assert_eq!(conn.peer(), port.local_addr());
            assert_eq!(conn.local_addr()?, here);
            drop(conn);
            port.stop().await?;
        }
    }
}

/// In a network namespace with ten local ports: see the test below. Does nothing elsewhere.
#[cfg(target_os = "linux")]
#[test]
fn thirty_clients_of_three_servers() {
    if std::env::var("TORSADE_CHILD").is_err() {
        return;
    }
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (mut ports, mut conns) = (Vec::new(), Vec::new());
        for number in 40_000..40_003 {
            ports.push(reactor.listen(([127, 0, 0, 1], number), |_| Spy::echo())?);
        }
        let options = ConnectOptions::new().bind(([127, 0, 0, 1], 0));
        for n in 0..30 {
            let to = ports[n % ports.len()].local_addr();
            conns.push(reactor.connect_stream((to, &options)).await?);
        }
        println!("{} connected", conns.len());
        drop(conns);
        for port in ports {
            port.stop().await?;
            until(|| port.connections() == 0).await;
        }
        Ok::<(), torsade::Failure>(())
    });
}

/// Passes where this user may not create a network namespace.
#[cfg(target_os = "linux")]
#[test]
fn clients_that_are_bound_to_an_address_share_local_ports_between_servers() {
    let prepare =
        "ip link set lo up && echo '50000 50009' > /proc/sys/net/ipv4/ip_local_port_range";
    let in_a_network = |command: &str| {
        let mut child = std::process::Command::new("unshare");
        child.args(["-rn", "sh", "-c", command]);
        child.arg(own::program());
        child.env("TORSADE_CHILD", "yes").output()
    };
    if !in_a_network(prepare).is_ok_and(|output| output.status.success()) {
        return;
    }
    let words = own::words("thirty_clients_of_three_servers").join(" ");
    let run = format!("exec \"$0\" {words}");
    let output = in_a_network(&format!("{prepare} && {run}")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("30 connected"), "{said}");
}
