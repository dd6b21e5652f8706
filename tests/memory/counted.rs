//! The allocator of this process: the system's, with counts for each thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// The number of allocations that this thread has made.
    pub(crate) static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// The number of allocations minus the number of frees.
    pub(crate) static LIVE: Cell<isize> = const { Cell::new(0) };
    /// The number of bytes in these.
    pub(crate) static BYTES: Cell<isize> = const { Cell::new(0) };
    /// The largest number of bytes so far.
    pub(crate) static PEAK: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe by nature")]
// SAFETY: everything is passed on to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = LIVE.try_with(|live| live.set(live.get() + 1));
        let added = BYTES.try_with(|bytes| {
            bytes.set(bytes.get() + layout.size() as isize);
            bytes.get()
        });
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(added.unwrap_or(0))));
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, location: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get() - 1));
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() - layout.size() as isize));
        // SAFETY: the caller's contract is the system's.
        unsafe { System.dealloc(location, layout) }
    }
}
