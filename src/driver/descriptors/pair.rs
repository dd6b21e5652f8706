//! A pair of descriptors of the machine, one to read and one to write, as one end of a connection:
//! standard input and output, the pipes of a child.
//!
//! # The idea
//!
//! Whether a read may block is a property of the *open file description*, which this process shares
//! with its parent: making standard input non-blocking breaks the shell that reads it next, and
//! after a kill nothing restores the flag. So the flags of a given descriptor are never changed.
//! Instead, depending on its kind:
//!
//! | given                          | how it is read and written                                        |
//! |--------------------------------|-------------------------------------------------------------------|
//! | a socket                       | with `MSG_DONTWAIT` on each call                                  |
//! | a non-blocking descriptor      | directly                                                          |
//! | a pipe, a terminal             | through an open file description of our own, by `/proc/self/fd`   |
//! | a file, a device, one that `/proc` does not reopen or no poller accepts | by a thread (`blocking_io`) |
//!
//! Other devices may not be the same when reopened through `/proc`: opening the controlling side of
//! a pseudo-terminal makes a new one.
//!
//! # Invariants
//!
//! 1. Both ends are registered under one key; an event of that key may be about either end, so it
//!    is treated as a hint.
//! 2. An end is removed from the poller before it is closed: other processes may share its open
//!    file description.
//! 3. One pair of the process at a time holds standard input and output, until it is dropped.
//! 4. A pair that ends in good order closes its descriptors for the peers that wait for that: the
//!    numbers 0 and 1 then refer to `/dev/null`, so that no file that is opened later gets them.
//!    Terminals and files, which have no waiting peer, are left as they are.
//! 5. When the reader of standard output is gone, the connection ends. Any other pair continues: a
//!    child may have closed its input and still have much output. Until the end of the input,
//!    written bytes are then discarded.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown,
};

use super::blocking_io::{BlockingIo, Direction};
use crate::driver::children::pty::{self, Pty};
use crate::driver::machine::Machine;
use crate::driver::poller::Interest;
use crate::driver::sockets::QUIETLY;

/// A descriptor to read and one to write.
#[derive(Debug)]
pub(crate) struct Pair {
    input: Side,
    output: Side,
    /// Whether there never was an output, so that written bytes are discarded.
    has_no_output: bool,
    standard: Option<Standard>,
    /// Whether the input was read to its end.
    is_at_end: Cell<bool>,
}

/// One half of it.
#[derive(Debug)]
struct Side {
    direction: Direction,
    /// `None` once closed.
    end: RefCell<Option<End>>,
    /// The interest that the poller has, once it has any.
    armed: Cell<Option<bool>>,
}

/// How one descriptor is read or written.
#[derive(Debug)]
enum End {
    /// A non-blocking descriptor.
    Polled(OwnedFd),
    Socket(OwnedFd),
    Thread(BlockingIo),
}

/// A guard: the process's own standard input and output are in use (invariant 3).
#[derive(Debug)]
struct Standard;

impl Pair {
    /// Makes a pair of any two descriptors and owns them. One may be missing: then there is nothing
    /// to read, or written bytes are discarded.
    pub(in crate::driver) fn new(
        input: Option<OwnedFd>,
        output: Option<OwnedFd>,
    ) -> io::Result<Self> {
        Ok(Self {
            has_no_output: output.is_none(),
            is_at_end: Cell::new(false),
            input: Side::new(input, Direction::In)?,
            output: Side::new(output, Direction::Out)?,
            standard: None,
        })
    }

