//! Lines: [`LineCodec`].

use std::borrow::Cow;

use super::{Decoded, Decoder, Encoder, FrameError};

/// A codec of lines.
///
/// By default a line ends with `\n` or `\r\n` when it is received, and with `\r\n` when it is sent.
/// [`delimited`](Self::delimited) makes a codec for any other delimiter, in both directions.
///
/// A line that is longer than the limit is rejected once, as soon as that is known, with the bytes
/// that have arrived; the rest of the line is skipped.
///
/// # Raw data
///
/// After [`set_raw_mode`](Self::set_raw_mode) a [`FrameProtocol`](crate::protocols::FrameProtocol)
/// gets the bytes that follow as they come, until [`set_line_mode`](Self::set_line_mode). Bytes
/// that the protocol has not taken by then are decoded as lines. Other users of the codec ignore
/// the mode.
///
/// # Examples
///
/// ```
/// use torsade::protocols::{Decoded, Decoder, LineCodec};
///
/// let mut lines = LineCodec::new();
/// assert_eq!(lines.decode(b"on"), Decoded::More);
/// let found = lines.decode(b"one\r\ntwo");
/// assert_eq!(found, Decoded::Frame { frame: &b"one"[..], length: 5 });
/// ```
#[derive(Clone, Debug)]
pub struct LineCodec {
    limit: usize,
    /// `None` for `\n` or `\r\n`.
    delimiter: Option<Cow<'static, [u8]>>,
    /// The number of bytes that contain no end of a line.
    searched: usize,
    /// Whether the rest of a line that is too long is being skipped.
    is_skipping: bool,
    is_raw: bool,
}

impl LineCodec {
    /// The default length limit of a line, in bytes, as in Twisted.
    pub const MAX_LENGTH: usize = 16_384;

    /// Creates a codec for lines that end with `\n` or `\r\n`.
    pub fn new() -> Self {
        Self {
            limit: Self::MAX_LENGTH,
            delimiter: None,
            searched: 0,
            is_skipping: false,
            is_raw: false,
        }
    }

    /// Creates a codec for lines that end with `delimiter` and nothing else.
    ///
    /// # Panics
    ///
    /// Panics when the delimiter is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::protocols::{FrameBuffer, LineCodec};
    ///
    /// let mut fields = FrameBuffer::new(LineCodec::delimited(&b"; "[..]));
    /// fields.feed(b"a;b; c");
    /// assert_eq!(fields.next_frame(), Some(Ok(b"a;b".to_vec())));
    /// assert_eq!(fields.next_frame(), None);
    /// ```
    pub fn delimited(delimiter: impl Into<Cow<'static, [u8]>>) -> Self {
        let delimiter = delimiter.into();
        assert!(!delimiter.is_empty(), "a delimiter has at least one byte");
        Self {
            delimiter: Some(delimiter),
            ..Self::new()
        }
    }

