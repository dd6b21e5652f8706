//! The features and limits of a server, by its replies 005: [`Support`].

use std::collections::BTreeMap;

use super::{CaseMapping, Text};

/// The features and limits that the server has announced (`ISUPPORT`, reply 005).
///
/// Values that the server has not announced are those of RFC 1459. Lists of pairs are empty, and
/// options `None`, where the server has announced nothing. In a pair, `None` means no limit.
///
/// # Examples
///
/// ```
/// use torsade::protocols::irc::Support;
///
/// let mut support = Support::default();
/// support.update(["NICKLEN=30", "PREFIX=(ov)@+", "EXCEPTS"]);
/// assert_eq!(support.nick_len(), 30);
/// assert_eq!(support.prefix(), [(b'o', b'@'), (b'v', b'+')]);
/// assert_eq!(support.excepts(), Some(b'e'));
/// support.update(["-NICKLEN"]);
/// assert_eq!(support.nick_len(), 9);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Support {
    tokens: BTreeMap<String, Text>,
}

/// The modes of channels, as letters, in four groups by their parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelModes {
    /// Modes that add to a list or remove from it, and always have a parameter.
    pub lists: Text,
    /// Modes with a parameter when they are set and when they are removed.
    pub with_param: Text,
    /// Modes with a parameter only when they are set.
    pub with_param_when_set: Text,
    /// Modes without a parameter.
    pub without_param: Text,
}

impl Support {
    /// Applies the tokens of a reply 005: `KEY` or `KEY=VALUE` adds a token, `-KEY` removes it. At
    /// most 1000 tokens are stored.
    pub fn update<T: AsRef<[u8]>>(&mut self, tokens: impl IntoIterator<Item = T>) {
        for token in tokens {
            let token = token.as_ref();
            let end = memchr::memchr(b'=', token).unwrap_or(token.len());
            let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            match token.strip_prefix(b"-") {
                Some(removed) => drop(self.tokens.remove(&name(removed))),
                None if self.tokens.len() < MOST_TOKENS => {
                    let value = unescape(token.get(end + 1..).unwrap_or_default());
                    self.tokens.insert(name(&token[..end]), value.into());
                }
                None => {}
            }
        }
    }

