//! All interleavings of a whole reactor with other threads; see [`crate::sync`].

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::task::{Poll, Waker};

use super::*;
use crate::sync::{AtomicBool, Ordering, Shared, explore, thread};

fn in_memory() -> Reactor {
    Reactor::with_driver(Driver::memory(None).unwrap(), false, Debug::default())
}

fn on_the_machine() -> Reactor {
    // Time stands still: what the loop does must follow from the interleaving alone.
    Reactor::with_driver(Driver::portable(), true, Debug::default())
}

/// Two threads set a flag each and wake the loop's main future.
fn wake_main(reactor: &Reactor) {
    let flags = [(); 2].map(|()| Shared::new(AtomicBool::new(false)));
    let others = RefCell::new(Vec::new());
    let main = poll_fn(|cx| {
        if others.borrow().is_empty() {
            let wake = |flag: &Shared<AtomicBool>| {
                let (flag, waker) = (flag.clone(), cx.waker().clone());
                thread::spawn(move || {
                    flag.store(true, Ordering::Release);
                    waker.wake();
                })
            };
            others.borrow_mut().extend(flags.iter().map(wake));
        }
        match flags.iter().all(|flag| flag.load(Ordering::Acquire)) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    });
    reactor.run_until(main).unwrap();
    for other in others.take() {
        other.join().unwrap();
    }
}

/// Two threads send calls; the loop's main future waits for all of them.
fn call(reactor: &Reactor) {
    let ran = Arc::new(Mutex::new(Vec::new()));
    let waiting = Arc::new(Mutex::new(None::<Waker>));
    let others = [1, 2].map(|calls| {
        let (remote, ran, waiting) = (reactor.remote(), ran.clone(), waiting.clone());
        thread::spawn(move || {
            for number in 0..calls {
                let (ran, waiting) = (ran.clone(), waiting.clone());
                let call = move || {
                    ran.lock().unwrap().push((calls, number));
                    let waker = waiting.lock().unwrap().take();
                    waker.into_iter().for_each(Waker::wake);
                };
                remote.call(call).unwrap();
            }
        })
    });
    let main = poll_fn(|cx| {
        *waiting.lock().unwrap() = Some(cx.waker().clone());
        match ran.lock().unwrap().len() {
            3 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    reactor.run_until(main).unwrap();
    for other in others {
        other.join().unwrap();
    }
    let ran = ran.lock().unwrap();
    let order = ran.iter().filter(|entry| entry.0 == 2);
    assert!(order.map(|entry| entry.1).eq(0..2), "{ran:?}");
}

#[test]
fn in_memory_what_the_loop_is_run_for_is_woken() {
    explore("two threads wake main in memory", Some(2), || {
        wake_main(&in_memory());
    });
}

#[test]
fn on_the_machine_what_the_loop_is_run_for_is_woken() {
    explore("two threads wake main on the machine", Some(2), || {
        wake_main(&on_the_machine());
    });
}

#[test]
fn in_memory_calls_are_run_in_the_order_of_their_thread() {
    explore("two threads call in memory", Some(2), || call(&in_memory()));
}

#[test]
fn on_the_machine_calls_are_run_in_the_order_of_their_thread() {
    explore("two threads call on the machine", Some(2), || {
        call(&on_the_machine());
    });
}

#[test]
fn a_call_is_run_or_dropped_by_the_reactor_that_ends_or_comes_back() {
    explore("a thread calls while the reactor ends", Some(3), || {
        let reactor = in_memory();
        let thread_id = thread::current().id();
        let (at_home, abroad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let held = {
            let (at_home, abroad) = (at_home.clone(), abroad.clone());
            Dropped(Some(move || {
                let here = thread::current().id() == thread_id;
                let count = if here { &at_home } else { &abroad };
                count.fetch_add(1, Ordering::Relaxed);
            }))
        };
        let remote = reactor.remote();
        let other = thread::spawn(move || remote.call(move || drop(held)).is_err());
        reactor.run_until(std::future::ready(())).unwrap();
        drop(reactor);
        let came_back = other.join().unwrap();
        assert_eq!(at_home.load(Ordering::Relaxed), usize::from(!came_back));
        assert_eq!(abroad.load(Ordering::Relaxed), usize::from(came_back));
    });
}

/// Calls its function when it is dropped.
struct Dropped<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for Dropped<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}
