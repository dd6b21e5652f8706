//! Listening: ports, factories, and stopping a port.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;

use support::{HERE, Log, MS, Spy, alive, expect_reports, some_turns, until};
use torsade::net::{ListenError, ListenOptions};
use torsade::{Address, Clock, Factory, Phase, Port, Reactor, yield_now};

struct Counting {
    log: Log,
    bad: &'static str,
}

impl Factory for Counting {
    type Protocol = Spy;

    fn build_protocol(&mut self, _peer: Address) -> Option<Spy> {
        self.log.note("build");
        assert_ne!(self.bad, "build");
        Some(Spy::named(&self.log, "spy"))
    }

    fn started(&mut self) {
        self.log.note("started");
        assert_ne!(self.bad, "started");
    }

    fn stopped(&mut self) {
        self.log.note("stopped");
        assert_ne!(self.bad, "stopped");
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.log.note("dropped");
        assert_ne!(self.bad, "dropped");
    }
}

on_all! {
    async fn cannot_listen_names_the_address_and_the_errno(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let failure = reactor.listen(port.local_addr(), |_| Spy::echo()).unwrap_err();
        let (address, error) = expect_error!(failure, ListenError::Failed { address, error } => (address, error));
        assert_eq!(*address, port.local_addr());
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        #[cfg(unix)]
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert!(failure.to_string().contains(&port.local_addr().to_string()));
        port.stop().await?;
        // The address is free again at once.
        reactor.listen(port.local_addr(), |_| Spy::echo())?.stop().await?;
    }

    async fn several_addresses_to_listen_at_are_tried_in_order(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let all = [port.local_addr().inet().unwrap(), HERE.parse().unwrap()];
        let second = reactor.listen(&all[..], |_| Spy::echo())?;
        assert_ne!(second.local_addr().port(), port.local_addr().port());
        port.stop().await?;
        second.stop().await?;
    }

    async fn build_returning_none_refuses_the_peer(reactor) {
        let port = reactor.listen(HERE, |_| None::<Spy>)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(conn.read(&mut [0; 4]).await?, 0);
        drop(conn);
        port.stop().await?;
    }

    async fn a_factory_is_called_when_its_port_opens_and_closes(reactor) {
        let log = Log::new();
        let port = reactor.listen_factory(HERE, Counting { log: log.clone(), bad: "" })?;
        assert_eq!(log.take(), ["started"]);
        let conn = reactor.connect_stream(port.local_addr()).await?;
        until(|| log.has("spy made")).await;
        port.stop().await?;
        assert_eq!(log.take(), ["build", "spy made", "stopped", "dropped"]);
        drop(conn);
        until(|| log.has("spy lost done")).await;
    }

    async fn stopping_fails_with_the_panic_of_its_factory(reactor) {
        let log = Log::new();
        for other in [false, true] {
            let factory = Counting { log: log.clone(), bad: "stopped" };
            let port = reactor.listen_factory(HERE, factory)?;
            let address = port.local_addr();
            let second = other.then(|| port.stop());
            let failure = port.stop().await.unwrap_err();
            assert!(failure.is_panic(), "{failure:?}");
            if let Some(second) = second {
                assert!(second.await.unwrap_err().is_panic());
            }
            assert_eq!(log.take(), ["started", "stopped", "dropped"]);
            // The port is closed all the same.
            assert!(!port.is_listening());
            let again = reactor.listen(address, |_| Spy::echo())?;
            again.stop().await?;
        }
    }

    async fn a_panic_in_stopped_is_reported_once_if_no_deferred_waits(reactor) {
        let reports = expect_reports(&reactor);
        let factory = Counting { log: Log::new(), bad: "stopped" };
        drop(reactor.listen_factory(HERE, factory)?.stop());
        until(|| !reports.borrow().is_empty()).await;
        some_turns().await;
        let reports = reports.take();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].failure().is_panic());
    }

    async fn listening_fails_with_the_panic_of_a_factory_that_is_started(reactor) {
        let log = Log::new();
        let factory = Counting { log: log.clone(), bad: "started" };
        let failure = reactor.listen_factory(HERE, factory).unwrap_err();
        assert!(failure.is_panic(), "{failure:?}");
        assert_eq!(log.take(), ["started", "dropped"]);
        assert_eq!(alive(&reactor), [""; 0]);
    }

    async fn stopping_twice_fires_both(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        assert!(port.is_listening());
        let (one, two) = (port.stop(), port.clone().stop());
        assert!(!port.is_listening() && !one.is_settled());
        one.await?;
        two.await?;
        port.stop().await?;
    }

    async fn a_deferred_of_stop_may_be_dropped(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        drop(port.stop());
        until(|| alive(&reactor).is_empty()).await;
    }

    async fn a_port_may_be_stopped_while_it_builds(reactor) {
        let log = Log::new();
        let slot: Rc<Cell<Option<Port>>> = Rc::default();
        let (own, to) = (slot.clone(), log.clone());
        let port = reactor.listen(HERE, move |_| {
            let port = own.take().unwrap();
            drop(port.stop());
            Spy::new(&to).on_data(|cx, data| cx.write(data))
        })?;
        slot.set(Some(port.clone()));
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"x").await?;
        conn.read_exact(&mut [0]).await?;
        assert!(!port.is_listening());
        drop(conn);
    }

    async fn connections_survive_their_port(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"x").await?;
        conn.read_exact(&mut [0]).await?;
        port.stop().await?;
        conn.write_all(b"y").await?;
        let mut buf = [0];
        conn.read_exact(&mut buf).await?;
        assert_eq!(&buf, b"y");
        drop(conn);
    }

    async fn a_panic_in_build_closes_that_connection_only(reactor) {
        let reports = expect_reports(&reactor);
        let mut count = 0;
        let port = reactor.listen(HERE, move |_| {
            count += 1;
            assert_ne!(count, 1, "the first");
            Spy::echo()
        })?;
        let mut first = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0);
        let mut second = reactor.connect_stream(port.local_addr()).await?;
        second.write_all(b"x").await?;
        second.read_exact(&mut [0]).await?;
        assert_eq!(reports.borrow().len(), 1);
        drop(second);
        port.stop().await?;
    }

    async fn a_panic_of_a_factory_without_a_reactor_is_reported(reactor) {
        for bad in ["build", "dropped"] {
            let reports = expect_reports(&reactor);
            let log = Log::new();
            let port = reactor.listen_factory(HERE, Counting { log: log.clone(), bad })?;
            let conn = reactor.connect_stream(port.local_addr()).await?;
            until(|| log.has("build")).await;
            port.stop().await?;
            assert_eq!(log.count("stopped") + log.count("dropped"), 2);
            assert_eq!(reports.borrow().len(), 1, "{bad}");
            drop(conn);
        }
        some_turns().await;
    }

    async fn a_panic_in_a_handler_closes_its_connection_only(reactor) {
        let reports = expect_reports(&reactor);
        let port = reactor.serve(HERE, async |mut conn| {
            let mut buf = [0];
            while conn.read(&mut buf).await? > 0 {
                assert_ne!(&buf, b"!");
                conn.write_all(&buf).await?;
            }
            Ok(())
        })?;
        let mut good = reactor.connect_stream(port.local_addr()).await?;
        let mut bad = reactor.connect_stream(port.local_addr()).await?;
        bad.write_all(b"!").await?;
        assert_eq!(bad.read(&mut [0]).await?, 0);
        good.write_all(b"x").await?;
        good.read_exact(&mut [0]).await?;
        assert_eq!(reports.borrow().len(), 1);
        assert_eq!(reports.borrow()[0].location().file(), file!());
        drop(good);
        port.stop().await?;
    }

    async fn a_failure_of_a_handler_is_reported(reactor) {
        let reports = expect_reports(&reactor);
        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(b"so far").await?;
            Err(torsade::Failure::new("no further"))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let mut all = Vec::new();
        conn.read_to_end(&mut all).await?;
        assert_eq!(all, b"so far");
        until(|| !reports.borrow().is_empty()).await;
        assert_eq!(reports.borrow()[0].failure().to_string(), "no further");
        drop(conn);
        port.stop().await?;
    }

    async fn bytes_written_by_a_returned_handler_arrive_although_the_client_sends(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            let big = vec![b'x'; 1 << 20];
            conn.write_all(&big).await?;
            Ok(())
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let (mut reader, mut writer) = conn.split();
        let sending = torsade::spawn(async move {
            while writer.write_all(&[b'y'; 1000]).await.is_ok() {
                yield_now().await;
            }
        });
        let (mut total, mut buf) = (0, vec![0; 4096]);
        loop {
            match reader.read(&mut buf).await {
                Ok(0) | Err(_) => break,
                Ok(count) => total += count,
            }
            yield_now().await;
        }
        sending.cancel().await;
        assert_eq!(total, 1 << 20);
        drop(reader);
        port.stop().await?;
    }

    async fn a_panic_in_build_keeps_the_rest_of_the_batch(reactor) {
        let reports = expect_reports(&reactor);
        let mut count = 0;
        let port = reactor.listen(HERE, move |_| {
            count += 1;
            assert_ne!(count, 2, "the second");
            Spy::echo()
        })?;
        // All are connected before the first is accepted.
        let all: Vec<_> = (0..5).map(|_| reactor.connect_stream(port.local_addr())).collect();
        let mut served = 0;
        for conn in futures::future::join_all(all).await {
            let mut conn = conn?;
            let sent = conn.write_all(b"x").await;
            served += usize::from(sent.is_ok() && conn.read_exact(&mut [0]).await.is_ok());
        }
        assert_eq!((served, reports.borrow().len()), (4, 1));
        port.stop().await?;
    }

    async fn a_factory_whose_address_is_taken_is_neither_started_nor_stopped(reactor) {
        let log = Log::new();
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let factory = Counting { log: log.clone(), bad: "" };
        let failure = reactor.listen_factory(port.local_addr(), factory).unwrap_err();
        assert!(matches!(failure.trap()?, ListenError::Failed { .. }));
        some_turns().await;
        assert_eq!(log.take(), ["dropped"]);
        port.stop().await?;
    }
}

