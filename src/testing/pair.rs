//! Two protocols that are connected to each other: [`WirePair`].

use std::fmt;
use std::time::Duration;

use super::wire::{Wire, in_memory};
use crate::protocol::Protocol;
use crate::reactor::Reactor;

/// Two protocols connected to each other, without a loop of the test's own: what one writes, the
/// other is given.
///
/// Bytes travel only when they are told to, in steps ([`pump`](Self::pump)) or until nothing moves
/// any more ([`flush`](Self::flush)). Both run on one reactor in memory, whose time stands still
/// but for [`advance`](Self::advance). Each end is a [`Wire`].
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
#[doc(alias("iosim", "IOPump", "FakeTransport", "connectedServerAndClient"))]
pub struct WirePair<A: Protocol, B: Protocol> {
    reactor: Reactor,
    left: Wire<A>,
    right: Wire<B>,
}

impl<A: Protocol, B: Protocol> WirePair<A, B> {
    /// Connects two protocols. The `connection_made` of both has run when this returns, `left`'s
    /// first; nothing has been carried across.
    ///
    /// # Panics
    ///
    /// As for [`Wire::new`]; so does every method of a pair.
    #[track_caller]
    pub fn new(left: A, right: B) -> Self {
        let reactor = in_memory();
        Self {
            left: Wire::on(reactor.clone(), left),
            right: Wire::on(reactor.clone(), right),
            reactor,
        }
    }

    /// Carries across, in both directions, what was written so far, and after it the end of file or
    /// the reset. Gives whether anything moved.
    ///
    /// What is written in answer stays where it is until the next step. An end that does not take
    /// what it is given, because it is paused or full, is given nothing more, and its peer becomes
    /// full.
    #[track_caller]
    pub fn pump(&mut self) -> bool {
        // An end may take by now what it did not take before.
        self.left.settle();
        self.right.settle();
        let rightward = self.left.take_outgoing(self.right.takes_more());
        let leftward = self.right.take_outgoing(self.left.takes_more());
        let moved = self.right.take_in(rightward);
        self.left.take_in(leftward) || moved
    }

    /// Carries across what is written until nothing moves any more.
    ///
    /// # Panics
    ///
    /// Also when something still moves after a million steps.
    #[track_caller]
    pub fn flush(&mut self) {
        for _ in 0..A_MILLION {
            if !self.pump() {
                return;
            }
        }
        panic!("after a million steps the two still have something to say to each other");
    }

    /// Lets time go by for both. What they write then stays where it is.
    #[track_caller]
    pub fn advance(&mut self, step: Duration) {
        self.reactor.advance(step);
    }

    /// The first protocol's end.
    pub fn left(&mut self) -> &mut Wire<A> {
        &mut self.left
    }

    /// The second protocol's end.
    pub fn right(&mut self) -> &mut Wire<B> {
        &mut self.right
    }

    /// The reactor that both run on.
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
const A_MILLION: usize = 1_000_000;
