//! [`CountedWakers`]: counts the wakers that foreign code keeps, for tests in memory.
//!
//! # The idea
//!
//! A test is finished when nothing is ready and no code is left that could wake it. A waker does
//! not tell how many clones it has. So such a test polls with another kind of waker, an [`Arc`]
//! that has a count. Wakers that this crate stores need no counting: it stores the task's own
//! waker, which [`own_waker`] finds. Wakers that are still counted after the poll belong to foreign
//! code: to a channel, for instance, at whose other end there may be a thread.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};

use crate::context;

/// Counts the wakers that foreign code keeps, in one reactor.
#[derive(Default)]
pub(crate) struct CountedWakers {
    is_counting: Cell<bool>,
    kept: KeptWakers,
}

/// The wakers that were still referenced when their poll was over.
type KeptWakers = Rc<RefCell<Vec<Weak<CountedWaker>>>>;

/// A counted waker, in place of the task's own.
struct CountedWaker(Waker);

impl Wake for CountedWaker {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
    }
}

impl CountedWakers {
    /// Begins to count.
    #[cfg(any(doc, feature = "testing"))]
    pub(crate) fn count(&self) {
        self.is_counting.set(true);
    }

    /// Returns whether counting is off.
    #[inline]
    pub(super) fn is_off(&self) -> bool {
        !IS_BUILT || !self.is_counting.get()
    }

    /// Returns whether foreign code keeps a waker.
    pub(crate) fn any_kept(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|counted| counted.strong_count() > 0);
        !kept.is_empty()
    }

    /// Polls with a counted waker.
    #[inline]
    pub(crate) fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        match self.is_off() {
            true => poll(cx),
            false => poll_counted(&self.kept, cx, poll),
        }
    }
}

/// Polls a child future, for which `cx` has a separate waker, with a counted waker.
pub(crate) fn poll_with_counted_waker<R>(
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> R,
) -> R {
    match present() {
        Some(present) => poll_counted(&present.kept, cx, poll),
        None => poll(cx),
    }
}

#[cold]
fn poll_counted<R>(
    kept: &KeptWakers,
    cx: &Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> R,
) -> R {
    let counted = Arc::new(CountedWaker(cx.waker().clone()));
    let present = Present {
        counted: counted.clone(),
        kept: kept.clone(),
    };
    let entered = Polled(replace(Some(Rc::new(present))));
    let waker = Waker::from(counted.clone());
    let result = poll(&mut Context::from_waker(&waker));
    drop((entered, waker));
    if Arc::strong_count(&counted) > 1 {
        let mut kept = kept.borrow_mut();
        if kept.len() == kept.capacity() {
            kept.retain(|counted| counted.strong_count() > 0);
        }
        kept.push(Arc::downgrade(&counted));
    }
    result
}

/// The counted waker of the present poll.
struct Present {
    counted: Arc<CountedWaker>,
    kept: KeptWakers,
}

/// Restores the previous poll, also after a panic.
struct Polled(Option<Rc<Present>>);

impl Drop for Polled {
    fn drop(&mut self) {
        let before = self.0.take();
        drop(replace(before));
    }
}

/// Returns the poll that runs, if its waker is counted.
#[inline]
fn present() -> Option<Rc<Present>> {
    match IS_BUILT {
        true => context::with(|thread| thread.counted.get()),
        false => None,
    }
}

/// Whether this build has reactors in memory; if not, the compiler removes the code that counts.
const IS_BUILT: bool = cfg!(feature = "testing");

/// The waker that this crate stores, and compares with the one it has stored.
pub(crate) enum OwnWaker<'a> {
    Borrowed(&'a Waker),
    Owned(Waker),
}

impl Deref for OwnWaker<'_> {
    type Target = Waker;

    #[inline]
    fn deref(&self) -> &Waker {
        match self {
            Self::Borrowed(waker) => waker,
            Self::Owned(waker) => waker,
        }
    }
}

/// Calls `f` with the waker that [`own_waker`] returns.
#[inline(always)]
pub(crate) fn with_own_waker<R>(cx: &Context<'_>, f: impl FnOnce(&Waker) -> R) -> R {
    match own_waker(cx) {
        OwnWaker::Borrowed(waker) => f(waker),
        OwnWaker::Owned(waker) => f(&waker),
    }
}

/// Returns the task's own waker, if that of `cx` is a counted one in its place; otherwise that of
/// `cx`.
#[inline]
pub(crate) fn own_waker<'a>(cx: &Context<'a>) -> OwnWaker<'a> {
    let given = cx.waker();
    match IS_BUILT && context::with(|thread| thread.counted_waker_data.get()) == given.data() {
        true => find_own(given),
        false => OwnWaker::Borrowed(given),
    }
}

#[cold]
fn find_own(given: &Waker) -> OwnWaker<'_> {
    match present() {
        Some(present) => OwnWaker::Owned(present.counted.0.clone()),
        None => OwnWaker::Borrowed(given),
    }
}

/// Sets the poll that runs; returns the previous one.
fn replace(present: Option<Rc<Present>>) -> Option<Rc<Present>> {
    let data = present.as_ref().map_or(std::ptr::null(), |present| {
        Arc::as_ptr(&present.counted).cast()
    });
    context::with(|thread| {
        thread.counted_waker_data.set(data);
        thread.counted.replace(present)
    })
}
