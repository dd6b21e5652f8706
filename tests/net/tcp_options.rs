//! Options of ports and connections, as the system reports them; and one factory for several ports.
#![cfg(unix)]

use std::io::ErrorKind;
use std::time::Duration;

use support::{HERE, Log, Spy};
use torsade::net::{ConnectOptions, ListenOptions};
use torsade::protocol::SharedFactory;
use torsade::{Address, Cancelled, Clock, Connection, Deferred, Factory, Reactor, yield_now};

/// On the machine only: in memory there is no system to ask.
fn on_the_machine(test: impl AsyncFnOnce(Reactor) -> Result<(), torsade::Failure> + 'static) {
    torsade::testing::run_on(Reactor::new().unwrap(), test);
}

#[test]
fn ports_with_reuse_port_share_an_address() {
    on_the_machine(async |reactor| {
        let options = ListenOptions::new().reuse_port(true);
        let one = reactor.listen((HERE, &options), |_| Spy::echo())?;
        let other = reactor.listen((one.local_addr(), &options), |_| Spy::echo())?;
        assert_eq!(one.local_addr(), other.local_addr());
        assert!(reactor.listen(one.local_addr(), |_| Spy::echo()).is_err());
        one.stop().await?;
        other.stop().await
    });
}

#[test]
fn only_a_dual_stack_port_accepts_ipv4() {
    on_the_machine(async |reactor| {
        for both in [true, false] {
            let options = ListenOptions::new().dual_stack(both);
            let port = reactor.serve(("[::]:0", &options), async |mut conn| {
                let peer = conn.peer().to_string();
                conn.write_all(peer.as_bytes()).await?;
                Ok(())
            })?;
            let v4 = Address::from(([127, 0, 0, 1], port.local_addr().port().unwrap()));
            let conn = reactor.connect_stream(v4).await;
            assert_eq!(conn.is_ok(), both);
            if let Ok(mut conn) = conn {
                let said = conn.read_line(80).await?.unwrap_or_default();
                assert!(
                    said.starts_with(b"[::ffff:127.0.0.1]:"),
                    "{}",
                    said.escape_ascii()
                );
            }
            port.stop().await?;
        }
        Ok(())
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_user_timeout_is_the_systems_and_elsewhere_not_supported() {
    on_the_machine(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let transport = conn.transport();
        transport.set_user_timeout(Some(Duration::from_millis(1500)))?;
        assert_eq!(transport.user_timeout()?, Some(Duration::from_millis(1500)));
        drop(conn);
        port.stop().await
    });
    torsade::testing::run_on(Reactor::in_memory().unwrap(), async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let error = conn.transport().set_user_timeout(None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        drop(conn);
        port.stop().await
    });
}

#[test]
fn small_system_buffers_leave_more_bytes_queued() {
    on_the_machine(async |reactor| {
        let mut left = Vec::new();
        for bytes in [4096, 1 << 20] {
            let options = ListenOptions::new().receive_buffer(bytes);
            // It reads nothing until the end.
            let port = reactor.listen((HERE, &options), |_| {
                Spy::echo().on_made(|transport| transport.pause_producing())
            })?;
            let options = ConnectOptions::new().send_buffer(bytes);
            let conn = reactor
                .connect_stream((port.local_addr(), &options))
                .await?;
            conn.transport().write(vec![0; 1 << 20]);
            for _ in 0..50 {
                yield_now().await;
            }
            left.push(conn.transport().queued());
            conn.transport().abort_connection();
            drop(conn);
            port.stop().await?;
        }
        assert!(left[0] > left[1] + 100_000, "{left:?}");
        Ok(())
    });
}

/// A factory that records when it is started and stopped.
struct Noting(Log);

impl Factory for Noting {
    type Protocol = Spy;

    fn build_protocol(&mut self, _peer: Address) -> Option<Spy> {
        self.0.note("build");
        Some(Spy::echo())
    }

    fn started(&mut self) {
        self.0.note("started");
    }

    fn stopped(&mut self) {
        self.0.note("stopped");
    }
}

on_all! {
    async fn a_shared_factory_starts_with_its_first_port_and_stops_with_its_last(reactor) {
        let log = Log::new();
        let shared = SharedFactory::new(Noting(log.clone()));
        let one = reactor.listen_factory(HERE, shared.clone())?;
        let other = reactor.listen_factory(HERE, shared.clone())?;
        for port in [&one, &other] {
            drop(reactor.connect_stream(port.local_addr()).await?);
        }
        while log.count("build") < 2 {
            yield_now().await;
        }
        one.stop().await?;
        assert_eq!(log.all(), ["started", "build", "build"]);
        other.stop().await?;
        assert_eq!(log.take(), ["started", "build", "build", "stopped"]);
        let again = reactor.listen_factory(HERE, shared)?;
        again.stop().await?;
        assert_eq!(log.take(), ["started", "stopped"]);
    }

    async fn a_shared_factory_that_panics_when_it_starts_is_started_by_the_next_port(reactor) {
        struct Late(Log);
        impl Factory for Late {
            type Protocol = Spy;
            fn build_protocol(&mut self, _peer: Address) -> Option<Spy> {
                None
            }
            fn started(&mut self) {
                self.0.note("started");
                assert!(self.0.count("started") > 1, "not at first");
            }
        }
        let log = Log::new();
        let shared = SharedFactory::new(Late(log.clone()));
        assert!(reactor.listen_factory(HERE, shared.clone()).unwrap_err().is_panic());
        let port = reactor.listen_factory(HERE, shared)?;
        assert_eq!(log.count("started"), 2);
        port.stop().await?;
    }

    async fn nodelay_and_keep_alive_are_set_and_returned(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let transport = conn.transport();
        assert!(transport.nodelay()? && !transport.keepalive()?);
        for on in [false, true] {
            transport.set_nodelay(on)?;
            transport.set_keepalive(on)?;
            assert_eq!((transport.nodelay()?, transport.keepalive()?), (on, on));
        }
        drop(conn);
        while transport.reason().is_none() {
            yield_now().await;
        }
        for error in [
            transport.set_nodelay(true).unwrap_err(),
            transport.nodelay().unwrap_err(),
            transport.set_keepalive(true).unwrap_err(),
            transport.keepalive().unwrap_err(),
            transport.local_addr().unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NotConnected);
        }
        port.stop().await?;
    }
}

#[test]
fn urgent_bytes_arrive_inline_and_do_not_spin() {
    on_the_machine(async |reactor| {
        let log = Log::new();
        let seen = log.clone();
        let port = reactor.listen(HERE, move |_| Spy::new(&seen))?;
        let address = port.local_addr().inet().unwrap();
        let client = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        client.connect(&address.into())?;
        client.send(b"one ")?;
        client.send_out_of_band(b"!")?;
        client.send(b" two")?;
        let all = || {
            let notes = log.all();
            let data = notes.iter().filter_map(|note| note.strip_prefix("data "));
            data.collect::<String>()
        };
        while all().len() < 9 {
            yield_now().await;
        }
        assert_eq!(all(), "one ! two");
        // Nothing is left to report.
        let before = log.all().len();
        reactor.sleep(Duration::from_millis(20)).await?;
        assert_eq!(log.all().len(), before);
        drop(client);
        while !log.has("lost done") {
            yield_now().await;
        }
        port.stop().await
    });
}

#[test]
fn a_hook_gets_the_socket_before_it_listens_and_before_each_attempt_to_connect() {
    use std::os::fd::AsFd;
    use std::rc::Rc;

    use rustix::net::sockopt::{ip_ttl, set_ip_ttl, socket_acceptconn};

    on_the_machine(async |reactor| {
        let (log, calls) = (Log::new(), Log::new());
        let seen = log.clone();
        let listen = ListenOptions::new().configure_socket(move |socket| {
            seen.note(format!("listens: {}", socket_acceptconn(socket)?));
            Ok(set_ip_ttl(socket, 7)?)
        });
        let port = reactor.listen((HERE, &listen), |_| Spy::echo())?;
        assert_eq!(log.take(), ["listens: false"]);
        assert_eq!(port.with_fd(|socket| ip_ttl(socket))??, 7);

        let seen = calls.clone();
        let connect = ConnectOptions::new().configure_socket(move |socket| {
            seen.note(rustix::net::getpeername(socket).is_ok());
            Ok(set_ip_ttl(socket, 9)?)
        });
        let both = [
            support::nowhere(&reactor).await?,
            port.local_addr().inet().unwrap(),
        ];
        let conn = reactor.connect_stream((both, &connect)).await?;
        assert_eq!(calls.take(), ["false", "false"]);
        let transport = conn.transport();
        assert_eq!(transport.with_fd(|socket| ip_ttl(socket.as_fd()))??, 9);

        // The error or the panic of the function is the error of the call.
        let fails = ListenOptions::new().configure_socket(|_| Err(ErrorKind::OutOfMemory.into()));
        let failure = reactor.listen((HERE, &fails), |_| Spy::echo()).unwrap_err();
        assert_eq!(
            failure.find::<std::io::Error>().unwrap().kind(),
            ErrorKind::OutOfMemory
        );
        let panics = ConnectOptions::new().configure_socket(|_| panic!("oh"));
        let failure = reactor
            .connect_stream((port.local_addr(), &panics))
            .await
            .unwrap_err();
        assert!(
            matches!(
                failure.downcast_ref(),
                Some(torsade::net::ConnectError::Failed { .. })
            ),
            "{failure:?}"
        );

        // The function may use its own reactor.
        let (inner, made) = (reactor.clone(), Rc::new(std::cell::Cell::new(None)));
        let kept = made.clone();
        let again = ListenOptions::new().configure_socket(move |_| {
            kept.set(inner.listen(HERE, |_| Spy::echo()).ok());
            Ok(())
        });
        reactor
            .listen((HERE, &again), |_| Spy::echo())?
            .stop()
            .await?;
        made.take().unwrap().stop().await?;
        drop(conn);
        port.stop().await
    });
}

#[test]
fn a_hook_that_cancels_its_own_connect_leaves_nothing_behind() {
    on_the_machine(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let connecting = std::rc::Rc::new(std::cell::Cell::new(None::<Deferred<Connection>>));
        let (own, calls) = (connecting.clone(), Log::new());
        let log = calls.clone();
        let connect = ConnectOptions::new().configure_socket(move |_| {
            log.note("called");
            let cancelled = own.take().expect("it begins in a turn");
            cancelled.cancel();
            own.set(Some(cancelled));
            Ok(())
        });
        connecting.set(Some(reactor.connect_stream((port.local_addr(), &connect))));
        while calls.take().is_empty() {
            yield_now().await;
        }
        let failure = connecting.take().unwrap().await.unwrap_err();
        assert!(failure.is::<Cancelled>(), "{failure:?}");
        assert!(!reactor.dump().to_string().contains("connection attempt"));
        port.stop().await
    });
}

