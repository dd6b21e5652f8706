//! The side that defines the correct behaviour: the rules of the `defer` module, word by word, and
//! nothing else.
//!
//! A Deferred is a result that is there or not, a list of callbacks, and the consumer of the
//! result. Everything that a call causes, it causes by a call, all the way down: the model ignores
//! the depth of the stack.

use std::collections::VecDeque;
use std::mem;

use super::program::{Body, Gives, Kind, SLOTS, Slot, Step};
use super::reached::{Reached, Way};
use super::trace::{Event, Live, Seen};

/// A Deferred's number.
type Id = usize;

#[derive(Default)]
pub(crate) struct Model<'a> {
    places: [Place; SLOTS],
    resolvers: [Option<Id>; SLOTS],
    pauses: [Vec<Option<Id>>; SLOTS],
    deferreds: Vec<One<'a>>,
    futures: Vec<Future<'a>>,
    /// The futures that will run in the next turn, in order.
    ready: VecDeque<usize>,
    /// Whether a future is acting.
    is_inside: bool,
    /// The future that is being polled.
    polled: Option<usize>,
    /// Whether it was woken during its own poll.
    woken: bool,
    /// The Deferreds that were abandoned while another one is being abandoned.
    lost: Option<VecDeque<Id>>,
    /// The number of nested cancels that were passed on.
    cancels: usize,
    pub(crate) trace: Vec<Event>,
    /// How often futures ran in each turn.
    pub(crate) turns: Vec<usize>,
    /// Whether a Deferred waits for itself by way of a future, which cannot be detected.
    pub(crate) is_absurd: bool,
    pub(crate) reached: Reached,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    Empty,
    Away,
    Lent(Handle),
    There(Handle),
}

/// A Deferred as a slot holds it.
#[derive(Clone, Copy)]
struct Handle {
    /// `None` if its result was taken.
    id: Option<Id>,
    was_polled: bool,
}

/// One Deferred.
struct One<'a> {
    /// Whether its source has fired.
    fired: bool,
    /// The result from then on, unless it is elsewhere.
    result: Option<Seen>,
    steps: VecDeque<What<'a>>,
    /// Whether one of its callbacks is running.
    running: bool,
    pauses: usize,
    /// The Deferred that a callback returned.
    waits_for: Option<Id>,
    /// Whether it has become that other Deferred, because none of its own callbacks was left when
    /// that was returned; `Debug` then shows that one.
    is_target: bool,
    consumer: Consumer,
    canceller: Option<Canceller<'a>>,
    cancelling: bool,
}

enum What<'a> {
    Call(Kind, &'a Body),
    /// Fires that Deferred.
    Pass(Id),
}

/// The final consumer of the result.
#[derive(Clone, Copy, PartialEq)]
enum Consumer {
    Holder,
    /// The holder, which is woken with that waker.
    Waker(usize),
    /// The holder, which is a future.
    Future(usize),
    /// The callback of that Deferred, which has returned this one.
    Callback(Id),
    Nobody {
        gave_up: bool,
    },
}

enum Canceller<'a> {
    Call(&'a Body),
    /// The future that provides the result.
    Future(usize),
}

struct Future<'a> {
    body: &'a Body,
    brings: Id,
    /// The index of the Deferred that it awaits.
    at: usize,
    started: bool,
    awaits: Option<Handle>,
    last: Option<Seen>,
    running: bool,
    /// Whether a stop was requested when it could not be delivered.
    asked: bool,
    over: bool,
}

/// The outcome of a callback.
enum Came {
    Ready(Seen),
    Wait(Handle),
    /// No result that any code could have.
    Nothing,
}

impl<'a> Model<'a> {
    pub(crate) fn play(program: &'a [Step]) -> Self {
        let mut model = Self::default();
        for step in program {
            model.step(step);
            model.tell_where_it_stands();
            if model.is_absurd {
                break;
            }
        }
        model
    }

