//! The records that the library makes, without a copy of them: [`Records`].
//!
//! # The idea
//!
//! The library makes each record in a new buffer and copies it into that of its caller: a
//! twentieth of the work where much is sent. So the encrypters of this crate's algorithms wrap
//! those of the library: within [`Records::make`] a record of content is put aside, and the
//! library gets an empty one in its place, of which it copies the header.
//!
//! # Invariants
//!
//! 1. One record is put aside within [`Records::make`], and none elsewhere, so each is sent once,
//!    in the order of the library's numbers.
//! 2. A configuration that the program has made with the library has other algorithms: there
//!    nothing is put aside.

use std::mem;

use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage, OutboundPlainMessage,
    PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, SupportedCipherSuite,
    Tls13CipherSuite,
};

use crate::context;

/// Records that are to be sent.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// The length of the first records, which are in `buffer`.
    first: usize,
    buffer: Vec<u8>,
    /// The record that was put aside, if any.
    aside: Vec<u8>,
}

impl Records {
    /// Returns the records, in order, in two pieces of whole records, of which one may be empty.
    #[inline]
    pub(crate) fn pieces(&self) -> [&[u8]; 2] {
        [&self.buffer[..self.first], &self.aside]
    }

    /// Moves the records of `others` in front of these.
    pub(super) fn put_first(&mut self, others: &mut Vec<u8>) {
        if !others.is_empty() {
            let mut all = mem::take(others);
            all.extend_from_slice(&self.buffer[..self.first]);
            (self.first, self.buffer) = (all.len(), all);
        }
    }

    /// Removes the records.
    pub(crate) fn clear(&mut self) {
        (self.first, self.aside) = (0, Vec::new());
    }

    /// Calls `encrypt`, which encrypts the `content` bytes of one record into the buffer, and
    /// returns the number of bytes written. If the content is long, its record is put aside.
    pub(super) fn make(
        &mut self,
        content: usize,
        encrypt: impl FnOnce(&mut Vec<u8>) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        self.clear();
        // Of a record that is put aside, only the header comes here.
        let length = OVERHEAD + if content < BIG { content } else { 0 };
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        if content < BIG {
            self.first = encrypt(&mut self.buffer)?;
            return Ok(());
        }
        let taking = Taking::begin();
        let written = encrypt(&mut self.buffer)?;
        self.aside = taking.end();
        // Before the header of the empty one there may be other records.
        let header = if self.aside.is_empty() { 0 } else { HEADER };
        self.first = written - header;
        Ok(())
    }
}

/// While this lives, the next record of content on this thread is put aside. It ends also when the
/// library panics.
struct Taking;

impl Taking {
    fn begin() -> Self {
        context::with(|thread| thread.takes_record.set(true));
        Self
    }

    /// Returns the record.
    fn end(self) -> Vec<u8> {
        mem::forget(self);
        take().unwrap_or_default()
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        drop(take());
    }
}

/// Takes the record that was put aside. No more are.
fn take() -> Option<Vec<u8>> {
    context::with(|thread| {
        thread.takes_record.set(false);
        thread.record.replace(None)
    })
}

fn takes_record() -> bool {
    context::with(|thread| thread.takes_record.get())
}

/// Wraps the algorithms of a provider. Their memory lasts as long as the process: this is called
/// once for each provider.
pub(super) fn wrap(mut provider: CryptoProvider) -> CryptoProvider {
    for suite in &mut provider.cipher_suites {
        if let Some(inner) = suite.tls13() {
            *suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: CipherSuiteCommon {
                    suite: inner.common.suite,
                    hash_provider: inner.common.hash_provider,
                    confidentiality_limit: inner.common.confidentiality_limit,
                },
                hkdf_provider: inner.hkdf_provider,
                aead_alg: Box::leak(Box::new(Algorithm(inner.aead_alg))),
                quic: inner.quic,
            })));
        }
    }
    provider
}

struct Algorithm(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Algorithm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Encrypter(self.0.encrypter(key, iv)))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

struct Encrypter(Box<dyn MessageEncrypter>);

impl MessageEncrypter for Encrypter {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let is_content = message.typ == ContentType::ApplicationData;
        let record = self.0.encrypt(message, number)?;
        if !is_content || !takes_record() {
            return Ok(record);
        }
        let nothing = PrefixedPayload::with_capacity(0);
        let header = OutboundOpaqueMessage::new(record.typ, record.version, nothing);
        context::with(|thread| {
            thread.takes_record.set(false);
            drop(thread.record.replace(Some(record.encode())));
        });
        Ok(header)
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        match takes_record() {
            true => 0,
            false => self.0.encrypted_payload_len(length),
        }
    }
}

/// The fewest bytes of content for which copying the record costs more than putting it aside.
const BIG: usize = 4 * 1024;
/// The most bytes by which a shorter record is longer than its content.
const OVERHEAD: usize = 128;
/// The bytes before the content of a record.
const HEADER: usize = 5;
