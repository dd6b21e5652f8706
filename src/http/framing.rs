//! Where the messages of a connection begin and end, for a server: [`Framing`].
//!
//! # The idea
//!
//! A request that two programs divide differently can hide another one from the first of them. So
//! the framing of HTTP/1 is followed here as well, more strictly than hyper does it: lines end with
//! CR LF, a request has one `Content-Length` or `Transfer-Encoding: chunked`, not both, and nothing
//! but an extension follows the size of a chunk. What hyper refuses is not looked for.
//!
//! The frames of HTTP/2 are counted: one of a few bytes, such as a `PING`, takes hyper a
//! microsecond.

use std::str;

use memchr::memchr;

/// Follows the messages of a connection.
#[derive(Default)]
pub(super) struct Framing {
    pub(super) state: State,
    /// The number of bytes of the body, or [`CHUNKED`], as far as it is known from the head.
    body: Option<u64>,
    /// Whether the request asks to go on with another protocol.
    is_upgrade: bool,
    /// The number of empty lines before a request.
    empty_lines: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum State {
    /// Before a request.
    #[default]
    Start,
    Head,
    /// In a body, or in a chunk and the end of its line: the number of bytes that are left.
    Body(u64),
    ChunkSize,
    Trailer,
    /// After a request to go on with another protocol: it is not known yet what the bytes are.
    Upgrade,
    Refused,
    /// HTTP/2: the number of bytes until the next frame, and of frames until other tasks have their
    /// turn.
    Frame(u64, usize),
}

/// The state in which HTTP/2 begins, with a preface of 24 bytes.
pub(super) const HTTP2: State = State::Frame(24, FRAMES);
/// The most frames in one turn.
pub(super) const FRAMES: usize = 16;

impl Framing {
    /// Returns how many of the bytes, which follow those that it has returned before, hyper may
    /// read now. The rest is an unfinished line or header if the state does not say otherwise.
    pub(super) fn check(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Upgrade | State::Refused | State::Frame(_, 0) => break,
                State::Body(left) => {
                    self.state = match (skip(left, bytes, &mut at), self.body) {
                        (0, Some(CHUNKED)) => State::ChunkSize,
                        (0, _) => self.end(),
                        (left, _) => State::Body(left),
                    };
                }
                State::Frame(left, frames) => {
                    let left = skip(left, bytes, &mut at);
                    self.state = State::Frame(left, frames);
                    let header = bytes[at..].first_chunk::<9>();
                    let Some([high, middle, low, ..]) = header.filter(|_| left == 0) else {
                        break;
                    };
                    let length = u32::from_be_bytes([0, *high, *middle, *low]);
                    self.state = State::Frame(9 + u64::from(length), frames - 1);
                }
                _ => {
                    let Some(length) = memchr(b'\n', &bytes[at..]) else {
                        break;
                    };
                    let line = bytes[at..at + length].strip_suffix(b"\r");
                    match line.and_then(|line| self.next(line)) {
                        Some(state) => (self.state, at) = (state, at + length + 1),
                        None => self.state = State::Refused,
                    }
                }
            }
        }
        at
    }

    /// Returns the state after a line. `None` refuses it.
    fn next(&mut self, line: &[u8]) -> Option<State> {
        Some(match self.state {
            State::Start if line.is_empty() => {
                self.empty_lines += 1;
                (self.empty_lines <= EMPTY_LINES).then_some(State::Start)?
            }
            State::Start => {
                (self.body, self.empty_lines) = (None, 0);
                self.is_upgrade = line.starts_with(b"CONNECT ");
                State::Head
            }
            State::Head if line.is_empty() => match self.body {
                None | Some(0) => self.end(),
                Some(CHUNKED) => State::ChunkSize,
                Some(length) => State::Body(length),
            },
            State::Head => self.header(line)?,
            State::ChunkSize => {
                let digits = str::from_utf8(line.split(|byte| *byte == b';').next()?).ok()?;
                match u64::from_str_radix(digits, 16).ok()? {
                    0 => State::Trailer,
                    // The end of the line counts.
                    size => State::Body(size.checked_add(2)?),
                }
            }
            State::Trailer if line.is_empty() => self.end(),
            state => state,
        })
    }

    fn header(&mut self, line: &[u8]) -> Option<State> {
        let (name, value) = line.split_at(memchr(b':', line)?);
        let body = if name.eq_ignore_ascii_case(b"content-length") {
            str::from_utf8(&value[1..]).ok()?.trim().parse().ok()?
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_chunked = value[1..].trim_ascii().eq_ignore_ascii_case(b"chunked");
            is_chunked.then_some(CHUNKED)?
        } else {
            self.is_upgrade |= name.eq_ignore_ascii_case(b"upgrade");
            return Some(State::Head);
        };
        let other = self.body.replace(body);
        other.is_none().then_some(State::Head)
    }

    /// Returns the state after a request.
    fn end(&self) -> State {
        match self.is_upgrade {
            true => State::Upgrade,
            false => State::Start,
        }
    }
}

/// Moves on by at most `left` bytes. Returns how many of them have not come yet.
fn skip(left: u64, bytes: &[u8], at: &mut usize) -> u64 {
    let count = left.min((bytes.len() - *at) as u64);
    *at += count as usize;
    left - count
}

/// hyper refuses such a length.
const CHUNKED: u64 = u64::MAX;
/// The most empty lines before a request.
const EMPTY_LINES: usize = 8;
