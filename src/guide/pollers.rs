//! Pollers: how a reactor waits for many descriptors, which way to choose, and what each costs.
//!
//! A reactor waits with the best call that the system has. Two things choose another:
//! [`ReactorBuilder::poller`](crate::ReactorBuilder::poller) for one reactor, and the environment
//! variable `TORSADE_POLLER` for all that were not given one.
//! [`Reactor::poller`](crate::Reactor::poller) returns which it is.
//!
//! | poller | where | a wait costs |
//! |---|---|---|
//! | `epoll` | Linux, Android; the default there | what is ready |
//! | `kqueue` | macOS, the BSDs; the default there | what is ready |
//! | `event-ports` | illumos, Solaris; the default there | what is ready |
//! | `iocp` | Windows; the only one there | what is ready |
//! | `poll` | every Unix | what is registered |
//!
//! # Which, when
//!
//! * Leave it alone, unless you have a reason: the default is the fastest at any number of
//!   connections that matters.
//! * `poll` is for a system that refuses the default: a sandbox whose filter has no `epoll_create1`,
//!   an emulator. It needs no `eventfd`, `timerfd` or `pidfd` either: wakes then come through a pair
//!   of sockets, and a thread waits for each child process. **Where the default is refused with
//!   `ENOSYS`, `EPERM` or `EACCES` and nothing was chosen, the reactor uses `poll` by itself**, and
//!   says so to `tracing` (target `torsade::reactor`, level debug).
//! * `poll` is also for comparing: a fault that shows on one poller only is in that poller.
//!
//! A poller that was chosen and cannot be had is an error, never replaced by another:
//! [`ReactorError::PollerUnavailable`](crate::reactor::ReactorError::PollerUnavailable), whose text lists those there are.
//!
//! # What differs
//!
//! Programs behave alike on all of them; the tests of this crate run on `epoll`, and with
//! `TORSADE_POLLER=poll cargo test` on `poll`. What can be noticed:
//!
//! * A reactor's descriptor ([`AsFd`](std::os::fd::AsFd), for
//!   [foreign loops](crate::Reactor::start)) on `poll` is made readable by a thread, which is started
//!   when the descriptor is first asked for. Each turn then costs two switches between threads. A
//!   guest's reactor had better have another poller.
//! * Devices such as `/dev/zero`, which `epoll` refuses, `poll` reports as ready. Regular files are
//!   refused by both.
//! * Nothing limits the number of descriptors but the process's own limit (`RLIMIT_NOFILE`), on
//!   either.
//!
//! # What it costs
//!
//! The server's processor time for one echo of 64 bytes, in microseconds (two shared cores of an x86-64 server, Linux 6,
//! November 2026; median of three runs). One in a hundred of the connections is active, at least one; all of those send at
//! once, and the next time when all have their answers.
//!
//! | connections | active | `epoll` | `poll` |
//! |---|---|---|---|
//! | 10 | 1 | 10.6 | 13.3 |
//! | 1,000 | 10 | 6.4 | 23.9 |
//! | 10,000 | 100 | 5.7 | 25.0 |
//!
//! So `poll` is near at a few connections. With more, what it costs depends on how many stand idle beside each that is
//! active: here it is ninety-nine, in the last two rows alike.
