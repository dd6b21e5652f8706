//! [`CallbackQueue`]: the steps of one Deferred, packed into blocks of memory.
//!
//! # The idea
//!
//! Boxing each callback costs more than running it. So steps of any type are stored one after the
//! other in blocks of words, each behind a pointer that carries its type. The step that ran last
//! stays in its block, because it holds the result so far.
//!
//! # Ownership
//!
//! A queue owns its blocks; a block owns its steps and the next block. While steps run, their block
//! belongs to [`CallbackQueue::run`]; steps added meanwhile go into another block.
//!
//! # Invariants
//!
//! 1. The words of a block up to `end` hold entries, one after the other, and nothing else. The
//!    entries before `first` have run and given away their results, and need no drop.
//! 2. An entry is a pointer to the step behind it, followed by that step, which is alive. A block
//!    has one owner and never moves, so the pointer is valid until the entry is removed.
//! 3. A step that is too big for a block, or whose alignment is larger than a word's, is boxed, and
//!    the box is the step.
//! 4. The queue holds no block while one of that block's steps runs or is dropped.

#![allow(
    unsafe_code,
    reason = "values of different types lie in one block; the argument is in invariants 1 and 2"
)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::ops::Deref;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::core::{AnyPlace, Core, Group, Slot};
use crate::report::{self, Origin};

/// A queue of steps, and the result of the step that ran last.
#[derive(Default)]
pub(super) struct CallbackQueue {
    /// The oldest block first. Its first entry may be the step that ran last.
    queue: Cell<Option<Block>>,
    /// Blocks added since, the newest first.
    added: Cell<Option<Block>>,
    /// The number of steps that have not run.
    steps: Cell<usize>,
}

impl CallbackQueue {
    /// Adds a step at the end. The step is built in its final place, because moving it would cost
    /// more than everything else here.
    #[inline]
    pub(super) fn push<S: Slot>(&self, step: impl FnOnce() -> S) {
        self.steps.set(self.steps.get() + 1);
        if const { align_of::<S>() > align_of::<Word>() || words_for::<S>() > WORDS } {
            self.push_entry(true, || Boxed(Box::new(step())));
        } else {
            self.push_entry(false, step);
        }
    }

    /// Puts a source before all steps, none of which has run: its value is the result so far.
    pub(super) fn put_source(&self, source: impl Slot) {
        let steps = self.steps.get();
        let later = self.take_added();
        self.push(|| source);
        self.steps.set(steps);
        if let Some(block) = self.added.take() {
            block.last.set(Some(0));
            block.next.set(later);
            self.queue.set(Some(block));
        }
    }

    /// Runs the steps, the first with the result so far (that of `source` if no step has run),
    /// until no step is left, `pauses` is no longer 0, or a step has to wait. Returns the core that
    /// the step waits for.
    pub(super) fn run(&self, source: Option<&dyn Slot>, pauses: &Cell<u32>) -> Option<Rc<Core>> {
        let mut block = self.queue.take().or_else(|| self.take_added())?;
        // The positions of the previous step and of the next one, and the number of steps that have
        // run.
        let (mut last, mut done) = (block.last.get(), 0);
        let (mut before, mut at) = match block.last_run() {
            Some((step, end)) => (ptr::from_ref(step), end),
            None => match source {
                Some(source) => (ptr::from_ref(source), 0),
                None => {
                    self.queue.set(Some(block));
                    return None;
                }
            },
        };
        let inner = loop {
            // The block that holds the previous step, if it is another one.
            let mut left = None;
            if at == block.end.get() {
                let next = block.next.take().or_else(|| self.take_added());
                let Some(next) = next else { break None };
                at = 0;
                left = Some(mem::replace(&mut block, next));
            }
            let step = block.step(at);
            // SAFETY: `before` is the source, which is borrowed, or an entry of `block` or of
            // `left`.
            let input = unsafe { &*before };
            let inner = step.run(input);
            if let Some(left) = left {
                left.pass(left.end.get());
            }
            before = ptr::from_ref(step);
            (last, at, done) = (Some(at), at + words_of(step), done + 1);
            if inner.is_some() || pauses.get() > 0 {
                break inner;
            }
        };
        if let Some(last) = last {
            block.pass(last);
        }
        block.last.set(last);
        self.steps.set(self.steps.get() - done);
        self.queue.set(Some(block));
        inner
    }

    /// Calls `f` with the step that ran last; `f` must do no more than move the result.
    pub(super) fn with_last<R>(&self, f: impl FnOnce(&dyn Slot) -> R) -> Option<R> {
        let block = self.queue.take()?;
        let result = block.last_run().map(|(step, _)| f(step));
        self.queue.set(Some(block));
        result
    }

