//! What a session keeps of the registration, and of lists that come in several replies.

use crate::protocols::irc::{IrcError, Text, Whois};

/// How far the registration is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The capabilities that the server offers, with their values.
    pub(super) offered: Vec<Text>,
    pub(super) enabled: Vec<Text>,
    /// The number of nicknames that were in use, since the last one that was accepted.
    pub(super) collisions: u32,
    pub(super) has_used_fallback: bool,
    pub(super) is_authenticated: bool,
}

/// What has arrived so far.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The members of channels, and the bytes that they take.
    pub(super) names: Vec<(Text, Vec<Text>)>,
    pub(super) names_size: usize,
    /// The lines of the message of the day, and the bytes that they take.
    pub(super) motd: Vec<Text>,
    pub(super) motd_size: usize,
    /// The `WHOIS` requests without a complete answer, and the complete answers.
    pub(super) whois: Vec<Whois>,
    pub(super) results: Vec<(Text, Result<Whois, IrcError>)>,
}
