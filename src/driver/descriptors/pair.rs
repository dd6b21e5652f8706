//! A pair of descriptors of the machine, one to read and one to write, as one end of a connection:
//! standard input and output, the pipes of a child.
//!
//! # The idea
//!
//! Whether a read may block is a property of the *open file*, which this process shares with its
//! parent: making standard input non-blocking breaks the shell that reads it next, and after a kill
//! nothing restores the flag. So no flag of a given descriptor is ever changed. Instead, depending
//! on its kind:
//!
//! | given                          | is read and written                                               |
//! |--------------------------------|-------------------------------------------------------------------|
//! | a socket                       | with calls that do not wait, one by one                           |
//! | one that does not block        | as it is                                                          |
//! | a pipe, a terminal             | through an open file of our own, which `/proc` gives of the same  |
//! | a file, a device, and what `/proc` gives not, or no poller takes | by a thread (`blocking_io`)     |
//!
//! Of other devices `/proc` gives not always the same: to open the controlling side of a
//! pseudo-terminal makes a new one.
//!
//! # Invariants
//!
//! 1. Both ends are registered under one key; an event of that key may be of either, so it is tried
//!    and not believed.
//! 2. An end is off the poller before it is closed: others may have the same open file.
//! 3. Standard input and output are taken by one pair of the process at a time, until it is
//!    dropped.
//! 4. An end in good order closes them for whoever waits at the other side: the numbers 0 and 1
//!    then name `/dev/null`, so that no file that is opened later gets them. Terminals and files,
//!    where nobody waits, are left as they are.
//! 5. When nobody reads standard output any more, that is the end. Of any other pair it is not: a
//!    child may have closed its input and have much to say. Until the end of what is read, what is
//!    written goes nowhere.

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

use super::blocking_io::{BlockingIo, Way};
use crate::driver::children::pty::{self, Pty};
use crate::driver::machine::Machine;
use crate::driver::poller::Interest;
use crate::driver::sockets::QUIETLY;

/// A descriptor to read and one to write.
#[derive(Debug)]
pub(crate) struct Pair {
    input: Side,
    output: Side,
    /// There never was an output: what is written is gone.
    is_deaf: bool,
    standard: Option<Standard>,
    /// All was read.
    is_at_end: Cell<bool>,
}

/// One half of it.
#[derive(Debug)]
struct Side {
    way: Way,
    /// Empty once closed.
    end: RefCell<Option<End>>,
    /// What the poller was told, once it was told anything.
    armed: Cell<Option<bool>>,
}

/// What is read or written.
#[derive(Debug)]
enum End {
    /// It does not block.
    Polled(OwnedFd),
    Socket(OwnedFd),
    Thread(BlockingIo),
}

/// The process's own standard input and output are in use (invariant 3).
#[derive(Debug)]
struct Standard;

impl Pair {
    /// Any two descriptors, which are closed with it. One may be missing: then there is nothing to
    /// read, or nobody reads what is written.
    pub(in crate::driver) fn new(
        input: Option<OwnedFd>,
        output: Option<OwnedFd>,
    ) -> io::Result<Self> {
        Ok(Self {
            is_deaf: output.is_none(),
            is_at_end: Cell::new(false),
            input: Side::new(input, Way::In)?,
            output: Side::new(output, Way::Out)?,
            standard: None,
        })
    }

    /// Standard input and output; none if they are in use.
    pub(in crate::driver) fn standard() -> io::Result<Option<Self>> {
        let Some(standard) = Standard::take() else {
            return Ok(None);
        };
        // What was printed before is to come before.
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
            // A terminal that was hung up: there is nothing more to come.
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
            None if self.is_deaf => Ok(bytes.len()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
            Some(End::Polled(fd)) => rustix::io::write(fd, bytes).map_err(io::Error::from),
            Some(End::Socket(fd)) => send(fd, bytes, NO_WAIT).map_err(io::Error::from),
            Some(End::Thread(blocking_io)) => blocking_io.write(bytes),
        };
        self.unless_unheard(written, bytes.len())
    }