on_both_by_hand! {
    fn a_port_is_closed_and_its_factory_stopped_when_the_reactor_stops(reactor) {
        let log = Log::new();
        let port = reactor.listen_factory(HERE, Counting { log: log.clone(), bad: "" }).unwrap();
        let to = log.clone();
        reactor.add_system_event_trigger(Phase::During, "shutdown", move || to.note("during"));
        let stop = reactor.clone();
        reactor.call_later(MS, move || stop.stop().unwrap());
        reactor.run().unwrap();
        assert_eq!(log.take(), ["started", "stopped", "dropped", "during"]);
        assert!(!port.is_listening());
        drop(port.stop());
    }

    fn a_factory_that_listens_again_when_it_is_stopped_does_not_keep_the_reactor(reactor) {
        struct Again(Reactor, Log);
        impl Factory for Again {
            type Protocol = Spy;
            fn build_protocol(&mut self, _: Address) -> Option<Spy> {
                None
            }
            fn stopped(&mut self) {
                self.1.note("stopped");
                if let Err(failure) = self.0.listen_factory(HERE, Self(self.0.clone(), self.1.clone())) {
                    self.1.note(format_args!("{failure:#}"));
                }
            }
        }
        let log = Log::new();
        reactor.listen_factory(HERE, Again(reactor.clone(), log.clone())).unwrap();
        let stop = reactor.clone();
        reactor.call_later(MS, move || stop.stop().unwrap());
        reactor.run().unwrap();
        let log = log.take();
        assert_eq!(log[..2], ["stopped", "stopped"]);
        assert!(log[2].contains("has ended"), "{log:?}");
        assert!(alive(&reactor).is_empty());
        assert!(reactor.listen(HERE, |_| Spy::echo()).is_err());
    }

    fn a_port_of_a_reactor_that_never_runs_is_freed_with_it(reactor) {
        let log = Log::new();
        let port = reactor.listen_factory(HERE, Counting { log: log.clone(), bad: "" }).unwrap();
        drop(reactor);
        assert_eq!(log.take(), ["started", "stopped", "dropped"]);
        assert!(!port.is_listening());
    }
}

