//! The mode of a terminal: [`Terminal`].
//!
//! # Invariants
//!
//! 1. The original mode is restored when the `Terminal` is dropped, also by a panic, and at the
//!    latest when its reactor has run the triggers *after* its shutdown. (After a kill the shell
//!    restores it.)
//! 2. The mode is not changed while another job controls the terminal: that would stop this
//!    program, or disturb the other one.
//! 3. Each mode is derived from the original one, so settings that this module does not know stay
//!    as they were.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::process::getpgrp;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetpgrp,
    tcgetwinsize, tcsetattr,
};

use crate::driver::with_blocked;
use crate::failure::Failure;
use crate::reactor::{Phase, Reactor, Trigger};
use crate::signal::Signal;

/// A terminal whose mode can be changed. Dropping it restores the original mode.
///
/// A `Terminal` only sets the mode: the input is read with [`net::Stdio`](crate::net::Stdio).
///
/// # Examples
///
/// ```no_run
/// # use torsade::Failure;
/// use torsade::net::{Stdio, Terminal};
///
/// # fn main() -> Result<(), Failure> {
/// torsade::run(async |reactor| {
///     let terminal = Terminal::stdin(&reactor)?;
///     terminal.raw()?;
///     let mut user = Stdio::new().open(&reactor)?;
///     let mut key = [0];
///     user.read_exact(&mut key).await?;
///     terminal.restore()?;
///     println!("that was {key:?}");
///     Ok(())
/// })
/// # }
/// ```
pub struct Terminal(Rc<Held>);

struct Held {
    fd: OwnedFd,
    found: Termios,
    /// Whether the mode differs from the original one.
    is_changed: Cell<bool>,
    trigger: Cell<Option<Trigger>>,
}

impl Terminal {
    /// Returns the terminal of standard input.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] of kind [`InvalidInput`](io::ErrorKind::InvalidInput) when standard input
    /// is not a terminal.
    #[doc(alias("is_terminal", "isatty"))]
    #[track_caller]
    pub fn stdin(reactor: &Reactor) -> Result<Self, Failure> {
        Self::of(reactor, io::stdin())
    }

    /// Returns the terminal of a descriptor, which is duplicated.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] of kind [`InvalidInput`](io::ErrorKind::InvalidInput) when `fd` is not a
    /// terminal.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Reactor;
    /// use torsade::net::Terminal;
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let file = std::fs::File::open("/dev/null")?;
    /// let failure = Terminal::of(&Reactor::in_memory()?, file).unwrap_err();
    /// assert!(failure.is::<std::io::Error>());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("is_terminal", "isatty"))]
    #[track_caller]
    pub fn of(reactor: &Reactor, fd: impl AsFd) -> Result<Self, Failure> {
        let fd = fd.as_fd();
        if !isatty(fd) {
            return Err(Failure::new(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is not a terminal",
            )));
        }
        let held = Rc::new(Held {
            fd: fd.try_clone_to_owned()?,
            found: tcgetattr(fd).map_err(io::Error::from)?,
            is_changed: Cell::new(false),
            trigger: Cell::new(None),
        });
        let weak = Rc::downgrade(&held);
        let trigger = reactor.add_system_event_trigger(Phase::After, "shutdown", move || {
            if let Some(held) = weak.upgrade() {
                let _ = held.restore();
            }
        });
        held.trigger.set(Some(trigger));
        Ok(Self(held))
    }

    /// Sets raw mode: each key is delivered at once and unchanged, including Ctrl-C, and nothing is
    /// echoed. A written line must end with `\r\n`.
    ///
    /// # Errors
    ///
    /// An error of kind [`ResourceBusy`](io::ErrorKind::ResourceBusy) when another job controls the
    /// terminal, that is, while the program is in the background; the system's error, for example
    /// when the terminal has hung up.
    #[doc(alias("cfmakeraw", "enable_raw_mode"))]
    pub fn raw(&self) -> io::Result<()> {
        let mut mode = self.0.found.clone();
        mode.make_raw();
        self.0.set(&mode)
    }

    /// Sets line mode: a line is delivered when it is complete, can be edited until then, and is
    /// echoed; Ctrl-C interrupts.
    ///
    /// # Errors
    ///
    /// As for [`Terminal::raw`].
    #[doc(alias("cooked", "disable_raw_mode"))]
    pub fn line(&self) -> io::Result<()> {
        let mut mode = self.0.found.clone();
        mode.input_modes |= InputModes::ICRNL;
        mode.output_modes |= OutputModes::OPOST;
        mode.local_modes |=
            LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        self.0.set(&mode)
    }

    /// Restores the original mode. Does nothing if the mode was not changed.
    ///
    /// # Errors
    ///
    /// As for [`Terminal::raw`]: the mode cannot be restored while the program is in the
    /// background, where the shell sets the mode itself.
    pub fn restore(&self) -> io::Result<()> {
        self.0.restore()
    }

    /// Returns the size of the terminal's window, as columns and rows.
    ///
    /// # Errors
    ///
    /// The system's error, for example when the terminal has hung up.
    #[doc(alias("terminalSize", "winsize"))]
    pub fn window_size(&self) -> io::Result<(u16, u16)> {
        let size = tcgetwinsize(&self.0.fd)?;
        Ok((size.ws_col, size.ws_row))
    }
}

impl Held {
    fn set(&self, mode: &Termios) -> io::Result<()> {
        self.apply(mode)?;
        self.is_changed.set(true);
        Ok(())
    }

    fn restore(&self) -> io::Result<()> {
        if self.is_changed.get() {
            self.apply(&self.found)?;
            self.is_changed.set(false);
        }
        Ok(())
    }

    /// Sets the mode, unless that would stop this program (invariant 2).
    fn apply(&self, mode: &Termios) -> io::Result<()> {
        // An error means that the terminal is not this session's controlling terminal; then no job
        // controls it.
        let foreground = tcgetpgrp(&self.fd);
        if foreground.is_ok_and(|group| group != getpgrp()) {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "cannot change the terminal's mode: another job controls the terminal",
            ));
        }
        // Another job may have taken control since the check: then the mode is still set, and the
        // program is not stopped.
        let set = || tcsetattr(&self.fd, OptionalActions::Now, mode);
        Ok(with_blocked(Signal::TTOU, set)?)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.restore();
        if let Some(trigger) = self.trigger.take() {
            trigger.remove();
        }
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal")
            .field("is_changed", &self.0.is_changed)
            .finish_non_exhaustive()
    }
}
