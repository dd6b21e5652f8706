//! The side under test: runs a program with Deferreds.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use torsade::defer::{self, DeferredError, Pause};
use torsade::failure::Panicked;
use torsade::report::{Origin, Report};
use torsade::{Cancelled, Deferred, Failure, Resolver, yield_now};

use super::program::{Body, Gives, Kind, SLOTS, Size, Slot, Step, WAKERS};
use super::trace::{Event, Live, Seen};

type Outcome = Result<Value, Failure>;

/// The state of a program. Nothing is borrowed while a Deferred is being used.
pub(crate) struct World {
    places: [RefCell<Place>; SLOTS],
    resolvers: [Cell<Option<Resolver<Value>>>; SLOTS],
    pauses: [RefCell<Vec<Pause>>; SLOTS],
    /// Whether a future is acting.
    is_inside: Cell<bool>,
}

#[derive(Default)]
enum Place {
    #[default]
    Empty,
    /// In use by value: it is put back.
    Away,
    /// In use by reference.
    Lent(Rc<Deferred<Value>>),
    There(Deferred<Value>),
}

/// The result of a callback's body.
enum Returned {
    Result(Outcome),
    Deferred(Deferred<Value>),
    Future(Rc<Body>),
}

/// Runs a program. `turns` says how often the futures run each time.
pub(crate) async fn play(program: &[Step], mut turns: impl Iterator<Item = usize>) -> Vec<Event> {
    let world = Rc::new(World {
        places: Default::default(),
        resolvers: Default::default(),
        pauses: Default::default(),
        is_inside: Cell::default(),
    });
    TRACE.take();
    LIVE.set(Live::default());
    for step in program {
        if let Step::Turn = step {
            for _ in 0..turns.next().unwrap_or_default() {
                yield_now().await;
            }
        } else if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.step(step))) {
            let message = panic.downcast_ref::<String>();
            say(Event::Broke(format!("a panic: {message:?}")));
        }
        world.tell_where_it_stands();
    }
    TRACE.take()
}

/// What the reactor reports is part of the trace.
pub(crate) fn note_report(report: &Report) {
    match report.origin() {
        Origin::Deferred | Origin::Canceller => say(Event::Reported(
            report.origin() == Origin::Canceller,
            seen_failure(report.failure()),
        )),
        _ => say(Event::Broke(report.to_string())),
    }
}

