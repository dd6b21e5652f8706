//! What tests are written with: looking at Deferreds, two protocols connected to each other,
//! waiting for a condition, and reaching into a protocol on a wire.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use support::{Log, MS, Spy, how};
use torsade::clock::TimedOut;
use torsade::protocols::{LineProtocol, Lines};
use torsade::testing::{self, Wire, WirePair, failure_of, pending, success_of, wait_until};
use torsade::transport::Limits;
use torsade::{
    Cancelled, Clock, Context, Deferred, DeferredLock, Failure, Protocol, Reactor, VirtualClock,
};

const SECOND: Duration = Duration::from_secs(1);

/// Returns the text of a panic.
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(f()))).unwrap_err();
    let text = panic.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
}

#[test]
fn success_of_returns_a_value_and_panics_with_the_location_otherwise() {
    let (mut later, resolver) = Deferred::pair();
    let made = later.location().map(Location::line).unwrap();
    let text = panic_of(|| success_of(&mut later));
    assert!(text.contains("still pending"), "{text}");
    assert!(text.contains(&format!("{}:{made}", file!())), "{text}");
    resolver.callback(String::from("value"));
    assert_eq!(success_of(&mut later), "value");
    // It was taken out, as by an await.
    assert!(panic_of(|| success_of(&mut later)).contains("taken"));
    let text = panic_of(|| success_of(Deferred::<()>::fail("no such thing")));
    assert!(text.contains("no such thing"), "{text}");
}

#[test]
fn a_failure_that_is_there_is_given_and_handled() {
    testing::run(async |_reactor| {
        let failed = Deferred::<u32>::fail(Cancelled);
        assert!(failure_of(failed).is::<Cancelled>());
        let (later, resolver) = Deferred::<u32>::pair();
        let mut later = later.add_callback(|n| Ok(n + 1));
        pending(&later);
        resolver.errback("a reason");
        assert_eq!(failure_of(&mut later).to_string(), "a reason");
        Ok(())
    });
    assert!(panic_of(|| failure_of(Deferred::succeed(1))).contains("there was a value"));
    assert!(panic_of(|| failure_of(Deferred::<()>::pair().0)).contains("pending"));
}

#[test]
fn looking_at_a_pending_deferred_neither_consumes_nor_cancels_it() {
    let (mut later, resolver) = Deferred::<u32>::pair();
    pending(&later);
    drop(panic_of(|| success_of(&mut later)));
    drop(panic_of(|| failure_of(&mut later)));
    assert!(!resolver.is_cancelled());
    let text = panic_of(|| pending(&Deferred::succeed(1)));
    assert!(text.contains("expected to be pending"), "{text}");
    let seen = Rc::new(Cell::new(0));
    let note = seen.clone();
    drop(later.map(move |n| note.set(n)));
    resolver.callback(3);
    assert_eq!(seen.get(), 3);
}

#[test]
fn an_offered_result_counts_as_available() {
    let lock = DeferredLock::new(0);
    let held = success_of(lock.acquire());
    let mut second = lock.acquire();
    pending(&second);
    drop(held);
    drop(success_of(&mut second));
}

#[test]
fn a_virtual_clock_and_deferreds_need_no_reactor() {
    let clock = VirtualClock::new();
    let mut late = torsade::defer_later(&clock, SECOND, || Ok(7));
    clock.advance(SECOND / 2);
    pending(&late);
    clock.advance(SECOND / 2);
    assert_eq!(success_of(&mut late), 7);
}

