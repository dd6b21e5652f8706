//! Starts programs with exactly the descriptors that they are to have.
//!
//! A [`Launch`] describes a program to be started; starting it makes a [`Child`] and a socket for
//! each pipe to the child. All descriptors made here are close-on-exec, so that no other child gets
//! them. A launch that fails leaves neither a child nor a descriptor behind.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{getegid, geteuid};

use super::child::Child;
use super::fork::{self, Identity, Leader, Plan, Refused, Step};
use super::pipe::{pipe, set_nonblocking};
use super::pty::{Pty, open_pty};
use crate::driver::descriptors::pair::Pair;
use crate::driver::socket::Socket;

/// A program to be started.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The program: a path if it contains a slash, else a name that is searched along the `PATH` of
    /// `env`.
    pub(crate) program: &'a OsStr,
    /// The arguments, `argv[0]` included.
    pub(crate) args: Vec<&'a OsStr>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) directory: Option<&'a Path>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) gid: Option<u32>,
    pub(crate) uid: Option<u32>,
    /// The child's descriptors, by number. With a terminal these do not include 0, 1 and 2.
    pub(crate) fds: Vec<(RawFd, ChildFd)>,
    pub(crate) pty: Option<Pty>,
    /// Whether descriptors 0 and 1 of the child are one socket, listed as 1; the others do not
    /// include them then.
    pub(crate) has_stream: bool,
    /// Whether the child leads a process group. (With a terminal it leads a session.)
    pub(crate) leads_group: bool,
}

/// The file or pipe that a child process has as one of its descriptors. Every value that converts
/// to an `OwnedFd`, such as a `File`, converts to [`ChildFd::Given`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChildFd {
    /// A pipe that this process writes and the child reads: Twisted's `"w"`.
    Write,
    /// A pipe that the child writes and this process reads: Twisted's `"r"`.
    Read,
    /// `/dev/null`: reading finds the end of file, and written bytes are discarded.
    #[doc(alias = "DEVNULL")]
    Null,
    /// This process's descriptor of the same number, such as its terminal.
    Inherit,
    /// A descriptor of this process, with any number. It is closed in this process when the last
    /// clone of this value is dropped.
    Given(Arc<OwnedFd>),
}

impl ChildFd {
    /// Makes a [`ChildFd`] of a copy of an open descriptor.
    ///
    /// # Errors
    ///
    /// Fails with the system's error when the descriptor cannot be copied.
    #[doc(alias = "dup2")]
    pub fn copy_of(fd: impl AsFd) -> io::Result<Self> {
        Ok(fd.as_fd().try_clone_to_owned()?.into())
    }
}

impl<F: Into<OwnedFd>> From<F> for ChildFd {
    fn from(fd: F) -> Self {
        Self::Given(Arc::new(fd.into()))
    }
}

/// A started child, and this process's ends of its pipes.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) pipes: Sockets,
}

/// This process's ends of the pipes, by the child's descriptor numbers. A terminal has number 1.
pub(crate) type Sockets = Vec<(RawFd, Socket)>;

/// The reason why no child was started.
#[derive(Debug)]
pub(crate) struct NotLaunched {
    /// The step that failed.
    pub(crate) step: &'static str,
    pub(crate) error: io::Error,
}

/// A child's descriptors while they are being made.
#[derive(Default)]
struct Ends {
    pipes: Sockets,
    /// The descriptors that the child gets.
    descriptors: Vec<(RawFd, RawFd)>,
    /// The descriptors that are open until the child has its copies.
    made: Vec<OwnedFd>,
}