    fn step(&mut self, step: &'a Step) {
        match step {
            Step::Pair(slot) => {
                if self.is_free(*slot) {
                    let id = self.new_one(None);
                    self.put(*slot, Handle::new(id));
                    self.resolvers[*slot] = Some(id);
                }
            }
            Step::Make(slot, gives, label) => {
                if self.is_free(*slot) {
                    let id = self.new_one(Some(match gives {
                        Gives::Value => Seen::Value(*label),
                        Gives::Failure => Seen::Failure(*label),
                        _ => Seen::Panic(*label),
                    }));
                    self.put(*slot, Handle::new(id));
                }
            }
            Step::Future(slot, body) => {
                if self.is_free(*slot) {
                    let id = self.start(body);
                    self.put(*slot, Handle::new(id));
                }
            }
            Step::OnCancel(slot, body) => {
                if let Place::There(Handle { id: Some(id), .. }) = self.places[*slot] {
                    if self.deferreds[id].fired {
                        self.reached.note(Way::CancellerTooLate);
                    } else {
                        let new = Some(Canceller::Call(body));
                        let old = mem::replace(&mut self.deferreds[id].canceller, new);
                        if old.is_some() {
                            self.reached.note(Way::CancellerReplaced);
                        }
                    }
                }
            }
            Step::Add(slot, kind, _, body) => {
                if let Some(handle) = self.take(*slot) {
                    self.places[*slot] = Place::Away;
                    let handle = self.add(handle, What::Call(*kind, body));
                    self.put(*slot, handle);
                }
            }
            Step::Chain(slot, to) => {
                if let (Some(target), Place::There(_)) = (self.resolvers[*to], self.places[*slot]) {
                    self.resolvers[*to] = None;
                    if let Some(handle) = self.take(*slot) {
                        self.chain(handle, target);
                    }
                }
            }
            Step::Callback(slot, label) => {
                if let Some(id) = self.resolvers[*slot].take() {
                    self.reached.note(Way::Fired);
                    self.fire(id, Seen::Value(*label));
                }
            }
            Step::Errback(slot, label) => {
                if let Some(id) = self.resolvers[*slot].take() {
                    self.fire(id, Seen::Failure(*label));
                }
            }
            Step::Lose(slot) => {
                if let Some(id) = self.resolvers[*slot].take() {
                    self.lose(id);
                }
            }
            Step::Cancel(slot) => match self.places[*slot] {
                Place::There(handle) => {
                    self.places[*slot] = Place::Lent(handle);
                    self.cancel_handle(handle);
                    self.places[*slot] = Place::There(handle);
                }
                Place::Lent(handle) => {
                    self.reached.note(Way::CancelWhileCancelling);
                    self.cancel_handle(handle);
                }
                Place::Empty | Place::Away => {}
            },
            Step::Pause(slot) => {
                if let Place::There(handle) = self.places[*slot] {
                    let id = handle.id.map(|id| self.itself(id));
                    if let Some(id) = id {
                        self.deferreds[id].pauses += 1;
                        if self.deferreds[id].running {
                            self.reached.note(Way::PausedByItself);
                        }
                        if self.deferreds[id].pauses > 1 {
                            self.reached.note(Way::PausedTwice);
                        }
                    }
                    self.pauses[*slot].push(id);
                }
            }
            Step::Unpause(slot) => {
                if let Some(Some(id)) = self.pauses[*slot].pop() {
                    self.deferreds[id].pauses -= 1;
                    self.go(id);
                }
            }
            Step::Poll(slot, waker) => {
                if self.is_inside {
                    return;
                }
                if let Some(handle) = self.take(*slot) {
                    let (handle, polled) = self.poll(handle, Consumer::Waker(*waker));
                    self.say(Event::Polled(*slot, polled));
                    self.put(*slot, handle);
                }
            }
            Step::Drop(slot) => {
                if let Some(handle) = self.take(*slot) {
                    self.drop(handle);
                }
            }
            Step::Look(slot) => self.look(*slot),
            Step::Turn => self.turn(),
        }
    }

    fn act(&mut self, acts: &'a [Step]) {
        for step in acts {
            self.step(step);
        }
    }

    // The content of slots.

    fn is_free(&self, slot: Slot) -> bool {
        self.resolvers[slot].is_none() && matches!(self.places[slot], Place::Empty)
    }

    fn put(&mut self, slot: Slot, handle: Handle) {
        self.places[slot] = Place::There(handle);
    }

