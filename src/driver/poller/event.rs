//! The input and output of a poller: keys, interests, events.

#[cfg(unix)]
use std::os::fd::BorrowedFd;
#[cfg(windows)]
use std::os::windows::io::BorrowedSocket;
use std::time::Duration;

/// The readiness of one source, as a wait reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The key the source was added with.
    pub(crate) key: usize,
    /// The flags, as poll(2) has them: those of epoll have the same values.
    flags: u8,
}

impl Event {
    /// Returns an event with the flags of poll(2), of which at least one is to be set.
    #[inline]
    pub(in crate::driver) fn with_flags(key: usize, flags: u32) -> Self {
        let flags = (flags & u32::from(IN | PRI | OUT | ERR | HUP)) as u8;
        Self { key, flags }
    }

    /// Returns an event; one with a hang-up is readable and writable as well.
    pub(in crate::driver) fn new(key: usize, readable: bool, writable: bool, hangup: bool) -> Self {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = flag(readable, IN) | flag(writable, OUT) | flag(hangup, HUP);
        Self { key, flags }
    }

    /// Returns whether a read will not block; it may find the end or an error.
    pub(crate) fn readable(self) -> bool {
        self.flags & (IN | PRI | ERR | HUP) != 0
    }

    /// Returns whether a write will not block; it may find an error.
    pub(crate) fn writable(self) -> bool {
        self.flags & (OUT | ERR | HUP) != 0
    }

    /// Returns whether an error or a hang-up was among the flags. False where the platform does
    /// not say.
    pub(crate) fn hangup(self) -> bool {
        self.flags & (ERR | HUP) != 0
    }

    /// Returns whether there is something to read, and nothing else.
    #[inline]
    pub(crate) fn is_read_only(self) -> bool {
        self.flags & !(IN | PRI) == 0
    }
}

/// The readiness of a descriptor for which the reactor calls its hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Neither reading nor writing. A hang-up is reported at most once.
    None,
    /// Reading: a read will not block.
    Read,
    /// Writing: a write will not block.
    Write,
    /// Reading and writing.
    Both,
}

impl Interest {
    /// Returns the interest in reading, writing, or both.
    pub(crate) fn of(read: bool, write: bool) -> Self {
        match (read, write) {
            (false, false) => Self::None,
            (true, false) => Self::Read,
            (false, true) => Self::Write,
            (true, true) => Self::Both,
        }
    }

    /// Whether readability is asked for.
    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Both)
    }

    /// Whether writability is asked for.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Both)
    }
}

/// A borrowed descriptor, as the machine's poller takes it.
#[cfg(unix)]
pub(in crate::driver) type Borrowed<'a> = BorrowedFd<'a>;
#[cfg(windows)]
pub(in crate::driver) type Borrowed<'a> = BorrowedSocket<'a>;

/// The key of the wake descriptor. The key above it is the poller's.
pub(in crate::driver) const WAKE_KEY: usize = usize::MAX - 1;

/// The longest wait on the machine: kernels differ in the timeouts that they accept.
pub(in crate::driver) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

const IN: u8 = 1;
const PRI: u8 = 1 << 1;
const OUT: u8 = 1 << 2;
const ERR: u8 = 1 << 3;
const HUP: u8 = 1 << 4;
