//! Pseudo-terminals of children.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{Winsize, tcsetwinsize};

use super::pipe::set_nonblocking;

/// The size of a new pseudo-terminal, in rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pty {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// Opens a pseudo-terminal; returns our end, which is non-blocking, and the child's.
pub(super) fn open_pty(size: Pty) -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = rustix_openpty::openpty(None, Some(&size.into()))?;
    set_nonblocking(&pair.controller)?;
    Ok((pair.controller, pair.user))
}

/// Sets the window size of a terminal; its foreground process group receives SIGWINCH.
pub(in crate::driver) fn set_window_size(terminal: &impl AsFd, size: Pty) -> io::Result<()> {
    Ok(tcsetwinsize(terminal, size.into())?)
}

impl From<Pty> for Winsize {
    fn from(size: Pty) -> Self {
        Self {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        }
    }
}
