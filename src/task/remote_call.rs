//! [`RemoteCall`]: a call on its way to the loop's thread, small ones without an allocation.

#![allow(
    unsafe_code,
    reason = "memory that one thread allocates and another frees costs a third of a call"
)]

use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};
use std::ptr;

/// A closure that is called at most once, on any thread.
///
/// A closure of up to three words lies in the value itself, a larger one in a box.
pub(crate) struct RemoteCall {
    closure: Space,
    /// Moves the closure out of its space; then calls it, or only drops it.
    take: unsafe fn(*mut Space, Take),
}

type Space = MaybeUninit<[usize; 3]>;

#[derive(Clone, Copy, PartialEq)]
enum Take {
    Call,
    Drop,
}

// SAFETY: `new` takes closures that are `Send`, and nothing else is stored.
unsafe impl Send for RemoteCall {}

impl RemoteCall {
    pub(crate) fn new<F: FnOnce() + Send + 'static>(f: F) -> Self {
        match fits::<F>() {
            true => Self::store(f),
            false => Self::store(Box::new(f)),
        }
    }

    fn store<F: FnOnce() + Send + 'static>(f: F) -> Self {
        assert!(fits::<F>());
        let mut closure = Space::uninit();
        // SAFETY: `F` fits into the space, which is aligned for it.
        unsafe { closure.as_mut_ptr().cast::<F>().write(f) };
        Self {
            closure,
            take: take::<F>,
        }
    }

    /// Calls the closure.
    #[inline]
    pub(crate) fn call(self) {
        let mut this = ManuallyDrop::new(self);
        let take = this.take;
        // SAFETY: `take` belongs to what is stored, which is not touched again: `this` is not
        // dropped.
        unsafe { take(&raw mut this.closure, Take::Call) }
    }
}

impl Drop for RemoteCall {
    fn drop(&mut self) {
        // SAFETY: `take` belongs to what is stored, which is not touched again.
        unsafe { (self.take)(&raw mut self.closure, Take::Drop) }
    }
}

/// Returns whether a value of the type fits into the space.
const fn fits<F>() -> bool {
    size_of::<F>() <= size_of::<Space>() && align_of::<F>() <= align_of::<Space>()
}

/// # Safety
///
/// The space holds an `F`, which nothing uses afterwards.
unsafe fn take<F: FnOnce()>(space: *mut Space, how: Take) {
    // SAFETY: the caller promises it.
    let f = unsafe { ptr::read(space.cast::<F>()) };
    match how {
        Take::Call => f(),
        Take::Drop => drop(f),
    }
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_closure_of_any_size_is_called_once_or_dropped_once() {
        fn check<const N: usize>() {
            let calls = Arc::new(AtomicUsize::new(0));
            let make = || {
                let (calls, ballast) = (calls.clone(), [7_usize; N]);
                RemoteCall::new(move || {
                    calls.fetch_add(1 + ballast.iter().sum::<usize>(), Ordering::Relaxed);
                })
            };
            make().call();
            assert_eq!(calls.load(Ordering::Relaxed), 1 + 7 * N);
            drop(make());
            assert_eq!(calls.load(Ordering::Relaxed), 1 + 7 * N);
            assert_eq!(Arc::strong_count(&calls), 1);
        }
        check::<0>();
        check::<2>();
        check::<3>();
        check::<20>();
    }

    #[test]
    fn a_closure_with_a_large_alignment_lies_in_a_box() {
        #[repr(align(64))]
        struct Aligned(u8);
        let (value, seen) = (Aligned(7), Arc::new(AtomicUsize::new(0)));
        let log = seen.clone();
        RemoteCall::new(move || {
            let value = &value;
            assert!(ptr::from_ref(value).addr().is_multiple_of(64));
            log.store(usize::from(value.0), Ordering::Relaxed);
        })
        .call();
        assert_eq!(seen.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn what_a_panicking_closure_holds_is_dropped() {
        let held = Arc::new(());
        let inside = held.clone();
        let call = RemoteCall::new(move || {
            let _held = &inside;
            panic!("as planned");
        });
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call.call()));
        assert!(caught.is_err());
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
