//! Netstrings: [`NetstringCodec`].

use super::{Decoded, Decoder, Encoder, FrameError};

/// A codec of netstrings, `LENGTH:BYTES,`
/// ([D. J. Bernstein, 1997](https://cr.yp.to/proto/netstrings.txt)).
///
/// A netstring that is malformed, or longer than the limit, is a fatal error, which is found as
/// soon as the first wrong byte has arrived: no frame can be found after it.
///
/// # Examples
///
/// ```
/// use torsade::protocols::{FrameBuffer, FrameError, NetstringCodec};
///
/// let mut strings = FrameBuffer::new(NetstringCodec::new());
/// strings.feed(b"5:hello,0:,05:hello,");
/// assert_eq!(strings.next_frame(), Some(Ok(b"hello".to_vec())));
/// assert_eq!(strings.next_frame(), Some(Ok(b"".to_vec())));
/// let error = FrameError::BadNetstring { found: b'5', expected: "a colon" };
/// assert_eq!(strings.next_frame(), Some(Err(error)));
/// ```
#[derive(Clone, Debug)]
pub struct NetstringCodec {
    limit: usize,
}

impl NetstringCodec {
    /// The default length limit of a string, in bytes, as in Twisted.
    pub const MAX_LENGTH: usize = 99_999;

    /// Creates a codec.
    pub fn new() -> Self {
        Self {
            limit: Self::MAX_LENGTH,
        }
    }

    /// Sets the length limit of a string, in bytes. Default: [`MAX_LENGTH`](Self::MAX_LENGTH).
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Parses `LENGTH:`; returns the length and the number of its digits, or `None` when more bytes
    /// are needed.
    fn length(&self, input: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
        let expected = |expected, found| Err(FrameError::BadNetstring { found, expected });
        let mut length = 0_u64;
        for (at, &byte) in input.iter().enumerate() {
            match byte {
                b'0'..=b'9' if at == 1 && input[0] == b'0' => return expected("a colon", byte),
                b'0'..=b'9' => {
                    length = length * 10 + u64::from(byte - b'0');
                    if length > self.limit as u64 {
                        let limit = self.limit;
                        return Err(FrameError::FrameTooLong { length, limit });
                    }
                }
                b':' if at > 0 => return Ok(Some((length as usize, at))),
                _ if at == 0 => return expected("a digit", byte),
                _ => return expected("a digit or a colon", byte),
            }
        }
        Ok(None)
    }
}

impl Default for NetstringCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for NetstringCodec {
    type Frame<'a> = &'a [u8];
    type Owned = Vec<u8>;
    type Error = FrameError;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, &'a [u8], FrameError> {
        let (length, digits) = match self.length(input) {
            Ok(Some(found)) => found,
            Ok(None) => return Decoded::More,
            Err(error) => {
                return Decoded::Broken {
                    error,
                    bytes: input,
                };
            }
        };
        let end = digits + 1 + length;
        match input.get(end) {
            None => Decoded::More,
            Some(b',') => Decoded::Frame {
                frame: &input[digits + 1..end],
                length: end + 1,
            },
            Some(&found) => Decoded::Broken {
                error: FrameError::BadNetstring {
                    found,
                    expected: "a comma",
                },
                bytes: &input[..=end],
            },
        }
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for NetstringCodec {
    type Error = FrameError;

    /// Appends the string as a netstring.
    ///
    /// # Errors
    ///
    /// [`FrameError::FrameTooLong`] when the string is longer than the limit.
    fn encode(&mut self, string: T, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let string = string.as_ref();
        super::length::check(string.len(), self.limit)?;
        out.extend_from_slice(string.len().to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(string);
        out.push(b',');
        Ok(())
    }
}
