//! No task or peer gets more than its share of a turn: neither a task whose operations are always
//! ready, nor peers that flood.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use support::HERE;
use torsade::locks::{DeferredLock, DeferredQueue, DeferredSemaphore, Event, Watched};
use torsade::protocols::{LineProtocol, Lines};
use torsade::{Clock, Context, Deferred, Failure, Port, Reactor, Task, yield_now};

/// More operations than any budget allows.
const MANY: usize = 5_000;
/// The number of operations that others may have to wait for, with a margin of two or three rounds.
const IN_A_ROW: usize = 300;

/// The number of connections that flood, and of lines each.
const FLOODS: usize = 100;
const LINES: usize = 2_000;
/// How many lines may be delivered while an unrelated task waits: with every connection's share in
/// each turn it would be 6,400 a turn.
const LINES_IN_BETWEEN: usize = 3_000;

/// Answers a ping, and counts all other lines.
struct Counts(Rc<Cell<usize>>);

impl LineProtocol for Counts {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        match line {
            b"ping" => cx.write("pong\n"),
            _ => self.0.set(self.0.get() + 1),
        }
    }
}

/// The port, the number of delivered lines, and the clients.
type Flood = (Port, Rc<Cell<usize>>, Vec<Task<Result<(), Failure>>>);

/// Floods a port with lines.
fn flood(reactor: &Reactor) -> Result<Flood, Failure> {
    let lines = Rc::new(Cell::new(0));
    let count = lines.clone();
    let port = reactor.listen(HERE, move |_| Lines::new(Counts(count.clone())))?;
    let floods = (0..FLOODS).map(|_| {
        let (reactor, to) = (reactor.clone(), port.local_addr());
        reactor.clone().spawn(async move {
            let mut conn = reactor.connect_stream(to).await?;
            conn.write_all(&b"x\n".repeat(LINES)).await?;
            conn.close().await?;
            conn.read(&mut [0]).await?;
            Ok(())
        })
    });
    let floods = floods.collect();
    Ok((port, lines, floods))
}

/// Repeats `operation` in one task, and asserts that another task has its turns in between.
async fn check(
    reactor: &Reactor,
    name: &str,
    mut operation: impl AsyncFnMut() -> Result<(), Failure> + 'static,
) -> Result<(), Failure> {
    let done = Rc::new(Cell::new(0));
    let count = done.clone();
    let busy = reactor.spawn(async move {
        while count.get() < MANY {
            operation().await?;
            count.set(count.get() + 1);
        }
        Ok::<(), Failure>(())
    });
    let mut most = 0;
    while done.get() < MANY && !busy.is_finished() {
        let before = done.get();
        yield_now().await;
        most = most.max(done.get() - before);
    }
    busy.await??;
    assert!(most <= IN_A_ROW, "{name}: {most} in a row");
    Ok(())
}

