//! Awaiting: what a Deferred does when it is polled, woken, given up and dropped. Polled by hand.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{FusedFuture, LocalBoxFuture, select_all};
use torsade::{Cancelled, Clock, Deferred, Failure, Resolver, interval, testing};

/// Polls one future, and counts its wakes.
struct Bench<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<F: Future> Bench<F> {
    fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            wakes: Arc::default(),
        }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(self.wakes.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    #[track_caller]
    fn check_pending(&mut self) {
        assert!(self.poll().is_pending());
    }

    #[track_caller]
    fn result(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it is still pending"),
        }
    }

    /// Returns the number of wakes since the last call.
    fn wakes(&self) -> usize {
        self.wakes.0.swap(0, Ordering::SeqCst)
    }
}

/// Returns a Deferred, its resolver, and a cell that receives the result.
fn watched() -> (Deferred<u32>, Resolver<u32>, Rc<Cell<u32>>) {
    let seen = Rc::new(Cell::new(0));
    let (deferred, resolver) = Deferred::pair();
    let log = seen.clone();
    let deferred = deferred.map(move |n: u32| {
        log.set(n);
        n
    });
    (deferred, resolver, seen)
}

#[test]
fn awaiting_gives_the_result_and_wakes_once() {
    let (deferred, resolver, seen) = watched();
    let mut bench = Bench::new(async move { deferred.await.map(|n| n + 1) });
    bench.check_pending();
    bench.check_pending();
    resolver.callback(3);
    assert_eq!(seen.get(), 3, "callbacks run inside the firing");
    assert_eq!(bench.wakes(), 1);
    assert_eq!(bench.result().unwrap(), 4);
    assert_eq!(bench.wakes(), 0);
}

#[test]
fn awaiting_a_fired_deferred_is_ready_at_once() {
    let (deferred, resolver, _) = watched();
    resolver.callback(3);
    let mut bench = Bench::new(deferred);
    assert_eq!(bench.result().unwrap(), 3);
    let mut bench = Bench::new(Deferred::<()>::fail(Failure::new("no")));
    assert_eq!(bench.result().unwrap_err().to_string(), "no");
}

#[test]
fn the_last_waker_counts() {
    let (deferred, resolver, _) = watched();
    let mut deferred = pin!(deferred);
    let wakers = [const { AtomicUsize::new(0) }; 2].map(|count| Arc::new(Wakes(count)));
    for wakes in &wakers {
        let waker = Waker::from(wakes.clone());
        let polled = deferred.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    resolver.callback(1);
    let counts = wakers.map(|wakes| wakes.0.load(Ordering::SeqCst));
    assert_eq!(counts, [0, 1]);
}

#[test]
fn awaiting_a_reference_and_giving_up_loses_nothing() {
    let (mut deferred, resolver, seen) = watched();
    {
        let mut bench = Bench::new(async { (&mut deferred).await });
        bench.check_pending();
    }
    assert!(!resolver.is_cancelled());
    resolver.callback(3);
    assert_eq!(seen.get(), 3);
    let mut bench = Bench::new(&mut deferred);
    assert_eq!(bench.result().unwrap(), 3);
}

#[test]
fn dropped_before_it_was_polled_it_runs_on() {
    let (deferred, resolver, seen) = watched();
    drop(async move { deferred.await.map(|n| n + 1) });
    assert!(!resolver.is_cancelled());
    resolver.callback(3);
    assert_eq!(seen.get(), 3);
}

#[test]
fn dropped_after_it_was_polled_it_is_cancelled() {
    let (deferred, resolver, seen) = watched();
    let asked = Rc::new(Cell::new(false));
    let log = asked.clone();
    let deferred = deferred.on_cancel(move || log.set(true));
    let mut bench = Bench::new(async move { deferred.await.map(|n| n + 1) });
    bench.check_pending();
    drop(bench);
    assert!(asked.get());
    assert!(resolver.is_cancelled());
    resolver.callback(3);
    assert_eq!(seen.get(), 0);
}

#[test]
fn dropped_after_it_was_woken_there_is_nothing_to_cancel() {
    let (deferred, resolver, _) = watched();
    let mut bench = Bench::new(deferred.on_cancel(|| unreachable!("it has fired")));
    bench.check_pending();
    resolver.callback(3);
    drop(bench);
}

#[test]
fn an_await_of_a_chain_that_waits_cancels_the_innermost_when_given_up() {
    let (inner, fire_inner, _) = watched();
    let (outer, fire_outer, _) = watched();
    let mut bench = Bench::new(outer.add_callback(move |_| inner));
    bench.check_pending();
    fire_outer.callback(1);
    assert_eq!(bench.wakes(), 0);
    bench.check_pending();
    drop(bench);
    assert!(fire_inner.is_cancelled());
}

#[test]
fn a_cancel_wakes_and_gives_the_failure() {
    let (mut deferred, _resolver, _) = watched();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut deferred).poll(&mut cx).is_pending());
    deferred.cancel();
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Err(failure)) = Pin::new(&mut deferred).poll(&mut cx) else {
        panic!("it was cancelled")
    };
    assert!(failure.is::<Cancelled>());
}

