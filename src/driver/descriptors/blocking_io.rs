//! A thread that reads or writes a descriptor that cannot be polled: a file, or a descriptor that
//! could only be made non-blocking for all processes that share it.
//!
//! # The idea
//!
//! The loop requests one call and continues; the thread makes the call, which may block, and then
//! notifies the loop. So the loop sees a source that is ready or not, as with a socket. To read:
//! the first call makes the request, the call after the notification returns the bytes. To write:
//! the first call passes a copy of the bytes, and *the same bytes are passed again* after the
//! notification, to learn how many of them are written. So no byte counts as written that is not.
//!
//! # States
//!
//! | state   | wake descriptor | a call               | becomes |
//! |---------|--------|-------------------------------|---------|
//! | `Idle`  | readable | makes the request, and would block | `Requested` |
//! | `Requested` | not readable | would block             | `Done` by the thread |
//! | `Done`  | readable | returns the result          | `Idle`, when all was returned |
//!
//! # Invariants
//!
//! 1. The thread handles one request at a time, and reads nothing without a request.
//! 2. Neither the end of the reactor nor that of the process waits for the thread.
//! 3. When the [`BlockingIo`] is dropped, the thread ends without touching the descriptor again,
//!    unless a call is under way. It waits for readiness where the descriptor has one, so it does
//!    not take a terminal's next line from the next process that reads it.
//! 4. Whenever the loop locks the requests, their state and the wake descriptor agree: it holds one
//!    byte unless the state is `Requested`. So there is no notification without a result.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::sync::ThreadBody;

/// The loop's handle to the thread. Dropping it ends the thread.
#[derive(Debug)]
pub(in crate::driver) struct BlockingIo {
    /// Readable unless a request is being served.
    wake_fd: UnixStream,
    requests: Arc<Mutex<Requests>>,
}

/// The direction of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum Direction {
    In,
    Out,
}

/// The state that the loop and the thread share.
#[derive(Debug)]
struct Requests {
    state: State,
    /// The bytes that were read, or are to be written.
    buffer: Vec<u8>,
    /// The number of read bytes that were returned.
    given: usize,
}

#[derive(Debug)]
enum State {
    Idle,
    Requested,
    Done(io::Result<usize>),
}

impl BlockingIo {
    /// Starts a thread for this descriptor.
    pub(in crate::driver) fn new(fd: OwnedFd, direction: Direction) -> io::Result<Self> {
        let (wake_fd, mut wake_channel) = UnixStream::pair()?;
        wake_fd.set_nonblocking(true)?;
        // The state is `Idle`, so the wake descriptor holds a byte.
        wake_channel.write_all(&[0])?;
        let requests = Arc::new(Mutex::new(Requests {
            state: State::Idle,
            buffer: Vec::new(),
            given: 0,
        }));
        let shared = requests.clone();
        let name = match direction {
            Direction::In => "torsade-input",
            Direction::Out => "torsade-output",
        };
        let body: ThreadBody =
            Box::new(move || while serve(&fd, direction, &mut wake_channel, &shared).is_some() {});
        thread::Builder::new().name(name.into()).spawn(body)?;
        Ok(Self { wake_fd, requests })
    }

    /// Returns the descriptor to watch for reading, whatever the direction of the thread.
    pub(in crate::driver) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake_fd.as_fd()
    }

    /// Returns bytes that were read, or requests a read.
    pub(in crate::driver) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut requests = lock(&self.requests);
        match &requests.state {
            State::Idle => {
                requests.given = 0;
                requests.buffer.resize(MOST, 0);
                self.ask(requests)
            }
            State::Requested => self.is_asked(),
            State::Done(Ok(count)) => {
                let count = *count;
                let give = into.len().min(count - requests.given);
                into[..give]
                    .copy_from_slice(&requests.buffer[requests.given..requests.given + give]);
                requests.given += give;
                if requests.given == count && count > 0 {
                    requests.state = State::Idle;
                }
                Ok(give)
            }
            State::Done(Err(_)) => requests.take_result(),
        }
    }

    /// Requests a write, or returns how many of the same bytes the thread has written.
    pub(in crate::driver) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut requests = lock(&self.requests);
        match &requests.state {
            State::Idle => {
                requests.buffer.clear();
                requests
                    .buffer
                    .extend_from_slice(&bytes[..bytes.len().min(MOST)]);
                self.ask(requests)
            }
            State::Requested => self.is_asked(),
            State::Done(_) => requests.take_result(),
        }
    }

    fn ask(&self, mut requests: MutexGuard<'_, Requests>) -> io::Result<usize> {
        let _ = (&self.wake_fd).read(&mut [0]);
        requests.state = State::Requested;
        drop(requests);
        (&self.wake_fd).write_all(&[0])?;
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn is_asked(&self) -> io::Result<usize> {
        match rustix::net::recv(&self.wake_fd, &mut [0], rustix::net::RecvFlags::PEEK) {
            Ok((0, _)) => Err(io::Error::other(
                "the thread that reads or writes the descriptor has ended",
            )),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Requests {
    fn take_result(&mut self) -> io::Result<usize> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Done(result) => result,
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Serves one request; `None` when the handle has been dropped.
fn serve(
    fd: &OwnedFd,
    direction: Direction,
    wake_channel: &mut UnixStream,
    requests: &Mutex<Requests>,
) -> Option<()> {
    wake_channel.read_exact(&mut [0]).ok()?;
    let mut buffer = std::mem::take(&mut lock(requests).buffer);
    let result = loop {
        if !is_wanted(fd, direction, wake_channel) {
            return None;
        }
        let result = match direction {
            Direction::In => rustix::io::read(fd, &mut buffer[..]),
            Direction::Out => rustix::io::write(fd, &buffer),
        };
        match result {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::IO) if direction == Direction::In && rustix::termios::isatty(fd) => {
                break Ok(0);
            }
            result => break result,
        }
    };
    let mut requests = lock(requests);
    requests.buffer = buffer;
    requests.state = State::Done(result.map_err(io::Error::from));
    // A loop that finds the state `Done` also finds the wake descriptor readable, and reads its
    // byte with the next request (invariant 4).
    wake_channel.write_all(&[0]).ok()
}

/// Waits until a call does not block, as far as the system knows; returns `false` when the handle
/// has been dropped (invariant 3).
fn is_wanted(fd: &OwnedFd, direction: Direction, wake_channel: &UnixStream) -> bool {
    let ready = match direction {
        Direction::In => PollFlags::IN,
        Direction::Out => PollFlags::OUT,
    };
    loop {
        let mut fds = [
            PollFd::new(wake_channel, PollFlags::empty()),
            PollFd::new(fd, ready),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(_) => return true,
            Ok(_) => return !fds[0].revents().contains(PollFlags::HUP),
        }
    }
}

fn lock(requests: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most bytes that one call reads or writes.
const MOST: usize = 64 * 1024;
