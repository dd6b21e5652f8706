//! A socket in TLS: another socket, and the session that what is written to and read from it goes
//! through.
//!
//! # Invariants
//!
//! 1. A write returns as accepted only bytes whose records the socket below has accepted as a
//!    whole. The records of the others, [`Socket::owed`], are made: the caller passes these bytes
//!    again, before all others.
//! 2. What the session has to say by itself is sent with the next read or write.
//! 3. An error of writing hides nothing that has arrived: neither an alert, nor the end of the
//!    handshake, nor bytes. An end that has finished its handshake and cannot send its last records
//!    (a server its tickets, a client its `Finished`) is connected: over TCP such a write succeeds.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IoSlice};
use std::rc::Rc;

use super::Socket;
use super::socket::is_for_later;
use crate::cells;
use crate::tls::{GivenUp, Handshake, Records, Scratch, ServerConfig, Session, TlsError, TlsInfo};

/// The buffers that the sockets of one reactor use in turn.
pub(crate) type SharedScratch = Rc<Cell<Option<Box<Scratch>>>>;

/// A socket and its session.
pub(crate) struct TlsSocket {
    below: Socket,
    session: RefCell<Session>,
    /// The error of a read that had returned bytes, or of a write: the system returns it once. The
    /// next read that finds neither bytes nor `close_notify` fails with it.
    broken: Cell<Option<io::Error>>,
    /// The number of bytes of the next writes whose records are made. Their end is in the session's
    /// output, or was sent since.
    owed: Cell<usize>,
    /// Whether the handshake has read all that had arrived, and nothing was read since.
    is_drained: Cell<bool>,
    scratch: SharedScratch,
}

impl TlsSocket {
    pub(super) fn new(below: Socket, session: Session, scratch: SharedScratch) -> Self {
        Self {
            below,
            session: RefCell::new(session),
            broken: Cell::new(None),
            owed: Cell::new(0),
            is_drained: Cell::new(false),
            scratch,
        }
    }

    pub(super) fn below(&self) -> &Socket {
        &self.below
    }

    pub(super) fn into_below(self) -> Socket {
        self.below
    }

