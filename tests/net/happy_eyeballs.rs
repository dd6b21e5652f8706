//! Several addresses for one connection: the order of attempts, the winner, and nothing left
//! behind. Mostly in memory, so that times are exact.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use support::{HERE, Log, MS, Spy, alive, how, some_turns};
use torsade::net::{
    ConnectError, ConnectOptions, HostsTable, LookupError, LookupErrorKind, NameResolver,
};
use torsade::testing;
use torsade::{Address, Cancelled, Clock, Deferred, Failure, Reactor};

/// Addresses that never answer.
const SILENT_4: &str = "192.0.2.1:80";
const SILENT_6: &str = "[2001:db8::1]:80";
const SECOND: Duration = Duration::from_secs(1);
/// The time without an answer after which the next address is tried.
const DELAY: Duration = Duration::from_millis(250);

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An address that refuses at once.
fn refusing(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 9))
}

/// Returns the addresses of the attempts under way.
fn under_way(reactor: &Reactor) -> Vec<String> {
    let dump = reactor.dump();
    let attempts = dump
        .roots
        .iter()
        .filter(|node| node.kind == "connection attempt");
    attempts.map(|node| node.about.clone()).collect()
}

#[test]
fn after_250_ms_of_silence_the_next_address_is_tried_too() {
    testing::run(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let all = [addr(SILENT_4), port.local_addr().inet().unwrap()];
        let start = reactor.now();
        let conn = reactor.connect_stream(&all[..]).await?;
        assert_eq!(reactor.now() - start, DELAY);
        assert_eq!(conn.peer(), port.local_addr());
        // The silent attempt was cancelled, with its time limit.
        assert!(under_way(&reactor).is_empty());
        drop(conn);
        port.stop().await
    });
}

/// An address that does not answer: in memory an unused one; on the machine that of a listener
/// whose queue is full, which the caller must keep.
fn silent(reactor: &Reactor) -> (SocketAddr, Option<impl Sized>) {
    #[cfg(unix)]
    let is_in_memory = testing::Stdio::new(reactor).is_ok();
    // In-memory listeners cannot be found from outside.
    #[cfg(windows)]
    let is_in_memory = {
        let port = reactor.listen(HERE, |_| Spy::echo()).unwrap();
        let found = std::net::TcpStream::connect(port.local_addr().inet().unwrap());
        drop(port.stop());
        found.is_err()
    };
    if is_in_memory {
        return (addr(SILENT_4), None);
    }
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&addr(HERE).into()).unwrap();
    deaf.listen(0).unwrap();
    let address = deaf.local_addr().unwrap().as_socket().unwrap();
    let waiting = std::net::TcpStream::connect(address).unwrap();
    (address, Some((deaf, waiting)))
}

on_all! {
    async fn the_first_connection_wins_and_the_other_attempts_are_cancelled(reactor) {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let there = port.local_addr().inet().unwrap();
        let (silent, _kept) = silent(&reactor);
        let options = ConnectOptions::new().attempt_delay(MS * 10);
        for all in [vec![silent, silent, there], vec![there, silent]] {
            let start = reactor.now();
            let delays = MS * 10 * u32::try_from(all.len() - 1).unwrap();
            let conn = reactor.connect_stream((&all[..], &options)).await?;
            assert_eq!(conn.peer(), there);
            assert!(all[0] == there || reactor.now() - start >= delays);
            assert!(under_way(&reactor).is_empty());
        }
        port.stop().await?;
    }

    async fn cancelling_ends_all_attempts_and_timers(reactor) {
        let (silent, _kept) = silent(&reactor);
        let options = ConnectOptions::new().attempt_delay(MS);
        let log = Log::new();
        let connecting = reactor.connect((&[silent; 3][..], &options), Spy::new(&log));
        while under_way(&reactor).len() < 3 {
            reactor.sleep(MS).await?;
        }
        connecting.cancel();
        connecting.await.unwrap_err().trap::<Cancelled>()?;
        some_turns().await;
        assert!(alive(&reactor).is_empty() && log.is_empty(), "{:?}", alive(&reactor));
    }
}

