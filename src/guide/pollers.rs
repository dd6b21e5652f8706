//! Pollers: the system calls by which a reactor waits, which to choose, and what each costs.
//!
//! A reactor waits with the best system call that the platform has. Two settings select another
//! call: [`ReactorBuilder::poller`](crate::ReactorBuilder::poller) for one reactor, and the
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
//! * Use the default unless you have a reason not to: in the [measurements](#costs) it is faster.
//! * `poll` is for a system that refuses the default: a sandbox whose filter forbids
//!   `epoll_create1`, or an emulator. It needs no `eventfd`, `timerfd` or `pidfd` either: wakes use
//!   a pair of sockets, and a thread waits for each child process. **If the default is refused with
//!   `ENOSYS`, `EPERM` or `EACCES` and no poller was selected, the reactor uses `poll`**, and logs
//!   that with `tracing` (target `torsade::reactor`, level debug).
//! * `poll` also helps to find bugs: an error that occurs with one poller only is probably in the
//!   crate's code for that poller.
//!
//! If a selected poller is not available, creating the reactor fails with
//! [`ReactorError::PollerUnavailable`](crate::reactor::ReactorError::PollerUnavailable), which
//! lists the available pollers; the crate does not replace a selected poller by another one.
//!
//! # Differences
//!
//! Programs behave alike with all pollers. The tests of this crate run with `epoll`, and with
//! `TORSADE_POLLER=poll cargo test` with `poll`. The differences are:
//!
//! * With `poll`, a thread makes the reactor's descriptor ([`AsFd`](std::os::fd::AsFd), for a
//!   [host loop](crate::Reactor::start)) readable. The thread is started when the descriptor is
//!   first requested, and costs two thread switches for each turn. For a reactor that runs in a
//!   host loop, select another poller.
//! * `poll` reports devices such as `/dev/zero`, which `epoll` refuses, as ready. Both refuse
//!   regular files.
//!
//! Neither `epoll` nor `poll` limits the number of descriptors; the limit of the process
//! (`RLIMIT_NOFILE`) does.
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
//! `poll` is almost as fast with few connections. With more, its cost grows with the number of idle
//! connections for each active one. In the last two rows that number is the same, 99, and so is the
//! cost.
