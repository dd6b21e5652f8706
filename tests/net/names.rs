//! Host names: literal names, the system's resolver, and its errors.

use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use support::{HERE, MS, alive, nowhere, some_turns};
use torsade::net::{
    ConnectError, ConnectOptions, HostsTable, LookupError, LookupErrorKind, NameResolver,
    SystemResolver,
};
use torsade::{Cancelled, Clock, Deferred, Reactor};

/// A resolver that must not be called.
struct Never;

impl NameResolver for Never {
    fn resolve(&self, _: &Reactor, host: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
        panic!("{host} is asked for");
    }
}

/// A resolver that always returns the same addresses.
struct Always(Vec<SocketAddr>);

impl NameResolver for Always {
    fn resolve(&self, _: &Reactor, _: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
        Deferred::succeed(self.0.clone())
    }
}

const NUMBER: &str =
    "it is a number in an old notation of addresses; write four decimal numbers, as in `127.0.0.1`";

on_all! {
    async fn literal_addresses_and_localhost_need_no_resolver(reactor) {
        reactor.set_resolver(Never);
        for (host, found) in [
            ("127.0.0.1", "[127.0.0.1:0]"),
            ("::1", "[[::1]:0]"),
            ("[::1]", "[[::1]:0]"),
            ("fe80::1%7", "[[fe80::1%7]:0]"),
            ("[fe80::1%7]", "[[fe80::1%7]:0]"),
            ("localhost", "[127.0.0.1:0, [::1]:0]"),
            ("LocalHost.", "[127.0.0.1:0, [::1]:0]"),
            ("db.localhost", "[127.0.0.1:0, [::1]:0]"),
        ] {
            let resolving = reactor.resolve(host);
            assert!(resolving.is_settled());
            assert_eq!(format!("{:?}", resolving.await?), found, "{host}");
        }
    }

    async fn invalid_names_fail_without_a_resolver(reactor) {
        reactor.set_resolver(Never);
        let long = format!("{}.example", "a".repeat(64));
        let longer = "a.".repeat(127) + "a";
        for (host, problem) in [
            ("", "it is empty"),
            (".", "it is empty"),
            ("a..b", "it has an empty part"),
            (".example", "it has an empty part"),
            ("127.1", NUMBER),
            ("127.0.0.1.", NUMBER),
            ("0x7f.1", NUMBER),
            ("0X7F000001", NUMBER),
            ("2130706433", NUMBER),
            ("0177.0.0.1", NUMBER),
            ("256.1.1.1", NUMBER),
            ("host.1", NUMBER),
            ("fe80::1%nosuch", "its zone is the name of no network interface"),
            ("a b", "it has characters that no host name has"),
            ("a\0b", "it has characters that no host name has"),
            ("a\n", "it has characters that no host name has"),
            ("bücher.example", "it is not ASCII; give its form that begins with `xn--`"),
            (&*long, "a part of it has more than 63 characters"),
            (&*longer, "it has more than 253 characters"),
        ] {
            let failure = reactor.resolve(host).await.unwrap_err();
            let bad = failure.trap::<LookupError>()?;
            let whole = format!("cannot look up {host:?}: it is not a host name ({problem})");
            assert_eq!((bad.to_string(), &*bad.host), (whole, host));
            assert_eq!(bad.kind, LookupErrorKind::InvalidName);
            assert_eq!(failure.location().file(), file!());
        }
    }

    async fn a_name_below_invalid_does_not_exist(reactor) {
        reactor.set_resolver(Never);
        let failure = reactor.resolve("host.invalid").await.unwrap_err();
        assert_eq!(failure.trap::<LookupError>()?.kind, LookupErrorKind::NoSuchName);
        assert!(!failure.trap::<LookupError>()?.is_temporary());
        assert_eq!(failure.location().file(), file!());
    }

    async fn a_resolver_can_be_replaced(reactor) {
        let (one, other) = (HostsTable::new(), HostsTable::new());
        one.add("host.example", [Ipv4Addr::new(10, 0, 0, 1)]);
        other.add("HOST.example.", [Ipv4Addr::new(10, 0, 0, 2)]);
        reactor.set_resolver(one);
        assert_eq!(reactor.resolve("host.example").await?, [SocketAddr::from(([10, 0, 0, 1], 0))]);
        reactor.set_resolver(other);
        assert_eq!(reactor.resolve("host.EXAMPLE").await?, [SocketAddr::from(([10, 0, 0, 2], 0))]);
    }

    async fn the_system_resolver_has_its_own_threads(reactor) {
        reactor.set_resolver(SystemResolver::new());
        // The reactor's own pool is full, and stays full.
        reactor.thread_pool().adjust(0, 1);
        let (release, held) = mpsc::channel::<()>();
        let blocked = reactor.spawn_blocking(move || {
            let _ = held.recv();
            Ok(())
        });
        // A literal address in an old form: no name server is asked.
        let resolving = SystemResolver::new().resolve(&reactor, "127.1", 80);
        assert!(!resolving.is_settled());
        assert_eq!(resolving.await?, [SocketAddr::from(([127, 0, 0, 1], 80))]);
        drop(release);
        blocked.await?;
    }

    async fn look_ups_over_the_limit_fail_and_cancelled_ones_make_room(reactor) {
        // One thread, with more work than it can do; at least one look-up waits.
        let system = SystemResolver::with_limits(1, 1);
        let all: Vec<_> = (0..200).map(|_| system.resolve(&reactor, "127.1", 80)).collect();
        let (mut found, mut refused) = (0, 0);
        for one in all {
            match one.await {
                Ok(addresses) => {
                    assert_eq!(addresses, [SocketAddr::from(([127, 0, 0, 1], 80))]);
                    found += 1;
                }
                Err(failure) => {
                    assert_eq!(failure.trap::<LookupError>()?.kind, LookupErrorKind::TooMany);
                    refused += 1;
                }
            }
        }
        assert!(found >= 2 && refused > 0, "{found} found, {refused} refused");
        let queued = system.resolve(&reactor, "127.1", 80);
        queued.cancel();
        assert!(queued.await.is_err());
        assert!(alive(&reactor).is_empty());
    }

    async fn connecting_to_a_host_of_this_machine_works(reactor) {
        let port = reactor.serve("localhost:0", async |mut conn| Ok(conn.write_all(b"hello\n").await?))?;
        let number = port.local_addr().port().unwrap();
        let mut conn = reactor.connect_stream(("localhost", number)).await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        drop(conn);
        port.stop().await?;
    }

    async fn connecting_to_a_host_uses_the_first_address_that_answers(reactor) {
        let (first, second) = (nowhere(&reactor).await?, nowhere(&reactor).await?);
        let port = reactor.serve(HERE, async |mut conn| Ok(conn.write_all(b"hello\n").await?))?;
        let there = port.local_addr().inet().unwrap();
        reactor.set_resolver(Always(vec![first, second, there]));
        // A refusal is followed by the next attempt at once.
        let options = ConnectOptions::new().attempt_delay(MS * 20_000);
        let start = reactor.now();
        let mut conn = reactor.connect_stream(("host.example:80", options)).await?;
        assert_eq!(conn.peer(), there);
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        assert!(reactor.now() - start < MS * 10_000);
        drop(conn);
        port.stop().await?;
    }

    async fn connecting_to_an_unreachable_host_fails_with_each_address_or_with_no_address(reactor) {
        let all = [nowhere(&reactor).await?, nowhere(&reactor).await?];
        reactor.set_resolver(Always(all.to_vec()));
        let options = ConnectOptions::new().attempt_delay(MS * 20_000);
        let host = ("host.example:80", &options);
        let start = reactor.now();
        let failure = reactor.connect_stream(host).await.map(drop).unwrap_err();
        let attempts = expect_error!(failure, ConnectError::AllFailed { attempts } => attempts);
        for ((address, why), tried) in attempts.iter().zip(all) {
            assert_eq!(*address, tried);
            assert_eq!(*expect_error!(why, ConnectError::Refused { address, .. } => address), tried);
        }
        reactor.set_resolver(Always(vec![all[0]]));
        let failure = reactor.connect_stream(host).await.map(drop).unwrap_err();
        assert!(matches!(failure.trap()?, ConnectError::Refused { .. }));
        assert!(reactor.now() - start < MS * 10_000);
        reactor.set_resolver(Always(Vec::new()));
        let failure = reactor.connect_stream("host.example:80").await.map(drop).unwrap_err();
        assert_eq!(failure.trap::<LookupError>()?.kind, LookupErrorKind::NoSuchName);
        let failure = reactor.connect_stream(("no host", 80)).await.map(drop).unwrap_err();
        assert_eq!(failure.trap::<LookupError>()?.kind, LookupErrorKind::InvalidName);
    }

    async fn cancelling_during_a_look_up_cancels_the_look_up(reactor) {
        let given_up = Rc::new(Cell::new(false));
        struct Silent(Rc<Cell<bool>>);
        impl NameResolver for Silent {
            fn resolve(&self, _: &Reactor, _: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
                let (deferred, resolver) = Deferred::pair();
                let noted = self.0.clone();
                deferred.on_cancel(move || {
                    noted.set(true);
                    drop(resolver);
                })
            }
        }
        reactor.set_resolver(Silent(given_up.clone()));
        let connecting = reactor.connect_stream("host.example:80");
        some_turns().await;
        assert!(!connecting.is_settled() && !alive(&reactor).is_empty());
        connecting.cancel();
        connecting.await.map(drop).unwrap_err().trap::<Cancelled>()?;
        assert!(given_up.get() && alive(&reactor).is_empty());
    }
}