on_both! {
    async fn a_future_that_is_always_ready_yields_after_a_while(reactor) {
        check(&reactor, "settled Deferreds", async || Deferred::succeed(()).await).await?;
        let queue = DeferredQueue::new();
        check(&reactor, "queue", async move || {
            queue.put(1)?;
            queue.get().await.map(drop)
        })
        .await?;
        let queue = DeferredQueue::new();
        let mut items = queue.stream();
        check(&reactor, "queue as a stream", async move || {
            queue.put(1)?;
            assert_eq!(items.next().await, Some(1));
            Ok(())
        })
        .await?;
        let lock = DeferredLock::new(0);
        check(&reactor, "lock", async move || lock.acquire().await.map(drop)).await?;
        let semaphore = DeferredSemaphore::new(2)?;
        check(&reactor, "semaphore", async move || semaphore.acquire().await.map(drop)).await?;
        let event = Event::new();
        event.set();
        check(&reactor, "event", async move || event.wait().await).await?;
        let watched = Watched::new(0);
        let mut watcher = watched.watch();
        check(&reactor, "watched", async move || {
            watched.set(1);
            watcher.changed().await?;
            watcher.get();
            Ok(())
        })
        .await?;
    }

    async fn reads_of_one_byte_and_of_the_end_yield_after_a_while(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(&[b'a'; MANY / 2]).await?;
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        check(&reactor, "reads", async move || {
            conn.read(&mut [0]).await?;
            Ok(())
        })
        .await?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        check(&reactor, "flushes", async move || Ok(conn.flush().await?)).await?;
        port.stop().await?;
    }

    async fn lines_that_were_read_ahead_give_way_after_a_while(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            for _ in 0..MANY / 100 {
                conn.write_all(&[b'\n'; 100]).await?;
            }
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        check(&reactor, "lines", async move || {
            conn.read_line(80).await?;
            Ok(())
        })
        .await?;
        port.stop().await?;
    }

    async fn datagrams_give_way_after_a_while(reactor) {
        let (one, two) = (reactor.bind_datagram(HERE)?, reactor.bind_datagram(HERE)?);
        let to = two.local_addr();
        check(&reactor, "datagrams", async move || {
            one.send_to(b"x", &to).await?;
            two.recv_from(&mut [0; 4]).await.map(drop)
        })
        .await?;
    }

    async fn the_main_future_gives_way_as_well(reactor) {
        let (queue, fired) = (DeferredQueue::new(), Rc::new(Cell::new(false)));
        let observed = fired.clone();
        reactor.call_later(Duration::ZERO, move || observed.set(true));
        let mut rounds = 0;
        while !fired.get() {
            queue.put(())?;
            queue.get().await?;
            rounds += 1;
            assert!(rounds < 10_000, "no timer comes through");
        }
    }

    async fn a_timer_runs_during_a_flood_of_lines(reactor) {
        let (port, lines, floods) = flood(&reactor)?;
        let (mut most, mut visits) = (0, 0);
        while lines.get() < FLOODS * LINES {
            let before = lines.get();
            yield_now().await;
            most = most.max(lines.get() - before);
            visits += 1;
        }
        assert!(most <= LINES_IN_BETWEEN, "{most} lines between two visits of {visits}");
        for flood in floods {
            flood.await??;
        }
        port.stop().await?;
    }

    async fn a_quiet_connection_is_answered_during_a_flood_of_lines(reactor) {
        let (port, lines, floods) = flood(&reactor)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        // Until the first answer it waits in one queue with other new connections.
        conn.write_all(b"ping\n").await?;
        conn.read_exact(&mut [0; 5]).await?;
        let mut before_answers = Vec::new();
        while lines.get() < FLOODS * LINES {
            let before = lines.get();
            conn.write_all(b"ping\n").await?;
            conn.read_exact(&mut [0; 5]).await?;
            before_answers.push(lines.get() - before);
        }
        assert!(before_answers.len() > 20, "{before_answers:?}");
        before_answers.sort_unstable();
        // The system of a busy machine may bring a packet late.
        let most = before_answers[before_answers.len() * 9 / 10];
        assert!(most <= 3 * LINES_IN_BETWEEN, "lines before an answer: {before_answers:?}");
        drop(conn);
        for flood in floods {
            flood.await??;
        }
        port.stop().await?;
    }

    async fn a_loop_over_two_that_are_always_ready_gives_way(reactor) {
        use futures::future::{Either, select};
        check(&reactor, "select", async move || {
            let (one, two) = (Deferred::succeed(1), Deferred::succeed(2));
            match select(one, two).await {
                Either::Left((first, _)) | Either::Right((first, _)) => first.map(drop),
            }
        })
        .await?;
    }
}

#[test]
fn outside_a_turn_nothing_has_to_give_way() {
    let polled = torsade::task::block_on(async {
        for _ in 0..MANY {
            Deferred::succeed(()).await?;
        }
        Ok::<_, Failure>(MANY)
    });
    assert_eq!(polled.unwrap(), MANY);
}

#[test]
fn many_due_timers_leave_turns_for_other_work() {
    let reactor = Reactor::in_memory().unwrap();
    let fired = Rc::new(Cell::new(0_usize));
    for _ in 0..MANY {
        let fired = fired.clone();
        reactor.call_later(Duration::ZERO, move || fired.set(fired.get() + 1));
    }
    let most = reactor.run_until(async {
        let (mut before, mut most) = (0, 0);
        while fired.get() < MANY {
            yield_now().await;
            most = most.max(fired.get() - before);
            before = fired.get();
        }
        Ok::<_, Failure>(most)
    });
    let most = most.unwrap().unwrap();
    // A turn fires 1,024 at most; this future may miss one.
    assert!(most <= 2_100, "{most} timers fired at a stretch");
}

#[test]
fn an_item_that_a_task_may_not_take_any_more_stays_in_the_queue() {
    for is_debugged in [false, true] {
        let builder = Reactor::builder().debug(is_debugged).in_memory();
        let reactor = builder.build().unwrap();
        let queue = DeferredQueue::new();
        for n in 0..MANY {
            queue.put(n).unwrap();
        }
        let (gotten, streamed) = (queue.clone(), queue.clone());
        let task = reactor.spawn(poll_fn(move |cx| {
            let mut taken = 0;
            // The refused future is dropped, like one that loses a `select`.
            while let Poll::Ready(item) = gotten.get().poll_unpin(cx) {
                assert_eq!(item.unwrap(), taken);
                taken += 1;
            }
            assert!(streamed.stream().poll_next_unpin(cx).is_pending());
            Poll::Ready(taken)
        }));
        let taken = reactor.run_until(task).unwrap().unwrap();
        assert!(taken < IN_A_ROW, "{taken}");
        assert_eq!(queue.len(), MANY - taken);
    }
}
