//! UNIX datagram sockets: a full destination delays no other, and files are removed by their owners
//! only.
#![cfg(unix)]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures::{SinkExt, future};
use support::{Log, MS, expect_reports, some_turns, until};
use torsade::net::ListenError;
use torsade::net::datagram::{DatagramError, DatagramOptions};
use torsade::reactor::Grace;
use torsade::{Address, Clock, Context, DatagramPort, DatagramProtocol, Failure, Reactor};

type Cx<'a, P> = Context<'a, P, DatagramPort>;

/// A protocol that records its hooks.
struct Ear(Log);

impl Ear {
    fn new(log: &Log) -> Self {
        Self(log.clone())
    }
}

impl DatagramProtocol for Ear {
    fn started(&mut self, _cx: &mut Cx<'_, Self>) {
        self.0.note("started");
    }

    fn datagram_received(&mut self, _cx: &mut Cx<'_, Self>, data: &[u8], _from: Address) {
        self.0.note(data.escape_ascii());
    }

    fn write_ready(&mut self, _cx: &mut Cx<'_, Self>) {
        self.0.note("ready");
    }

    fn stopped(&mut self) {
        self.0.note("stopped");
    }
}

fn path(name: &str, reactor: &Reactor) -> PathBuf {
    let kind = format!("{reactor:p}-{}", std::process::id());
    std::env::temp_dir().join(format!("torsade-{kind}-{name}"))
}

/// Returns the result, if it is there within 300 milliseconds.
async fn soon<T>(
    reactor: &Reactor,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = reactor.sleep(MS * 300);
    match future::select(std::pin::pin!(future), late).await {
        future::Either::Left((result, _)) => result,
        future::Either::Right(_) => Err(Failure::new("it took too long")),
    }
}

/// A value that counts its clones.
struct Counted;

impl std::task::Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