#[test]
fn an_await_returns_the_value_of_a_canceller() {
    let (deferred, resolver) = Deferred::pair();
    let mut deferred = deferred.on_cancel(move || resolver.callback(9));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut deferred).poll(&mut cx).is_pending());
    deferred.cancel();
    let mut bench = Bench::new(deferred);
    assert_eq!(bench.result().unwrap(), 9);
}

#[test]
fn an_await_continues_when_a_callback_is_added_to_a_polled_deferred() {
    let (mut deferred, resolver, seen) = watched();
    {
        let mut bench = Bench::new(&mut deferred);
        bench.check_pending();
    }
    let mut bench = Bench::new(deferred.map(|n| n + 1));
    resolver.callback(3);
    assert_eq!(seen.get(), 3);
    assert_eq!(bench.result().unwrap(), 4);
}

#[test]
fn selecting_between_two_loses_neither() {
    let (one, fire_one, _) = watched();
    let (two, fire_two, _) = watched();
    let mut bench = Bench::new(async {
        let (mut one, mut two) = (one, two);
        let first = match futures::future::select(&mut one, &mut two).await {
            futures::future::Either::Left((n, _)) => (n, &mut two),
            futures::future::Either::Right((n, _)) => (n, &mut one),
        };
        Ok::<_, Failure>((first.0?, first.1.await?))
    });
    bench.check_pending();
    fire_two.callback(2);
    bench.check_pending();
    fire_one.callback(1);
    assert_eq!(bench.result().unwrap(), (2, 1));
}

#[test]
fn a_select_in_a_loop_takes_each_finished_arm_once() {
    const SECOND: Duration = Duration::from_secs(1);
    testing::run(async |reactor| {
        let mut listener = reactor.bind("127.0.0.1:0")?;
        let address = listener.local_addr();
        let mut task = reactor.spawn(async move { 7 });
        let mut client = reactor.connect_stream(address);
        let mut sleep = reactor.sleep(SECOND * 2);
        let mut ticks = interval(&reactor, SECOND).starting_at(reactor.now() + SECOND * 5 / 2);
        let mut stopped = reactor.stopped();
        let mut seen = Vec::new();
        loop {
            // As `select!` does: what is terminated is not polled again.
            let mut arms: Vec<LocalBoxFuture<'_, Result<&str, Failure>>> = Vec::new();
            if !task.is_terminated() {
                arms.push(Box::pin(async { (&mut task).await.map(|_| "task") }));
            }
            if !client.is_terminated() {
                arms.push(Box::pin(async { (&mut client).await.map(|_| "connected") }));
            }
            if !sleep.is_terminated() {
                arms.push(Box::pin(async { (&mut sleep).await.map(|()| "sleep") }));
            }
            if !stopped.is_terminated() {
                arms.push(Box::pin(async { (&mut stopped).await.map(|()| "stopped") }));
            }
            arms.push(Box::pin(async {
                listener.select_next_some().await.map(|_| "connection")
            }));
            arms.push(Box::pin(async {
                ticks.select_next_some().await.map(|_| "tick")
            }));
            let (done, _, others) = select_all(arms).await;
            drop(others);
            match done? {
                "stopped" => break,
                "connected" => {}
                what => seen.push(what),
            }
            if seen.len() == 5 && !reactor.has_ended() {
                let _ = reactor.stop();
            }
        }
        seen[..2].sort();
        assert_eq!(seen, ["connection", "task", "sleep", "tick", "tick"]);
        assert!(task.is_terminated() && sleep.is_terminated() && stopped.is_terminated());
        sleep.reset(reactor.now() + SECOND);
        assert!(!sleep.is_terminated());
        drop(listener.port().stop());
        while let Some(conn) = listener.next().await {
            drop(conn?);
        }
        assert!(futures::stream::FusedStream::is_terminated(&listener));
        Ok(())
    });
}
