//! The choice of the system call that a reactor waits with: [`Poller`].

use std::fmt;
use std::io;

/// A system call that waits for many descriptors.
///
/// [`ReactorBuilder::poller`](crate::ReactorBuilder::poller) chooses one; the guide's page
/// [`pollers`](crate::guide::pollers) says which to use when.
///
/// # Examples
///
/// ```
/// use torsade::Reactor;
/// use torsade::reactor::Poller;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// for poller in Poller::available() {
///     let reactor = Reactor::builder().poller(*poller).build()?;
///     assert_eq!(reactor.poller(), Some(*poller));
///     assert_eq!(poller.name().parse::<Poller>()?, *poller);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Poller {
    /// epoll(7), on Linux and Android: the cost of a wait grows with the number of ready
    /// descriptors.
    Epoll,
    /// poll(2), on every Unix: the cost of a wait grows with the number of registered descriptors.
    Poll,
    /// kqueue(2), on macOS and the BSDs.
    Kqueue,
    /// Event ports, on illumos and Solaris.
    EventPorts,
    /// I/O completion ports, on Windows.
    Iocp,
}

impl Poller {
    /// The system's default; `None` where that is poll(2).
    pub(super) const SYSTEM: Option<Self> = if cfg!(any(target_os = "linux", target_os = "android"))
    {
        Some(Self::Epoll)
    } else if cfg!(windows) {
        Some(Self::Iocp)
    } else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
        Some(Self::EventPorts)
    } else if cfg!(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
    )) {
        Some(Self::Kqueue)
    } else {
        None
    };

    /// Returns the pollers of this system, the default one first. A sandbox may refuse some.
    pub fn available() -> &'static [Self] {
        const AVAILABLE: &[Poller] = match Poller::SYSTEM {
            #[cfg(not(unix))]
            Some(_) => &[Poller::Iocp],
            #[cfg(unix)]
            Some(Poller::Epoll) => &[Poller::Epoll, Poller::Poll],
            #[cfg(unix)]
            Some(Poller::Kqueue) => &[Poller::Kqueue, Poller::Poll],
            #[cfg(unix)]
            Some(Poller::EventPorts) => &[Poller::EventPorts, Poller::Poll],
            _ => &[Poller::Poll],
        };
        AVAILABLE
    }

    /// Returns the poller's name, as `TORSADE_POLLER` accepts it: `epoll`, `poll`, `kqueue`,
    /// `event-ports`, `iocp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Poll => "poll",
            Self::Kqueue => "kqueue",
            Self::EventPorts => "event-ports",
            Self::Iocp => "iocp",
        }
    }
}

impl fmt::Display for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Returns whether the error means that the system, or a sandbox, refuses the call.
#[cfg(unix)]
pub(super) fn is_refusal(error: &io::Error) -> bool {
    [libc::ENOSYS, libc::EPERM, libc::EACCES]
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno))
}
