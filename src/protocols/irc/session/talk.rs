//! Messages, notices and CTCP; and how the client sends them.

use std::time::Instant;

use super::{Session, Step};
use crate::protocols::irc::ctcp::{self, Tagged};
use crate::protocols::irc::{Event, IrcCodec, IrcError, Message, Prefix, Text, split};

impl Session {
    /// Handles messages and notices.
    pub(super) fn talk(&mut self, message: &Message, now: Instant) -> Option<()> {
        let is_notice = match &message.command[..] {
            "PRIVMSG" => false,
            "NOTICE" => true,
            _ => return None,
        };
        let [target, text] = &message.params[..] else {
            return None;
        };
        let user = self.sender(message);
        let (plain, tagged) = ctcp::split(text);
        for (index, part) in tagged.iter().enumerate() {
            // Each kind is answered once.
            if tagged[..index]
                .iter()
                .any(|earlier| earlier.tag == part.tag)
            {
                continue;
            }
            match is_notice {
                true => self.ctcp_reply_received(&user, part, now),
                false => self.ctcp_query_received(&user, target, part, now),
            }
        }
        if let Some(text) = plain {
            let target = target.clone();
            self.event(match is_notice {
                true => Event::Notice { user, target, text },
                false => Event::Privmsg { user, target, text },
            });
        }
        Some(())
    }

    fn ctcp_query_received(&mut self, user: &Prefix, target: &Text, query: &Tagged, now: Instant) {
        let data = query.data.clone().unwrap_or_default();
        let settings = &self.settings;
        let answer = match &query.tag[..] {
            "ACTION" => {
                return self.event(Event::Action {
                    user: user.clone(),
                    target: target.clone(),
                    text: data,
                });
            }
            "PING" => Some(data.clone()),
            "ERRMSG" => Some([&data[..], b" :No error has occurred"].concat().into()),
            "CLIENTINFO" => Some(self.ctcp_kinds()),
            "VERSION" => settings.version.clone(),
            "FINGER" => settings.finger.clone(),
            "SOURCE" => settings.source.clone(),
            "USERINFO" => settings.user_info.clone(),
            "TIME" if settings.time.is_some() => Some(Text::default()),
            _ => None,
        };
        let Some(answer) = answer else {
            return self.event(Event::CtcpQuery {
                user: user.clone(),
                target: target.clone(),
                tag: query.tag.clone(),
                data,
            });
        };
        // The client never answers itself: a server may send back what was sent.
        if self.is_me(&user.nick) || !self.replies.take(now) {
            return;
        }
        if query.tag == "TIME" {
            return self.steps.push_back(Step::AskedTime(user.nick.clone()));
        }
        // An answer that does not fit into a line is not sent.
        drop(self.ctcp_reply(&user.nick, &query.tag, &answer, now));
    }

    /// Returns the kinds of queries that are answered.
    fn ctcp_kinds(&self) -> Text {
        let settings = &self.settings;
        let kinds = [
            ("ACTION", true),
            ("CLIENTINFO", true),
            ("ERRMSG", true),
            ("FINGER", settings.finger.is_some()),
            ("PING", true),
            ("SOURCE", settings.source.is_some()),
            ("TIME", settings.time.is_some()),
            ("USERINFO", settings.user_info.is_some()),
            ("VERSION", settings.version.is_some()),
        ];
        let kinds = kinds.iter().filter(|(_, is_answered)| *is_answered);
        let kinds: Vec<&str> = kinds.map(|(kind, _)| *kind).collect();
        kinds.join(" ").into()
    }

    fn ctcp_reply_received(&mut self, user: &Prefix, reply: &Tagged, now: Instant) {
        let data = reply.data.clone().unwrap_or_default();
        let number = data.to_str().parse().ok();
        let sent = self.pings.iter().position(|(key, _)| Some(*key) == number);
        let sent = sent.filter(|_| reply.tag == "PING");
        let event = match sent.and_then(|index| self.pings.remove(index)) {
            Some((_, at)) => Event::Pong {
                user: user.clone(),
                delay: now.saturating_duration_since(at),
            },
            None => Event::CtcpReply {
                user: user.clone(),
                tag: reply.tag.clone(),
                data,
            },
        };
        self.event(event);
    }

