//! Deferreds for those who know futures.
//!
//! You have written `async fn`s for tokio, smol or embassy, and want to know what a `Deferred` is,
//! and what it is for when there is `await`.
//!
//! # What it is
//!
//! A [`Deferred<T>`](crate::Deferred) is the receiving half of a one-shot channel that can also run
//! callbacks. The sending half is a [`Resolver<T>`](crate::Resolver). The result is a `Result<T,
//! Failure>`, where [`Failure`](crate::Failure) is one error type for everything, made by `?` from
//! any error. A Deferred is a future, so you may stop reading here and await it:
//!
//! ```
//! use torsade::{Clock, Deferred};
//! use std::time::Duration;
//!
//! torsade::testing::run(async |reactor| {
//!     let (answer, resolver) = Deferred::pair();
//!     reactor.call_later(Duration::from_secs(5), move || resolver.callback(42));
//!     assert_eq!(answer.await?, 42);
//!     Ok(())
//! });
//! ```
//!
//! A Deferred differs from other futures in four ways.
//!
//! **It is hot.** A future does nothing until it is polled. The work behind a Deferred is in
//! progress whether the Deferred is polled or not. So two operations that are started one after the
//! other run at the same time:
//!
//! ```
//! use torsade::{Clock, defer_later};
//! use std::time::Duration;
//!
//! torsade::testing::run(async |reactor| {
//!     let start = reactor.now();
//!     let one = defer_later(&reactor, Duration::from_secs(3), || Ok(1));
//!     let two = defer_later(&reactor, Duration::from_secs(3), || Ok(2));
//!     assert_eq!(one.await? + two.await?, 3);
//!     assert_eq!(reactor.now() - start, Duration::from_secs(3)); // not six
//!     Ok(())
//! });
//! ```
//!
//! **Firing is a call.** When [`Resolver::callback`](crate::Resolver::callback) returns, every
//! callback that could run has run, inside this call. No callback is put into a queue, so no other
//! code runs in between. A task that *awaits* is only woken, as usual, and runs in its turn.
//! Everything that fires a Deferred is such a call: dropping a resolver or a lock's guard,
//! [`Event::set`](crate::locks::Event::set), [`Watched::set`](crate::locks::Watched::set),
//! [`DeferredQueue::put`](crate::locks::DeferredQueue::put),
//! [`Looping::stop`](crate::repeat::Looping::stop), and a cancel. Every other call only records a
//! request, and runs no user code.
//!
//! **It has one consumer.** Adding a callback consumes the Deferred and returns it with its new
//! type, so callbacks run in the order of the program text. [`Shared`](crate::defer::Shared) gives
//! one result to many consumers.
//!
//! **Cancelling is a request.** Dropping a future ends it at once, wherever it was.
//! [`Deferred::cancel`](crate::Deferred::cancel) asks the source to stop; the source may refuse, or
//! provide another result. Usually the chain gets [`Cancelled`](crate::Cancelled), as an error that
//! can be caught like any other, and the clean-up is ordinary code:
//!
//! ```
//! use torsade::{Cancelled, Deferred};
//!
//! let (answer, resolver) = Deferred::<u32>::pair();
//! let answer = answer.add_errback(|failure| {
//!     failure.trap::<Cancelled>()?; // passes on any other failure
//!     Ok(0)
//! });
//! answer.cancel();
//! assert!(answer.is_settled());
//! resolver.callback(42); // too late: it is ignored
//! # drop(answer);
//! ```
//!
//! # What dropping does
//!
//! | dropped | the work |
//! |---|---|
//! | a future | stops where it was |
//! | a Deferred that was never polled | continues; the callbacks run; a failure at the end of the chain is reported |
//! | a Deferred that was polled | is cancelled, since its await was given up |
//! | a [`Task`](crate::Task) | continues if the handle was never polled; otherwise is cancelled |
//! | a [`Resolver`](crate::Resolver) | ends: the Deferred fails with [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned) |
//!
//! So `race`, time limits and `select` of other crates work as with other futures, because giving
//! up an await cancels; and a Deferred that is made and dropped ("fire and forget") continues, as
//! in Twisted. To keep waiting for the same Deferred in a loop of selects, await `&mut deferred`.
//! For work that must finish even if its waiter gives up, there is
//! [`shield`](crate::scope::shield).
//!
//! # When to use callbacks
//!
//! Use `await` most of the time. A callback is better:
//!
//! * where code is not async: in a protocol's method, a timer, a destructor;
//! * where code must run *inside* the call that fires, and not when a woken task is polled, so that
//!   the order is exact;
//! * where thousands of results each need a little code: a chain of ten callbacks takes three
//!   allocations and no task.
//!
//! The two can be mixed. A callback may return an async block, and the chain waits for it;
//! [`ensure`](crate::defer::ensure) makes a Deferred of any future, and [`spawn`](crate::spawn)
//! makes a task of it:
//!
//! ```
//! use torsade::{Clock, Deferred, Failure, Reactor};
//! use std::time::Duration;
//!
//! async fn decode(reactor: Reactor, body: &str) -> Result<usize, Failure> {
//!     reactor.sleep(Duration::from_millis(5)).await?;
//!     Ok(body.len())
//! }
//!
//! torsade::testing::run(async |reactor| {
//!     let length = Deferred::succeed("a page")
//!         .add_callback(move |body| decode(reactor, body)) // the chain waits
//!         .map(|length| length * 2);
//!     assert_eq!(length.await?, 12);
//!     Ok(())
//! });
//! ```
//!
//! # Names in other crates and here
//!
//! | crates of futures | torsade |
//! |---|---|
//! | `oneshot::channel()` | [`Deferred::pair`](crate::Deferred::pair) |
//! | `future::ready(Ok(v))`, `ready(Err(e))` | [`Deferred::succeed`](crate::Deferred::succeed), [`Deferred::fail`](crate::Deferred::fail) |
//! | `map_ok`, `and_then` | [`map`](crate::Deferred::map), [`add_callback`](crate::Deferred::add_callback) |
//! | `or_else`, `then` | [`add_errback`](crate::Deferred::add_errback), [`add_both`](crate::Deferred::add_both) |
//! | `try_join_all`, `join_all` | [`gather`](crate::defer::gather), [`list`](crate::defer::list) |
//! | `select_ok`, `select_all` | [`race`](crate::defer::race), [`first`](crate::defer::first) |
//! | `Shared` | [`Deferred::shared`](crate::Deferred::shared) |
//! | `timeout` | [`Clock::timeout`](crate::Clock::timeout), whose future may borrow; [`Deferred::timeout`](crate::Deferred::timeout) |
//! | `process::Command`, `Child` | [`process::Command`](crate::process::Command), [`Command::spawn`](crate::process::Command::spawn), [`Command::output`](crate::process::Command::output) |
//! | `TcpListener`, `TcpStream`, `UdpSocket` | [`Reactor::serve`](crate::Reactor::serve), [`Reactor::connect_stream`](crate::Reactor::connect_stream), [`Reactor::bind_datagram`](crate::Reactor::bind_datagram) |
//! | `spawn`, `JoinHandle`, `JoinSet` | [`spawn`](crate::spawn), [`Task`](crate::Task), [`JoinSet`](crate::scope::JoinSet) |
//! | `thread::scope`, nurseries | [`scope`](crate::scope::scope) |
//! | `Mutex`, `Semaphore` | [`DeferredLock`](crate::DeferredLock), [`DeferredSemaphore`](crate::DeferredSemaphore) |
//! | `mpsc`, `watch` | [`DeferredQueue`](crate::DeferredQueue), [`Watched`](crate::locks::Watched) |
//! | `interval` | [`interval`](crate::interval), [`LoopingCall`](crate::LoopingCall) |
//! | `spawn_blocking` | [`Reactor::spawn_blocking`](crate::Reactor::spawn_blocking) |
//! | `signal::ctrl_c`, `signal::unix` | [`Signal::wait`](crate::Signal::wait), [`Reactor::signals`](crate::Reactor::signals) |
//! | `anyhow::Error` | [`Failure`](crate::Failure) |
//!
//! # What is not needed
//!
//! * `Send`, `Sync`, `Arc<Mutex<_>>`: there is one thread. Share with `Rc` and `Cell`; only a
//!   [`Remote`](crate::Remote) goes to other threads.
//! * Care for a lock whose future has got it and is not polled: a lock here is taken by the waiter
//!   that is polled or has a callback ([`locks`](crate::locks) says how).
//! * A search for failures that were lost: a Deferred's failure and a panic are reported once, with
//!   the line where the Deferred or task was made. The error of a task that is not awaited is
//!   reported if the task ends in `Result<(), Failure>` or one of the few types that
//!   [`Task`](crate::Task) lists; in any other type (`Result<u32, Failure>`,
//!   `Result<(), AppError>`) it is dropped silently, so end the task with `Ok::<(), Failure>(())`
//!   or use [`Deferred::from_future`](crate::Deferred::from_future). In debug mode a failure shows
//!   its trace, and [`Reactor::dump`](crate::Reactor::dump) shows which task waits for what.
