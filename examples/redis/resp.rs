//! RESP, the wire format of Redis (versions 2 and 3): a codec, without I/O.
//!
//! A reply may be nested and large. The decoder keeps the aggregates that are not complete, so each
//! byte is looked at once, also when a reply arrives byte by byte.

use std::fmt;

use torsade::protocols::{Decoded, Decoder, Encoder};

/// A reply, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Boolean(bool),
    Double(f64),
    BigNumber(String),
    /// Text of a kind, such as `txt`.
    Verbatim(String, Vec<u8>),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Set(Vec<Self>),
    /// What the server sends without having been asked.
    Push(Vec<Self>),
}

/// The codec. Its limits are those of a client that trusts its server a little.
#[derive(Clone, Debug)]
pub(super) struct Resp {
    /// The aggregates that are not complete, the outermost first.
    open: Vec<Aggregate>,
    /// The number of bytes of the present reply.
    size: usize,
    /// The number of bytes of the present line that contain no end.
    searched: usize,
    limit: usize,
}

#[derive(Clone, Debug)]
struct Aggregate {
    kind: u8,
    left: usize,
    values: Vec<Value>,
}

/// Bytes that are not RESP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RespError {
    /// A line does not begin with the sign of a type.
    Type(u8),
    /// The line of a type is not valid.
    Line(String),
    /// A bulk string does not end with CRLF.
    NoEnd,
    /// A reply is nested too deeply.
    TooDeep,
    /// A reply is larger than the limit, in bytes.
    TooLarge(usize),
}

impl Resp {
    /// Creates a codec for replies of at most 512 MiB, the limit of a string in Redis.
    pub(super) fn new() -> Self {
        Self::with_limit(512 << 20)
    }

    pub(super) fn with_limit(limit: usize) -> Self {
        Self {
            open: Vec::new(),
            size: 0,
            searched: 0,
            limit,
        }
    }

    /// Reads the value at the beginning of `input`, which is not an aggregate, or the head of one.
    /// Returns the number of its bytes, or `None` when it is not complete.
    fn item(&mut self, input: &[u8]) -> Result<Option<(Item, usize)>, RespError> {
        let Some(&kind) = input.first() else {
            return Ok(None);
        };
        if !b"_+-:$#,(=!*%~>".contains(&kind) {
            return Err(RespError::Type(kind));
        }
        let from = std::mem::take(&mut self.searched).min(input.len());
        let end = input[from..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|at| from + at);
        let Some(end) = end else {
            if input.len() > LONGEST_LINE {
                return Err(RespError::TooLarge(LONGEST_LINE));
            }
            self.searched = input.len();
            return Ok(None);
        };
        let line = input[1..end].strip_suffix(b"\r");
        let line = line.and_then(|line| std::str::from_utf8(line).ok());
        let bad = || RespError::Line(input[..=end].escape_ascii().to_string());
        let line = line.ok_or_else(bad)?;
        let used = end + 1;
        let value = match kind {
            b'_' if line.is_empty() => Value::Null,
            b'+' => Value::Simple(line.into()),
            b'-' => Value::Error(line.into()),
            b':' => Value::Integer(line.parse().map_err(|_| bad())?),
            b'#' if line == "t" || line == "f" => Value::Boolean(line == "t"),
            b',' => Value::Double(line.parse().map_err(|_| bad())?),
            b'(' => Value::BigNumber(line.into()),
            b'$' | b'*' if line == "-1" => Value::Null,
            b'$' | b'=' | b'!' => {
                let length: usize = line.parse().map_err(|_| bad())?;
                if length > self.limit {
                    return Err(RespError::TooLarge(self.limit));
                }
                let Some(bytes) = input.get(used..used + length + 2) else {
                    return Ok(None);
                };
                let bytes = bytes.strip_suffix(b"\r\n").ok_or(RespError::NoEnd)?;
                let value = match (kind, bytes) {
                    (b'$', bytes) => Value::Bulk(bytes.into()),
                    (b'!', bytes) => Value::Error(String::from_utf8_lossy(bytes).into()),
                    (_, [a, b, c, b':', text @ ..]) => {
                        Value::Verbatim(String::from_utf8_lossy(&[*a, *b, *c]).into(), text.into())
                    }
                    _ => return Err(bad()),
                };
                return Ok(Some((Item::Value(value), used + length + 2)));
            }
            b'*' | b'%' | b'~' | b'>' => {
                let count: usize = line.parse().map_err(|_| bad())?;
                // Each value takes three bytes at least.
                let count = if kind == b'%' {
                    count.saturating_mul(2)
                } else {
                    count
                };
                if count > self.limit / 3 {
                    return Err(RespError::TooLarge(self.limit));
                }
                return Ok(Some((Item::Begin(kind, count), used)));
            }
            _ => return Err(bad()),
        };
        Ok(Some((Item::Value(value), used)))
    }

