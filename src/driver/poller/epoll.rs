//! Waits on the poller's own descriptor: one system call instead of the five of `Poller::wait`.
//!
//! Registrations stay with `polling`, which puts the key into the event's data unchanged. This is
//! verified once, when the driver is made (see `Machine::new`), not assumed.
//!
//! Without a timeout the call is plain `epoll_wait`. With one it is `epoll_pwait2`, exact to the
//! nanosecond; where that is missing or forbidden, `epoll_wait`, in milliseconds rounded up.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::event::{Event, LONGEST, WAKE_KEY};

/// The event buffer of a wait, and what was learnt about the kernel.
pub(super) struct Epoll {
    seen: RefCell<Box<[epoll::Event]>>,
    /// Cleared for good when `epoll_pwait2` turns out to be missing.
    precise: Cell<bool>,
}

/// What a wait found besides events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wakes {
    /// Whether the wake descriptor was written.
    pub(super) wake_fd: bool,
    /// Whether the poller was notified; it stays so until `Poller::wait` is called.
    pub(super) notified: bool,
}

impl Epoll {
    pub(super) fn new() -> Self {
        let nothing = epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        };
        Self {
            seen: RefCell::new(vec![nothing; AT_ONCE].into_boxed_slice()),
            precise: Cell::new(true),
        }
    }

    /// Makes one that waits in milliseconds, as on an older kernel.
    #[cfg(test)]
    pub(super) fn coarse() -> Self {
        let epoll = Self::new();
        epoll.precise.set(false);
        epoll
    }

    /// Waits on `poller` and appends the events of ready sources.
    pub(super) fn wait(
        &self,
        poller: BorrowedFd<'_>,
        timeout: Option<Duration>,
        events: &mut Vec<Event>,
    ) -> io::Result<Wakes> {
        let mut seen = self.seen.borrow_mut();
        let count = match timeout {
            None => epoll::wait(poller, &mut seen[..], None),
            Some(Duration::ZERO) => epoll::wait(poller, &mut seen[..], Some(&Timespec::default())),
            Some(timeout) => self.wait_for(poller, &mut seen, timeout.min(LONGEST)),
        };
        let count = match count {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut met = Wakes::default();
        events.reserve(count);
        for event in &seen[..count] {
            let (key, flags) = (event.data.u64() as usize, event.flags);
            if key >= WAKE_KEY {
                met.wake_fd |= key == WAKE_KEY;
                met.notified |= key != WAKE_KEY;
                continue;
            }
            events.push(Event::with_flags(key, flags.bits()));
        }
        Ok(met)
    }

    /// Waits with a timeout that is neither zero nor infinite.
    fn wait_for(
        &self,
        poller: BorrowedFd<'_>,
        seen: &mut [epoll::Event],
        timeout: Duration,
    ) -> Result<usize, Errno> {
        if self.precise.get() {
            match pwait2(poller, seen, timeout) {
                Err(Errno::NOSYS | Errno::PERM) => self.precise.set(false),
                done => return done,
            }
        }
        // The wrapper rounds up to a millisecond.
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos() as _,
        };
        epoll::wait(poller, seen, Some(&timeout))
    }
}

/// Calls `epoll_pwait2` without changing the signal mask.
fn pwait2(
    poller: BorrowedFd<'_>,
    seen: &mut [epoll::Event],
    timeout: Duration,
) -> Result<usize, Errno> {
    let timeout = KernelTimespec {
        seconds: timeout.as_secs() as i64,
        nanoseconds: i64::from(timeout.subsec_nanos()),
    };
    // SAFETY: the arguments are those of epoll_pwait2(2). The descriptor is borrowed, so open;
    // `seen` is exclusively borrowed for the length given, and its elements have the kernel's
    // layout (rustix hands the same type to epoll_pwait) and are valid for any bits; `timeout`
    // lives until the call returns and has the layout of the kernel's 64-bit timespec on every
    // architecture; there is no signal mask.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            poller.as_raw_fd(),
            seen.as_mut_ptr(),
            seen.len() as libc::c_int,
            &raw const timeout,
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    usize::try_from(count).map_err(|_| {
        let error = io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
    })
}

/// The kernel's `struct __kernel_timespec`.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// The most events that one wait takes. The others are level-triggered and come with the next wait,
/// after the tasks that these events have made ready: with a thousand connections, a connection's
/// data are still in the cache when its task runs.
const AT_ONCE: usize = 128;