/// In memory a closed connection leaves nothing behind; on Windows it does not block the address.
#[cfg(unix)]
#[test]
fn reuse_address_is_on_by_default() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let plain = ListenOptions::new().reuse_address(false);
        let port = reactor.serve(HERE, async |_conn| Ok(()))?;
        let address = port.local_addr();
        // The server closes first, so its side stays in `TIME_WAIT`.
        let mut conn = reactor.connect_stream(&address).await?;
        assert_eq!(conn.read(&mut [0]).await?, 0);
        drop(conn);
        port.stop().await?;
        until(|| alive(&reactor).is_empty()).await;
        let failure = reactor
            .listen((&address, &plain), |_| Spy::echo())
            .unwrap_err();
        let error = expect_error!(failure, ListenError::Failed { error, .. } => error);
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        reactor.listen(&address, |_| Spy::echo())?.stop().await
    });
}

/// On the machine, where clients can wait without a loop.
#[test]
fn no_more_than_a_hundred_are_accepted_in_one_turn() {
    let reactor = Reactor::new().unwrap();
    let (log, options) = (Log::new(), ListenOptions::new().backlog(1000));
    let seen = log.clone();
    let port = reactor.listen((HERE, &options), move |_| {
        seen.note("build");
        Spy::echo()
    });
    let port = port.unwrap();
    let address = port.local_addr().inet().unwrap();
    let clients: Vec<_> = (0..250)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let (mut most, mut all) = (0, 0);
    for _ in 0..100 {
        reactor.iterate(MS);
        let count = log.take().len();
        most = most.max(count);
        all += count;
    }
    assert_eq!((most, all), (100, 250));
    drop(clients);
}
