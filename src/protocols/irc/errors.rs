//! The errors of IRC: [`IrcError`].

use std::time::Duration;

use super::Text;
use crate::failure::errors;

/// The error of a message that cannot be received or sent, or the reason for which the client has
/// ended the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IrcError {
    /// A line has no command.
    #[doc(alias = "IRCBadMessage")]
    NoCommand {
        /// The line.
        line: Text,
    },
    /// A command is not made of letters, or of digits.
    #[doc(alias = "IRCBadMessage")]
    BadCommand {
        /// The word at the position of the command.
        found: Text,
    },
    /// A message contains a zero byte, or a byte that ends a line.
    ForbiddenByte {
        /// The byte.
        found: u8,
    },
    /// A parameter that is not the last one is empty, contains a space, or begins with a colon; or
    /// the name of a sender contains a space.
    BadParam {
        /// The parameter.
        found: Text,
    },
    /// A line is too long.
    LineTooLong {
        /// The length limit, in bytes.
        limit: usize,
    },
    /// The name of the target leaves no space for text in the line.
    NoSpaceForText,
    /// The connection is not established, or the client has quit.
    NotConnected,
    /// With this message, more lines than
    /// [`Settings::queue_limit`](super::Settings::queue_limit) would wait to be sent.
    QueueFull {
        /// The limit, in lines.
        limit: usize,
    },
    /// More events than the limit have arrived while a [`Client`](super::Client) waited for the
    /// result of a command.
    TooManyEvents {
        /// The maximum number of events that wait to be returned.
        limit: usize,
    },
    /// The server has no user of that name.
    NoSuchNick {
        /// The name.
        nick: Text,
    },
    /// The server refuses the nickname, and those that were tried in its place.
    #[doc(alias = "ERR_NICKNAMEINUSE")]
    NickRefused {
        /// The last nickname that was tried.
        nick: Text,
    },
    /// The server refuses the connection: the password is wrong, or the client is banned.
    #[doc(alias("ERR_PASSWDMISMATCH", "ERR_YOUREBANNEDCREEP"))]
    Refused {
        /// The server's text.
        text: Text,
    },
    /// The SASL authentication failed, or the server offers none.
    SaslFailed {
        /// The server's text.
        text: Text,
    },
    /// The server has closed the connection.
    ServerClosed {
        /// The text of the server's `ERROR` message.
        text: Text,
    },
    /// The registration was not finished in time.
    RegistrationTimedOut {
        /// The time limit.
        limit: Duration,
    },
    /// The server did not answer a `PING` in time.
    PongMissing {
        /// The time limit.
        limit: Duration,
    },
}

errors! {
    enum IrcError {
        NoCommand { line }: "the line {line:?} has no command";
        BadCommand { found }: "{found:?} is not a command";
        ForbiddenByte { found }: "a message contains the byte {found:#04x}";
        BadParam { found }: "{found:?} cannot be sent as a parameter before the last one";
        LineTooLong { limit }: "a line is longer than {limit} bytes";
        NoSpaceForText: "the name of the target leaves no space for text";
        NotConnected: "there is no connection to an IRC server";
        QueueFull { limit }: "more than {limit} lines would wait to be sent";
        TooManyEvents { limit }: "more than {limit} events have arrived before the result";
        NoSuchNick { nick }: "there is no user {nick:?}";
        NickRefused { nick }: "the server refuses the nickname {nick:?}";
        Refused { text }: "the server refuses the client: {text}";
        SaslFailed { text }: "the authentication failed: {text}";
        ServerClosed { text }: "the server has closed the connection: {text}";
        RegistrationTimedOut { limit }: "the registration was not finished within {limit:?}";
        PongMissing { limit }: "the server did not answer a PING within {limit:?}";
    }
}
