//! The allocator of this process: the system's, which counts what each thread does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// How many allocations this thread has made.
    pub(crate) static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// How many more it has made than it has freed.
    pub(crate) static LIVE: Cell<isize> = const { Cell::new(0) };
    /// How many bytes those have.
    pub(crate) static BYTES: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe by nature")]
// SAFETY: everything is passed on to the system's allocator, which keeps the promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = LIVE.try_with(|live| live.set(live.get() + 1));
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size() as isize));
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, location: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get() - 1));
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() - layout.size() as isize));
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(location, layout) }
    }
}