    /// Calls `f` with the step that ran last; `f` takes its result, so that nothing is left to
    /// drop.
    #[inline]
    pub(super) fn take_last<R>(&self, f: impl FnOnce(&dyn Slot) -> R) -> Option<R> {
        let block = self.queue.take()?;
        let (step, end) = block.last_run()?;
        let result = f(step);
        block.pass(end);
        Some(result)
    }

    /// Returns whether a step has not finished running.
    #[inline]
    pub(super) fn has_steps(&self) -> bool {
        self.steps.get() > 0
    }

    #[inline]
    fn push_entry<S: Slot>(&self, is_box: bool, step: impl FnOnce() -> S) {
        let block = self.take_with_space(words_for::<S>());
        block.push(step);
        if is_box {
            block.has_boxes.set(true);
        }
        self.added.set(Some(block));
    }

    /// Takes out the newest block, or a new one, with space for this many words.
    fn take_with_space(&self, words: usize) -> Block {
        match self.added.take() {
            Some(block) if WORDS - block.end.get() >= words => block,
            full => Block::new(full),
        }
    }

    /// Takes the added blocks, the oldest first.
    fn take_added(&self) -> Option<Block> {
        let mut block = self.added.take()?;
        let mut later = None;
        while let Some(older) = block.next.replace(later) {
            later = Some(block);
            block = older;
        }
        Some(block)
    }
}

impl Drop for CallbackQueue {
    /// Blocks are dropped one after the other: a step may own the owner of another queue, and a
    /// block owns the next block.
    fn drop(&mut self) {
        for list in [&self.queue, &self.added] {
            let mut list = list.take();
            while let Some(block) = list {
                list = block.next.take();
            }
        }
    }
}

/// A block of steps and their only owner. Unlike a box it may be moved while pointers into it
/// exist.
struct Block(NonNull<Body>);

struct Body {
    head: Head,
    words: UnsafeCell<[Word; WORDS]>,
}

/// The bookkeeping of a block.
struct Head {
    next: Cell<Option<Block>>,
    /// The offset of the first entry that may need a drop.
    first: Cell<usize>,
    /// The offset of the entry that ran last; all entries before it have run.
    last: Cell<Option<usize>>,
    /// The offset behind the last entry.
    end: Cell<usize>,
    has_boxes: Cell<bool>,
    /// The block owns steps, which must stay on their thread.
    owns: PhantomData<Box<dyn Slot>>,
}

impl Block {
    /// Makes an empty block in place: most of its words stay uninitialised.
    fn new(next: Option<Self>) -> Self {
        let mut body = Box::<Body>::new_uninit();
        // SAFETY: the allocation is valid, and this is the only pointer to it.
        let location = unsafe { &raw mut (*body.as_mut_ptr()).head };
        let head = Head {
            next: Cell::new(next),
            first: Cell::new(0),
            last: Cell::new(None),
            end: Cell::new(0),
            has_boxes: Cell::new(false),
            owns: PhantomData,
        };
        // SAFETY: as above.
        unsafe { location.write(head) };
        // SAFETY: the head was written, and the words may be uninitialised.
        let body = unsafe { body.assume_init() };
        Self(NonNull::from(Box::leak(body)))
    }
}

impl Deref for Block {
    type Target = Body;