#[test]
fn an_attempt_that_fails_is_followed_at_once() {
    testing::run(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let all = [
            refusing(1),
            refusing(2),
            refusing(3),
            port.local_addr().inet().unwrap(),
        ];
        let start = reactor.now();
        let conn = reactor.connect_stream(&all[..]).await?;
        assert_eq!(reactor.now(), start);
        assert_eq!(conn.peer(), port.local_addr());
        drop(conn);
        port.stop().await
    });
}

#[test]
fn a_failed_attempt_beside_a_silent_one_starts_the_next_at_once() {
    testing::run(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let all = [
            addr(SILENT_4),
            refusing(1),
            port.local_addr().inet().unwrap(),
        ];
        let start = reactor.now();
        drop(reactor.connect_stream(&all[..]).await?);
        // One delay for the silent address, and none for the address that refused.
        assert_eq!(reactor.now() - start, DELAY);
        port.stop().await
    });
}

#[test]
fn families_take_turns_and_every_delay_adds_an_attempt() {
    testing::run(async |reactor| {
        let all = [
            addr("[2001:db8::1]:80"),
            addr("[2001:db8::2]:80"),
            addr("192.0.2.1:80"),
            addr("192.0.2.2:80"),
        ];
        let connecting = reactor.connect_stream(&all[..]);
        some_turns().await;
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(under_way(&reactor).len());
            if let Some(last) = under_way(&reactor).last() {
                seen.push(last.len());
            }
            reactor.sleep(DELAY).await?;
            // The next attempt begins when nothing of the last one is left.
            some_turns().await;
        }
        let order = [
            "to [2001:db8::1]:80",
            "to 192.0.2.1:80",
            "to [2001:db8::2]:80",
            "to 192.0.2.2:80",
        ];
        let lengths = order.map(str::len);
        let expected = [
            1, lengths[0], 2, lengths[1], 3, lengths[2], 4, lengths[3], 4, lengths[3],
        ];
        assert_eq!(seen, expected);
        assert_eq!(under_way(&reactor), order);
        connecting.cancel();
        assert!(alive(&reactor).is_empty(), "{:?}", alive(&reactor));
        connecting
            .await
            .map(drop)
            .unwrap_err()
            .trap::<Cancelled>()?;
        Ok(())
    });
}

#[test]
fn all_failed_has_the_error_of_each_attempt() {
    testing::run(async |reactor| {
        let all = [addr(SILENT_4), addr(SILENT_6), refusing(1)];
        let options = ConnectOptions::new().timeout(SECOND);
        let start = reactor.now();
        let failure = reactor
            .connect_stream((&all[..], &options))
            .await
            .map(drop)
            .unwrap_err();
        // The last attempt began after one delay, and had a second.
        assert_eq!(reactor.now() - start, SECOND + DELAY);
        let attempts = expect_error!(failure, ConnectError::AllFailed { attempts } => attempts);
        let observed: Vec<(Address, bool)> = attempts
            .iter()
            .map(|(address, why)| {
                (
                    address.clone(),
                    is_error!(why, ConnectError::TimedOut { .. }),
                )
            })
            .collect();
        let [silent_4, silent_6, refused] = all.map(Address::from);
        assert_eq!(
            observed,
            [(refused, false), (silent_4, true), (silent_6.clone(), true)]
        );
        let source = failure.chain().nth(1).unwrap().downcast_ref();
        assert!(
            matches!(source, Some(ConnectError::TimedOut { address, .. }) if *address == silent_6)
        );
        assert_eq!(failure.location().file(), file!());
        assert!(failure.to_string().starts_with(
            "cannot connect to any of 3 addresses (connection refused by 127.0.0.1:9: "
        ));
        Ok(())
    });
}

