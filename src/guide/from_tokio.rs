//! From tokio: its terms, and the terms here.
//!
//! What differs from a current-thread runtime with a `LocalSet`:
//!
//! * Nothing is `Send` but a [`Remote`](crate::Remote), wakers and the work of thread pools. Share
//!   state by `Rc` and `Cell`.
//! * I/O, timers and tasks need no runtime context: they take the [`Reactor`](crate::Reactor), or
//!   find the current one.
//! * A [`Task`](crate::Task) that is dropped runs on if it was never polled, as a `JoinHandle`
//!   does; dropped after it was polled, it is cancelled. A panic of a task that is not awaited is
//!   reported, and so is an error in `Result<(), Failure>` and the other types that
//!   [`Task`](crate::Task) lists. To keep a task that a `timeout` or `select` may give up, pass
//!   `&mut task`.
//! * Channels of the crate stay on one thread. Between threads use `futures::channel::mpsc`, or a
//!   [`RemoteResolver`](crate::reactor::RemoteResolver) for one value.
//! * `select!`, `join!` and `try_join!` are those of the crate `futures`. A server ends with
//!   [`stopped`](crate::Reactor::stopped), awaited in `main` or in a spawned task: the shutdown
//!   waits for both.
//! * A connection is a [`Connection`](crate::Connection), whatever it connects (TCP, UNIX, a
//!   child's pipes, standard input and output); it implements `futures`' I/O traits.
//! * Instead of a stream, a connection can be a [`Protocol`](crate::Protocol) with hooks, which
//!   costs less.
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
//! | `tokio::sync::Mutex`, `Semaphore`, `mpsc`, `watch`, `Notify` | [`DeferredLock`](crate::DeferredLock), [`DeferredSemaphore`](crate::DeferredSemaphore), [`DeferredQueue`](crate::DeferredQueue), [`Watched`](crate::locks::Watched), [`Event`](crate::locks::Event) |
//! | `tokio::task::spawn_blocking` | [`Reactor::spawn_blocking`](crate::Reactor::spawn_blocking) |
//! | `JoinSet`, `try_join_all` | [`JoinSet`](crate::scope::JoinSet), [`gather`](crate::defer::gather) |
//! | `CancellationToken` | [`Event`](crate::locks::Event) between tasks, [`CancelToken`](crate::threads::CancelToken) for threads |
//! | `BufReader::lines` | [`Connection::read_line`](crate::Connection::read_line), [`read_lines`](crate::Connection::read_lines) |
//! | `Instant::now` | [`Clock::now`](crate::Clock::now), which is virtual in tests |
//! | `tokio::time::pause` | [`testing::run`](crate::testing::run), [`VirtualClock`](crate::VirtualClock) |
//!
//! More names, generated from the aliases under which the documentation's search finds items of
//! this crate by tokio's names:
//!
#![doc = include_str!("from_tokio.md")]