    /// Makes the pair of standard input and output; `None` if they are in use.
    pub(in crate::driver) fn standard() -> io::Result<Option<Self>> {
        let Some(standard) = Standard::take() else {
            return Ok(None);
        };
        // Output that was printed before has to appear before.
        io::stdout().flush()?;
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Some(Self {
            standard: Some(standard),
            ..Self::new(Some(input), Some(output))?
        }))
    }

    pub(in crate::driver) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let room = into.len();
        let result = match &*self.input.end.borrow() {
            None => return Ok(0),
            Some(End::Polled(fd)) => rustix::io::read(fd, into),
            Some(End::Socket(fd)) => recv(fd, into, RecvFlags::DONTWAIT).map(|(count, _)| count),
            Some(End::Thread(blocking_io)) => Ok(blocking_io.read(into)?),
        };
        let count = match result {
            // A terminal that was hung up: no more input comes.
            Err(Errno::IO) => 0,
            result => result?,
        };
        if count == 0 && room > 0 {
            self.is_at_end.set(true);
        }
        Ok(count)
    }

    pub(in crate::driver) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &*self.output.end.borrow() {
            None if self.has_no_output => Ok(bytes.len()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
            Some(End::Polled(fd)) => rustix::io::write(fd, bytes).map_err(io::Error::from),
            Some(End::Socket(fd)) => send(fd, bytes, NO_WAIT).map_err(io::Error::from),
            Some(End::Thread(blocking_io)) => blocking_io.write(bytes),
        };
        self.ignore_without_reader(written, bytes.len())
    }

    /// Writes from the front of `pieces`, in one call: between two calls the reader may free space,
    /// and the bytes that did not fit first would be left out.
    pub(in crate::driver) fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let all = pieces.iter().map(|piece| piece.len()).sum();
        let written = match &*self.output.end.borrow() {
            None if self.has_no_output => Ok(all),
            None => Err(io::ErrorKind::BrokenPipe.into()),
            Some(End::Polled(fd)) => rustix::io::writev(fd, pieces).map_err(io::Error::from),
            Some(End::Socket(fd)) => {
                let (mut nothing, flags) = (SendAncillaryBuffer::default(), NO_WAIT);
                sendmsg(fd, pieces, &mut nothing, flags).map_err(io::Error::from)
            }
            Some(End::Thread(blocking_io)) => blocking_io.write(&pieces[0]),
        };
        self.ignore_without_reader(written, all)
    }

    /// Counts the bytes as written, and discards them, while the output has no reader and the input
    /// goes on (invariant 5).
    fn ignore_without_reader(&self, written: io::Result<usize>, all: usize) -> io::Result<usize> {
        match written {
            Err(error)
                if error.kind() == io::ErrorKind::BrokenPipe && self.continues_without_reader() =>
            {
                Ok(all)
            }
            // A terminal that was hung up does not report that it has no reader.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.is_hung_up() => Ok(all),
            written => written,
        }
    }

    /// Returns whether the connection goes on although the output has no reader.
    fn continues_without_reader(&self) -> bool {
        let has_input = self.input.end.borrow().is_some() && !self.is_at_end.get();
        self.standard.is_none() && has_input && self.output.end.borrow().is_some()
    }

    /// Returns whether bytes are written when the call returns. A thread gets them twice: the first
    /// call begins, the second returns the result.
    pub(in crate::driver) fn takes_at_once(&self) -> bool {
        !matches!(&*self.output.end.borrow(), Some(End::Thread(_)))
    }

    /// Returns the error when the output has no reader, which is found without writing; closes the
    /// output, unless the connection goes on.
    pub(in crate::driver) fn take_error(&self) -> Option<io::Error> {
        if self.continues_without_reader() {
            return None;
        }
        let is_broken = self.look_at_output().contains(PollFlags::ERR);
        is_broken.then(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Returns whether the pair is the process's own standard input and output.
    pub(in crate::driver) fn is_standard(&self) -> bool {
        self.standard.is_some()
    }

    /// Returns whether the input was read to its end.
    pub(in crate::driver) fn is_at_end(&self) -> bool {
        self.is_at_end.get()
    }

    /// Returns whether the input is a terminal that was hung up.
    fn is_hung_up(&self) -> bool {
        self.look_at_output().contains(PollFlags::HUP)
    }

    fn look_at_output(&self) -> PollFlags {
        match &*self.output.end.borrow() {
            // A socket's hang-up may be about its other direction.
            Some(End::Socket(fd)) => look_at(fd) & PollFlags::ERR,
            Some(End::Polled(fd)) => look_at(fd),
            _ => PollFlags::empty(),
        }
    }

    /// Sets the window size of a terminal.
    pub(in crate::driver) fn set_window_size(&self, size: Pty) -> io::Result<()> {
        match &*self.output.end.borrow() {
            Some(End::Polled(fd)) => pty::set_window_size(fd, size),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Closes the output, which has been removed from the poller.
    fn shut_write(&self) {
        let end = self.output.end.take();
        if let Some(End::Socket(fd)) = &end {
            // The input may be the same socket and keep it open.
            let _ = shutdown(fd, Shutdown::Write);
        }
        drop(end);
        if self.standard.is_some() && is_awaited(io::stdout()) {
            let _ = null().and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?));
        }
    }

    /// Closes both ends in good order (invariant 4). They have been removed from the poller.
    pub(in crate::driver) fn end(&self) {
        drop(self.output.end.take());
        drop(self.input.end.take());
        if self.standard.is_none() {
            return;
        }
        if is_awaited(io::stdin()) {
            let _ = null().and_then(|null| Ok(rustix::stdio::dup2_stdin(null)?));
        }
        if is_awaited(io::stdout()) {
            let _ = null().and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?));
        }
    }
}

