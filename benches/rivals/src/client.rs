//! The clients of a server under test: they keep a message in flight on each active connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::measure::Error;
use crate::rows::Work;

/// Connections to one server.
pub struct Client {
    address: SocketAddr,
    work: Work,
    active: Vec<TcpStream>,
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
                let rounds = self.rounds(&line.repeat(depth), count / depth)?;
                Ok(rounds * depth)
            }
            Work::Echo { size, .. } => self.rounds(&vec![b'x'; size], count),
            _ => Err("this row has no server".into()),
        }
    }

    fn rounds(&mut self, message: &[u8], count: usize) -> Result<usize, Error> {
        let rounds = (count / self.active.len()).max(1);
        let mut answer = vec![0; message.len()];
        for _ in 0..rounds {
            for stream in &mut self.active {
                stream.write_all(message)?;
            }
            for stream in &mut self.active {
                stream.read_exact(&mut answer)?;
            }
        }
        Ok(rounds * self.active.len())
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

/// A third of the shortest backlog among the contenders.
const ACCEPTED_AT_ONCE: usize = 40;