impl World {
    fn step(self: &Rc<Self>, step: &Step) {
        match step {
            Step::Pair(slot) => {
                if self.is_free(*slot) {
                    let (deferred, resolver) = Deferred::pair();
                    self.put(*slot, deferred);
                    self.resolvers[*slot].set(Some(resolver));
                }
            }
            Step::Make(slot, gives, label) => {
                if self.is_free(*slot) {
                    let made = match gives {
                        Gives::Value => Deferred::succeed(Value::new(*label)),
                        Gives::Failure => Deferred::fail(Oops::new(*label)),
                        _ => defer::execute(|| panic_with(*label)),
                    };
                    self.put(*slot, made);
                }
            }
            Step::Future(slot, body) => {
                if self.is_free(*slot) {
                    let future = run(self.clone(), body.clone());
                    self.put(*slot, Deferred::from_future(future));
                }
            }
            Step::OnCancel(slot, body) => {
                let Some(deferred) = self.take(*slot) else {
                    return;
                };
                *self.places[*slot].borrow_mut() = Place::Away;
                let (world, body, closure) = (self.clone(), body.clone(), Counted::closure());
                let deferred = deferred.on_cancel(move || {
                    let _closure = closure;
                    say(Event::Canceller(body.label));
                    world.act(&body.acts);
                    if let Gives::Panic = body.gives {
                        panic_with(body.label)
                    }
                });
                self.put(*slot, deferred);
            }
            Step::Add(slot, kind, size, body) => {
                let Some(deferred) = self.take(*slot) else {
                    return;
                };
                *self.places[*slot].borrow_mut() = Place::Away;
                let deferred = match size {
                    Size::Small => self.add(deferred, *kind, body, ()),
                    Size::Middle => self.add(deferred, *kind, body, [1_u64; 12]),
                    Size::Big => self.add(deferred, *kind, body, [1_u64; 40]),
                    Size::Aligned => self.add(deferred, *kind, body, Aligned(1)),
                };
                self.put(*slot, deferred);
            }
            Step::Chain(slot, to) => {
                let Some(resolver) = self.resolvers[*to].take() else {
                    return;
                };
                match self.take(*slot) {
                    Some(deferred) => deferred.chain_deferred(resolver),
                    None => self.resolvers[*to].set(Some(resolver)),
                }
            }
            Step::Callback(slot, label) => {
                if let Some(resolver) = self.resolvers[*slot].take() {
                    resolver.callback(Value::new(*label));
                }
            }
            Step::Errback(slot, label) => {
                if let Some(resolver) = self.resolvers[*slot].take() {
                    resolver.errback(Oops::new(*label));
                }
            }
            Step::Lose(slot) => drop(self.resolvers[*slot].take()),
            Step::Cancel(slot) => self.cancel(*slot),
            Step::Pause(slot) => {
                if let Some(mut deferred) = self.take(*slot) {
                    *self.places[*slot].borrow_mut() = Place::Away;
                    let pause = deferred.pause();
                    self.pauses[*slot].borrow_mut().push(pause);
                    self.put(*slot, deferred);
                }
            }
            Step::Unpause(slot) => {
                let pause = self.pauses[*slot].borrow_mut().pop();
                if let Some(pause) = pause {
                    pause.unpause();
                }
            }
            // Inside a future the poll would record the future as awaiting.
            Step::Poll(..) if self.is_inside.get() => {}
            Step::Poll(slot, waker) => {
                let Some(mut deferred) = self.take(*slot) else {
                    return;
                };
                *self.places[*slot].borrow_mut() = Place::Away;
                let waker = WAKER.with(|wakers| wakers[*waker].clone());
                let polled = Pin::new(&mut deferred).poll(&mut Context::from_waker(&waker));
                say(Event::Polled(
                    *slot,
                    match &polled {
                        Poll::Ready(result) => Some(seen(result)),
                        Poll::Pending => None,
                    },
                ));
                self.put(*slot, deferred);
            }
            Step::Drop(slot) => drop(self.take(*slot)),
            Step::Look(slot) => self.look(*slot),
            Step::Turn => {}
        }
    }

    fn act(self: &Rc<Self>, acts: &[Step]) {
        for step in acts {
            self.step(step);
        }
    }

    /// Returns whether something may be made there.
    fn is_free(&self, slot: Slot) -> bool {
        let resolver = self.resolvers[slot].take();
        let has_resolver = resolver.is_some();
        self.resolvers[slot].set(resolver);
        !has_resolver && matches!(*self.places[slot].borrow(), Place::Empty)
    }

    fn put(&self, slot: Slot, deferred: Deferred<Value>) {
        *self.places[slot].borrow_mut() = Place::There(deferred);
    }

    fn take(&self, slot: Slot) -> Option<Deferred<Value>> {
        let mut location = self.places[slot].borrow_mut();
        match mem::take(&mut *location) {
            Place::There(deferred) => Some(deferred),
            other => {
                *location = other;
                None
            }
        }
    }

    fn cancel(&self, slot: Slot) {
        let mut location = self.places[slot].borrow_mut();
        let (lent, is_first) = match mem::take(&mut *location) {
            Place::There(deferred) => (Rc::new(deferred), true),
            Place::Lent(lent) => (lent, false),
            other => {
                *location = other;
                return;
            }
        };
        *location = Place::Lent(lent.clone());
        drop(location);
        lent.cancel();
        drop(lent);
        if is_first {
            let lent = mem::take(&mut *self.places[slot].borrow_mut());
            let Place::Lent(lent) = lent else {
                unreachable!("only who has lent it takes it back")
            };
            self.put(slot, Rc::into_inner(lent).expect("the others gave it back"));
        }
    }

