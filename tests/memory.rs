//! A loop written as a callback that returns the next round uses no more memory however often it goes round.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use torsade::{Deferred, Resolver};

const ROUNDS: u32 = 1_000_000;

/// Where a round leaves its resolver, for whoever makes it go on.
type Next = Rc<RefCell<Option<Resolver<()>>>>;

/// One round after the other, each fired from outside.
fn go_round(left: u32, next: Next) -> Deferred<u32> {
    if left == 0 {
        return Deferred::succeed(7);
    }
    let (deferred, resolver) = Deferred::pair();
    *next.borrow_mut() = Some(resolver);
    deferred.add_callback(move |()| go_round(left - 1, next))
}

/// Goes round to the end; how many allocations there were at most at once, beyond those of the beginning.
fn growth(next: &Next) -> isize {
    let (before, mut most) = (LIVE.get(), 0);
    loop {
        let resolver = next.take();
        let Some(resolver) = resolver else { break };
        resolver.callback(());
        most = most.max(LIVE.get() - before);
    }
    most
}

#[test]
fn a_loop_that_somebody_holds() {
    let next = Next::default();
    let deferred = go_round(ROUNDS, next.clone());
    let seen = Rc::new(Cell::new(0));
    let log = seen.clone();
    let deferred = deferred.map(move |n| log.set(n));
    let growth = growth(&next);
    assert!(growth < 10, "{growth} more than in the beginning");
    assert_eq!(seen.get(), 7);
    drop(deferred);
}

#[test]
fn a_loop_that_nobody_holds() {
    let next = Next::default();
    drop(go_round(ROUNDS, next.clone()));
    let growth = growth(&next);
    assert!(growth < 10, "{growth} more than in the beginning");
}

#[test]
fn a_loop_inside_another() {
    let next = Next::default();
    let (outer, fire) = Deferred::pair();
    let inner = next.clone();
    let outer = outer
        .add_callback(move |()| go_round(ROUNDS, inner))
        .map(|n| assert_eq!(n, 7));
    fire.callback(());
    let growth = growth(&next);
    assert!(growth < 10, "{growth} more than in the beginning");
    assert!(outer.is_settled());
}

/// The system's allocator, counting.
struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe by nature")]
// SAFETY: everything is passed on to the system's allocator, which keeps the promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LIVE.try_with(|live| live.set(live.get() + 1));
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get() - 1));
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// How many allocations of this thread are alive.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}
