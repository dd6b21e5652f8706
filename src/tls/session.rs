//! A TLS connection without I/O: [`Session`].
//!
//! | state       | gets                                   | then                                   |
//! |-------------|----------------------------------------|----------------------------------------|
//! | `Hello`     | a client's first message, in pieces    | `Choosing` or `Running`                |
//! | `Choosing`  | its configuration                      | `Running`                              |
//! | `Running`   | records                                | established, the peer's end, an error  |
//!
//! Bytes that were received go into [`Session::process`] together with [`Session::input_len`], the
//! rest of the last call; the bytes to send are in [`Session::output`].

use std::mem;
use std::rc::Rc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{Error, HandshakeKind, ProtocolVersion};

use super::Version;
use super::client::ClientConfig;
use super::engine::{Engine, Next, RECORD, Sink};
use super::error::TlsError;
use super::hello::{first_message, first_name};
use super::info::TlsInfo;
use super::records::Records;
use super::server::{ClientHello, ServerConfig};

/// One end of a TLS connection.
pub(crate) struct Session {
    state: State,
    /// Received bytes that cannot be decoded yet: a part of a record or of a message.
    input: Vec<u8>,
    /// Bytes to send, from `sent` on.
    output: Vec<u8>,
    sent: usize,
    /// Decrypted bytes that were not read, from `taken` on.
    plain: Vec<u8>,
    taken: usize,
    /// The error, once there is one.
    failed: Option<Box<TlsError>>,
    /// Whether a read has returned the end: the peer's, or the error.
    has_told: bool,
    /// The name that the client has asked for.
    sni: Option<Box<str>>,
    is_established: bool,
    has_peer_closed: bool,
    has_closed: bool,
    /// Whether a record of the peer was decoded.
    has_begun: bool,
    /// How much longer a record is than its content.
    overhead: usize,
    /// The most bytes that are to be received at a time.
    appetite: usize,
}

enum State {
    /// A server waits for the client's first message.
    Hello(Rc<ServerConfig>),
    /// A server waits for the program to choose its configuration.
    Choosing,
    /// Records are exchanged.
    Running(Engine),
}

/// The reasons to give up a handshake; each has an alert (RFC 8446, section 6).
#[derive(Clone, Copy, Debug)]
pub(crate) enum GivenUp {
    /// The program has refused the client.
    Refused,
    /// The program has failed.
    Broken,
    /// There is no time left.
    Late,
}

impl GivenUp {
    /// Returns the records of the alert, without encryption.
    fn records(self) -> &'static [u8] {
        match self {
            // handshake_failure
            Self::Refused => &[21, 3, 3, 0, 2, 2, 40],
            // internal_error
            Self::Broken => &[21, 3, 3, 0, 2, 2, 80],
            // user_canceled, and close_notify after it
            Self::Late => &[21, 3, 3, 0, 2, 1, 90, 21, 3, 3, 0, 2, 1, 0],
        }
    }
}

/// The state of a handshake.
pub(crate) enum Handshake {
    Pending,
    /// The program chooses the configuration, which [`Session::accept`] gets.
    Chooses(Rc<ServerConfig>, ClientHello),
    Done,
}

/// Buffers that sessions use one after another: for records that are decoded, and for records that
/// are made.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) received: Vec<u8>,
    pub(crate) records: Records,
}

impl Session {
    /// Begins a client's session: its first message is in the output.
    pub(crate) fn client(config: &ClientConfig) -> Result<Self, TlsError> {
        let (built, name) = (config.built()?, config.name()?);
        let connection = UnbufferedClientConnection::new(built, name)
            .map_err(|error| TlsError::of(error, &[]))?;
        let mut session = Self::new(State::Running(Engine::Client(Box::new(connection))));
        session.advance(&mut [], &mut [])?;
        Ok(session)
    }

    /// Begins a server's session.
    pub(crate) fn server(config: &Rc<ServerConfig>) -> Result<Self, TlsError> {
        if !config.chooses() {
            config.built()?;
        }
        Ok(Self::new(State::Hello(config.clone())))
    }

    /// Returns whether it is a server's, and nothing was received yet.
    pub(crate) fn waits_for_peer(&self) -> bool {
        matches!(self.state, State::Hello(_)) && self.input.is_empty()
    }