#[test]
fn a_condition_is_waited_for_to_the_moment_it_holds_and_no_longer_than_the_limit() {
    testing::run(async |reactor| {
        let (count, start) = (Rc::new(Cell::new(0)), reactor.now());
        for number in 1..=100 {
            let count = count.clone();
            reactor.call_later(SECOND * number, move || count.set(count.get() + 1));
        }
        wait_until(&reactor, SECOND * 100, || count.get() == 7).await?;
        assert_eq!(reactor.now() - start, SECOND * 7);
        let failure = wait_until(&reactor, SECOND * 3 / 2, || count.get() == 50)
            .await
            .unwrap_err();
        failure.downcast_ref::<TimedOut>().unwrap();
        assert_eq!(reactor.now() - start, SECOND * 17 / 2);
        // A condition that holds at the limit holds.
        wait_until(&reactor, SECOND * 3 / 2, || count.get() == 10).await?;
        wait_until(&reactor, SECOND * 1000, || count.get() == 100).await
    });
}

#[test]
fn waiting_for_a_condition_in_memory_takes_no_real_time() {
    for reactor in [Reactor::in_memory().unwrap(), Reactor::new().unwrap()] {
        testing::run_on(reactor, async |reactor| {
            let log = Log::new();
            let to = log.clone();
            let start = reactor.now();
            let port = reactor.listen("127.0.0.1:0", move |_| Spy::new(&to))?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(b"hello").await?;
            wait_until(&reactor, SECOND * 20, || log.has("data hello")).await?;
            let took = reactor.now() - start;
            assert!(took < SECOND * 20, "{took:?}");
            drop(conn);
            wait_until(&reactor, SECOND * 20, || log.has("lost done")).await?;
            port.stop().await
        });
    }
}

/// Counts down with its peer.
struct Down {
    log: Log,
    name: &'static str,
    first: Option<u32>,
}

impl Down {
    fn new(log: &Log, name: &'static str, first: Option<u32>) -> Lines<Self> {
        let log = log.clone();
        Lines::new(Self { log, name, first })
    }
}

impl LineProtocol for Down {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.log.note(format_args!("{} made", self.name));
        if let Some(first) = self.first {
            cx.send_line(first.to_string());
        }
    }

    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        self.log
            .note(format_args!("{} {}", self.name, line.escape_ascii()));
        match String::from_utf8_lossy(line).parse::<u32>() {
            Ok(0) | Err(_) => cx.lose_connection(),
            Ok(number) => cx.send_line((number - 1).to_string()),
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log
            .note(format_args!("{} lost {}", self.name, how(&reason)));
    }
}

#[test]
fn two_protocols_speak_to_each_other_step_by_step() {
    let log = Log::new();
    let mut pair = WirePair::new(
        Down::new(&log, "left", Some(2)),
        Down::new(&log, "right", None),
    );
    assert_eq!(log.take(), ["left made", "right made"]);
    assert!(pair.pump());
    assert_eq!(log.take(), ["right 2"]);
    assert!(pair.pump());
    assert_eq!(log.take(), ["left 1"]);
    assert!(pair.pump());
    assert_eq!(log.take(), ["right 0", "right lost done"]);
    assert!(pair.pump());
    assert_eq!(log.take(), ["left lost done"]);
    while pair.pump() {}
    assert!(pair.left().is_closed() && pair.right().is_closed() && log.is_empty());
}

#[test]
fn two_protocols_speak_to_each_other_to_the_end() {
    let log = Log::new();
    let mut pair = WirePair::new(
        Down::new(&log, "left", Some(100)),
        Down::new(&log, "right", None),
    );
    pair.flush();
    assert_eq!(log.all().len(), 2 + 101 + 2);
    assert!(pair.left().is_closed() && pair.right().is_closed());
}

#[test]
fn a_reset_and_a_half_close_reach_the_other_end() {
    let log = Log::new();
    let mut pair = WirePair::new(Spy::named(&log, "left"), Spy::named(&log, "right"));
    pair.left().transport().abort_connection();
    pair.flush();
    pair.flush();
    assert_eq!(
        log.take(),
        [
            "left made",
            "right made",
            "left lost aborted",
            "right lost broken ConnectionReset"
        ]
    );

    let left = Spy::named(&log, "left").on_made(|cx| {
        cx.write("question");
        cx.lose_write();
    });
    let right = Spy::named(&log, "right").on_eof(|cx| {
        cx.write("answer");
        cx.lose_connection();
    });
    let mut pair = WirePair::new(left, right);
    pair.flush();
    assert_eq!(
        log.take(),
        [
            "left made",
            "right made",
            "right data question",
            "right eof",
            "right lost done",
            "left data answer",
            "left eof",
            "left lost done"
        ]
    );
}

