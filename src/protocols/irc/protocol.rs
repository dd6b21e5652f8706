//! The interface of a client with hooks: [`IrcProtocol`].

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::{Event, IrcError, IrcSender, Message, Mode, Prefix, Text};
use crate::clock::DelayedCall;
use crate::failure::Failure;
use crate::protocol::Context;

/// The hooks of an IRC client. [`IrcClient`](super::IrcClient) makes a protocol of an
/// `IrcProtocol`.
///
/// The hooks have the names of Twisted's `IRCClient`. Each corresponds to an [`Event`], whose page
/// describes the arguments. The defaults do nothing.
///
/// # Examples
///
/// A bot that answers when a message in a channel begins with its name, and when it gets a private
/// message:
///
/// ```
/// use torsade::protocols::irc::{Irc, IrcClient, IrcProtocol, Prefix, Settings, Text};
/// use torsade::testing::Wire;
///
/// struct Parrot;
///
/// impl IrcProtocol for Parrot {
///     fn privmsg(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, target: &Text, text: &Text) {
///         let sent = if irc.is_me(target) {
///             irc.msg(&user.nick, text)
///         } else if text.starts_with(&irc.nick()) {
///             irc.say(target, format!("{}: yes?", user.nick))
///         } else {
///             return;
///         };
///         if let Err(error) = sent {
///             eprintln!("cannot answer: {error}");
///         }
///     }
/// }
///
/// let mut wire = Wire::new(IrcClient::new(Parrot, Settings::new("polly")));
/// wire.send(":irc.example.org 001 polly :Welcome\r\n");
/// wire.take_received();
/// wire.send(":ada!a@example.org PRIVMSG #rust :polly: hello\r\n");
/// assert_eq!(wire.take_received(), b"PRIVMSG #rust :ada: yes?\r\n");
/// wire.send(":ada!a@example.org PRIVMSG polly :psst\r\n");
/// assert_eq!(wire.take_received(), b"PRIVMSG ada psst\r\n");
/// ```
pub trait IrcProtocol: Sized + 'static {
    /// Called when the connection is established; the registration has begun.
    #[doc(alias = "connectionMade")]
    fn connection_made(&mut self, irc: &mut Irc<'_, Self>) {
        let _ = irc;
    }

    /// Returns the nickname to try in place of one that is in use. The default is that of the
    /// [settings](super::Settings::alter_collided_nick).
    #[doc(alias = "alterCollidedNick")]
    fn alter_collided_nick(&mut self, irc: &mut Irc<'_, Self>, nick: &Text) -> Text {
        irc.other_nick(nick)
    }

    /// Called when the client has signed on. Channels can be joined now.
    #[doc(alias = "signedOn")]
    fn signed_on(&mut self, irc: &mut Irc<'_, Self>) {
        let _ = irc;
    }

    /// Called when the client has joined a channel.
    fn joined(&mut self, irc: &mut Irc<'_, Self>, channel: &Text) {
        let _ = (irc, channel);
    }

    /// Called when the client has left a channel.
    fn left(&mut self, irc: &mut Irc<'_, Self>, channel: &Text) {
        let _ = (irc, channel);
    }

    /// Called when another user has joined a channel.
    #[doc(alias = "userJoined")]
    fn user_joined(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, channel: &Text) {
        let _ = (irc, user, channel);
    }

    /// Called when another user has left a channel. The reason may be empty.
    #[doc(alias = "userLeft")]
    fn user_left(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, channel: &Text, reason: &Text) {
        let _ = (irc, user, channel, reason);
    }

    /// Called when another user has quit. The reason may be empty.
    #[doc(alias = "userQuit")]
    fn user_quit(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, reason: &Text) {
        let _ = (irc, user, reason);
    }

    /// Called when another user has a new nickname; `user` has the old one.
    #[doc(alias = "userRenamed")]
    fn user_renamed(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, nick: &Text) {
        let _ = (irc, user, nick);
    }

    /// Called for a message. The target is a channel, or the client's nickname.
    fn privmsg(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, target: &Text, text: &Text) {
        let _ = (irc, user, target, text);
    }

    /// Called for a notice, which a program must not answer. The target is a channel, or the
    /// client's nickname.
    #[doc(alias = "noticed")]
    fn notice(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, target: &Text, text: &Text) {
        let _ = (irc, user, target, text);
    }

    /// Called for an action (`/me`). The target is a channel, or the client's nickname.
    fn action(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, target: &Text, text: &Text) {
        let _ = (irc, user, target, text);
    }

    /// Called when the client was removed from a channel. The reason may be empty.
    #[doc(alias = "kickedFrom")]
    fn kicked_from(
        &mut self,
        irc: &mut Irc<'_, Self>,
        channel: &Text,
        kicker: &Prefix,
        reason: &Text,
    ) {
        let _ = (irc, channel, kicker, reason);
    }

    /// Called when another user was removed from a channel. The reason may be empty.
    #[doc(alias = "userKicked")]
    fn user_kicked(
        &mut self,
        irc: &mut Irc<'_, Self>,
        nick: &Text,
        channel: &Text,
        kicker: &Prefix,
        reason: &Text,
    ) {
        let _ = (irc, nick, channel, kicker, reason);
    }

    /// Called when the client has a new nickname.
    #[doc(alias = "nickChanged")]
    fn nick_changed(&mut self, irc: &mut Irc<'_, Self>, nick: &Text) {
        let _ = (irc, nick);
    }

    /// Called with the topic of a channel: after a change, when the client has joined, and as the
    /// answer to [`ask_topic`](IrcSender::ask_topic). The topic may be empty. `user` is the user
    /// who has changed the topic; otherwise the server.
    #[doc(alias = "topicUpdated")]
    fn topic_updated(
        &mut self,
        irc: &mut Irc<'_, Self>,
        user: &Prefix,
        channel: &Text,
        topic: &Text,
    ) {
        let _ = (irc, user, channel, topic);
    }

    /// Called when modes of a channel or of the client were set or removed. For a message with
    /// both, the hook is called twice: first for the modes that were set, then for those that were
    /// removed.
    #[doc(alias = "modeChanged")]
    fn mode_changed(
        &mut self,
        irc: &mut Irc<'_, Self>,
        user: &Prefix,
        target: &Text,
        is_set: bool,
        modes: &[Mode],
    ) {
        let _ = (irc, user, target, is_set, modes);
    }

    /// Called when a user invites another user, usually the client, to a channel.
    fn invited(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, nick: &Text, channel: &Text) {
        let _ = (irc, user, nick, channel);
    }

    /// Called with the members of a channel, with the marks of their ranks: when the client has
    /// joined, and as the answer to [`names`](IrcSender::names).
    #[doc(alias = "irc_RPL_NAMREPLY")]
    fn names(&mut self, irc: &mut Irc<'_, Self>, channel: &Text, names: &[Text]) {
        let _ = (irc, channel, names);
    }

    /// Called with the server's message of the day. There are no lines when the server has none.
    #[doc(alias = "receivedMOTD")]
    fn received_motd(&mut self, irc: &mut Irc<'_, Self>, lines: &[Text]) {
        let _ = (irc, lines);
    }

    /// Called with the time at which the server was created, as text (reply 003).
    fn created(&mut self, irc: &mut Irc<'_, Self>, text: &Text) {
        let _ = (irc, text);
    }

    /// Called with the server's name and version, as text (reply 002).
    #[doc(alias = "yourHost")]
    fn your_host(&mut self, irc: &mut Irc<'_, Self>, text: &Text) {
        let _ = (irc, text);
    }

    /// Called with the server's name, its version, and the modes of users and channels (reply 004).
    #[doc(alias = "myInfo")]
    fn my_info(
        &mut self,
        irc: &mut Irc<'_, Self>,
        server: &Text,
        version: &Text,
        user_modes: &Text,
        channel_modes: &Text,
    ) {
        let _ = (irc, server, version, user_modes, channel_modes);
    }

    /// Called with features and limits of the server (reply 005); [`IrcSender::support`] returns
    /// those of all replies.
    fn isupport(&mut self, irc: &mut Irc<'_, Self>, tokens: &[Text]) {
        let _ = (irc, tokens);
    }

    /// Called when the server suggests another server (reply 010).
    fn bounce(&mut self, irc: &mut Irc<'_, Self>, text: &Text) {
        let _ = (irc, text);
    }

    /// Called with the number of users (reply 251), operators (252) and channels (254), and of the
    /// clients of this server (255).
    #[doc(alias("luserClient", "luserOp", "luserChannels", "luserMe"))]
    fn lusers(&mut self, irc: &mut Irc<'_, Self>, reply: u16, count: Option<u64>, text: &Text) {
        let _ = (irc, reply, count, text);
    }

    /// Called with the answer to a [`ping`](IrcSender::ping), and the time that it took.
    fn pong(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, delay: Duration) {
        let _ = (irc, user, delay);
    }

    /// Called for a CTCP query that the library does not answer. `tag` is the kind of query, in
    /// capitals.
    #[doc(alias("ctcpQuery", "ctcpUnknownQuery"))]
    fn ctcp_query(
        &mut self,
        irc: &mut Irc<'_, Self>,
        user: &Prefix,
        target: &Text,
        tag: &str,
        data: &Text,
    ) {
        let _ = (irc, user, target, tag, data);
    }

    /// Called with the answer to a CTCP query. `tag` is the kind of query, in capitals.
    #[doc(alias("ctcpReply", "ctcpUnknownReply"))]
    fn ctcp_reply(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, tag: &str, data: &Text) {
        let _ = (irc, user, tag, data);
    }

    /// Called when the server is about to close the connection.
    #[doc(alias = "irc_ERROR")]
    fn error(&mut self, irc: &mut Irc<'_, Self>, text: &Text) {
        let _ = (irc, text);
    }

    /// Called for a line that is not a message. The connection stays open.
    #[doc(alias = "badMessage")]
    fn bad_message(&mut self, irc: &mut Irc<'_, Self>, error: &IrcError) {
        let _ = (irc, error);
    }

    /// Called for every message that has no other hook.
    fn irc_unknown(&mut self, irc: &mut Irc<'_, Self>, message: &Message) {
        let _ = (irc, message);
    }

    /// Called when the connection has ended.
    ///
    /// The reason is an [`IrcError`] when the client has ended the connection, or when the server
    /// has sent an `ERROR` message; otherwise one of the reasons of
    /// [`Protocol::connection_lost`](crate::Protocol::connection_lost).
    #[doc(alias = "connectionLost")]
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }
}

