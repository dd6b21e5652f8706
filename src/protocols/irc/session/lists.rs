//! What comes in several replies: names, the message of the day, WHOIS, numbers of users.

use std::time::{Duration, Instant};

use super::{MOST_KEPT, Session};
use crate::protocols::irc::{Event, IrcError, Message, Text, Whois};

impl Session {
    /// Handles the replies that are collected.
    pub(super) fn list(&mut self, message: &Message) -> Option<()> {
        let params = &message.params;
        let last = params.last().cloned().unwrap_or_default();
        match &message.command[..] {
            "353" => self.add_names(params.get(2)?, params.get(3)?),
            "366" => self.names_end(params.get(1)?.clone()),
            "375" => self.lists.motd.clear(),
            "372" => {
                if self.lists.motd.len() < MOST_KEPT {
                    let line = last.strip_prefix(b"- ").unwrap_or(&last);
                    self.lists.motd.push(line.into());
                }
            }
            "376" | "422" => {
                let lines = std::mem::take(&mut self.lists.motd);
                self.event(Event::Motd { lines });
            }
            reply @ ("251" | "252" | "254" | "255") => self.event(Event::Lusers {
                reply: reply.parse().ok()?,
                count: params.get(1).and_then(|count| count.to_str().parse().ok()),
                text: last,
            }),
            _ => return self.whois_reply(message),
        }
        Some(())
    }

    fn add_names(&mut self, channel: &Text, names: &Text) {
        let lists = &mut self.lists;
        let mapping = self.support.case_mapping();
        let mut known = lists.names.iter();
        let index = known.position(|(name, _)| mapping.is_same(name, channel));
        let index = index.unwrap_or_else(|| {
            lists.names.push((channel.clone(), Vec::new()));
            lists.names.len() - 1
        });
        let names = names
            .split(|byte| *byte == b' ')
            .filter(|name| !name.is_empty());
        for name in names.take(MOST_KEPT.saturating_sub(lists.name_count)) {
            lists.names[index].1.push(name.into());
            lists.name_count += 1;
        }
        // A server that never ends a list of no names.
        lists.names.truncate(MOST_KEPT);
    }

    fn names_end(&mut self, channel: Text) {
        let mut known = self.lists.names.iter();
        let index = known.position(|(name, _)| self.is_same(name, &channel));
        let names = index.map(|index| self.lists.names.remove(index).1);
        let names = names.unwrap_or_default();
        self.lists.name_count -= names.len();
        self.event(Event::Names { channel, names });
    }

    /// Asks for a user.
    pub(in crate::protocols::irc) fn whois(
        &mut self,
        nick: &Text,
        now: Instant,
    ) -> Result<(), IrcError> {
        if self.whois_index(nick).is_some() {
            return Ok(());
        }
        self.send(&Message::new("WHOIS", [nick]), now)?;
        let nick = nick.clone();
        self.lists.whois.push(Whois {
            nick,
            ..Whois::default()
        });
        Ok(())
    }

    fn whois_index(&self, nick: &[u8]) -> Option<usize> {
        let mut asked = self.lists.whois.iter();
        asked.position(|whois| self.is_same(&whois.nick, nick))
    }

    /// Adds a reply to what was asked.
    fn whois_reply(&mut self, message: &Message) -> Option<()> {
        let params = &message.params;
        let index = self.whois_index(params.get(1)?)?;
        let text = |index: usize| params.get(index).cloned().unwrap_or_default();
        let whois = &mut self.lists.whois[index];
        match &message.command[..] {
            "311" => {
                whois.nick = text(1);
                whois.user = text(2);
                whois.host = text(3);
                whois.realname = text(5);
            }
            "312" => whois.server = text(2),
            "313" => whois.is_operator = true,
            "317" => {
                let seconds = text(2).to_str().parse().ok();
                whois.idle = seconds.map(Duration::from_secs);
            }
            "319" => {
                let names = text(2);
                let names = names
                    .split(|byte| *byte == b' ')
                    .filter(|name| !name.is_empty());
                let room = MOST_KEPT.saturating_sub(whois.channels.len());
                whois.channels.extend(names.take(room).map(Text::from));
            }
            "330" => whois.account = Some(text(2)),
            "301" => whois.away = Some(text(2)),
            "318" | "401" | "402" => {
                let whois = self.lists.whois.remove(index);
                let nick = whois.nick.clone();
                let result = match message.command != "318" || whois.user.is_empty() {
                    true => Err(IrcError::NoSuchNick { nick: nick.clone() }),
                    false => Ok(whois),
                };
                self.lists.results.push((nick, result));
            }
            // Other replies about the user are left out.
            "276" | "307" | "310" | "320" | "335" | "338" | "378" | "379" | "671" => {}
            _ => return None,
        }
        Some(())
    }
}
