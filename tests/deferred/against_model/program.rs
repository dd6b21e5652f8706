//! The programs: their parts, random generation, printing, and shrinking.

use std::fmt;
use std::rc::Rc;

/// A place for a Deferred, its resolver, and the pauses that are held of earlier content.
pub(crate) type Slot = usize;

/// The number of slots.
pub(crate) const SLOTS: usize = 4;

/// The number of wakers.
pub(crate) const WAKERS: usize = 2;

/// One operation. An operation that is impossible, because the slot has no such content, is skipped
/// by both sides.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Pair(Slot),
    /// Makes a Deferred that has its result from the start.
    Make(Slot, Gives, u32),
    /// Makes a Deferred of a future.
    Future(Slot, Rc<Body>),
    OnCancel(Slot, Rc<Body>),
    Add(Slot, Kind, Size, Rc<Body>),
    /// Chains the first to the resolver of the second.
    Chain(Slot, Slot),
    Callback(Slot, u32),
    Errback(Slot, u32),
    Lose(Slot),
    Cancel(Slot),
    Pause(Slot),
    Unpause(Slot),
    /// Polls with this waker.
    Poll(Slot, usize),
    Drop(Slot),
    /// Looks at the Deferred and at its resolver.
    Look(Slot),
    /// Runs the futures. Not inside others.
    Turn,
}

/// The way in which a callback is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Callback,
    Errback,
    Both,
    /// The second of a pair only records that it ran.
    Pair,
    Map,
}

/// The size of a callback: some are in a block beside others, some alone in a block, some in a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Middle,
    Big,
    Aligned,
}

/// A callback, a canceller or a future. It has its own number, which it records when it runs.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) label: u32,
    /// The operations that it does.
    pub(crate) acts: Vec<Step>,
    /// The slots that it awaits then, if it is a future.
    pub(crate) awaits: Vec<Slot>,
    /// The result that it returns.
    pub(crate) gives: Gives,
}

/// The result of a callback. New values and failures have its number.
#[derive(Clone, Debug)]
pub(crate) enum Gives {
    /// The input.
    Same,
    Value,
    Failure,
    Panic,
    /// The Deferred in that slot; the input if the slot is empty.
    Deferred(Slot),
    Future(Rc<Body>),
}

