//! Tests of tasks with panics, shutdowns and cancels everywhere: none may end the process, and
//! nothing may be left over.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::panic::resume_unwind;
use std::rc::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::failure::Panicked;
use crate::report::{self, Origin, Report};
use crate::sync::AtomicBool;

/// An executor that is run by hand, a log, and the reports.
struct Lab {
    executor: Rc<Executor>,
    log: Log,
    reports: Rc<RefCell<Vec<Report>>>,
    wakes: Arc<AtomicUsize>,
    _entered: Entered,
    _sink_guard: report::SinkGuard,
}

impl Lab {
    fn new() -> Self {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = wakes.clone();
        let loops = thread::current();
        let executor = Executor::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            loops.unpark();
        });
        let reports = Rc::new(RefCell::new(Vec::new()));
        let seen = reports.clone();
        Self {
            log: Log::default(),
            _entered: executor.enter(),
            _sink_guard: report::redirect(Rc::new(move |report| seen.borrow_mut().push(report))),
            executor,
            reports,
            wakes,
        }
    }

    #[track_caller]
    fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        self.executor.spawn(future, Location::caller())
    }

    /// Runs one turn.
    fn turn(&self) -> usize {
        self.executor.collect(|| false);
        self.executor.run_batch(|| false)
    }

    /// Waits until another thread wakes the loop, as the driver does.
    #[track_caller]
    fn wait(&self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            thread::park_timeout(PATIENCE);
            if self.executor.inbox().has_messages() {
                return;
            }
        }
        panic!("a wake was lost");
    }

    fn run_until_idle(&self) {
        while self.turn() > 0 || self.executor.inbox().has_messages() {}
    }

    /// Takes the reports.
    fn reports(&self) -> Vec<String> {
        let reports = self.reports.take();
        reports
            .iter()
            .map(|report| format!("{:?}: {}", report.origin(), report.failure()))
            .collect()
    }

    /// Shuts down and checks that the executor can be freed.
    #[track_caller]
    fn end(self) {
        self.executor.shut_down();
        assert_eq!(self.executor.tasks(), Vec::<Caller>::new());
        let Self {
            executor, _entered, ..
        } = self;
        drop(_entered);
        let last = Rc::downgrade(&executor);
        drop(executor);
        assert!(
            last.upgrade().is_none(),
            "something still owns the executor"
        );
    }
}

#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    fn log(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    fn take(&self) -> String {
        self.0.take().join(" ")
    }
}

/// How long another thread may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Logs when it is dropped.
struct Tell(Log, &'static str);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.log(self.1);
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new("bomb"));
    }
}

/// Stores its waker and never ends.
async fn give_waker(to: Rc<RefCell<Option<Waker>>>) {
    poll_fn(|cx| {
        *to.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn ready<F: Future + Unpin>(mut future: F) -> F::Output {
    match poll(&mut future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is still pending"),
    }
}

#[test]
fn a_wake_from_another_thread_brings_the_task_back() {
    let lab = Lab::new();
    let waker = Rc::new(RefCell::new(None::<Waker>));
    let (slot, log) = (waker.clone(), lab.log.clone());
    let mut polls = 0;
    lab.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 3 {
            log.log("done");
            return Poll::Ready(());
        }
        *slot.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }))
    .detach();
    for _ in 0..2 {
        lab.run_until_idle();
        let waker = waker.take().unwrap();
        thread::spawn(move || waker.wake()).join().unwrap();
    }
    assert_eq!(lab.wakes.load(Ordering::SeqCst), 2);
    lab.run_until_idle();
    assert_eq!(lab.log.take(), "done");
    lab.end();
}

