//! Cancelling and time limits.
//!
//! # Tasks
//!
//! Dropping a [`Task`](crate::Task) that was never polled lets the task run on, as
//! [`Task::detach`](crate::Task::detach) does; dropping one that was polled (an `await` that was
//! given up) cancels the task. [`Task::cancel`](crate::Task::cancel) drops the task's future in the
//! loop's next batch. A future that is dropped stops where it waits: the section *Cancel safety* in
//! the docs of a method, or of its type (as of [`Connection`](crate::Connection)), says what is
//! lost then.
//!
//! # Deferreds
//!
//! [`Deferred::cancel`](crate::Deferred::cancel) calls the canceller, and the chain fails with
//! [`Cancelled`](crate::Cancelled) unless the canceller fired the resolver with another result. An
//! async function that runs as a Deferred ([`Deferred::from_future`](crate::Deferred::from_future))
//! sees [`Cancelled`](crate::Cancelled) at its `await`, and may clean up;
//! [`cancel_within`](crate::scope::cancel_within) limits the time for that. Dropping a Deferred
//! that was awaited cancels it; dropping one that was never polled lets it run on.
//!
//! # Time limits
//!
//! [`Clock::timeout`](crate::Clock::timeout) limits any future,
//! [`Deferred::timeout`](crate::Deferred::timeout) a Deferred. Both fail with
//! [`TimedOut`](crate::clock::TimedOut). A result that came in time wins, however late the loop
//! looks at it.
//!
//! ```
//! use std::time::Duration;
//! use torsade::prelude::*;
//! use torsade::clock::TimedOut;
//!
//! torsade::testing::run(async |reactor| {
//!     let (slow, resolver) = Deferred::<u32>::pair();
//!     let failure = slow.timeout(Duration::from_secs(5), &reactor).await.unwrap_err();
//!     failure.trap::<TimedOut>()?;
//!     assert!(resolver.is_cancelled());
//!     Ok(())
//! });
//! ```
//!
//! # Groups of tasks
//!
//! A [`scope`](crate::scope::scope) ends when all of its children have ended; the first failure
//! ends the others, and a deadline covers all of them. Work that must finish although its caller
//! was cancelled (a rollback, a last message) is run by [`shield`](crate::scope::shield).
//!
//! ```
//! use std::time::Duration;
//! use torsade::prelude::*;
//! use torsade::scope::scope;
//!
//! torsade::testing::run(async |reactor| {
//!     let (one, two) = (reactor.clone(), reactor.clone());
//!     let result = scope(async |scope| {
//!         scope.spawn(async move {
//!             one.sleep(Duration::from_secs(3600)).await
//!         });
//!         scope.spawn(async move {
//!             two.sleep(Duration::from_secs(1)).await?;
//!             Err::<(), _>(Failure::new("the disk is full"))
//!         });
//!         Ok(())
//!     })
//!     .await;
//!     assert_eq!(result.unwrap_err().to_string(), "the disk is full");
//!     Ok(())
//! });
//! ```
