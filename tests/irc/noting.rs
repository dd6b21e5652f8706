//! An IRC protocol that records its hooks, and a client on a wire.

use std::time::Duration;

use support::Log;
use torsade::Failure;
use torsade::protocols::irc::{
    Event, Irc, IrcClient, IrcError, IrcProtocol, Message, Mode, Prefix, Settings, Text,
};
use torsade::testing::Wire;

/// Records each hook as the event that it stands for.
pub(crate) struct Noting(pub(crate) Log);

macro_rules! notes {
    ($($hook:ident($($name:ident: $type:ty),*) => $event:expr;)+) => {
        $(fn $hook(&mut self, _irc: &mut Irc<'_, Self> $(, $name: $type)*) {
            self.0.note(format_args!("{:?}", $event));
        })+
    };
}

impl IrcProtocol for Noting {
    fn signed_on(&mut self, irc: &mut Irc<'_, Self>) {
        self.0
            .note(format_args!("{:?}", Event::SignedOn { nick: irc.nick() }));
    }

    notes! {
        joined(channel: &Text) => Event::Joined { channel: channel.clone() };
        left(channel: &Text) => Event::Left { channel: channel.clone() };
        user_joined(user: &Prefix, channel: &Text) =>
            Event::UserJoined { user: user.clone(), channel: channel.clone() };
        user_left(user: &Prefix, channel: &Text, reason: &Text) => Event::UserLeft {
            user: user.clone(), channel: channel.clone(), reason: reason.clone()
        };
        user_quit(user: &Prefix, reason: &Text) =>
            Event::UserQuit { user: user.clone(), reason: reason.clone() };
        user_renamed(user: &Prefix, nick: &Text) =>
            Event::UserRenamed { user: user.clone(), nick: nick.clone() };
        privmsg(user: &Prefix, target: &Text, text: &Text) => Event::Privmsg {
            user: user.clone(), target: target.clone(), text: text.clone()
        };
        notice(user: &Prefix, target: &Text, text: &Text) => Event::Notice {
            user: user.clone(), target: target.clone(), text: text.clone()
        };
        action(user: &Prefix, target: &Text, text: &Text) => Event::Action {
            user: user.clone(), target: target.clone(), text: text.clone()
        };
        kicked_from(channel: &Text, kicker: &Prefix, reason: &Text) => Event::KickedFrom {
            channel: channel.clone(), kicker: kicker.clone(), reason: reason.clone()
        };
        user_kicked(nick: &Text, channel: &Text, kicker: &Prefix, reason: &Text) =>
            Event::UserKicked {
                nick: nick.clone(), channel: channel.clone(), kicker: kicker.clone(),
                reason: reason.clone()
            };
        nick_changed(nick: &Text) => Event::NickChanged { nick: nick.clone() };
        topic_updated(user: &Prefix, channel: &Text, topic: &Text) => Event::TopicUpdated {
            user: user.clone(), channel: channel.clone(), topic: topic.clone()
        };
        mode_changed(user: &Prefix, target: &Text, is_set: bool, modes: &[Mode]) =>
            Event::ModeChanged {
                user: user.clone(), target: target.clone(), is_set, modes: modes.to_vec()
            };
        invited(user: &Prefix, nick: &Text, channel: &Text) => Event::Invited {
            user: user.clone(), nick: nick.clone(), channel: channel.clone()
        };
        names(channel: &Text, names: &[Text]) =>
            Event::Names { channel: channel.clone(), names: names.to_vec() };
        received_motd(lines: &[Text]) => Event::Motd { lines: lines.to_vec() };
        created(text: &Text) => Event::Created { text: text.clone() };
        your_host(text: &Text) => Event::YourHost { text: text.clone() };
        my_info(server: &Text, version: &Text, user_modes: &Text, channel_modes: &Text) =>
            Event::MyInfo {
                server: server.clone(), version: version.clone(),
                user_modes: user_modes.clone(), channel_modes: channel_modes.clone()
            };
        isupport(tokens: &[Text]) => Event::Isupport { tokens: tokens.to_vec() };
        bounce(text: &Text) => Event::Bounce { text: text.clone() };
        lusers(reply: u16, count: Option<u64>, text: &Text) =>
            Event::Lusers { reply, count, text: text.clone() };
        pong(user: &Prefix, delay: Duration) => Event::Pong { user: user.clone(), delay };
        ctcp_query(user: &Prefix, target: &Text, tag: &str, data: &Text) => Event::CtcpQuery {
            user: user.clone(), target: target.clone(), tag: tag.into(), data: data.clone()
        };
        ctcp_reply(user: &Prefix, tag: &str, data: &Text) =>
            Event::CtcpReply { user: user.clone(), tag: tag.into(), data: data.clone() };
        error(text: &Text) => Event::Error { text: text.clone() };
        bad_message(error: &IrcError) => Event::BadMessage { error: error.clone() };
        irc_unknown(message: &Message) => Event::Other(message.clone());
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.0.note(format_args!("lost: {reason}"));
    }
}

pub(crate) type Client = Wire<IrcClient<Noting>>;

/// Connects a client, and returns its log too.
pub(crate) fn connect(settings: Settings) -> (Client, Log) {
    let log = Log::new();
    (
        Wire::new(IrcClient::new(Noting(log.clone()), settings)),
        log,
    )
}

/// The same, signed on, with an empty log.
pub(crate) fn signed_on(settings: Settings) -> (Client, Log) {
    let (mut wire, log) = connect(settings);
    wire.send(":here 001 me :Welcome\r\n");
    wire.take_received();
    log.take();
    (wire, log)
}

/// Returns what the client has sent.
pub(crate) fn sent(wire: &mut Client) -> Vec<String> {
    let text = String::from_utf8(wire.take_received()).unwrap();
    assert!(text.is_empty() || text.ends_with("\r\n"), "{text:?}");
    text.split_terminator("\r\n").map(str::to_owned).collect()
}
