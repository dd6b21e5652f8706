//! Locks, semaphores and queues against a model, a list that is searched in full each time; and
//! many tasks at once.
//!
//! The random numbers are seeded, so a failure can be repeated by its seed.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use support::poll_once;
use torsade::{
    Deferred, DeferredLock, DeferredQueue, DeferredSemaphore, Failure, Reactor, yield_now,
};

/// A small pseudo-random generator.
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

/// The values that are granted, as the model sees them: numbered. A permit has no number, so all
/// are 0.
struct Model {
    things: VecDeque<u32>,
    waiters: Vec<Waiter>,
    /// Which waiter got what, in order.
    given: Vec<(usize, Vec<u32>)>,
    /// Values that callbacks give back at once are free again when the callbacks have returned.
    returned: usize,
}

struct Waiter {
    name: usize,
    count: usize,
    state: State,
    callback: Option<Callback>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Here,
    Away,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callback {
    Keeps,
    GivesBack,
}

impl Model {
    fn join(&mut self, name: usize, count: usize) {
        let is_free = self.is_free(count);
        self.waiters.push(Waiter {
            name,
            count,
            state: if is_free { State::Away } else { State::Here },
            callback: None,
        });
    }

    fn is_free(&self, count: usize) -> bool {
        let none_is_here = self.waiters.iter().all(|one| one.state == State::Away);
        none_is_here && count <= self.things.len()
    }

    /// Polls a waiter, or adds a callback; returns whether it has its thing now.
    fn ask(&mut self, name: usize) -> bool {
        let at = self.waiters.iter().position(|one| one.name == name);
        let at = at.expect("it waits");
        if self.waiters[at].state == State::Here {
            return false;
        }
        let in_front = &self.waiters[..at];
        let is_first = in_front.iter().all(|one| one.state == State::Away);
        if !is_first || self.waiters[at].count > self.things.len() {
            self.waiters[at].state = State::Here;
            return false;
        }
        self.give(at);
        self.serve();
        true
    }

    fn give(&mut self, at: usize) {
        let waiter = self.waiters.remove(at);
        let things = self.things.drain(..waiter.count).collect();
        self.given.push((waiter.name, things));
        if waiter.callback == Some(Callback::GivesBack) {
            self.returned += waiter.count;
        }
    }

    fn leave(&mut self, name: usize) {
        self.waiters.retain(|one| one.name != name);
        self.serve();
    }

    fn serve(&mut self) {
        loop {
            self.things
                .extend(std::iter::repeat_n(0, std::mem::take(&mut self.returned)));
            let first = self.waiters.iter().position(|one| one.state == State::Here);
            let Some(at) = first else { return };
            if self.waiters[at].count > self.things.len() {
                return;
            }
            match self.waiters[at].callback {
                Some(_) => self.give(at),
                None => self.waiters[at].state = State::Away,
            }
        }
    }
}

/// A type under test, whose granted values are made comparable.
trait Subject: Sized + 'static {
    type Given: Any;

    fn join(&self, count: usize) -> Deferred<Self::Given>;
    fn try_take(&self) -> Option<Self::Given>;
    fn left(&self) -> usize;
    fn waiting(&self) -> usize;
    /// Returns the numbers of the granted values.
    fn things(given: &Self::Given) -> Vec<u32>;
}

impl Subject for DeferredSemaphore {
    type Given = torsade::locks::SemaphorePermit;

    fn join(&self, count: usize) -> Deferred<Self::Given> {
        self.acquire_many(count)
    }

    fn try_take(&self) -> Option<Self::Given> {
        self.try_acquire()
    }

    fn left(&self) -> usize {
        self.available()
    }

    fn waiting(&self) -> usize {
        Self::waiting(self)
    }

    fn things(given: &Self::Given) -> Vec<u32> {
        vec![0; given.count()]
    }
}

impl Subject for DeferredLock {
    type Given = torsade::locks::LockGuard;

    fn join(&self, _: usize) -> Deferred<Self::Given> {
        self.acquire()
    }

    fn try_take(&self) -> Option<Self::Given> {
        self.try_acquire()
    }

    fn left(&self) -> usize {
        // There is no time for offers here, so the lock is held or free.
        usize::from(!self.is_locked() || self.waiting() > 0 && self.try_acquire().is_some())
    }

    fn waiting(&self) -> usize {
        Self::waiting(self)
    }

    fn things(_: &Self::Given) -> Vec<u32> {
        vec![0]
    }
}

impl Subject for DeferredQueue<u32> {
    type Given = u32;

    fn join(&self, _: usize) -> Deferred<u32> {
        self.get()
    }

    fn try_take(&self) -> Option<u32> {
        self.try_get()
    }

    fn left(&self) -> usize {
        self.len()
    }

    fn waiting(&self) -> usize {
        Self::waiting(self)
    }