    /// Returns the value of a token, which may be empty; `None` if the server has not announced the
    /// token.
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.tokens.get(name)
    }

    /// Returns all tokens and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Text)> {
        self.tokens.iter().map(|(name, value)| (&name[..], value))
    }

    /// Returns which letters are equal in names (`CASEMAPPING`). Default: that of RFC 1459.
    pub fn case_mapping(&self) -> CaseMapping {
        match self.value("CASEMAPPING", b"rfc1459") {
            b"ascii" => CaseMapping::Ascii,
            b"strict-rfc1459" | b"rfc1459-strict" => CaseMapping::StrictRfc1459,
            _ => CaseMapping::Rfc1459,
        }
    }

    /// Returns how many channels a client may join, by the first letters of their names
    /// (`CHANLIMIT`).
    pub fn chan_limit(&self) -> Vec<(Text, Option<usize>)> {
        self.pairs("CHANLIMIT")
    }

    /// Returns the modes of channels (`CHANMODES`). Default: `b,k,l,imnpst`.
    pub fn chan_modes(&self) -> ChannelModes {
        let mut kinds = self
            .value("CHANMODES", b"b,k,l,imnpst")
            .split(|byte| *byte == b',')
            .map(Text::from);
        let mut next = || kinds.next().unwrap_or_default();
        ChannelModes {
            lists: next(),
            with_param: next(),
            with_param_when_set: next(),
            without_param: next(),
        }
    }

    /// Returns the length limit of a channel's name, in bytes (`CHANNELLEN`). Default: 200.
    pub fn channel_len(&self) -> usize {
        self.number("CHANNELLEN").unwrap_or(200)
    }

    /// Returns the first letters of channels' names (`CHANTYPES`). Default: `#&`.
    pub fn chan_types(&self) -> &[u8] {
        self.value("CHANTYPES", b"#&")
    }

    /// Returns the letter of the mode for exceptions from bans (`EXCEPTS`).
    pub fn excepts(&self) -> Option<u8> {
        self.letter("EXCEPTS", b'e')
    }

    /// Returns the length of the identifier in a safe channel's name, by the first letters of the
    /// names (`IDCHAN`).
    pub fn id_chan(&self) -> Vec<(Text, Option<usize>)> {
        self.pairs("IDCHAN")
    }

    /// Returns the letter of the mode for exceptions from invite-only (`INVEX`).
    pub fn invex(&self) -> Option<u8> {
        self.letter("INVEX", b'I')
    }

    /// Returns the length limit of the reason of a kick, in bytes (`KICKLEN`).
    pub fn kick_len(&self) -> Option<usize> {
        self.number("KICKLEN")
    }

    /// Returns how many entries the lists of a channel may have, by the letters of their modes
    /// (`MAXLIST`).
    pub fn max_list(&self) -> Vec<(Text, Option<usize>)> {
        self.pairs("MAXLIST")
    }

    /// Returns how many modes with a parameter one `MODE` may have (`MODES`); `None` means no
    /// limit. Default: 3.
    pub fn modes(&self) -> Option<usize> {
        match self.get("MODES") {
            None => Some(3),
            Some(_) => self.number("MODES"),
        }
    }

    /// Returns the name of the network (`NETWORK`).
    pub fn network(&self) -> Option<&Text> {
        self.get("NETWORK")
    }

    /// Returns the length limit of a nickname, in bytes (`NICKLEN`). Default: 9.
    pub fn nick_len(&self) -> usize {
        self.number("NICKLEN").unwrap_or(9)
    }

    /// Returns the modes that give a member of a channel a rank, and the marks before the member's
    /// name, highest first (`PREFIX`). Default: `(ovh)@+%`, as in Twisted.
    pub fn prefix(&self) -> Vec<(u8, u8)> {
        let value = self.value("PREFIX", b"(ovh)@+%");
        let inner = value.strip_prefix(b"(").unwrap_or_default();
        let end = memchr::memchr(b')', inner).unwrap_or(0);
        let marks = inner.get(end + 1..).unwrap_or_default();
        let modes = inner[..end].iter();
        modes.copied().zip(marks.iter().copied()).collect()
    }

    /// Returns whether a client can list all channels without being disconnected (`SAFELIST`).
    pub fn safe_list(&self) -> bool {
        self.get("SAFELIST").is_some()
    }

    /// Returns the marks of ranks that may stand before a channel's name in a message's target,
    /// which then goes only to members of that rank (`STATUSMSG`).
    pub fn status_msg(&self) -> &[u8] {
        self.value("STATUSMSG", b"")
    }

    /// Returns how many targets a command may have, by the commands (`TARGMAX`).
    pub fn targ_max(&self) -> Vec<(Text, Option<usize>)> {
        self.pairs("TARGMAX")
    }

    /// Returns the length limit of a topic, in bytes (`TOPICLEN`).
    pub fn topic_len(&self) -> Option<usize> {
        self.number("TOPICLEN")
    }

    /// Returns whether a mode of a channel comes with a parameter.
    pub(super) fn takes_param(&self, mode: u8, is_set: bool) -> bool {
        let modes = self.chan_modes();
        modes.lists.contains(&mode)
            || modes.with_param.contains(&mode)
            || (is_set && modes.with_param_when_set.contains(&mode))
            || self.prefix().iter().any(|(rank, _)| *rank == mode)
    }

    /// Returns whether a name is the name of a channel, by its first letter.
    pub fn is_channel(&self, name: impl AsRef<[u8]>) -> bool {
        let first = name.as_ref().first();
        first.is_some_and(|first| self.chan_types().contains(first))
    }

    /// Returns the name of a member of a channel, as in [`Event::Names`](super::Event::Names),
    /// without the marks of ranks.
    pub fn unmarked<'a>(&self, name: &'a [u8]) -> &'a [u8] {
        let prefix = self.prefix();
        let is_mark = |byte: &u8| prefix.iter().any(|(_, mark)| mark == byte);
        let start = name.iter().take_while(|byte| is_mark(byte)).count();
        &name[start..]
    }

    fn value<'a>(&'a self, name: &str, default: &'a [u8]) -> &'a [u8] {
        self.get(name).map_or(default, |value| value)
    }

    fn number(&self, name: &str) -> Option<usize> {
        number(self.get(name)?)
    }

    fn letter(&self, name: &str, default: u8) -> Option<u8> {
        Some(self.get(name)?.first().copied().unwrap_or(default))
    }

    /// Returns the parts of `a:1,b:2`.
    fn pairs(&self, name: &str) -> Vec<(Text, Option<usize>)> {
        let parts = self.value(name, b"").split(|byte| *byte == b',');
        parts
            .filter(|part| !part.is_empty())
            .map(|part| {
                let end = memchr::memchr(b':', part).unwrap_or(part.len());
                let value = part.get(end + 1..).and_then(number);
                (part[..end].into(), value)
            })
            .collect()
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Returns the value with the bytes that `\xHH` stands for.
fn unescape(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.strip_prefix(b"x").and_then(|hex| hex.get(..2));
        let byte = digits
            .filter(|digits| *first == b'\\' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    out
}

/// The most tokens that are kept: a server that announces more is broken.
const MOST_TOKENS: usize = 1000;