/// Registration with the poller.
impl Pair {
    pub(in crate::driver) fn add(
        &self,
        machine: &Machine,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        self.input.add(machine, key, interest.reads())?;
        let added = self.output.add(machine, key, interest.writes());
        if added.is_err() {
            self.input.remove(machine)?;
        }
        added
    }

    pub(in crate::driver) fn set_interest(
        &self,
        machine: &Machine,
        key: usize,
        interest: Interest,
    ) -> io::Result<()> {
        self.input.set(machine, key, interest.reads())?;
        self.output.set(machine, key, interest.writes())
    }

    pub(in crate::driver) fn remove(&self, machine: &Machine) -> io::Result<()> {
        let removed = self.input.remove(machine);
        self.output.remove(machine).and(removed)
    }

    /// Removes the output from the poller and closes it.
    pub(in crate::driver) fn remove_output(&self, machine: &Machine) -> io::Result<()> {
        let removed = self.output.remove(machine);
        self.shut_write();
        removed
    }
}

impl Side {
    fn new(fd: Option<OwnedFd>, direction: Direction) -> io::Result<Self> {
        let end = fd.map(|fd| End::new(fd, direction)).transpose()?;
        Ok(Self {
            direction,
            end: RefCell::new(end),
            armed: Cell::new(None),
        })
    }

    fn add(&self, machine: &Machine, key: usize, wanted: bool) -> io::Result<()> {
        let mut end = self.end.borrow_mut();
        let Some(open) = &*end else { return Ok(()) };
        let added =
            machine
                .selector()
                .add(open.watched(), key, open.interest(self.direction, wanted));
        let is_refused = added.as_ref().is_err_and(is_refusal);
        match end.take() {
            // The poller does not accept this descriptor: `/dev/null` and the like.
            Some(End::Polled(fd)) if is_refused => {
                let blocking_io = End::Thread(BlockingIo::new(fd, self.direction)?);
                machine.selector().add(
                    blocking_io.watched(),
                    key,
                    blocking_io.interest(self.direction, wanted),
                )?;
                *end = Some(blocking_io);
            }
            other => {
                *end = other;
                added?;
            }
        }
        self.armed.set(Some(wanted));
        Ok(())
    }

    fn set(&self, machine: &Machine, key: usize, wanted: bool) -> io::Result<()> {
        let end = self.end.borrow();
        let (Some(open), Some(armed)) = (&*end, self.armed.get()) else {
            return Ok(());
        };
        if armed != wanted {
            self.armed.set(Some(wanted));
            machine.selector().set_interest(
                open.watched(),
                key,
                open.interest(self.direction, wanted),
            )?;
        }
        Ok(())
    }

    fn remove(&self, machine: &Machine) -> io::Result<()> {
        match (&*self.end.borrow(), self.armed.take()) {
            (Some(open), Some(_)) => machine.selector().remove(open.watched()),
            _ => Ok(()),
        }
    }
}

impl End {
    fn new(fd: OwnedFd, direction: Direction) -> io::Result<Self> {
        let flags = fcntl_getfl(&fd)?;
        let mode = flags & OFlags::RWMODE;
        match direction {
            Direction::In if mode == OFlags::WRONLY => return Err(not_open_for("reading")),
            Direction::Out if mode == OFlags::RDONLY => return Err(not_open_for("writing")),
            _ => {}
        }
        match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::Socket => Ok(Self::Socket(fd)),
            FileType::Fifo | FileType::CharacterDevice if flags.contains(OFlags::NONBLOCK) => {
                Ok(Self::Polled(fd))
            }
            FileType::Fifo | FileType::CharacterDevice => match reopened(&fd, direction) {
                Some(own) => Ok(Self::Polled(own)),
                None => BlockingIo::new(fd, direction).map(Self::Thread),
            },
            _ => BlockingIo::new(fd, direction).map(Self::Thread),
        }
    }

    /// Returns the descriptor that the poller watches.
    fn watched(&self) -> BorrowedFd<'_> {
        match self {
            Self::Polled(fd) | Self::Socket(fd) => fd.as_fd(),
            Self::Thread(blocking_io) => blocking_io.wake_fd(),
        }
    }

    fn interest(&self, direction: Direction, wanted: bool) -> Interest {
        match (self, direction) {
            _ if !wanted => Interest::None,
            (Self::Thread(_), _) | (_, Direction::In) => Interest::Read,
            (_, Direction::Out) => Interest::Write,
        }
    }
}