    fn things(given: &u32) -> Vec<u32> {
        vec![*given]
    }
}

/// Which waiter was given what, in order.
type Given = Rc<RefCell<Vec<(usize, Vec<u32>)>>>;

/// Both sides of one comparison.
struct Walk<S: Subject> {
    subject: S,
    model: Model,
    given: Given,
    held: Rc<RefCell<Vec<S::Given>>>,
    waiting: Vec<(usize, Deferred<S::Given>)>,
    rng: Rng,
    next: usize,
}

impl<S: Subject> Walk<S> {
    fn new(subject: S, seed: u64) -> Self {
        let things = VecDeque::from(vec![0; subject.left()]);
        Self {
            subject,
            model: Model {
                things,
                waiters: Vec::new(),
                given: Vec::new(),
                returned: 0,
            },
            given: Rc::default(),
            held: Rc::default(),
            waiting: Vec::new(),
            rng: Rng::new(seed),
            next: 0,
        }
    }

    /// Returns a waiter without a callback.
    fn any(&mut self) -> Option<(usize, Deferred<S::Given>)> {
        match self.waiting.len() {
            0 => None,
            n => Some(self.waiting.remove(self.rng.below(n))),
        }
    }

    fn join(&mut self, most: usize) {
        let count = 1 + self.rng.below(most);
        self.waiting.push((self.next, self.subject.join(count)));
        self.model.join(self.next, count);
        self.next += 1;
    }

    fn poll(&mut self) {
        let Some((name, mut waits)) = self.any() else {
            return;
        };
        let polled = Pin::new(&mut waits).poll(&mut Context::from_waker(Waker::noop()));
        let is_ready = match polled {
            Poll::Ready(given) => {
                let given = given.unwrap();
                let things = S::things(&given);
                self.given.borrow_mut().push((name, things));
                self.held.borrow_mut().push(given);
                true
            }
            Poll::Pending => {
                self.waiting.push((name, waits));
                false
            }
        };
        assert_eq!(is_ready, self.model.ask(name));
    }

    fn add_callback(&mut self, callback: Callback) {
        let Some((name, waits)) = self.any() else {
            return;
        };
        let (log, held) = (self.given.clone(), self.held.clone());
        let waiter = self.model.waiters.iter_mut().find(|one| one.name == name);
        waiter.unwrap().callback = Some(callback);
        // It runs on when the chain is dropped.
        drop(waits.add_callback(move |given| {
            log.borrow_mut().push((name, S::things(&given)));
            match callback {
                Callback::Keeps => held.borrow_mut().push(given),
                Callback::GivesBack => drop(given),
            }
        }));
        self.model.ask(name);
        self.model.serve();
    }

    fn leave(&mut self) {
        let Some((name, waits)) = self.any() else {
            return;
        };
        if self.rng.below(2) == 0 {
            waits.cancel();
            drop(waits.add_both(|result| assert!(result.is_err())));
        } else {
            drop(waits);
        }
        self.model.leave(name);
    }

    fn try_take(&mut self) {
        let given = self.subject.try_take();
        assert_eq!(given.is_some(), self.model.is_free(1));
        if let Some(given) = given {
            let thing = self.model.things.pop_front().unwrap();
            assert_eq!(S::things(&given), [thing]);
            self.held.borrow_mut().push(given);
        }
    }

    fn compare(&self, step: usize) {
        assert_eq!(*self.given.borrow(), self.model.given, "step {step}");
        assert_eq!(
            self.subject.waiting(),
            self.model.waiters.len(),
            "step {step}"
        );
    }
}

const WALKS: u64 = 300;
const STEPS: usize = 200;

/// Walks with guards, which are given back.
fn walk_with_guards<S: Subject>(make: impl Fn() -> S, most: usize) {
    for seed in 0..WALKS {
        let mut walk = Walk::new(make(), seed);
        for step in 0..STEPS {
            match walk.rng.below(9) {
                0 | 1 => walk.join(most),
                2 => walk.poll(),
                3 => walk.add_callback(Callback::Keeps),
                4 => walk.add_callback(Callback::GivesBack),
                5 => walk.leave(),
                6 => walk.try_take(),
                _ => {
                    let n = walk.held.borrow().len();
                    if n > 0 {
                        let given = walk.held.borrow_mut().remove(walk.rng.below(n));
                        let count = S::things(&given).len();
                        drop(given);
                        walk.model.returned += count;
                        walk.model.serve();
                    }
                }
            }
            walk.compare(step);
        }
        // Everything is given back in the end.
        walk.waiting.clear();
        loop {
            let given = walk.held.borrow_mut().pop();
            if given.is_none() {
                break;
            }
        }
        assert_eq!(walk.subject.waiting(), 0, "walk {seed}");
    }
}

#[test]
fn a_lock_behaves_like_the_model() {
    walk_with_guards(DeferredLock::default, 1);
}

