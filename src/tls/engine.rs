//! The library's protocol machine, of either side: [`Engine`].
//!
//! The library keeps a position in its input between calls. The next call must pass the same input
//! without the bytes that the library has used, and never bytes that it has refused.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
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
        self.when_ready(input, output, Write::Content(bytes, records, send))
    }

    /// Puts `close_notify` into `output`.
    pub(super) fn close(&mut self, input: &mut [u8], output: &mut Vec<u8>) -> Result<(), Error> {
        self.when_ready(input, output, Write::Close)
    }

    /// Writes once the machine is ready to send, after it has had its own say.
    fn when_ready(
        &mut self,
        input: &mut [u8],
        output: &mut Vec<u8>,
        mut write: Write<'_>,
    ) -> Result<(), Error> {
        let mut nothing = Vec::new();
        for _ in 0..STEPS {
            let mut sink = Sink::new(&mut [], &mut nothing);
            let next = either!(self, connection => {
                let mut status = connection.process_tls_records(input);
                if let Ok(ConnectionState::WriteTraffic(traffic)) = &mut status.state {
                    return write.to(traffic, output);
                }
                step(status, output, &mut sink).1
            });
            if let Next::Wait = next? {
                return Err(Error::HandshakeNotComplete);
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
        if fits < bytes.len() {
            self.rest.extend_from_slice(&bytes[fits..]);
        }
    }
}

/// What a program writes.
enum Write<'a> {
    /// Bytes, the buffers for their records, and the function that sends these.
    Content(
        &'a [u8],
        &'a mut Records,
        &'a mut dyn FnMut(&Records, usize) -> bool,
    ),
    /// The end.
    Close,
}

impl Write<'_> {
    fn to<Data>(
        &mut self,
        traffic: &mut WriteTraffic<'_, Data>,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let Self::Content(bytes, records, send) = self else {
            let start = output.len();
            output.resize(start + ALERT, 0);
            let count = traffic.queue_close_notify(&mut output[start..]);
            output.truncate(start + count.unwrap_or(0));
            return Ok(());
        };
        for piece in bytes.chunks(RECORD) {
            records.make(piece.len(), |records| encrypt(traffic, piece, records))?;
            // What the library had to say before, such as an update of the keys.
            records.put_first(output);
            if !send(records, piece.len()) {
                break;
            }
        }
        Ok(())
    }
}

/// Encrypts the content of a record; returns how many bytes it has written.
fn encrypt<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    content: &[u8],
    records: &mut Vec<u8>,
) -> Result<usize, Error> {
    loop {
        match traffic.encrypt(content, records) {
            Ok(count) => return Ok(count),
            Err(EncryptError::InsufficientSize(needed)) => {
                records.resize(needed.required_size, 0);
            }
            Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
        }
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
/// The most bytes in the record of an alert.
const ALERT: usize = 256;
/// The most steps before the machine is ready to send.
const STEPS: usize = 64;