#[test]
fn wakes_from_other_threads_while_the_loop_runs_are_not_lost() {
    let lab = Lab::new();
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let woken = Arc::new(AtomicBool::new(false));
    let seen = woken.clone();
    let (slot, wakers) = mpsc::channel::<Waker>();
    let other = thread::spawn(move || {
        for waker in wakers {
            seen.store(true, Ordering::SeqCst);
            waker.wake();
        }
    });
    let task = lab.spawn(async move {
        for _ in 0..rounds {
            poll_fn(|cx| {
                if woken.swap(false, Ordering::SeqCst) {
                    return Poll::Ready(());
                }
                slot.send(cx.waker().clone()).unwrap();
                Poll::Pending
            })
            .await;
        }
    });
    while !task.is_finished() {
        if lab.turn() == 0 {
            lab.wait();
        }
    }
    other.join().unwrap();
    ready(task).unwrap();
    lab.end();
}

#[test]
fn a_foreign_wake_after_the_loop_has_ended_does_nothing() {
    let lab = Lab::new();
    let waker = Rc::new(RefCell::new(None));
    lab.spawn(give_waker(waker.clone())).detach();
    lab.turn();
    let waker = waker.take().unwrap();
    lab.end();
    thread::spawn(move || {
        waker.wake_by_ref();
        waker.wake();
    })
    .join()
    .unwrap();
}

#[test]
fn the_last_waker_of_a_detached_task_may_be_dropped_on_another_thread() {
    let lab = Lab::new();
    let waker = Rc::new(RefCell::new(None));
    lab.spawn(give_waker(waker.clone())).detach();
    lab.turn();
    let late = waker.take().unwrap();
    let before = late.clone();
    thread::spawn(move || drop(before)).join().unwrap();
    lab.run_until_idle();
    lab.end();
    thread::spawn(move || drop(late)).join().unwrap();
}

#[test]
fn shutting_down_waits_for_a_task_that_another_thread_is_about_to_hand_over() {
    for _ in 0..if cfg!(miri) { 5 } else { 500 } {
        let lab = Lab::new();
        let waker = Rc::new(RefCell::new(None));
        let alive = Rc::new(());
        let held = alive.clone();
        let slot = waker.clone();
        lab.spawn(async move {
            give_waker(slot).await;
            drop(held);
        })
        .detach();
        lab.turn();
        let waker = waker.take().unwrap();
        let other = thread::spawn(move || waker.wake());
        lab.end();
        assert_eq!(Rc::strong_count(&alive), 1, "its future is still alive");
        other.join().unwrap();
    }
}

#[test]
fn a_panic_in_a_future_is_its_result() {
    let lab = Lab::new();
    let task = lab.spawn(async { resume_unwind(Box::new("oh")) as () });
    lab.turn();
    let failure = ready(task).unwrap_err();
    assert!(failure.is_panic());
    assert_eq!(failure.location().file(), file!());
    assert_eq!(lab.reports(), Vec::<String>::new());
    lab.end();
}

#[test]
fn a_panic_in_a_detached_task_is_reported_with_its_payload() {
    let lab = Lab::new();
    lab.spawn(async { resume_unwind(Box::new(7_u8)) as () })
        .detach();
    lab.turn();
    let report = lab.reports.borrow_mut().pop().unwrap();
    assert_eq!(report.origin(), Origin::Task);
    assert_eq!(report.location().file(), file!());
    let panicked = report.failure().downcast_ref::<Panicked>().unwrap();
    assert!(panicked.take_payload().unwrap().is::<u8>());
    lab.end();
}

#[test]
fn an_err_that_is_not_taken_is_reported() {
    let lab = Lab::new();
    lab.spawn(async { Err::<(), _>(Failure::new("lost")) })
        .detach();
    drop(lab.spawn(async { Err::<(), _>(std::io::Error::other("io")) }));
    lab.turn();
    assert_eq!(lab.reports(), ["Task: lost", "Task: io"]);
    lab.end();
}

