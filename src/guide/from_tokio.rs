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
//! * Channels of the crate stay on one thread. Between threads use `futures::channel::mpsc`, or a
//!   [`RemoteResolver`](crate::reactor::RemoteResolver) for one value.
//! * Use `select!`, `join!` and `try_join!` of the crate `futures`.
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
//! | `tokio::sync::Mutex`, `Semaphore`, `mpsc`, `watch`, `Notify` | [`DeferredLock`](crate::DeferredLock), [`DeferredSemaphore`](crate::DeferredSemaphore), [`DeferredQueue`](crate::DeferredQueue), [`Watched`](crate::locks::Watched), [`Event`](crate::locks::Event) |
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