on_both! {
    async fn a_dropped_future_leaves_no_waker_behind(reactor) {
        let there = path("there", &reactor);
        let _full = reactor.bind_datagram(&there)?;
        let socket = reactor.bind_datagram(path("here", &reactor))?;
        let counted = Arc::new(Counted);
        let waker = counted.clone().into();
        let mut cx = std::task::Context::from_waker(&waker);
        while pin!(socket.send_to(b"x", &there)).poll(&mut cx).is_ready() {}
        for _ in 0..100 {
            assert!(pin!(socket.recv(&mut [0])).poll(&mut cx).is_pending());
            assert!(pin!(socket.send_to(b"x", &there)).poll(&mut cx).is_pending());
        }
        drop(waker);
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    async fn a_destination_that_never_reads_delays_no_other(reactor) {
        let log = Log::new();
        let (bad, good, here) = (path("deaf", &reactor), path("good", &reactor), path("busy", &reactor));
        let (deaf, ear) = (reactor.bind_datagram(&bad)?, reactor.bind_datagram(&good)?);
        let options = DatagramOptions::new().queue(2_000);
        let port = reactor.listen_datagram((&here, &options), Ear::new(&log))?;
        let mut sent = 0_u32;
        while port.write(sent.to_be_bytes(), &bad).is_ok() {
            sent += 1;
        }
        assert!(port.is_full());
        for n in 0..100_u8 {
            port.write([n], &good)?;
            let mut buf = [0; 4];
            assert_eq!(soon(&reactor, ear.recv(&mut buf)).await?, 1);
            assert_eq!(buf[0], n);
        }
        for n in 0..sent {
            let mut buf = [0; 4];
            assert_eq!(deaf.recv(&mut buf).await?, 4);
            assert_eq!(u32::from_be_bytes(buf), n, "in order, none lost");
        }
        until(|| log.has("ready")).await;
        until(|| port.queued() == 0).await;
        port.stop().await?;
    }

    async fn datagrams_unsent_at_the_close_are_reported(reactor) {
        reactor.set_grace(Grace { stalled: MS * 50, ..Grace::default() });
        let reports = expect_reports(&reactor);
        let (bad, here) = (path("deaf", &reactor), path("busy", &reactor));
        let deaf = reactor.bind_datagram(&bad)?;
        let port = reactor.listen_datagram(&here, Ear::new(&Log::new()))?;
        while port.queued() == 0 {
            port.write(b"data", &bad)?;
        }
        port.write(b"more data", &bad)?;
        port.stop().await?;
        let reported = reports.borrow()[0].failure().clone();
        let loss = expect_error!(reported, DatagramError::NotSent { datagrams, bytes, .. } => (*datagrams, *bytes));
        assert_eq!(loss, (2, 13), "{reported}");
        assert_eq!(reports.borrow().len(), 1);
        drop(deaf);
    }

    async fn async_senders_wait_only_for_their_own_destination(reactor) {
        let (bad, good) = (path("deaf", &reactor), path("good", &reactor));
        let (deaf, ear) = (reactor.bind_datagram(&bad)?, reactor.bind_datagram(&good)?);
        let fast = Rc::new(reactor.bind_datagram(path("fast", &reactor))?);
        let (sender, to) = (fast.clone(), bad.clone());
        let sending = reactor.spawn(async move {
            for n in 0..50_u32 {
                sender.send_to(&n.to_be_bytes(), &to).await?;
            }
            Ok::<_, Failure>(())
        });
        some_turns().await;
        for n in 0..100_u8 {
            soon(&reactor, fast.send_to(&[n], &good)).await?;
            assert_eq!(ear.recv(&mut [0; 4]).await?, 1);
        }
        for n in 0..50_u32 {
            let mut buf = [0; 4];
            assert_eq!(deaf.recv(&mut buf).await?, 4);
            assert_eq!(u32::from_be_bytes(buf), n);
        }
        sending.await??;
    }

    async fn datagrams_of_the_last_hook_are_sent_before_the_stop(reactor) {
        /// A protocol that, in `write_ready`, writes until the system accepts no more, and stops
        /// the port.
        struct Last(Rc<Cell<u32>>);

        impl DatagramProtocol for Last {
            fn datagram_received(&mut self, _cx: &mut Cx<'_, Self>, _data: &[u8], _from: Address) {}

            fn write_ready(&mut self, cx: &mut Cx<'_, Self>) {
                while cx.queued() == 0 {
                    self.0.set(self.0.get() + 1);
                    cx.write_connected("last").unwrap();
                }
                drop(cx.stop());
            }
        }

        let there = path("there", &reactor);
        let ear = reactor.bind_datagram(&there)?;
        let count = Rc::default();
        let options = DatagramOptions::new().queue(100);
        let port = reactor.listen_datagram((Address::Unnamed, options.connect(there.as_path())), Last(Rc::clone(&count)))?;
        while port.write_connected("first").is_ok() {
            count.set(count.get() + 1);
        }
        // Receives until nothing has arrived for a while.
        let mut heard = 0;
        let mut buf = [0; 8];
        while soon(&reactor, ear.recv(&mut buf)).await.is_ok() {
            heard += 1;
        }
        assert_eq!(heard, count.get());
        assert!(!port.is_listening());
    }

    async fn a_port_that_cannot_connect_never_starts_and_frees_its_name(reactor) {
        let log = Log::new();
        let own = path("own", &reactor);
        let options = DatagramOptions::new();
        for _ in 0..2 {
            let failed = reactor.listen_datagram((&own, options.clone().connect(path("nobody", &reactor))), Ear::new(&log));
            let failure = failed.unwrap_err();
            assert!(!is_error!(failure, ListenError::Failed { .. }), "{failure:?}");
        }
        some_turns().await;
        assert!(log.take().is_empty());
    }

    async fn a_sink_with_unsent_datagrams_fails_when_closed(reactor) {
        reactor.set_grace(Grace { stalled: MS * 50, ..Grace::default() });
        let reports = expect_reports(&reactor);
        let there = path("there", &reactor);
        let _deaf = reactor.bind_datagram(&there)?;
        let mut socket = reactor.bind_datagram(path("own", &reactor))?;
        while socket.port().queued() == 0 {
            socket.feed(("x", there.as_path())).await?;
        }
        socket.port().stop().await?;
        assert!(is_error!(SinkExt::<(&str, &Path)>::flush(&mut socket).await.unwrap_err(), DatagramError::Closed));
        assert!(is_error!(SinkExt::<(&str, &Path)>::close(&mut socket).await.unwrap_err(), DatagramError::Closed));
        assert!(is_error!(reports.borrow()[0].failure(), DatagramError::NotSent { .. }));
    }
}

/// The system reports space only for the address that the port is connected to.
#[test]
fn a_connected_port_that_writes_to_another_address_does_not_spin() {
    let reactor = Reactor::new().unwrap();
    let (near, far) = (path("near", &reactor), path("far", &reactor));
    let _near = reactor.bind_datagram(&near).unwrap();
    let _far = reactor.bind_datagram(&far).unwrap();
    let options = DatagramOptions::new();
    let ear = Ear::new(&Log::new());
    let port = reactor
        .listen_datagram((Address::Unnamed, options.connect(near.as_path())), ear)
        .unwrap();
    while port.queued() == 0 {
        port.write("x", &far).unwrap();
    }
    torsade::testing::settle(&reactor);
    let begin = std::time::Instant::now();
    for _ in 0..10 {
        reactor.iterate(MS * 20);
    }
    assert!(begin.elapsed() > MS * 20, "{:?}", begin.elapsed());
    assert!(port.queued() > 0);
}

/// A new program takes over the name; the old one does not remove it.
#[test]
fn a_name_taken_by_another_process_is_not_removed() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let there = path("handed", &reactor);
        let old = reactor.listen_datagram(&there, Ear::new(&Log::new()))?;
        fs::remove_file(&there)?;
        let new = reactor.bind_datagram(&there)?;
        old.stop().await?;
        assert!(there.exists());
        drop(new);
        some_turns().await;
        assert!(!there.exists());
        Ok(())
    });
}