#[test]
fn an_err_that_is_not_taken_is_reported_whatever_box_it_is_in() {
    type Boxed = Box<dyn std::error::Error + Send + Sync>;
    let lab = Lab::new();
    drop(lab.spawn(async { Err::<(), Boxed>("sent".into()) }));
    drop(lab.spawn(async { Err::<(), Box<dyn std::error::Error>>("local".into()) }));
    drop(lab.spawn(async { Err::<(), _>(fmt::Error) }));
    drop(lab.spawn(async { Err::<Infallible, _>(Failure::new("endless")) }));
    lab.turn();
    let format = "an error occurred when formatting an argument";
    let expected = ["sent", "local", format, "endless"].map(|text| format!("Task: {text}"));
    assert_eq!(lab.reports(), expected);
    lab.end();
}

#[cfg(all(feature = "anyhow", feature = "eyre"))]
#[test]
fn an_err_of_anyhow_or_eyre_that_is_not_taken_is_reported_with_its_context() {
    let lab = Lab::new();
    let below = || Failure::new("below").into_error();
    drop(lab.spawn(async { Err::<(), _>(anyhow::anyhow!("anyhow")) }));
    drop(lab.spawn(async { Err::<(), _>(eyre::eyre!("eyre")) }));
    drop(lab.spawn(async move { Err::<(), _>(anyhow::Error::new(below()).context("top")) }));
    lab.turn();
    assert_eq!(lab.reports(), ["Task: anyhow", "Task: eyre", "Task: top"]);
    // The same failure, so that its clones are not reported again.
    let one = Failure::new("one");
    let other = one.clone();
    drop(lab.spawn(async move { Err::<(), anyhow::Error>(one.into()) }));
    drop(lab.spawn(async move { Err::<(), eyre::Report>(other.into()) }));
    lab.turn();
    assert_eq!(lab.reports(), ["Task: one"]);
    lab.end();
}

#[test]
fn an_error_that_panics_while_it_is_read_for_a_report_is_reported_as_that_panic() {
    #[derive(Debug)]
    struct Mute(Rc<()>);
    impl fmt::Display for Mute {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            let _ = &self.0;
            resume_unwind(Box::new("mute"))
        }
    }
    impl std::error::Error for Mute {}
    let lab = Lab::new();
    let error: Box<dyn std::error::Error> = Box::new(Mute(Rc::new(())));
    drop(lab.spawn(async { Err::<(), _>(error) }));
    lab.turn();
    assert_eq!(lab.reports(), ["Task: panicked: mute"]);
    lab.end();
}

#[test]
fn a_destructor_that_panics_is_reported_wherever_it_runs() {
    let lab = Lab::new();
    // In the future while it is polled, at its end, and when it is cancelled.
    lab.spawn(async { drop(Bomb) }).detach();
    let bomb = Bomb;
    lab.spawn(poll_fn(move |_| {
        let _held = &bomb;
        Poll::Ready(())
    }))
    .detach();
    let bomb = Bomb;
    let never = lab.spawn(async move {
        let _held = bomb;
        pending::<()>().await;
    });
    // In the result.
    lab.spawn(async { Bomb }).detach();
    drop(never.cancel());
    lab.run_until_idle();
    assert_eq!(
        lab.reports(),
        [
            "Task: panicked: bomb",
            "Destructor: panicked: bomb",
            "Destructor: panicked: bomb",
            "Destructor: panicked: bomb",
        ]
    );
    // In a future that never ran, and in one that waited, at shutdown; in one that comes too late.
    let bomb = Bomb;
    lab.spawn(async move { drop(bomb) }).detach();
    let bomb = Bomb;
    lab.spawn(async move {
        let _held = bomb;
        pending::<()>().await;
    })
    .detach();
    lab.turn();
    let bomb = Bomb;
    lab.spawn(async move { drop(bomb) }).detach();
    lab.executor.shut_down();
    let bomb = Bomb;
    lab.spawn(async move { drop(bomb) }).detach();
    assert_eq!(lab.reports().len(), 4);
    lab.end();
}

