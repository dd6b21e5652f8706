//! From Twisted: its terms, and the terms here.
//!
//! The concepts are the same: a reactor, Deferreds, protocols made by factories, transports. What
//! differs:
//!
//! * The reactor is a value, not a global. [`torsade::run`](crate::run()) makes one and runs an
//!   async closure, as `react` does; several may live in one process.
//! * `inlineCallbacks` is `async`: await a Deferred anywhere.
//! * Adding a callback consumes the Deferred and returns the next one, so its type changes as its
//!   value does. Firing consumes the [`Resolver`](crate::Resolver), so firing twice does not
//!   compile.
//! * A protocol gets its transport with each hook, as [`Context`](crate::Context), and
//!   its hooks take `&mut self`. Other code holds a [`Handle`](crate::Handle) and posts to it.
//! * `write` and `loseConnection` never call back into your code.
//! * An unhandled failure is reported when its Deferred is dropped, not when a garbage
//!   collector runs. A Deferred that you keep in a field keeps its failure silent, as in
//!   Twisted.
//! * There is no `self.factory`: keep shared state in an `Rc<Shared>` with `Cell`s, and clone it
//!   into each protocol in `build_protocol`. To count connections there is
//!   [`Port::connections`](crate::Port::connections).
//! * Twisted's class `Clock` is [`VirtualClock`](crate::VirtualClock); [`Clock`](crate::Clock) is
//!   the trait of everything that has timers. A protocol's repeated work is a method that calls
//!   `cx.call_later(period, Self::tick)` again: it ends with the connection.
//! * Options go with the endpoint, as a pair: `reactor.listen(("tcp:80", options), ..)`.
//!
//! [Futures for those who know Deferreds](super::futures) has the names that most programs use,
//! with links. The long table here is for looking up; it is generated from the aliases under which
//! the documentation's search finds items of this crate by Twisted's names.
//!
#![doc = include_str!("from_twisted.md")]