    fn new(state: State) -> Self {
        Self {
            state,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            plain: Vec::new(),
            taken: 0,
            failed: None,
            has_told: false,
            sni: None,
            is_established: false,
            has_peer_closed: false,
            has_closed: false,
            has_begun: false,
            overhead: 0,
            appetite: FIRST,
        }
    }

    /// Sends bytes before all others, without encryption.
    pub(crate) fn send_plain_first(&mut self, bytes: &[u8]) {
        self.output.splice(..0, bytes.iter().copied());
    }

    /// Returns whether the handshake is finished.
    pub(crate) fn is_established(&self) -> bool {
        self.is_established
    }

    /// Returns whether more can be received: not before the program has chosen a configuration, and
    /// not after the peer's end or an error.
    pub(crate) fn takes_input(&self) -> bool {
        !self.has_peer_closed && self.failed.is_none() && !matches!(self.state, State::Choosing)
    }

    /// Returns whether there are decrypted bytes, or the end of them, that no read has returned.
    pub(crate) fn has_plain(&self) -> bool {
        let has_ended = self.has_peer_closed || self.failed.is_some();
        self.taken < self.plain.len() || (has_ended && !self.has_told)
    }

    /// Takes decrypted bytes out; returns how many.
    pub(crate) fn take_plain(&mut self, into: &mut [u8]) -> usize {
        if self.taken == self.plain.len() {
            return 0;
        }
        let count = into.len().min(self.plain.len() - self.taken);
        into[..count].copy_from_slice(&self.plain[self.taken..self.taken + count]);
        self.taken += count;
        if self.taken == self.plain.len() {
            (self.plain, self.taken) = (Vec::new(), 0);
        }
        count
    }

    /// Returns the end of the decrypted bytes, if they have one: the peer's, or an error.
    pub(crate) fn end(&mut self) -> Option<Result<(), TlsError>> {
        let end = match (&self.failed, self.has_peer_closed) {
            (Some(error), _) => Err((**error).clone()),
            (None, true) => Ok(()),
            (None, false) => return None,
        };
        self.has_told = true;
        Some(end)
    }

    /// Returns the error that has ended the session.
    pub(crate) fn error(&self) -> Option<TlsError> {
        self.failed.as_deref().cloned()
    }

    /// Returns the bytes to send.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Records that the first `count` bytes of the output were sent.
    pub(crate) fn consume_output(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.output.len() {
            (self.output, self.sent) = (Vec::new(), 0);
        }
    }

    /// Appends bytes to the output.
    pub(crate) fn queue_output(&mut self, records: &[u8]) {
        self.output.extend_from_slice(records);
    }

    /// Puts the rest of the input at the front of `buffer`, and returns its length. Received bytes
    /// follow it.
    pub(crate) fn begin_receiving(&mut self, buffer: &mut [u8]) -> usize {
        // Mostly there is none.
        if self.input.is_empty() {
            return 0;
        }
        let input = mem::take(&mut self.input);
        buffer[..input.len()].copy_from_slice(&input);
        input.len()
    }

    /// Returns the length of the records of `count` bytes, where each record is as long as it can
    /// be.
    pub(crate) fn encrypted_len(&self, count: usize) -> usize {
        count + count.div_ceil(RECORD) * self.overhead
    }

    /// Returns how many bytes may be received at a time, so that not many more than
    /// [`Session::RECORDS`] records are decoded for them: each costs time, even without content.
    pub(crate) fn appetite(&self) -> usize {
        match self.is_established {
            true => self.appetite,
            false => FIRST,
        }
    }

    /// Adjusts the number of bytes that may arrive at a time to the records in the received bytes.
    /// Returns the number of records.
    pub(crate) fn note_records(&mut self, received: &[u8]) -> usize {
        let (mut count, mut end) = (0, 0);
        while let Some([_, _, _, high, low, ..]) = received.get(end..) {
            end += 5 + usize::from(u16::from_be_bytes([*high, *low]));
            count += 1;
        }
        // The last record, which is not complete, counts with its whole length.
        let each = if count > 1 { end / count } else { end };
        self.appetite = (each * Self::RECORDS).clamp(LEAST, Self::MOST);
        count
    }

    /// Returns the number of bytes that [`Session::begin_receiving`] needs.
    pub(crate) fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Processes received bytes, and returns the number of decrypted bytes in `into`. Those that do
    /// not fit are kept: see [`Session::take_plain`].
    pub(crate) fn process(&mut self, received: &mut [u8], into: &mut [u8]) -> usize {
        match self.advance(received, into) {
            Ok(count) => count,
            Err(error) => {
                self.fail(error);
                0
            }
        }
    }

