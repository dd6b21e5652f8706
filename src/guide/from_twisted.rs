//! From Twisted: what differs, and the names here for Twisted's names.
//!
//! The concepts are the same: a reactor, Deferreds, protocols made by factories, transports. What
//! differs:
//!
//! * The reactor is a value, not a global. [`torsade::run`](crate::run()) makes a reactor and runs
//!   an async closure on it, as `react` does; a process may have several reactors.
//! * Instead of `inlineCallbacks`, write an `async` function and await the Deferred.
//! * Adding a callback consumes the Deferred and returns the next one, so its type changes as its
//!   value does. Firing consumes the [`Resolver`](crate::Resolver), so firing twice does not
//!   compile.
//! * The hooks of a protocol take `&mut self` and a [`Context`](crate::Context), which has the
//!   transport. Other code holds a [`Handle`](crate::Handle) and posts closures to the protocol.
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
//! * What a thread gives to [`Remote::call`](crate::reactor::Remote::call) (`callFromThread`) must
//!   be `Send`, so it has no protocol and no transport in it: the thread sends values, and a task
//!   or a Deferred on the reactor's thread uses them. The page of `Remote::call` has an example.
//! * From a handle of `Lines` a method of the protocol inside is called with
//!   [`Lines::inner`](crate::protocols::Lines::inner).
//! * Options go with the endpoint, as a pair: `reactor.listen(("tcp:80", options), ..)`.
//!
//! # A first program
//!
//! A chat with a factory, nicknames and a limit on silence, in Twisted:
//!
//! ```python
//! class Chat(LineOnlyReceiver, TimeoutMixin):
//!     nick = None
//!
//!     def connectionMade(self):
//!         self.setTimeout(60)
//!         self.sendLine(b"nick?")
//!
//!     def lineReceived(self, line):
//!         self.resetTimeout()
//!         if self.nick is None:
//!             self.nick = line
//!             self.factory.members.append(self)
//!         else:
//!             for member in self.factory.members:
//!                 member.sendLine(self.nick + b": " + line)
//!
//!     def timeoutConnection(self):
//!         self.sendLine(b"you were silent")
//!         self.transport.loseConnection()
//!
//!     def connectionLost(self, reason):
//!         self.setTimeout(None)
//!         if self in self.factory.members:
//!             self.factory.members.remove(self)
//!
//! class ChatFactory(Factory):
//!     protocol = Chat
//!
//!     def __init__(self):
//!         self.members = []
//!
//! endpoints.serverFromString(reactor, "tcp:4004").listen(ChatFactory())
//! reactor.run()
//! ```
//!
//! and here. The delayed call and the membership end with the connection:
//!
//! ```
//! use std::time::Duration;
//! use torsade::clock::DelayedCall;
//! use torsade::prelude::*;
//! use torsade::protocols::{LineProtocol, Lines};
//!
//! const SILENCE: Duration = Duration::from_secs(60);
//!
//! struct Chat {
//!     members: Group, // what `self.factory` has
//!     nick: Option<Vec<u8>>,
//!     timeout: Option<DelayedCall>,
//! }
//!
//! impl LineProtocol for Chat {
//!     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
//!         self.timeout = Some(cx.call_later(SILENCE, |_me, cx| {
//!             cx.send_line("you were silent");
//!             cx.lose_connection();
//!         }));
//!         cx.send_line("nick?");
//!     }
//!
//!     fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
//!         if let Some(timeout) = &self.timeout {
//!             timeout.reset(SILENCE);
//!         }
//!         match &self.nick {
//!             Some(nick) => self.members.write([nick, &b": "[..], line, b"\r\n"].concat()),
//!             None => {
//!                 self.nick = Some(line.to_vec());
//!                 self.members.join(cx);
//!             }
//!         };
//!     }
//! }
//!
//! fn main() -> Result<(), Failure> {
//!     # if true { return Ok(()); }
//!     torsade::run(async |reactor| {
//!         let members = Group::new();
//!         reactor.listen("tcp:4004", move |_peer| {
//!             Lines::new(Chat { members: members.clone(), nick: None, timeout: None })
//!         })?;
//!         reactor.stopped().await
//!     })
//! }
//! ```
//!
//! # The names
//!
//! [Futures for those who know Deferreds](super::futures) has the names that most programs use,
//! by topic. The table here is for looking up names. It is generated from the aliases by which the
//! search of this documentation finds items.
//!
#![doc = include_str!("from_twisted.md")]
