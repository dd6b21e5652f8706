//! Handing a live connection to another protocol: queued bytes are sent first, received bytes are
//! delivered, and only the last protocol sees the end.

use std::cell::Cell;
use std::rc::Rc;

use support::{Anywhere, Log, MS, Spy, expect_reports, how, some_turns, until};
use torsade::transport::{ConnectionError, Limits};
use torsade::{
    Clock, Connection, Context, Deferred, Failure, Group, Handle, Port, Protocol, Reactor,
};

type Made = Box<dyn FnOnce(&mut Context<'_, Door>)>;

/// Records its hooks. It uses the bytes up to a star; then it becomes a [`Spy`] with the rest.
struct Door {
    log: Log,
    made: Option<Made>,
}

impl Door {
    fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            made: None,
        }
    }

    fn on_made(mut self, made: impl FnOnce(&mut Context<'_, Self>) + 'static) -> Self {
        self.made = Some(Box::new(made));
        self
    }

    fn inside(&self) -> Spy {
        Spy::named(&self.log, "inside").on_data(|cx, data| cx.write(data))
    }
}

impl Protocol for Door {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.log.note("door made");
        if let Some(made) = self.made.take() {
            made(cx);
        }
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        self.log
            .note(format_args!("door data {}", data.escape_ascii()));
        if let Some(star) = data.iter().position(|byte| *byte == b'*') {
            cx.write("welcome ");
            cx.become_protocol(self.inside(), &data[star + 1..]);
        }
    }

    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        self.log.note("door eof");
        cx.become_protocol(self.inside(), b"");
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.note(format_args!("door lost {}", how(&reason)));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.log.note("door dropped");
    }
}

/// A port whose connections have a door, and a connection to it.
async fn knock(
    reactor: &Reactor,
    build: impl FnMut() -> Door + 'static,
) -> Result<(Port, Connection), Failure> {
    let mut build = build;
    let port = reactor.listen(Anywhere, move |_peer| build())?;
    let conn = reactor.connect_stream(port.local_addr()).await?;
    Ok((port, conn))
}