    /// Adds a value to the innermost aggregate; returns the reply when it is complete.
    fn add(&mut self, mut value: Value) -> Option<Value> {
        while let Some(aggregate) = self.open.last_mut() {
            aggregate.values.push(value);
            aggregate.left -= 1;
            if aggregate.left > 0 {
                return None;
            }
            value = self.open.pop().map(Aggregate::close)?;
        }
        Some(value)
    }
}

/// A part of a reply.
enum Item {
    Value(Value),
    Begin(u8, usize),
}

impl Aggregate {
    fn close(self) -> Value {
        match self.kind {
            b'%' => {
                let mut values = self.values.into_iter();
                Value::Map(std::iter::from_fn(|| values.next().zip(values.next())).collect())
            }
            b'~' => Value::Set(self.values),
            b'>' => Value::Push(self.values),
            _ => Value::Array(self.values),
        }
    }
}

impl Decoder for Resp {
    type Frame<'a> = Value;
    type Owned = Value;
    type Error = RespError;

    fn decode<'a>(&mut self, input: &'a [u8]) -> Decoded<'a, Value, RespError> {
        let mut used = 0;
        loop {
            let item = match self.item(&input[used..]) {
                Ok(Some((item, length))) => {
                    used += length;
                    self.size += length;
                    item
                }
                // What was read is in `open`.
                Ok(None) if used > 0 => return Decoded::Skip(used),
                Ok(None) => return Decoded::More,
                Err(error) => {
                    return Decoded::Broken {
                        error,
                        bytes: &input[used..],
                    };
                }
            };
            if self.size > self.limit {
                let error = RespError::TooLarge(self.limit);
                return Decoded::Broken {
                    error,
                    bytes: &input[..used],
                };
            }
            let value = match item {
                Item::Value(value) => value,
                Item::Begin(kind, 0) => Aggregate {
                    kind,
                    left: 0,
                    values: Vec::new(),
                }
                .close(),
                Item::Begin(..) if self.open.len() == DEEPEST => {
                    return Decoded::Broken {
                        error: RespError::TooDeep,
                        bytes: &input[..used],
                    };
                }
                Item::Begin(kind, left) => {
                    self.open.push(Aggregate {
                        kind,
                        left,
                        values: Vec::new(),
                    });
                    continue;
                }
            };
            if let Some(frame) = self.add(value) {
                self.size = 0;
                return Decoded::Frame {
                    frame,
                    length: used,
                };
            }
        }
    }

    fn restart(&mut self) {
        self.searched = 0;
    }
}

/// A command is an array of bulk strings.
impl<T: AsRef<[u8]>> Encoder<&[T]> for Resp {
    type Error = std::convert::Infallible;

    fn encode(&mut self, words: &[T], out: &mut Vec<u8>) -> Result<(), Self::Error> {
        out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            let word = word.as_ref();
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }
}

/// As `redis-cli` prints it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(f: &mut fmt::Formatter<'_>, values: &[Value]) -> fmt::Result {
            for (at, value) in values.iter().enumerate() {
                let end = if at == 0 { "" } else { "\n" };
                let text = value.to_string().replace('\n', "\n   ");
                write!(f, "{end}{}) {text}", at + 1)?;
            }
            if values.is_empty() {
                f.write_str("(empty array)")
            } else {
                Ok(())
            }
        }
        match self {
            Self::Null => f.write_str("(nil)"),
            Self::Simple(text) => f.write_str(text),
            Self::Error(text) => write!(f, "(error) {text}"),
            Self::Integer(number) => write!(f, "(integer) {number}"),
            Self::Bulk(bytes) | Self::Verbatim(_, bytes) => {
                write!(f, "\"{}\"", bytes.escape_ascii())
            }
            Self::Boolean(is_true) => write!(f, "({is_true})"),
            Self::Double(number) => write!(f, "(double) {number}"),
            Self::BigNumber(digits) => write!(f, "(big number) {digits}"),
            Self::Array(values) | Self::Set(values) | Self::Push(values) => list(f, values),
            Self::Map(pairs) => {
                for (at, (key, value)) in pairs.iter().enumerate() {
                    let end = if at == 0 { "" } else { "\n" };
                    write!(f, "{end}{}# {key} => {value}", at + 1)?;
                }
                if pairs.is_empty() {
                    f.write_str("(empty hash)")
                } else {
                    Ok(())
                }
            }
        }
    }
}

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(byte) => write!(f, "a reply begins with {:?}", char::from(*byte)),
            Self::Line(line) => write!(f, "a reply has the line \"{line}\""),
            Self::NoEnd => f.write_str("a string is longer than its length says"),
            Self::TooDeep => write!(f, "a reply is nested more than {DEEPEST} deep"),
            Self::TooLarge(limit) => write!(f, "a reply is larger than {limit} bytes"),
        }
    }
}

impl std::error::Error for RespError {}

/// The longest line of a reply, in bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// The deepest nesting of a reply.
const DEEPEST: usize = 32;