#[test]
fn a_duplicated_descriptor_does_not_keep_the_loop_busy() {
    on_the_machine(async |reactor| {
        let (mut client, server, port) = support::ends(&reactor, HERE).await?;
        let kept = server
            .transport()
            .with_fd(|socket| socket.try_clone_to_owned())??;
        let transport = server.transport();
        drop(server);
        support::until(|| !transport.is_connected() && transport.reason().is_some()).await;
        assert_eq!(
            transport.with_fd(|_| ()).unwrap_err().kind(),
            ErrorKind::NotConnected
        );
        // The descriptor stays readable, and no hook is called.
        client.write_all(b"x").await?;
        let before = torsade::testing::leftovers(&reactor).len();
        reactor.sleep(Duration::from_millis(20)).await?;
        assert_eq!(torsade::testing::leftovers(&reactor).len(), before);
        drop((kept, client));
        port.stop().await
    });
}

#[test]
fn keep_alive_times_are_the_systems() {
    use torsade::transport::KeepAlive;

    on_the_machine(async |reactor| {
        let (client, server, port) = support::ends(&reactor, HERE).await?;
        let times = KeepAlive {
            idle: Duration::from_secs(60),
            interval: Duration::from_millis(10),
            count: 4,
        };
        let transport = client.transport();
        transport.set_keepalive_times(times)?;
        assert!(transport.keepalive()?);
        let whole = KeepAlive {
            interval: Duration::from_secs(1),
            ..times
        };
        assert_eq!(transport.keepalive_times()?, whole);
        #[cfg(target_os = "linux")]
        {
            use rustix::net::sockopt::{tcp_keepcnt, tcp_keepidle, tcp_keepintvl};
            let observed = transport.with_fd(|fd| -> std::io::Result<_> {
                Ok((tcp_keepidle(fd)?, tcp_keepintvl(fd)?, tcp_keepcnt(fd)?))
            })??;
            assert_eq!(
                observed,
                (Duration::from_secs(60), Duration::from_secs(1), 4)
            );
        }
        drop((client, server));
        port.stop().await
    });
}