on_transports! {
    async fn the_next_protocol_gets_the_rest_and_the_end_of_file(reactor) {
        let log = Log::new();
        let door = log.clone();
        let (port, mut conn) = knock(&reactor, move || Door::new(&door)).await?;
        conn.write_all(b"syn *hello").await?;
        let mut heard = [0; 13];
        conn.read_exact(&mut heard).await?;
        assert_eq!(&heard, b"welcome hello");
        conn.write_all(b"more").await?;
        conn.read_exact(&mut heard[..4]).await?;
        drop(conn);
        until(|| log.has("inside lost done")).await;
        let all = [
            "door made", "door data syn *hello", "door dropped", "inside made", "inside data hello", "inside data more",
            "inside eof", "inside lost done",
        ];
        assert_eq!(log.all(), all);
        port.stop().await?;
    }

    async fn queued_bytes_are_kept_and_sent_first(reactor) {
        let log = Log::new();
        let door = log.clone();
        let (port, mut conn) = knock(&reactor, move || {
            Door::new(&door).on_made(|cx| {
                cx.set_limits(Limits { hard: 1 << 30, ..Limits::default() });
                cx.write(vec![b'a'; 9 << 20]);
                cx.become_protocol(Spy::new(&Log::new()).on_made(|transport| {
                    assert!(transport.queued() >= 9 << 20 && transport.is_full());
                    assert_eq!(transport.limits().hard, 1 << 30);
                    transport.write(vec![b'b'; 1 << 20]);
                    transport.lose_connection();
                }), b"");
            })
        }).await?;
        some_turns().await;
        let mut all = Vec::new();
        conn.read_to_end(&mut all).await?;
        assert_eq!(all.len(), 10 << 20);
        assert!(all[..9 << 20].iter().all(|byte| *byte == b'a') && all[9 << 20..].iter().all(|byte| *byte == b'b'));
        drop(conn);
        port.stop().await?;
    }

    async fn mail_timers_and_waits_of_the_first_are_called_off(reactor) {
        let log = Log::new();
        let (door, noted) = (log.clone(), log.clone());
        let (waited, resolver) = Deferred::<u32>::pair();
        let cancelled = log.clone();
        let waited = Cell::new(Some(waited.on_cancel(move || cancelled.note("cancelled"))));
        type Slot = Rc<Cell<Option<(Handle<Door>, Deferred<Failure>)>>>;
        let handle = Slot::default();
        let kept = handle.clone();
        let (port, conn) = knock(&reactor, move || {
            let (noted, waited, kept) = (noted.clone(), waited.take(), kept.clone());
            Door::new(&door).on_made(move |cx| {
                for number in 0..2 {
                    let noted = noted.clone();
                    cx.call_later(MS * (100 + number), move |_, _| noted.note("a timer"));
                }
                let noted_too = noted.clone();
                cx.when(waited.unwrap(), move |_, _, _| noted_too.note("a result"));
                cx.handle().post(|me, cx| cx.become_protocol(me.inside(), b""));
                cx.handle().post(move |_, _| noted.note("mail"));
                kept.set(Some((cx.handle(), cx.handle().closed())));
            })
        }).await?;
        until(|| log.has("inside made")).await;
        let (handle, closed) = handle.take().unwrap();
        assert!(!handle.is_connected());
        assert_failure!(closed.await?, ConnectionError::HandedOver);
        let late = log.clone();
        handle.post(move |_, _| late.note("late mail"));
        resolver.callback(7);
        reactor.sleep(MS * 150).await?;
        drop(conn);
        until(|| log.has("inside lost done")).await;
        let all = ["door made", "door dropped", "cancelled", "inside made", "inside eof", "inside lost done"];
        assert_eq!(log.all(), all);
        port.stop().await?;
    }

    async fn its_transports_and_groups_are_over(reactor) {
        let log = Log::new();
        let group = Group::default();
        let (door, joined) = (log.clone(), group.clone());
        let old = Rc::new(Cell::new(None));
        let kept = old.clone();
        let (port, mut conn) = knock(&reactor, move || {
            let (joined, kept) = (joined.clone(), kept.clone());
            Door::new(&door).on_made(move |cx| {
                joined.join(cx);
                kept.set(Some(cx.transport().clone()));
            })
        }).await?;
        conn.write_all(b"*").await?;
        until(|| log.has("inside made")).await;
        let old = old.take().unwrap();
        assert!(!old.is_connected());
        assert_failure!(old.reason().unwrap(), ConnectionError::HandedOver);
        assert_eq!(old.peer(), conn.local_addr()?);
        group.write("not to be heard");
        old.write("nor this");
        old.abort_connection();
        conn.write_all(b"x").await?;
        let mut heard = [0; 9];
        conn.read_exact(&mut heard).await?;
        assert_eq!(&heard, b"welcome x");
        drop(conn);
        until(|| log.has("inside lost done")).await;
        port.stop().await?;
    }

    async fn an_end_in_the_same_hook_goes_before(reactor) {
        for how in ["done", "aborted"] {
            let log = Log::new();
            let door = log.clone();
            let port = reactor.listen(Anywhere, move |_peer| {
                Door::new(&door).on_made(move |cx| {
                    cx.become_protocol(Spy::new(&Log::new()).on_made(|_| unreachable!()), b"");
                    match how {
                        "done" => cx.lose_connection(),
                        _ => cx.abort_connection(),
                    }
                })
            })?;
            // It may be reset before it is connected.
            let conn = reactor.connect_stream(port.local_addr()).await;
            drop(conn);
            until(|| log.has("door dropped")).await;
            assert_eq!(log.all(), ["door made", &format!("door lost {how}"), "door dropped"]);
            port.stop().await?;
        }
    }

    async fn a_panic_goes_before_too(reactor) {
        let reports = expect_reports(&reactor);
        let log = Log::new();
        let door = log.clone();
        let (port, conn) = knock(&reactor, move || {
            Door::new(&door).on_made(|cx| {
                cx.become_protocol(Spy::new(&Log::new()).on_made(|_| unreachable!()), b"");
                panic!("at the door");
            })
        }).await?;
        until(|| log.has("door dropped")).await;
        assert_eq!(reports.borrow().len(), 1);
        assert!(log.all()[1].contains("at the door"), "{:?}", log.all());
        drop(conn);
        port.stop().await?;
    }

    async fn an_end_of_file_seen_by_the_first_protocol_is_repeated_for_the_next(reactor) {
        let log = Log::new();
        let door = log.clone();
        let (port, conn) = knock(&reactor, move || Door::new(&door)).await?;
        drop(conn);
        until(|| log.has("inside lost done")).await;
        let all = ["door made", "door eof", "door dropped", "inside made", "inside eof", "inside lost done"];
        assert_eq!(log.all(), all);
        port.stop().await?;
    }

    async fn one_that_hands_on_at_once_hands_on_the_rest(reactor) {
        let log = Log::new();
        let noted = log.clone();
        let (port, mut conn) = knock(&reactor, move || {
            let noted = noted.clone();
            Door::new(&noted.clone()).on_made(move |cx| {
                let second = Door::new(&noted).on_made(|cx| {
                    let log = Log::new();
                    cx.become_protocol(Spy::new(&log).on_data(|cx, data| cx.write(data)), b" and this");
                });
                cx.become_protocol(second, b"this");
            })
        }).await?;
        let mut heard = [0; 13];
        conn.read_exact(&mut heard).await?;
        assert_eq!(&heard, b"this and this");
        assert_eq!(log.take(), ["door made", "door dropped", "door made", "door dropped"]);
        drop(conn);
        some_turns().await;
        port.stop().await?;
    }

    async fn the_last_that_is_named_counts_and_the_first_is_dropped(reactor) {
        let log = Log::new();
        let door = log.clone();
        let (port, conn) = knock(&reactor, move || {
            let other = Door::new(&door);
            Door::new(&door).on_made(|cx| {
                cx.become_protocol(other, b"for the other");
                cx.become_protocol(Door::new(&Log::new()), b"");
            })
        }).await?;
        until(|| log.count("door dropped") == 2).await;
        assert_eq!(log.take(), ["door made", "door dropped", "door dropped"]);
        drop(conn);
        some_turns().await;
        port.stop().await?;
    }

    async fn a_connection_whose_hand_over_waits_for_space_is_handed_over_then(reactor) {
        struct Waits(Log);
        impl Protocol for Waits {
            fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
                cx.write(vec![1; 12 << 20]);
            }
            fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
            fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
                self.0.note("ready");
                let last = Spy::named(&self.0, "last").on_made(|transport| {
                    transport.write("end");
                    transport.lose_connection();
                });
                cx.become_protocol(last, b"");
            }
        }
        let log = Log::new();
        let noted = log.clone();
        let port = reactor.listen(Anywhere, move |_peer| Waits(noted.clone()))?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let mut all = Vec::new();
        conn.read_to_end(&mut all).await?;
        assert!(all.ends_with(b"\x01end") && all.len() == (12 << 20) + 3);
        drop(conn);
        until(|| log.has("last lost done")).await;
        assert_eq!(log.all(), ["ready", "last made", "last lost done"]);
        port.stop().await?;
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::fd::OwnedFd;
    use support::folder::Folder;

    /// Becomes another one when the first descriptor comes.
    struct First(Log);

    impl Protocol for First {
        fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
            drop(descriptor);
            self.0.note("first descriptor");
            cx.become_protocol(Second(self.0.clone()), b"");
        }

        fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
            self.0.note(format_args!("first {}", data.escape_ascii()));
        }
    }

    struct Second(Log);

    impl Protocol for Second {
        fn descriptor_received(&mut self, _cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
            drop(descriptor);
            self.0.note("second descriptor");
        }

        fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
            for byte in data {
                self.0.note(format_args!("second {}", byte.escape_ascii()));
            }
        }

        fn connection_lost(&mut self, _reason: Failure) {
            self.0.note("second lost");
        }
    }

    on_both! {
        async fn the_bytes_of_a_descriptor_and_other_descriptors_are_for_the_next(reactor) {
            let folder = Folder::create();
            let log = Log::new();
            let noted = log.clone();
            let port = reactor.listen(folder.socket(), move |_peer| First(noted.clone()))?;
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            for _ in 0..3 {
                conn.send_descriptor(std::fs::File::open("/dev/null")?)?;
            }
            conn.write_all(b"abc").await?;
            some_turns().await;
            conn.write_all(b"d").await?;
            until(|| log.has("second d")).await;
            drop(conn);
            until(|| log.has("second lost")).await;
            assert_eq!(log.count("first descriptor"), 1);
            assert_eq!(log.count("second descriptor"), 2);
            let all = log.all();
            let bytes: Vec<_> = all.iter().filter(|note| note.len() == 8).collect();
            assert_eq!(bytes, ["second a", "second b", "second c", "second d"]);
            port.stop().await?;
        }
    }
}