impl Launch<'_> {
    /// Starts the program. The program has begun when this returns.
    pub(crate) fn start(&self) -> Result<Launched, NotLaunched> {
        let ends = self.make_ends().map_err(at("creating its descriptors"))?;
        let leads = match (self.pty, self.leads_group) {
            (Some(_), _) => Leader::Session(Some(0)),
            (None, true) => Leader::Group,
            (None, false) => Leader::Nothing,
        };
        let plan = self
            .plan(&ends, leads)
            .map_err(at("checking the command"))?;
        let forked = fork::fork(&plan).map_err(NotLaunched::from)?;
        let child = Child::new(forked).map_err(at("watching it"))?;
        Ok(Launched {
            child,
            pipes: ends.pipes,
        })
    }

    fn make_ends(&self) -> io::Result<Ends> {
        let mut ends = Ends::default();
        if let Some(size) = self.pty {
            let (master, slave) = open_pty(size)?;
            ends.give_all(&slave, &[0, 1, 2]);
            ends.made.push(slave);
            let pair = Pair::new(Some(master.try_clone()?), Some(master))?;
            ends.pipes.push((1, Socket::Pair(Box::new(pair))));
        }
        if self.has_stream {
            let (stdin, to_child) = pipe()?;
            let (from_child, stdout) = pipe()?;
            set_nonblocking(&to_child)?;
            set_nonblocking(&from_child)?;
            ends.give_all(&stdin, &[0]);
            ends.made.push(stdin);
            ends.add_pipe(1, stdout, Pair::new(Some(from_child), Some(to_child))?);
        }
        for (number, fd) in &self.fds {
            let number = *number;
            match fd {
                ChildFd::Write => {
                    let (theirs, ours) = pipe()?;
                    set_nonblocking(&ours)?;
                    ends.add_pipe(number, theirs, Pair::new(None, Some(ours))?);
                }
                ChildFd::Read => {
                    let (ours, theirs) = pipe()?;
                    set_nonblocking(&ours)?;
                    ends.add_pipe(number, theirs, Pair::new(Some(ours), None)?);
                }
                ChildFd::Null => {
                    let flags = OFlags::RDWR | OFlags::CLOEXEC;
                    let null = open("/dev/null", flags, Mode::empty())?;
                    ends.give_all(&null, &[number]);
                    ends.made.push(null);
                }
                ChildFd::Inherit => ends.descriptors.push((number, number)),
                ChildFd::Given(fd) => ends.give_all(fd, &[number]),
            }
        }
        Ok(ends)
    }

    fn plan(&self, ends: &Ends, leads: Leader) -> io::Result<Plan> {
        let args = self.args.iter().map(|arg| c_string("an argument", arg));
        let mut env = Vec::with_capacity(self.env.len());
        for (name, value) in &self.env {
            let mut entry = name.clone().into_vec();
            if entry.is_empty() || entry[1..].contains(&b'=') {
                let text = format!("an environment variable cannot be named {name:?}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            env.push(c_string("the environment", OsStr::from_bytes(&entry))?);
        }
        let directory = self.directory.map(Path::as_os_str);
        let in_directory = |path: &OsStr| c_string("the directory", path);
        Ok(Plan {
            programs: self.candidates()?,
            args: args.collect::<io::Result<_>>()?,
            env,
            directory: directory.map(in_directory).transpose()?,
            identity: self.identity(),
            descriptors: ends.descriptors.clone(),
            leads,
        })
    }

    /// Returns the user and groups of the child. Only the requested supplementary groups are set;
    /// without a request the child keeps this process's effective user, even where this process
    /// could become root again.
    fn identity(&self) -> Option<Identity> {
        if self.uid.is_none() && self.gid.is_none() && self.groups.is_none() {
            return None;
        }
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let ptr_eq =
            self.uid.is_none_or(|asked| asked == uid) && self.gid.is_none_or(|asked| asked == gid);
        Some(Identity {
            may_keep_groups: ptr_eq && self.groups.is_none(),
            groups: self.groups.clone().unwrap_or_default(),
            gid: self.gid,
            uid: self.uid.unwrap_or(uid),
        })
    }

    /// Returns the paths where the program may be.
    fn candidates(&self) -> io::Result<Vec<CString>> {
        if self.program.is_empty() {
            let text = "a program's name is not empty";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if self.program.as_bytes().contains(&b'/') {
            return Ok(vec![c_string("the program", self.program)?]);
        }
        let path = self.env.iter().rfind(|(name, _)| name == "PATH");
        let path = path.map_or_else(|| OsStr::new(USUAL_PATH), |(_, path)| path);
        let places = path.as_bytes().split(|byte| *byte == b':');
        places
            .map(|location| {
                let location = match location {
                    [] => Path::new("."),
                    location => Path::new(OsStr::from_bytes(location)),
                };
                c_string("the program", location.join(self.program).as_os_str())
            })
            .collect()
    }
}

impl Ends {
    fn add_pipe(&mut self, number: RawFd, theirs: OwnedFd, ours: Pair) {
        self.give_all(&theirs, &[number]);
        self.made.push(theirs);
        self.pipes.push((number, Socket::Pair(Box::new(ours))));
    }

    fn give_all(&mut self, fd: &impl AsFd, numbers: &[RawFd]) {
        let fd = fd.as_fd().as_raw_fd();
        self.descriptors
            .extend(numbers.iter().map(|number| (fd, *number)));
    }
}

impl From<Refused> for NotLaunched {
    fn from(refused: Refused) -> Self {
        let step = match refused.step {
            Step::Fork => "creating a process",
            Step::Lead => "making it a leader",
            Step::Descriptors => "passing its descriptors",
            Step::Terminal => "setting its terminal",
            Step::Directory => "changing to its directory",
            Step::Identity => "setting its user and groups",
            Step::Run => "executing it",
        };
        Self {
            step,
            error: refused.error,
        }
    }
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> NotLaunched {
    move |error| NotLaunched { step, error }
}

fn c_string(what: &str, string: &OsStr) -> io::Result<CString> {
    CString::new(string.as_bytes()).map_err(|_| {
        let text = format!("{what} contains a NUL: {string:?}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

/// The search path when the environment has no `PATH`.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

#[cfg(all(test, not(torsade_loom)))]
mod tests;