    /// Sends text, in as many messages as it takes.
    pub(in crate::protocols::irc) fn say(
        &mut self,
        command: &str,
        target: &[u8],
        text: &[u8],
        now: Instant,
    ) -> Result<(), IrcError> {
        let space = self.space_for_text(command, target)?;
        self.send_pieces(command, target, split::split(text, space, <[u8]>::len), now)
    }

    /// Sends an action, in as many messages as it takes.
    pub(in crate::protocols::irc) fn describe(
        &mut self,
        target: &[u8],
        text: &[u8],
        now: Instant,
    ) -> Result<(), IrcError> {
        let space = self.space_for_text("PRIVMSG", target)?;
        let space = space.checked_sub("\x01ACTION \x01".len() + 4);
        let space = space.ok_or(IrcError::NoSpaceForText)?;
        let pieces = split::split(text, space, ctcp::quoted_len);
        let pieces = pieces.iter().map(|piece| ctcp::join("ACTION", piece));
        let pieces: Vec<Text> = pieces.collect();
        let pieces = pieces.iter().map(|piece| &piece[..]).collect();
        self.send_pieces("PRIVMSG", target, pieces, now)
    }

    /// Sends all pieces or, when one cannot be sent, none.
    fn send_pieces(
        &mut self,
        command: &str,
        target: &[u8],
        pieces: Vec<&[u8]>,
        now: Instant,
    ) -> Result<(), IrcError> {
        let messages = pieces
            .iter()
            .map(|piece| Message::new(command, [target, *piece]));
        let messages: Vec<Message> = messages.collect();
        self.send_all(&messages, now)
    }

    /// Sends a CTCP query.
    pub(in crate::protocols::irc) fn ctcp_query(
        &mut self,
        target: &[u8],
        tag: &str,
        data: &[u8],
        now: Instant,
    ) -> Result<(), IrcError> {
        let text = ctcp::join(tag, data);
        self.send(&Message::new("PRIVMSG", [target, &text]), now)
    }

    /// Answers a CTCP query.
    pub(in crate::protocols::irc) fn ctcp_reply(
        &mut self,
        nick: &[u8],
        tag: &str,
        data: &[u8],
        now: Instant,
    ) -> Result<(), IrcError> {
        let text = ctcp::join(tag, data);
        self.send(&Message::new("NOTICE", [nick, &text]), now)
    }

    /// Sends a CTCP ping. The oldest ones without an answer are forgotten.
    pub(in crate::protocols::irc) fn ping(
        &mut self,
        user: &[u8],
        now: Instant,
    ) -> Result<(), IrcError> {
        let number = self.next_ping;
        self.ctcp_query(user, "PING", number.to_string().as_bytes(), now)?;
        self.next_ping += 1;
        self.pings.push_back((number, now));
        if self.pings.len() > MOST_PINGS {
            self.pings.pop_front();
        }
        Ok(())
    }

    /// Returns how many bytes of text fit into one message, whatever prefix the server puts before
    /// it.
    fn space_for_text(&self, command: &str, target: &[u8]) -> Result<usize, IrcError> {
        let announced = |name| {
            let value = self.support.get(name)?;
            value.to_str().parse::<usize>().ok()
        };
        let nick = self.support.nick_len().max(self.nick.len());
        let user = announced("USERLEN").unwrap_or(0).max(10);
        let host = announced("HOSTLEN").unwrap_or(0).max(63);
        let frame = ":!@   :\r\n".len() + command.len();
        let taken = [nick, user, host, target.len(), frame];
        let taken = taken.into_iter().fold(0, usize::saturating_add);
        let space = IrcCodec::MAX_LENGTH.checked_sub(taken);
        space
            .filter(|space| *space >= 4)
            .ok_or(IrcError::NoSpaceForText)
    }
}

/// How many pings without an answer are kept.
const MOST_PINGS: usize = 12;