/// The timers and posts of a protocol that has named its successor.
#[cfg(unix)]
mod sources {
    use std::fs::File;
    use std::io::Write;

    use support::folder::Folder;
    use torsade::transport::{Flow, Producer};

    use super::*;

    /// Records its hooks.
    struct Source(Log);

    impl Producer for Source {
        fn resume_producing(&mut self, _consumer: &torsade::Transport) {
            self.0.note("resume");
        }

        fn pause_producing(&mut self) {
            self.0.note("pause");
        }

        fn stop_producing(&mut self) {
            self.0.note("stop");
        }
    }

    impl Drop for Source {
        fn drop(&mut self) {
            self.0.note("source dropped");
        }
    }

    on_both! {
        async fn a_file_is_sent_before_the_bytes_of_the_next_protocol(reactor) {
            let (log, folder) = (Log::new(), Folder::create());
            let path = folder.path("file");
            File::create(&path)?.write_all(&vec![b'f'; 3_000_000])?;
            let door = log.clone();
            let (port, mut conn) = knock(&reactor, move || {
                let (path, log) = (path.clone(), door.clone());
                Door::new(&door).on_made(move |cx| {
                    cx.write("before ");
                    let sent = cx.send_file(File::open(path).unwrap());
                    let to = log.clone();
                    drop(sent.map(move |count| to.note(format_args!("sent {count}"))));
                    let next = Spy::named(&log, "inside").on_made(|cx| cx.write(" after"));
                    cx.become_protocol(next.on_data(|cx, data| cx.write(data)), b"");
                })
            }).await?;
            conn.write_all(b" early").await?;
            let mut text = vec![0; 7 + 3_000_000 + 6 + 6];
            conn.read_exact(&mut text).await?;
            assert!(text.starts_with(b"before fff"));
            assert!(text.ends_with(b"fff after early"), "{}", text[text.len() - 20..].escape_ascii());
            drop(conn);
            until(|| log.has("inside lost done")).await;
            assert_eq!(log.take(), ["door made", "sent 3000000", "door dropped", "inside made", "inside data  early", "inside eof", "inside lost done"]);
            port.stop().await?;
        }

        async fn a_producer_is_stopped_at_the_hand_over(reactor) {
            let log = Log::new();
            let door = log.clone();
            let (port, mut conn) = knock(&reactor, move || {
                let log = door.clone();
                Door::new(&door).on_made(move |cx| {
                    cx.register_producer(Source(log.clone()), Flow::Push).unwrap();
                    let next = Spy::new(&log).on_made(|cx| {
                        let other = Source(Log::new());
                        cx.register_producer(other, Flow::Push).unwrap();
                        cx.write("next");
                        cx.unregister_producer();
                    });
                    cx.become_protocol(next, b"");
                })
            }).await?;
            conn.read_exact(&mut [0; 4]).await?;
            assert_eq!(log.take(), ["door made", "stop", "source dropped", "door dropped", "made"]);
            drop(conn);
            until(|| log.has("lost done")).await;
            port.stop().await?;
        }

        async fn an_end_that_waited_for_a_producer_or_a_file_goes_before(reactor) {
            for is_file in [false, true] {
                let log = Log::new();
                let door = log.clone();
                let (port, mut conn) = knock(&reactor, move || {
                    let log = door.clone();
                    Door::new(&door).on_made(move |cx| {
                        if is_file {
                            drop(cx.send_file(File::open("/dev/null").unwrap()));
                        } else {
                            cx.register_producer(Source(Log::new()), Flow::Push).unwrap();
                        }
                        cx.lose_connection();
                        cx.become_protocol(Spy::new(&log).on_made(|_| unreachable!()), b"");
                    })
                }).await?;
                assert_eq!(conn.read(&mut [0]).await?, 0);
                drop(conn);
                until(|| log.has("door dropped")).await;
                assert_eq!(log.take(), ["door made", "door lost done", "door dropped"]);
                port.stop().await?;
            }
        }
    }
}

#[test]
fn one_that_is_handed_on_while_the_program_ends_is_still_waited_for() {
    let reactor = Reactor::in_memory().unwrap();
    let reports = expect_reports(&reactor);
    let (inner, log) = (reactor.clone(), Log::new());
    let door = log.clone();
    let done = reactor.run_until(async {
        let (port, mut conn) = knock(&inner, move || {
            Door::new(&door).on_made(|cx| {
                cx.write(vec![b'a'; 9 << 20]);
                cx.call_later(MS * 50, |me, cx| cx.become_protocol(me.inside(), b""));
            })
        })
        .await?;
        until(|| port.connections() == 1).await;
        let clock = inner.clone();
        inner
            .spawn(async move {
                clock.sleep(MS * 100).await?;
                conn.read_to_end(&mut Vec::new()).await?;
                Ok::<_, Failure>(())
            })
            .detach();
        port.stop().await
    });
    done.and_then(|done| done).unwrap();
    let reports = reports.borrow();
    assert!(log.has("inside made"));
    assert!(reports.is_empty(), "{reports:?}");
}
