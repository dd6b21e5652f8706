//! Messages of IRC: [`Message`], parsed from a line and written as one.
//!
//! # Invariants
//!
//! 1. What is written is one line: a message with a byte that would end it is refused.
//! 2. Parsing what was written gives an equal message.

use std::fmt;

use super::{IrcError, Text};

/// A message of IRC: one line.
///
/// # Examples
///
/// ```
/// use torsade::protocols::irc::Message;
///
/// let message: Message = ":ada!a@example.org PRIVMSG #rust :hello there".parse()?;
/// assert_eq!(message.prefix.as_ref().unwrap().nick, "ada");
/// assert_eq!(message.command, "PRIVMSG");
/// assert_eq!(message.params[1], "hello there");
///
/// let answer = Message::new("PRIVMSG", ["#rust", "hello, ada"]);
/// assert_eq!(answer.to_string(), "PRIVMSG #rust :hello, ada");
/// # Ok::<(), torsade::protocols::irc::IrcError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The tags of IRCv3, names and values. A tag without a value has an empty one.
    pub tags: Vec<(Text, Text)>,
    /// The sender; `None` in most messages that a client sends.
    pub prefix: Option<Prefix>,
    /// The command, in capitals, or the three digits of a reply.
    pub command: String,
    /// The parameters.
    pub params: Vec<Text>,
}

/// The sender of a message: a user, or a server.
///
/// `Display` shows `nick!user@host`, as received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The user's nickname, or the server's name.
    pub nick: Text,
    /// The user's name on the host.
    pub user: Option<Text>,
    /// The user's host.
    pub host: Option<Text>,
}

impl Message {
    /// Creates a message without tags and prefix.
    pub fn new<T: Into<Text>>(
        command: impl Into<String>,
        params: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            command: command.into(),
            params: params.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Returns the value of a tag, which may be empty; `None` if the message has no such tag.
    pub fn tag(&self, name: &str) -> Option<&Text> {
        let tag = self.tags.iter().find(|(tag, _)| *tag == name);
        tag.map(|(_, value)| value)
    }

    /// Parses a line, without its end.
    ///
    /// # Errors
    ///
    /// [`IrcError::NoCommand`], [`IrcError::BadCommand`] or [`IrcError::ForbiddenByte`].
    #[doc(alias = "parsemsg")]
    pub fn parse(line: &[u8]) -> Result<Self, IrcError> {
        if let Some(found) = forbidden(line) {
            return Err(IrcError::ForbiddenByte { found });
        }
        let mut message = Self::default();
        let mut rest = trim(line);
        if let Some(after) = rest.strip_prefix(b"@") {
            let (tags, after) = word(after);
            message.tags = tags
                .split(|byte| *byte == b';')
                .map(parse_tag)
                .filter(|(name, _)| !name.is_empty())
                .collect();
            rest = after;
        }
        if let Some(after) = rest.strip_prefix(b":") {
            let (prefix, after) = word(after);
            message.prefix = Some(Prefix::parse(prefix));
            rest = after;
        }
        let (command, mut rest) = word(rest);
        if command.is_empty() {
            return Err(IrcError::NoCommand { line: line.into() });
        }
        message.command = parse_command(command)?;
        while !rest.is_empty() {
            let (param, after) = match rest.strip_prefix(b":") {
                Some(last) => (last, &b""[..]),
                None => word(rest),
            };
            message.params.push(param.into());
            rest = after;
        }
        Ok(message)
    }

    /// Appends the message to `out` as a line, without its end. Returns the length of the tags.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<usize, IrcError> {
        let start = out.len();
        self.write_tags(out)?;
        let tags = out.len() - start;
        if let Some(prefix) = &self.prefix {
            let text = prefix.to_bytes();
            if text.contains(&b' ') {
                return Err(IrcError::BadParam { found: text.into() });
            }
            out.push(b':');
            out.extend_from_slice(&text);
            out.push(b' ');
        }
        out.extend_from_slice(parse_command(self.command.as_bytes())?.as_bytes());
        for (index, param) in self.params.iter().enumerate() {
            out.push(b' ');
            let is_long = param.is_empty() || param[0] == b':' || param.contains(&b' ');
            if is_long && index + 1 < self.params.len() {
                let found = param.clone();
                return Err(IrcError::BadParam { found });
            }
            if is_long {
                out.push(b':');
            }
            out.extend_from_slice(param);
        }
        match forbidden(&out[start..]) {
            Some(found) => Err(IrcError::ForbiddenByte { found }),
            None => Ok(tags),
        }
    }

