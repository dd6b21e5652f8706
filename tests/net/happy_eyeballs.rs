//! Several addresses for one connection: who is tried when, who wins, and what is left behind. Mostly in memory, so that
//! each moment is exact.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::support::{HERE, Log, MS, Spy, alive, how, some_turns};
use torsade::net::{
    ConnectFailedEverywhere, ConnectOptions, ConnectTimedOut, ConnectionRefused, HostsTable,
    LookupFailed, LookupProblem, NameResolver, NoAddress,
};
use torsade::testing;
use torsade::{Address, Cancelled, Clock, Deferred, Failure, Reactor};

/// Addresses at which nobody answers.
const SILENT_4: &str = "192.0.2.1:80";
const SILENT_6: &str = "[2001:db8::1]:80";
const SECOND: Duration = Duration::from_secs(1);
/// After so long without an answer the next address is tried.
const DELAY: Duration = Duration::from_millis(250);

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Where nobody listens, which is told at once.
fn refusing(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 9))
}

/// To whom attempts are under way.
fn under_way(reactor: &Reactor) -> Vec<String> {
    let dump = reactor.dump();
    let attempts = dump
        .roots
        .iter()
        .filter(|node| node.kind == "connection attempt");
    attempts.map(|node| node.about.clone()).collect()
}

#[test]
fn an_address_that_is_silent_for_a_quarter_of_a_second_is_joined_by_the_next() {
    testing::run(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let all = [addr(SILENT_4), port.local_addr().inet().unwrap()];
        let start = reactor.now();
        let conn = reactor.connect_stream(&all[..]).await?;
        assert_eq!(reactor.now() - start, DELAY);
        assert_eq!(conn.peer(), port.local_addr());
        // The silent one was called off, with its time limit.
        assert!(under_way(&reactor).is_empty());
        drop(conn);
        port.stop().await
    });
}

