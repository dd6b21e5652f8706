//! From tokio: what differs, and the names here for tokio's names.
//!
//! What differs from a current-thread runtime with a `LocalSet`:
//!
//! * Handles, tasks and Deferreds are not `Send`; a [`Remote`](crate::Remote), wakers and the work
//!   of thread pools are. Share state by `Rc` and `Cell`.
//! * I/O, timers and tasks need no runtime context: they take the [`Reactor`](crate::Reactor), or
//!   find the current one.
//! * Dropping a [`Task`](crate::Task) (tokio's `JoinHandle`) detaches the task, as in tokio, if the
//!   handle was never polled; once it was polled (awaited), dropping it cancels the task. To keep
//!   a task when a `timeout` or `select` drops its argument, pass `&mut task`.
//! * A panic of a task that is not awaited is reported, and so is an error in `Result<(), Failure>`
//!   and the other types that [`Task`](crate::Task) lists.
//! * Methods that return a [`Deferred`](crate::Deferred) start at the call, unlike a future. A
//!   `select!` branch that loses before it was polled does not stop them: write
//!   `async { queue.put_when_room(x).await }`, or, for requests,
//!   [`Agent::send`](crate::http::Agent::send), which is a future.
//! * `tokio::sync` (also `broadcast`), `tokio::select!`, `CancellationToken` and `TaskTracker` need
//!   no runtime, and work in a reactor's tasks as they are, also in memory.
//! * What needs tokio's I/O traits on a [`Connection`](crate::Connection), such as
//!   `tokio::io::copy_bidirectional` or `tokio_util::codec::Framed`, needs the feature `tokio-io`.
//!   What needs a running tokio (its sockets, timers, `tokio::spawn`) needs the feature `tokio-rt`
//!   and [`tokio::enter`](crate::tokio::enter).
//! * [`JoinSet::join_next`](crate::scope::JoinSet::join_next) is ready at once when the set is
//!   empty; the `select!` of `futures` has no patterns, so guard it there.
//! * A [`DeferredQueue`](crate::DeferredQueue) is both ends of an `mpsc`. `Receiver` is
//!   [`queue.stream()`](crate::DeferredQueue::stream), a bounded channel
//!   [`with_limits(n, None)`](crate::DeferredQueue::with_limits), and `send` is
//!   [`put_when_room`](crate::DeferredQueue::put_when_room). A clone of the queue is a handle
//!   itself, so `while let Ok(x) = queue.get().await` never ends.
//! * A child process has pipes by default, where tokio and std inherit: a child that writes more
//!   than a pipe holds waits until somebody reads.
//! * The pool of [`spawn_blocking`](crate::Reactor::spawn_blocking) has 10 threads (tokio: 512);
//!   [`thread_pool`](crate::Reactor::thread_pool) changes that. Its closure returns a `Result`.
//! * A reactor runs once: after [`run_until`](crate::Reactor::run_until) (`block_on`) or `run` it
//!   has ended. For several cores, run
//!   [a reactor on each thread](super::deploying#several-cores).
//! * Channels of the crate stay on one thread. Between threads use `futures::channel::mpsc`, or a
//!   [`RemoteResolver`](crate::reactor::RemoteResolver) for one value.
//! * `select!`, `join!` and `try_join!` of the crate `futures` work too.
//! * A server awaits [`stopped`](crate::Reactor::stopped) in `main` or in a spawned task, and then
//!   finishes its work: the shutdown waits for both.
//! * Every stream of bytes (TCP, UNIX, a child's pipes, standard input and output) is a
//!   [`Connection`](crate::Connection), which implements the I/O traits of `futures`.
//! * A connection can be served by a [`Protocol`](crate::Protocol) with hooks instead of an async
//!   function; that costs less.
//! * Tests run on an in-memory reactor with virtual time: [`testing::run`](crate::testing::run).
//!
//! | tokio | torsade |
//! |---|---|
//! | `#[tokio::main]` | [`torsade::run`](crate::run()) |
//! | `tokio::spawn` | [`spawn`](crate::spawn()), [`Reactor::spawn`](crate::Reactor::spawn) |
//! | `tokio::time::sleep` | [`Clock::sleep`](crate::Clock::sleep) |
//! | `TcpListener::bind` + loop | [`Reactor::serve`](crate::Reactor::serve), [`Reactor::bind`](crate::Reactor::bind) |
//! | `TcpStream::connect` | [`Reactor::connect_stream`](crate::Reactor::connect_stream) |
//! | `tokio::process::Command` | [`process::Command`](crate::process::Command) |
//! | `tokio::signal` | [`Signal::wait`](crate::Signal::wait), [`Reactor::signals`](crate::Reactor::signals) |
//! | `tokio::sync::Mutex`, `Semaphore`, `mpsc`, `watch` | [`DeferredLock`](crate::DeferredLock), [`DeferredSemaphore`](crate::DeferredSemaphore), [`DeferredQueue`](crate::DeferredQueue), [`Watched`](crate::locks::Watched) |
//! | `Notify` | [`Event`](crate::locks::Event), which stays set until `clear()`; for `notify_one` a queue of `()` |
//! | `tokio::task::spawn_blocking` | [`Reactor::spawn_blocking`](crate::Reactor::spawn_blocking) |
//! | `JoinSet`, `try_join_all` | [`JoinSet`](crate::scope::JoinSet), [`gather`](crate::defer::gather) |
//! | `CancellationToken` | [`Event`](crate::locks::Event) between tasks, [`CancelToken`](crate::threads::CancelToken) for threads |
//! | `BufReader::lines` | [`Connection::read_line`](crate::Connection::read_line), [`read_lines`](crate::Connection::read_lines) |
//! | `Instant::now` | [`Clock::now`](crate::Clock::now), which is virtual in tests |
//! | `tokio::time::pause` | [`testing::run`](crate::testing::run), [`VirtualClock`](crate::VirtualClock) |
//!
//! More names. The search of this documentation finds the items by tokio's names too, and the table
//! is generated from these aliases:
//!
#![doc = include_str!("from_tokio.md")]
