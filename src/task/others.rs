//! Counts the wakers that code of others keeps, for tests in memory: [`OthersWakers`].
//!
//! # The idea
//!
//! A test has come to rest for good when nothing is ready and nobody is left who could wake it. A waker does not tell how many
//! clones it has. So such a test polls with a waker of its own kind, which is an [`Arc`] and has a count. What this crate
//! keeps is known without counting: it keeps the task's waker itself, which [`own_waker`] finds. Whatever is still counted
//! after the poll is in somebody else's hands: a channel's, say, at whose other end there may be a thread.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};

use crate::context;

/// The wakers that were given to code of others, in one reactor.
#[derive(Default)]
pub(crate) struct OthersWakers {
    counts: Cell<bool>,
    kept: Kept,
}

/// Those that somebody had when the poll was over.
type Kept = Rc<RefCell<Vec<Weak<Lent>>>>;

/// What a future is polled with while they are counted.
struct Lent(Waker);

impl Wake for Lent {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
    }
}

impl OthersWakers {
    /// From now on they are counted.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn count(&self) {
        self.counts.set(true);
    }

    /// Are they not counted?
    #[inline]
    pub(super) fn are_not_counted(&self) -> bool {
        !self.counts.get()
    }

    /// Has anybody a waker whom nobody knows?
    pub(crate) fn are_there(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|lent| lent.strong_count() > 0);
        !kept.is_empty()
    }

    /// Polls something.
    #[inline]
    pub(crate) fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        match self.counts.get() {
            false => poll(cx),
            true => poll_counted(&self.kept, cx, poll),
        }
    }
}

/// Polls a part of what is being polled, which has a waker of its own in `cx`.
pub(crate) fn poll_part<R>(cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
    match context::with(|thread| thread.lent.get::<Present>()) {
        Some(present) => poll_counted(&present.kept, cx, poll),
        None => poll(cx),
    }
}

#[cold]
fn poll_counted<R>(kept: &Kept, cx: &Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> R) -> R {
    let lent = Arc::new(Lent(cx.waker().clone()));
    let present = Present {
        lent: lent.clone(),
        kept: kept.clone(),
    };
    let entered = Polled(replace(Some(Rc::new(present))));
    let waker = Waker::from(lent.clone());
    let result = poll(&mut Context::from_waker(&waker));
    drop((entered, waker));
    if Arc::strong_count(&lent) > 1 {
        let mut kept = kept.borrow_mut();
        if kept.len() == kept.capacity() {
            kept.retain(|lent| lent.strong_count() > 0);
        }
        kept.push(Arc::downgrade(&lent));
    }
    result
}

/// What is being polled.
struct Present {
    lent: Arc<Lent>,
    kept: Kept,
}

/// Puts back what was polled before, also after a panic.
struct Polled(Option<Rc<Present>>);

impl Drop for Polled {
    fn drop(&mut self) {
        let before = self.0.take();
        drop(replace(before));
    }
}

/// The waker that this crate keeps, and compares with what it kept.
pub(crate) enum OwnWaker<'a> {
    Given(&'a Waker),
    Found(Waker),
}

impl Deref for OwnWaker<'_> {
    type Target = Waker;

    #[inline]
    fn deref(&self) -> &Waker {
        match self {
            Self::Given(waker) => waker,
            Self::Found(waker) => waker,
        }
    }
}

/// Calls `f` with the waker that [`own_waker`] gives.
#[inline(always)]
pub(crate) fn with_own_waker<R>(cx: &Context<'_>, f: impl FnOnce(&Waker) -> R) -> R {
    match own_waker(cx) {
        OwnWaker::Given(waker) => f(waker),
        OwnWaker::Found(waker) => f(&waker),
    }
}

/// The task's own waker, if `cx` has one in its place that is counted; else that of `cx`.
#[inline]
pub(crate) fn own_waker<'a>(cx: &Context<'a>) -> OwnWaker<'a> {
    let given = cx.waker();
    match context::with(|thread| thread.lent_data.get()) == given.data() {
        true => find_own(given),
        false => OwnWaker::Given(given),
    }
}

#[cold]
fn find_own(given: &Waker) -> OwnWaker<'_> {
    match context::with(|thread| thread.lent.get::<Present>()) {
        Some(present) => OwnWaker::Found(present.lent.0.clone()),
        None => OwnWaker::Given(given),
    }
}

/// Has `present` be what is polled; gives what was.
fn replace(present: Option<Rc<Present>>) -> Option<Rc<Present>> {
    let data = present.as_ref().map_or(std::ptr::null(), |present| {
        Arc::as_ptr(&present.lent).cast()
    });
    context::with(|thread| {
        thread.lent_data.set(data);
        thread.lent.replace(present)
    })
}
