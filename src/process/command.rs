//! A description of a program to start: [`Command`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::driver::{ChildFd, Launch, Pty};

/// A program to start, with its arguments, environment and descriptors.
///
/// By default the program has this process's environment, directory, user and groups, and three
/// descriptors, each a pipe: descriptor 0, which this process writes, and 1 and 2, which this
/// process reads. It has no other descriptors. The program starts with no signal blocked or
/// ignored, whatever the state in this process. [`Command::status`] and [`Command::connect`] have
/// other defaults for the descriptors.
///
/// Twisted gives a program an empty environment by default; here, as in `std`, the program has the
/// environment of this process, which [`Command::env_clear`], [`Command::env`] and
/// [`Command::env_remove`] change.
///
/// The methods take the command and return it, unlike those of `std`:
/// `command = command.arg("-l")`.
///
/// # Examples
///
/// ```
/// use torsade::process::{ChildFd, Command};
///
/// let command = Command::new("gpg")
///     .args(["--decrypt", "--passphrase-fd", "3", "--status-fd", "4"])
///     .env_clear()
///     .env("HOME", "/var/lib/keys")
///     .child_fd(3, ChildFd::Write)
///     .child_fd(4, ChildFd::Read);
/// assert_eq!(command.program(), "gpg");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a command does nothing until it is given to a reactor"]
pub struct Command {
    program: OsString,
    arg0: Option<OsString>,
    args: Vec<OsString>,
    /// Whether the environment consists only of `env`, without this process's variables.
    env_is_cleared: bool,
    /// The variables to set, and, with `None`, to remove.
    env: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
    groups: Option<Vec<u32>>,
    gid: Option<u32>,
    uid: Option<u32>,
    /// The descriptors, by number; with `None` a descriptor is a pipe, or inherited.
    fds: Vec<(i32, Option<ChildFd>)>,
    inherits: bool,
    has_stream: bool,
    pty: Option<Pty>,
    leads_group: bool,
    pub(super) kills_on_drop: bool,
    pub(super) input: Option<Vec<u8>>,
    pub(super) output_limit: usize,
}

