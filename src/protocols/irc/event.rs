//! What happens on IRC: [`Event`].

use std::time::Duration;

use super::{IrcError, Message, Mode, Prefix, Text};

/// Something that has happened on IRC.
///
/// [`Client::next_event`](super::Client::next_event) returns it; an
/// [`IrcProtocol`](super::IrcProtocol) has a hook for each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The client is registered. Channels can be joined now.
    #[doc(alias = "signedOn")]
    SignedOn {
        /// The client's nickname, as the server has it.
        nick: Text,
    },
    /// The client has joined a channel.
    Joined {
        /// The channel.
        channel: Text,
    },
    /// The client has left a channel.
    Left {
        /// The channel.
        channel: Text,
    },
    /// A user has joined a channel.
    #[doc(alias = "userJoined")]
    UserJoined {
        /// The user.
        user: Prefix,
        /// The channel.
        channel: Text,
    },
    /// A user has left a channel.
    #[doc(alias = "userLeft")]
    UserLeft {
        /// The user.
        user: Prefix,
        /// The channel.
        channel: Text,
        /// The reason, which may be empty.
        reason: Text,
    },
    /// A user has quit.
    #[doc(alias = "userQuit")]
    UserQuit {
        /// The user.
        user: Prefix,
        /// The reason, which may be empty.
        reason: Text,
    },
    /// A user has another nickname.
    #[doc(alias = "userRenamed")]
    UserRenamed {
        /// The user, with the nickname until now.
        user: Prefix,
        /// The new nickname.
        nick: Text,
    },
    /// A message to a channel or to the client.
    Privmsg {
        /// The sender.
        user: Prefix,
        /// The channel, or the client's nickname.
        target: Text,
        /// The text.
        text: Text,
    },
    /// A notice to a channel or to the client. A program never answers one.
    #[doc(alias = "noticed")]
    Notice {
        /// The sender.
        user: Prefix,
        /// The channel, or the client's nickname.
        target: Text,
        /// The text.
        text: Text,
    },
    /// An action (`/me`) in a channel or towards the client.
    Action {
        /// The sender.
        user: Prefix,
        /// The channel, or the client's nickname.
        target: Text,
        /// The text.
        text: Text,
    },
    /// The client was removed from a channel.
    #[doc(alias = "kickedFrom")]
    KickedFrom {
        /// The channel.
        channel: Text,
        /// Who did it.
        kicker: Prefix,
        /// The reason, which may be empty.
        reason: Text,
    },
    /// A user was removed from a channel.
    #[doc(alias = "userKicked")]
    UserKicked {
        /// The user's nickname.
        nick: Text,
        /// The channel.
        channel: Text,
        /// Who did it.
        kicker: Prefix,
        /// The reason, which may be empty.
        reason: Text,
    },
    /// The client has another nickname.
    #[doc(alias = "nickChanged")]
    NickChanged {
        /// The new nickname.
        nick: Text,
    },
    /// A channel's topic: it has changed, or the client has joined or asked.
    #[doc(alias = "topicUpdated")]
    TopicUpdated {
        /// Who changed it, or the server that tells.
        user: Prefix,
        /// The channel.
        channel: Text,
        /// The topic, which may be empty.
        topic: Text,
    },
    /// Modes were set or removed.
    #[doc(alias = "modeChanged")]
    ModeChanged {
        /// Who did it.
        user: Prefix,
        /// The channel, or the client's nickname.
        target: Text,
        /// Whether they were set.
        is_set: bool,
        /// The modes.
        modes: Vec<Mode>,
    },
    /// The client was invited to a channel, or learns of another invitation.
    Invited {
        /// Who invites.
        user: Prefix,
        /// Who is invited.
        nick: Text,
        /// The channel.
        channel: Text,
    },
    /// The names of a channel's members: the client has joined, or asked.
    Names {
        /// The channel.
        channel: Text,
        /// The nicknames, with the marks of their ranks.
        names: Vec<Text>,
    },
    /// The server's message of the day.
    #[doc(alias = "receivedMOTD")]
    Motd {
        /// The lines; none when the server has no message.
        lines: Vec<Text>,
    },
    /// When the server was created (reply 003).
    Created {
        /// The server's text.
        text: Text,
    },
    /// The name of the server (reply 002).
    #[doc(alias = "yourHost")]
    YourHost {
        /// The server's text.
        text: Text,
    },
    /// The server and its modes (reply 004).
    #[doc(alias = "myInfo")]
    MyInfo {
        /// The server's name.
        server: Text,
        /// The server's version.
        version: Text,
        /// The modes of users.
        user_modes: Text,
        /// The modes of channels.
        channel_modes: Text,
    },
    /// What the server supports (reply 005); [`Sender::support`](super::Sender::support) returns
    /// all of it.
    Isupport {
        /// The tokens of this reply.
        tokens: Vec<Text>,
    },
    /// The server suggests another one (reply 010).
    Bounce {
        /// The server's text.
        text: Text,
    },
    /// How many users, operators and channels there are (replies 251 to 255).
    #[doc(alias("luserClient", "luserOp", "luserChannels", "luserMe"))]
    Lusers {
        /// The reply: 251 for users, 252 for operators, 254 for channels, 255 for this server.
        reply: u16,
        /// The number of operators or channels.
        count: Option<u64>,
        /// The server's text.
        text: Text,
    },
    /// The answer to a [`ping`](super::Sender::ping).
    Pong {
        /// Who answers.
        user: Prefix,
        /// How long it took.
        delay: Duration,
    },
    /// A CTCP query that the library does not answer.
    #[doc(alias("ctcpUnknownQuery", "ctcpQuery", "DCC"))]
    CtcpQuery {
        /// The sender.
        user: Prefix,
        /// The channel, or the client's nickname.
        target: Text,
        /// The kind of query, in capitals.
        tag: String,
        /// The rest.
        data: Text,
    },
    /// An answer to a CTCP query.
    #[doc(alias("ctcpUnknownReply", "ctcpReply"))]
    CtcpReply {
        /// The sender.
        user: Prefix,
        /// The kind of query, in capitals.
        tag: String,
        /// The rest.
        data: Text,
    },
    /// The server closes the connection.
    Error {
        /// The server's text.
        text: Text,
    },
    /// A line that is not a message. The connection stays open.
    #[doc(alias = "badMessage")]
    BadMessage {
        /// The error.
        error: IrcError,
    },
    /// Any other message.
    #[doc(alias = "irc_unknown")]
    Other(Message),
}

/// What a server tells about a user; see [`Sender::whois`](super::Sender::whois).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Whois {
    /// The nickname.
    pub nick: Text,
    /// The name on the host.
    pub user: Text,
    /// The host.
    pub host: Text,
    /// The real name.
    pub realname: Text,
    /// The name of the user's server.
    pub server: Text,
    /// Whether the user is an operator of the network.
    pub is_operator: bool,
    /// For how long the user has said nothing.
    pub idle: Option<Duration>,
    /// The channels, with the marks of the user's ranks.
    pub channels: Vec<Text>,
    /// The name of the user's account.
    pub account: Option<Text>,
    /// The text of a user who is away.
    pub away: Option<Text>,
}