    fn advance(&mut self, received: &mut [u8], into: &mut [u8]) -> Result<usize, TlsError> {
        if let State::Hello(config) = &self.state {
            let name = match config.chooses() {
                true => first_message(received, &mut self.output)?.map(|hello| hello.server_name),
                false => first_name(received, &mut self.output)?,
            };
            let Some(name) = name else {
                return self.keep(received, HELLO).map(|()| 0);
            };
            self.sni = name.map(Into::into);
            if !config.chooses() {
                let config = config.clone();
                self.begin_server(&config)?;
            }
        }
        let State::Running(engine) = &mut self.state else {
            return self.keep(received, HELLO).map(|()| 0);
        };
        let mut sink = Sink::new(into, &mut self.plain);
        let mut used = 0;
        let mut failed = None;
        loop {
            let (rest, output) = (&mut received[used..], &mut self.output);
            let (count, next) = match self.has_closed {
                true => engine.step_after_close(rest, output, &mut sink),
                false => engine.step(rest, output, &mut sink),
            };
            used += count;
            self.has_begun |= count > 0 && next.is_ok();
            match next {
                // Mostly nothing follows, and the library has nothing to say.
                Ok(Next::Read) if used == received.len() && !engine.state().wants_write() => break,
                Ok(Next::Again | Next::Read) => {}
                Ok(Next::PeerClosed) => self.has_peer_closed = true,
                Ok(Next::Wait) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let count = sink.count();
        // What came before an error counts.
        if !self.is_established && !engine.state().is_handshaking() {
            self.is_established = true;
            self.overhead = engine.overhead();
        }
        if let Some(error) = failed {
            let error = self.explain(error, received);
            if !self.has_closed {
                self.send_alert(&mut received[used..]);
            }
            self.fail(error);
            return Ok(count);
        }
        // After the peer's end nothing counts any more.
        let left = match self.has_peer_closed {
            true => &[],
            false => &received[used..],
        };
        self.keep(left, INPUT)?;
        Ok(count)
    }

    /// Keeps bytes for the next call.
    fn keep(&mut self, bytes: &[u8], limit: usize) -> Result<(), TlsError> {
        if bytes.len() > limit {
            let problem = format!("a message of the handshake is longer than {limit} bytes");
            return Err(TlsError::Violation { problem });
        }
        // Most often there is nothing, and no memory is kept for it.
        if !(bytes.is_empty() && self.input.is_empty()) {
            self.input = bytes.to_vec();
        }
        Ok(())
    }

    /// Ends the session, unless an error has ended it before.
    pub(crate) fn fail(&mut self, error: TlsError) {
        self.failed.get_or_insert_with(|| Box::new(error));
    }

    /// Puts the alert for giving up the handshake into the output, as long as nothing is encrypted:
    /// the library creates no alerts for the program.
    pub(crate) fn give_up(&mut self, why: GivenUp) {
        let is_plain = match &self.state {
            // A client that has sent nothing may speak another protocol.
            State::Hello(_) => !self.input.is_empty(),
            State::Choosing => true,
            State::Running(Engine::Client(_)) => !self.has_begun,
            State::Running(Engine::Server(_)) => false,
        };
        if is_plain && self.failed.is_none() {
            self.output.extend_from_slice(why.records());
        }
    }

    /// Records that the stream below has ended.
    pub(crate) fn input_ended(&mut self) {
        if !self.has_peer_closed {
            self.fail(match self.is_established {
                true => TlsError::Truncated,
                false => TlsError::HandshakeClosed,
            });
        }
    }

    fn explain(&self, error: Error, received: &[u8]) -> TlsError {
        match (error, &self.state) {
            (Error::General(_), State::Running(Engine::Server(_))) => TlsError::Incompatible {
                problem: match &self.sni {
                    Some(name) => format!("there is no certificate for {name:?}"),
                    None => String::from("there is no certificate for a client that names no host"),
                },
            },
            (error, _) => TlsError::of(error, if self.has_begun { &[] } else { received }),
        }
    }

    /// Puts the alert of the error into the output. (The library must not parse bytes again that it
    /// has refused.)
    fn send_alert(&mut self, received: &mut [u8]) {
        let mut nothing = Vec::new();
        let State::Running(engine) = &mut self.state else {
            return;
        };
        while engine.state().wants_write() {
            let mut sink = Sink::new(&mut [], &mut nothing);
            let _ = engine.step(received, &mut self.output, &mut sink);
        }
    }

    /// Returns how far the handshake is. The choice of a configuration is returned once.
    pub(crate) fn handshake(&mut self) -> Handshake {
        if self.is_established {
            return Handshake::Done;
        }
        if let State::Hello(config) = &self.state {
            let is_whole = config.chooses() && self.failed.is_none() && !self.input.is_empty();
            let hello = is_whole.then(|| first_message(&self.input, &mut Vec::new()));
            if let Some(Ok(Some(hello))) = hello {
                let config = config.clone();
                self.state = State::Choosing;
                return Handshake::Chooses(config, hello);
            }
        }
        Handshake::Pending
    }

    /// Goes on with the configuration that the program has chosen.
    pub(crate) fn accept(&mut self, config: &ServerConfig) {
        if matches!(self.state, State::Choosing) && self.failed.is_none() {
            let mut input = mem::take(&mut self.input);
            match self.begin_server(config) {
                Ok(()) => {
                    self.process(&mut input, &mut []);
                }
                Err(error) => {
                    self.give_up(GivenUp::Broken);
                    self.fail(error);
                }
            }
        }
    }

    fn begin_server(&mut self, config: &ServerConfig) -> Result<(), TlsError> {
        let connection = UnbufferedServerConnection::new(config.built()?)
            .map_err(|error| TlsError::of(error, &[]))?;
        self.state = State::Running(Engine::Server(Box::new(connection)));
        Ok(())
    }

    /// Encrypts `bytes`, a record's worth at a time, and calls `send` for each with the records
    /// that are to be sent then and the number of those bytes, as long as it returns `true`.
    pub(crate) fn encrypt(
        &mut self,
        bytes: &[u8],
        records: &mut Records,
        mut send: impl FnMut(&Records, usize) -> bool,
    ) -> Result<(), TlsError> {
        let State::Running(engine) = &mut self.state else {
            return Err(TlsError::of(Error::HandshakeNotComplete, &[]));
        };
        let (input, output) = (&mut self.input, &mut self.output);
        engine
            .encrypt(input, bytes, records, output, &mut send)
            .map_err(|error| TlsError::of(error, &[]))
    }

    /// Puts `close_notify` into the output, once.
    pub(crate) fn close(&mut self) {
        if self.has_closed || !self.is_established || self.failed.is_some() {
            return;
        }
        self.has_closed = true;
        if let State::Running(engine) = &mut self.state {
            // Without it the peer sees that the stream was cut off, as it was.
            let _ = engine.close(&mut self.input, &mut self.output);
        }
    }

    /// Returns what was agreed on, once the handshake is finished.
    pub(crate) fn info(&self) -> Option<TlsInfo> {
        let State::Running(engine) = &self.state else {
            return None;
        };
        let state = Some(engine.state()).filter(|_| self.is_established)?;
        let suite = state.negotiated_cipher_suite()?;
        let certificates = state.peer_certificates().unwrap_or_default();
        Some(TlsInfo {
            version: match state.protocol_version()? {
                ProtocolVersion::TLSv1_2 => Version::Tls12,
                _ => Version::Tls13,
            },
            cipher_suite: format!("{:?}", suite.suite()),
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            server_name: self.sni.as_deref().map(str::to_owned),
            is_resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            peer_certificates: certificates.iter().map(|one| one.to_vec()).collect(),
        })
    }

    /// The most bytes in a record.
    pub(crate) const RECORD: usize = RECORD;
    /// About the most records that are decoded before other connections have their turn.
    pub(crate) const RECORDS: usize = 64;
    /// The most bytes that are received at a time: four records with their overhead.
    pub(crate) const MOST: usize = 64 * 1024 + 1024;
}

/// The most bytes that are received at a time in a handshake, and the first time after it.
const FIRST: usize = 8 * 1024;
/// The fewest bytes that are received at a time.
const LEAST: usize = 1024;
/// The most bytes of a client's first message: more than any client sends, and little memory for
/// one that never completes it.
const HELLO: usize = 16 * 1024;
/// The most bytes that wait to be decoded: a message of the handshake, which the library limits to
/// 64 KiB, and a record.
const INPUT: usize = 84 * 1024;