#[test]
fn a_single_address_fails_with_its_own_error() {
    testing::run(async |reactor| {
        let hosts = HostsTable::new();
        hosts.add("one.example", [IpAddr::from([127, 0, 0, 1])]);
        reactor.set_resolver(hosts);
        let failure = reactor
            .connect_stream("one.example:9")
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(
            *expect_error!(failure, ConnectError::Refused { address, .. } => address),
            refusing(1)
        );
        assert_eq!(failure.location().file(), file!());

        let options = ConnectOptions::new().timeout(SECOND);
        let start = reactor.now();
        let late = reactor.connect_stream((SILENT_4, &options)).await;
        let failure = late.map(drop).unwrap_err();
        assert_eq!(
            *expect_error!(failure, ConnectError::TimedOut { limit, .. } => limit),
            Some(SECOND)
        );
        assert_eq!(reactor.now() - start, SECOND);
        Ok(())
    });
}

#[test]
fn the_whole_race_has_a_limit_too() {
    testing::run(async |reactor| {
        let all: Vec<SocketAddr> = (1..=250).map(|n| ([192, 0, 2, n], 80).into()).collect();
        let options = ConnectOptions::new()
            .timeout(SECOND)
            .overall_timeout(SECOND * 3 / 2);
        let start = reactor.now();
        let failure = reactor
            .connect_stream((&all[..], &options))
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(reactor.now() - start, SECOND * 3 / 2);
        let attempts = expect_error!(failure, ConnectError::AllFailed { attempts } => attempts);
        let limits: Vec<_> = attempts
            .iter()
            .map(|(_, why)| {
                expect_error!(why, ConnectError::TimedOut { limit, .. } => limit).unwrap()
            })
            .collect();
        // Two attempts began early enough to use their whole second; each failure, and each 250 ms,
        // started another.
        let whole = SECOND * 3 / 2;
        assert_eq!(limits, [SECOND, SECOND, whole, whole, whole, whole]);
        Ok(())
    });
}

#[test]
fn the_default_overall_timeout_is_twice_that_of_one_attempt() {
    testing::run(async |reactor| {
        let hosts = HostsTable::new();
        hosts.add("slow.example", [[192, 0, 2, 1]]);
        hosts.set_delay(SECOND * 25);
        reactor.set_resolver(hosts);
        let start = reactor.now();
        let failure = reactor.connect_stream("slow.example:80").await;
        assert!(matches!(
            failure.map(drop).unwrap_err().trap()?,
            ConnectError::TimedOut { .. }
        ));
        assert_eq!(reactor.now() - start, SECOND * 55);
        let options = ConnectOptions::new().overall_timeout(SECOND * 40);
        let start = reactor.now();
        let failure = reactor.connect_stream(("slow.example:80", &options)).await;
        let failure = failure.map(drop).unwrap_err();
        assert_eq!(
            *expect_error!(failure, ConnectError::TimedOut { limit, .. } => limit),
            Some(SECOND * 40)
        );
        assert_eq!(reactor.now() - start, SECOND * 40);
        Ok(())
    });
}

#[test]
fn the_attempt_delay_option_is_used() {
    testing::run(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let all = [
            addr(SILENT_4),
            addr(SILENT_6),
            port.local_addr().inet().unwrap(),
        ];
        let options = ConnectOptions::new().attempt_delay(MS * 10);
        let start = reactor.now();
        drop(reactor.connect_stream((&all[..], &options)).await?);
        // The second silent address is of the other family, so the port comes third.
        assert_eq!(reactor.now() - start, MS * 20);
        port.stop().await
    });
}

#[test]
fn a_host_is_looked_up_and_all_its_addresses_are_raced() {
    testing::run(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let hosts = HostsTable::new();
        hosts.add(
            "host.example",
            ["2001:db8::1", "2001:db8::2", "127.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap()),
        );
        hosts.set_delay(MS * 70);
        reactor.set_resolver(hosts);
        let log = Log::new();
        let to = ("host.example", port.local_addr().port().unwrap());
        let start = reactor.now();
        let connecting = reactor.connect(to, Spy::new(&log));
        some_turns().await;
        assert_eq!(under_way(&reactor), ["looks up host.example"]);
        let handle = connecting.await?;
        assert_eq!(reactor.now() - start, MS * 70 + DELAY);
        assert_eq!(log.take(), ["made"]);
        handle.transport().unwrap().lose_connection();
        port.stop().await
    });
}

