//! A loop around epoll: one `recv` and one `send` for a message, and nothing else.
//!
//! Its time is that of the kernel, and so the least possible. It is not a server for use: a peer
//! that does not read ends its connection.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::event::epoll;
use socket2::SockRef;

use super::{announce, take_lines};
use crate::measure::Error;
use crate::rows::Work;

struct Conn {
    stream: TcpStream,
    /// The beginning of a line.
    unread: Vec<u8>,
    /// Bytes that a full socket has not accepted.
    unsent: Vec<u8>,
}

pub fn serve(work: Work) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // The standard library's backlog of 128 would stall a thousand clients.
    rustix::net::listen(&listener, 1024)?;
    listener.set_nonblocking(true)?;
    // Accepted sockets inherit it.
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let key = epoll::EventData::new_u64(u64::MAX);
    epoll::add(&poller, &listener, key, epoll::EventFlags::IN)?;
    announce(listener.local_addr()?);
    let mut conns: Vec<Option<Conn>> = Vec::new();
    let mut free = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut out = Vec::new();
    let mut events = Vec::with_capacity(1024);
    let in_lines = matches!(work, Work::Lines { .. });
    loop {
        events.clear();
        match epoll::wait(&poller, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        for event in &events {
            let key = event.data.u64();
            if key == u64::MAX {
                accept(&poller, &listener, &mut conns, &mut free)?;
                continue;
            }
            let slot = &mut conns[key as usize];
            let Some(conn) = slot else { continue };
            if conn.turn(&poller, key, &mut buffer, in_lines.then_some(&mut out))? {
                continue;
            }
            *slot = None;
            free.push(key as usize);
        }
    }
}

fn accept(
    poller: &impl std::os::fd::AsFd,
    listener: &TcpListener,
    conns: &mut Vec<Option<Conn>>,
    free: &mut Vec<usize>,
) -> Result<(), Error> {
    loop {
        let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
        let stream = match rustix::net::accept_with(listener, flags) {
            Ok(stream) => TcpStream::from(stream),
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let key = free.pop().unwrap_or(conns.len());
        let data = epoll::EventData::new_u64(key as u64);
        epoll::add(poller, &stream, data, epoll::EventFlags::IN)?;
        let conn = Some(Conn {
            stream,
            unread: Vec::new(),
            unsent: Vec::new(),
        });
        if key == conns.len() {
            conns.push(conn);
        } else {
            conns[key] = conn;
        }
    }
}

impl Conn {
    /// Answers once; returns `false` at the end of file.
    fn turn(
        &mut self,
        poller: &impl std::os::fd::AsFd,
        key: u64,
        buffer: &mut [u8],
        lines: Option<&mut Vec<u8>>,
    ) -> Result<bool, Error> {
        if !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            self.send(&unsent)?;
            if self.unsent.is_empty() {
                self.arm(poller, key, epoll::EventFlags::IN)?;
            }
            return Ok(true);
        }
        let count = match self.stream.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(_) => return Ok(false),
        };
        match lines {
            Some(out) => {
                self.unread.extend_from_slice(&buffer[..count]);
                take_lines(&mut self.unread, out);
                self.send(out)?;
                out.clear();
            }
            None => self.send(&buffer[..count])?,
        }
        if !self.unsent.is_empty() {
            self.arm(poller, key, epoll::EventFlags::OUT)?;
        }
        Ok(true)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let sent = match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    fn arm(
        &self,
        poller: &impl std::os::fd::AsFd,
        key: u64,
        flags: epoll::EventFlags,
    ) -> Result<(), Error> {
        let data = epoll::EventData::new_u64(key);
        Ok(epoll::modify(poller, &self.stream, data, flags)?)
    }
}
