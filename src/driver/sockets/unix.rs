//! UNIX stream sockets of the machine, and their files.
//!
//! # Invariants
//!
//! 1. No peer connects before a socket's file has the requested mode. The file is made with at most
//!    that mode (the socket has it before it is bound), gets the bits that the process's mask
//!    removed, and only then does the socket listen: until then the system refuses all connections.
//! 2. A file is removed only if it is the one that this socket was bound to, by device and inode.
//! 3. A file in the way is removed only under a lock that a dead process had left behind, and only
//!    if it is a socket.
//! 4. Received descriptors are close-on-exec.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags, fchmod, fstat};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
#[cfg(target_os = "linux")]
use rustix::net::{SocketAddrUnix, SocketFlags, acceptfrom_with};
use socket2::{Domain, SockAddr, Socket, Type};

use super::passing::Passing;
use super::{NO_SIGNAL, QUIETLY, ancillary, names};
use crate::address::Address;
use crate::driver::options::{Bind, SocketHook};
use crate::locks::{Locked, is_locked, lock_at, unlock};

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(in crate::driver) socket: Socket,
    pub(in crate::driver) passing: Passing,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Removed, and unlocked, before the socket closes: until then no other file can have the same
    /// inode.
    _file: Option<Box<File>>,
    pub(in crate::driver) socket: Socket,
}

/// The file of a socket. Dropping it removes and unlocks the file.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    /// The device and inode, once it is bound.
    id: Option<(u64, u64)>,
    lock: Option<PathBuf>,
}

impl Stream {
    pub(in crate::driver) fn new(socket: Socket) -> Self {
        Self {
            socket,
            passing: Passing::default(),
        }
    }

    /// Reads available bytes; descriptors that came with them wait in `passing`.
    pub(in crate::driver) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let room = self.passing.room();
        let take = |one| self.passing.keep_received(one, room);
        let message = ancillary::receive(self.socket.as_fd(), into, take)?;
        // The buffer had space for as many as a message can have: so this process may open no more.
        if message.is_cut {
            return Err(io::Error::other(
                "received descriptors were lost: this process can open no more",
            ));
        }
        Ok(message.bytes)
    }

    /// Writes as many bytes as fit, and the descriptors that wait to be sent.
    pub(in crate::driver) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.passing.waiting() == 0 {
            return self.socket.send_with_flags(bytes, NO_SIGNAL);
        }
        let carried = self.passing.carry(bytes, |byte, descriptor| {
            let descriptors = [descriptor];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let pieces = [IoSlice::new(byte)];
            Ok(sendmsg(&self.socket, &pieces, &mut control, QUIETLY)?)
        })?;
        // A byte must not overtake the descriptor that goes with it.
        if carried == bytes.len() || self.passing.waiting() > 0 {
            return Ok(carried);
        }
        let rest = &bytes[carried..];
        match self.socket.send_with_flags(rest, NO_SIGNAL) {
            Ok(count) => Ok(carried + count),
            Err(_) if carried > 0 => Ok(carried),
            Err(error) => Err(error),
        }
    }

    /// Writes the first of `pieces`.
    pub(in crate::driver) fn write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match pieces.iter().find(|piece| !piece.is_empty()) {
            Some(piece) if self.passing.waiting() > 0 => self.write(piece),
            _ => self.socket.send_vectored_with_flags(pieces, NO_SIGNAL),
        }
    }
}

impl Listener {
    /// Wraps a socket that other code has bound, and whose file is not ours.
    pub(in crate::driver) fn adopted(socket: Socket) -> Self {
        Self {
            socket,
            _file: None,
        }
    }

    /// Accepts the next connection; returns the peer's address.
    #[cfg(target_os = "linux")]
    pub(in crate::driver) fn accept(&self) -> io::Result<(Stream, Address)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, from) = acceptfrom_with(&self.socket, flags)?;
        let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
        let from = from.map_or(Address::Unnamed, |from| names::of_unix(&from));
        Ok((Stream::new(Socket::from(fd)), from))
    }

    /// Accepts the next connection; returns the peer's address.
    #[cfg(not(target_os = "linux"))]
    pub(in crate::driver) fn accept(&self) -> io::Result<(Stream, Address)> {
        let (socket, from) = self.socket.accept()?;
        socket.set_nonblocking(true)?;
        Ok((Stream::new(socket), names::of(&from)))
    }
}

/// Makes a listener at a path or at an abstract name.
pub(in crate::driver) fn listen(address: &Address, bind: &Bind) -> io::Result<Listener> {
    let name = names::unix(address)?;
    let mut file = match address {
        Address::Path(path) => Some(Box::new(File::lock(path, bind)?)),
        _ => None,
    };
    let socket = stream()?;
    SocketHook::call(bind.hook.as_ref(), &socket)?;
    if let Some(file) = &mut file {
        file.bind(&socket, &name, bind.mode)?;
    } else {
        socket.bind(&name)?;
    }
    socket.listen(bind.backlog)?;
    Ok(Listener {
        socket,
        _file: file,
    })
}

