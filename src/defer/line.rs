//! The steps of one Deferred, packed into blocks of memory.
//!
//! # The idea
//!
//! A box for each callback costs more than all the rest of running it. So steps of any type lie one behind the
//! other in blocks of words: first a word that holds a function which knows the step's type, then the step
//! itself. The step that ran last stays where it is, for it holds the result so far.
//!
//! # Who owns what
//!
//! A line owns its blocks, a block its steps and the next block. While steps run, the block with them belongs to
//! [`Line::run`]; what is added meanwhile goes into another one.
//!
//! # Invariants
//!
//! 1. In a block's words, from `first` to `end`, there is one entry after the other and nothing else. In front
//!    of `first` there is nothing alive, or nothing that has anything to drop.
//! 2. An entry is a [`Cast`] in the first word and, from the second word on, the live step that it was made
//!    for. A step that is too big for a block, or whose alignment a word cannot give, is put into a box, and
//!    the box is the step.
//! 3. Nothing is borrowed and no block is in the line's own hands while a step runs or is dropped.

#![allow(
    unsafe_code,
    reason = "values of different types lie in one block; the argument is in invariants 1 and 2"
)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::panic::Location;
use std::ptr;
use std::rc::Rc;

use super::core::{Core, Slot};
use crate::failure::Failure;
use crate::report::{self, Origin};

/// A queue of steps, and the result of the one that ran last.
#[derive(Default)]
pub(super) struct Line {
    /// The oldest first. The first of them may begin with the step that ran last.
    queue: Cell<Option<Box<Block>>>,
    /// Blocks that were added since, the newest first.
    added: Cell<Option<Box<Block>>>,
    /// How many steps have not run.
    steps: Cell<usize>,
}

impl Line {
    /// Adds a step at the end.
    #[inline]
    pub(super) fn push<S: Slot>(&self, step: S) {
        self.steps.set(self.steps.get() + 1);
        if const { align_of::<S>() > align_of::<Word>() || words_for::<S>() > WORDS } {
            self.push_entry(Boxed(Cell::new(Some(Box::new(step)))));
        } else {
            self.push_entry(step);
        }
    }

    /// Puts a source in front of all steps, none of which has run: its value is the result so far.
    pub(super) fn put_source(&self, source: impl Slot) {
        let steps = self.steps.get();
        let later = self.take_added();
        self.push(source);
        self.steps.set(steps);
        if let Some(mut block) = self.added.take() {
            block.has_run = true;
            block.next = later;
            self.queue.set(Some(block));
        }
    }

    /// Runs the steps, the first on the result so far, which is `source`'s if none has run; until there are no
    /// more, `goes_on` says no, or one has to wait. What for, is returned.
    #[inline]
    pub(super) fn run(
        &self,
        source: Option<&dyn Slot>,
        goes_on: impl Fn() -> bool,
    ) -> Option<Rc<Core>> {
        let mut block = self.queue.take().or_else(|| self.take_added())?;
        let (mut before, mut at) = match block.last_run() {
            Some(step) => (ptr::from_ref(step), block.first + words_of(step)),
            None => (ptr::from_ref(source?), block.first),
        };
        // The block that has the step before, when that is not the same.
        let mut left: Option<Box<Block>> = None;
        let inner = loop {
            if at == block.end {
                let next = block.next.take().or_else(|| self.take_added());
                let Some(next) = next else { break None };
                at = next.first;
                let full = left.insert(mem::replace(&mut block, next));
                if let Some(step) = full.last_run() {
                    before = ptr::from_ref(step);
                }
            }
            let step = block.step(at);
            let next = at + words_of(step);
            // SAFETY: it is the source, which is borrowed, or an entry of `block` or of `left`.
            let inner = step.run(unsafe { &*before });
            before = ptr::from_ref(step);
            self.steps.set(self.steps.get() - 1);
            // The step before has given all that it had: there is nothing in it to drop.
            block.first = at;
            block.has_run = true;
            if let Some(left) = &mut left {
                left.first = left.end;
            }
            left = None;
            at = next;
            if inner.is_some() || !goes_on() {
                break inner;
            }
        };
        self.queue.set(Some(block));
        inner
    }

    /// Does something with the step that ran last; not more than moving its result.
    pub(super) fn with_last<R>(&self, f: impl FnOnce(&dyn Slot) -> R) -> Option<R> {
        let block = self.queue.take()?;
        let result = block.last_run().map(f);
        self.queue.set(Some(block));
        result
    }

    /// Does something with the step that ran last, and drops it.
    #[inline]
    pub(super) fn take_last<R>(&self, f: impl FnOnce(&dyn Slot) -> R) -> Option<R> {
        self.queue.take()?.last_run().map(f)
    }

    /// Is there a step that has not run? (While one runs, that one counts.)
    #[inline]
    pub(super) fn has_steps(&self) -> bool {
        self.steps.get() > 0
    }

    #[inline]
    fn push_entry<S: Slot>(&self, step: S) {
        let block = match self.added.take() {
            Some(block) if WORDS - block.end >= words_for::<S>() => block,
            full => Block::new(full),
        };
        let mut block = block;
        block.push(step);
        self.added.set(Some(block));
    }