    fn take(&mut self, slot: Slot) -> Option<Handle> {
        let Place::There(handle) = self.places[slot] else {
            return None;
        };
        self.places[slot] = Place::Empty;
        Some(handle)
    }

    fn new_one(&mut self, result: Option<Seen>) -> Id {
        self.deferreds.push(One {
            fired: result.is_some(),
            result,
            steps: VecDeque::new(),
            running: false,
            pauses: 0,
            waits_for: None,
            is_target: false,
            consumer: Consumer::Holder,
            canceller: None,
            cancelling: false,
        });
        self.deferreds.len() - 1
    }

    /// Returns the Deferred that this one has become.
    fn itself(&self, mut id: Id) -> Id {
        while let (true, Some(inner)) = (self.deferreds[id].is_target, self.deferreds[id].waits_for)
        {
            id = inner;
        }
        id
    }

    // The operations on a Deferred.

    /// Adds a callback. It is called at once if the result is there.
    fn add(&mut self, handle: Handle, what: What<'a>) -> Handle {
        let Some(id) = handle.id else {
            let id = self.new_one(Some(Seen::ResultTaken));
            return self.add(Handle::new(id), what);
        };
        if handle.was_polled {
            self.reached.note(Way::AddedToPolled);
        }
        if self.deferreds[id].running {
            self.reached.note(Way::AddedByItself);
        }
        self.deferreds[id].consumer = Consumer::Holder;
        let was_settled = self.is_settled(id);
        self.deferreds[id].steps.push_back(what);
        if was_settled {
            self.reached.note(Way::AddedToSettled);
            self.go(id);
            self.deferreds[id].is_target = self.deferreds[id].waits_for.is_some();
        }
        Handle::new(id)
    }

    /// Fires `target` with the result, as the last callback. The Deferred has no holder then.
    fn chain(&mut self, handle: Handle, target: Id) {
        self.reached.note(Way::Chained);
        let handle = self.add(handle, What::Pass(target));
        if let Some(id) = handle.id {
            self.deferreds[id].consumer = Consumer::Nobody { gave_up: false };
        }
    }

    /// Rule 5.
    fn drop(&mut self, handle: Handle) {
        let Some(id) = handle.id else { return };
        let gave_up = handle.was_polled;
        self.deferreds[id].consumer = Consumer::Nobody { gave_up };
        self.go(id);
        if gave_up {
            self.reached.note(Way::GivenUp);
            self.cancel(id);
        }
    }

    fn poll(&mut self, handle: Handle, by: Consumer) -> (Handle, Option<Seen>) {
        let Some(id) = handle.id else {
            self.reached.note(Way::PolledTwice);
            return (handle, Some(Seen::ResultTaken));
        };
        if self.is_settled(id) {
            self.reached.note(Way::PolledReady);
            let result = self.deferreds[id].result.take();
            let gone = Handle {
                id: None,
                was_polled: handle.was_polled,
            };
            return (gone, result);
        }
        self.deferreds[id].consumer = by;
        let handle = Handle {
            id: Some(id),
            was_polled: true,
        };
        (handle, None)
    }

    fn cancel_handle(&mut self, handle: Handle) {
        if let Some(id) = handle.id {
            self.cancel(id);
        }
    }

