//! The steps of one Deferred, packed one behind the other in one piece of memory.
//!
//! # The idea
//!
//! A box for each callback costs more than all the rest of running it. So steps of any type lie in one buffer
//! of words: first a word that holds a function which knows the step's type, then the step itself. Steps are
//! read from the front and added at the end. The one that ran last stays at the front, for it holds the
//! result so far.
//!
//! # Invariants
//!
//! 1. From `first` to the buffer's end there is one entry after the other and nothing else; in front of
//!    `first` there is nothing alive, or nothing that has anything to drop.
//! 2. An entry is a [`Cast`] in the first word and, from the second word on, the live step that it was made
//!    for. A step whose alignment a word cannot give is put into a box, and the box is the step.
//! 3. Whoever runs a line owns it: nothing is added to a line while one of its steps runs.

#![allow(
    unsafe_code,
    reason = "values of different types lie in one buffer; the argument is in invariants 1 and 2"
)]

use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::rc::Rc;
use std::{fmt, mem, ptr};

use super::core::{Core, Slot};
use crate::failure::Failure;
use crate::report::{self, Origin};

/// A queue of steps, and the result of the one that ran last.
#[derive(Default)]
pub(super) struct Line {
    words: Vec<Word>,
    /// Where the first entry begins.
    first: usize,
    /// Has the first entry run, so that it is there only for its result?
    has_run: bool,
    /// It owns steps, which stay on their thread.
    owns: PhantomData<Box<dyn Slot>>,
}

impl Line {
    /// Adds a step at the end.
    #[inline]
    pub(super) fn push<S: Slot>(&mut self, step: S) {
        if align_of::<S>() > align_of::<Word>() {
            self.push_entry(Boxed(Cell::new(Some(Box::new(step)))));
        } else {
            self.push_entry(step);
        }
    }

    /// Moves all steps of `other`, none of which has run, to the end.
    pub(super) fn append(&mut self, mut other: Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            return mem::swap(self, &mut other);
        }
        let entries = &other.words[other.first..];
        self.reserve(entries.len());
        self.words.extend_from_slice(entries);
        // They live here now.
        other.words.clear();
        other.first = 0;
    }

    /// Puts a source in front of all steps, none of which has run: its value is the result so far.
    pub(super) fn put_source(&mut self, source: impl Slot) {
        let steps = mem::take(self);
        self.push(source);
        self.has_run = true;
        self.append(steps);
    }

    /// Runs the steps, the first on the result so far, which is `source`'s if none has run; until there are no
    /// more, `goes_on` says no, or one has to wait. What for, is returned.
    #[inline]
    pub(super) fn run(
        &mut self,
        source: Option<&dyn Slot>,
        goes_on: impl Fn() -> bool,
    ) -> Option<Rc<Core>> {
        let (mut before, mut at) = match self.last_run() {
            Some(step) => (ptr::from_ref(step), self.first + words_of(step)),
            None => (ptr::from_ref(source?), self.first),
        };
        while at < self.words.len() {
            let step = self.step(at);
            let next = at + words_of(step);
            // SAFETY: it is the source, which is borrowed, or the step before, which is an entry still.
            let inner = step.run(unsafe { &*before });
            before = ptr::from_ref(step);
            // The step before has given all that it had, so there is nothing in it to drop.
            self.first = at;
            self.has_run = true;
            at = next;
            if inner.is_some() || !goes_on() {
                return inner;
            }
        }
        None
    }

    /// The step that ran last.
    pub(super) fn last_run(&self) -> Option<&dyn Slot> {
        self.has_run.then(|| self.step(self.first))
    }

    /// Is there nothing in it, not even a result?
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first == self.words.len()
    }

    /// Is there a step that has not run?
    #[inline]
    pub(super) fn has_steps(&self) -> bool {
        match self.last_run() {
            Some(step) => self.first + words_of(step) < self.words.len(),
            None => !self.is_empty(),
        }
    }

    #[inline]
    fn push_entry<S: Slot>(&mut self, step: S) {
        let size = 1 + size_of::<S>().div_ceil(size_of::<Word>());
        if self.words.capacity() - self.words.len() < size {
            self.reserve(size);
        }
        let at = self.words.len();
        // SAFETY: there is room for `size` more, and a word may hold anything.
        unsafe { self.words.set_len(at + size) };
        // SAFETY: the buffer has just been made `size` words longer than `at`.
        let entry = unsafe { self.words.as_mut_ptr().add(at) };
        // SAFETY: a word has room for a function pointer, and its alignment.
        unsafe { entry.cast::<Cast>().write(cast::<S>) };
        // SAFETY: an entry is one word longer than its step.
        let place = unsafe { entry.add(1) };
        // SAFETY: there is room for the step, and `push` saw to it that a word's alignment is enough.
        unsafe { place.cast::<S>().write(step) };
    }

    /// Makes room, and closes the gap in front.
    #[cold]
    fn reserve(&mut self, size: usize) {
        let entries = &self.words[self.first..];
        let wanted = match self.words.capacity() {
            enough if self.first > self.words.len() / 2 => enough,
            0 => SMALL,
            small if small < LARGE => small * 4,
            large => large * 2,
        };
        // Not by growing the vector: `realloc` is the slowest way to a small piece of memory.
        let mut words = Vec::with_capacity(wanted.max(entries.len() + size));
        words.extend_from_slice(entries);
        self.words = words;
        self.first = 0;
    }

    /// The step of the entry that begins at `at`, which must be the beginning of one.
    #[inline]
    fn step(&self, at: usize) -> &dyn Slot {
        let step = locate(&self.words, at);
        // SAFETY: it is alive (invariant 2), and stays where it is as long as the line is borrowed.
        unsafe { &*step }
    }
}

impl Drop for Line {
    /// One after the other: a step may own what owns the next line.
    fn drop(&mut self) {
        while !self.is_empty() {
            let step = locate(&self.words, self.first);
            let (place, size) = {
                let step = self.step(self.first);
                (step.place(), words_of(step))
            };
            // From here on it is no entry any more, even if its destructor panics.
            self.first += size;
            report::contain(Origin::Destructor, place, || {
                // SAFETY: it was alive (invariant 2), and nobody can reach it any more.
                unsafe { step.drop_in_place() }
            });
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("words", &(self.words.len() - self.first))
            .field("has_run", &self.has_run)
            .finish_non_exhaustive()
    }
}

/// A step that is too choosy about its alignment to lie in a line itself. Empty once it has given its result.
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

/// The step of the entry that begins at `at`, which must be the beginning of one.
#[inline]
fn locate(words: &Vec<Word>, at: usize) -> *mut dyn Slot {
    // A pointer from the vector itself, not from a slice of it: steps change behind a shared reference.
    let words = words.as_ptr().cast_mut();
    // SAFETY: an entry begins inside the buffer.
    let entry = unsafe { words.add(at) };
    // SAFETY: an entry's first word is its cast (invariant 2).
    let cast = unsafe { entry.cast::<Cast>().read() };
    // SAFETY: behind the first word comes the step, inside the buffer or (if it has no size) at its end.
    cast(unsafe { entry.add(1) })
}

/// How many words the entry of a step has.
#[inline]
fn words_of(step: &dyn Slot) -> usize {
    1 + size_of_val(step).div_ceil(size_of::<Word>())
}

/// The words of a new buffer: enough for a step or three.
const SMALL: usize = 16;

/// From this many words on a buffer grows to twice its size, before to four times.
const LARGE: usize = 512;
