//! A million of everything, on a thread with a stack of 2 MiB: built, fired, cancelled and dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;

use torsade::defer::Abandoned;
use torsade::{Cancelled, Deferred, Failure, Reactor, Resolver};

const MANY: u32 = 1_000_000;

/// Runs `test` on the small stack.
fn on_small_stack(test: fn()) {
    let thread = thread::Builder::new().stack_size(2 * 1024 * 1024);
    thread.spawn(test).unwrap().join().unwrap();
}

/// One with a million callbacks, which count.
fn long_chain() -> (Deferred<u32>, Resolver<u32>) {
    let (mut deferred, resolver) = Deferred::pair();
    for _ in 0..MANY {
        deferred = deferred.map(|n| n + 1);
    }
    (deferred, resolver)
}

/// Where the last of a line leaves its result.
type End = Rc<RefCell<Option<Result<u32, Failure>>>>;

/// A million Deferreds, each with a callback that returns the one before; the first has nothing to wait for. Their
/// resolvers are in the same order.
fn long_line() -> (Deferred<u32>, Vec<Resolver<u32>>) {
    let (mut deferred, resolver) = Deferred::pair();
    let mut resolvers = vec![resolver];
    for _ in 1..MANY {
        let inner = deferred;
        let (outer, resolver) = Deferred::pair();
        deferred = outer.add_callback(move |_: u32| inner).map(|n| n + 1);
        resolvers.push(resolver);
    }
    (deferred, resolvers)
}

fn note(deferred: Deferred<u32>) -> (Deferred<()>, End) {
    let end = End::default();
    let place = end.clone();
    let deferred = deferred.add_both(move |result| {
        *place.borrow_mut() = Some(result);
    });
    (deferred, end)
}

#[track_caller]
fn value(end: &End) -> u32 {
    end.take().expect("it has come to its end").unwrap()
}

#[test]
fn callbacks_fired() {
    on_small_stack(|| {
        let (deferred, resolver) = long_chain();
        let (deferred, end) = note(deferred);
        resolver.callback(0);
        assert_eq!(value(&end), MANY);
        drop(deferred);
    });
}

#[test]
fn callbacks_dropped_unfired() {
    on_small_stack(|| {
        let (deferred, resolver) = long_chain();
        drop(note(deferred).0);
        drop(resolver);
        let (deferred, resolver) = long_chain();
        let (deferred, end) = note(deferred);
        drop(resolver);
        drop(deferred);
        assert!(end.take().unwrap().unwrap_err().is::<Abandoned>());
    });
}