    /// Rule 7.
    fn cancel(&mut self, mut id: Id) {
        if self.cancels > 50 {
            self.is_absurd = true;
            return;
        }
        while let Some(inner) = self.deferreds[id].waits_for {
            self.reached.note(Way::CancelPassedOn);
            id = inner;
        }
        if self.deferreds[id].fired {
            self.reached.note(Way::CancelTooLate);
            return;
        }
        match self.deferreds[id].canceller.take() {
            None => self.fire(id, Seen::Cancelled),
            Some(Canceller::Call(body)) => {
                self.say(Event::Canceller(body.label));
                self.deferreds[id].cancelling = true;
                self.act(&body.acts);
                self.deferreds[id].cancelling = false;
                let has_panicked = matches!(body.gives, Gives::Panic);
                match (has_panicked, self.deferreds[id].fired) {
                    (true, true) => {
                        self.reached.note(Way::CancellerFiredAndPanicked);
                        self.say(Event::Reported(true, Seen::Panic(body.label)));
                    }
                    (true, false) => {
                        self.reached.note(Way::CancellerPanicked);
                        self.fire(id, Seen::Panic(body.label));
                    }
                    (false, true) => self.reached.note(Way::CancellerFired),
                    (false, false) => self.fire(id, Seen::Cancelled),
                }
            }
            Some(Canceller::Future(future)) => {
                let is_asleep = self.futures[future].awaits.is_some();
                let awaited = self.futures[future].awaits.and_then(|handle| handle.id);
                let by = Consumer::Future(future);
                if self.futures[future].running {
                    self.reached.note(Way::FutureAskedByItself);
                    self.futures[future].asked = true;
                } else if !is_asleep {
                    self.reached.note(Way::FutureNeverRan);
                    self.futures[future].over = true;
                    self.fire(id, Seen::Cancelled);
                    return;
                }
                self.deferreds[id].canceller = Some(Canceller::Future(future));
                if self.futures[future].running {
                    return;
                }
                match awaited.filter(|id| self.deferreds[*id].consumer == by) {
                    Some(awaited) => {
                        self.reached.note(Way::FutureToldWhereItWaits);
                        self.cancels += 1;
                        self.cancel(awaited);
                        self.cancels -= 1;
                    }
                    None => {
                        self.reached.note(Way::FutureAskedWhenWoken);
                        self.futures[future].asked = true;
                    }
                }
            }
        }
    }

    /// Fires the source. A result that comes after a cancel is dropped.
    fn fire(&mut self, id: Id, result: Seen) {
        self.deferreds[id].canceller = None;
        if self.deferreds[id].fired {
            self.reached.note(Way::FiredTooLate);
            return;
        }
        self.deferreds[id].fired = true;
        self.deferreds[id].result = Some(result);
        self.go(id);
    }

    /// Drops the resolver. Resolvers that this drops in turn are handled after it.
    fn lose(&mut self, id: Id) {
        if self.deferreds[id].cancelling {
            self.reached.note(Way::CancellerLost);
            return;
        }
        if let Some(lost) = &mut self.lost {
            self.reached.note(Way::LostByLost);
            lost.push_back(id);
            return;
        }
        self.reached.note(Way::Lost);
        self.lost = Some(VecDeque::from([id]));
        while let Some(id) = self.lost.as_mut().and_then(VecDeque::pop_front) {
            if !self.deferreds[id].fired {
                self.fire(id, self.seen_when_lost(id));
            }
        }
        self.lost = None;
    }

    fn seen_when_lost(&self, id: Id) -> Seen {
        let one = &self.deferreds[id];
        match one.consumer {
            Consumer::Nobody { .. } if one.steps.is_empty() => Seen::AbandonedUnwanted,
            Consumer::Callback(outer) if one.steps.is_empty() => self.seen_when_lost(outer),
            _ => Seen::Abandoned,
        }
    }

    // Running callbacks.

    /// Returns whether the result can be taken.
    fn is_settled(&self, id: Id) -> bool {
        let one = &self.deferreds[id];
        self.can_run(id) && one.steps.is_empty()
    }

    fn can_run(&self, id: Id) -> bool {
        let one = &self.deferreds[id];
        one.result.is_some() && !one.running && one.pauses == 0
    }

    /// Runs all callbacks that can run, and gives their result to the consumer.
    fn go(&mut self, id: Id) {
        while self.can_run(id) {
            let Some(step) = self.deferreds[id].steps.pop_front() else {
                return self.deliver(id);
            };
            let Some(input) = self.deferreds[id].result.take() else {
                return;
            };
            self.deferreds[id].running = true;
            let came = match step {
                What::Call(kind, body) => self.call(kind, body, input),
                What::Pass(target) => {
                    self.fire(target, input);
                    Came::Nothing
                }
            };
            self.deferreds[id].running = false;
            match came {
                Came::Ready(result) => self.deferreds[id].result = Some(result),
                Came::Wait(Handle { id: None, .. }) => {
                    self.deferreds[id].result = Some(Seen::ResultTaken);
                }
                Came::Wait(Handle {
                    id: Some(inner), ..
                }) => self.wait(id, inner),
                Came::Nothing => {}
            }
        }
        if self.deferreds[id].pauses > 0 {
            self.reached.note(Way::HeldBack);
        }
    }