impl Command {
    /// Makes a command for a program: a path when `program` contains a slash, otherwise a name,
    /// which is looked up in the directories of the `PATH` that the child will have.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arg0: None,
            args: Vec::new(),
            env_is_cleared: false,
            env: Vec::new(),
            directory: None,
            groups: None,
            gid: None,
            uid: None,
            fds: vec![(0, None), (1, None), (2, None)],
            inherits: false,
            has_stream: false,
            pty: None,
            leads_group: false,
            kills_on_drop: false,
            input: None,
            output_limit: OUTPUT_LIMIT,
        }
    }

    /// Returns the program.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the name that the program gets as its argument 0. Default: `program`, as passed to
    /// [`Command::new`].
    #[doc(alias = "argv")]
    pub fn arg0(mut self, name: impl Into<OsString>) -> Self {
        self.arg0 = Some(name.into());
        self
    }

    /// Sets an environment variable of the program.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Sets environment variables.
    pub fn envs<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        self.env
            .extend(variables.map(|(name, value)| (name.into(), Some(value.into()))));
        self
    }

    /// Removes a variable from the program's environment.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Clears the environment: the program gets none of this process's variables, and none that
    /// were set before.
    pub fn env_clear(mut self) -> Self {
        self.env_is_cleared = true;
        self.env.clear();
        self
    }

    /// Sets the program's working directory. If the program is given as a relative path with a
    /// slash, the path is resolved from this directory.
    #[doc(alias("cwd", "path", "chdir"))]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets the program's user id. Only root may change it. The program then has no supplementary
    /// groups unless [`Command::groups`] sets some.
    #[doc(alias("setuid", "user"))]
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Sets the program's group id. See [`Command::uid`].
    #[doc(alias("setgid", "group"))]
    pub fn gid(mut self, gid: u32) -> Self {
        self.gid = Some(gid);
        self
    }

    /// Sets the program's supplementary groups. See [`Command::uid`].
    #[doc(alias("setgroups", "extra_groups"))]
    pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
        self.groups = Some(groups.into_iter().collect());
        self
    }

    /// Sets the program's descriptor `number`, in place of the default: a [`ChildFd`], or an open
    /// file, socket or other value that converts to an `OwnedFd`.
    pub fn child_fd(mut self, number: i32, fd: impl Into<ChildFd>) -> Self {
        self.fds.retain(|(other, _)| *other != number);
        self.fds.push((number, Some(fd.into())));
        self
    }

    /// Starts the program without descriptor `number`.
    pub fn no_child_fd(mut self, number: i32) -> Self {
        self.fds.retain(|(other, _)| *other != number);
        self
    }

    /// Sets all descriptors of the program, in place of the defaults and of earlier settings
    /// (Twisted's `childFDs`).
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::process::{ChildFd, Command};
    ///
    /// // Pipes for input and output; standard error is inherited.
    /// let command = Command::new("sort")
    ///     .child_fds([(0, ChildFd::Write), (1, ChildFd::Read), (2, ChildFd::Inherit)]);
    /// # let _ = command;
    /// ```
    #[doc(alias("childFDs", "pass_fds"))]
    pub fn child_fds(mut self, fds: impl IntoIterator<Item = (i32, ChildFd)>) -> Self {
        self.fds.clear();
        fds.into_iter()
            .fold(self, |this, (number, fd)| this.child_fd(number, fd))
    }

    /// Runs the program in a new session with a new terminal of 24 rows and 80 columns, which
    /// replaces its descriptors 0, 1 and 2.
    ///
    /// Everything that the program writes to the terminal arrives as data of descriptor 1. The
    /// terminal echoes its input, and turns `\n` into `\r\n`.
    #[doc(alias("usePTY", "openpty", "forkpty"))]
    pub fn pty(self) -> Self {
        self.pty_of_size(24, 80)
    }

    /// Runs the program on a new terminal of this size; see [`Command::pty`].
    pub fn pty_of_size(mut self, rows: u16, columns: u16) -> Self {
        self.pty = Some(Pty { rows, columns });
        self
    }

    /// Makes the program the leader of a process group: the processes that it starts can be killed
    /// with it, and Ctrl-C at this process's terminal does not reach it. A program with a terminal
    /// ([`Command::pty`]) leads a group in any case.
    #[doc(alias("setpgid", "process_group", "start_new_session"))]
    pub fn lead_group(mut self) -> Self {
        self.leads_group = true;
        self
    }

    /// Sets whether the program is killed when its [`Child`](super::Child) is dropped or the
    /// reactor ends. Default: `false`.
    #[doc(alias = "killOnDrop")]
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kills_on_drop = kill;
        self
    }

    /// Sets the bytes that [`Command::output`] writes to the program's descriptor 0 before closing
    /// it. Default: none, so the descriptor is closed at once. Only `output` writes them: with an
    /// input, every other method fails with
    /// [`ProcessError::NotStarted`](super::ProcessError::NotStarted); so does `output` when
    /// descriptor 0 is neither a pipe nor a terminal.
    #[doc(alias("stdinBytes", "communicate"))]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Sets the largest number of bytes of standard output and standard error together that
    /// [`Command::output`] keeps. When the program writes more, it is killed, and `output` fails
    /// with [`ProcessError::OutputTooLong`](super::ProcessError::OutputTooLong). Default: 64 MiB.
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Takes the input, if descriptor 0 can be written. A remaining input is an error.
    pub(super) fn take_input(&mut self) -> Option<Vec<u8>> {
        let said = self.fds.iter().find(|(number, _)| *number == 0);
        let is_written = matches!(said, Some((_, None | Some(ChildFd::Write))));
        match is_written || self.has_terminal() {
            true => self.input.take(),
            false => None,
        }
    }

    /// Fails for settings that would be ignored.
    pub(super) fn check(&self) -> io::Result<()> {
        // A descriptor without a setting exists, and has the default kind.
        let is_unsaid = |number| {
            matches!(
                self.fds.iter().find(|(other, _)| *other == number),
                Some((_, None))
            )
        };
        let text = if self.input.is_some() {
            "it has an input, which only `Command::output` writes"
        } else if self.has_stream && !(is_unsaid(0) && is_unsaid(1)) {
            "descriptors 0 and 1 are set, which are the connection here"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// Returns the command in the driver's terms.
    pub(super) fn launch(&self) -> Launch<'_> {
        let name = self.arg0.as_deref().unwrap_or(&self.program);
        let args = self.args.iter().map(OsString::as_os_str);
        Launch {
            program: &self.program,
            args: [name].into_iter().chain(args).collect(),
            env: self.environment(),
            directory: self.directory.as_deref().map(Path::as_ref),
            groups: self.groups.clone(),
            gid: self.gid,
            uid: self.uid,
            fds: self.choices(),
            pty: self.pty,
            has_stream: self.has_stream,
            leads_group: self.leads_group,
        }
    }

    /// Returns whether the program leads a process group or a session.
    pub(super) fn leads(&self) -> bool {
        self.leads_group || self.pty.is_some()
    }

    /// Returns the descriptors that were chosen, without those that a terminal or a stream
    /// replaces.
    fn choices(&self) -> Vec<(i32, ChildFd)> {
        let taken = match (self.has_terminal(), self.has_stream) {
            (true, _) => 0..3,
            (false, true) => 0..2,
            (false, false) => 0..0,
        };
        let own = |number: &i32| !taken.contains(number);
        let fds = self.fds.iter().filter(|(number, _)| own(number));
        fds.map(|(number, fd)| {
            let fd = match (fd, self.inherits, number) {
                (Some(fd), ..) => fd.clone(),
                (None, true, _) => ChildFd::Inherit,
                (None, false, 0) => ChildFd::Write,
                (None, false, _) => ChildFd::Read,
            };
            (*number, fd)
        })
        .collect()
    }

    /// Makes the program inherit the descriptors that were not set.
    pub(super) fn or_inherit(mut self) -> Self {
        self.inherits = true;
        self
    }

    /// Makes one connection of the program's standard input and output. Standard error is
    /// inherited.
    pub(super) fn with_stream(mut self) -> Self {
        // A terminal serves both directions already.
        self.has_stream = !self.has_terminal();
        self.or_inherit()
    }

    /// Returns whether this process writes the program's descriptor `number`.
    pub(super) fn writes(&self, number: i32) -> bool {
        !self.reads(number) || (number == 1 && self.is_duplex())
    }

    /// Returns whether one connection serves both directions.
    pub(super) fn is_duplex(&self) -> bool {
        self.has_stream || self.has_terminal()
    }

    /// Returns whether this process reads the program's descriptor `number`.
    pub(super) fn reads(&self, number: i32) -> bool {
        let said = self.fds.iter().find(|(other, _)| *other == number);
        match said {
            _ if number == 1 && self.is_duplex() => true,
            Some((_, Some(fd))) => matches!(fd, ChildFd::Read),
            _ => number != 0,
        }
    }

    pub(super) fn has_terminal(&self) -> bool {
        self.pty.is_some()
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut all = Vec::new();
        if !self.env_is_cleared {
            all.extend(std::env::vars_os());
        }
        for (name, value) in &self.env {
            all.retain(|(other, _)| other != name);
            if let Some(value) = value {
                all.push((name.clone(), value.clone()));
            }
        }
        all
    }
}

/// The default of [`Command::output_limit`].
const OUTPUT_LIMIT: usize = 64 * 1024 * 1024;
