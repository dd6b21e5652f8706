//! [`OthersWakers`]: counts the wakers that foreign code keeps, for tests in memory.
//!
//! # The idea
//!
//! A test is at rest for good when nothing is ready and no code is left that could wake it. A waker
//! does not tell how many clones it has. So such a test polls with a waker of its own kind, an
//! [`Arc`] that has a count. What this crate stores is known without counting: it stores the task's
//! waker itself, which [`own_waker`] finds. Wakers that are still counted after the poll belong to
//! foreign code: to a channel, for instance, at whose other end there may be a thread.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};

use crate::context;

/// The wakers that were given to foreign code, in one reactor.
#[derive(Default)]
pub(crate) struct OthersWakers {
    counts: Cell<bool>,
    kept: Kept,
}

/// The wakers that were still referenced when the poll was over.
type Kept = Rc<RefCell<Vec<Weak<Lent>>>>;

/// The waker with which a future is polled while they are counted.
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
    /// Begins to count.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn count(&self) {
        self.counts.set(true);
    }

    /// Returns whether they are not counted.
    #[inline]
    pub(super) fn are_not_counted(&self) -> bool {
        !self.counts.get()
    }

    /// Returns whether foreign code has a waker.
    pub(crate) fn are_there(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|lent| lent.strong_count() > 0);
        !kept.is_empty()
    }

    /// Polls with a counted waker.
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

/// Restores what was polled before, also after a panic.
struct Polled(Option<Rc<Present>>);

impl Drop for Polled {
    fn drop(&mut self) {
        let before = self.0.take();
        drop(replace(before));
    }
}

/// The waker that this crate stores, and compares with the one it has stored.
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

/// Calls `f` with the waker that [`own_waker`] returns.
#[inline(always)]
pub(crate) fn with_own_waker<R>(cx: &Context<'_>, f: impl FnOnce(&Waker) -> R) -> R {
    match own_waker(cx) {
        OwnWaker::Given(waker) => f(waker),
        OwnWaker::Found(waker) => f(&waker),
    }
}

/// Returns the task's own waker, if that of `cx` is a counted one in its place; otherwise that of
/// `cx`.
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

/// Makes `present` what is being polled; returns what was.
fn replace(present: Option<Rc<Present>>) -> Option<Rc<Present>> {
    let data = present.as_ref().map_or(std::ptr::null(), |present| {
        Arc::as_ptr(&present.lent).cast()
    });
    context::with(|thread| {
        thread.lent_data.set(data);
        thread.lent.replace(present)
    })
}