    #[inline]
    fn deref(&self) -> &Body {
        // SAFETY: the body lives as long as its owner, and changes only behind shared references.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Block {
    /// Drops the steps, then the body. The body's own destructor would borrow all steps at once.
    fn drop(&mut self) {
        while self.first.get() < self.end.get() {
            let at = self.first.get();
            let (step, location) = (self.header(at), self.step(at).location());
            // From here on the entry counts as removed, even if its destructor panics.
            self.first.set(at + words_of(self.step(at)));
            report::contain(Origin::Destructor, location, || {
                // SAFETY: the step is alive (invariant 2), and no other reference to it can be made
                // any more.
                unsafe { step.drop_in_place() }
            });
        }
        // SAFETY: `new` took the body out of a box, and this is its only owner.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Body {
    /// Adds a step.
    #[inline]
    fn push<S: Slot>(&self, step: impl FnOnce() -> S) {
        let at = self.end.get();
        assert!(align_of::<S>() <= align_of::<Word>() && words_for::<S>() <= WORDS - at);
        let entry = self.entry(at);
        // SAFETY: there is space for the entry, and its step begins here.
        let location = unsafe { entry.add(HEADER) }.cast::<S>();
        // SAFETY: there is space for the step, and a word's alignment suffices for it.
        unsafe { location.write(step()) };
        let header: *mut dyn Slot = location;
        // SAFETY: the header's words are sized and aligned for such a pointer.
        unsafe { entry.cast::<*mut dyn Slot>().write(header) };
        self.end.set(at + words_for::<S>());
    }

    /// Returns the step that ran last, and the offset behind its entry.
    #[inline]
    fn last_run(&self) -> Option<(&dyn Slot, usize)> {
        let at = self.last.get()?;
        let step = self.step(at);
        Some((step, at + words_of(step)))
    }

    /// Marks the entries up to `at` as run and emptied: nothing in them needs a drop, except a box.
    #[inline]
    fn pass(&self, at: usize) {
        if !self.has_boxes.get() {
            self.first.set(at);
        }
    }

    /// Returns the step of the entry at `at`, which must be the beginning of an entry.
    #[inline]
    fn step(&self, at: usize) -> &dyn Slot {
        let step = self.header(at);
        // SAFETY: the step is alive (invariant 2), and changes only behind shared references.
        unsafe { &*step }
    }

    /// Returns the same step as a pointer.
    #[inline]
    fn header(&self, at: usize) -> *mut dyn Slot {
        // SAFETY: an entry begins with a pointer to its step (invariant 2).
        unsafe { self.entry(at).cast::<*mut dyn Slot>().read() }
    }

    #[inline]
    fn entry(&self, at: usize) -> *mut Word {
        debug_assert!(at < WORDS);
        let words = self.words.get().cast::<Word>();
        // SAFETY: the offset of an entry is inside the block.
        unsafe { words.add(at) }
    }
}

impl Deref for Body {
    type Target = Head;

    #[inline]
    fn deref(&self) -> &Head {
        &self.head
    }
}

/// A step that does not fit into a block.
struct Boxed<S>(Box<S>);

impl<S: Slot> Slot for Boxed<S> {
    fn run(&self, before: &dyn Slot) -> Option<Rc<Core>> {
        self.0.run(before)
    }

    fn result(&self) -> &dyn Any {
        self.0.result()
    }

    fn place(&self) -> &dyn AnyPlace {
        self.0.place()
    }

    fn group(&self) -> Option<&(dyn Group + 'static)> {
        self.0.group()
    }

    fn fired(&self) -> Vec<Rc<Core>> {
        self.0.fired()
    }

    fn location(&self) -> &'static Location<'static> {
        self.0.location()
    }
}

type Word = MaybeUninit<u64>;

/// Returns the number of words in the entry of a step.
#[inline]
fn words_of(step: &dyn Slot) -> usize {
    HEADER + size_of_val(step).div_ceil(size_of::<Word>())
}

/// Returns the number of words in the entry of a step of this type.
const fn words_for<S>() -> usize {
    HEADER + size_of::<S>().div_ceil(size_of::<Word>())
}

/// The number of words in an entry before its step: enough for a pointer.
const HEADER: usize = size_of::<*mut dyn Slot>().div_ceil(size_of::<Word>());

/// The number of words in a block: enough for five callbacks of the usual size.
const WORDS: usize = 35;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;
    use crate::defer::Deferred;

    #[test]
    fn a_callback_queue_is_not_send() {
        trait Ambiguous<A> {
            fn check() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + Send> Ambiguous<u8> for T {}
        // Does not compile if `CallbackQueue` is `Send`: there would be two implementations.
        <CallbackQueue as Ambiguous<_>>::check();
    }

    #[test]
    fn steps_of_every_size_and_alignment_are_aligned_and_stay_in_order() {
        #[repr(align(32))]
        struct Aligned(u64);
        for fired in [false, true] {
            let (mut deferred, resolver) = Deferred::pair();
            let mut resolver = Some(resolver);
            if fired {
                // With a pause the source is stored before all steps.
                let pause = deferred.pause();
                resolver.take().unwrap().callback(0_u64);
                deferred = deferred.map(|sum| sum);
                pause.unpause();
            }
            for n in 0..50_u64 {
                let (small, big, aligned) = (n as u8, [n; 40], Aligned(n));
                deferred = deferred
                    .map(|sum| sum)
                    .map(move |sum| sum + u64::from(small))
                    .map(move |sum| sum + big[39])
                    .map(move |sum| {
                        let aligned = &aligned;
                        assert!(ptr::from_ref(aligned).is_aligned());
                        sum + aligned.0
                    })
                    .map(|sum| (Aligned(sum), [sum; 40]))
                    .map(|(aligned, many)| {
                        assert_eq!(aligned.0, many[39]);
                        aligned.0
                    });
            }
            let deferred = deferred.map(|sum| assert_eq!(sum, 3 * 49 * 50 / 2));
            if let Some(resolver) = resolver {
                resolver.callback(0);
            }
            assert!(deferred.is_settled());
            drop(deferred.add_errback(|failure| panic!("{failure}")));
        }
    }
}