    fn look(&self, slot: Slot) {
        let looked = match &*self.places[slot].borrow() {
            Place::There(deferred) => Some((deferred.is_settled(), word(deferred))),
            Place::Lent(deferred) => Some((deferred.is_settled(), word(deferred))),
            Place::Empty | Place::Away => None,
        };
        let resolver = self.resolvers[slot].take();
        let is_cancelled = resolver.as_ref().map(Resolver::is_cancelled);
        self.resolvers[slot].set(resolver);
        say(Event::Looked(slot, looked, is_cancelled));
    }

    fn tell_where_it_stands(&self) {
        let mut settled = 0;
        for (slot, location) in self.places.iter().enumerate() {
            if let Place::There(deferred) = &*location.borrow() {
                settled |= u32::from(deferred.is_settled()) << slot;
            }
        }
        say(Event::Stands(settled, LIVE.get()));
    }

    fn add<S: 'static>(
        self: &Rc<Self>,
        deferred: Deferred<Value>,
        kind: Kind,
        body: &Rc<Body>,
        room: S,
    ) -> Deferred<Value> {
        let (world, body, closure) = (self.clone(), body.clone(), Counted::closure());
        let gives_result = match body.gives {
            Gives::Same | Gives::Value | Gives::Failure | Gives::Panic => true,
            Gives::Deferred(_) | Gives::Future(_) => false,
        };
        let label = body.label;
        let call = move |result: Outcome| {
            let _held = (closure, room);
            world.call(&body, result)
        };
        let again = self.clone();
        match (kind, gives_result) {
            (Kind::Map, _) => deferred.map(move |value| match call(Ok(value)) {
                Returned::Result(Ok(value)) => value,
                _ => unreachable!("it gives a value or panics"),
            }),
            (Kind::Callback, true) => deferred.add_callback(move |value| call(Ok(value)).result()),
            (Kind::Callback, false) => {
                deferred.add_callback(move |value| call(Ok(value)).deferred(again))
            }
            (Kind::Errback, true) => deferred.add_errback(move |e| call(Err(e)).result()),
            (Kind::Errback, false) => deferred.add_errback(move |e| call(Err(e)).deferred(again)),
            (Kind::Both, true) => deferred.add_both(move |result| call(result).result()),
            (Kind::Both, false) => deferred.add_both(move |result| call(result).deferred(again)),
            (Kind::Pair, true) => deferred.add_callbacks(
                move |value| call(Ok(value)).result(),
                move |failure| say_failed(label, failure),
            ),
            (Kind::Pair, false) => deferred.add_callbacks(
                move |value| call(Ok(value)).deferred(again),
                move |failure| say_failed(label, failure),
            ),
        }
    }

    /// Runs the body of a callback.
    fn call(self: &Rc<Self>, body: &Body, result: Outcome) -> Returned {
        say(Event::Called(body.label, seen(&result)));
        self.act(&body.acts);
        match &body.gives {
            Gives::Deferred(slot) => match self.take(*slot) {
                Some(deferred) => Returned::Deferred(deferred),
                None => Returned::Result(result),
            },
            Gives::Future(future) => Returned::Future(future.clone()),
            gives => Returned::Result(give(gives, body.label, result)),
        }
    }
}

impl Returned {
    fn result(self) -> Outcome {
        match self {
            Self::Result(result) => result,
            Self::Deferred(_) | Self::Future(_) => unreachable!("such a body gives a result"),
        }
    }

    fn deferred(self, world: Rc<World>) -> Deferred<Value> {
        match self {
            Self::Result(Ok(value)) => Deferred::succeed(value),
            Self::Result(Err(failure)) => Deferred::fail(failure),
            Self::Deferred(deferred) => deferred,
            Self::Future(body) => Deferred::from_future(run(world, body)),
        }
    }
}

