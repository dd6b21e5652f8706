//! Two sessions with an attacker between them, for fuzzing.

use std::rc::Rc;

use super::{ClientConfig, Records, ServerConfig, Session, TlsError};

/// One end of an exchange.
struct End {
    session: Session,
    /// What it has received, decrypted.
    got: Vec<u8>,
    has_sent: bool,
}

/// Lets a client and a server send each other `content` and the end of the stream. `change` may
/// change each flight before it arrives in pieces of `size` bytes; its second argument is whether
/// the client sent it. Returns the bytes that the client and the server have received, and whether
/// they have received the end as well.
#[doc(hidden)]
pub fn exchange(
    (client, server): (&ClientConfig, &ServerConfig),
    content: [&[u8]; 2],
    size: usize,
    mut change: impl FnMut(&mut Vec<u8>, bool),
) -> Result<[(Vec<u8>, bool); 2], TlsError> {
    let sessions = [
        Session::client(client)?,
        Session::server(&Rc::new(server.clone()))?,
    ];
    let mut ends = sessions.map(|session| End {
        session,
        got: Vec::new(),
        has_sent: false,
    });
    let mut is_quiet = false;
    while !is_quiet {
        is_quiet = true;
        for index in 0..2 {
            let mut flight = ends[index].flight(content[index])?;
            is_quiet &= flight.is_empty();
            if !flight.is_empty() {
                change(&mut flight, index == 0);
                ends[1 - index].receive(&flight, size);
            }
        }
    }
    Ok(ends.map(|mut end| {
        let has_ended = matches!(end.session.end(), Some(Ok(())));
        (end.got, has_ended)
    }))
}

impl End {
    /// Returns what is to be sent.
    fn flight(&mut self, content: &[u8]) -> Result<Vec<u8>, TlsError> {
        let session = &mut self.session;
        if session.is_established() && session.error().is_none() && !self.has_sent {
            self.has_sent = true;
            let mut sent = Vec::new();
            session.encrypt(content, &mut Records::default(), |records, _| {
                sent.extend(records.pieces().concat());
                true
            })?;
            session.queue_output(&sent);
            session.close();
        }
        let flight = session.output().to_vec();
        if !flight.is_empty() {
            session.consume_output(flight.len());
        }
        Ok(flight)
    }

    fn receive(&mut self, flight: &[u8], size: usize) {
        let session = &mut self.session;
        let mut into = [0; 700];
        for piece in flight.chunks(size) {
            if !session.takes_input() {
                return;
            }
            let mut buffer = vec![0; session.input_len() + piece.len()];
            let kept = session.begin_receiving(&mut buffer);
            buffer[kept..].copy_from_slice(piece);
            let count = session.process(&mut buffer, &mut into);
            self.got.extend_from_slice(&into[..count]);
            loop {
                let count = session.take_plain(&mut into);
                if count == 0 {
                    break;
                }
                self.got.extend_from_slice(&into[..count]);
            }
        }
    }
}