#[test]
fn a_sink_that_panics_ends_nothing() {
    let lab = Lab::new();
    let _sink_guard = report::redirect(Rc::new(|_| resume_unwind(Box::new("sink"))));
    lab.spawn(async { Bomb }).detach();
    let bomb = Bomb;
    let task = lab.spawn(async move {
        let _held = bomb;
        pending::<()>().await;
    });
    lab.turn();
    drop(task.cancel());
    lab.run_until_idle();
    drop(_sink_guard);
    lab.end();
}

#[test]
fn shutting_down_frees_everything_whatever_owns_what() {
    let lab = Lab::new();
    let alive = Rc::new(());
    let held: Vec<_> = (0..6).map(|_| alive.clone()).collect();
    let mut held = held.into_iter();
    // Ready and never polled; waiting; waiting for each other; a call; a waker in its own future.
    let one = held.next();
    lab.spawn(async move { drop(one) }).detach();
    let one = held.next();
    let waiting = lab.spawn(async move {
        let _held = one;
        pending::<()>().await;
    });
    let one = held.next();
    lab.spawn(async move {
        let _held = one;
        let _ = waiting.await;
    })
    .detach();
    let slot = Rc::new(RefCell::new(None));
    let (one, own) = (held.next(), slot.clone());
    lab.spawn(async move {
        let _held = (one, own.clone());
        give_waker(own).await;
    })
    .detach();
    lab.executor.run_batch(|| false);
    let one = held.next();
    lab.spawn(async move { drop(one) }).detach();
    let one = held.next();
    lab.executor.call(Location::caller(), move || drop(one));
    assert!(Rc::strong_count(&alive) > 1);
    let last: Weak<()> = Rc::downgrade(&alive);
    drop(alive);
    drop(slot);
    lab.end();
    assert!(last.upgrade().is_none());
}

#[test]
fn what_is_spawned_or_woken_by_a_destructor_during_shutdown_is_dropped_at_once() {
    struct Spawns(Log);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let (first, second) = (
                Tell(self.0.clone(), "spawned"),
                Tell(self.0.clone(), "called"),
            );
            let executor = Executor::current().unwrap();
            let mut task = executor.spawn(
                async move {
                    first.0.log("ran");
                    drop(first);
                },
                Location::caller(),
            );
            let late = poll(&mut task);
            assert!(matches!(late, Poll::Ready(Err(failure)) if failure.is::<Cancelled>()));
            executor.call(Location::caller(), move || drop(second));
            self.0.log("end");
        }
    }
    let lab = Lab::new();
    let spawns = Spawns(lab.log.clone());
    lab.spawn(async move {
        let _held = spawns;
        pending::<()>().await;
    })
    .detach();
    lab.turn();
    lab.executor.shut_down();
    assert_eq!(lab.log.take(), "spawned called end");
    lab.end();
}

#[test]
fn shutting_down_from_inside_a_task_ends_that_task_as_well() {
    let lab = Lab::new();
    for _ in 0..2 {
        let (log, tell) = (lab.log.clone(), Tell(lab.log.clone(), "dropped"));
        lab.spawn(async move {
            let _held = tell;
            yield_now().await;
            Executor::current().unwrap().shut_down();
            log.log("shut");
            yield_now().await;
            log.log("never");
        })
        .detach();
    }
    lab.run_until_idle();
    assert_eq!(lab.log.take(), "dropped shut dropped");
    lab.end();
}

#[test]
fn shutting_down_from_inside_a_task_ends_those_that_wait() {
    let lab = Lab::new();
    let tell = Tell(lab.log.clone(), "dropped");
    lab.spawn(async move {
        let _held = tell;
        pending::<()>().await;
    })
    .detach();
    lab.run_until_idle();
    let log = lab.log.clone();
    lab.spawn(async move {
        Executor::current().unwrap().shut_down();
        log.log("shut");
    })
    .detach();
    lab.run_until_idle();
    assert_eq!(lab.log.take(), "dropped shut");
    lab.end();
}