    /// Takes what was added, the oldest first.
    fn take_added(&self) -> Option<Box<Block>> {
        let mut added = self.added.take()?;
        let mut later = None;
        while let Some(older) = added.next.take() {
            added.next = later;
            later = Some(mem::replace(&mut added, older));
        }
        added.next = later;
        Some(added)
    }
}

impl Drop for Line {
    /// One after the other: a step may own what owns the next line, and a block owns the next one.
    fn drop(&mut self) {
        for list in [self.queue.take(), self.added.take()] {
            let mut list = list;
            while let Some(mut block) = list {
                list = block.next.take();
            }
        }
    }
}

/// Some steps.
struct Block {
    next: Option<Box<Block>>,
    /// Where the first entry begins.
    first: usize,
    /// Where the last entry ends.
    end: usize,
    /// Has the first entry run, so that it is there only for its result?
    has_run: bool,
    /// It owns steps, which stay on their thread.
    owns: PhantomData<Box<dyn Slot>>,
    /// Steps change behind a shared reference.
    words: UnsafeCell<[Word; WORDS]>,
}

impl Block {
    fn new(next: Option<Box<Self>>) -> Box<Self> {
        Box::new(Self {
            next,
            first: 0,
            end: 0,
            has_run: false,
            owns: PhantomData,
            words: UnsafeCell::new([Word::uninit(); WORDS]),
        })
    }

    /// Adds a step, for which there must be room.
    #[inline]
    fn push<S: Slot>(&mut self, step: S) {
        const { assert!(align_of::<S>() <= align_of::<Word>()) };
        let (entry, rest) = self.words.get_mut()[self.end..]
            .split_at_mut_checked(words_for::<S>())
            .expect("whoever pushes has made sure of the room");
        let _ = rest;
        let entry = entry.as_mut_ptr();
        // SAFETY: an entry's first word has room for a function pointer, and its alignment.
        unsafe { entry.cast::<Cast>().write(cast::<S>) };
        // SAFETY: an entry is one word longer than its step.
        let place = unsafe { entry.add(1) };
        // SAFETY: there is room for the step, and a word's alignment is enough for it.
        unsafe { place.cast::<S>().write(step) };
        self.end += words_for::<S>();
    }

    /// The step that ran last.
    #[inline]
    fn last_run(&self) -> Option<&dyn Slot> {
        self.has_run.then(|| self.step(self.first))
    }

    /// The step of the entry that begins at `at`, which must be the beginning of one.
    #[inline]
    fn step(&self, at: usize) -> &dyn Slot {
        let step = self.locate(at);
        // SAFETY: it is alive (invariant 2), stays where it is as long as the block is borrowed, and is changed
        // only behind shared references.
        unsafe { &*step }
    }

    #[inline]
    fn locate(&self, at: usize) -> *mut dyn Slot {
        let words = self.words.get().cast::<Word>();
        // SAFETY: an entry begins inside the block.
        let entry = unsafe { words.add(at) };
        // SAFETY: an entry's first word is its cast (invariant 2).
        let cast = unsafe { entry.cast::<Cast>().read() };
        // SAFETY: behind the first word comes the step, inside the block or (if it has no size) at its end.
        cast(unsafe { entry.add(1) })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        while self.first < self.end {
            let step = self.step(self.first);
            let (place, size) = (step.place(), words_of(step));
            let step = self.locate(self.first);
            // From here on it is no entry any more, even if its destructor panics.
            self.first += size;
            report::contain(Origin::Destructor, place, || {
                // SAFETY: it was alive (invariant 2), and nobody can reach it any more.
                unsafe { step.drop_in_place() }
            });
        }
    }
}

/// A step that a block has no place for. Empty once it has given its result.
struct Boxed<S>(Cell<Option<Box<S>>>);

impl<S> Boxed<S> {
    fn with<R>(&self, f: impl FnOnce(&S) -> R) -> Option<R> {
        let step = self.0.take()?;
        let result = f(&step);
        self.0.set(Some(step));
        Some(result)
    }
}

impl<S: Slot> Slot for Boxed<S> {
    fn run(&self, before: &dyn Slot) -> Option<Rc<Core>> {
        self.with(|step| step.run(before)).flatten()
    }

    fn give(&self, to: &mut dyn Any) {
        if let Some(step) = self.0.take() {
            step.give(to);
        }
    }

    fn fill_from(&self, other: &dyn Slot) {
        self.with(|step| step.fill_from(other));
    }

    fn fail(&self, failure: Failure) {
        self.with(|step| step.fail(failure));
    }

    fn take_failure(&self) -> Option<Failure> {
        self.0.take()?.take_failure()
    }

    fn place(&self) -> &'static Location<'static> {
        self.with(S::place).unwrap_or(Location::caller())
    }
}

type Word = MaybeUninit<u64>;

/// Gives the place of a step its type back.
type Cast = fn(*mut Word) -> *mut dyn Slot;

fn cast<S: Slot>(place: *mut Word) -> *mut dyn Slot {
    place.cast::<S>()
}

/// How many words the entry of a step has.
#[inline]
fn words_of(step: &dyn Slot) -> usize {
    1 + size_of_val(step).div_ceil(size_of::<Word>())
}

/// The same, for a type.
const fn words_for<S>() -> usize {
    1 + size_of::<S>().div_ceil(size_of::<Word>())
}

/// How many words a block has: enough for five callbacks of the usual size. With the rest of it that makes 200
/// bytes.
const WORDS: usize = 21;
