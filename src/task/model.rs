//! All interleavings of the inbox, of wakes from other threads, and of `block_on`; see
//! [`crate::sync`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::executor::{Entered, Executor};
use super::{Inbox, RemoteCall, Task, block_on};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{AtomicBool, Ordering, Shared, WakeFd, explore};

/// A loop without a reactor: it runs what is ready, and waits when nothing is.
struct Loop {
    executor: Rc<Executor>,
    wake_fd: Arc<WakeFd>,
    seen: Arc<Observed>,
    _entered: Entered,
    /// The most messages that it takes in during a turn.
    most: usize,
}

/// Counts of what happened to values.
#[derive(Default)]
struct Observed {
    /// Dropped by the thread that they belong to.
    at_home: AtomicUsize,
    abroad: AtomicUsize,
    polls: AtomicUsize,
}

/// A value that belongs to the thread it was made on.
struct Held {
    host_thread: ThreadId,
    seen: Arc<Observed>,
}

impl Loop {
    fn new() -> Self {
        Self::taking(usize::MAX)
    }

    /// Makes a loop that takes in this many messages in a turn.
    fn taking(most: usize) -> Self {
        let wake_fd = Arc::new(WakeFd::new());
        let notify = wake_fd.clone();
        let executor = Executor::new(move || notify.notify());
        Self {
            _entered: executor.enter(),
            executor,
            wake_fd,
            most,
            seen: Arc::default(),
        }
    }

    fn turn(&self) {
        let mut taken = 0;
        self.executor.collect(|| {
            taken += 1;
            taken >= self.most
        });
        self.executor.run_batch(|| false);
    }

    fn run_until(&self, is_done: impl Fn() -> bool) {
        loop {
            self.turn();
            if is_done() {
                return;
            }
            if !self.executor.is_ready() && !self.executor.has_messages_left() {
                self.wake_fd.wait();
            }
        }
    }

    fn held(&self) -> Held {
        Held {
            host_thread: thread::current().id(),
            seen: self.seen.clone(),
        }
    }

    /// Spawns a task that waits until all flags are set; returns it with its waker.
    fn wait_for<const N: usize>(&self, flags: &[Shared<AtomicBool>; N]) -> (Task<()>, Waker) {
        let (slot, held) = (Rc::new(RefCell::new(None)), self.held());
        let (waker, flags, seen) = (slot.clone(), flags.clone(), self.seen.clone());
        let task = self.executor.spawn(
            poll_fn(move |cx| {
                let _held = &held;
                seen.polls.fetch_add(1, Ordering::Relaxed);
                *waker.borrow_mut() = Some(cx.waker().clone());
                match flags.iter().all(is_up) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            }),
            Location::caller(),
        );
        self.turn();
        let waker = slot.take().expect("it was polled");
        (task, waker)
    }

    fn wake_elsewhere(
        &self,
        flag: &Shared<AtomicBool>,
        waker: Waker,
        by_ref: bool,
    ) -> thread::JoinHandle<()> {
        wake_elsewhere(Some(self.executor.inbox().clone()), flag, waker, by_ref)
    }