impl Standard {
    fn take() -> Option<Self> {
        let was_taken = TAKEN.swap(true, Ordering::SeqCst);
        // Made only then, because dropping the guard marks the descriptors as free.
        (!was_taken).then(|| Self)
    }
}

impl Drop for Standard {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::SeqCst);
    }
}

/// Opens the same pipe or device again, non-blocking, with an open file description of our own.
/// `None` where the system refuses: there is no `/proc`, or another user created the file.
#[cfg(target_os = "linux")]
fn reopened(fd: &OwnedFd, direction: Direction) -> Option<OwnedFd> {
    use std::os::fd::AsRawFd;

    if !gives_the_same(fd) {
        return None;
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = match direction {
        Direction::In => flags | OFlags::RDONLY,
        Direction::Out => flags | OFlags::WRONLY,
    };
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()
}

/// Returns whether reopening gives the same file: not for the controlling side of a
/// pseudo-terminal, nor for unknown devices.
#[cfg(target_os = "linux")]
fn gives_the_same(fd: &OwnedFd) -> bool {
    let Ok(found) = fstat(fd) else { return false };
    if FileType::from_raw_mode(found.st_mode) == FileType::Fifo {
        return true;
    }
    let (major, minor) = (
        rustix::fs::major(found.st_rdev),
        rustix::fs::minor(found.st_rdev),
    );
    rustix::termios::isatty(fd) && (major, minor) != PTMX && major != OLD_MASTERS
}

#[cfg(not(target_os = "linux"))]
fn reopened(_fd: &OwnedFd, _way: Direction) -> Option<OwnedFd> {
    None
}

/// Returns the present readiness: errors, a hang-up, readable bytes.
fn look_at(fd: &OwnedFd) -> PollFlags {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// Returns whether a peer may wait for the descriptor to be closed.
fn is_awaited(fd: impl AsFd) -> bool {
    fstat(fd).is_ok_and(|found| {
        matches!(
            FileType::from_raw_mode(found.st_mode),
            FileType::Fifo | FileType::Socket
        )
    })
}

fn null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}

/// Returns whether the error means that the poller does not accept such a descriptor.
fn is_refusal(error: &io::Error) -> bool {
    [Errno::PERM, Errno::INVAL, Errno::NODEV]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn not_open_for(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("the descriptor is not open for {what}"),
    )
}

/// The device that makes pseudo-terminals, as major and minor number.
#[cfg(target_os = "linux")]
const PTMX: (u32, u32) = (5, 2);
/// The major number of the old pseudo-terminal masters.
#[cfg(target_os = "linux")]
const OLD_MASTERS: u32 = 2;
/// Flags for sending on a socket whose own flags must not change: this call does not block.
const NO_WAIT: SendFlags = SendFlags::DONTWAIT.union(QUIETLY);

/// See invariant 3.
static TAKEN: AtomicBool = AtomicBool::new(false);

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::iter;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::driver::children::pipe;
    use crate::driver::{Driver, Event, Socket};

    /// Makes a watched pair of two pipes; returns also their other ends.
    fn watched(driver: &Driver) -> (Socket, OwnedFd, OwnedFd) {
        let (input, typing) = pipe::pipe().unwrap();
        let (reader_end, output) = pipe::pipe().unwrap();
        let pair = driver.pair(input, output).unwrap();
        driver.add(&pair, 7, Interest::Both).unwrap();
        (pair, typing, reader_end)
    }

    fn look(driver: &Driver) -> Vec<Event> {
        let mut events = Vec::new();
        driver.wait(Some(Duration::ZERO), &mut events).unwrap();
        assert!(events.iter().all(|event| event.key == 7), "{events:?}");
        events
    }

    fn each(test: impl Fn(&Driver)) {
        for machine in [
            Machine::new(None).unwrap(),
            Machine::new(Some(crate::driver::Poller::Poll)).unwrap(),
            Machine::portable(),
            Machine::oneshot(),
        ] {
            test(&Driver::Machine(machine));
        }
    }

    #[test]
    fn events_of_both_ends_come_under_one_key_and_are_level_triggered() {
        each(|driver| {
            let (pair, typing, _heard) = watched(driver);
            for _ in 0..3 {
                let events = look(driver);
                assert!(events.iter().all(|event| !event.readable()), "{events:?}");
                assert!(events.iter().any(|event| event.writable()), "{events:?}");
            }
            rustix::io::write(&typing, b"x").unwrap();
            for _ in 0..3 {
                let events = look(driver);
                assert!(events.iter().any(|event| event.readable()), "{events:?}");
                assert!(events.iter().any(|event| event.writable()), "{events:?}");
            }
            assert_eq!(pair.read(&mut [0; 4]).unwrap(), 1);
            let error = pair.read(&mut [0; 4]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            driver.remove(&pair).unwrap();
            assert_eq!(look(driver), []);
        });
    }

    #[test]
    fn an_end_without_interest_reports_its_hang_up_at_most_once() {
        each(|driver| {
            let (pair, typing, reader_end) = watched(driver);
            driver.set_interest(&pair, 7, Interest::None).unwrap();
            drop((typing, reader_end));
            look(driver);
            assert_eq!(look(driver), []);
            driver.remove(&pair).unwrap();
        });
    }

    #[test]
    fn the_output_is_shut_alone() {
        each(|driver| {
            let (pair, typing, reader_end) = watched(driver);
            driver.shut_write(&pair).unwrap();
            assert_eq!(rustix::io::read(&reader_end, &mut [0; 4]), Ok(0));
            assert_eq!(pair.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
            assert_eq!(look(driver), []);
            rustix::io::write(&typing, b"x").unwrap();
            assert!(look(driver).iter().any(|event| event.readable()));
            driver.remove(&pair).unwrap();
        });
    }

    #[test]
    fn pieces_are_written_without_a_gap_while_a_reader_reads() {
        const SIZE: usize = 60_000;
        let pieces: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; SIZE]).collect();
        let whole: Vec<u8> = pieces.concat();
        let (socket, other) = UnixStream::pair().unwrap();
        let pipe = pipe::pipe().unwrap();
        for (reader_end, output) in [(socket.into(), other.into()), pipe] {
            let (input, _typing) = pipe::pipe().unwrap();
            let pair = Pair::new(Some(input), Some(output)).unwrap();
            let reader = reads_again_and_again(reader_end, whole.clone());
            let (mut written, end) = (0, whole.len() * 30);
            while written < end {
                let from = written % whole.len();
                let (first, within) = (from / SIZE, from % SIZE);
                let slices: Vec<_> = iter::once(IoSlice::new(&pieces[first][within..]))
                    .chain(pieces[first + 1..].iter().map(|piece| IoSlice::new(piece)))
                    .collect();
                match pair.write_vectored(&slices) {
                    Ok(count) => written += count,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            drop(pair);
            assert_eq!(reader.join().unwrap(), written);
        }
    }

    /// Reads these bytes again and again until end of file; returns how often they came.
    fn reads_again_and_again(from: OwnedFd, bytes: Vec<u8>) -> thread::JoinHandle<usize> {
        thread::spawn(move || {
            let (mut reader_end, mut part, mut at) = (File::from(from), vec![0; 100_000], 0);
            loop {
                let count = reader_end.read(&mut part).unwrap();
                if count == 0 {
                    return at;
                }
                let begin = at % bytes.len();
                let most = count.min(bytes.len() - begin);
                assert!(part[..most] == bytes[begin..begin + most], "at byte {at}");
                assert!(part[most..count] == bytes[..count - most], "at byte {at}");
                at += count;
            }
        })
    }

    #[test]
    fn bytes_count_as_written_after_the_thread_has_written_them() {
        each(|driver| {
            let folder = std::env::temp_dir();
            let path = folder.join(format!("torsade-pair-{}", std::process::id()));
            let file = File::create(&path).unwrap();
            let (input, _typing) = pipe::pipe().unwrap();
            let pair = driver.pair(input, file.into()).unwrap();
            driver.add(&pair, 7, Interest::Write).unwrap();
            assert!(!pair.takes_at_once());
            let mut calls = 0;
            let count = loop {
                let mut events = Vec::new();
                driver.wait(None, &mut events).unwrap();
                match pair.write(b"hello") {
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    Ok(count) => break count,
                }
                calls += 1;
            };
            assert_eq!((count, calls), (5, 1), "the wait ends twice, and no more");
            assert_eq!(std::fs::read(&path).unwrap(), b"hello");
            driver.remove(&pair).unwrap();
            std::fs::remove_file(&path).unwrap();
        });
    }
}