/// Calls the hook of an event.
pub(super) fn deliver<P: IrcProtocol>(protocol: &mut P, irc: &mut Irc<'_, P>, event: Event) {
    match event {
        Event::SignedOn { .. } => protocol.signed_on(irc),
        Event::Joined { channel } => protocol.joined(irc, &channel),
        Event::Left { channel } => protocol.left(irc, &channel),
        Event::UserJoined { user, channel } => protocol.user_joined(irc, &user, &channel),
        Event::UserLeft {
            user,
            channel,
            reason,
        } => protocol.user_left(irc, &user, &channel, &reason),
        Event::UserQuit { user, reason } => protocol.user_quit(irc, &user, &reason),
        Event::UserRenamed { user, nick } => protocol.user_renamed(irc, &user, &nick),
        Event::Privmsg { user, target, text } => protocol.privmsg(irc, &user, &target, &text),
        Event::Notice { user, target, text } => protocol.notice(irc, &user, &target, &text),
        Event::Action { user, target, text } => protocol.action(irc, &user, &target, &text),
        Event::KickedFrom {
            channel,
            kicker,
            reason,
        } => protocol.kicked_from(irc, &channel, &kicker, &reason),
        Event::UserKicked {
            nick,
            channel,
            kicker,
            reason,
        } => protocol.user_kicked(irc, &nick, &channel, &kicker, &reason),
        Event::NickChanged { nick } => protocol.nick_changed(irc, &nick),
        Event::TopicUpdated {
            user,
            channel,
            topic,
        } => protocol.topic_updated(irc, &user, &channel, &topic),
        Event::ModeChanged {
            user,
            target,
            is_set,
            modes,
        } => protocol.mode_changed(irc, &user, &target, is_set, &modes),
        Event::Invited {
            user,
            nick,
            channel,
        } => protocol.invited(irc, &user, &nick, &channel),
        Event::Names { channel, names } => protocol.names(irc, &channel, &names),
        Event::Motd { lines } => protocol.received_motd(irc, &lines),
        Event::Created { text } => protocol.created(irc, &text),
        Event::YourHost { text } => protocol.your_host(irc, &text),
        Event::MyInfo {
            server,
            version,
            user_modes,
            channel_modes,
        } => protocol.my_info(irc, &server, &version, &user_modes, &channel_modes),
        Event::Isupport { tokens } => protocol.isupport(irc, &tokens),
        Event::Bounce { text } => protocol.bounce(irc, &text),
        Event::Lusers { reply, count, text } => protocol.lusers(irc, reply, count, &text),
        Event::Pong { user, delay } => protocol.pong(irc, &user, delay),
        Event::CtcpQuery {
            user,
            target,
            tag,
            data,
        } => protocol.ctcp_query(irc, &user, &target, &tag, &data),
        Event::CtcpReply { user, tag, data } => protocol.ctcp_reply(irc, &user, &tag, &data),
        Event::Error { text } => protocol.error(irc, &text),
        Event::BadMessage { error } => protocol.bad_message(irc, &error),
        Event::Other(message) => protocol.irc_unknown(irc, &message),
    }
}