#[test]
fn an_end_that_does_not_read_makes_the_other_end_full() {
    let log = Log::new();
    let most = Limits::default().high;
    let mut pair = WirePair::new(Spy::new(&Log::new()), Spy::named(&log, "right"));
    pair.right().transport().pause_producing();
    let transport = pair.left().transport().clone();
    let mut written = 0;
    while !transport.is_full() {
        transport.write(vec![b'x'; most / 4]);
        written += most / 4;
        pair.flush();
        assert!(written < 10 << 20, "it never became full");
    }
    assert!(log.all().iter().all(|note| note == "right made"));
    pair.right().transport().resume_producing();
    pair.advance(Duration::ZERO);
    pair.flush();
    assert!(!transport.is_full() && transport.queued() == 0);
    assert!(log.count("right data") > 0);
}

#[test]
fn an_end_that_has_ended_does_not_hold_up_the_other_end() {
    let log = Log::new();
    // This end goes on writing after the other end's end of file.
    let left = Spy::named(&log, "left").on_eof(|_| ());
    let mut pair = WirePair::new(left, Spy::named(&log, "right"));
    pair.right().handle().lose_connection();
    pair.flush();
    pair.flush();
    let transport = pair.left().transport().clone();
    for _ in 0..100 {
        transport.write(vec![b'x'; 100_000]);
        pair.flush();
    }
    assert_eq!(transport.queued(), 0);
    transport.lose_connection();
    pair.flush();
    assert!(pair.left().is_closed());
}

#[test]
fn time_goes_by_for_both_ends_together() {
    struct Late;
    impl Protocol for Late {
        fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
            cx.call_later(MS, |_, cx| cx.write("late"));
        }
    }
    let mut pair = WirePair::new(Late, Late);
    pair.flush();
    pair.advance(MS);
    assert_eq!(pair.left().take_received(), b"late");
    assert_eq!(pair.right().take_received(), b"late");
}

#[test]
fn the_protocol_on_a_wire_can_be_reached() {
    let log = Log::new();
    let mut wire = Wire::new(Down::new(&log, "down", None));
    wire.send("3\r\n");
    let first = wire.with_protocol(|lines, cx| {
        cx.send_line("extra");
        lines.get_mut().first.replace(9)
    });
    assert_eq!(first, None);
    assert_eq!(wire.take_received(), b"2\r\nextra\r\n");
    assert_eq!(
        wire.with_protocol(|lines, _| lines.get_mut().first),
        Some(9)
    );
    wire.with_protocol(|_, cx| cx.lose_connection());
    assert!(wire.is_closed());
    let text = panic_of(|| wire.with_protocol(|_, _| ()));
    assert!(text.contains("the connection has ended"), "{text}");
}

#[test]
fn requests_through_a_handle_take_effect_when_the_wire_is_flushed() {
    let mut wire = Wire::new(Spy::echo());
    wire.handle().lose_connection();
    assert!(!wire.is_closed());
    wire.flush();
    assert!(wire.is_closed());
}

#[test]
fn a_test_tells_each_report_that_it_did_not_handle_in_words() {
    let text = panic_of(|| {
        testing::run(async |_| {
            drop(Deferred::<()>::fail("one"));
            drop(Deferred::<()>::fail("two"));
            Ok(())
        });
    });
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("* ")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    let begins = concat!("* an unhandled failure in a Deferred made at ", file!());
    assert!(lines.iter().all(|line| line.starts_with(begins)), "{text}");
    assert!(
        lines[0].contains("one") && lines[1].contains("two"),
        "{text}"
    );
}
