//! A task whose operations are always ready gives way to the others all the same.

#[macro_use]
mod support;

use std::cell::Cell;
use std::rc::Rc;

use futures::StreamExt;
use support::HERE;
use torsade::locks::{DeferredLock, DeferredQueue, DeferredSemaphore, Event, Watched};
use torsade::{Clock, Deferred, Failure, Reactor, yield_now};

/// More operations than any budget lasts for.
const MANY: usize = 20_000;
/// What others may have to wait for, with room for rounds of two or three operations.
const IN_A_ROW: usize = 300;

/// Does `operation` again and again in one task, and asserts that another one has its turns in between.
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
    async fn what_is_always_ready_gives_way_after_a_while(reactor) {
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

    async fn reads_of_one_byte_and_of_the_end_give_way_after_a_while(reactor) {
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
        check(&reactor, "lines", async move || Ok(drop(conn.read_line(80).await?))).await?;
        port.stop().await?;
    }

    async fn datagrams_give_way_after_a_while(reactor) {
        let (one, two) = (reactor.bind_udp(HERE)?, reactor.bind_udp(HERE)?);
        let to = two.local_addr();
        check(&reactor, "datagrams", async move || {
            one.send_to(b"x", &to).await?;
            two.recv_from(&mut [0; 4]).await.map(drop)
        })
        .await?;
    }

    async fn the_main_future_gives_way_as_well(reactor) {
        let (queue, fired) = (DeferredQueue::new(), Rc::new(Cell::new(false)));
        let told = fired.clone();
        reactor.call_later(std::time::Duration::ZERO, move || told.set(true));
        let mut rounds = 0;
        while !fired.get() {
            queue.put(())?;
            queue.get().await?;
            rounds += 1;
            assert!(rounds < 10_000, "no timer comes through");
        }
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
