//! Two protocols that are connected to each other: [`WirePair`].

use std::fmt;
use std::time::Duration;

use super::wire::{Wire, in_memory};
use crate::protocol::Protocol;
use crate::reactor::Reactor;

/// Two protocols connected to each other: each receives the bytes that the other writes.
///
/// Bytes move only inside [`pump`](Self::pump), which makes one step, and inside
/// [`flush`](Self::flush), which makes steps until nothing moves any more; both run the reactor's
/// turns. Both protocols run on one in-memory reactor, whose time moves only by
/// [`advance`](Self::advance). Each end is a [`Wire`].
///
/// # Examples
///
/// ```
/// use torsade::testing::WirePair;
/// use torsade::{Context, Protocol};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
///         cx.write(data);
///     }
/// }
///
/// #[derive(Default)]
/// struct Client { answer: Vec<u8> }
///
/// impl Protocol for Client {
///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
///         cx.write("hello");
///     }
///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
///         self.answer.extend_from_slice(data);
///         cx.lose_connection();
///     }
/// }
///
/// let mut pair = WirePair::new(Client::default(), Echo);
/// assert!(pair.pump()); // to the server
/// pair.left().with_protocol(|client, _cx| assert!(client.answer.is_empty()));
/// assert!(pair.pump()); // and back
/// pair.flush();
/// assert!(pair.left().is_closed() && pair.right().is_closed());
/// ```
pub struct WirePair<A: Protocol, B: Protocol> {
    reactor: Reactor,
    left: Wire<A>,
    right: Wire<B>,
}

impl<A: Protocol, B: Protocol> WirePair<A, B> {
    /// Connects two protocols. The `connection_made` of both has run when this returns, `left`'s
    /// first; no bytes have been moved.
    ///
    /// # Panics
    ///
    /// Panics as [`Wire::new`] does; so does every method of a pair.
    #[track_caller]
    pub fn new(left: A, right: B) -> Self {
        let reactor = in_memory();
        Self {
            left: Wire::on(reactor.clone(), left),
            right: Wire::on(reactor.clone(), right),
            reactor,
        }
    }

    /// Moves the bytes written so far, in both directions, and after them the end of file or the
    /// reset. Returns whether anything moved.
    ///
    /// Bytes that are written in answer wait for the next step. While one end accepts nothing,
    /// because it is paused or full, no bytes are moved to it, so the connection of the other end
    /// becomes full.
    #[track_caller]
    pub fn pump(&mut self) -> bool {
        // An end may accept now what it did not accept before.
        self.left.settle();
        self.right.settle();
        let rightward = self.left.take_outgoing(self.right.takes_more());
        let leftward = self.right.take_outgoing(self.left.takes_more());
        let moved = self.right.deliver(rightward);
        self.left.deliver(leftward) || moved
    }

    /// Moves bytes in both directions until nothing moves any more.
    ///
    /// # Panics
    ///
    /// Panics when something still moves after a million steps.
    #[track_caller]
    pub fn flush(&mut self) {
        for _ in 0..MAX_STEPS {
            if !self.pump() {
                return;
            }
        }
        panic!("after a million steps, bytes still move between the two protocols");
    }

    /// Advances the clock of both protocols by `step`, and runs everything that comes due. Bytes
    /// that they write wait for the next step of [`pump`](Self::pump).
    #[track_caller]
    pub fn advance(&mut self, step: Duration) {
        self.reactor.advance(step);
    }

    /// Returns the first protocol's end.
    pub fn left(&mut self) -> &mut Wire<A> {
        &mut self.left
    }

    /// Returns the second protocol's end.
    pub fn right(&mut self) -> &mut Wire<B> {
        &mut self.right
    }

    /// Returns the reactor on which both protocols run.
    pub fn reactor(&self) -> &Reactor {
        &self.reactor
    }
}

impl<A: Protocol, B: Protocol> fmt::Debug for WirePair<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WirePair")
            .field("left", &self.left)
            .field("right", &self.right)
            .finish()
    }
}

/// More steps than any two protocols need.
const MAX_STEPS: usize = 1_000_000;
