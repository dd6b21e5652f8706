//! No task, timer or connection keeps the loop from the others, and no timer is early.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use torsade::clock::TimedOut;
use torsade::locks::DeferredQueue;
use torsade::protocols::{LineProtocol, Lines};
use torsade::scope::JoinSet;
use torsade::testing::Wire;
use torsade::transport::Limits;
use torsade::{Clock, Context, Deferred, Failure, LoopingCall, Protocol, Reactor, yield_now};

const HERE: &str = "127.0.0.1:0";
const MS: Duration = Duration::from_millis(1);

#[test]
fn any_number_of_tasks_that_yield_does_not_delay_timers() -> Result<(), Failure> {
    for yielders in [1, 2, 3, 15, 16, 17, 1001] {
        torsade::run(async |reactor| {
            let over = Rc::new(Cell::new(false));
            let mut tasks = Vec::new();
            for _ in 0..yielders {
                let over = over.clone();
                tasks.push(reactor.spawn(async move {
                    while !over.get() {
                        yield_now().await;
                    }
                }));
            }
            reactor.sleep(MS).await?;
            over.set(true);
            for task in tasks {
                task.await?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn any_number_of_calls_from_other_threads_does_not_delay_timers() -> Result<(), Failure> {
    const CALLS: usize = 3000;
    for reactor in [Reactor::in_memory()?, Reactor::new()?] {
        let ran = Arc::new(Mutex::new(Vec::new()));
        let (remote, to) = (reactor.remote(), ran.clone());
        let calls = thread::spawn(move || {
            for number in 0..CALLS {
                let to = to.clone();
                remote.call(move || to.lock().unwrap().push(number))?;
            }
            Ok::<(), Failure>(())
        });
        calls.join().unwrap()?;
        let count = || ran.lock().unwrap().len();
        let timer = reactor.call_later(Duration::ZERO, || ());
        reactor.run_until_current();
        let first = count();
        assert!((1..=1024).contains(&first), "{first} calls in one turn");
        assert!(!timer.is_pending());
        // No wake is needed for the rest: the loop continues by itself.
        while count() < CALLS {
            assert_eq!(reactor.poll_timeout(), Some(Duration::ZERO));
            reactor.do_iteration(Some(Duration::from_secs(60)));
            reactor.run_until_current();
        }
        assert!((0..CALLS).eq(ran.lock().unwrap().iter().copied()));
        reactor.iterate(Duration::ZERO);
        assert_eq!(reactor.poll_timeout(), None);
    }
    Ok(())
}

#[test]
fn any_number_of_time_limits_that_end_together_does_not_delay_others() -> Result<(), Failure> {
    const LIMITS: usize = 3000;
    let reactor = Reactor::in_memory()?;
    let over = Rc::new(RefCell::new(Vec::new()));
    for number in 0..LIMITS {
        let over = over.clone();
        let (never, resolver) = Deferred::<()>::pair();
        let limited = never.timeout(MS, &reactor);
        drop(limited.add_both(move |_| {
            over.borrow_mut().push(number);
            drop(resolver);
            Ok(())
        }));
    }
    let mut most = 0;
    for _ in 0..100 {
        let before = over.borrow().len();
        reactor.iterate(MS);
        most = most.max(over.borrow().len() - before);
    }
    assert!((0..LIMITS).eq(over.borrow().iter().copied()));
    assert_eq!(most, 1024);
    Ok(())
}

#[test]
fn a_timer_requested_after_a_long_wait_is_not_early() -> Result<(), Failure> {
    const DELAY: Duration = Duration::from_millis(40);
    struct Late(Rc<Cell<Option<Duration>>>);
    impl Protocol for Late {
        fn data_received(&mut self, cx: &mut Context<'_, Self>, _data: &[u8]) {
            let asked = Instant::now();
            cx.call_later(DELAY, move |me, cx| {
                me.0.set(Some(asked.elapsed()));
                cx.lose_connection();
            });
        }
    }
    torsade::run(async |reactor| {
        let took = Rc::new(Cell::new(None));
        let observed = took.clone();
        // With another timer set, the clock was read before the wait.
        let other = reactor.call_later(Duration::from_secs(60), || {});
        let port = reactor.listen(HERE, move |_| Late(observed.clone()))?;
        let address = port.local_addr();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_millis(80)))?;
            let _ = stream.read(&mut [0]); // so long nothing happens
            stream.set_read_timeout(None)?;
            stream.write_all(b"now")?;
            stream.read(&mut [0])
        });
        while took.get().is_none() {
            // Woken by the loop's own events only.
            reactor.sleep(Duration::from_millis(200)).await?;
        }
        assert!(took.get() >= Some(DELAY), "{:?}", took.get());
        other.cancel();
        // The reactor closes the connection, and so does not itself wait for the client's thread.
        let client = reactor.spawn_blocking(move || Ok(client.join())).await?;
        client.expect("the client does not panic")?;
        Ok(())
    })
}

/// Keeps the thread busy, as a callback that computes for so long does.
fn work(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn a_delay_requested_after_long_work_in_a_task_is_not_shortened() -> Result<(), Failure> {
    const DELAY: Duration = Duration::from_millis(30);
    torsade::run(async |reactor| {
        work(DELAY * 2);
        let asked = Instant::now();
        reactor.sleep(DELAY).await?;
        assert!(asked.elapsed() >= DELAY, "{:?}", asked.elapsed());

        work(DELAY * 2);
        let asked = Instant::now();
        let (never, _resolver) = Deferred::<()>::pair();
        let failure = never.timeout(DELAY, &reactor).await.unwrap_err();
        assert!(failure.is::<TimedOut>());
        assert!(asked.elapsed() >= DELAY, "{:?}", asked.elapsed());

        work(DELAY * 2);
        let (asked, took) = (Instant::now(), Rc::new(Cell::new(None)));
        let observed = took.clone();
        let (looping, end) = LoopingCall::with_handle(move |looping| {
            observed.set(Some(asked.elapsed()));
            looping.stop();
        })
        .start_later(&reactor, DELAY);
        end.await?;
        assert!(!looping.is_running());
        assert!(took.get() >= Some(DELAY), "{:?}", took.get());
        Ok(())
    })
}

#[test]
fn a_delay_requested_before_or_between_runs_is_not_shortened() -> Result<(), Failure> {
    const DELAY: Duration = Duration::from_millis(30);
    let reactor = Reactor::new()?;
    for _ in 0..2 {
        work(DELAY * 2);
        assert!(Instant::now() - reactor.now() < DELAY, "the clock is old");
        let (asked, took) = (Instant::now(), Rc::new(Cell::new(None)));
        let (observed, ends) = (took.clone(), reactor.clone());
        reactor.call_later(DELAY, move || {
            observed.set(Some(asked.elapsed()));
            ends.crash();
        });
        reactor.run()?;
        assert!(took.get() >= Some(DELAY), "{:?}", took.get());
    }
    Ok(())
}

#[test]
fn limits_whose_low_mark_is_not_below_the_high_one_do_not_spin() -> Result<(), Failure> {
    let reactor = Reactor::in_memory()?;
    reactor.run_until(async {
        let port = reactor.serve(HERE, async |_conn| std::future::pending().await)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        let small = Limits {
            high: 8 * 1024,
            ..Limits::default()
        };
        conn.transport().set_limits(small);
        let polls = Rc::new(Cell::new(0));
        let count = polls.clone();
        let writing = reactor.spawn(async move {
            let block = vec![0; 1 << 20];
            let mut write = Box::pin(conn.write_all(&block));
            poll_fn(|cx| {
                count.set(count.get() + 1);
                write.as_mut().poll(cx)
            })
            .await
        });
        reactor.sleep(MS).await?;
        assert!(polls.get() < 100, "{} polls", polls.get());
        writing.cancel().await;
        Ok::<(), Failure>(())
    })?
}

#[test]
fn a_peer_that_never_stops_does_not_keep_an_async_reader_from_yielding() -> Result<(), Failure> {
    let listener = TcpListener::bind(HERE)?;
    let address = listener.local_addr()?;
    let flood = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let block = vec![0; 1 << 20];
        // The reader has all of it before a loop that it keeps from its timers sees them.
        for _ in 0..1000 {
            stream.write_all(&block)?;
        }
        Ok::<(), std::io::Error>(())
    });
    torsade::run(async |reactor| {
        let mut conn = reactor.connect_stream(address).await?;
        let reading = reactor.spawn(async move {
            let mut buf = vec![0; 1 << 12];
            while conn.read(&mut buf).await? > 0 {}
            Ok::<(), Failure>(())
        });
        for _ in 0..10 {
            reactor.sleep(MS).await?;
        }
        assert!(!reading.is_finished());
        reading.cancel().await;
        Ok(())
    })?;
    assert!(flood.join().expect("it does not panic").is_err());
    Ok(())
}

