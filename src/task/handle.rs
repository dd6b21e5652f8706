//! [`Handle`]: what the handle of a task would have to store, stored with the task.
//!
//! So a [`Task`](super::Task) is a single pointer: a hundred of them take less than a kilobyte.
//! Most tasks have no info and never use the flags.
//!
//! The handle and the future, which are on the home thread, read and write it; no other code does.
//! Another thread may drop the last reference to a task. By then the handle is gone, and has taken
//! out its info, which must not be dropped there.

#![allow(
    unsafe_code,
    reason = "a handle and its flags share the word of a pointer, in a place that is `Sync`"
)]

use std::cell::Cell;
use std::ptr::null;
use std::rc::Rc;

use super::info::TaskInfo;

/// The state of a task's handle: the `Rc` of its info, or null; in the lowest bits the flags below.
pub(super) struct Handle(Cell<*const TaskInfo>);

/// The handle was polled.
const POLLED: usize = 1;
/// The handle has returned the result.
const TAKEN: usize = 2;
/// The future was dropped before it had a result.
const DROPPED: usize = 4;

// SAFETY: it is used on the home thread only (see the module docs), and has no destructor.
unsafe impl Send for Handle {}
// SAFETY: as for `Send`.
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) const fn new() -> Self {
        Self(Cell::new(null()))
    }

    /// Notes that the handle is polled. Returns whether the future was dropped without a result.
    #[inline]
    pub(super) fn begin_poll(&self) -> bool {
        assert!(
            !self.has(TAKEN),
            "a task is not polled after it gave its result"
        );
        self.note(POLLED);
        self.has(DROPPED)
    }

    /// Notes that the handle returns the result.
    #[inline]
    pub(super) fn end_poll(&self) {
        self.note(TAKEN);
    }

    /// Notes that the future was dropped before it had a result.
    pub(super) fn future_dropped(&self) {
        self.note(DROPPED);
    }

    /// Returns whether the handle has returned the result.
    #[inline]
    pub(super) fn is_taken(&self) -> bool {
        self.has(TAKEN)
    }

    /// Returns whether the handle was polled, and has not returned the result.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.0.get().addr() & (POLLED | TAKEN) == POLLED
    }

    /// Returns the info of the handle.
    #[inline]
    pub(super) fn info(&self) -> Option<&TaskInfo> {
        let info = self.info_ptr();
        // SAFETY: it is the pointer of an `Rc` that the handle takes out when it ends.
        unsafe { info.as_ref() }
    }

    /// Returns the info of the handle, to be stored.
    pub(super) fn shared_info(&self) -> Option<Rc<TaskInfo>> {
        let info = self.info_ptr();
        (!info.is_null()).then(|| {
            // SAFETY: it is the pointer of an `Rc`.
            unsafe { Rc::increment_strong_count(info) };
            // SAFETY: the count was just incremented for this `Rc`.
            unsafe { Rc::from_raw(info) }
        })
    }

    /// Gives the handle its info.
    pub(super) fn set_info(&self, info: Rc<TaskInfo>) {
        let before = self.take_info();
        let flags = self.0.get().addr();
        self.0.set(Rc::into_raw(info).map_addr(|addr| addr | flags));
        drop(before);
    }

    /// Takes the info from the handle, which ends.
    #[inline]
    pub(super) fn take_info(&self) -> Option<Rc<TaskInfo>> {
        let info = self.info_ptr();
        if info.is_null() {
            return None;
        }
        let flags = self.0.get().addr() & FLAGS;
        self.0.set(null::<TaskInfo>().map_addr(|_| flags));
        // SAFETY: `set_info` made the pointer of an `Rc`, and it is converted back once.
        Some(unsafe { Rc::from_raw(info) })
    }

    #[inline]
    fn info_ptr(&self) -> *const TaskInfo {
        self.0.get().map_addr(|addr| addr & !FLAGS)
    }

    #[inline]
    fn has(&self, flag: usize) -> bool {
        self.0.get().addr() & flag != 0
    }

    #[inline]
    fn note(&self, flag: usize) {
        self.0.set(self.0.get().map_addr(|addr| addr | flag));
    }
}

const FLAGS: usize = POLLED | TAKEN | DROPPED;

/// The lowest bits of its address are free.
const _: () = assert!(align_of::<TaskInfo>() > FLAGS);
