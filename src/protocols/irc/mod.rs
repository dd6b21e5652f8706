//! A client of IRC, as a protocol with hooks and for async code.
//!
//! # The idea
//!
//! A program uses one of two interfaces. An [`IrcProtocol`] has a hook for each event;
//! [`IrcClient`] makes a protocol of it, for
//! [`ClientService`](crate::services::ClientService) and everything else that takes a protocol. A
//! [`Client`] is for async code: [`Client::next_event`] returns each [`Event`]. Both send commands
//! through an [`IrcSender`], which any code on the reactor's thread may keep.
//!
//! The library registers the client at the server (nickname, user, password, capabilities), answers
//! `PING` and CTCP queries, closes the connection of a server that does not answer, splits long
//! messages, and limits the rate of the lines that it sends; see [`Settings`]. The client *has
//! signed on* when the server has accepted the registration.
//!
//! # Rules
//!
//! 1. A line that is not a message is reported ([`Event::BadMessage`]) and does not end the
//!    connection; text that is not UTF-8 is kept ([`Text`]).
//! 2. A parameter cannot add a line: a command fails if a parameter contains the end of a line. In
//!    [`say`](IrcSender::say), [`msg`](IrcSender::msg), [`notice`](IrcSender::notice) and
//!    [`describe`](IrcSender::describe) each line of the text becomes a message.
//! 3. Of the names of channel members, of the message of the day, and of the channels of a
//!    [`Whois`], at most 4 MiB each are stored; more is dropped. CTCP queries are answered four
//!    times at once, then once in four seconds; others get no answer.
//! 4. The quoting of whole lines with byte 16, from the first CTCP draft, is not implemented.
//!
//! # Examples
//!
//! A bot with hooks:
//!
//! ```
//! use torsade::protocols::irc::{Irc, IrcClient, IrcProtocol, Prefix, Settings, Text};
//! use torsade::testing::Wire;
//!
//! struct Greeter;
//!
//! impl IrcProtocol for Greeter {
//!     fn signed_on(&mut self, irc: &mut Irc<'_, Self>) {
//!         let _ = irc.join("#rust");
//!     }
//!
//!     fn user_joined(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, channel: &Text) {
//!         let _ = irc.say(channel, format!("welcome, {}", user.nick));
//!     }
//! }
//!
//! let mut wire = Wire::new(IrcClient::new(Greeter, Settings::new("bot")));
//! assert_eq!(wire.take_received(), b"NICK bot\r\nUSER bot 0 * bot\r\n");
//! wire.send(":irc.example.org 001 bot :Welcome\r\n");
//! assert_eq!(wire.take_received(), b"JOIN #rust\r\n");
//! wire.send(":ada!a@example.org JOIN #rust\r\n");
//! assert_eq!(wire.take_received(), b"PRIVMSG #rust :welcome, ada\r\n");
//! ```
//!
//! The same for async code:
//!
//! ```
//! use torsade::protocols::irc::{Client, Event, Settings};
//! use torsade::{Connection, Failure};
//!
//! async fn greet(conn: Connection) -> Result<(), Failure> {
//!     let mut client = Client::connect(conn, Settings::new("bot")).await?;
//!     client.join("#rust")?;
//!     while let Some(event) = client.next_event().await? {
//!         if let Event::UserJoined { user, channel } = event {
//!             client.say(channel, format!("welcome, {}", user.nick))?;
//!         }
//!     }
//!     Ok(())
//! }
//! ```

mod client;
mod codec;
mod ctcp;
mod errors;
mod event;
mod message;
mod modes;
mod pace;
mod protocol;
mod sender;
mod session;
mod settings;
mod split;
mod support;
mod text;
mod wrapper;

#[doc(alias = "IRCClient")]
pub use self::client::Client;
pub use self::codec::IrcCodec;
pub use self::errors::IrcError;
pub use self::event::{Event, Whois};
pub use self::message::Message;
#[doc(alias = "hostmask")]
pub use self::message::Prefix;
pub use self::modes::Mode;
pub use self::protocol::Irc;
#[doc(alias = "IRCClient")]
pub use self::protocol::IrcProtocol;
pub use self::sender::IrcSender;
pub use self::settings::Settings;
pub use self::support::ChannelModes;
#[doc(alias("ServerSupportedFeatures", "isupport"))]
pub use self::support::Support;
pub use self::text::{CaseMapping, Text};
pub use self::wrapper::IrcClient;
