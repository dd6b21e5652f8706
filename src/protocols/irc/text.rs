//! Text of IRC: [`Text`], and the comparison of names, [`CaseMapping`].

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// Text of IRC: bytes that are usually UTF-8. Other bytes are kept unchanged.
///
/// `Display` and comparison with a `str` treat the bytes as UTF-8; [`as_bytes`](Self::as_bytes)
/// returns the received bytes.
///
/// # Examples
///
/// ```
/// use torsade::protocols::irc::Text;
///
/// let text = Text::from(&b"caf\xe9"[..]);
/// assert_eq!(text.to_string(), "caf\u{fffd}");
/// assert_eq!(text.as_bytes(), b"caf\xe9");
/// assert!(Text::from("café") == "café");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// Returns the text as a string, with a replacement character for bytes that are not UTF-8.
    pub fn to_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the text without the codes for bold, italic, underlined, struck, monospaced and
    /// reversed text, and colours.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::protocols::irc::Text;
    ///
    /// let text = Text::from("\x02bold\x0f and \x0304,12red\x03, \x1funderlined");
    /// assert_eq!(text.without_formatting(), "bold and red, underlined");
    /// ```
    #[doc(alias = "stripFormatting")]
    #[must_use]
    pub fn without_formatting(&self) -> Self {
        let digits = |text: &[u8], most: usize, is_digit: fn(&u8) -> bool| {
            text.iter()
                .take(most)
                .take_while(|byte| is_digit(byte))
                .count()
        };
        let mut out = Vec::with_capacity(self.0.len());
        let mut rest = &self.0[..];
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            match first {
                // Bold, off, monospace, reverse, italic, strikethrough, underlined.
                0x02 | 0x0f | 0x11 | 0x16 | 0x1d | 0x1e | 0x1f => {}
                // A colour, and perhaps that of the background; or one in hexadecimal.
                0x03 | 0x04 => {
                    let (most, is_digit): (usize, fn(&u8) -> bool) = match first {
                        0x03 => (2, u8::is_ascii_digit),
                        _ => (6, u8::is_ascii_hexdigit),
                    };
                    let count = digits(rest, most, is_digit);
                    rest = &rest[count..];
                    if let Some(second) = rest.strip_prefix(b",").filter(|_| count > 0) {
                        let count = digits(second, most, is_digit);
                        rest = if count > 0 { &second[count..] } else { rest };
                    }
                }
                byte => out.push(*byte),
            }
        }
        Self(out)
    }

    /// Returns the bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) => write!(f, "{text:?}"),
            Err(_) => write!(f, "b\"{}\"", self.0.escape_ascii()),
        }
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&Self> for Text {
    fn from(text: &Self) -> Self {
        text.clone()
    }
}

/// The letters that a server treats as equal in the names of users and channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaseMapping {
    /// `A` to `Z` are equal to `a` to `z`.
    Ascii,
    /// As `Ascii`; also, `[`, `]`, `\` and `~` are equal to `{`, `}`, `|` and `^`.
    #[default]
    Rfc1459,
    /// As `Ascii`; also, `[`, `]` and `\` are equal to `{`, `}` and `|`.
    StrictRfc1459,
}

impl CaseMapping {
    /// Returns whether two names are equal.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::protocols::irc::CaseMapping;
    ///
    /// assert!(CaseMapping::Rfc1459.is_same("#Rust[]", "#rust{}"));
    /// assert!(!CaseMapping::Ascii.is_same("#Rust[]", "#rust{}"));
    /// ```
    pub fn is_same(self, one: impl AsRef<[u8]>, other: impl AsRef<[u8]>) -> bool {
        let (one, other) = (one.as_ref(), other.as_ref());
        one.len() == other.len()
            && one
                .iter()
                .zip(other)
                .all(|(one, other)| self.lower(*one) == self.lower(*other))
    }

    fn lower(self, byte: u8) -> u8 {
        match (self, byte) {
            (Self::Rfc1459 | Self::StrictRfc1459, b'[' | b']' | b'\\') => byte + 32,
            (Self::Rfc1459, b'~') => b'^',
            _ => byte.to_ascii_lowercase(),
        }
    }
}
