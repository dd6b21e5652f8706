//! Channels and their members: joining, leaving, nicknames, topics, modes.

use super::{MOST_CHANNELS, Session};
use crate::protocols::irc::{Event, Message, Prefix, Text, modes};

impl Session {
    /// Handles the messages about channels and users.
    pub(super) fn channel(&mut self, message: &Message) -> Option<()> {
        let params = &message.params;
        let user = self.sender(message);
        let first = params.first();
        let text = |index: usize| params.get(index).cloned().unwrap_or_default();
        match &message.command[..] {
            "JOIN" => {
                for channel in first?.split(|byte| *byte == b',') {
                    self.joined(&user, channel.into());
                }
            }
            "PART" => {
                for channel in first?.split(|byte| *byte == b',') {
                    self.left(&user, channel.into(), text(1));
                }
            }
            "QUIT" => self.event(Event::UserQuit {
                user,
                reason: text(0),
            }),
            "NICK" => {
                let nick = first?.clone();
                if self.is_me(&user.nick) {
                    self.nick_was_accepted(nick.clone());
                    self.event(Event::NickChanged { nick });
                } else {
                    self.event(Event::UserRenamed { user, nick });
                }
            }
            "KICK" => self.kicked(user, first?.clone(), params.get(1)?.clone(), text(2)),
            "TOPIC" => self.event(Event::TopicUpdated {
                user,
                channel: first?.clone(),
                topic: text(1),
            }),
            "331" | "332" => {
                let topic = if message.command == "331" {
                    Text::default()
                } else {
                    text(2)
                };
                self.event(Event::TopicUpdated {
                    user,
                    channel: params.get(1)?.clone(),
                    topic,
                });
            }
            "INVITE" => self.event(Event::Invited {
                user,
                nick: first?.clone(),
                channel: params.get(1)?.clone(),
            }),
            "MODE" => self.modes_changed(&user, first?, params.get(1)?, &params[2..])?,
            _ => return None,
        }
        Some(())
    }

    fn joined(&mut self, user: &Prefix, channel: Text) {
        if !self.is_me(&user.nick) {
            let user = user.clone();
            return self.event(Event::UserJoined { user, channel });
        }
        let has_room = self.channels.len() < MOST_CHANNELS.0 && channel.len() <= MOST_CHANNELS.1;
        if has_room && self.channel_index(&channel).is_none() {
            self.channels.push(channel.clone());
        }
        self.event(Event::Joined { channel });
    }

    fn left(&mut self, user: &Prefix, channel: Text, reason: Text) {
        if !self.is_me(&user.nick) {
            let user = user.clone();
            return self.event(Event::UserLeft {
                user,
                channel,
                reason,
            });
        }
        self.forget_channel(&channel);
        self.event(Event::Left { channel });
    }

    fn kicked(&mut self, kicker: Prefix, channel: Text, nick: Text, reason: Text) {
        if !self.is_me(&nick) {
            return self.event(Event::UserKicked {
                nick,
                channel,
                kicker,
                reason,
            });
        }
        self.forget_channel(&channel);
        self.event(Event::KickedFrom {
            channel,
            kicker,
            reason,
        });
    }

    /// Reports the modes that were set, then those that were removed. `None` when the parameters do
    /// not fit the modes.
    fn modes_changed(
        &mut self,
        user: &Prefix,
        target: &Text,
        changes: &[u8],
        params: &[Text],
    ) -> Option<()> {
        let is_channel = self.support.is_channel(target);
        let takes_param = |mode, is_set| is_channel && self.support.takes_param(mode, is_set);
        let (added, removed) = modes::parse(changes, params, takes_param)?;
        for (is_set, modes) in [(true, added), (false, removed)] {
            if !modes.is_empty() {
                self.event(Event::ModeChanged {
                    user: user.clone(),
                    target: target.clone(),
                    is_set,
                    modes,
                });
            }
        }
        Some(())
    }

    fn channel_index(&self, channel: &[u8]) -> Option<usize> {
        let mut channels = self.channels.iter();
        channels.position(|joined| self.is_same(joined, channel))
    }

    fn forget_channel(&mut self, channel: &[u8]) {
        if let Some(index) = self.channel_index(channel) {
            self.channels.remove(index);
        }
    }
}