#[test]
fn spawning_after_the_shutdown_drops_at_once() {
    let lab = Lab::new();
    lab.executor.shut_down();
    let tell = Tell(lab.log.clone(), "dropped");
    let task = lab.spawn(async move { drop(tell) });
    assert_eq!(lab.log.take(), "dropped");
    assert!(ready(task).unwrap_err().is::<Cancelled>());
    lab.end();
}

#[test]
fn a_handle_dropped_before_it_was_polled_lets_the_task_run_on() {
    let lab = Lab::new();
    let log = lab.log.clone();
    drop(lab.spawn(async move {
        yield_now().await;
        log.log("done");
    }));
    lab.run_until_idle();
    assert_eq!(lab.log.take(), "done");
    lab.end();
}

#[test]
fn a_handle_dropped_after_it_was_polled_cancels_the_task() {
    let lab = Lab::new();
    let (log, tell) = (lab.log.clone(), Tell(lab.log.clone(), "dropped"));
    let mut task = lab.spawn(async move {
        let _held = tell;
        yield_now().await;
        log.log("never");
    });
    assert!(poll(&mut task).is_pending());
    drop(task);
    assert_eq!(lab.log.take(), "");
    lab.run_until_idle();
    assert_eq!(lab.log.take(), "dropped");
    lab.end();
}

#[test]
fn awaiting_a_reference_and_giving_up_loses_nothing() {
    let lab = Lab::new();
    let mut task = lab.spawn(async { 5 });
    {
        let mut by_reference = &mut task;
        assert!(poll(&mut by_reference).is_pending());
    }
    lab.turn();
    assert_eq!(ready(task).unwrap(), 5);
    lab.end();
}

#[test]
fn cancelling_gives_the_result_of_a_task_that_had_finished() {
    let lab = Lab::new();
    let task = lab.spawn(async { 5 });
    lab.turn();
    assert!(task.is_finished());
    assert_eq!(ready(task.cancel()), Some(5));
    let task = lab.spawn(async { 5 });
    lab.turn();
    drop(task.cancel());
    lab.end();
}

#[test]
fn a_panic_found_by_a_cancel_is_reported() {
    let lab = Lab::new();
    for _ in 0..2 {
        let task = lab.spawn(async { resume_unwind(Box::new("oh")) as () });
        lab.turn();
        assert_eq!(ready(task.cancel()), None);
        assert_eq!(lab.reports(), ["Task: panicked: oh"]);
    }
    lab.end();
}

#[test]
fn cancelling_a_running_task_ends_it_and_can_be_awaited() {
    let lab = Lab::new();
    let tell = Tell(lab.log.clone(), "dropped");
    let task = lab.spawn(async move {
        let _held = tell;
        pending::<()>().await;
    });
    lab.turn();
    let mut cancelling = task.cancel();
    assert!(poll(&mut cancelling).is_pending());
    assert_eq!(lab.log.take(), "");
    lab.run_until_idle();
    assert_eq!(lab.log.take(), "dropped");
    assert_eq!(ready(cancelling), None);
    lab.end();
}

#[test]
fn a_task_may_cancel_itself() {
    let lab = Lab::new();
    let slot = Rc::new(RefCell::new(None::<Task<()>>));
    let (own, log) = (slot.clone(), lab.log.clone());
    let tell = Tell(lab.log.clone(), "dropped");
    let task = lab.spawn(async move {
        let _held = tell;
        let own = own.take().unwrap();
        drop(own.cancel());
        log.log("goes on to its next await");
        yield_now().await;
        log.log("never");
    });
    *slot.borrow_mut() = Some(task);
    lab.run_until_idle();
    assert_eq!(lab.log.take(), "goes on to its next await dropped");
    lab.end();
}

#[test]
fn yielding_lets_everything_that_is_ready_run_first() {
    let lab = Lab::new();
    for (first, second) in [("a1", "a2"), ("b1", "b2")] {
        let log = lab.log.clone();
        lab.spawn(async move {
            log.log(first);
            yield_now().await;
            log.log(second);
        })
        .detach();
    }
    let log = lab.log.clone();
    lab.executor.call(Location::caller(), move || log.log("c"));
    assert_eq!(lab.turn(), 3);
    assert_eq!(lab.log.take(), "a1 b1 c");
    assert_eq!(lab.turn(), 2);
    assert_eq!(lab.log.take(), "a2 b2");
    lab.end();
}