    /// Writes from the front of `pieces`, in one call: between two the reader may make room, and
    /// what the first had none for would be left out.
    pub(in crate::driver) fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let all = pieces.iter().map(|piece| piece.len()).sum();
        let written = match &*self.output.end.borrow() {
            None if self.is_deaf => Ok(all),
            None => Err(io::ErrorKind::BrokenPipe.into()),
            Some(End::Polled(fd)) => rustix::io::writev(fd, pieces).map_err(io::Error::from),
            Some(End::Socket(fd)) => {
                let (mut nothing, flags) = (SendAncillaryBuffer::default(), NO_WAIT);
                sendmsg(fd, pieces, &mut nothing, flags).map_err(io::Error::from)
            }
            Some(End::Thread(blocking_io)) => blocking_io.write(&pieces[0]),
        };
        self.unless_unheard(written, all)
    }

    /// What is written goes nowhere while nobody reads it and the input goes on (invariant 5).
    fn unless_unheard(&self, written: io::Result<usize>, all: usize) -> io::Result<usize> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.goes_on() => Ok(all),
            // A terminal that was hung up does not say that nobody reads it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.is_hung_up() => Ok(all),
            written => written,
        }
    }

    /// May it go on though nobody reads the output?
    fn goes_on(&self) -> bool {
        let is_heard = self.input.end.borrow().is_some() && !self.is_at_end.get();
        self.standard.is_none() && is_heard && self.output.end.borrow().is_some()
    }

    /// Is what is written gone when the call returns? To a thread it is told twice: the first time
    /// begins, the second says what has come of it.
    pub(in crate::driver) fn takes_at_once(&self) -> bool {
        !matches!(&*self.output.end.borrow(), Some(End::Thread(_)))
    }

    /// Nobody reads what is written: that is found out without writing, and the end of it, unless
    /// it goes on.
    pub(in crate::driver) fn take_error(&self) -> Option<io::Error> {
        if self.goes_on() {
            return None;
        }
        let is_broken = self.look_at_output().contains(PollFlags::ERR);
        is_broken.then(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Is it the process's own standard input and output?
    pub(in crate::driver) fn is_standard(&self) -> bool {
        self.standard.is_some()
    }

    /// Was all read?
    pub(in crate::driver) fn is_at_end(&self) -> bool {
        self.is_at_end.get()
    }

    /// Is it a terminal that was hung up?
    fn is_hung_up(&self) -> bool {
        self.look_at_output().contains(PollFlags::HUP)
    }

    fn look_at_output(&self) -> PollFlags {
        match &*self.output.end.borrow() {
            // A socket's hang-up may be of its other direction.
            Some(End::Socket(fd)) => look_at(fd) & PollFlags::ERR,
            Some(End::Polled(fd)) => look_at(fd),
            _ => PollFlags::empty(),
        }
    }

    /// Tells a terminal how large it is.
    pub(in crate::driver) fn set_window_size(&self, size: Pty) -> io::Result<()> {
        match &*self.output.end.borrow() {
            Some(End::Polled(fd)) => pty::set_window_size(fd, size),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Closes the output. It is off the poller.
    fn shut_write(&self) {
        let end = self.output.end.take();
        if let Some(End::Socket(fd)) = &end {
            // The input may be the same socket, and keep it open.
            let _ = shutdown(fd, Shutdown::Write);
        }
        drop(end);
        if self.standard.is_some() && is_awaited(io::stdout()) {
            let _ = null().and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?));
        }
    }

    /// Closes both in good order (invariant 4). They are off the poller.
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

/// What the poller is told.
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

    /// Takes the output off the poller, and closes it.
    pub(in crate::driver) fn remove_output(&self, machine: &Machine) -> io::Result<()> {
        let removed = self.output.remove(machine);
        self.shut_write();
        removed
    }
}

impl Side {
    fn new(fd: Option<OwnedFd>, way: Way) -> io::Result<Self> {
        let end = fd.map(|fd| End::new(fd, way)).transpose()?;
        Ok(Self {
            way,
            end: RefCell::new(end),
            armed: Cell::new(None),
        })
    }

    fn add(&self, machine: &Machine, key: usize, wanted: bool) -> io::Result<()> {
        let mut end = self.end.borrow_mut();
        let Some(open) = &*end else { return Ok(()) };
        let added = machine
            .selector()
            .add(open.watched(), key, open.interest(self.way, wanted));
        let is_refused = added.as_ref().is_err_and(is_refusal);
        match end.take() {
            // The poller takes no such thing: `/dev/null` and its kin.
            Some(End::Polled(fd)) if is_refused => {
                let blocking_io = End::Thread(BlockingIo::new(fd, self.way)?);
                machine.selector().add(
                    blocking_io.watched(),
                    key,
                    blocking_io.interest(self.way, wanted),
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
                open.interest(self.way, wanted),
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
    fn new(fd: OwnedFd, way: Way) -> io::Result<Self> {
        let flags = fcntl_getfl(&fd)?;
        let mode = flags & OFlags::RWMODE;
        match way {
            Way::In if mode == OFlags::WRONLY => return Err(not_open_for("reading")),
            Way::Out if mode == OFlags::RDONLY => return Err(not_open_for("writing")),
            _ => {}
        }
        match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::Socket => Ok(Self::Socket(fd)),
            FileType::Fifo | FileType::CharacterDevice if flags.contains(OFlags::NONBLOCK) => {
                Ok(Self::Polled(fd))
            }
            FileType::Fifo | FileType::CharacterDevice => match reopened(&fd, way) {
                Some(own) => Ok(Self::Polled(own)),
                None => BlockingIo::new(fd, way).map(Self::Thread),
            },
            _ => BlockingIo::new(fd, way).map(Self::Thread),
        }
    }

    /// What the poller watches.
    fn watched(&self) -> BorrowedFd<'_> {
        match self {
            Self::Polled(fd) | Self::Socket(fd) => fd.as_fd(),
            Self::Thread(blocking_io) => blocking_io.wake_fd(),
        }
    }

    fn interest(&self, way: Way, wanted: bool) -> Interest {
        match (self, way) {
            _ if !wanted => Interest::Nothing,
            (Self::Thread(_), _) | (_, Way::In) => Interest::Read,
            (_, Way::Out) => Interest::Write,
        }
    }
}

impl Standard {
    fn take() -> Option<Self> {
        let was_taken = TAKEN.swap(true, Ordering::SeqCst);
        // Not made in vain: dropping one says that they are free.
        (!was_taken).then(|| Self)
    }
}

impl Drop for Standard {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::SeqCst);
    }
}

/// An open file of our own, of the same pipe or device, that does not block. None where the system
/// gives none: it has no `/proc`, or another user has made what was given.
#[cfg(target_os = "linux")]
fn reopened(fd: &OwnedFd, way: Way) -> Option<OwnedFd> {
    use std::os::fd::AsRawFd;

    if !gives_the_same(fd) {
        return None;
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = match way {
        Way::In => flags | OFlags::RDONLY,
        Way::Out => flags | OFlags::WRONLY,
    };
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()
}

/// Does opening it anew give the same? Not of the controlling side of a pseudo-terminal, nor of who
/// knows what device.
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
fn reopened(_fd: &OwnedFd, _way: Way) -> Option<OwnedFd> {
    None
}

/// What is so with it now: errors, a hang-up, something to read.
fn look_at(fd: &OwnedFd) -> PollFlags {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// Does somebody wait at the other side for it to be closed?
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

/// The poller says that such a thing cannot be waited for.
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

/// The device that makes pseudo-terminals.
#[cfg(target_os = "linux")]
const PTMX: (u32, u32) = (5, 2);
/// The kind of those that are made by nobody.
#[cfg(target_os = "linux")]
const OLD_MASTERS: u32 = 2;
/// How a socket is written to whose flags are not ours: this once it does not block.
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

    /// A pair of two pipes, watched; with their other ends.
    fn watched(driver: &Driver) -> (Socket, OwnedFd, OwnedFd) {
        let (input, typing) = pipe::pipe().unwrap();
        let (heard, output) = pipe::pipe().unwrap();
        let pair = driver.pair(input, output).unwrap();
        driver.add(&pair, 7, Interest::Both).unwrap();
        (pair, typing, heard)
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
    fn news_of_both_ends_comes_under_one_key_again_and_again() {
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
    fn an_end_that_nobody_wants_tells_its_hang_up_at_most_once() {
        each(|driver| {
            let (pair, typing, heard) = watched(driver);
            driver.set_interest(&pair, 7, Interest::Nothing).unwrap();
            drop((typing, heard));
            look(driver);
            assert_eq!(look(driver), []);
            driver.remove(&pair).unwrap();
        });
    }

    #[test]
    fn the_output_is_shut_alone() {
        each(|driver| {
            let (pair, typing, heard) = watched(driver);
            driver.shut_write(&pair).unwrap();
            assert_eq!(rustix::io::read(&heard, &mut [0; 4]), Ok(0));
            assert_eq!(pair.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
            assert_eq!(look(driver), []);
            rustix::io::write(&typing, b"x").unwrap();
            assert!(look(driver).iter().any(|event| event.readable()));
            driver.remove(&pair).unwrap();
        });
    }

    #[test]
    fn pieces_are_written_without_a_gap_while_somebody_reads() {
        const SIZE: usize = 60_000;
        let pieces: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; SIZE]).collect();
        let whole: Vec<u8> = pieces.concat();
        let (socket, other) = UnixStream::pair().unwrap();
        let pipe = pipe::pipe().unwrap();
        for (heard, output) in [(socket.into(), other.into()), pipe] {
            let (input, _typing) = pipe::pipe().unwrap();
            let pair = Pair::new(Some(input), Some(output)).unwrap();
            let reader = reads_again_and_again(heard, whole.clone());
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

    /// Reads until the end that these bytes come, over and over; gives how many came.
    fn reads_again_and_again(from: OwnedFd, bytes: Vec<u8>) -> thread::JoinHandle<usize> {
        thread::spawn(move || {
            let (mut heard, mut part, mut at) = (File::from(from), vec![0; 100_000], 0);
            loop {
                let count = heard.read(&mut part).unwrap();
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
    fn a_thread_writes_before_it_is_said_to_be_written() {
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
            assert_eq!((count, calls), (5, 1), "it is told twice, and no more");
            assert_eq!(std::fs::read(&path).unwrap(), b"hello");
            driver.remove(&pair).unwrap();
            std::fs::remove_file(&path).unwrap();
        });
    }
}