#[test]
fn an_unknown_name_has_its_own_error() {
    testing::run(async |reactor| {
        let failure = reactor.connect_stream("nowhere.example:80").await;
        let failure = failure.map(drop).unwrap_err();
        let lookup = failure.trap::<LookupError>()?;
        assert_eq!(lookup.kind, LookupErrorKind::NoSuchName);
        assert_eq!(lookup.host, "nowhere.example");
        assert_eq!(failure.location().file(), file!());
        let none: [SocketAddr; 0] = [];
        let failure = reactor.connect_stream(&none[..]).await;
        assert!(matches!(
            failure.map(drop).unwrap_err().trap()?,
            ConnectError::NoAddress
        ));
        Ok(())
    });
}

#[test]
fn an_unanswered_look_up_times_out_and_is_cancelled() {
    testing::run(async |reactor| {
        let called_off = Rc::new(Cell::new(false));
        struct Silent(
            Rc<Cell<bool>>,
            RefCell<Vec<torsade::Resolver<Vec<SocketAddr>>>>,
        );
        impl NameResolver for Silent {
            fn resolve(&self, _: &Reactor, _: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
                let (deferred, resolver) = Deferred::pair();
                self.1.borrow_mut().push(resolver);
                let note = self.0.clone();
                deferred.on_cancel(move || note.set(true))
            }
        }
        reactor.set_resolver(Silent(called_off.clone(), RefCell::default()));
        let start = reactor.now();
        let failure = reactor.connect_stream("host.example:80").await;
        let failure = failure.map(drop).unwrap_err();
        assert_eq!(
            failure.trap::<LookupError>()?.kind,
            LookupErrorKind::TimedOut
        );
        assert_eq!(reactor.now() - start, SECOND * 30);
        assert!(called_off.get());
        Ok(())
    });
}

#[test]
fn cancelling_during_the_look_up_leaves_nothing_behind() {
    testing::run(async |reactor| {
        let hosts = HostsTable::new();
        hosts.add("host.example", [[127, 0, 0, 1]]);
        hosts.set_delay(SECOND);
        hosts.never_answer("silent.example");
        reactor.set_resolver(hosts);
        for host in ["host.example:80", "silent.example:80"] {
            let log = Log::new();
            let connecting = reactor.connect(host, Spy::new(&log));
            some_turns().await;
            assert!(!alive(&reactor).is_empty());
            connecting.cancel();
            assert!(alive(&reactor).is_empty(), "{:?}", alive(&reactor));
            connecting.await.unwrap_err().trap::<Cancelled>()?;
            reactor.sleep(SECOND * 2).await?;
            assert!(log.is_empty());
        }
        Ok(())
    });
}

#[test]
fn a_late_answer_of_a_resolver_that_cannot_be_cancelled_is_ignored() {
    testing::run(async |reactor| {
        type Kept = Rc<RefCell<Option<torsade::Resolver<Vec<SocketAddr>>>>>;
        struct Stubborn(Kept);
        impl NameResolver for Stubborn {
            fn resolve(&self, _: &Reactor, _: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
                let (deferred, resolver) = Deferred::pair();
                self.0.replace(Some(resolver));
                // The resolver answers whatever happens.
                deferred.add_errback(move |_| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]))
            }
        }
        let kept = Kept::default();
        reactor.set_resolver(Stubborn(kept.clone()));
        let port = reactor.listen(HERE, |_| -> Spy { panic!("no peer is expected") })?;
        let to = ("host.example", port.local_addr().port().unwrap());
        let connecting = reactor.connect_stream(to);
        some_turns().await;
        connecting.cancel();
        if let Some(resolver) = kept.take() {
            resolver.callback(Vec::new());
        }
        connecting
            .await
            .map(drop)
            .unwrap_err()
            .trap::<Cancelled>()?;
        reactor.sleep(SECOND).await?;
        port.stop().await
    });
}