#[test]
fn what_becomes_ready_during_a_batch_waits_for_the_next() {
    let lab = Lab::new();
    let log = lab.log.clone();
    lab.spawn(async move {
        log.log("outer");
        let inner = log.clone();
        spawn(async move { inner.log("spawned") }).detach();
        let inner = log.clone();
        let executor = Executor::current().unwrap();
        executor.call(Location::caller(), move || inner.log("called"));
    })
    .detach();
    let endless = lab.spawn(async {
        loop {
            yield_now().await;
        }
    });
    assert_eq!(lab.turn(), 2);
    assert_eq!(lab.log.take(), "outer");
    assert_eq!(lab.turn(), 3);
    assert_eq!(lab.log.take(), "spawned called");
    drop(endless.cancel());
    lab.end();
}

#[test]
fn a_call_that_panics_is_reported_and_the_batch_goes_on() {
    let lab = Lab::new();
    lab.executor
        .call(Location::caller(), || resume_unwind(Box::new("oh")));
    let log = lab.log.clone();
    lab.executor
        .call(Location::caller(), move || log.log("next"));
    assert_eq!(lab.turn(), 2);
    assert_eq!(lab.log.take(), "next");
    assert_eq!(lab.reports(), ["Call: panicked: oh"]);
    lab.end();
}

#[test]
fn calls_from_another_thread_keep_their_order_and_come_back_after_the_end() {
    let lab = Lab::new();
    let inbox = lab.executor.inbox().clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    thread::spawn(move || {
        for n in 0..100 {
            let log = log.clone();
            let call = RemoteCall::new(move || log.lock().unwrap().push(n));
            assert!(inbox.push_call(call, Location::caller()).is_ok());
        }
    })
    .join()
    .unwrap();
    assert_eq!(lab.wakes.load(Ordering::SeqCst), 1, "a burst is one wake");
    lab.turn();
    assert_eq!(*seen.lock().unwrap(), (0..100).collect::<Vec<_>>());
    let inbox = lab.executor.inbox().clone();
    lab.end();
    assert!(inbox.is_closed());
    assert!(
        inbox
            .push_call(RemoteCall::new(|| ()), Location::caller())
            .is_err()
    );
}

#[test]
fn the_list_of_tasks_counts_each_once() {
    let lab = Lab::new();
    let waker = Rc::new(RefCell::new(None));
    for slot in [waker.clone(), Rc::default()] {
        lab.spawn(give_waker(slot)).detach();
    }
    assert_eq!(lab.executor.tasks().len(), 2, "both ready");
    lab.turn();
    assert_eq!(lab.executor.tasks().len(), 2, "both waiting");
    waker.take().unwrap().wake();
    lab.spawn(give_waker(Rc::default())).detach();
    assert_eq!(
        lab.executor.tasks().len(),
        3,
        "one waiting, one woken, one new"
    );
    lab.end();
}

#[test]
fn a_wake_on_the_loops_thread_outside_of_a_turn_wakes_the_loop() {
    let lab = Lab::new();
    let waker = Rc::new(RefCell::new(None));
    lab.spawn(give_waker(waker.clone())).detach();
    lab.turn();
    let waker = waker.take().unwrap();
    let other = Executor::new(|| {});
    {
        let _other = other.enter();
        waker.wake();
    }
    assert!(!lab.executor.is_ready());
    assert_eq!(lab.wakes.load(Ordering::SeqCst), 1);
    assert_eq!(lab.turn(), 1);
    lab.end();
}

#[test]
#[should_panic(expected = "no reactor runs on this thread")]
fn spawning_without_a_reactor_panics() {
    drop(spawn(async {}));
}