/// Answers each line with a kilobyte.
struct Wordy {
    answered: Rc<RefCell<Vec<usize>>>,
}

impl LineProtocol for Wordy {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, _line: &[u8]) {
        cx.write([b'a'; 1024]);
        self.answered.borrow_mut().push(cx.queued());
    }
}

#[test]
fn lines_that_came_together_are_answered_as_fast_as_the_answers_leave() {
    let answered = Rc::new(RefCell::new(Vec::new()));
    let mut wire = Wire::new(Lines::new(Wordy {
        answered: answered.clone(),
    }));
    wire.send("\n".repeat(20_000));
    wire.send_eof();
    let mut received = 0;
    while !wire.is_closed() {
        received += wire.take_received().len();
    }
    received += wire.take_received().len();
    assert_eq!(received, 20_000 * 1024);
    let most = answered.borrow().iter().copied().max();
    assert!(most <= Some(Limits::default().high + 1024), "{most:?}");
}

// On the machine only: virtual time passes when no task is ready.
#[test]
fn a_source_that_has_ended_does_not_keep_the_loop_from_timers() -> Result<(), Failure> {
    let reactor = Reactor::new()?;
    reactor.clone().run_until(async {
        let mut set = JoinSet::<()>::new();
        let queue = DeferredQueue::<()>::new();
        let mut items = queue.stream();
        drop(queue);
        for source in 0..2 {
            let mut over = reactor.sleep(5 * MS);
            poll_fn(|cx| {
                loop {
                    if over.poll_unpin(cx).is_ready() {
                        return Poll::Ready(());
                    }
                    let ended = match source {
                        0 => pin!(set.join_next()).poll(cx).map(|next| next.is_none()),
                        _ => items.poll_next_unpin(cx).map(|next| next.is_none()),
                    };
                    match ended {
                        Poll::Ready(ended) => assert!(ended),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await;
        }
        Ok(())
    })?
}
