//! Observers: a log of the traffic, and a recording of it.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::rc::Rc;

use super::Policy;
use crate::failure::Failure;
use crate::transport::Transport;

/// A policy that writes the traffic of a connection as text, one line for each read or write.
///
/// A line begins with the peer's address and `<` for bytes that were received, `>` for bytes that
/// were sent; `*` marks the beginning and the end of the connection. Bytes that are not printable
/// are escaped, so a peer cannot forge lines.
///
/// An error of the writer ends the logging, not the connection. Writing may wait, for a disk for
/// instance, and then the loop waits too.
///
/// # Examples
///
/// ```
/// use std::io;
/// use torsade::net::ListenOptions;
/// use torsade::transport::TrafficLog;
///
/// let logged = ListenOptions::new().policy(|_peer| TrafficLog::new(io::stderr()));
/// ```
#[derive(Debug)]
pub struct TrafficLog<W> {
    /// `None` after an error.
    writer: Option<W>,
    is_hex: bool,
    peer: String,
}

impl<W: Write> TrafficLog<W> {
    /// Creates a log that shows bytes as ASCII text, the others escaped as in `\x00`.
    pub fn new(writer: W) -> Self {
        Self {
            writer: Some(writer),
            is_hex: false,
            peer: String::new(),
        }
    }

    /// Creates a log that shows bytes in hexadecimal, at most 32 in a line, followed by their text,
    /// in which a dot stands for a byte that is not printable.
    pub fn hex(writer: W) -> Self {
        Self {
            is_hex: true,
            ..Self::new(writer)
        }
    }

    fn write(&mut self, sign: char, bytes: &[u8]) {
        let mut text = String::new();
        match self.is_hex {
            true => {
                for line in bytes.chunks(32) {
                    let _ = write!(text, "{} {sign} ", self.peer);
                    for byte in line {
                        let _ = write!(text, "{byte:02x}");
                    }
                    let printable = |byte: &u8| match byte {
                        b' '..=b'~' => char::from(*byte),
                        _ => '.',
                    };
                    text.push(' ');
                    text.extend(line.iter().map(printable));
                    text.push('\n');
                }
            }
            false => {
                let _ = writeln!(text, "{} {sign} {}", self.peer, bytes.escape_ascii());
            }
        }
        self.write_text(&text);
    }

    fn write_text(&mut self, text: &str) {
        let written = self.writer.as_mut().map(|writer| {
            writer.write_all(text.as_bytes())?;
            writer.flush()
        });
        if let Some(Err::<(), io::Error>(error)) = written {
            tracing::warn!(target: "torsade::net", %error, "the traffic is logged no longer");
            self.writer = None;
        }
    }
}

impl<W: Write + 'static> Policy for TrafficLog<W> {
    fn connected(&mut self, transport: &Transport) {
        self.peer = transport.peer().to_string();
        self.write_text(&format!("{} * connected\n", self.peer));
    }

    fn received(&mut self, bytes: &[u8]) {
        self.write('<', bytes);
    }

    fn sent(&mut self, bytes: &[u8]) {
        self.write('>', bytes);
    }

    fn closed(&mut self, reason: &Failure) {
        let reason = reason.to_string();
        self.write_text(&format!("{} * {}\n", self.peer, reason.escape_debug()));
    }
}

/// A policy that keeps the traffic of a connection in memory. Clones share the recording: the
/// program keeps one clone and adds another to the connection.
///
/// # Examples
///
/// ```
/// use torsade::testing;
/// use torsade::transport::Recording;
///
/// testing::run(async |reactor| {
///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
///         Ok(conn.write_all(b"hello").await?)
///     })?;
///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
///     let recording = Recording::new();
///     conn.transport().add_policy(recording.clone());
///     conn.write_all(b"who is there?").await?;
///     conn.read_to_end(&mut Vec::new()).await?;
///     assert_eq!(recording.received(), b"hello");
///     assert_eq!(recording.sent(), b"who is there?");
///     port.stop().await
/// });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recording(Rc<RefCell<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    received: Vec<u8>,
    sent: Vec<u8>,
}

impl Recording {
    /// Creates an empty recording.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the bytes that were received.
    pub fn received(&self) -> Vec<u8> {
        self.0.borrow().received.clone()
    }

    /// Returns the bytes that were sent.
    pub fn sent(&self) -> Vec<u8> {
        self.0.borrow().sent.clone()
    }
}

impl Policy for Recording {
    fn received(&mut self, bytes: &[u8]) {
        self.0.borrow_mut().received.extend_from_slice(bytes);
    }

    fn sent(&mut self, bytes: &[u8]) {
        self.0.borrow_mut().sent.extend_from_slice(bytes);
    }
}
