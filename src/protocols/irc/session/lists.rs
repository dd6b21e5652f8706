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
            "375" => drop(self.take_motd()),
            "372" => {
                let line = last.strip_prefix(b"- ").unwrap_or(&last);
                if fits(&mut self.lists.motd_size, line) {
                    self.lists.motd.push(line.into());
                }
            }
            "376" | "422" => {
                let lines = self.take_motd();
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

    fn take_motd(&mut self) -> Vec<Text> {
        self.lists.motd_size = 0;
        std::mem::take(&mut self.lists.motd)
    }

    fn add_names(&mut self, channel: &Text, names: &Text) {
        let index = self.names_index(channel);
        let lists = &mut self.lists;
        let index = match index {
            Some(index) => index,
            None if lists.names.len() < MOST_LISTS && fits(&mut lists.names_size, channel) => {
                lists.names.push((channel.clone(), Vec::new()));
                lists.names.len() - 1
            }
            None => return,
        };
        let members = &mut lists.names[index].1;
        for name in names
            .split(|byte| *byte == b' ')
            .filter(|name| !name.is_empty())
        {
            if fits(&mut lists.names_size, name) {
                members.push(name.into());
            }
        }
    }

    fn names_end(&mut self, channel: Text) {
        let index = self.names_index(&channel);
        let names = index.map(|index| self.lists.names.remove(index));
        let names = names.map_or_else(Vec::new, |(kept, names)| {
            let sizes = names.iter().map(|name| size_of_text(name)).sum::<usize>();
            self.lists.names_size -= sizes + size_of_text(&kept);
            names
        });
        self.event(Event::Names { channel, names });
    }

    fn names_index(&self, channel: &[u8]) -> Option<usize> {
        let mut known = self.lists.names.iter();
        known.position(|(name, _)| self.is_same(name, channel))
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
                let mut size = whois.channels.iter().map(|name| size_of_text(name)).sum();
                let names = names.filter(|name| fits(&mut size, name));
                whois.channels.extend(names.map(Text::from));
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

/// Adds the size of a text to the size of all, unless that becomes too large.
fn fits(size: &mut usize, text: &[u8]) -> bool {
    let with_text = *size + size_of_text(text);
    let fits = with_text <= MOST_KEPT;
    if fits {
        *size = with_text;
    }
    fits
}

/// Returns how many bytes a text takes in a list.
fn size_of_text(text: &[u8]) -> usize {
    text.len() + size_of::<Text>()
}

/// The most lists of names that are not complete.
const MOST_LISTS: usize = 1000;