    /// Reads decrypted bytes, as many as there are.
    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        if into.is_empty() {
            return Ok(0);
        }
        let mut count = session.take_plain(into);
        // Mostly nothing has arrived since the end of the handshake.
        if count < into.len() && !(count > 0 && self.is_drained.get()) {
            count += self.receive(&mut session, &mut into[count..]);
        }
        if count > 0 {
            return Ok(count);
        }
        match (session.end(), self.broken.take()) {
            (Some(Ok(())), _) => Ok(0),
            (_, Some(error)) => Err(error),
            (Some(Err(error)), None) => Err(as_io_error(error)),
            (None, None) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Receives and decrypts until `into` is full, or nothing more has arrived. Errors are kept:
    /// those of the socket here, those of TLS by the session.
    fn receive(&self, session: &mut Session, into: &mut [u8]) -> usize {
        let mut scratch = self.scratch.take().unwrap_or_default();
        let received = self.receive_with(session, into, &mut scratch.received);
        self.scratch.set(Some(scratch));
        received
    }

    fn receive_with(&self, session: &mut Session, into: &mut [u8], buffer: &mut Vec<u8>) -> usize {
        let (mut count, mut records) = (0, 0);
        self.is_drained.set(false);
        for _ in 0..READS {
            let is_enough = count == into.len() && session.is_established();
            if is_enough || records >= Session::RECORDS / 2 {
                break;
            }
            if !session.takes_input() {
                break;
            }
            // What is decrypted and not read has to be kept: at most a record. Where whole records
            // arrive, nothing is left.
            let fits = session.encrypted_len(into.len() - count);
            let limit = match session.is_established() {
                true => fits
                    .saturating_sub(session.input_len())
                    .clamp(RECORD, Session::MOST),
                false => Session::MOST,
            };
            let limit = limit.min(session.appetite());
            let end = session.input_len() + limit;
            if buffer.len() < end {
                buffer.resize(end, 0);
            }
            let result = self.below.read(&mut buffer[session.input_len()..end]);
            let read = match result {
                Ok(0) => {
                    session.input_ended();
                    break;
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_drained.set(into.is_empty());
                    break;
                }
                Err(error) => {
                    self.broken.set(Some(error));
                    break;
                }
            };
            let kept = session.begin_receiving(buffer);
            records += session.note_records(&buffer[..kept + read]);
            count += session.process(&mut buffer[..kept + read], &mut into[count..]);
            let sent = self.send_output(session);
            let is_gone = sent.is_err();
            if let Err(error) = sent {
                self.keep_write_error(error);
            }
            // The end of a peer that is gone may have arrived.
            if read < limit && !is_gone {
                self.is_drained.set(into.is_empty());
                break;
            }
        }
        count
    }

    /// Sends what the session has to say; returns whether that is done.
    #[inline]
    fn send_output(&self, session: &mut Session) -> io::Result<bool> {
        // Mostly there is nothing.
        if session.output().is_empty() {
            return Ok(true);
        }
        self.send_output_by(session, |below, bytes| below.write(bytes))
    }

    fn send_output_by(
        &self,
        session: &mut Session,
        write: impl Fn(&Socket, &[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        while !session.output().is_empty() {
            match write(&self.below, session.output()) {
                Ok(0) => return Ok(false),
                Ok(count) => session.consume_output(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Keeps the error of a write, which does not end what can be read (invariant 3). A broken pipe
    /// is not kept: each write returns it again, and the peer may still send.
    fn keep_write_error(&self, error: io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.broken.set(Some(error));
        }
    }

    /// Encrypts and sends, as much as the socket accepts (invariant 1).
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        if let Some(error) = session.error() {
            return Err(as_io_error(error));
        }
        if !session.is_established() || !self.send_output(&mut session)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let start = self.owed.get().min(bytes.len());
        self.owed.set(self.owed.get() - start);
        let (mut count, mut unsent, mut result) = (start, Vec::new(), Ok(()));
        if start < bytes.len() {
            let mut scratch = self.scratch.take().unwrap_or_default();
            // Each record is sent while it is in the processor's nearest cache. To send several by
            // one call takes longer, although it saves calls.
            let send = |records: &Records, content: usize| {
                match self.send(records, &mut unsent) {
                    Ok(behind) => {
                        let owed = behind.min(content);
                        self.owed.set(owed);
                        count += content - owed;
                    }
                    Err(error) => result = Err(error),
                }
                unsent.is_empty() && result.is_ok()
            };
            let encrypted = session.encrypt(&bytes[start..], &mut scratch.records, send);
            result = result.and_then(|()| encrypted.map_err(as_io_error));
            if !unsent.is_empty() {
                session.queue_output(&unsent);
            }
            scratch.records.clear();
            self.scratch.set(Some(scratch));
        }
        match (result, count) {
            (Err(error), 0) => Err(error),
            (Err(error), count) => {
                self.keep_write_error(error);
                Ok(count)
            }
            (Ok(()), 0) if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            (Ok(()), count) => Ok(count),
        }
    }

    /// Sends records. Appends what the socket does not accept to `unsent`, and returns how many
    /// bytes of content are in records that it has not accepted as a whole.
    fn send(&self, records: &Records, unsent: &mut Vec<u8>) -> io::Result<usize> {
        let pieces = records.pieces();
        let result = match pieces {
            [piece, []] | [[], piece] => self.below.write(piece),
            both => self.below.write_vectored(&both.map(IoSlice::new)),
        };
        // Records that are made cannot be made again: they have their numbers.
        let mut left = match result {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if is_for_later(&error) => 0,
            Err(error) => return Err(error),
        };
        if left == pieces[0].len() + pieces[1].len() {
            return Ok(0);
        }
        let mut content = 0;
        for piece in pieces {
            let whole = left.min(piece.len());
            if whole < piece.len() {
                unsent.extend_from_slice(&piece[whole..]);
                content += content_behind(piece, whole);
            }
            left -= whole;
        }
        Ok(content)
    }

    /// Returns how many bytes of the next writes are in records that are made.
    pub(super) fn owed(&self) -> usize {
        self.owed.get()
    }

    pub(super) fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut count = 0;
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            match self.write(piece) {
                Ok(written) => {
                    count += written;
                    if written < piece.len() {
                        break;
                    }
                }
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Goes on with the handshake, as far as the peer's bytes reach.
    pub(crate) fn handshake(&self) -> io::Result<Handshake> {
        let mut session = self.session.borrow_mut();
        let mut sent = self.send_output(&mut session);
        if !session.is_established() {
            self.receive(&mut session, &mut []);
            sent = sent.and_then(|_| self.send_output(&mut session));
        }
        let handshake = session.handshake();
        if matches!(handshake, Handshake::Done) {
            // An error after it is the end of what is read.
            if let Err(error) = sent {
                self.keep_write_error(error);
            }
            return Ok(handshake);
        }
        // An alert says more than a reset, and the end of the stream more than a broken pipe.
        let error = match session.error() {
            Some(error) if error != TlsError::HandshakeClosed => Some(as_io_error(error)),
            closed => {
                let closed = closed.map(as_io_error);
                self.broken.take().or(closed).or_else(|| sent.err())
            }
        };
        error.map_or(Ok(handshake), Err)
    }

    /// Goes on with the configuration that the program has chosen for this client.
    pub(crate) fn accept(&self, config: &ServerConfig) {
        self.session.borrow_mut().accept(config);
    }

    /// Says why the handshake is given up, as far as that is possible.
    pub(crate) fn give_up(&self, why: GivenUp) {
        let mut session = self.session.borrow_mut();
        session.give_up(why);
        // The connection ends in any case.
        let _ = self.send_output(&mut session);
    }

    /// Sends `close_notify`, once, and that of TLS below; returns whether everything is sent. Then
    /// the caller ends the stream at once.
    pub(crate) fn close(&self) -> io::Result<bool> {
        let mut session = self.session.borrow_mut();
        session.close();
        if !self.send_output_by(&mut session, Socket::write_before_end)? {
            return Ok(false);
        }
        self.below.tls().map_or(Ok(true), Self::close)
    }

    /// Returns whether there are decrypted bytes, which no event reports.
    pub(super) fn has_unread(&self) -> bool {
        cells::is_some(&self.broken) || self.session.borrow().has_plain() || self.below.has_unread()
    }

    /// Returns how many bytes of records, and of what was queued before TLS, wait to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.session.borrow().output().len()
    }

    /// Returns whether the peer's bytes are wanted, and whether the socket has to become writable,
    /// to go on with the handshake.
    pub(crate) fn handshake_interest(&self) -> (bool, bool) {
        let session = self.session.borrow();
        (session.takes_input(), !session.output().is_empty())
    }

    pub(crate) fn is_established(&self) -> bool {
        self.session.borrow().is_established()
    }

    pub(crate) fn info(&self) -> Option<TlsInfo> {
        self.session.borrow().info()
    }
}

/// Returns how many bytes can be in the records that are not whole within the first `sent` bytes.
/// It may be a few more than there are, as only the library knows their exact number: their sizes
/// are a matter of configuration, and records with other content may be among them.
fn content_behind(records: &[u8], sent: usize) -> usize {
    let (mut content, mut start) = (0, 0);
    while let Some([_, _, _, high, low, ..]) = records.get(start..) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        start += 5 + length;
        if start > sent {
            content += length.min(Session::RECORD);
        }
    }
    content
}

fn as_io_error(error: TlsError) -> io::Error {
    io::Error::new(error.kind(), error)
}

impl fmt::Debug for TlsSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSocket")
            .field("below", &self.below)
            .field("is_established", &self.is_established())
            .finish_non_exhaustive()
    }
}

/// The most times that one call reads the socket below.
const READS: usize = 8;
/// The most that a record is long.
const RECORD: usize = 16 * 1024 + 256;