    /// Checks that one future was dropped, by this thread, after at most this many polls.
    fn check(&self, polls: usize) {
        assert_eq!(self.seen.at_home.load(Ordering::Relaxed), 1);
        assert_eq!(self.seen.abroad.load(Ordering::Relaxed), 0);
        assert!(self.seen.polls.load(Ordering::Relaxed) <= polls);
        assert!(self.executor.tasks().is_empty());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let count = match self.host_thread == thread::current().id() {
            true => &self.seen.at_home,
            false => &self.seen.abroad,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn flags<const N: usize>() -> [Shared<AtomicBool>; N] {
    std::array::from_fn(|_| Shared::new(AtomicBool::new(false)))
}

/// Reads the newest value. `async-task`, which loom does not see, guarantees that a poll sees what
/// was done before a wake of a task that was woken already.
fn is_up(flag: &Shared<AtomicBool>) -> bool {
    flag.fetch_or(false, Ordering::AcqRel)
}

/// Sets a flag on another thread, then wakes, by value or not.
///
/// The inbox is read before: whether a wake leads to a push depends on the task's state, which loom
/// does not see, and it explores only what it knows to matter.
fn wake_elsewhere(
    inbox: Option<Shared<Inbox>>,
    flag: &Shared<AtomicBool>,
    waker: Waker,
    by_ref: bool,
) -> thread::JoinHandle<()> {
    let flag = flag.clone();
    thread::spawn(move || {
        flag.swap(true, Ordering::AcqRel);
        inbox.map(|inbox| inbox.is_closed());
        match by_ref {
            true => waker.wake_by_ref(),
            false => waker.wake(),
        }
    })
}

/// Two threads push `each` calls; a loop that takes this many in a turn runs all of them, those of
/// each thread in order.
fn push_and_run(each: usize, most: usize) {
    let lap = Loop::taking(most);
    let ran = Arc::new(Mutex::new(Vec::new()));
    let pushers = ["a", "b"].map(|name| {
        let (inbox, ran) = (lap.executor.inbox().clone(), ran.clone());
        thread::spawn(move || {
            for number in 0..each {
                let ran = ran.clone();
                let call = RemoteCall::new(move || ran.lock().unwrap().push((name, number)));
                assert!(inbox.push_call(call, Location::caller()).is_ok());
            }
        })
    });
    lap.run_until(|| ran.lock().unwrap().len() == 2 * each);
    for pusher in pushers {
        pusher.join().unwrap();
    }
    for name in ["a", "b"] {
        let ran = ran.lock().unwrap();
        let order = ran.iter().filter(|entry| entry.0 == name);
        assert!(order.map(|entry| entry.1).eq(0..each), "{ran:?}");
    }
    lap.executor.shut_down();
}

#[test]
fn what_two_threads_push_is_run_and_the_loop_never_sleeps_on_it() {
    explore("two threads push one each", Some(4), || {
        push_and_run(1, usize::MAX)
    });
}

#[test]
fn what_one_thread_pushes_keeps_its_order() {
    explore("two threads push two each", Some(3), || {
        push_and_run(2, usize::MAX)
    });
}

#[test]
fn what_a_turn_leaves_in_the_inbox_is_run_in_the_next() {
    explore("a loop takes in one call a turn", Some(3), || {
        push_and_run(2, 1)
    });
}

#[test]
fn what_is_pushed_while_the_loop_ends_is_the_loops_or_comes_back() {
    explore("two threads push while the loop ends", Some(3), || {
        let lap = Loop::new();
        let ran = Arc::new(AtomicUsize::new(0));
        let pushers = [(); 2].map(|()| {
            let (inbox, ran, held) = (lap.executor.inbox().clone(), ran.clone(), lap.held());
            thread::spawn(move || {
                let call = RemoteCall::new(move || {
                    let _held = held;
                    ran.fetch_add(1, Ordering::Relaxed);
                });
                // A call that is returned is dropped here.
                inbox.push_call(call, Location::caller()).is_err()
            })
        });
        lap.turn();
        lap.executor.shut_down();
        let gone = lap.seen.at_home.load(Ordering::Relaxed);
        let seen = lap.seen.clone();
        // The inbox may live longer than its loop.
        drop(lap);
        let back = pushers.map(|pusher| pusher.join().unwrap());
        let back = back.into_iter().filter(|is_back| *is_back).count();
        assert_eq!(gone + back, 2, "each is taken or comes back");
        assert_eq!(seen.at_home.load(Ordering::Relaxed), gone);
        assert_eq!(seen.abroad.load(Ordering::Relaxed), back);
        assert!(ran.load(Ordering::Relaxed) <= gone);
    });
}

#[test]
fn two_foreign_wakes_run_a_task_to_its_end() {
    explore("two threads wake a task", Some(2), || {
        let lap = Loop::new();
        let flags = flags::<2>();
        let (task, waker) = lap.wait_for(&flags);
        let other = lap.wake_elsewhere(&flags[0], waker.clone(), true);
        let another = lap.wake_elsewhere(&flags[1], waker, false);
        lap.run_until(|| task.is_finished());
        other.join().unwrap();
        another.join().unwrap();
        drop(task);
        lap.turn();
        lap.check(3);
        lap.executor.shut_down();
    });
}

#[test]
fn a_foreign_wake_of_a_task_that_finishes_just_then_does_nothing() {
    explore("a wake meets a task's end", Some(3), || {
        let lap = Loop::new();
        let flags = flags::<1>();
        let (task, waker) = lap.wait_for(&flags);
        let other = lap.wake_elsewhere(&flags[0], waker.clone(), false);
        // In either order the flag is set and the task ends.
        flags[0].swap(true, Ordering::AcqRel);
        waker.wake();
        lap.run_until(|| task.is_finished());
        drop(task);
        other.join().unwrap();
        lap.turn();
        lap.check(3);
        lap.executor.shut_down();
    });
}

#[test]
fn a_foreign_wake_of_a_task_that_is_cancelled_drops_its_future_here() {
    explore("a wake meets a cancellation", Some(3), || {
        let lap = Loop::new();
        let flags = flags::<1>();
        let (task, waker) = lap.wait_for(&flags);
        let other = lap.wake_elsewhere(&flags[0], waker, false);
        drop(task.cancel());
        lap.run_until(|| lap.executor.tasks().is_empty());
        other.join().unwrap();
        lap.turn();
        lap.check(2);
        lap.executor.shut_down();
    });
}

#[test]
fn the_last_waker_may_go_on_another_thread() {
    explore("two threads drop the last wakers", Some(3), || {
        let lap = Loop::new();
        let flags = flags::<1>();
        let (task, waker) = lap.wait_for(&flags);
        let last = waker.clone();
        let other = lap.wake_elsewhere(&flags[0], waker, true);
        let another = thread::spawn(move || drop(last));
        lap.run_until(|| task.is_finished());
        drop(task);
        lap.check(2);
        lap.executor.shut_down();
        drop(lap);
        other.join().unwrap();
        another.join().unwrap();
    });
}

#[test]
fn a_foreign_wake_while_the_loop_ends_drops_the_future_here() {
    explore("two wakes meet the loop's end", Some(3), || {
        let lap = Loop::new();
        let flags = flags::<2>();
        let (task, waker) = lap.wait_for(&flags);
        task.detach();
        let other = lap.wake_elsewhere(&flags[0], waker.clone(), true);
        let another = lap.wake_elsewhere(&flags[1], waker, false);
        lap.executor.shut_down();
        lap.check(1);
        drop(lap);
        other.join().unwrap();
        another.join().unwrap();
    });
}

#[test]
fn a_foreign_wake_while_a_task_ends_the_loop_drops_the_future_here() {
    explore("a wake meets the loop's end from inside", Some(3), || {
        let lap = Loop::new();
        let flags = flags::<1>();
        let (task, waker) = lap.wait_for(&flags);
        task.detach();
        let (executor, done) = (lap.executor.clone(), Rc::new(Cell::new(false)));
        let note = done.clone();
        let ends = lap.executor.spawn(
            async move {
                super::yield_now().await;
                executor.shut_down();
                note.set(true);
            },
            Location::caller(),
        );
        ends.detach();
        let other = lap.wake_elsewhere(&flags[0], waker, false);
        lap.run_until(|| done.get());
        lap.check(2);
        drop(lap);
        other.join().unwrap();
    });
}

#[test]
fn block_on_never_sleeps_through_a_wake() {
    explore("two threads wake block_on", None, || {
        let flags = flags::<2>();
        let mut others = Vec::new();
        block_on(poll_fn(|cx| {
            if others.is_empty() {
                let wake = |flag| wake_elsewhere(None, flag, cx.waker().clone(), false);
                others.extend(flags.iter().map(wake));
            }
            match flags.iter().all(is_up) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}
