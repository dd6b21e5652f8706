//! Protocols that receive messages instead of a stream of bytes.
//!
//! # The idea
//!
//! A message format is a *codec*: a value without I/O that finds the frames in received bytes
//! ([`Decoder`]) and writes them ([`Encoder`]). Any codec serves three uses, over any transport:
//!
//! - [`FrameProtocol`] is a [`Protocol`](crate::Protocol) whose hook is called for each frame;
//!   [`LineProtocol`] is the shortest way to receive lines;
//! - [`Framed`] is a stream and a sink of frames, for async code;
//! - [`FrameBuffer`] finds frames in bytes that do not come from a connection.
//!
//! A [`ProtocolWrapper`] is a layer around any protocol.
//!
//! There are codecs of lines ([`LineCodec`]), netstrings ([`NetstringCodec`]) and frames with a
//! length field ([`LengthCodec`]). A custom codec takes less than thirty lines: see
//! [`Decoder`].
//!
//! [`irc`] is a client of IRC, as a protocol with hooks and for async code; it needs the crate
//! feature `irc`.

mod frames;
#[cfg(any(doc, feature = "irc"))]
#[cfg_attr(docsrs, doc(cfg(feature = "irc")))]
pub mod irc;
mod lines;
mod state;
mod wrapper;

#[doc(alias(
    "LineReceiver",
    "LineOnlyReceiver",
    "NetstringReceiver",
    "Int32StringReceiver"
))]
pub use self::frames::FrameProtocol;
#[doc(alias("LineReceiver", "LineOnlyReceiver"))]
pub use self::lines::LineProtocol;
pub use self::lines::Lines;
#[doc(alias("StatefulStringProtocol", "StatefulProtocol", "getInitialState"))]
pub use self::state::FrameState;
#[doc(alias = "wrappedProtocol")]
pub use self::wrapper::Wrapped;
pub use self::wrapper::{InnerProtocol, ProtocolWrapper, WrappingFactory};
#[doc(alias("codec", "framing"))]
pub use crate::framing::Decoder;
#[doc(alias("LengthDelimitedCodec", "IntNStringReceiver"))]
pub use crate::framing::LengthCodec;
#[doc(alias("LineReceiver", "LineOnlyReceiver", "LinesCodec"))]
pub use crate::framing::LineCodec;
#[doc(alias("NetstringReceiver", "stringReceived", "sendString"))]
pub use crate::framing::NetstringCodec;
pub use crate::framing::{Decoded, Encoder, FrameBuffer, FrameError, Rejected};
pub use crate::stream::{Framed, Frames};
