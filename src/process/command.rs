//! What is to be started, and how: [`Command`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::driver::{ChildFd, Launch, Pty};

/// A program to be started, with all that is to be known about it.
///
/// Unless it is said otherwise it has our environment and directory, is of our user and groups, and has three descriptors, each
/// of them a pipe: 0 for us to write, 1 and 2 for us to read. It has no others. No signal is blocked in it or ignored, whatever
/// is so in this program.
///
/// Twisted gives a program an empty environment unless it is given another; here it has ours, as everywhere else, and another one is
/// chosen by [`Command::env_clear`], [`Command::env`] and [`Command::env_remove`].
///
/// Its methods take it and give it back, unlike those of `std`: `command = command.arg("-l")`.
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
#[doc(alias("spawnProcess", "create_subprocess_exec", "Popen", "subprocess"))]
#[derive(Clone, Debug)]
#[must_use = "a command does nothing until it is given to a reactor"]
pub struct Command {
    program: OsString,
    arg0: Option<OsString>,
    args: Vec<OsString>,
    /// Not ours, but only what is in `env`.
    env_is_cleared: bool,
    /// What is set, and, without a value, what is taken out.
    env: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
    groups: Option<Vec<u32>>,
    gid: Option<u32>,
    uid: Option<u32>,
    /// What it has under which number; without a choice it is a pipe, or our own.
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
    /// A program: by its path if there is a slash in it, else it is looked for along the `PATH` that the child will have.
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

    /// The program.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// What the program is told that it is called, in place of its name.
    #[doc(alias = "argv")]
    pub fn arg0(mut self, name: impl Into<OsString>) -> Self {
        self.arg0 = Some(name.into());
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Sets variables of its environment.
    pub fn envs<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        self.env
            .extend(variables.map(|(name, value)| (name.into(), Some(value.into()))));
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Empties its environment: it has none of ours, and nothing that was set before.
    pub fn env_clear(mut self) -> Self {
        self.env_is_cleared = true;
        self.env.clear();
        self
    }

    /// Where it begins. A program with a slash in its path that does not begin with one is looked for from there.
    #[doc(alias("cwd", "path", "chdir"))]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The user that it is. Who is not root cannot change that. Unless [`Command::groups`] says otherwise it then has
    /// no supplementary groups.
    #[doc(alias("setuid", "user"))]
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// The group that it is of. See [`Command::uid`].
    #[doc(alias("setgid", "group"))]
    pub fn gid(mut self, gid: u32) -> Self {
        self.gid = Some(gid);
        self
    }

    /// Its supplementary groups. See [`Command::uid`].
    #[doc(alias("setgroups", "extra_groups"))]
    pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
        self.groups = Some(groups.into_iter().collect());
        self
    }

    /// What it has under a number, in place of what it would have had.
    pub fn child_fd(mut self, number: i32, fd: impl Into<ChildFd>) -> Self {
        self.fds.retain(|(other, _)| *other != number);
        self.fds.push((number, Some(fd.into())));
        self
    }

    /// Has this number closed in it.
    pub fn no_child_fd(mut self, number: i32) -> Self {
        self.fds.retain(|(other, _)| *other != number);
        self
    }

    /// All the descriptors it has: Twisted's `childFDs`.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::process::{ChildFd, Command};
    ///
    /// // A pipe each for input and output, and its errors where ours go.
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

    /// Runs it on a terminal of its own, of 24 rows and 80 columns, which is its 0, 1 and 2 whatever was said of these, in a session
    /// of its own.
    ///
    /// All that it writes comes under the number 1. The terminal does what terminals do: it echoes, and makes `\r\n` of `\n`.
    #[doc(alias("usePTY", "openpty", "forkpty"))]
    pub fn pty(self) -> Self {
        self.pty_of_size(24, 80)
    }

    /// As [`Command::pty`], with a terminal of this size.
    pub fn pty_of_size(mut self, rows: u16, columns: u16) -> Self {
        self.pty = Some(Pty { rows, columns });
        self
    }

    /// Has it lead a group of processes: what it starts can be killed with it, and Ctrl-C at our terminal does not
    /// reach it. With a terminal of its own it does in any case.
    #[doc(alias("setpgid", "process_group", "start_new_session"))]
    pub fn lead_group(mut self) -> Self {
        self.leads_group = true;
        self
    }

    /// Has it killed when nobody can ask for it any more: when its [`Child`](super::Child) is dropped, or the reactor ends.
    #[doc(alias = "killOnDrop")]
    pub fn kill_on_drop(mut self, kill: bool) -> Self {
        self.kills_on_drop = kill;
        self
    }

    /// What [`Command::output`](crate::process::Command::output) writes to its descriptor 0 before closing that. Without any that is
    /// closed at once. Nobody else writes it, so with an input no other call starts a program; nor does that one where 0 is neither
    /// a pipe nor a terminal.
    #[doc(alias("stdinBytes", "communicate"))]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// How many bytes [`Command::output`](crate::process::Command::output) keeps; more than that is an error, and the process is
    /// killed. 64 MiB unless this is said.
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// The input, if there is something under 0 that it can be written to; what is left is a mistake.
    pub(super) fn take_input(&mut self) -> Option<Vec<u8>> {
        let said = self.fds.iter().find(|(number, _)| *number == 0);
        let is_written = matches!(said, Some((_, None | Some(ChildFd::Write))));
        match is_written || self.has_terminal() {
            true => self.input.take(),
            false => None,
        }
    }

    /// Refuses what would be ignored, and was certainly not meant to be.
    pub(super) fn check(&self) -> io::Result<()> {
        // Where nothing was said of one it is there, and is nothing in particular.
        let is_unsaid = |number| {
            matches!(
                self.fds.iter().find(|(other, _)| *other == number),
                Some((_, None))
            )
        };
        let text = if self.input.is_some() {
            "it has an input that nobody would write"
        } else if self.has_stream && !(is_unsaid(0) && is_unsaid(1)) {
            "its descriptors 0 and 1 are the connection"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// For the driver.
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

    /// Does it lead a group of processes, or a session?
    pub(super) fn leads(&self) -> bool {
        self.leads_group || self.pty.is_some()
    }

    /// What it has under which number, but for a terminal, which is under the first three, and a stream, which is under the
    /// first two.
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

    /// The descriptors that nothing was said of are our own.
    pub(super) fn or_inherit(mut self) -> Self {
        self.inherits = true;
        self
    }

    /// Its standard input and output are one connection. Its errors go where ours go.
    pub(super) fn with_stream(mut self) -> Self {
        // A terminal is one already.
        self.has_stream = !self.has_terminal();
        self.or_inherit()
    }

    /// Is what it has under this number to be written by us?
    pub(super) fn writes(&self, number: i32) -> bool {
        !self.reads(number) || (number == 1 && self.is_duplex())
    }

    /// Is there one connection for both directions?
    pub(super) fn is_duplex(&self) -> bool {
        self.has_stream || self.has_terminal()
    }

    /// Is what it has under this number to be read by us?
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

/// How much of an output is kept unless it was said.
const OUTPUT_LIMIT: usize = 64 * 1024 * 1024;