/// Begins a connection to `address`.
///
/// When the listener's queue is full, that fails with [`io::ErrorKind::WouldBlock`], and there is
/// nothing to wait on: the caller tries again later.
pub(in crate::driver) fn connect(
    address: &Address,
    bind: Option<&Address>,
    hook: Option<&SocketHook>,
) -> io::Result<Stream> {
    let name = names::unix(address)?;
    let socket = stream()?;
    SocketHook::call(hook, &socket)?;
    let mut file = None;
    if let Some(bind) = bind {
        socket.bind(&names::unix(bind)?)?;
        file = File::bound(bind)?;
    }
    match socket.connect(&name) {
        // The next attempt has to find the name free.
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => {
            if let Some(file) = file {
                file.leave();
            }
            Ok(Stream::new(socket))
        }
    }
}

/// Fails unless a running process holds the lock of this address.
pub(in crate::driver) fn check_lock(address: &Address) -> io::Result<()> {
    let Address::Path(path) = address else {
        return Ok(());
    };
    let lock = lock_of(path);
    if is_locked(&lock)? {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::ConnectionRefused,
        format!("no live process holds the lock {lock:?}"),
    ))
}

/// Returns this process's own credentials.
pub(in crate::driver) fn own_credentials() -> (i32, u32, u32) {
    (
        rustix::process::getpid().as_raw_nonzero().get(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    )
}

impl File {
    /// Returns the file that a socket was just bound to; `None` if its name is not in the file
    /// system.
    pub(crate) fn bound(address: &Address) -> io::Result<Option<Self>> {
        let Address::Path(path) = address else {
            return Ok(None);
        };
        let path = std::path::absolute(path)?;
        let id = Some(id(&fs::symlink_metadata(&path)?));
        Ok(Some(Self {
            path,
            id,
            lock: None,
        }))
    }

    /// Leaves the file where it is.
    fn leave(mut self) {
        self.id = None;
    }

    /// Prepares a file at `path`, with its lock if requested.
    fn lock(path: &Path, bind: &Bind) -> io::Result<Self> {
        // The path is made absolute, so that a later change of directory does not matter.
        let mut file = Self {
            path: std::path::absolute(path)?,
            id: None,
            lock: None,
        };
        if !bind.lock_file {
            return Ok(file);
        }
        let lock = lock_of(&file.path);
        match lock_at(&lock)? {
            Locked::Ours { was_clean } => {
                file.lock = Some(lock);
                if !was_clean {
                    file.remove_left_behind()?;
                }
                Ok(file)
            }
            Locked::Theirs(holder) => {
                let who = match holder {
                    Some(pid) => format!("process {pid}"),
                    None => "another process".to_owned(),
                };
                Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    format!("{who} holds the lock {lock:?}"),
                ))
            }
        }
    }

    /// Removes the file that a dead process has left behind, if it is a socket (invariant 3).
    fn remove_left_behind(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&self.path),
            _ => Ok(()),
        }
    }

    /// Binds a socket to the file, and sets its mode (invariant 1).
    fn bind(&mut self, socket: &Socket, name: &SockAddr, mode: u32) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        fchmod(socket, Mode::from_raw_mode(mode))?;
        socket.bind(name)?;
        self.id = Some(id(&fs::symlink_metadata(&self.path)?));
        self.give_mode(mode)
    }

    /// Sets the mode, unless the file has it.
    pub(crate) fn give_mode(&self, mode: u32) -> io::Result<()> {
        let found = fs::symlink_metadata(&self.path)?;
        match found.permissions().mode() & PERMISSIONS == mode {
            true => Ok(()),
            false => self.set_mode(mode),
        }
    }

    /// Sets the mode of the file that was bound, and never of a file that replaced it.
    #[cfg(target_os = "linux")]
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        use std::os::fd::AsRawFd;

        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let found = fstat(&file)?;
        if Some((found.st_dev, found.st_ino)) != self.id {
            return Err(io::Error::other(format!(
                "another file has replaced the socket at {:?}",
                self.path
            )));
        }
        // A descriptor of this kind only identifies the file.
        let named = format!("/proc/self/fd/{}", file.as_raw_fd());
        fs::set_permissions(named, fs::Permissions::from_mode(mode)).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the mode {mode:o} cannot be set: {error}"),
            )
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if let (Some(ours), Ok(found)) = (self.id, fs::symlink_metadata(&self.path)) {
            if id(&found) == ours {
                let _ = fs::remove_file(&self.path);
            }
        }
        if let Some(lock) = &self.lock {
            let _ = unlock(lock);
        }
    }
}

/// Returns the path of the lock of a socket's path.
fn lock_of(path: &Path) -> PathBuf {
    let mut lock = OsString::from(path);
    lock.push(".lock");
    lock.into()
}

fn id(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn stream() -> io::Result<Socket> {
    let kind = Type::STREAM;
    #[cfg(target_os = "linux")]
    let kind = kind.nonblocking();
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    #[cfg(not(target_os = "linux"))]
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The permission bits of a file's mode.
const PERMISSIONS: u32 = 0o7777;
