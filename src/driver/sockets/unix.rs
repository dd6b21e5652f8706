//! UNIX stream sockets of the machine, and the files that name them.
//!
//! # Invariants
//!
//! 1. Nobody connects before a socket's file has the mode that was asked for. The file is made with
//!    no more than that mode (the socket has it before it is bound), it is given the rest if the
//!    process's mask took some of it away, and only then does the socket listen: until then the
//!    system refuses all connections.
//! 2. A file is removed only if it is the one that this socket was bound to, by device and inode.
//! 3. A file in the way is removed only under a lock that a dead process had left behind, and only
//!    if it is a socket.
//! 4. What comes is closed on exec.

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

/// Where connections come in.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Removed, and unlocked, before the socket closes: until then nobody else's file can have the
    /// same inode.
    _file: Option<Box<File>>,
    pub(in crate::driver) socket: Socket,
}

/// The file that names a socket. Dropping it removes it, and unlocks.
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

    /// Reads what is there; descriptors that came with it wait in `passing`.
    pub(in crate::driver) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let room = self.passing.room();
        let take = |one| self.passing.come(one, room);
        let message = ancillary::receive(self.socket.as_fd(), into, take)?;
        // There was room for as many as a message can have: so this process has none.
        if message.is_cut {
            return Err(io::Error::other(
                "descriptors that came were lost: this process cannot have more",
            ));
        }
        Ok(message.bytes)
    }

    /// Writes as much as there is room for, and the descriptors that wait with it.
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
        // A byte must not overtake the descriptor that is to ride on it.
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
    /// One that somebody else has bound, and whose file is not ours.
    pub(in crate::driver) fn adopted(socket: Socket) -> Self {
        Self {
            socket,
            _file: None,
        }
    }

    /// The next connection, and who it is from.
    #[cfg(target_os = "linux")]
    pub(in crate::driver) fn accept(&self) -> io::Result<(Stream, Address)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, from) = acceptfrom_with(&self.socket, flags)?;
        let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
        let from = from.map_or(Address::Unnamed, |from| names::of_unix(&from));
        Ok((Stream::new(Socket::from(fd)), from))
    }

    /// The next connection, and who it is from.
    #[cfg(not(target_os = "linux"))]
    pub(in crate::driver) fn accept(&self) -> io::Result<(Stream, Address)> {
        let (socket, from) = self.socket.accept()?;
        socket.set_nonblocking(true)?;
        Ok((Stream::new(socket), names::of(&from)))
    }
}

/// A listener at a path or a name outside the file system.
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

/// A connection to `address`, begun.
///
/// When the peer has no room for one more that is [`io::ErrorKind::WouldBlock`], and there is
/// nothing to wait on: one tries again later.
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
        // The next attempt is to find the name free.
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => {
            if let Some(file) = file {
                file.leave();
            }
            Ok(Stream::new(socket))
        }
    }
}

/// Fails unless a process that is alive holds the lock of this address.
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
        format!("no process that is alive holds the lock {lock:?}"),
    ))
}

/// This process's own.
pub(in crate::driver) fn own_credentials() -> (i32, u32, u32) {
    (
        rustix::process::getpid().as_raw_nonzero().get(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    )
}

impl File {
    /// The file that a socket was just bound to; none if its name is not in the file system.
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

    /// Leaves it where it is.
    fn leave(mut self) {
        self.id = None;
    }

    /// A file that is to be at `path`, with its lock if one was asked for.
    fn lock(path: &Path, bind: &Bind) -> io::Result<Self> {
        // Where the process may go meanwhile is no matter.
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
                    format!("{who} has the lock {lock:?}"),
                ))
            }
        }
    }

    /// Removes what a dead process has left, if it is a socket (invariant 3).
    fn remove_left_behind(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&self.path),
            _ => Ok(()),
        }
    }

    /// Binds a socket to it, and gives it its mode (invariant 1).
    fn bind(&mut self, socket: &Socket, name: &SockAddr, mode: u32) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        fchmod(socket, Mode::from_raw_mode(mode))?;
        socket.bind(name)?;
        self.id = Some(id(&fs::symlink_metadata(&self.path)?));
        self.give_mode(mode)
    }

    /// Gives it this mode, unless it has it.
    pub(crate) fn give_mode(&self, mode: u32) -> io::Result<()> {
        let found = fs::symlink_metadata(&self.path)?;
        match found.permissions().mode() & PERMISSIONS == mode {
            true => Ok(()),
            false => self.set_mode(mode),
        }
    }

    /// Sets the mode of what was bound, and of nothing that somebody has put in its place.
    #[cfg(target_os = "linux")]
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        use std::os::fd::AsRawFd;

        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let found = fstat(&file)?;
        if Some((found.st_dev, found.st_ino)) != self.id {
            return Err(io::Error::other(format!(
                "something else was put at {:?}",
                self.path
            )));
        }
        // A descriptor of this kind can be named, and nothing else.
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

/// The lock of a socket's path.
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

/// The bits of a file's mode that say who may do what.
const PERMISSIONS: u32 = 0o7777;