#[test]
fn in_memory_only_the_table_answers_after_its_delay() {
    torsade::testing::run(async |reactor| {
        let failure = reactor.resolve("example.org").await.unwrap_err();
        assert_eq!(
            failure.trap::<LookupError>()?.kind,
            LookupErrorKind::NoSuchName
        );
        let hosts = HostsTable::new();
        reactor.set_resolver(hosts.clone());
        hosts.add("example.org", [Ipv6Addr::LOCALHOST]);
        hosts.set_delay(MS * 7);
        hosts.fail("broken.example", LookupErrorKind::TryAgain);
        let start = reactor.now();
        assert_eq!(
            reactor.resolve("example.org").await?,
            [SocketAddr::from((Ipv6Addr::LOCALHOST, 0))]
        );
        assert_eq!(reactor.now() - start, MS * 7);
        let failure = reactor.resolve("broken.example").await.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "cannot look up \"broken.example\": no answer is available now"
        );
        hosts.never_answer("silent.example");
        let late = reactor
            .resolve("silent.example")
            .timeout(Duration::from_secs(5), &reactor);
        assert!(late.await.is_err());
        Ok(())
    });
}

/// On any network: the name does not exist, or there is no answer.
#[test]
fn an_unknown_name_differs_from_a_missing_answer() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let name = "no-such-host-at-all.example";
        let failure = reactor.resolve(name).await.unwrap_err();
        let lookup = failure.trap::<LookupError>()?;
        assert_eq!(lookup.host, name);
        let code = lookup.code.expect("the system was asked");
        #[cfg(unix)]
        let (none, no_data, again) = (libc::EAI_NONAME, libc::EAI_NODATA, libc::EAI_AGAIN);
        #[cfg(windows)]
        let (none, no_data, again) = (11_001, 11_004, 11_002);
        let is_expected = match lookup.kind {
            LookupErrorKind::NoSuchName => code == none || code == no_data,
            LookupErrorKind::TryAgain => code == again,
            _ => true,
        };
        assert!(is_expected && lookup.message.is_some(), "{failure:?}");
        Ok(())
    });
}