#[test]
fn callbacks_cancelled_and_paused() {
    on_small_stack(|| {
        let (mut deferred, resolver) = long_chain();
        let pause = deferred.pause();
        resolver.callback(0);
        let (deferred, end) = note(deferred);
        pause.unpause();
        assert_eq!(value(&end), MANY);
        drop(deferred);
        let (deferred, _resolver) = long_chain();
        deferred.cancel();
        let (_deferred, end) = note(deferred);
        assert!(end.take().unwrap().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn callbacks_leaked() {
    on_small_stack(|| {
        // What nobody fires any more is never dropped, and does no harm.
        let (deferred, resolver) = long_chain();
        std::mem::forget(resolver);
        drop(deferred);
        let (deferred, resolver) = long_chain();
        std::mem::forget((deferred, resolver));
    });
}

#[test]
fn a_line_fired_from_the_innermost() {
    on_small_stack(|| {
        let (deferred, resolvers) = long_line();
        let (deferred, end) = note(deferred);
        for resolver in resolvers {
            resolver.callback(0);
        }
        assert_eq!(value(&end), MANY - 1);
        drop(deferred);
    });
}

#[test]
fn a_line_fired_from_the_outermost() {
    on_small_stack(|| {
        let (deferred, resolvers) = long_line();
        let (deferred, end) = note(deferred);
        for resolver in resolvers.into_iter().rev() {
            resolver.callback(0);
        }
        assert_eq!(value(&end), MANY - 1);
        drop(deferred);
    });
}

#[test]
fn a_line_fired_from_the_middle() {
    on_small_stack(|| {
        let (deferred, mut resolvers) = long_line();
        let (deferred, end) = note(deferred);
        let outer = resolvers.split_off(resolvers.len() / 2);
        for resolver in outer.into_iter().chain(resolvers) {
            resolver.callback(0);
        }
        assert_eq!(value(&end), MANY - 1);
        drop(deferred);
    });
}

#[test]
fn a_line_cancelled() {
    on_small_stack(|| {
        let (deferred, mut resolvers) = long_line();
        let (deferred, end) = note(deferred);
        let innermost = resolvers.remove(0);
        for resolver in resolvers.into_iter().rev() {
            resolver.callback(0);
        }
        assert!(!innermost.is_cancelled());
        deferred.cancel();
        assert!(innermost.is_cancelled());
        assert!(end.take().unwrap().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_line_dropped_deferred_first() {
    on_small_stack(|| {
        let (deferred, mut resolvers) = long_line();
        let (deferred, end) = note(deferred);
        let innermost = resolvers.remove(0);
        for resolver in resolvers.into_iter().rev() {
            resolver.callback(0);
        }
        drop(deferred);
        drop(innermost);
        assert!(end.take().unwrap().unwrap_err().is::<Abandoned>());
    });
}

#[test]
fn a_line_dropped_resolver_first() {
    on_small_stack(|| {
        let (deferred, mut resolvers) = long_line();
        let innermost = resolvers.remove(0);
        for resolver in resolvers.into_iter().rev() {
            resolver.callback(0);
        }
        drop(innermost);
        let (deferred, end) = note(deferred);
        drop(deferred);
        assert!(end.take().unwrap().unwrap_err().is::<Abandoned>());
    });
}

#[test]
fn a_line_dropped_unfired() {
    on_small_stack(|| {
        let reports = Rc::new(Cell::new(0));
        let count = reports.clone();
        let reactor = Reactor::in_memory().unwrap();
        reactor.on_report(move |_| count.set(count.get() + 1));
        let done = reactor.run_until(async {
            // Each owns the one before in a callback that never runs.
            for deferred_first in [false, true] {
                let (deferred, resolvers) = long_line();
                let (deferred, end) = note(deferred.add_errback(|_| Ok(0)));
                if deferred_first {
                    drop(deferred);
                    drop(resolvers);
                } else {
                    drop(resolvers.into_iter().rev().collect::<Vec<_>>());
                    drop(deferred);
                }
                assert_eq!(value(&end), 0);
            }
        });
        done.unwrap();
        // All but the outermost were abandoned with nobody to hear of it.
        assert_eq!(reports.get(), 2 * (MANY - 1));
    });
}

#[test]
fn a_million_resolvers_abandoned_one_inside_the_other() {
    on_small_stack(|| {
        let last = Rc::new(Cell::new(0));
        let log = last.clone();
        let (deferred, mut resolver) = Deferred::<()>::pair();
        drop(deferred.add_both(move |result| {
            assert!(result.unwrap_err().is::<Abandoned>());
            log.set(MANY);
        }));
        for _ in 1..MANY {
            let next = resolver;
            let (deferred, own) = Deferred::<()>::pair();
            drop(deferred.add_both(move |_| drop(next)));
            resolver = own;
        }
        drop(resolver);
        assert_eq!(last.get(), MANY);
    });
}

#[test]
fn a_million_callbacks_each_added_by_the_one_before() {
    fn add(slot: Rc<RefCell<Option<Deferred<u32>>>>) {
        let deferred = slot.take().unwrap();
        let own = slot.clone();
        *slot.borrow_mut() = Some(deferred.map(move |n| {
            if n + 1 < MANY {
                add(own);
            }
            n + 1
        }));
    }
    on_small_stack(|| {
        let (deferred, resolver) = Deferred::pair();
        let slot = Rc::new(RefCell::new(Some(deferred)));
        add(slot.clone());
        resolver.callback(0);
        let (_deferred, end) = note(slot.take().unwrap());
        assert_eq!(value(&end), MANY);
    });
}
