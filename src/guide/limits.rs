//! The limits of the crate: what is limited, the default, and what happens at the limit.
//!
//! No connection or task may keep the loop from serving the others. Each limit has a default that
//! suits most programs; where it can be set, the table names the setting. The limits of HTTP are
//! listed at [`http::Server`](crate::http::Server) and [`http::Agent`](crate::http::Agent), the
//! longest frame at each codec of [`protocols`](crate::protocols).
//!
//! # Connections
//!
//! | limit | default | at the limit |
//! |---|---|---|
//! | bytes queued for a peer | 64 KiB ([`Limits::high`]) | the connection is full: it stops reading until the queue is down to [`Limits::low`] (16 KiB); async writes wait |
//! | bytes queued when a write begins | 16 MiB ([`Limits::hard`]) | the connection is aborted with [`WriteOverflow`] |
//! | bytes of one read | 64 KiB | the rest is read in a later turn |
//! | frames or lines delivered for one connection in a row | 64 | the rest comes after the other connections that have more to do |
//! | bytes that one protocol sends in a row by writes of 16 KiB or more | 2 MiB | the connection is full until the other connections have been served |
//! | operations and bytes of one task in a row | 128 operations, 256 KiB; bytes read from a socket count twice, bytes of writes of 16 KiB or more one eighth | the task is woken again after the others: see [`task`](crate::task) |
//! | the wait for a peer after a close | 2 s and 1 MiB ([`ListenOptions::linger`](crate::net::ListenOptions::linger)) | see "linger" below |
//! | time in which a peer accepts nothing, while one side is closed | 60 s ([`ListenOptions::close_timeout`](crate::net::ListenOptions::close_timeout)) | reset with [`SendTimedOut`](crate::ConnectionError::SendTimedOut) |
//! | the same while both sides are open | none ([`ListenOptions::send_timeout`](crate::net::ListenOptions::send_timeout)) | the same |
//! | connections of a port, in all and per peer | none ([`max_connections`](crate::net::ListenOptions::max_connections), [`max_connections_per_peer`](crate::net::ListenOptions::max_connections_per_peer)) | new connections wait in the system's queue; further connections of that peer are closed |
//! | time without a byte, and time for a whole frame | none ([`idle_timeout`](crate::net::ListenOptions::idle_timeout), [`frame_timeout`](crate::net::ListenOptions::frame_timeout)) | the connection ends with [`Idle`](crate::ConnectionError::Idle) or [`FrameTimedOut`](crate::ConnectionError::FrameTimedOut) |
//! | bytes held for all connections together | none ([`ReactorBuilder::buffer_budget`](crate::ReactorBuilder::buffer_budget)) | the connection that holds the most is reset with [`OverBudget`](crate::reactor::ReactorError::OverBudget) |
//! | the wait for peers when a reactor stops | 5 s for each that accepts nothing, 60 s for all ([`Grace`](crate::reactor::Grace)) | see "grace" below |
//!
//! Further limits in TLS (feature `tls`):
//!
//! | limit | default | at the limit |
//! |---|---|---|
//! | time of a handshake | 10 s ([`handshake_timeout`](crate::tls::ServerConfig::handshake_timeout)) | the connection is closed; a connect fails |
//! | connections of a port that wait for a handshake or for the PROXY header before it | 1,000 ([`max_handshakes`](crate::tls::ServerConfig::max_handshakes)) | the port accepts no connection until one has ended |
//! | bytes of a client's first message | 16 KiB | the connection is closed |
//! | bytes of a message of the handshake | 64 KiB | the connection is closed |
//! | records without content in a row | 32 | the connection is lost with [`Violation`](crate::tls::TlsError::Violation) |
//! | records decoded for one connection in a row | about 64, and 400 after the handshake | the rest is read in a later turn |
//! | decrypted bytes that wait for the handler | the content of one record | nothing more is received |
//!
//! **Accept batches.** A port accepts as many connections in a row as the last time, plus up to 20,
//! and 100 at most; then timers, tasks and other connections are served.
//!
//! **Out of descriptors.** When the process or the system has no descriptor for a new connection
//! (`EMFILE`, `ENFILE`) or no memory, the port stops accepting, without spinning: peers wait in the
//! system's queue, and the port tries again when a descriptor of this reactor is closed, and after
//! 250 ms in any case. Existing connections are not affected. Opening a descriptor in such a state
//! fails with the system's error.
//!
//! **Linger.** A system that closes a TCP socket while bytes of the peer are unread sends a reset,
//! and the peer may lose data that was sent to it before. So where that could happen the writing
//! side is closed first, and the socket stays open for up to 2 s without its protocol, whose
//! `connection_lost` has been called by then: bytes that still arrive are discarded, until the peer
//! closes as well. After 1 MiB nothing is read any more, so that a peer that floods is slowed down
//! by its own system. [`abort_connection`](crate::Transport::abort_connection) does not linger.
//!
//! **Losses.** A connection that ends while bytes are queued for its peer is reset, if its
//! transport has a reset, so that the peer does not mistake a part for the whole. Unless the
//! program aborted the connection or the peer broke it off, the loss is reported as
//! [`NotSent`](crate::ConnectionError::NotSent).
//!
//! **Grace.** When a reactor stops, everything that is queued on its connections by then is still
//! sent, whether they are closing or not; the time for that begins when the triggers *before* the
//! shutdown are done. It lasts as long as bytes move, one minute in all; a connection whose peer
//! accepts nothing for 5 s is ended, and the others continue. The process's own standard output is
//! waited for without limit, as with blocking writes, and if it cannot be written `run` fails. To
//! be sure that a last message is sent, close the connection and await
//! [`Handle::closed`](crate::Handle::closed) before the program ends.
//!
//! # The loop
//!
//! | limit | default | at the limit |
//! |---|---|---|
//! | tasks in one turn, all ready when it began | 1,024, or 250 µs | the rest continues after a check of timers, other threads and I/O |
//! | further tasks, ready meanwhile, that a turn without I/O runs | 32; a task that has used up its budget counts as 16 | the rest continues after a check of timers and other threads |
//! | tasks that run before I/O is polled again | 64, or 50 µs (10 µs after a task has used up its budget); such a task counts as 16 | I/O is polled without waiting |
//! | work of one step of a turn | 250 µs; 1,024 sources; 8 sources that have used their share of bytes or frames | the rest continues in the next turn, after timers and I/O |
//! | polls of I/O between the end of a time limit and its effect | 1; up to 4 while each finds events | the limit takes effect, unless the result has arrived |
//! | calls from other threads in a turn | those that were queued when the turn began; 1,024, or 250 µs | the rest is for the next turn, in order |
//! | time limits that take effect in a turn | 1,024, or 250 µs | the rest is for the next turn, in order |
//! | time one callback may take before it is reported | 100 ms in debug mode | a report names it: see [`ReactorBuilder::on_blocked`](crate::ReactorBuilder::on_blocked) |
//!
//! # Datagrams
//!
//! | limit | default | at the limit |
//! |---|---|---|
//! | bytes queued to be sent | 256 KiB ([`DatagramOptions::queue`]) | [`DatagramError::QueueFull`] |
//! | bytes delivered for one event | 256 KiB, each datagram counting at least 1 KiB | the rest comes in a later turn |
//! | the wait for queued datagrams at a stop | 5 s in which none is sent ([`Grace::stalled`](crate::reactor::Grace::stalled)) | they are dropped and reported as [`DatagramError::NotSent`] |
//!
//! # Names, threads, processes
//!
//! | limit | default | at the limit |
//! |---|---|---|
//! | look-ups at a time | 8 threads, 500 waiting | [`LookupError`] with [`LookupErrorKind::TooMany`] |
//! | one attempt to connect | 30 s ([`ConnectOptions::timeout`]) | [`ConnectError::TimedOut`] |
//! | threads of the pool | 10 ([`ThreadPool::adjust`]) | work waits |
//! | the wait for threads when a reactor ends | 500 ms ([`Grace::threads`]) | the threads continue, and a report has [`StillRunning`]; the Deferreds that wait for them fail with [`Stopped`](crate::reactor::Stopped) |
//! | output of a process that is collected | 64 MiB | the process is killed, [`OutputTooLong`](crate::process::ProcessError::OutputTooLong) |
//!
//! # Hostile peers
//!
//! The memory that one peer can occupy is bounded by the limits above and by those of its codec. A
//! refused frame writes at most one line to the log: none for a protocol, whose
//! [`frame_rejected`](crate::protocols::FrameProtocol::frame_rejected) decides; for async code, the
//! error that the handler returns. Only a time limit ends the connection of a peer that sends a
//! byte now and then: [`ListenOptions::frame_timeout`](crate::net::ListenOptions::frame_timeout) or
//! [`idle_timeout`](crate::net::ListenOptions::idle_timeout), which are off by default.
//!
//! `tests/memory/attacks.rs` attacks lines, netstrings, four shapes of length fields, IRC, RESP,
//! BGP, the PROXY header and TLS, each as a protocol and as async code. Meanwhile four other
//! clients send requests to an echo server of the same reactor. The figures were measured on
//! 2026-11-30 on Linux with two processors that had other work too. The server's thread was alone
//! on one processor; the clients and the attacker were on the other one, all with real-time
//! priorities, and that of the attacker was below those of the clients, as if it ran on another
//! machine. Before each attack 99 % of the clients' answers came within 30 to 60 µs (in three rows
//! 70 to 100 µs). The table shows the time within which they came during the attack:
//!
//! | attack, against each codec | allocated at the peak | answers, protocol attacked | answers, async code attacked |
//! |---|--:|---|---|
//! | 500 MB that never end a frame | 394 KiB | 60 to 110 µs | 60 to 110 µs; if lines are dropped while the connection stays open, 80 to 130 µs, in one of five runs 290 µs |
//! | 20,000 lengths that are too large, negative, overlong, or with leading zeros | 50 KiB | 40 to 90 µs; delimiter `abab` 140 µs | 40 to 80 µs; `abab` 150 µs |
//! | 5,000,000 empty frames | 193 KiB | 30 to 70 µs | 30 to 90 µs |
//! | 100 MB of garbage | 157 KiB | 50 to 110 µs | 60 to 110 µs |
//! | TLS records without content for 5 s, from a peer that is refused after 32 and connects again | 19 KiB | 190 to 250 µs, with 800 handshakes a second | the same |
//! | the same with a byte in each 32nd record | 19 KiB | 110 µs | 60 µs |
//! | one byte a second on 2,500 connections, closed after 10 s | 11.9 MiB | 50 µs | |
//!
//! After each attack no more than 12 KiB remained allocated, 225 KiB after the 2,500 connections,
//! and the process had 7 to 9 MiB (20 MiB after the 2,500 connections: an async one that has read a
//! part of a frame has a buffer of 8 KiB).
//!
//! The server's part of a TLS handshake is one uninterrupted step. The other clients wait for these
//! steps when a peer connects again and again.
//!
//! A protocol lets other connections run after 64 frames, and a task after 128 operations. When
//! tasks use up their budgets, I/O is polled 10 µs after the last poll, or after four such tasks.
//! Where the attacker and the other clients share the processors with the server, the others wait
//! for the system's scheduler as well: 1.1 to 1.4 ms beside 100 MB of garbage for lines, from an
//! attacker of the same priority.
//!
//! # Memory
//!
//! The memory of a connection, a task or a timer is freed when it ends. That the process does not
//! get smaller after a peak is due to the allocator: glibc keeps freed memory for the next peak,
//! some 64 MiB after a few thousand connections at once. `malloc_trim(0)` (crate `libc`) returns it
//! to the system; `MALLOC_ARENA_MAX=1` or another allocator keep it from growing so far.
//!
//! One reference cycle is not freed: a callback that owns the [`Resolver`](crate::Resolver) of its
//! own Deferred. Each keeps the other alive, so neither is dropped, and the Deferred never fails
//! with [`DeferredError::Abandoned`]:
//!
//! ```
//! use std::cell::Cell;
//! use std::rc::Rc;
//! use torsade::Deferred;
//!
//! let freed = Rc::new(Cell::new(false));
//! struct Notes(Rc<Cell<bool>>);
//! impl Drop for Notes {
//!     fn drop(&mut self) {
//!         self.0.set(true);
//!     }
//! }
//!
//! let (deferred, resolver) = Deferred::<()>::pair();
//! let notes = Notes(freed.clone());
//! drop(deferred.add_both(move |_| drop((resolver, notes)))); // the callback waits for itself
//! assert!(!freed.get()); // and so it stays
//! ```
//!
//! To avoid it, give the resolver only to the code that provides the result (a timer, a task, a
//! protocol).
//!
//! [`Limits::high`]: crate::transport::Limits::high
//! [`Limits::low`]: crate::transport::Limits::low
//! [`Limits::hard`]: crate::transport::Limits::hard
//! [`WriteOverflow`]: crate::ConnectionError::WriteOverflow
//! [`DatagramOptions::queue`]: crate::net::datagram::DatagramOptions::queue
//! [`DatagramError::QueueFull`]: crate::net::datagram::DatagramError::QueueFull
//! [`DatagramError::NotSent`]: crate::net::datagram::DatagramError::NotSent
//! [`LookupError`]: crate::net::LookupError
//! [`LookupErrorKind::TooMany`]: crate::net::LookupErrorKind::TooMany
//! [`ConnectOptions::timeout`]: crate::net::ConnectOptions::timeout
//! [`ConnectError::TimedOut`]: crate::net::ConnectError::TimedOut
//! [`ThreadPool::adjust`]: crate::threads::ThreadPool::adjust
//! [`Grace::threads`]: crate::reactor::Grace::threads
//! [`StillRunning`]: crate::reactor::ReactorError::StillRunning
//! [`DeferredError::Abandoned`]: crate::defer::DeferredError::Abandoned
