//! From Twisted: its words, and ours.
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
//! * A protocol gets its transport with each hook, as [`Context`](crate::Context), and `&mut self`
//!   is real. Other code holds a [`Handle`](crate::Handle) and posts to it.
//! * `write` and `loseConnection` never call back into your code.
//! * A failure that nobody handled is always reported, also when the Deferred is still referenced.
//! * Options go with the endpoint, as a pair: `reactor.listen(("tcp:80", options), ..)`.
//!
//! The table is made from the aliases by which the documentation's search finds our items under
//! Twisted's names.
//!
#![doc = include_str!("from_twisted.md")]
