//! All interleavings of a pool's queue with its threads; see [`crate::sync`].

use std::panic::Location;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::queue::{Queue, TakenWork, Worker};
use super::{ThreadPool, Ticket};
use crate::sync::{Ordering, Shared, WakeFd, explore, thread};

/// Makes a pool whose idle threads end at once, or wait until they are woken.
fn pool(max: usize, idle: Duration) -> ThreadPool {
    ThreadPool::builder().max(max).idle_after(idle).build()
}

/// Work that counts how often it ran, and how often it was dropped.
struct Counted {
    ran: Arc<WakeFd>,
    runs: Arc<AtomicUsize>,
    ends: Arc<AtomicUsize>,
}

impl Counted {
    fn new() -> Self {
        Self {
            ran: Arc::new(WakeFd::new()),
            runs: Arc::default(),
            ends: Arc::default(),
        }
    }

    fn give_to(&self, pool: &ThreadPool) -> Ticket {
        let ran = self.ran.clone();
        let work = Dropped(self.runs.clone(), self.ends.clone());
        let given = pool.submit(
            Location::caller(),
            Box::new(move || {
                work.0.fetch_add(1, Ordering::SeqCst);
                ran.notify();
                true
            }),
        );
        given.map_err(|(refused, _)| refused).unwrap()
    }

    /// Waits until so many pieces of work ran, which only a woken thread can do.
    fn await_runs(&self, runs: usize) {
        while self.runs.load(Ordering::SeqCst) < runs {
            self.ran.wait();
        }
    }

    /// Checks that so many pieces of work ran, and that all were dropped.
    fn check(&self, runs: usize, ends: usize) {
        assert_eq!(self.runs.load(Ordering::SeqCst), runs);
        assert_eq!(self.ends.load(Ordering::SeqCst), ends);
    }
}

struct Dropped(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// Ends the pool: waits for all its threads, however long that takes.
fn end(pool: &ThreadPool) {
    assert!(pool.stop(LONG).is_clean());
    assert_eq!(pool.statistics().threads, 0);
}

#[test]
fn work_given_while_the_idle_thread_ends_is_done() {
    explore("an idle thread ends while work comes", Some(5), || {
        let (pool, work) = (pool(1, Duration::ZERO), Counted::new());
        for runs in 1..=2 {
            work.give_to(&pool);
            work.await_runs(runs);
        }
        end(&pool);
        work.check(2, 2);
    });
}

#[test]
fn an_idle_thread_is_woken_for_new_work() {
    explore("a waiting thread is called", Some(5), || {
        let (pool, work) = (pool(1, Duration::MAX), Counted::new());
        for runs in 1..=2 {
            work.give_to(&pool);
            work.await_runs(runs);
        }
        end(&pool);
        work.check(2, 2);
    });
}

#[test]
fn work_of_two_threads_is_run_by_two_threads() {
    explore("two threads give work to two", Some(2), || {
        let (pool, work) = (pool(2, Duration::MAX), Arc::new(Counted::new()));
        let other = {
            let (pool, work) = (pool.clone(), work.clone());
            thread::spawn(move || {
                work.give_to(&pool);
            })
        };
        work.give_to(&pool);
        other.join().unwrap();
        end(&pool);
        work.check(2, 2);
    });
}

#[test]
fn cancelled_work_is_run_or_returned_and_the_work_behind_it_is_done() {
    explore("work is called off", Some(4), || {
        let pool = pool(1, Duration::MAX);
        let (first, last) = (Counted::new(), Counted::new());
        // The thread may do the first and find no more, before there is more.
        let tickets = [(); 3].map(|()| first.give_to(&pool));
        last.give_to(&pool);
        // With two more cancelled, most slots are empty: they are swept out.
        let came_back = tickets.iter().filter(|ticket| {
            let job = pool.take_back(ticket);
            job.map(TakenWork::cancel).is_some()
        });
        let came_back = came_back.count();
        last.await_runs(1);
        end(&pool);
        first.check(3 - came_back, 3);
        last.check(1, 1);
    });
}

#[test]
fn queued_work_keeps_its_order_while_empty_slots_are_swept_out() {
    explore("empty slots are swept out", None, || {
        let (queue, seen) = (Shared::new(Queue::new()), Arc::new(Mutex::new(Vec::new())));
        let tickets = [0, 1, 2, 3].map(|n| {
            let seen = seen.clone();
            let work = Box::new(move || {
                seen.lock().unwrap().push(n);
                true
            });
            queue.push(Location::caller(), work).ok().unwrap()
        });
        let taker = {
            let queue = queue.clone();
            thread::spawn(move || {
                let worker = Worker::default();
                queue.take(&worker).is_some_and(TakenWork::run)
            })
        };
        // The second sweep finds a live slot between two empty ones.
        let mut cancelled = [0, 2].map(|n| queue.cancel(&tickets[n]).is_some());
        let ran = taker.join().unwrap();
        while let Some(job) = queue.take(&Worker::default()) {
            job.run();
        }
        assert!(ran && queue.is_empty());
        let mut left = vec![0, 1, 2, 3];
        left.retain(|n| n % 2 == 1 || !std::mem::take(&mut cancelled[n / 2]));
        assert_eq!(*seen.lock().unwrap(), left);
    });
}

#[test]
fn a_pool_made_smaller_still_runs_its_queued_work() {
    explore("a pool is made smaller", Some(2), || {
        let (pool, work) = (pool(2, Duration::MAX), Counted::new());
        work.give_to(&pool);
        work.give_to(&pool);
        pool.adjust(0, 1);
        work.await_runs(2);
        end(&pool);
        work.check(2, 2);
    });
}

#[test]
fn surplus_threads_end_without_being_woken() {
    explore("two threads find nothing when one may be", Some(2), || {
        let (pool, work) = (pool(2, Duration::MAX), Counted::new());
        work.give_to(&pool);
        work.give_to(&pool);
        work.await_runs(2);
        pool.adjust(0, 1);
        thread::yield_now();
        work.give_to(&pool);
        work.await_runs(3);
        end(&pool);
        work.check(3, 3);
    });
}

#[test]
fn a_pool_without_handles_runs_its_queued_work() {
    explore("the last handle of a pool goes", None, || {
        let (pool, work) = (pool(1, Duration::MAX), Counted::new());
        work.give_to(&pool);
        let left = pool.pool.clone();
        drop(pool);
        assert!(left.stop(LONG).1.is_empty());
        work.check(1, 1);
    });
}

/// In a model no time passes, so this never elapses.
const LONG: Duration = Duration::from_secs(3600);
