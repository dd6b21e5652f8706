//! The registration: capabilities, SASL, password and nickname; and the server's welcome.

use std::time::Instant;

use super::{Phase, Session, Step};
use crate::protocols::irc::{Event, IrcError, Message, Text};

impl Session {
    /// Begins the registration.
    pub(in crate::protocols::irc) fn start(&mut self, now: Instant) {
        self.phase = Phase::Registering;
        self.limits.registration = self.after(Some(self.settings.registration_limit), now);
        if let Err(error) = self.introduce() {
            self.out.clear();
            self.fail(error);
        }
    }

    fn introduce(&mut self) -> Result<(), IrcError> {
        let settings = self.settings.clone();
        if settings.sasl.is_some() || !settings.capabilities.is_empty() {
            self.send_now(&Message::new("CAP", ["LS", "302"]))?;
        }
        if let Some(password) = &settings.password {
            self.send_now(&Message::new("PASS", [password]))?;
        }
        self.send_now(&Message::new("NICK", [&settings.nick]))?;
        let username = settings.username.as_ref().unwrap_or(&settings.nick);
        let realname = settings.realname.as_ref().unwrap_or(&settings.nick);
        let params = [username, &"0".into(), &"*".into(), realname];
        self.send_now(&Message::new("USER", params))
    }

    /// Handles the messages of the registration.
    pub(super) fn register(&mut self, message: &Message, now: Instant) -> Option<()> {
        let params = &message.params;
        let is_registering = self.phase == Phase::Registering;
        let last = params.last().cloned().unwrap_or_default();
        match &message.command[..] {
            "001" if is_registering => self.welcome(message, now),
            "002" => self.event(Event::YourHost { text: last }),
            "003" => self.event(Event::Created { text: last }),
            "004" => {
                let param = |index: usize| params.get(index).cloned().unwrap_or_default();
                self.event(Event::MyInfo {
                    server: params.get(1)?.clone(),
                    version: param(2),
                    user_modes: param(3),
                    channel_modes: param(4),
                });
            }
            "005" => {
                // The first parameter is the client's nickname, the last one a sentence.
                let tokens = params.get(1..params.len().saturating_sub(1))?.to_vec();
                self.support.update(&tokens);
                self.event(Event::Isupport { tokens });
            }
            "010" => self.event(Event::Bounce { text: last }),
            "432" if is_registering => self.nick_is_erroneous(),
            "433" | "436" => self.nick_is_in_use()?,
            "437" if !self.support.is_channel(params.get(1)?) => self.nick_is_in_use()?,
            "463" | "464" | "465" if is_registering => self.fail(IrcError::Refused { text: last }),
            "CAP" => self.capabilities(params)?,
            "AUTHENTICATE" if is_registering => self.authenticate()?,
            "903" | "907" if is_registering && self.settings.sasl.is_some() => {
                self.registration.is_authenticated = true;
                self.end_capabilities();
            }
            "902" | "904" | "905" | "906" | "908" if is_registering => self.sasl_failed(last)?,
            "421" if is_registering && *params.get(1)? == "CAP" => self.sasl_failed(last)?,
            _ => return None,
        }
        Some(())
    }

    fn welcome(&mut self, message: &Message, now: Instant) {
        self.hostname = self.sender(message).nick;
        if self.settings.sasl.is_some() && !self.registration.is_authenticated {
            let text = "the server has not asked for it".into();
            return self.fail(IrcError::SaslFailed { text });
        }
        let attempted = self.attempted.clone();
        self.nick_was_accepted(message.params.first().cloned().unwrap_or(attempted));
        self.phase = Phase::SignedOn;
        self.limits.registration = None;
        self.limits.ping = self.after(self.settings.heartbeat, now);
        let nick = self.nick.clone();
        self.event(Event::SignedOn { nick });
    }

    fn nick_is_erroneous(&mut self) {
        if self.registration.has_used_fallback {
            let nick = self.attempted.clone();
            return self.fail(IrcError::NickRefused { nick });
        }
        self.registration.has_used_fallback = true;
        self.set_other_nick(self.settings.fallback_nick.clone());
    }

    /// Asks for another nickname, a few times.
    fn nick_is_in_use(&mut self) -> Option<()> {
        self.registration.collisions += 1;
        let nick = self.attempted.clone();
        if self.registration.collisions <= MOST_COLLISIONS {
            self.steps.push_back(Step::Collided(nick));
        } else if self.phase == Phase::Registering {
            self.fail(IrcError::NickRefused { nick });
        } else {
            return None;
        }
        Some(())
    }

    /// Tries a nickname in place of one that is in use.
    pub(in crate::protocols::irc) fn set_other_nick(&mut self, nick: Text) {
        if !matches!(self.phase, Phase::Registering | Phase::SignedOn) {
            return;
        }
        self.attempted = nick;
        let sent = self.send_now(&Message::new("NICK", [&self.attempted]));
        if let (Err(error), Phase::Registering) = (sent, self.phase) {
            self.fail(error);
        }
    }