    /// Handles a callback of `id` that has returned `inner`.
    fn wait(&mut self, id: Id, inner: Id) {
        let mut next = Some(inner);
        while let Some(one) = next {
            if one == id {
                self.reached.note(match inner == id {
                    true => Way::ReturnedItself,
                    false => Way::ReturnedWhoWaits,
                });
                self.deferreds[inner].consumer = Consumer::Nobody { gave_up: false };
                self.deferreds[id].result = Some(Seen::WaitsForItself);
                return;
            }
            next = self.deferreds[one].waits_for;
        }
        if self.deferreds[id].pauses > 0 {
            self.reached.note(Way::WaitsHeldBack);
        }
        self.deferreds[id].waits_for = Some(inner);
        self.deferreds[inner].consumer = Consumer::Callback(id);
        if self.is_settled(inner) {
            self.reached.note(Way::ReturnedSettled);
        } else if self.deferreds[inner].pauses > 0 {
            self.reached.note(Way::ReturnedPaused);
        } else if self.deferreds[inner].running {
            self.reached.note(Way::ReturnedRunning);
        } else if self.deferreds[inner].waits_for.is_some() {
            self.reached.note(Way::ReturnedWaiting);
        } else {
            self.reached.note(Way::ReturnedPending);
        }
        self.go(inner);
    }

    /// Gives the result to the consumer, because nothing is left to run.
    fn deliver(&mut self, id: Id) {
        match self.deferreds[id].consumer {
            Consumer::Holder => {}
            Consumer::Waker(waker) => {
                self.reached.note(Way::Woken);
                self.deferreds[id].consumer = Consumer::Holder;
                self.say(Event::Woke(waker));
            }
            Consumer::Future(future) => {
                self.deferreds[id].consumer = Consumer::Holder;
                match self.polled {
                    // It is queued again when its poll returns.
                    Some(polled) if polled == future => self.woken = true,
                    _ => self.ready.push_back(future),
                }
            }
            Consumer::Callback(outer) => {
                self.deferreds[outer].result = self.deferreds[id].result.take();
                self.deferreds[outer].waits_for = None;
                self.deferreds[outer].is_target = false;
                self.go(outer);
            }
            Consumer::Nobody { gave_up } => {
                let result = self.deferreds[id].result.take();
                match result {
                    None | Some(Seen::Value(_)) => {}
                    Some(Seen::AbandonedUnwanted) => self.reached.note(Way::LostUnwanted),
                    Some(Seen::Cancelled) if gave_up => self.reached.note(Way::GivenUpQuietly),
                    Some(failure) => {
                        self.reached.note(Way::Reported);
                        self.say(Event::Reported(false, failure));
                    }
                }
            }
        }
    }

    fn call(&mut self, kind: Kind, body: &'a Body, input: Seen) -> Came {
        let is_value = matches!(input, Seen::Value(_));
        match kind {
            Kind::Callback | Kind::Map if !is_value => return Came::Ready(input),
            Kind::Errback if is_value => return Came::Ready(input),
            Kind::Pair if !is_value => {
                self.say(Event::Called(body.label, input));
                return Came::Ready(input);
            }
            _ => {}
        }
        self.say(Event::Called(body.label, input));
        self.act(&body.acts);
        match &body.gives {
            Gives::Deferred(slot) => match self.take(*slot) {
                Some(handle) => Came::Wait(handle),
                None => Came::Ready(input),
            },
            Gives::Future(body) => Came::Wait(Handle::new(self.start(body))),
            gives => Came::Ready(give(gives, body.label, input)),
        }
    }

    // Futures.

    fn start(&mut self, body: &'a Body) -> Id {
        let brings = self.new_one(None);
        let future = self.futures.len();
        self.deferreds[brings].canceller = Some(Canceller::Future(future));
        self.futures.push(Future {
            body,
            brings,
            at: 0,
            started: false,
            awaits: None,
            last: None,
            running: false,
            asked: false,
            over: false,
        });
        self.ready.push_back(future);
        brings
    }