/// A small pseudo-random generator.
pub(crate) struct Rng {
    state: u64,
    labels: u32,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            labels: 0,
        }
    }

    /// Returns a number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 33) as usize % n
    }

    fn label(&mut self) -> u32 {
        self.labels += 1;
        self.labels
    }

    /// A program.
    pub(crate) fn program(&mut self) -> Vec<Step> {
        let length = 4 + self.below(MOST_STEPS - 4);
        // Some programs use few slots, where more happens to each.
        let slots = 2 + self.below(SLOTS - 1);
        let mut program: Vec<_> = (0..slots).map(Step::Pair).collect();
        while program.len() < length {
            match self.below(20) {
                0 => program.extend(self.phrase(slots)),
                _ => program.push(self.step(slots, 0)),
            }
        }
        program
    }

    /// Returns steps that seldom come together by chance.
    fn phrase(&mut self, slots: usize) -> Vec<Step> {
        let one = self.below(slots);
        let other = (one + 1 + self.below(slots - 1)) % slots;
        let returns = |rng: &mut Self, slot: Slot, acts: Vec<Step>, other: Slot| {
            let body = Body {
                label: rng.label(),
                acts,
                awaits: Vec::new(),
                gives: Gives::Deferred(other),
            };
            Step::Add(slot, Kind::Both, Size::Small, Rc::new(body))
        };
        match self.below(5) {
            // A stop is requested of a future that what it awaits has woken.
            0 => {
                let body = Body {
                    label: self.label(),
                    acts: Vec::new(),
                    awaits: vec![other, self.below(slots)],
                    gives: Gives::Same,
                };
                vec![
                    Step::Lose(one),
                    Step::Drop(one),
                    Step::Future(one, Rc::new(body)),
                    Step::Pair(other),
                    Step::Turn,
                    Step::Callback(other, self.label()),
                    Step::Cancel(one),
                ]
            }
            // Each callback returns the other Deferred.
            1 => vec![
                returns(self, one, Vec::new(), other),
                returns(self, other, Vec::new(), one),
                Step::Callback(one, self.label()),
                Step::Callback(other, self.label()),
            ],
            // One Deferred is paused by its own last callback, and dropped.
            2 => vec![
                returns(self, one, vec![Step::Pause(one), Step::Drop(one)], other),
                Step::Callback(one, self.label()),
                self.step(slots, 0),
                Step::Errback(other, self.label()),
                Step::Unpause(one),
            ],
            // A stop is requested of a future too late, when the chain after it waits for another
            // Deferred.
            3 => {
                let [label, canceller, late] = [self.label(), self.label(), self.label()];
                let body = |label, awaits, gives| {
                    Rc::new(Body {
                        label,
                        acts: Vec::new(),
                        awaits,
                        gives,
                    })
                };
                let waits = Gives::Future(body(self.label(), Vec::new(), Gives::Same));
                vec![
                    Step::Lose(one),
                    Step::Drop(one),
                    Step::Future(one, body(label, vec![other; 2], Gives::Same)),
                    Step::Pair(other),
                    Step::Turn,
                    Step::Callback(other, self.label()),
                    Step::Cancel(one),
                    Step::Add(one, Kind::Both, Size::Small, body(late, Vec::new(), waits)),
                    Step::OnCancel(one, body(canceller, Vec::new(), Gives::Same)),
                    Step::Cancel(one),
                    Step::Pair(other),
                    Step::Turn,
                ]
            }
            // One waits for the other, and is cancelled.
            _ => vec![
                returns(self, one, Vec::new(), other),
                Step::Callback(one, self.label()),
                Step::Cancel(one),
            ],
        }
    }

    fn step(&mut self, slots: usize, depth: usize) -> Step {
        let slot = self.below(slots);
        match self.below(64) {
            0..8 => Step::Pair(slot),
            8..10 => {
                let gives = [Gives::Value, Gives::Failure, Gives::Panic];
                let gives = gives[self.below(3)].clone();
                Step::Make(slot, gives, self.label())
            }
            10..14 => Step::Future(slot, self.future(slots, depth)),
            14..17 => Step::OnCancel(slot, self.canceller(slot, slots, depth)),
            17..33 => {
                let kinds = [
                    Kind::Callback,
                    Kind::Errback,
                    Kind::Both,
                    Kind::Pair,
                    Kind::Map,
                ];
                let kind = kinds[self.below(5)];
                let sizes = [
                    Size::Small,
                    Size::Small,
                    Size::Middle,
                    Size::Big,
                    Size::Aligned,
                ];
                let size = sizes[self.below(5)];
                Step::Add(slot, kind, size, self.callback(kind, slots, depth))
            }
            33 => Step::Chain(slot, self.below(slots)),
            34..40 => Step::Callback(slot, self.label()),
            40..42 => Step::Errback(slot, self.label()),
            42..44 => Step::Lose(slot),
            44..48 => Step::Cancel(slot),
            48..50 => Step::Pause(slot),
            50..53 => Step::Unpause(slot),
            53..57 => Step::Poll(slot, self.below(WAKERS)),
            57..60 => Step::Drop(slot),
            60 => Step::Look(slot),
            _ if depth == 0 => Step::Turn,
            _ => Step::Cancel(slot),
        }
    }

    fn acts(&mut self, slots: usize, depth: usize) -> Vec<Step> {
        if depth == DEPTH || self.below(2) == 0 {
            return Vec::new();
        }
        let count = 1 + self.below(3);
        (0..count).map(|_| self.step(slots, depth + 1)).collect()
    }

    fn callback(&mut self, kind: Kind, slots: usize, depth: usize) -> Rc<Body> {
        let label = self.label();
        let acts = self.acts(slots, depth);
        let gives = match self.below(12) {
            0..4 => Gives::Same,
            4 | 5 => Gives::Value,
            6 => Gives::Panic,
            _ if kind == Kind::Map => Gives::Value,
            7 => Gives::Failure,
            8 => Gives::Future(self.future(slots, depth)),
            _ => Gives::Deferred(self.below(slots)),
        };
        Rc::new(Body {
            label,
            acts,
            awaits: Vec::new(),
            gives,
        })
    }

    fn canceller(&mut self, slot: Slot, slots: usize, depth: usize) -> Rc<Body> {
        let label = self.label();
        let mut acts = self.acts(slots, depth);
        // Most bodies with operations return another result.
        match self.below(8) {
            0 | 1 => acts.push(Step::Callback(slot, label)),
            2 => acts.push(Step::Errback(slot, label)),
            3 => acts.push(Step::Lose(slot)),
            _ => {}
        }
        let gives = match self.below(6) {
            0 => Gives::Panic,
            _ => Gives::Same,
        };
        Rc::new(Body {
            label,
            acts,
            awaits: Vec::new(),
            gives,
        })
    }

    fn future(&mut self, slots: usize, depth: usize) -> Rc<Body> {
        let label = self.label();
        let acts = self.acts(slots, depth.max(1));
        let awaits = (0..1 + self.below(3)).map(|_| self.below(slots)).collect();
        let gives = [
            Gives::Same,
            Gives::Same,
            Gives::Value,
            Gives::Failure,
            Gives::Panic,
        ];
        let gives = gives[self.below(5)].clone();
        Rc::new(Body {
            label,
            acts,
            awaits,
            gives,
        })
    }
}