    /// Requests another nickname.
    pub(in crate::protocols::irc) fn set_nick(
        &mut self,
        nick: Text,
        now: Instant,
    ) -> Result<(), IrcError> {
        self.send(&Message::new("NICK", [&nick]), now)?;
        self.registration.collisions = 0;
        self.attempted = nick;
        Ok(())
    }

    /// Records that the server has accepted a nickname.
    pub(super) fn nick_was_accepted(&mut self, nick: Text) {
        self.registration.collisions = 0;
        self.attempted = nick.clone();
        self.nick = nick;
    }

    fn capabilities(&mut self, params: &[Text]) -> Option<()> {
        let is_registering = self.phase == Phase::Registering;
        let names = params.last()?.split(|byte| *byte == b' ');
        let names = names.filter(|name| !name.is_empty()).map(Text::from);
        match params.get(1)?.as_bytes() {
            b"LS" if is_registering => {
                self.registration.offered.extend(names.take(MOST_OFFERED));
                self.registration.offered.truncate(MOST_OFFERED);
                if params.get(2)? != "*" || params.len() < 4 {
                    self.request_capabilities();
                }
            }
            b"ACK" => {
                let names: Vec<Text> = names.collect();
                let has_sasl = names.iter().any(|name| *name == "sasl");
                self.registration.enabled.extend(names);
                self.registration.enabled.truncate(MOST_OFFERED);
                if is_registering && has_sasl && self.settings.sasl.is_some() {
                    self.registering_send(&Message::new("AUTHENTICATE", ["PLAIN"]));
                } else if is_registering {
                    self.end_capabilities();
                }
            }
            b"NAK" if is_registering => {
                let text = Text::from("the server does not accept the request");
                if self.sasl_failed(text).is_none() {
                    self.end_capabilities();
                }
            }
            b"DEL" => {
                let gone: Vec<Text> = names.collect();
                self.registration
                    .enabled
                    .retain(|name| !gone.contains(name));
            }
            _ => return None,
        }
        Some(())
    }

    /// Requests the capabilities that are wanted and offered.
    fn request_capabilities(&mut self) {
        let value = |wanted: &[u8]| {
            let mut offered = self.registration.offered.iter();
            offered.find_map(|offer| match offer.strip_prefix(wanted)? {
                b"" => Some(&b""[..]),
                value => value.strip_prefix(b"="),
            })
        };
        let mut wanted: Vec<&str> = self
            .settings
            .capabilities
            .iter()
            .map(|name| &**name)
            .collect();
        wanted.retain(|name| *name != "sasl" && value(name.as_bytes()).is_some());
        if self.settings.sasl.is_some() {
            let mechanisms = value(b"sasl");
            let has_plain =
                |list: &[u8]| list.split(|byte| *byte == b',').any(|one| one == b"PLAIN");
            if !mechanisms.is_some_and(|list| list.is_empty() || has_plain(list)) {
                let text = "the server does not offer SASL PLAIN".into();
                return self.fail(IrcError::SaslFailed { text });
            }
            wanted.push("sasl");
        }
        if wanted.is_empty() {
            return self.end_capabilities();
        }
        let message = Message::new("CAP", ["REQ", &wanted.join(" ")]);
        self.registering_send(&message);
    }

    fn end_capabilities(&mut self) {
        self.registering_send(&Message::new("CAP", ["END"]));
    }

    fn registering_send(&mut self, message: &Message) {
        if let Err(error) = self.send_now(message) {
            self.fail(error);
        }
    }

    /// Sends account and password.
    fn authenticate(&mut self) -> Option<()> {
        let (account, password) = self.settings.sasl.clone()?;
        let nul = Text::from("\0");
        let text = base64(&[&account[..], &nul, &account, &nul, &password].concat());
        for chunk in text.as_bytes().chunks(CHUNK) {
            self.registering_send(&Message::new("AUTHENTICATE", [chunk]));
        }
        // The server knows the end by a chunk that is not full.
        if text.len() % CHUNK == 0 {
            self.registering_send(&Message::new("AUTHENTICATE", ["+"]));
        }
        Some(())
    }

    fn sasl_failed(&mut self, text: Text) -> Option<()> {
        self.settings.sasl.as_ref()?;
        self.fail(IrcError::SaslFailed { text });
        Some(())
    }
}

/// Returns the bytes in Base64.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            let is_there = digit <= chunk.len();
            out.push(if is_there {
                char::from(DIGITS[value as usize])
            } else {
                '='
            });
        }
    }
    out
}

/// How many nicknames in use are followed by another one.
const MOST_COLLISIONS: u32 = 10;
/// The most capabilities that are kept of what a server offers.
const MOST_OFFERED: usize = 1000;
/// The length of a full chunk of the authentication, in bytes.
const CHUNK: usize = 400;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let table = [
            "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
        ];
        for (length, expected) in table.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), *expected);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
