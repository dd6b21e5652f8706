//! Terminals of children.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{Winsize, tcsetwinsize};

use super::pipe::set_nonblocking;

/// A terminal of its own: of so many rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pty {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// A new terminal: our end, which does not block, and the child's.
pub(super) fn open_pty(size: Pty) -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = rustix_openpty::openpty(None, Some(&size.into()))?;
    set_nonblocking(&pair.controller)?;
    Ok((pair.controller, pair.user))
}

/// Tells a terminal how large it is; who runs in it gets SIGWINCH.
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
