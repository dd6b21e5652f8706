//! What an HTTP/1 server refuses that hyper accepts: [`Strict`].
//!
//! # The idea
//!
//! A request that two programs divide differently can hide another one from the first of them. So
//! the framing of requests is followed here as well, more strictly than hyper does it: lines end
//! with CR LF, a request has one `Content-Length` or `Transfer-Encoding: chunked`, not both, and
//! sizes are digits. At what breaks these rules the bytes end, and hyper is given [some](REFUSED)
//! that it refuses in every place: so it answers with status 400 and closes the connection.

use std::{mem, str};

/// Follows the framing of the requests of a connection.
#[derive(Default)]
pub(super) struct Strict {
    state: State,
    /// The beginning of an unfinished line.
    line: Vec<u8>,
    /// The framing of the body, as far as it is known from the head.
    body: Option<Framing>,
    /// Whether the head asks to go on with another protocol.
    is_upgrade: bool,
    /// Whether the head has a host, and whether it must have one.
    has_host: bool,
    needs_host: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a request.
    #[default]
    Start,
    Head,
    /// In a body, or in a chunk and the end of its line: the number of bytes that are left.
    Body(u64),
    Chunk(u64),
    ChunkSize,
    Trailer,
    /// After a request to go on with another protocol.
    Upgrade,
    Refused,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(u64),
    Chunked,
}

/// A byte that is allowed nowhere in a head or in the size of a chunk; and the end of a head, for
/// which hyper waits before it looks at the rest.
pub(super) const REFUSED: &[u8] = b"\0\r\n\r\n";

impl Strict {
    /// Returns how many of the bytes are in order. The rest is for later if [`is_upgrade`] says so;
    /// otherwise it is refused.
    ///
    /// [`is_upgrade`]: Self::is_upgrade
    pub(super) fn check(&mut self, bytes: &[u8]) -> usize {
        let mut start = 0;
        while start < bytes.len() {
            match &mut self.state {
                State::Upgrade | State::Refused => break,
                State::Body(left) | State::Chunk(left) => {
                    let count = (*left).min((bytes.len() - start) as u64);
                    *left -= count;
                    start += count as usize;
                    match self.state {
                        State::Body(0) => self.state = self.end(),
                        State::Chunk(0) => self.state = State::ChunkSize,
                        _ => {}
                    }
                }
                _ => match self.check_lines(&bytes[start..]) {
                    0 => break,
                    count => start += count,
                },
            }
        }
        start
    }

    /// Checks lines until one is refused, or something else than a line follows.
    fn check_lines(&mut self, bytes: &[u8]) -> usize {
        let mut start = 0;
        for (word, at) in bytes.chunks(8).zip((0..).step_by(8)) {
            let mut found = line_ends(word);
            while found != 0 {
                let end = at + found.trailing_zeros() as usize / 8 + 1;
                found &= found - 1;
                self.state = self.line(&bytes[start..end]).unwrap_or(State::Refused);
                match self.state {
                    State::Refused => return start,
                    State::Head | State::Start | State::ChunkSize | State::Trailer => start = end,
                    _ => return end,
                }
            }
        }
        self.line.extend_from_slice(&bytes[start..]);
        bytes.len()
    }

    /// Returns the state after a line, the end of which has come. `None` refuses it.
    #[inline(always)]
    fn line(&mut self, line: &[u8]) -> Option<State> {
        if !self.line.is_empty() {
            let mut whole = mem::take(&mut self.line);
            whole.extend_from_slice(line);
            return self.next(whole.strip_suffix(b"\r\n")?);
        }
        let line = line.strip_suffix(b"\r\n")?;
        match line.first().map(|first| first | 0x20) {
            // These headers do not matter here, nor do most others.
            Some(b'a' | b'd'..=b'g' | b'i'..=b's' | b'v'..=b'z') if self.state == State::Head => {
                Some(State::Head)
            }
            _ => self.next(line),
        }
    }

    /// Returns whether a head has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.state == State::Head || self.state == State::Start && !self.line.is_empty()
    }

    /// Returns whether the last request asks to go on with another protocol, so that it is not
    /// known yet what the bytes after it are.
    pub(super) fn is_upgrade(&self) -> bool {
        self.state == State::Upgrade
    }

    /// Returns whether this or the last request asks to go on with another protocol, as far as it
    /// is known.
    pub(super) fn asks_for_upgrade(&self) -> bool {
        self.is_upgrade
    }

    pub(super) fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    /// Goes on after a request to go on with another protocol that was not accepted.
    pub(super) fn stay(&mut self) {
        self.state = State::Start;
    }

    /// Returns the state after a request.
    fn end(&self) -> State {
        match self.is_upgrade {
            true => State::Upgrade,
            false => State::Start,
        }
    }

    fn next(&mut self, line: &[u8]) -> Option<State> {
        let state = self.state;
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return None;
        }
        match state {
            State::Start if line.is_empty() => Some(State::Start),
            State::Start => {
                (self.body, self.is_upgrade) = (None, line.starts_with(b"CONNECT "));
                (self.has_host, self.needs_host) = (false, line.ends_with(b"1.1"));
                Some(State::Head)
            }
            State::Head if line.is_empty() && self.needs_host && !self.has_host => None,
            State::Head if line.is_empty() => Some(match self.body {
                None | Some(Framing::Length(0)) => self.end(),
                Some(Framing::Length(length)) => State::Body(length),
                Some(Framing::Chunked) => State::ChunkSize,
            }),
            State::Head => self.header(line).map(|()| State::Head),
            State::ChunkSize => {
                let digits = line.split(|byte| *byte == b';').next()?;
                if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                let size = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
                match size {
                    0 => Some(State::Trailer),
                    // The end of the line counts.
                    size => size.checked_add(2).map(State::Chunk),
                }
            }
            State::Trailer if line.is_empty() => Some(self.end()),
            _ => Some(state),
        }
    }

    fn header(&mut self, line: &[u8]) -> Option<()> {
        let value = |name: &str| {
            let is_it = line.get(name.len()) == Some(&b':')
                && line[..name.len()].eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| line[name.len() + 1..].trim_ascii())
        };
        if value("host").is_some() {
            return (!mem::replace(&mut self.has_host, true)).then_some(());
        }
        if let Some(value) = value("content-length") {
            let is_number = value.iter().all(u8::is_ascii_digit);
            let number = str::from_utf8(value).ok().filter(|_| is_number)?;
            return self.set_body(Framing::Length(number.parse().ok()?));
        }
        if let Some(value) = value("transfer-encoding") {
            let is_chunked = value.eq_ignore_ascii_case(b"chunked");
            return is_chunked.then(|| self.set_body(Framing::Chunked))?;
        }
        self.is_upgrade |= value("upgrade").is_some();
        Some(())
    }

    /// Records the framing of the body. `None` if there is one already.
    fn set_body(&mut self, body: Framing) -> Option<()> {
        self.body.replace(body).is_none().then_some(())
    }
}

/// Returns a word with the highest bit set in those of its bytes where `bytes` (at most 8) has LF.
fn line_ends(bytes: &[u8]) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    let mut word = [0; 8];
    match bytes.first_chunk() {
        Some(all) => word = *all,
        None => word[..bytes.len()].copy_from_slice(bytes),
    }
    let word = u64::from_le_bytes(word) ^ u64::from_ne_bytes([b'\n'; 8]);
    !(((word & LOW) + LOW) | word | LOW)
}