#[test]
fn a_semaphore_behaves_like_the_model() {
    for permits in [1, 2, 5] {
        walk_with_guards(move || DeferredSemaphore::new(permits).unwrap(), permits);
    }
}

#[test]
fn a_queue_behaves_like_the_model() {
    for seed in 0..WALKS {
        let mut walk = Walk::new(DeferredQueue::new(), seed);
        let mut next = 1;
        for step in 0..STEPS {
            match walk.rng.below(8) {
                0 | 1 => walk.join(1),
                2 => walk.poll(),
                3 => walk.add_callback(Callback::Keeps),
                4 => walk.leave(),
                5 => walk.try_take(),
                _ => {
                    walk.subject.put(next).unwrap();
                    walk.model.things.push_back(next);
                    walk.model.serve();
                    next += 1;
                }
            }
            walk.compare(step);
            assert_eq!(walk.subject.len(), walk.model.things.len(), "step {step}");
        }
        // Every item is with a waiter or in the queue, once.
        drop(walk.waiting);
        let mut seen = walk.held.take();
        while let Some(item) = walk.subject.try_get() {
            seen.push(item);
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(1..next), "walk {seed}");
    }
}

/// Tasks that acquire, give up, keep what they do not poll, cancel, hold and release at random.
async fn crowd(reactor: &Reactor, seed: u64, permits: usize) -> Result<(), Failure> {
    let semaphore = DeferredSemaphore::new(permits)?;
    let inside = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for n in 0..20 {
        let (semaphore, inside) = (semaphore.clone(), inside.clone());
        let mut rng = Rng::new(seed * 100 + n);
        tasks.push(reactor.spawn(async move {
            let mut cupboard = Vec::new();
            for _ in 0..20 {
                let count = 1 + rng.below(permits);
                let mut waits = semaphore.acquire_many(count);
                match rng.below(6) {
                    0 => drop(waits),
                    1 => cupboard.push(waits),
                    2 => {
                        // Polled once, and kept.
                        match poll_once(&mut waits).await {
                            Poll::Ready(permit) => drop(permit?),
                            Poll::Pending => cupboard.push(waits),
                        }
                    }
                    3 => {
                        let inside = inside.clone();
                        drop(waits.add_callback(move |permit| {
                            assert!(inside.get() + permit.count() <= permits);
                        }));
                    }
                    _ => {
                        let permit = waits.await?;
                        inside.set(inside.get() + permit.count());
                        assert!(inside.get() <= permits);
                        for _ in 0..rng.below(4) {
                            yield_now().await;
                        }
                        inside.set(inside.get() - permit.count());
                    }
                }
            }
            Ok::<_, Failure>(cupboard)
        }));
    }
    let mut kept = Vec::new();
    for task in tasks {
        kept.extend(task.await??);
    }
    // All tasks have ended, although these were not polled.
    for waits in kept {
        drop(waits.await?);
    }
    assert_eq!((semaphore.available(), semaphore.waiting()), (permits, 0));
    Ok(())
}

on_both! {
    async fn many_tasks_all_get_the_lock(reactor) {
        for seed in 1..=20 {
            for permits in [1, 3] {
                crowd(&reactor, seed, permits).await?;
            }
        }
    }

    async fn a_crowd_at_a_queue_loses_and_doubles_nothing(reactor) {
        for seed in 1..=20 {
            let queue = DeferredQueue::with_limits(3, None);
            let seen = Rc::new(RefCell::new(Vec::new()));
            let mut getters = Vec::new();
            for n in 0..8 {
                let (queue, seen) = (queue.clone(), seen.clone());
                let mut rng = Rng::new(seed * 100 + n);
                getters.push(reactor.spawn(async move {
                    let mut cupboard = Vec::new();
                    loop {
                        let mut waits = queue.get();
                        if rng.below(3) == 0 {
                            match poll_once(&mut waits).await {
                                Poll::Ready(item) => seen.borrow_mut().push(item?),
                                Poll::Pending if rng.below(2) == 0 => cupboard.push(waits),
                                Poll::Pending => drop(waits),
                            }
                            yield_now().await;
                        } else {
                            let item = waits.await?;
                            if item == u32::MAX {
                                return Ok::<_, Failure>(());
                            }
                            seen.borrow_mut().push(item);
                        }
                    }
                }));
            }
            for n in 0..200 {
                queue.put_when_room(n).await?;
            }
            while getters.iter().any(|getter| !getter.is_finished()) {
                queue.put_when_room(u32::MAX).await?;
                yield_now().await;
            }
            for getter in getters {
                getter.await??;
            }
            let mut seen = seen.take();
            seen.retain(|item| *item != u32::MAX);
            assert!(seen.is_sorted(), "seed {seed}: {seen:?}");
            assert_eq!(seen.len(), 200, "seed {seed}");
        }
    }
}
