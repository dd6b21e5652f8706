//! The library's protocol machine, of either side: [`Engine`].
//!
//! The library keeps a position in its input between calls. The next call must pass the same input
//! without the bytes that the library has used, and never bytes that it has refused.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, ProtocolVersion};

use super::records::Records;

/// The machine of a client or a server.
pub(super) enum Engine {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// The destination of decrypted bytes: the buffer of the reader, then `rest`.
pub(super) struct Sink<'a> {
    into: &'a mut [u8],
    count: usize,
    rest: &'a mut Vec<u8>,
}

/// The result of a step.
pub(super) enum Next {
    Again,
    /// Content was read.
    Read,
    Wait,
    PeerClosed,
}

/// Evaluates an expression with the connection of either side.
macro_rules! either {
    ($engine:expr, $connection:ident => $value:expr) => {
        match $engine {
            Engine::Client($connection) => $value,
            Engine::Server($connection) => $value,
        }
    };
}

impl Engine {
    /// Does the next step of the machine; returns the number of bytes of `received` that it used.
    pub(super) fn step(
        &mut self,
        received: &mut [u8],
        output: &mut Vec<u8>,
        sink: &mut Sink<'_>,
    ) -> (usize, Result<Next, Error>) {
        either!(self, connection => step(connection.process_tls_records(received), output, sink))
    }

    /// Does the next step after [`Engine::close`]. For each record that it refuses, the library
    /// creates an alert, and has a debug assertion that no alert follows `close_notify`. The
    /// machine is not used after that.
    pub(super) fn step_after_close(
        &mut self,
        received: &mut [u8],
        output: &mut Vec<u8>,
        sink: &mut Sink<'_>,
    ) -> (usize, Result<Next, Error>) {
        let step = AssertUnwindSafe(|| self.step(received, output, sink));
        catch_unwind(step).unwrap_or((0, Err(Error::DecryptError)))
    }

    /// Encrypts `bytes`, a record's worth at a time, and calls `send` for each with the records
    /// that are to be sent then and the number of those bytes, as long as it returns `true`.
    pub(super) fn encrypt(
        &mut self,
        input: &mut [u8],
        bytes: &[u8],
        records: &mut Records,
        output: &mut Vec<u8>,
        send: &mut dyn FnMut(&Records, usize) -> bool,
    ) -> Result<(), Error> {
        let encrypt = |traffic: &mut dyn Encrypts, bytes: &[u8], records: &mut Vec<u8>| loop {
            match traffic.encrypt(bytes, records) {
                Ok(count) => return Ok(count),
                Err(EncryptError::InsufficientSize(needed)) => {
                    records.resize(needed.required_size, 0);
                }
                Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
            }
        };
        let write = |traffic: &mut dyn Encrypts, output: &mut Vec<u8>| {
            for piece in bytes.chunks(RECORD) {
                records.taking(piece.len(), |records| encrypt(traffic, piece, records))?;
                // What the library had to say before, such as an update of the keys.
                records.put_first(output);
                if !send(records, piece.len()) {
                    break;
                }
            }
            Ok(())
        };
        self.when_ready(input, output, write)
    }

    /// Puts `close_notify` into `output`.
    pub(super) fn close(&mut self, input: &mut [u8], output: &mut Vec<u8>) -> Result<(), Error> {
        let mut record = vec![0; 256];
        let write = |traffic: &mut dyn Encrypts, _: &mut Vec<u8>| {
            let count = traffic.close(&mut record).unwrap_or(0);
            record.truncate(count);
            Ok(())
        };
        self.when_ready(input, output, write)?;
        output.append(&mut record);
        Ok(())
    }

    /// Calls `write` once the machine is ready to send, after the machine's own messages.
    fn when_ready<W>(
        &mut self,
        input: &mut [u8],
        output: &mut Vec<u8>,
        mut write: W,
    ) -> Result<(), Error>
    where
        W: FnMut(&mut dyn Encrypts, &mut Vec<u8>) -> Result<(), Error>,
    {
        let mut nothing = Vec::new();
        for _ in 0..STEPS {
            let mut sink = Sink::new(&mut [], &mut nothing);
            let is_done = either!(self, connection => {
                let mut status = connection.process_tls_records(input);
                match &mut status.state {
                    Ok(ConnectionState::WriteTraffic(traffic)) => Some(write(traffic, output)),
                    _ => match step(status, output, &mut sink).1 {
                        Ok(Next::Wait) => Some(Err(Error::HandshakeNotComplete)),
                        Ok(_) => None,
                        Err(error) => Some(Err(error)),
                    },
                }
            });
            if let Some(result) = is_done {
                return result;
            }
        }
        Err(Error::General("the session makes no progress".into()))
    }

    /// Returns how much longer a record is than its content: by the header, the tag, and the type
    /// of the content or the start of the nonce.
    pub(super) fn overhead(&self) -> usize {
        match self.state().protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => 5 + 16 + 8,
            _ => 5 + 16 + 1,
        }
    }

    /// Returns the library's state of the connection.
    pub(super) fn state(&self) -> &CommonState {
        either!(self, connection => connection)
    }
}

impl<'a> Sink<'a> {
    pub(super) fn new(into: &'a mut [u8], rest: &'a mut Vec<u8>) -> Self {
        Self {
            into,
            count: 0,
            rest,
        }
    }

    /// Returns the number of bytes in the buffer of the reader.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn push(&mut self, bytes: &[u8]) {
        let fits = match self.rest.is_empty() {
            true => bytes.len().min(self.into.len() - self.count),
            false => 0,
        };
        self.into[self.count..self.count + fits].copy_from_slice(&bytes[..fits]);
        self.count += fits;
        self.rest.extend_from_slice(&bytes[fits..]);
    }
}

/// The state in which the machine of either side encrypts.
trait Encrypts {
    fn encrypt(&mut self, bytes: &[u8], records: &mut [u8]) -> Result<usize, EncryptError>;
    fn close(&mut self, record: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<Data> Encrypts for rustls::unbuffered::WriteTraffic<'_, Data> {
    fn encrypt(&mut self, bytes: &[u8], records: &mut [u8]) -> Result<usize, EncryptError> {
        self.encrypt(bytes, records)
    }

    fn close(&mut self, record: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(record)
    }
}

fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    output: &mut Vec<u8>,
    sink: &mut Sink<'_>,
) -> (usize, Result<Next, Error>) {
    let mut used = status.discard;
    let next = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut result = Ok(Next::Read);
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        sink.push(record.payload);
                        used += record.discard;
                    }
                    Err(error) => result = Err(error),
                }
            }
            result
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let start = output.len();
            // The first call returns how much space it needs.
            match data.encode(&mut []) {
                Err(EncodeError::InsufficientSize(needed)) => {
                    output.resize(start + needed.required_size, 0);
                    let encoded = data.encode(&mut output[start..]);
                    encoded.map_or_else(
                        |error| Err(Error::General(error.to_string())),
                        |_| Ok(Next::Again),
                    )
                }
                _ => Ok(Next::Again),
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It is in the output, which is sent in order.
            data.done();
            Ok(Next::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Next::PeerClosed),
        Ok(_) => Ok(Next::Wait),
    };
    (used, next)
}

/// The most bytes in a record (RFC 8446, section 5.1).
pub(super) const RECORD: usize = 16 * 1024;
/// The most steps before the machine is ready to send.
const STEPS: usize = 64;