    fn turn(&mut self) {
        let mut ran = 0;
        while let Some(future) = self.ready.pop_front() {
            ran += 1;
            if !self.futures[future].over {
                self.polled = Some(future);
                self.run(future);
                self.polled = None;
                if mem::take(&mut self.woken) {
                    self.ready.push_back(future);
                }
            }
        }
        self.turns.push(ran + 1);
    }

    fn run(&mut self, future: usize) {
        self.reached.note(Way::FutureRan);
        let (body, brings) = (self.futures[future].body, self.futures[future].brings);
        self.futures[future].running = true;
        if !mem::replace(&mut self.futures[future].started, true) {
            self.say(Event::Started(body.label));
            self.is_inside = true;
            self.act(&body.acts);
            self.is_inside = false;
        }
        loop {
            let awaits = match self.futures[future].awaits.take() {
                Some(handle) => handle,
                None => {
                    let Some(slot) = body.awaits.get(self.futures[future].at) else {
                        break;
                    };
                    self.futures[future].at += 1;
                    let Some(handle) = self.take(*slot) else {
                        continue;
                    };
                    self.futures[future].last = None;
                    handle
                }
            };
            let (handle, polled) = self.poll(awaits, Consumer::Future(future));
            let Some(seen) = polled else {
                self.reached.note(Way::FutureWaits);
                self.futures[future].awaits = Some(handle);
                self.futures[future].running = false;
                let asked = mem::take(&mut self.futures[future].asked);
                match (asked, self.deferreds[brings].fired) {
                    (true, false) => self.cancel(brings),
                    (true, true) => self.reached.note(Way::FutureAskedTooLate),
                    (false, _) => {}
                }
                return;
            };
            self.say(Event::Resumed(body.label, seen));
            self.futures[future].last = Some(seen);
        }
        self.futures[future].running = false;
        self.futures[future].over = true;
        let last = self.futures[future].last.take();
        let last = last.unwrap_or(Seen::Value(body.label));
        self.fire(brings, give(&body.gives, body.label, last));
    }

    // The log.

    fn look(&mut self, slot: Slot) {
        let looked = match self.places[slot] {
            Place::There(handle) | Place::Lent(handle) => Some(match handle.id {
                Some(id) => (self.is_settled(id), self.word(id)),
                None => (false, "taken"),
            }),
            Place::Empty | Place::Away => None,
        };
        let is_cancelled = self.resolvers[slot].map(|id| self.deferreds[id].fired);
        self.say(Event::Looked(slot, looked, is_cancelled));
    }

    fn word(&self, id: Id) -> &'static str {
        let one = &self.deferreds[self.itself(id)];
        match one.waits_for {
            _ if one.pauses > 0 => "paused",
            Some(_) => "waiting",
            None if one.running => "running",
            None if one.fired => "fired",
            None => "pending",
        }
    }

    fn tell_where_it_stands(&mut self) {
        let mut settled = 0;
        for (slot, location) in self.places.iter().enumerate() {
            if let Place::There(Handle { id: Some(id), .. }) = location {
                settled |= u32::from(self.is_settled(*id)) << slot;
            }
        }
        let mut live = Live::default();
        let results = self.deferreds.iter().map(|one| one.result);
        for result in results.chain(self.futures.iter().map(|one| one.last)) {
            match result {
                Some(Seen::Value(_)) => live.values += 1,
                Some(Seen::Failure(_)) => live.failures += 1,
                _ => {}
            }
        }
        for one in &self.deferreds {
            let calls = one.steps.iter();
            let calls = calls.filter(|step| matches!(step, What::Call(..))).count();
            let canceller = matches!(one.canceller, Some(Canceller::Call(_)));
            live.closures += calls as i64 + i64::from(canceller);
        }
        self.say(Event::Stands(settled, live));
    }

    fn say(&mut self, event: Event) {
        self.trace.push(event);
    }
}

impl Handle {
    fn new(id: Id) -> Self {
        Self {
            id: Some(id),
            was_polled: false,
        }
    }
}

fn give(gives: &Gives, label: u32, input: Seen) -> Seen {
    match gives {
        Gives::Value => Seen::Value(label),
        Gives::Failure => Seen::Failure(label),
        Gives::Panic => Seen::Panic(label),
        _ => input,
    }
}
