//! How often the use of Deferreds allocates.

use std::cell::Cell;
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::counted::ALLOCATIONS;
use torsade::{Deferred, Protocol, Reactor, defer};

/// Returns how often `work` allocates and how much it leaves behind.
fn count<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let before = ALLOCATIONS.get();
    let result = work();
    (ALLOCATIONS.get() - before, result)
}

fn poll<T>(deferred: &mut Deferred<T>) -> Poll<Result<T, torsade::Failure>> {
    Pin::new(deferred).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn ten_callbacks_built_and_fired_take_three() {
    let (allocations, ()) = count(|| {
        let (mut deferred, resolver) = Deferred::pair();
        for n in 0..10_u64 {
            deferred = deferred.map(move |sum: u64| sum + n);
        }
        drop(deferred);
        resolver.callback(1);
    });
    assert_eq!(allocations, 3);
}

/// A handle is made on request: it would take two more.
#[test]
fn an_accepted_connection_allocates_four_times() {
    struct Idle;

    impl Protocol for Idle {
        fn data_received(&mut self, _cx: &mut torsade::Context<'_, Self>, _data: &[u8]) {}
    }

    const MANY: usize = 500;
    let reactor = Reactor::new().unwrap();
    let made = Rc::new(Cell::new(0));
    let count_made = made.clone();
    let port = reactor.listen("127.0.0.1:0", move |_peer| {
        count_made.set(count_made.get() + 1);
        Idle
    });
    let port = port.unwrap();
    let address = port.local_addr().inet().unwrap();
    let clients: Vec<_> = (0..MANY)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let (allocations, ()) = count(|| {
        while made.get() < MANY {
            reactor.iterate(Duration::from_secs(1));
        }
    });
    // And the tables a few.
    assert!(allocations < MANY * 9 / 2, "{allocations}");
    drop(clients);
}

#[test]
fn adding_a_callback_to_a_fired_deferred_allocates_nothing() {
    let (allocations, deferred) = count(|| {
        let mut deferred = Deferred::succeed(1_u64);
        for n in 0..10_u64 {
            deferred = deferred.add_callback(move |sum| Ok(sum + n));
        }
        deferred
    });
    assert_eq!(allocations, 0);
    drop(deferred);

    let (deferred, resolver) = Deferred::pair();
    let deferred = deferred.map(|n: u64| n + 1);
    resolver.callback(1);
    let (allocations, deferred) = count(|| deferred.map(|n| n + 1).map(|n| n + 1));
    assert_eq!(allocations, 0);
    drop(deferred);
}

#[test]
fn awaiting_a_fired_deferred_allocates_nothing() {
    let (mut deferred, resolver) = Deferred::pair();
    resolver.callback(1);
    let (allocations, polled) = count(|| poll(&mut deferred));
    assert!(polled.is_ready());
    assert_eq!(allocations, 0);
    let mut deferred = Deferred::succeed(1);
    let (allocations, polled) = count(|| poll(&mut deferred));
    assert!(polled.is_ready());
    assert_eq!(allocations, 0);
}

#[test]
fn making_awaiting_and_firing_a_deferred_allocates_twice() {
    let (allocations, ()) = count(|| {
        let (mut deferred, resolver) = Deferred::pair();
        assert!(poll(&mut deferred).is_pending());
        resolver.callback(1);
        assert!(poll(&mut deferred).is_ready());
    });
    assert_eq!(allocations, 2);
}

#[test]
fn gathering_allocates_a_handful_however_many_members_there_are() {
    for members in [10, 1_000] {
        let (members, resolvers): (Vec<_>, Vec<_>) = (0..members).map(|_| Deferred::pair()).unzip();
        let (allocations, mut all) = count(|| {
            let all = defer::gather(members);
            for resolver in resolvers {
                resolver.callback(1_u64);
            }
            all
        });
        // The members, their slots, the waiting ones, the outcome's core, and the block that holds
        // it.
        assert!(allocations <= 6, "{allocations}");
        assert!(poll(&mut all).is_ready());
    }
}
