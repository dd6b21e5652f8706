//! The clients of a server under test: they keep a message in flight on each active connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::measure::Error;
#[cfg(feature = "tls")]
use crate::rows::Tls;
use crate::rows::Work;
#[cfg(feature = "tls")]
use crate::tls;

/// Connections to one server.
pub struct Client {
    address: SocketAddr,
    work: Work,
    active: Vec<TcpStream>,
    #[cfg(feature = "tls")]
    secured: Secured,
    /// Connections that stay open and do nothing.
    _idle: Vec<TcpStream>,
}

impl Client {
    /// Makes all connections that `work` needs.
    pub fn connect(address: SocketAddr, work: Work) -> Result<Self, Error> {
        let (connections, active) = match work {
            Work::Echo {
                connections,
                active,
                ..
            } => (connections, active),
            Work::Lines { connections, .. } => (connections, connections),
            _ => (0, 0),
        };
        let mut streams = Vec::with_capacity(connections);
        for made in 1..=connections {
            let stream = TcpStream::connect(address)?;
            if made % ACCEPTED_AT_ONCE == 0 {
                // A server with a short backlog accepts these first: a refused SYN is sent again
                // after a second.
                thread::sleep(Duration::from_millis(2));
            }
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let idle = streams.split_off(active);
        Ok(Self {
            address,
            work,
            active: streams,
            #[cfg(feature = "tls")]
            secured: Secured::connect(address, work)?,
            _idle: idle,
        })
    }

    /// Sends about `count` messages and reads their answers; returns how many they were.
    pub fn exchange(&mut self, count: usize) -> Result<usize, Error> {
        match self.work {
            Work::Churn => self.churn(count),
            Work::Lines {
                depth, has_codec, ..
            } => {
                // The codec of tokio writes no carriage return.
                let line = match has_codec {
                    true => [&[b'x'; 63][..], b"\n"].concat(),
                    false => [&[b'x'; 62][..], b"\r\n"].concat(),
                };
                let rounds = rounds(&mut self.active, &line.repeat(depth), count / depth)?;
                Ok(rounds * depth)
            }
            Work::Echo { size, .. } => rounds(&mut self.active, &vec![b'x'; size], count),
            #[cfg(feature = "tls")]
            Work::Tls(work) => self.secured.exchange(self.address, work, count),
            _ => Err("this row has no server".into()),
        }
    }

    fn churn(&mut self, count: usize) -> Result<usize, Error> {
        let message = [b'x'; 64];
        for _ in 0..count {
            let mut stream = TcpStream::connect(self.address)?;
            stream.write_all(&message)?;
            stream.read_exact(&mut [0; 64])?;
            stream.shutdown(Shutdown::Write)?;
            // The server closes, so the server, and not the client, keeps the port in TIME_WAIT.
            stream.read_to_end(&mut Vec::new())?;
        }
        Ok(count)
    }
}

/// Has a message echoed on each stream, in rounds; returns how many messages they were.
fn rounds<S: Read + Write>(
    streams: &mut [S],
    message: &[u8],
    count: usize,
) -> Result<usize, Error> {
    let rounds = (count / streams.len()).max(1);
    let mut answer = vec![0; message.len()];
    for _ in 0..rounds {
        for stream in &mut *streams {
            stream.write_all(message)?;
        }
        for stream in &mut *streams {
            stream.read_exact(&mut answer)?;
        }
    }
    Ok(rounds * streams.len())
}

/// The connections in TLS.
#[cfg(feature = "tls")]
struct Secured {
    config: std::sync::Arc<rustls::ClientConfig>,
    streams: Vec<tls::Secured>,
}

#[cfg(feature = "tls")]
impl Secured {
    fn connect(address: SocketAddr, work: Work) -> Result<Self, Error> {
        let config = tls::client()?;
        let count = match work {
            Work::Tls(Tls::Echo(count)) => count,
            Work::Tls(Tls::Send | Tls::Receive) => 1,
            _ => 0,
        };
        let streams = (0..count).map(|_| tls::connect(&config, address));
        let streams = streams.collect::<Result<_, _>>()?;
        Ok(Self { config, streams })
    }

    fn exchange(&mut self, address: SocketAddr, work: Tls, count: usize) -> Result<usize, Error> {
        match work {
            Tls::Echo(_) => return rounds(&mut self.streams, &[b'x'; 64], count),
            Tls::Send => tls::receive(&mut self.streams[0], count)?,
            Tls::Receive => tls::send(&mut self.streams[0], count)?,
            Tls::Handshake => {
                for _ in 0..count {
                    let mut stream = tls::connect(&self.config, address)?;
                    stream.write_all(b"x")?;
                    stream.read_exact(&mut [0])?;
                    tls::close(stream)?;
                }
            }
        }
        Ok(count)
    }
}

/// A third of the shortest backlog among the contenders.
const ACCEPTED_AT_ONCE: usize = 40;
