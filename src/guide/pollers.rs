//! Pollers: how a reactor waits for many descriptors, which way to choose, and what each costs.
//!
//! A reactor waits with the best system call that the platform has. Two settings select another
//! one: [`ReactorBuilder::poller`](crate::ReactorBuilder::poller) for one reactor, and the
//! environment variable `TORSADE_POLLER` for all reactors without such a setting.
//! [`Reactor::poller`](crate::Reactor::poller) returns the poller in use.
//!
//! | poller | platforms | the cost of a wait grows with |
//! |---|---|---|
//! | `epoll` | Linux, Android; the default there | the number of ready descriptors |
//! | `kqueue` | macOS, the BSDs; the default there | the number of ready descriptors |
//! | `event-ports` | illumos, Solaris; the default there | the number of ready descriptors |
//! | `iocp` | Windows; the only one there | the number of ready sockets |
//! | `poll` | every Unix | the number of registered descriptors |
//!
//! # Which one to use
//!
//! * Use the default unless you have a reason not to: it is the fastest except for a handful of
//!   connections.
//! * `poll` is for a system that refuses the default: a sandbox whose filter forbids
//!   `epoll_create1`, or an emulator. It needs no `eventfd`, `timerfd` or `pidfd` either: wakes use
//!   a pair of sockets, and a thread waits for each child process. **If the default is refused with
//!   `ENOSYS`, `EPERM` or `EACCES` and no poller was selected, the reactor uses `poll`**, and logs
//!   that with `tracing` (target `torsade::reactor`, level debug).
//! * `poll` also helps to find bugs: an error that occurs with one poller only is in that poller.
//!
//! If a selected poller is not available, creating the reactor fails with
//! [`ReactorError::PollerUnavailable`](crate::reactor::ReactorError::PollerUnavailable), which
//! lists the available ones; the reactor never uses another one instead.
//!
//! # Differences
//!
//! Programs behave alike with all pollers. The tests of this crate run with `epoll`, and with
//! `TORSADE_POLLER=poll cargo test` with `poll`. The differences are:
//!
//! * With `poll`, a thread makes the reactor's descriptor ([`AsFd`](std::os::fd::AsFd), for
//!   [foreign loops](crate::Reactor::start)) readable. The thread is started when the descriptor is
//!   first requested, and costs two thread switches for each turn. For a reactor that runs in a
//!   foreign loop, select another poller.
//! * `poll` reports devices such as `/dev/zero`, which `epoll` refuses, as ready. Both refuse
//!   regular files.
//! * With both, only the process's own limit (`RLIMIT_NOFILE`) limits the number of descriptors.
//!
//! # Costs
//!
//! The server's processor time for one echo of 64 bytes, in microseconds (two shared cores of an
//! x86-64 server, Linux 6, November 2026; median of three runs). One connection in a hundred is
//! active, and at least one; the active ones all send at once, and again when all have been
//! answered.
//!
//! | connections | active | `epoll` | `poll` |
//! |---|---|---|---|
//! | 10 | 1 | 10.6 | 13.3 |
//! | 1,000 | 10 | 6.4 | 23.9 |
//! | 10,000 | 100 | 5.7 | 25.0 |
//!
//! So `poll` is almost as fast with few connections. With more, its cost depends on the number of
//! idle connections for each active one: here ninety-nine, in the last two rows alike.
