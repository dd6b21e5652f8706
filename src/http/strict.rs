//! What an HTTP/1 server refuses that hyper accepts: [`Strict`].
//!
//! # The idea
//!
//! A request that two programs divide differently can hide another one from the first of them. So
//! the framing of requests is followed here as well, more strictly than hyper does it: lines end
//! with CR LF, a request has one `Content-Length` or `Transfer-Encoding: chunked`, not both, and
//! sizes are digits. At what breaks these rules the bytes end, and hyper is given [some](REFUSED)
//! that it refuses in every place: so it answers with status 400 and closes the connection.

use std::str;

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
    /// After a head that asks to go on with another protocol.
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
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.state {
                State::Upgrade | State::Refused => break,
                State::Body(left) | State::Chunk(left) => {
                    let count = (*left).min(rest.len() as u64);
                    *left -= count;
                    rest = &rest[count as usize..];
                    match self.state {
                        State::Body(0) => self.state = State::Start,
                        State::Chunk(0) => self.state = State::ChunkSize,
                        _ => {}
                    }
                }
                _ => {
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        self.line.extend_from_slice(rest);
                        return bytes.len();
                    };
                    let (line, after) = rest.split_at(end + 1);
                    let next = if self.line.is_empty() {
                        self.next(line)
                    } else {
                        let mut whole = std::mem::take(&mut self.line);
                        whole.extend_from_slice(line);
                        self.next(&whole)
                    };
                    self.state = next.unwrap_or(State::Refused);
                    if self.state != State::Refused {
                        rest = after;
                    }
                }
            }
        }
        bytes.len() - rest.len()
    }

    /// Returns whether a head has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.state == State::Head || self.state == State::Start && !self.line.is_empty()
    }

    /// Returns whether the last head asks to go on with another protocol, so that it is not known
    /// yet what the bytes after it are.
    pub(super) fn is_upgrade(&self) -> bool {
        self.state == State::Upgrade
    }

    pub(super) fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    /// Goes on after a request to go on with another protocol that was not accepted.
    pub(super) fn stay(&mut self) {
        self.state = after_head(self.body);
    }

    /// Returns the state after a line, which ends with LF. `None` refuses it.
    fn next(&mut self, line: &[u8]) -> Option<State> {
        let line = line.strip_suffix(b"\r\n")?;
        let state = self.state;
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return None;
        }
        match state {
            State::Start if line.is_empty() => Some(State::Start),
            State::Start => {
                (self.body, self.is_upgrade) = (None, line.starts_with(b"CONNECT "));
                Some(State::Head)
            }
            State::Head if line.is_empty() && self.is_upgrade => Some(State::Upgrade),
            State::Head if line.is_empty() => Some(after_head(self.body)),
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
            State::Trailer if line.is_empty() => Some(State::Start),
            _ => Some(state),
        }
    }

    fn header(&mut self, line: &[u8]) -> Option<()> {
        // Most headers are others.
        if !matches!(line.first()? | 0x20, b'c' | b't' | b'u') {
            return Some(());
        }
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("content-length") {
            let is_number = value.iter().all(u8::is_ascii_digit);
            let number = str::from_utf8(value).ok().filter(|_| is_number)?;
            self.set_body(Framing::Length(number.parse().ok()?))
        } else if is("transfer-encoding") {
            let is_chunked = value.eq_ignore_ascii_case(b"chunked");
            is_chunked.then_some(())?;
            self.set_body(Framing::Chunked)
        } else {
            self.is_upgrade |= is("upgrade");
            Some(())
        }
    }

    /// Records the framing of the body. `None` if there is one already.
    fn set_body(&mut self, body: Framing) -> Option<()> {
        self.body.replace(body).is_none().then_some(())
    }
}

fn after_head(body: Option<Framing>) -> State {
    match body {
        None | Some(Framing::Length(0)) => State::Start,
        Some(Framing::Length(length)) => State::Body(length),
        Some(Framing::Chunked) => State::ChunkSize,
    }
}
