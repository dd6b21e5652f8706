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
//!    `first` there is nothing alive.
//! 2. An entry is a [`Cast`] in the first word and, from the second word on, the live step that it was made
//!    for. A step whose alignment a word cannot give is put into a box, and the box is the step.
//! 3. Whoever runs a line owns it: nothing is added to a line while one of its steps runs.

#![allow(
    unsafe_code,
    reason = "values of different types lie in one buffer; the argument is in invariants 1 and 2"
)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::{fmt, mem};

use super::core::{Core, Slot};
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
            self.push_entry(Box::new(step));
        } else {
            self.push_entry(step);
        }
    }

    /// Moves all steps of `other`, none of which has run, to the end.
    pub(super) fn append(&mut self, mut other: Self) {
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

    /// Runs the next step on the result so far, which is `source`'s before the first. `None` if there is no
    /// step left, else what the step has to wait for.
    #[inline]
    pub(super) fn run_next(&mut self, source: &dyn Slot) -> Option<Option<Rc<Core>>> {
        let (before, at) = if self.has_run {
            let before = self.step(self.first);
            (before, self.first + words_of(before))
        } else {
            (source, self.first)
        };
        if at == self.words.len() {
            return None;
        }
        let waits_for = self.step(at).run(before);
        if self.has_run {
            self.drop_first();
        }
        self.has_run = true;
        Some(waits_for)
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
        self.words.resize(at + size, Word::uninit());
        // SAFETY: the buffer has just been made `size` words longer than `at`.
        let entry = unsafe { self.words.as_mut_ptr().add(at) };
        // SAFETY: a word has room for a function pointer, and its alignment.
        unsafe { entry.cast::<Cast>().write(cast::<S>) };
        // SAFETY: an entry is one word longer than its step.
        let place = unsafe { entry.add(1) };
        // SAFETY: there is room for the step, and `push` saw to it that a word's alignment is enough.
        unsafe { place.cast::<S>().write(step) };
    }

    /// Makes room; first of all by closing the gap in front.
    #[cold]
    fn reserve(&mut self, size: usize) {
        if self.first > self.words.len() / 2 {
            self.words.drain(..self.first);
            self.first = 0;
        }
        let (len, capacity) = (self.words.len(), self.words.capacity());
        if capacity - len < size {
            let wanted = match capacity {
                0 => SMALL,
                small if small < LARGE => small * 4,
                large => large * 2,
            };
            self.words.reserve_exact(size.max(wanted - len));
        }
    }

    /// The step of the entry that begins at `at`, which must be the beginning of one.
    #[inline]
    fn step(&self, at: usize) -> &dyn Slot {
        let step = locate(&self.words, at);
        // SAFETY: it is alive (invariant 2), and stays where it is as long as the line is borrowed.
        unsafe { &*step }
    }

    /// Drops the first entry.
    #[inline]
    fn drop_first(&mut self) {
        let size = words_of(self.step(self.first));
        let step = locate(&self.words, self.first);
        // From here on it is no entry any more, even if its destructor panics.
        self.first += size;
        self.has_run = false;
        // SAFETY: it was alive (invariant 2), and nobody can reach it any more.
        unsafe { step.drop_in_place() };
    }
}

impl Drop for Line {
    /// One after the other: a step may own what owns the next line.
    fn drop(&mut self) {
        while !self.is_empty() {
            let place = self.step(self.first).place();
            report::contain(Origin::Destructor, place, || self.drop_first());
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
