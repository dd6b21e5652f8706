//! Conversions between Deferreds, channels and streams.

use std::panic::Location;

use futures::channel::oneshot;
use futures::future::FusedFuture;
use futures::stream::{self, Stream, TryStreamExt};

use super::{Deferred, DeferredError, Resolver, State};
use crate::failure::Failure;
use crate::report::{self, Origin};

impl<T: 'static> Deferred<T> {
    /// Fires another Deferred's resolver with the result, value or failure, as the last callback.
    ///
    /// Cancelling the other Deferred does not cancel this one, whose result is then dropped. A
    /// chain of any length uses a constant amount of stack.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Deferred;
    ///
    /// let (promised, resolver) = Deferred::pair();
    /// let promised = promised.map(|n: u32| n + 1);
    /// Deferred::succeed(1).chain_deferred(resolver);
    /// promised.add_callback(|n| assert_eq!(n, 2));
    /// ```
    #[doc(alias("chainDeferred", "pipe"))]
    #[track_caller]
    pub fn chain_deferred(self, resolver: Resolver<T>) {
        let location = Location::caller();
        match self.into_core() {
            Ok(core) => {
                let pass = move |result| resolver.put(result).into_iter().collect();
                core.pass_on(pass, location);
            }
            Err(result) => resolver.resolve(result),
        }
    }

    /// Chains like [`chain_deferred`](Deferred::chain_deferred), but reports a failure that comes
    /// after the other Deferred was cancelled.
    #[track_caller]
    pub(crate) fn chain_shielded(self, resolver: Resolver<T>) {
        let location = Location::caller();
        match self.into_core() {
            Ok(core) => {
                let pass = move |result| match result {
                    Err(failure) if resolver.is_cancelled() => {
                        report::deliver(Origin::Deferred, failure, location);
                        Vec::new()
                    }
                    result => resolver.put(result).into_iter().collect(),
                };
                core.pass_on(pass, location);
            }
            Err(result) => resolver.resolve(result),
        }
    }

    /// Makes a Deferred of the receiving end of a channel; the same as `Deferred::from(receiver)`.
    ///
    /// A reactor must be running on this thread; the sender may be on any thread. Cancelling the
    /// Deferred closes the channel.
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`DeferredError::Abandoned`] when the sender is dropped, and with
    /// [`DeferredError::NoReactor`] when no reactor runs on this
    /// thread.
    #[doc(alias("fromFuture", "from_receiver"))]
    #[track_caller]
    pub fn from_oneshot(receiver: oneshot::Receiver<T>) -> Self {
        Self::from_future(async { receiver.await.map_err(|_| DeferredError::Abandoned.into()) })
    }

    /// Sends the result, value or failure, to a channel, whose receiver may be moved to any thread.
    ///
    /// If the receiver was dropped, a value is dropped, and a failure is [reported](crate::report).
    /// Dropping the receiver does not cancel the Deferred.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Deferred;
    ///
    /// let mut receiver = Deferred::succeed(1).into_oneshot();
    /// let result = receiver.try_recv().unwrap().expect("it has fired");
    /// assert_eq!(result.unwrap(), 1);
    /// ```
    #[doc(alias = "asFuture")]
    #[track_caller]
    pub fn into_oneshot(self) -> oneshot::Receiver<Result<T, Failure>> {
        let (sender, receiver) = oneshot::channel();
        self.add_both(move |result| match sender.send(result) {
            Err(Err(failure)) => Err(failure),
            Ok(()) | Err(Ok(_)) => Ok(()),
        });
        receiver
    }

    /// Makes a stream with one item, the result.
    ///
    /// # Cancel safety
    ///
    /// As that of the Deferred: dropping the stream after it was polled cancels the Deferred.
    pub fn into_stream(self) -> impl Stream<Item = Result<T, Failure>> {
        stream::once(self)
    }
}

impl<T: 'static> Deferred<Vec<T>> {
    /// Collects the items of a stream; fails with the stream's first failure.
    ///
    /// The stream runs on this thread's reactor as a future given to [`Deferred::from_future`]
    /// does, and is dropped when the Deferred is cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// # use torsade::{Deferred, Failure, testing};
    /// testing::run(async |_reactor| {
    ///     let numbers = futures::stream::iter([Ok(1), Ok(2), Ok(3)]);
    ///     assert_eq!(Deferred::from_stream(numbers).await?, [1, 2, 3]);
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("collect", "try_collect"))]
    #[track_caller]
    pub fn from_stream(stream: impl Stream<Item = Result<T, Failure>> + 'static) -> Self {
        Self::from_future(stream.try_collect())
    }
}

impl<T: 'static> From<oneshot::Receiver<T>> for Deferred<T> {
    #[track_caller]
    fn from(receiver: oneshot::Receiver<T>) -> Self {
        Self::from_oneshot(receiver)
    }
}

/// A Deferred is terminated when its result has been taken.
impl<T: 'static> FusedFuture for Deferred<T> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Gone)
    }
}