/// The index of the interface that every machine has.
#[cfg(target_os = "linux")]
fn loopback() -> u32 {
    let number = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
    number.trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
mod zones {
    use super::*;
    use torsade::net::{ClientEndpoint, EndpointError, ServerEndpoint};
    use torsade::{Address, Failure};

    #[test]
    fn an_interface_may_be_named_in_every_text() -> Result<(), Failure> {
        let said = format!("[fe80::1%{}]:80", loopback());
        for text in [
            "[fe80::1%lo]:80",
            r"tcp:host=fe80\:\:1%lo:port=80",
            r"tcp:[fe80\:\:1%lo]:80",
        ] {
            assert_eq!(ClientEndpoint::parse(text)?.to_string(), said, "{text}");
        }
        for text in [
            "[fe80::1%lo]:80",
            r"tcp6:80:interface=fe80\:\:1%lo",
            "haproxy:[fe80::1%lo]:80",
        ] {
            let read = ServerEndpoint::parse(text)?.to_string();
            assert_eq!(read.trim_start_matches("haproxy:"), said, "{text}");
        }
        assert_eq!(ClientEndpoint::host("fe80::1%lo", 80).to_string(), said);
        assert_eq!("[fe80::1%lo]:80".parse::<Address>()?.to_string(), said);
        let failure = ServerEndpoint::parse(r"tcp6:80:interface=fe80\:\:1%nosuch").unwrap_err();
        let bad = failure.trap::<EndpointError>()?.to_string();
        assert!(
            bad.ends_with(r#"there is no network interface "nosuch""#),
            "{bad}"
        );
        Ok(())
    }

    #[test]
    fn looking_up_keeps_the_zone_and_connecting_and_sending_use_it() {
        torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
            let found = reactor.resolve("fe80::1%lo").await?;
            assert_eq!(found[0].to_string(), format!("[fe80::1%{}]:0", loopback()));
            // Nothing listens there, but the route is known: without a zone the argument would be
            // invalid.
            let failure = reactor.connect_stream(("fe80::1%lo", 1)).await.unwrap_err();
            let errno = failure
                .find::<std::io::Error>()
                .and_then(std::io::Error::raw_os_error);
            assert_ne!(errno, Some(libc::EINVAL), "{failure:?}");
            let socket = reactor.bind_datagram("[::]:0")?;
            let sent = socket.send_to(b"x", "[fe80::1%lo]:9").await;
            let errno = sent
                .err()
                .and_then(|failure| failure.find::<std::io::Error>()?.raw_os_error());
            assert_ne!(errno, Some(libc::EINVAL));
            let failure = reactor
                .connect_stream(("fe80::1%nosuch", 1))
                .await
                .unwrap_err();
            let kind = failure.trap::<LookupError>()?.kind;
            assert_eq!(kind, LookupErrorKind::InvalidName);
            Ok::<(), Failure>(())
        });
    }
}
