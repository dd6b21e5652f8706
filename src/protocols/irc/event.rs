//! The events of a client: [`Event`].

use std::time::Duration;

use super::{IrcError, Message, Mode, Prefix, Text};

/// An event on IRC.
///
/// [`Client::next_event`](super::Client::next_event) returns events; an
/// [`IrcProtocol`](super::IrcProtocol) has a hook for each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The client has signed on. Channels can be joined now.
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
    /// A user has changed the nickname.
    #[doc(alias = "userRenamed")]
    UserRenamed {
        /// The user, with the old nickname.
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
    /// A notice to a channel or to the client. A program must not answer it.
    #[doc(alias = "noticed")]
    Notice {
        /// The sender.
        user: Prefix,
        /// The channel, or the client's nickname.
        target: Text,
        /// The text.
        text: Text,
    },
    /// An action (`/me`), to a channel or to the client.
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
        /// The user or server that has removed the client.
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
        /// The user or server that has removed the user.
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
    /// A channel's topic: after a change, after the client has joined, or as the answer to
    /// [`ask_topic`](super::IrcSender::ask_topic).
    #[doc(alias = "topicUpdated")]
    TopicUpdated {
        /// The user who has changed the topic; otherwise the server.
        user: Prefix,
        /// The channel.
        channel: Text,
        /// The topic, which may be empty.
        topic: Text,
    },
    /// Modes were set or removed.
    #[doc(alias = "modeChanged")]
    ModeChanged {
        /// The user or server that has changed the modes.
        user: Prefix,
        /// The channel, or the client's nickname.
        target: Text,
        /// Whether the modes were set; `false` if they were removed.
        is_set: bool,
        /// The modes.
        modes: Vec<Mode>,
    },
    /// A user was invited to a channel: the client, or another user.
    Invited {
        /// The user who invites.
        user: Prefix,
        /// The nickname of the invited user.
        nick: Text,
        /// The channel.
        channel: Text,
    },
    /// The names of a channel's members: after the client has joined, or as the answer to
    /// [`names`](super::IrcSender::names).
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
    /// The time at which the server was created (reply 003).
    Created {
        /// The server's text.
        text: Text,
    },
    /// The name and version of the server (reply 002).
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
    /// Features and limits of the server (reply 005);
    /// [`IrcSender::support`](super::IrcSender::support) returns those of all replies.
    Isupport {
        /// The tokens of this reply.
        tokens: Vec<Text>,
    },
    /// The server suggests another server (reply 010).
    Bounce {
        /// The server's text.
        text: Text,
    },
    /// The number of users, operators, channels or clients (replies 251, 252, 254 and 255).
    #[doc(alias("luserClient", "luserOp", "luserChannels", "luserMe"))]
    Lusers {
        /// The reply: 251 for users, 252 for operators, 254 for channels, 255 for the clients of
        /// this server.
        reply: u16,
        /// The number of operators or channels; `None` for the other replies, whose text has the
        /// numbers.
        count: Option<u64>,
        /// The server's text.
        text: Text,
    },
    /// The answer to a [`ping`](super::IrcSender::ping).
    Pong {
        /// The user who answers.
        user: Prefix,
        /// The time between the ping and the answer.
        delay: Duration,
    },
    /// A CTCP query that the library does not answer. It answers `PING`, `CLIENTINFO` and `ERRMSG`,
    /// and the queries for which the [`Settings`](super::Settings) have an answer.
    #[doc(alias("ctcpUnknownQuery", "ctcpQuery", "DCC"))]
    CtcpQuery {
        /// The sender.
        user: Prefix,
        /// The channel, or the client's nickname.
        target: Text,
        /// The kind of query, in capitals.
        tag: String,
        /// The text after the kind, which may be empty.
        data: Text,
    },
    /// An answer to a CTCP query.
    #[doc(alias("ctcpUnknownReply", "ctcpReply"))]
    CtcpReply {
        /// The sender.
        user: Prefix,
        /// The kind of query, in capitals.
        tag: String,
        /// The text after the kind, which may be empty.
        data: Text,
    },
    /// The server is about to close the connection (`ERROR`).
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
    /// A message for which there is no other event.
    #[doc(alias = "irc_unknown")]
    Other(Message),
}

/// The server's answer to [`IrcSender::whois`](super::IrcSender::whois) about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Whois {
    /// The nickname.
    pub nick: Text,
    /// The user's name on the host.
    pub user: Text,
    /// The user's host.
    pub host: Text,
    /// The real name.
    pub realname: Text,
    /// The name of the user's server.
    pub server: Text,
    /// Whether the user is an operator of the network.
    pub is_operator: bool,
    /// The time for which the user has sent nothing; `None` if the server does not say it.
    pub idle: Option<Duration>,
    /// The channels, with the marks of the user's ranks.
    pub channels: Vec<Text>,
    /// The name of the user's account; `None` if the user has not logged in.
    pub account: Option<Text>,
    /// The text that the user has set for being away; `None` if the user is not away.
    pub away: Option<Text>,
}