#[test]
fn a_resolver_that_panics_or_finds_nothing_fails_the_connection_only() {
    testing::run(async |reactor| {
        struct Odd;
        impl NameResolver for Odd {
            fn resolve(&self, _: &Reactor, host: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
                assert!(host != "panic.example", "oh");
                Deferred::succeed(Vec::new())
            }
        }
        reactor.set_resolver(Odd);
        let failure = reactor.connect_stream("panic.example:80").await;
        assert!(failure.map(drop).unwrap_err().is_panic());
        let failure = reactor.connect_stream("empty.example:80").await;
        let failure = failure.map(drop).unwrap_err();
        assert_eq!(
            failure.trap::<LookupError>()?.kind,
            LookupErrorKind::NoSuchName
        );
        Ok(())
    });
}

#[test]
fn a_thousand_addresses_are_tried() {
    testing::run(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let mut all: Vec<SocketAddr> = (0..1000).map(|n| refusing(n as u8)).collect();
        all.push(port.local_addr().inet().unwrap());
        let start = reactor.now();
        let conn = reactor.connect_stream(&all[..]).await?;
        assert_eq!(reactor.now(), start);
        drop(conn);
        port.stop().await
    });
}

#[test]
fn stopping_the_reactor_fails_races_and_look_ups() {
    let reactor = Reactor::in_memory().unwrap();
    let hosts = HostsTable::new();
    hosts.never_answer("silent.example");
    reactor.set_resolver(hosts);
    let log = Log::new();
    let all = [addr(SILENT_4), addr(SILENT_6)];
    let note = |result: Result<torsade::Connection, Failure>, log: &Log| {
        log.note(how(&result.map(drop).unwrap_err()));
    };
    for connecting in [
        reactor.connect_stream(&all[..]),
        reactor.connect_stream("silent.example:80"),
    ] {
        let log = log.clone();
        drop(connecting.add_both(move |result| note(result, &log)));
    }
    let stop = reactor.clone();
    reactor.call_later(SECOND, move || stop.stop().unwrap());
    reactor.run().unwrap();
    assert_eq!(log.take(), ["stopped", "stopped"]);
    assert!(testing::leftovers(&reactor).is_empty());
}

#[test]
fn the_same_race_is_run_in_the_same_way_each_time() {
    let run = || {
        let log = Log::new();
        let to = log.clone();
        testing::run(async move |reactor| {
            let port = reactor.listen(HERE, |_| Spy::echo())?;
            let mut all: Vec<SocketAddr> = Vec::new();
            for n in 1..20 {
                all.push(refusing(n));
                all.push(addr(SILENT_4));
                all.push(SocketAddr::new(addr(SILENT_6).ip(), n.into()));
            }
            all.push(port.local_addr().inet().unwrap());
            let start = reactor.now();
            let connecting = reactor.connect_stream(&all[..]);
            for _ in 0..60 {
                reactor.sleep(MS * 100).await?;
                to.note(format_args!(
                    "{:?} {:?}",
                    reactor.now() - start,
                    under_way(&reactor)
                ));
            }
            drop(connecting.await?);
            port.stop().await
        });
        log.take()
    };
    assert_eq!(run(), run());
}

#[test]
fn an_error_describes_each_of_several_attempts() {
    testing::run(async |reactor| {
        let limits = ConnectOptions::new().timeout(SECOND);
        for (addresses, is_refused, is_timed_out) in [
            (vec![refusing(1), refusing(2)], true, false),
            (vec![refusing(1), addr(SILENT_4)], true, true),
            (vec![addr(SILENT_4)], false, true),
        ] {
            let failed = reactor.connect_stream((&addresses[..], &limits)).await;
            let failure = failed.map(drop).unwrap_err();
            let error = failure.trap::<ConnectError>()?;
            let seen = (error.is_refused(), error.is_timed_out());
            assert_eq!(seen, (is_refused, is_timed_out), "{failure}");
        }
        Ok(())
    });
}
