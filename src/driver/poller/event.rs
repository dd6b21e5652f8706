//! What a poller is asked, and what it reports: keys, interests, events.

#[cfg(unix)]
use std::os::fd::BorrowedFd;
#[cfg(windows)]
use std::os::windows::io::BorrowedSocket;
use std::time::Duration;

/// What a wait found out about one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The key the source was added with.
    pub(crate) key: usize,
    /// A read will not block; it may find the end or an error.
    pub(crate) readable: bool,
    /// A write will not block; it may find an error.
    pub(crate) writable: bool,
    /// An error or a hang-up was among the flags; then it is also readable and writable. False where the
    /// platform does not say.
    pub(crate) hangup: bool,
}

impl Event {
    /// Is there something to read, and nothing else to be told?
    #[inline]
    pub(crate) fn is_read_only(self) -> bool {
        self.readable && !self.writable && !self.hangup
    }
}

/// Which readiness of a source is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Disarmed: nothing is reported but a hang-up, and that at most once (invariant 3 of `driver`).
    Nothing,
    /// When a read will not block.
    Read,
    /// When a write will not block.
    Write,
    /// Either.
    Both,
}

impl Interest {
    /// What asks for these two.
    pub(crate) fn of(read: bool, write: bool) -> Self {
        match (read, write) {
            (false, false) => Self::Nothing,
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

/// What the machine's poller takes.
#[cfg(unix)]
pub(in crate::driver) type Borrowed<'a> = BorrowedFd<'a>;
#[cfg(windows)]
pub(in crate::driver) type Borrowed<'a> = BorrowedSocket<'a>;

/// The key of our own bell. The one above it is the poller's.
pub(in crate::driver) const BELL: usize = usize::MAX - 1;

/// The longest a wait takes on the machine: kernels differ in what they take for too long.
pub(in crate::driver) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