    /// Sets the length limit of a line, in bytes, not counting its end. Default:
    /// [`MAX_LENGTH`](Self::MAX_LENGTH).
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the length limit of the lines that follow.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Returns the first line of `input` and its length with its end, where decoding it would have
    /// no other effect. Otherwise `decode` goes on where this has stopped.
    #[inline(always)]
    pub(crate) fn whole_line<'a>(&mut self, input: &'a [u8]) -> Option<(&'a [u8], usize)> {
        if self.is_skipping || self.delimiter.is_some() {
            return None;
        }
        let (end, width) = find_newline(input, self.searched.min(input.len()))?;
        if end > self.limit {
            return None;
        }
        self.searched = 0;
        Some((&input[..end], end + width))
    }

    /// Passes the bytes that follow on as raw data.
    #[doc(alias = "setRawMode")]
    pub fn set_raw_mode(&mut self) {
        self.is_raw = true;
        self.searched = 0;
    }

    /// Splits the bytes that follow into lines again.
    #[doc(alias = "setLineMode")]
    pub fn set_line_mode(&mut self) {
        self.is_raw = false;
    }

    /// Returns the end of the lines that are sent.
    fn end(&self) -> &[u8] {
        self.delimiter.as_deref().unwrap_or(b"\r\n")
    }

    /// Returns the position of the first delimiter, and its length.
    #[inline(always)]
    fn find(&self, input: &[u8], from: usize) -> Option<(usize, usize)> {
        match &self.delimiter {
            None => find_newline(input, from),
            Some(delimiter) => find_delimiter(delimiter, input, from),
        }
    }

    /// Decodes what is not a line, where its end was searched.
    #[inline(never)]
    fn decode_unusual<'a>(
        &mut self,
        input: &'a [u8],
        found: Option<(usize, usize)>,
    ) -> Decoded<'a, &'a [u8], FrameError> {
        let error = FrameError::LineTooLong { limit: self.limit };
        match found {
            Some((end, width)) if self.is_skipping => {
                self.is_skipping = false;
                Decoded::Skip(end + width)
            }
            Some((end, width)) => Decoded::Bad {
                error,
                bytes: &input[..end],
                length: end + width,
            },
            None => {
                let line = input.len() - self.pending(input);
                if self.is_skipping && line > 0 {
                    Decoded::Skip(line)
                } else if line > self.limit {
                    self.is_skipping = true;
                    Decoded::Bad {
                        error,
                        bytes: &input[..line],
                        length: line,
                    }
                } else {
                    self.searched = input.len();
                    Decoded::More
                }
            }
        }
    }

    /// Returns how many bytes at the end of `input`, which contains no delimiter, may be the
    /// beginning of one.
    fn pending(&self, input: &[u8]) -> usize {
        match &self.delimiter {
            None => usize::from(input.last() == Some(&b'\r')),
            Some(delimiter) => (1..delimiter.len())
                .rev()
                .find(|count| input.ends_with(&delimiter[..*count]))
                .unwrap_or(0),
        }
    }
}

/// Returns the position of the first `\n` or `\r\n`, and its length.
#[inline(always)]
fn find_newline(input: &[u8], from: usize) -> Option<(usize, usize)> {
    let end = from + memchr::memchr(b'\n', &input[from..])?;
    let is_pair = end > 0 && input[end - 1] == b'\r';
    Some((end - usize::from(is_pair), 1 + usize::from(is_pair)))
}

/// Returns the position of the first `delimiter`, and its length.
#[inline(never)]
fn find_delimiter(delimiter: &[u8], input: &[u8], from: usize) -> Option<(usize, usize)> {
    let (last, first) = delimiter.split_last()?;
    memchr::memchr_iter(*last, &input[from..])
        .map(|at| from + at)
        .find(|at| input[..*at].ends_with(first))
        .map(|at| (at - first.len(), delimiter.len()))
}

impl Default for LineCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for LineCodec {
    type Frame<'a> = &'a [u8];
    type Owned = Vec<u8>;
    type Error = FrameError;

    #[inline(always)]
    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, &'a [u8], FrameError> {
        let from = std::mem::take(&mut self.searched).min(input.len());
        match self.find(input, from) {
            Some((end, width)) if end <= self.limit && !self.is_skipping => Decoded::Frame {
                frame: &input[..end],
                length: end + width,
            },
            found => self.decode_unusual(input, found),
        }
    }

    /// The last line may lack its end.
    fn decode_end<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, &'a [u8], FrameError> {
        match std::mem::take(&mut self.is_skipping) {
            true => Decoded::Skip(input.len()),
            false => Decoded::Frame {
                frame: input,
                length: input.len(),
            },
        }
    }

    fn restart(&mut self) {
        self.searched = 0;
    }

    fn is_raw(&self) -> bool {
        self.is_raw
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for LineCodec {
    type Error = FrameError;

    /// Appends the line and its end.
    ///
    /// # Errors
    ///
    /// [`FrameError::ContainsDelimiter`] when the line contains its own end, so that the peer would
    /// see two lines; [`FrameError::LineTooLong`] when it is longer than the limit.
    fn encode(&mut self, line: T, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let line = line.as_ref();
        if line.len() > self.limit {
            return Err(FrameError::LineTooLong { limit: self.limit });
        }
        if let Some((position, _)) = self.find(line, 0) {
            return Err(FrameError::ContainsDelimiter { position });
        }
        out.extend_from_slice(line);
        out.extend_from_slice(self.end());
        Ok(())
    }
}