/// An address that does not answer: of nobody in memory; on the machine of a listener whose queue is full, which is given
/// back to be kept.
fn silent(reactor: &Reactor) -> (SocketAddr, Option<impl Sized>) {
    #[cfg(unix)]
    let is_in_memory = testing::Stdio::new(reactor).is_ok();
    // What listens in memory is not found from outside.
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

on_both! {
    async fn the_first_that_is_connected_wins_and_the_others_are_called_off(reactor) {
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

    async fn giving_up_calls_all_attempts_and_timers_off(reactor) {
        let (silent, _kept) = silent(&reactor);
        let options = ConnectOptions::new().attempt_delay(MS);
        let log = Log::new();
        let connecting = reactor.connect((&[silent; 3][..], &options), Spy::new(&log));
        reactor.sleep(MS * 20).await?;
        assert_eq!(under_way(&reactor).len(), 3);
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
fn a_failure_beside_a_silent_attempt_starts_the_next_one_at_once() {
    testing::run(async |reactor| {
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let all = [
            addr(SILENT_4),
            refusing(1),
            port.local_addr().inet().unwrap(),
        ];
        let start = reactor.now();
        drop(reactor.connect_stream(&all[..]).await?);
        // One delay for the silent one, and none for the one that refused.
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
            // The next attempt begins when nothing of the last one is to be seen.
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
fn all_failed_tells_what_came_of_each() {
    testing::run(async |reactor| {
        let all = [addr(SILENT_4), addr(SILENT_6), refusing(1)];
        let options = ConnectOptions::new().timeout(SECOND);
        let start = reactor.now();
        let failure = reactor
            .connect_stream((&all[..], &options))
            .await
            .map(drop)
            .unwrap_err();
        // The last one to end began after one delay, and had a second.
        assert_eq!(reactor.now() - start, SECOND + DELAY);
        let everywhere = failure.trap::<ConnectFailedEverywhere>()?;
        let told: Vec<(Address, bool)> = everywhere
            .attempts
            .iter()
            .map(|(address, why)| (address.clone(), why.is::<ConnectTimedOut>()))
            .collect();
        let [silent_4, silent_6, refused] = all.map(Address::from);
        assert_eq!(
            told,
            [(refused, false), (silent_4, true), (silent_6.clone(), true)]
        );
        assert_eq!(failure.find::<ConnectTimedOut>().unwrap().address, silent_6);
        assert_eq!(failure.location().file(), file!());
        assert!(
            failure
                .to_string()
                .starts_with("none of 3 addresses answered (connection refused by 127.0.0.1:9: ")
        );
        Ok(())
    });
}

#[test]
fn one_address_fails_as_itself() {
    testing::run(async |reactor| {
        let hosts = HostsTable::new();
        hosts.add("one.example", [IpAddr::from([127, 0, 0, 1])]);
        reactor.set_resolver(hosts);
        let failure = reactor
            .connect_stream("one.example:9")
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(failure.trap::<ConnectionRefused>()?.address, refusing(1));
        assert_eq!(failure.location().file(), file!());

        let options = ConnectOptions::new().timeout(SECOND);
        let start = reactor.now();
        let late = reactor.connect_stream((SILENT_4, &options)).await;
        let failure = late.map(drop).unwrap_err();
        let timed_out = failure.trap::<ConnectTimedOut>()?;
        assert_eq!(timed_out.limit, Some(SECOND));
        assert_eq!(reactor.now() - start, SECOND);
        Ok(())
    });
}

#[test]
fn the_whole_has_a_limit_as_well() {
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
        let everywhere = failure.trap::<ConnectFailedEverywhere>()?;
        let limits: Vec<_> = everywhere
            .attempts
            .iter()
            .map(|(_, why)| {
                why.downcast_ref::<ConnectTimedOut>()
                    .unwrap()
                    .limit
                    .unwrap()
            })
            .collect();
        // Two began early enough to use up their own second; each failure, and each quarter of a second, began another.
        let whole = SECOND * 3 / 2;
        assert_eq!(limits, [SECOND, SECOND, whole, whole, whole, whole]);
        Ok(())
    });
}

#[test]
fn without_a_wish_the_whole_may_take_twice_as_long_as_one() {
    testing::run(async |reactor| {
        let hosts = HostsTable::new();
        hosts.add("slow.example", [[192, 0, 2, 1]]);
        hosts.set_delay(SECOND * 25);
        reactor.set_resolver(hosts);
        let start = reactor.now();
        let failure = reactor.connect_stream("slow.example:80").await;
        failure.map(drop).unwrap_err().trap::<ConnectTimedOut>()?;
        assert_eq!(reactor.now() - start, SECOND * 55);
        let options = ConnectOptions::new().overall_timeout(SECOND * 40);
        let start = reactor.now();
        let failure = reactor.connect_stream(("slow.example:80", &options)).await;
        let failure = failure.map(drop).unwrap_err();
        assert_eq!(failure.trap::<ConnectTimedOut>()?.limit, Some(SECOND * 40));
        assert_eq!(reactor.now() - start, SECOND * 40);
        Ok(())
    });
}

#[test]
fn a_delay_of_ones_own_is_kept() {
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
        // The second silent one is of the other family, so the port comes third.
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
fn a_name_that_is_not_found_is_a_failure_of_its_own() {
    testing::run(async |reactor| {
        let failure = reactor.connect_stream("nowhere.example:80").await;
        let failure = failure.map(drop).unwrap_err();
        let lookup = failure.trap::<LookupFailed>()?;
        assert_eq!(lookup.problem, LookupProblem::NoSuchName);
        assert_eq!(lookup.host, "nowhere.example");
        assert_eq!(failure.location().file(), file!());
        let none: [SocketAddr; 0] = [];
        let failure = reactor.connect_stream(&none[..]).await;
        failure.map(drop).unwrap_err().trap::<NoAddress>()?;
        Ok(())
    });
}

#[test]
fn a_lookup_that_is_never_answered_times_out_and_is_called_off() {
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
            failure.trap::<LookupFailed>()?.problem,
            LookupProblem::TimedOut
        );
        assert_eq!(reactor.now() - start, SECOND * 30);
        assert!(called_off.get());
        Ok(())
    });
}

#[test]
fn cancelling_while_the_name_is_looked_up_leaves_nothing() {
    testing::run(async |reactor| {
        let hosts = HostsTable::new();
        hosts.add("host.example", [[127, 0, 0, 1]]);
        hosts.set_delay(SECOND);
        hosts.keep_silent("silent.example");
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
                // Whatever happens, it has an answer.
                deferred.add_errback(move |_| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]))
            }
        }
        let kept = Kept::default();
        reactor.set_resolver(Stubborn(kept.clone()));
        let port = reactor.listen(HERE, |_| -> Spy { panic!("nobody is to come") })?;
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
            failure.trap::<LookupFailed>()?.problem,
            LookupProblem::NoSuchName
        );
        Ok(())
    });
}

#[test]
fn a_thousand_addresses_are_well() {
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
fn what_is_raced_or_looked_up_when_the_reactor_stops_fails_then() {
    let reactor = Reactor::in_memory().unwrap();
    let hosts = HostsTable::new();
    hosts.keep_silent("silent.example");
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
