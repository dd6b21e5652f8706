//! What is bounded, by how much, and what happens at the bound.
//!
//! A loop that serves everybody must not let anybody have all of it. Each bound here has a default
//! that suits most programs; where it can be set, the table names how.
//!
//! # Connections
//!
//! | bound | default | at the bound |
//! |---|---|---|
//! | bytes queued for a peer, "full" | 64 KiB ([`Limits::high`]) | the connection reads no more until it is down to [`Limits::low`] (16 KiB); async writes wait |
//! | bytes queued when a write begins | 16 MiB ([`Limits::hard`]) | the connection is aborted with [`WriteOverflow`] |
//! | bytes of one read | 64 KiB | the rest is read in a later turn |
//! | frames or lines delivered for one connection in a row | 64 | the rest comes in its next turn, at the end of the queue of those that have more to do |
//! | operations, or bytes, of one task in a row | 128, or 256 KiB | the task is woken again after the others: see [`task`](crate::task) |
//! | the wait for a peer after a close | 2 s and 1 MiB ([`ListenOptions::linger`](crate::net::ListenOptions::linger)) | see "linger" below |
//! | time in which a peer accepts nothing, one side closed | 60 s ([`ListenOptions::close_timeout`](crate::net::ListenOptions::close_timeout)) | reset with [`SendTimedOut`](crate::transport::SendTimedOut) |
//! | the same while both are open | none ([`ListenOptions::send_timeout`](crate::net::ListenOptions::send_timeout)) | the same |
//! | bytes held for all connections together | none ([`ReactorBuilder::buffer_budget`](crate::ReactorBuilder::buffer_budget)) | the one that holds the most is reset with [`OverBudget`](crate::reactor::OverBudget) |
//! | the wait for peers when a reactor stops | 5 s for each that accepts nothing, 60 s for all ([`Grace`](crate::reactor::Grace)) | see "grace" below |
//!
//! **Accept batches.** A port accepts as many connections at a time as there were last time, and up
//! to 20 more, 100 at most; then timers, tasks and other connections have their turn.
//!
//! **No descriptors left.** When the process or the system has no descriptor for a new connection
//! (`EMFILE`, `ENFILE`) or no memory, the port stops accepting, without spinning: peers wait in the
//! system's queue, and it looks again when a descriptor of this reactor is closed, after 250 ms in
//! any case. Connections that exist are not touched. Opening something in such a state fails with
//! the system's error.
//!
//! **Linger.** A system that closes a TCP socket while bytes of the peer are unread sends a reset,
//! and the peer may lose what was sent to it before. So where that could happen the writing side is
//! closed first, and the socket stays for up to 2 s without its protocol, which has had
//! `connection_lost` by then: what still comes is thrown away, until the peer closes as well. After
//! 1 MiB nothing is read any more, so that a peer that floods is slowed down by its own system.
//! [`abort_connection`](crate::Transport::abort_connection) does not linger.
//!
//! **Losses.** A connection that ends while bytes are queued for its peer is reset, where its
//! transport has a reset, so that the peer does not take a part for the whole. Unless the program
//! aborted it or the peer broke it off, the loss is reported as
//! [`BytesNotSent`](crate::transport::BytesNotSent).
//!
//! **Grace.** When a reactor stops, all that is queued on its connections by then is still sent,
//! whether they have been told to close or not; the time for that begins when the triggers *before*
//! the shutdown are done. As long as bytes move it goes on, to a minute in all; a peer that accepts
//! nothing for 5 s is cut off by itself. The process's own standard output is waited for without
//! limit, as with blocking writes, and if it cannot be written `run` fails. To be sure of a
//! farewell, close the connection and await [`Handle::closed`](crate::Handle::closed) before the
//! program ends.
//!
//! # The loop
//!
//! | bound | default | at the bound |
//! |---|---|---|
//! | tasks in one turn, all ready when it began | 1,024, or 250 µs | the rest goes on after a look at timers, other threads and I/O |
//! | tasks that become ready meanwhile and run in the same turn | 16 | the rest goes on after a look at timers and other threads |
//! | turns of short batches without a look at I/O | 64 tasks, or 50 µs | I/O is polled without waiting |
//! | work of one step of a turn | 250 µs; 1,024 sources; 8 sources that have used their share | the rest goes on in the next turn, after timers and I/O |
//! | looks at I/O before a time limit takes effect | 1, up to 4 while each finds something | what came in time wins |
//! | calls from other threads in a turn | those there when it began; 1,024, or 250 µs | the rest is for the next turn, in order |
//! | time limits that take effect in a turn | 1,024, or 250 µs | the rest is for the next turn, in order |
//! | time one callback may take before it is reported | 100 ms in debug mode | a report names it: see [`ReactorBuilder::on_blocked`](crate::ReactorBuilder::on_blocked) |
//!
//! # Datagrams
//!
//! | bound | default | at the bound |
//! |---|---|---|
//! | bytes queued to be sent | 256 KiB ([`DatagramOptions::queue`]) | [`QueueFull`] |
//! | bytes delivered for one event | 256 KiB, each datagram counting at least 1 KiB | the rest comes in a later turn |
//! | the time for what is queued at a stop | 5 s in which nothing is sent ([`Grace::stalled`](crate::reactor::Grace::stalled)) | it is dropped and reported as [`DatagramsNotSent`](crate::net::datagram::DatagramsNotSent) |
//!
//! # Names, threads, processes
//!
//! | bound | default | at the bound |
//! |---|---|---|
//! | look-ups at a time | 8 threads, 500 waiting | [`LookupFailed`] with [`LookupProblem::TooMany`] |
//! | one attempt to connect | 30 s ([`ConnectOptions::timeout`]) | [`ConnectTimedOut`] |
//! | threads of the pool | 10 ([`ThreadPool::adjust`]) | work waits |
//! | the wait for threads when a reactor ends | 500 ms ([`Grace::threads`]) | the threads are left alone; their Deferreds fail with [`StillRunning`] |
//! | output of a process that is kept | 64 MiB | the process is killed, [`OutputTooLong`](crate::process) |
//!
//! # Memory
//!
//! What a connection, a task or a timer used is freed when it ends. That the process does not get
//! smaller after a peak is the allocator's doing: glibc keeps freed memory for the next peak, some
//! 64 MiB after a few thousand connections at once. `malloc_trim(0)` (crate `libc`) gives it back
//! to the system; `MALLOC_ARENA_MAX=1` or another allocator keep it from growing so far.
//!
//! One circle is not freed: a callback that owns the [`Resolver`](crate::Resolver) of its own
//! Deferred. Each keeps the other alive, so neither is dropped, and the Deferred never fails with
//! [`DeferredError::Abandoned`]:
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
//! The way out is to give the resolver to whatever brings the result (a timer, a task, a protocol),
//! and to it only.
//!
//! [`Limits::high`]: crate::transport::Limits::high
//! [`Limits::low`]: crate::transport::Limits::low
//! [`Limits::hard`]: crate::transport::Limits::hard
//! [`WriteOverflow`]: crate::transport::WriteOverflow
//! [`DatagramOptions::queue`]: crate::net::datagram::DatagramOptions::queue
//! [`QueueFull`]: crate::net::datagram::QueueFull
//! [`LookupFailed`]: crate::net::LookupFailed
//! [`LookupProblem::TooMany`]: crate::net::LookupProblem::TooMany
//! [`ConnectOptions::timeout`]: crate::net::ConnectOptions::timeout
//! [`ConnectTimedOut`]: crate::net::ConnectTimedOut
//! [`ThreadPool::adjust`]: crate::threads::ThreadPool::adjust
//! [`Grace::threads`]: crate::reactor::Grace::threads
//! [`StillRunning`]: crate::reactor::StillRunning
//! [`DeferredError::Abandoned`]: crate::defer::DeferredError::Abandoned
