//! All interleavings of a driver's wait with wakes from other threads; see [`crate::sync`].

use super::*;
use crate::sync::{AtomicBool, Ordering, Shared, explore, thread};

/// Two threads set a flag each and wake the driver; the waiting thread has seen both flags in the
/// end.
fn wait_and_wake(driver: &Driver, looks_first: bool) {
    let flags = [(); 2].map(|()| Shared::new(AtomicBool::new(false)));
    let others = flags.clone().map(|flag| {
        let waker = driver.waker();
        thread::spawn(move || {
            flag.store(true, Ordering::Release);
            waker.wake();
        })
    });
    let mut events = Vec::new();
    if looks_first {
        driver.wait(Some(Duration::ZERO), &mut events).unwrap();
    }
    while !flags.iter().all(|flag| flag.load(Ordering::Acquire)) {
        driver.wait(None, &mut events).unwrap();
    }
    assert_eq!(events, [], "wakes are no events");
    for other in others {
        other.join().unwrap();
    }
}

#[test]
fn in_memory_a_wake_ends_the_wait_under_way_or_the_next() {
    explore("two threads wake the memory driver", Some(3), || {
        wait_and_wake(&Driver::memory(None).unwrap(), false);
    });
}

#[test]
fn in_memory_a_look_takes_no_wake_away() {
    explore(
        "two threads wake a memory driver that looks",
        Some(3),
        || {
            wait_and_wake(&Driver::memory(None).unwrap(), true);
        },
    );
}

#[test]
fn on_the_machine_a_wake_ends_the_wait_under_way_or_the_next() {
    explore("two threads wake the machine's poller", Some(3), || {
        wait_and_wake(&Driver::portable(), false);
    });
}

#[test]
fn on_the_machine_a_look_takes_no_wake_away() {
    explore("two threads wake a machine that looks", Some(3), || {
        wait_and_wake(&Driver::portable(), true);
    });
}
