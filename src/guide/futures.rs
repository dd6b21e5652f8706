//! Futures for those who know Deferreds.
//!
//! You have written Twisted programs, perhaps with `inlineCallbacks`, and want to know what
//! `async`, `await` and futures are in Rust, and which names here stand for those of Twisted.
//!
//! # What a future is
//!
//! An `async fn` does what a function with `inlineCallbacks` does: `await` stands in the place of
//! `yield`, a value is returned with `return`, and there is no decorator. Calling it returns a
//! *future*: a value which holds the function's local variables and the point at which it stopped.
//!
//! The main difference: **calling an `async fn` runs none of its code.** In Twisted `d = fetch()`
//! has started the work. In Rust `let f = fetch();` only makes a future, which runs while it is
//! awaited, or when it is given to the reactor as a task:
//!
//! ```
//! use std::{cell::Cell, rc::Rc};
//! use torsade::Failure;
//!
//! async fn fetch(log: Rc<Cell<bool>>) -> Result<u32, Failure> {
//!     log.set(true);
//!     Ok(42)
//! }
//!
//! torsade::testing::run(async |_reactor| {
//!     let started = Rc::new(Cell::new(false));
//!     let plan = fetch(started.clone());
//!     torsade::yield_now().await;
//!     assert!(!started.get()); // it was not polled
//!
//!     let task = torsade::spawn(plan); // now it runs by itself
//!     torsade::yield_now().await;
//!     assert!(started.get());
//!     assert_eq!(task.await??, 42);
//!     Ok(())
//! });
//! ```
//!
//! (Two question marks: one for the task, which may have panicked or been cancelled; one for the
//! value it returned.)
//!
//! A [`Deferred`](crate::Deferred) is hot, as in Twisted, and is a future as well: it can be
//! awaited wherever a future can. [`ensure`](crate::defer::ensure) and
//! [`Deferred::from_future`](crate::Deferred::from_future) start a future and return a Deferred, as
//! `ensureDeferred` does.
//!
//! # Failures
//!
//! A function that may fail returns `Result<T, Failure>`. `?` after an expression gives its value,
//! or returns the failure to the caller, as a chain passes a failure on to the next errback; the
//! code after the `?` corresponds to a callback. `failure.trap(SomeError)` is
//! `failure.trap::<SomeError>()` here; it returns any other failure as an `Err`, which `?` passes
//! on:
//!
//! ```
//! use std::num::ParseIntError;
//! use torsade::{Deferred, Failure};
//!
//! // The same twice: with callbacks, and with `await`.
//! fn with_callbacks(word: Deferred<String>) -> Deferred<u32> {
//!     word.add_callback(|word| Ok(word.parse::<u32>()?))
//!         .add_errback(|failure| {
//!             failure.trap::<ParseIntError>()?;
//!             Ok(0)
//!         })
//! }
//!
//! async fn with_await(word: Deferred<String>) -> Result<u32, Failure> {
//!     let word = word.await?; // a failure of the word itself ends this function
//!     match word.parse::<u32>() {
//!         Ok(number) => Ok(number),
//!         Err(_) => Ok(0),
//!     }
//! }
//!
//! torsade::testing::run(async |_reactor| {
//!     assert_eq!(with_callbacks(Deferred::succeed("41".into())).await?, 41);
//!     assert_eq!(with_await(Deferred::succeed("forty".into())).await?, 0);
//!     Ok(())
//! });
//! ```
//!
//! A panic is a defect and not an exception to catch. But as in Twisted, a defect in one callback
//! does not end the loop: the panic becomes a failure, which is reported if no errback handles it.
//!
//! # Ownership in place of references
//!
//! * **`add_callback` consumes the Deferred and returns it**, with the type of what the callback
//!   returns. `d.add_callback(f)` as a statement lets the chain run on; `let d = d.add_callback(f)`
//!   keeps it.
//! * **Firing consumes the resolver.** The consumer's end and the source's end are two values, a
//!   Deferred and a [`Resolver`](crate::Resolver). So there is no `AlreadyCalledError`: firing
//!   twice does not compile. A resolver that is dropped fires
//!   [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned), so no consumer waits
//!   forever.
//! * **A callback owns what it uses**, with `move`. What two callbacks share is an `Rc<Cell<_>>` or
//!   an `Rc<RefCell<_>>`. A [`Protocol`](crate::Protocol) seldom needs one: the closures of
//!   `cx.when(deferred, |me, cx, result| ..)` and `cx.call_later(..)` get `&mut self`.
//! * **Do not keep a `RefCell` borrowed across an `await`.** Other tasks run meanwhile, and their
//!   borrow would panic. Clone or take what you need out of the cell, then await.
//! * **An unhandled failure is reported when the Deferred's chain ends**, as soon as the Deferred
//!   is dropped; it does not wait for a garbage collector. Of a task that is not awaited
//!   ([`spawn`](crate::spawn)), only a panic, and an error in `Result<(), Failure>` or the other
//!   types that [`Task`](crate::Task) lists, are reported. In place of `ensureDeferred` use
//!   [`Deferred::from_future`](crate::Deferred::from_future), whose failure is always reported.
//!
//! # Cancelling
//!
//! A future is ended by dropping it, at the `await` where it was: its local variables are dropped,
//! and nothing after the `await` runs. A destructor takes the place of `finally`. A Deferred that
//! was being awaited at that moment is cancelled, as by `cancel()`.
//!
//! [`Deferred::cancel`](crate::Deferred::cancel) on a Deferred made of a future works as with
//! `inlineCallbacks`: it cancels the Deferred which the future awaits, and the future sees
//! [`Cancelled`](crate::Cancelled) there and may clean up, continue, or even succeed:
//!
//! ```
//! use torsade::{Cancelled, Clock, Deferred, defer_later, yield_now};
//! use std::time::Duration;
//!
//! torsade::testing::run(async |reactor| {
//!     let slow = {
//!         let reactor = reactor.clone();
//!         Deferred::from_future(async move {
//!             let page = defer_later(&reactor, Duration::from_secs(60), || Ok("a page"));
//!             match page.await {
//!                 Err(failure) if failure.is::<Cancelled>() => Ok("nothing, and all is tidy"),
//!                 result => result,
//!             }
//!         })
//!     };
//!     yield_now().await; // it runs up to its await
//!     slow.cancel();
//!     assert_eq!(slow.await?, "nothing, and all is tidy");
//!     Ok(())
//! });
//! ```
//!
//! # Names in Twisted and here
//!
//! | Twisted | torsade |
//! |---|---|
//! | `d.addCallback`, `addErrback`, `addBoth` | [`add_callback`](crate::Deferred::add_callback), [`add_errback`](crate::Deferred::add_errback), [`add_both`](crate::Deferred::add_both) |
//! | `d.callback(v)`, `d.errback(f)` | [`resolver.callback(v)`](crate::Resolver::callback), [`resolver.errback(e)`](crate::Resolver::errback) |
//! | `Deferred(canceller)` | [`on_cancel`](crate::Deferred::on_cancel) |
//! | `d.called` | [`is_settled`](crate::Deferred::is_settled) |
//! | `d.addTimeout(5, reactor)` | [`d.timeout(limit, &reactor)`](crate::Deferred::timeout) |
//! | `d.asFuture`, `Deferred.fromFuture` | a Deferred *is* a future; [`from_future`](crate::Deferred::from_future) |
//! | `@inlineCallbacks`, `returnValue` | `async fn`, `return Ok(..)` |
//! | `yield d` | `d.await?` |
//! | `DeferredList`, `gatherResults`, `race` | [`list`](crate::defer::list), [`gather`](crate::defer::gather), [`race`](crate::defer::race) |
//! | `maybeDeferred`, `execute` | [`maybe_deferred`](crate::defer::maybe_deferred), [`execute`](crate::defer::execute) |
//! | `d.chainDeferred(other)` | [`chain_deferred(resolver)`](crate::Deferred::chain_deferred) |
//! | `deferLater`, `task.LoopingCall` | [`defer_later`](crate::defer_later), [`LoopingCall`](crate::LoopingCall); or `sleep` and [`interval`](crate::interval) in a loop |
//! | `cooperate`, `coiterate` | [`Cooperator`](crate::Cooperator); or [`Pace`](crate::repeat::Pace) in a loop |
//! | `DeferredLock`, `run` | [`DeferredLock`](crate::DeferredLock), with a guard that releases when it is dropped |
//! | `failure.check`, `failure.trap` | [`downcast_ref`](crate::Failure::downcast_ref), [`trap`](crate::Failure::trap) |
//! | `task.Clock` | [`VirtualClock`](crate::VirtualClock), [`testing::run`](crate::testing::run) |
//! | `reactor.callFromThread` | [`Remote::call`](crate::Remote::call) |
//! | `deferToThread`, `blockingCallFromThread` | [`spawn_blocking`](crate::Reactor::spawn_blocking), [`Remote::blocking_call`](crate::Remote::blocking_call) |
//! | `spawnProcess`, `childFDs`, `usePTY` | [`spawn_protocol`](crate::process::Command::spawn_protocol), [`Command::child_fds`](crate::process::Command::child_fds), [`Command::pty`](crate::process::Command::pty) |
//! | `getProcessOutputAndValue`, `getProcessValue` | [`output`](crate::process::Command::output), [`status`](crate::process::Command::status) |
//! | `serverFromString`, `clientFromString` | [`net::ServerEndpoint`](crate::net::ServerEndpoint), [`net::ClientEndpoint`](crate::net::ClientEndpoint) |
//! | `signal.signal(SIGHUP, f)` | [`Signal::wait`](crate::Signal::wait), [`Reactor::signals`](crate::Reactor::signals) |
//! | `connectProtocol`, `ClientCreator` | [`connect`](crate::Reactor::connect) |
//! | `TimeoutMixin` | [`set_idle_timeout`](crate::Transport::set_idle_timeout) (counts sent bytes too, no hook), or [`Context::call_later`](crate::Context::call_later), whose handle the protocol keeps, and `reset`s |
//! | `setRawMode` | [`become_protocol`](crate::Context::become_protocol) |
//! | `reactor.iterate` | [`iterate`](crate::Reactor::iterate) |
//! | `flushLoggedErrors` | [`testing::take_reports`](crate::testing::take_reports) |
//! | `log.err(failure, "while ..")` | [`failure.report("while ..")`](crate::Failure::report) |
//! | `iosim`, `StringTransport` | [`testing::Wire`](crate::testing::Wire) |
//! | `successResultOf`, `failureResultOf` | [`testing::success_of`](crate::testing::success_of), [`failure_of`](crate::testing::failure_of) |
//! | `twistd`, `Application` | no `twistd`; a binary with [`services`](crate::services) |
//! | `contextvars`, `twisted.python.context` | [`TaskLocal`](crate::task::TaskLocal) |
//!
//! # What Twisted does not have
//!
//! * **Tasks.** A task is a future that the reactor polls. It may have a
//!   [name](crate::task::spawn_named), and is cancelled by [`cancel`](crate::Task::cancel), or by
//!   dropping a handle that was polled.
//! * **Scopes.** [`scope`](crate::scope::scope) runs children that may borrow your local variables
//!   and cannot outlive them; the first failure ends the others.
//! * **Streams of bytes.** [`Connection`](crate::Connection) reads and writes in the order of the
//!   program text; a protocol is often an `async fn` with a loop.