/// Runs a future.
async fn run(world: Rc<World>, body: Rc<Body>) -> Outcome {
    say(Event::Started(body.label));
    world.is_inside.set(true);
    world.act(&body.acts);
    world.is_inside.set(false);
    let mut last = None;
    for slot in &body.awaits {
        if let Some(deferred) = world.take(*slot) {
            drop(last.take());
            let result = deferred.await;
            say(Event::Resumed(body.label, seen(&result)));
            last = Some(result);
        }
    }
    let last = last.unwrap_or_else(|| Ok(Value::new(body.label)));
    give(&body.gives, body.label, last)
}

fn give(gives: &Gives, label: u32, result: Outcome) -> Outcome {
    match gives {
        Gives::Value => Ok(Value::new(label)),
        Gives::Failure => Err(Oops::new(label).into()),
        Gives::Panic => panic_with(label),
        _ => result,
    }
}

/// Records the second callback of a pair.
fn say_failed(label: u32, failure: Failure) -> Outcome {
    say(Event::Called(label, seen_failure(&failure)));
    Err(failure)
}

/// Panics without a message on standard error.
fn panic_with<R>(label: u32) -> R {
    resume_unwind(Box::new(label.to_string()))
}

fn seen(result: &Outcome) -> Seen {
    match result {
        Ok(value) => Seen::Value(value.number),
        Err(failure) => seen_failure(failure),
    }
}

fn seen_failure(failure: &Failure) -> Seen {
    if let Some(oops) = failure.downcast_ref::<Oops>() {
        Seen::Failure(oops.number)
    } else if let Some(panic) = failure.downcast_ref::<Panicked>() {
        Seen::Panic(panic.message().parse().unwrap_or(u32::MAX))
    } else if failure.is::<Cancelled>() {
        Seen::Cancelled
    } else if is_error!(failure, DeferredError::Abandoned) {
        Seen::Abandoned
    } else if is_error!(failure, DeferredError::WaitsForItself) {
        Seen::WaitsForItself
    } else {
        assert!(
            is_error!(failure, DeferredError::ResultTaken),
            "{failure:?}"
        );
        Seen::ResultTaken
    }
}

/// Returns the state in its `Debug` text.
fn word(deferred: &Deferred<Value>) -> &'static str {
    let shown = format!("{deferred:?}");
    let state = shown.trim_start_matches("Deferred(");
    let words = [
        "pending",
        "paused",
        "running",
        "waiting",
        "fired",
        "has its value",
        "failed",
        "its result",
    ];
    match words.into_iter().find(|word| state.starts_with(word)) {
        Some("has its value" | "failed") => "fired",
        Some("its result") => "taken",
        Some(word) => word,
        None => "unknown",
    }
}

fn say(event: Event) {
    TRACE.with_borrow_mut(|trace| trace.push(event));
}

/// Counted while it is alive.
struct Counted(fn(&mut Live) -> &mut i64);

impl Counted {
    fn new(which: fn(&mut Live) -> &mut i64) -> Self {
        let counted = Self(which);
        counted.count(1);
        counted
    }

    fn closure() -> Self {
        Self::new(|live| &mut live.closures)
    }

    fn count(&self, change: i64) {
        let mut live = LIVE.get();
        *(self.0)(&mut live) += change;
        LIVE.set(live);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count(-1);
    }
}

struct Value {
    number: u32,
    _counted: Counted,
}

impl Value {
    fn new(number: u32) -> Self {
        Self {
            number,
            _counted: Counted::new(|live| &mut live.values),
        }
    }
}

struct Oops {
    number: u32,
    _counted: Counted,
}

impl Oops {
    fn new(number: u32) -> Self {
        Self {
            number,
            _counted: Counted::new(|live| &mut live.failures),
        }
    }
}

impl fmt::Debug for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oops({})", self.number)
    }
}

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oops {}", self.number)
    }
}

impl Error for Oops {}

#[repr(align(32))]
struct Aligned(#[expect(dead_code, reason = "it takes room")] u64);

struct Wakes(usize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        say(Event::Woke(self.0));
    }
}

thread_local! {
    static TRACE: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
    static LIVE: Cell<Live> = Cell::default();
    static WAKER: [Waker; WAKERS] = std::array::from_fn(|n| Waker::from(Arc::new(Wakes(n))));
}