/// Returns all programs that are a little smaller.
pub(crate) fn smaller(program: &[Step]) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    for half in [0..program.len() / 2, program.len() / 2..program.len()] {
        if half.len() > 1 {
            let mut rest = program.to_vec();
            rest.drain(half);
            all.push(rest);
        }
    }
    for n in 0..program.len() {
        let mut rest = program.to_vec();
        rest.remove(n);
        all.push(rest);
    }
    for (n, step) in program.iter().enumerate() {
        for simpler in simpler(step) {
            let mut changed = program.to_vec();
            changed[n] = simpler;
            all.push(changed);
        }
    }
    all
}

/// Returns smaller versions of a step.
fn simpler(step: &Step) -> Vec<Step> {
    match step {
        Step::Future(slot, body) => bodies(body, |body| Step::Future(*slot, body)),
        Step::OnCancel(slot, body) => bodies(body, |body| Step::OnCancel(*slot, body)),
        Step::Add(slot, kind, size, body) => {
            let mut all = bodies(body, |body| Step::Add(*slot, *kind, *size, body));
            if *size != Size::Small {
                all.push(Step::Add(*slot, *kind, Size::Small, body.clone()));
            }
            if *kind != Kind::Both && *kind != Kind::Map {
                all.push(Step::Add(*slot, Kind::Both, *size, body.clone()));
            }
            all
        }
        _ => Vec::new(),
    }
}

fn bodies(body: &Body, make: impl Fn(Rc<Body>) -> Step) -> Vec<Step> {
    less(body)
        .into_iter()
        .map(|body| make(Rc::new(body)))
        .collect()
}

/// Returns smaller versions of a body.
fn less(body: &Body) -> Vec<Body> {
    let mut all = Vec::new();
    for acts in smaller(&body.acts) {
        all.push(Body {
            acts,
            ..body.clone()
        });
    }
    for n in 0..body.awaits.len() {
        let mut less = body.clone();
        less.awaits.remove(n);
        all.push(less);
    }
    if !matches!(body.gives, Gives::Same) {
        all.push(Body {
            gives: Gives::Same,
            ..body.clone()
        });
    }
    if let Gives::Future(future) = &body.gives {
        for less in less(future) {
            all.push(Body {
                gives: Gives::Future(Rc::new(less)),
                ..body.clone()
            });
        }
    }
    all
}

/// Writes a program as text, one step a line.
pub(crate) fn write_down(program: &[Step]) -> String {
    program.iter().map(|step| format!("    {step}\n")).collect()
}

fn name(slot: Slot) -> char {
    (b'a' + slot as u8) as char
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(slot) => write!(f, "pair {}", name(*slot)),
            Self::Make(slot, gives, label) => write!(f, "make {} {gives} #{label}", name(*slot)),
            Self::Future(slot, body) => write!(f, "future {} {body}", name(*slot)),
            Self::OnCancel(slot, body) => write!(f, "on_cancel {} {body}", name(*slot)),
            Self::Add(slot, kind, Size::Small, body) => {
                write!(f, "add {} {kind:?} {body}", name(*slot))
            }
            Self::Add(slot, kind, size, body) => {
                write!(f, "add {} {kind:?} ({size:?}) {body}", name(*slot))
            }
            Self::Chain(slot, to) => write!(f, "chain {} to {}", name(*slot), name(*to)),
            Self::Callback(slot, label) => write!(f, "fire {} #{label}", name(*slot)),
            Self::Errback(slot, label) => write!(f, "fail {} #{label}", name(*slot)),
            Self::Lose(slot) => write!(f, "lose {}", name(*slot)),
            Self::Cancel(slot) => write!(f, "cancel {}", name(*slot)),
            Self::Pause(slot) => write!(f, "pause {}", name(*slot)),
            Self::Unpause(slot) => write!(f, "unpause {}", name(*slot)),
            Self::Poll(slot, waker) => write!(f, "poll {} for {waker}", name(*slot)),
            Self::Drop(slot) => write!(f, "drop {}", name(*slot)),
            Self::Look(slot) => write!(f, "look at {}", name(*slot)),
            Self::Turn => f.write_str("turn"),
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.label)?;
        if !self.acts.is_empty() {
            let acts: Vec<_> = self.acts.iter().map(Step::to_string).collect();
            write!(f, " {{ {} }}", acts.join("; "))?;
        }
        for slot in &self.awaits {
            write!(f, " await {}", name(*slot))?;
        }
        write!(f, " -> {}", self.gives)
    }
}

impl fmt::Display for Gives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("same"),
            Self::Value => f.write_str("value"),
            Self::Failure => f.write_str("failure"),
            Self::Panic => f.write_str("panic"),
            Self::Deferred(slot) => write!(f, "{}", name(*slot)),
            Self::Future(body) => write!(f, "future {body}"),
        }
    }
}

const MOST_STEPS: usize = 40;

/// The depth to which callbacks act inside the operations of callbacks.
const DEPTH: usize = 3;