/// The connection of an [`IrcProtocol`], as its hooks get it: a smart pointer to its [`IrcSender`],
/// so it has the commands as methods.
pub struct Irc<'a, P: 'static> {
    cx: &'a Context<'a, P>,
    sender: &'a IrcSender,
}

impl<'a, P: 'static> Irc<'a, P> {
    pub(super) fn new(cx: &'a Context<'a, P>, sender: &'a IrcSender) -> Self {
        Self { cx, sender }
    }

    /// Returns the client's handle, which can be kept after the hook.
    pub fn sender(&self) -> IrcSender {
        self.sender.clone()
    }

    /// Returns the context of the connection: its transport, its reactor, its handle.
    pub fn context(&self) -> &'a Context<'a, P> {
        self.cx
    }

    /// Calls `f` with the protocol after `delay`. The call is cancelled when the connection ends.
    #[doc(alias = "callLater")]
    #[track_caller]
    pub fn call_later(
        &self,
        delay: Duration,
        f: impl FnOnce(&mut P, &mut Irc<'_, P>) + 'static,
    ) -> DelayedCall {
        let sender = self.sender();
        self.cx.call_later(delay, move |protocol, cx| {
            f(protocol, &mut Irc::new(cx, &sender));
        })
    }
}

impl<P: 'static> Deref for Irc<'_, P> {
    type Target = IrcSender;

    fn deref(&self) -> &IrcSender {
        self.sender
    }
}

impl<P: 'static> fmt::Debug for Irc<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Irc")
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}