    fn write_tags(&self, out: &mut Vec<u8>) -> Result<(), IrcError> {
        for (index, (name, value)) in self.tags.iter().enumerate() {
            if name.is_empty() || name.iter().any(|byte| b" ;=".contains(byte)) {
                let found = name.clone();
                return Err(IrcError::BadParam { found });
            }
            out.push(if index == 0 { b'@' } else { b';' });
            out.extend_from_slice(name);
            if !value.is_empty() {
                out.push(b'=');
            }
            for byte in value.iter() {
                match ESCAPES.iter().find(|(_, meant)| meant == byte) {
                    Some((escape, _)) => out.extend_from_slice(&[b'\\', *escape]),
                    None => out.push(*byte),
                }
            }
        }
        if !self.tags.is_empty() {
            out.push(b' ');
        }
        Ok(())
    }
}

/// Returns the first word, and what comes after the spaces behind it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    (&text[..end], trim(&text[end..]))
}

/// Returns the text without the spaces at its beginning.
fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| *byte != b' ');
    &text[start.unwrap_or(text.len())..]
}

/// Returns the first byte that may not be in a line.
fn forbidden(line: &[u8]) -> Option<u8> {
    memchr::memchr3(b'\r', b'\n', 0, line).map(|at| line[at])
}

fn parse_command(command: &[u8]) -> Result<String, IrcError> {
    let is_word = !command.is_empty() && command.iter().all(u8::is_ascii_alphabetic);
    let is_number = command.len() == 3 && command.iter().all(u8::is_ascii_digit);
    match std::str::from_utf8(command) {
        Ok(command) if is_word || is_number => Ok(command.to_ascii_uppercase()),
        _ => Err(IrcError::BadCommand {
            found: command.into(),
        }),
    }
}

/// The letters after a backslash in the value of a tag, and what they mean.
const ESCAPES: [(u8, u8); 5] = [
    (b':', b';'),
    (b's', b' '),
    (b'\\', b'\\'),
    (b'r', b'\r'),
    (b'n', b'\n'),
];

fn parse_tag(tag: &[u8]) -> (Text, Text) {
    let end = memchr::memchr(b'=', tag).unwrap_or(tag.len());
    let mut value = Vec::new();
    let mut rest = tag[end..].iter().skip(1);
    while let Some(byte) = rest.next() {
        if *byte != b'\\' {
            value.push(*byte);
        } else if let Some(escape) = rest.next() {
            let meant = ESCAPES.iter().find(|(letter, _)| letter == escape);
            value.push(meant.map_or(*escape, |(_, meant)| *meant));
        }
    }
    (tag[..end].into(), value.into())
}

impl Prefix {
    /// Creates the prefix of a server, or of a user of whom only the nickname is known.
    pub fn new(nick: impl Into<Text>) -> Self {
        Self {
            nick: nick.into(),
            user: None,
            host: None,
        }
    }

    /// Parses `nick!user@host`, or a part of it.
    pub fn parse(text: &[u8]) -> Self {
        let (rest, host) = match memchr::memchr2(b'!', b'@', text) {
            Some(at) if text[at] == b'@' => (&text[..at], Some(&text[at + 1..])),
            Some(at) => match memchr::memchr(b'@', &text[at..]) {
                Some(more) => (&text[..at + more], Some(&text[at + more + 1..])),
                None => (text, None),
            },
            None => (text, None),
        };
        let (nick, user) = match memchr::memchr(b'!', rest) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        Self {
            nick: nick.into(),
            user: user.map(Text::from),
            host: host.map(Text::from),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut text = self.nick.to_vec();
        for (mark, part) in [(b'!', &self.user), (b'@', &self.host)] {
            if let Some(part) = part {
                text.push(mark);
                text.extend_from_slice(part);
            }
        }
        text
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

impl fmt::Display for Message {
    /// Shows the message as a line. A message that cannot be sent is shown with its error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        match self.write(&mut line) {
            Ok(_) => f.pad(&String::from_utf8_lossy(&line)),
            Err(error) => write!(f, "({error})"),
        }
    }
}

impl std::str::FromStr for Message {
    type Err = IrcError;

    fn from_str(line: &str) -> Result<Self, IrcError> {
        Self::parse(line.as_bytes())
    }
}
