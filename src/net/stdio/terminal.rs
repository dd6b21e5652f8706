//! The mode of a terminal: [`Terminal`].
//!
//! # Invariants
//!
//! 1. The mode it was found in comes back when the `Terminal` is dropped, and at the latest when its reactor has run the
//!    triggers *after* its shutdown; a panic drops it as well. (After a kill it is for the shell to set.)
//! 2. A terminal that is in the hands of another job is left alone: to set its mode would stop this program, or disturb the
//!    other one.
//! 3. Each mode is made of the one it was found in, so what this room does not know of stays as it was.

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
use crate::failure::{Failure, errors};
use crate::reactor::{Phase, Reactor, Trigger};
use crate::signal::Signal;

/// A terminal whose mode may be changed. Dropping it brings back the mode it was found in.
///
/// It only sets the mode: what is typed is read from [`net::Stdio`](crate::net::Stdio).
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
#[doc(alias("setRawMode", "tty", "termios", "insults"))]
pub struct Terminal(Rc<Held>);

struct Held {
    fd: OwnedFd,
    found: Termios,
    /// It is in another mode than it was found in.
    is_changed: Cell<bool>,
    trigger: Cell<Option<Trigger>>,
}

/// What was to be a terminal is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotATerminal;

/// A terminal's mode was not changed, because this program is in the background: another job has the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InBackground;

impl Terminal {
    /// Returns the terminal that standard input is, to change its mode.
    ///
    /// # Errors
    ///
    /// [`NotATerminal`] when standard input is a pipe, a file or the like.
    #[doc(alias("is_terminal", "isatty"))]
    #[track_caller]
    pub fn stdin(reactor: &Reactor) -> Result<Self, Failure> {
        Self::of(reactor, io::stdin())
    }

    /// Returns the terminal that `fd` is. It keeps a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// [`NotATerminal`] when `fd` is something else.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::Reactor;
    /// use torsade::net::{NotATerminal, Terminal};
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let file = std::fs::File::open("/dev/null")?;
    /// let failure = Terminal::of(&Reactor::in_memory()?, file).unwrap_err();
    /// assert!(failure.is::<NotATerminal>());
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("is_terminal", "isatty"))]
    #[track_caller]
    pub fn of(reactor: &Reactor, fd: impl AsFd) -> Result<Self, Failure> {
        let fd = fd.as_fd();
        if !isatty(fd) {
            return Err(Failure::new(NotATerminal));
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

    /// Raw mode: each key comes at once and as it is, Ctrl-C among them, and nothing is echoed. A line that is written
    /// needs its `\r\n`.
    ///
    /// # Errors
    ///
    /// [`InBackground`], inside an [`io::Error`], when the terminal is in the hands of another job; the system's, as when
    /// the terminal has been hung up.
    #[doc(alias("setRawMode", "cfmakeraw", "enable_raw_mode"))]
    pub fn raw(&self) -> io::Result<()> {
        let mut mode = self.0.found.clone();
        mode.make_raw();
        self.0.set(&mode)
    }

    /// Line mode: a line comes when it is finished, can be corrected until then, and is echoed; Ctrl-C interrupts.
    ///
    /// # Errors
    ///
    /// As for [`Terminal::raw`].
    #[doc(alias("setLineMode", "cooked", "disable_raw_mode"))]
    pub fn line(&self) -> io::Result<()> {
        let mut mode = self.0.found.clone();
        mode.input_modes |= InputModes::ICRNL;
        mode.output_modes |= OutputModes::OPOST;
        mode.local_modes |=
            LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        self.0.set(&mode)
    }

    /// The mode it was found in. While the program is in the background nothing is changed: a shell sets the mode that it
    /// needs itself.
    ///
    /// # Errors
    ///
    /// As for [`Terminal::raw`].
    pub fn restore(&self) -> io::Result<()> {
        self.0.restore()
    }

    /// How many columns and rows its window has.
    ///
    /// # Errors
    ///
    /// As for [`Terminal::raw`].
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
        // A terminal that controls no processes, or not these, asks for no such care.
        let foreground = tcgetpgrp(&self.fd);
        if foreground.is_ok_and(|group| group != getpgrp()) {
            return Err(io::Error::other(InBackground));
        }
        // It may have changed hands since it was asked: then the mode is set all the same, and nobody is stopped.
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

errors! {
    NotATerminal: "this is no terminal";
    InBackground: "the terminal is in the hands of another job";
}
