//! Other programs: started with just the descriptors they are to have, watched for their end, signalled.
//!
//! # The idea
//!
//! A [`Launch`] says all about a program to be started; what comes of it is a [`Child`] and a socket for each pipe to it. A
//! child is watched through a descriptor that becomes readable when it ends: on Linux its *pidfd*, elsewhere the end of
//! a pipe that a thread of its own holds while it waits. No signal is caught for this, and nobody else's children are
//! waited for.
//!
//! # Invariants
//!
//! 1. All descriptors made here are closed on exec, so that no other child gets them.
//! 2. A child is waited for once: on the loop's thread, or by the keeper of orphans when that has left it. Before that its
//!    number is its own, so a signal never goes to another process. (Somebody else in this program may wait for it, or the system
//!    where SIGCHLD is ignored. Where it comes with its pidfd, that is never another's; elsewhere its number may be.)
//! 3. Of a launch that fails nothing is left: no child, no descriptor.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;

#[cfg(target_os = "linux")]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
#[cfg(target_os = "linux")]
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::process::WaitIdStatus;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, getegid, geteuid, waitid, waitpid};
use rustix::termios::{Winsize, tcsetwinsize};

use super::fork::{self, Forked, Identity, Leads, Plan, Refused, Step};
use super::pair::Pair;
use super::{Name, Socket, Source};

/// All about a program to be started.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// What to run: a path if it has a slash, else it is looked for along the `PATH` of `env`.
    pub(crate) program: &'a OsStr,
    /// Its arguments, the name it is called by among them.
    pub(crate) args: Vec<&'a OsStr>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) directory: Option<&'a Path>,
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) gid: Option<u32>,
    pub(crate) uid: Option<u32>,
    /// Which descriptors it has, by number. With a terminal these are none of 0, 1 and 2.
    pub(crate) fds: Vec<(RawFd, ChildFd)>,
    pub(crate) pty: Option<Pty>,
    /// Its 0 and 1 are one connection, under 1; none of the others are these.
    pub(crate) has_stream: bool,
    /// It leads a group of processes. (With a terminal it leads a session.)
    pub(crate) leads_group: bool,
}

/// What a child has under the number of a descriptor.
#[doc(alias("childFDs", "pass_fds", "Stdio"))]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChildFd {
    /// A pipe that we write and the child reads: Twisted's `"w"`.
    Write,
    /// A pipe that the child writes and we read: Twisted's `"r"`.
    Read,
    /// `/dev/null`: nothing comes, and what is written is thrown away.
    #[doc(alias = "DEVNULL")]
    Null,
    /// What this program has under the same number: its terminal, say.
    Inherit,
    /// A descriptor of ours, whatever its number is here. It is closed here with the last clone of this.
    Given(Arc<OwnedFd>),
}

impl ChildFd {
    /// A copy of a descriptor that is open here.
    ///
    /// # Errors
    ///
    /// The system's, when it cannot be copied.
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

/// A terminal of its own: of so many rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pty {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// What came of a launch.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) child: Child,
    /// Our ends, by the numbers that the child has. A terminal is under 1.
    pub(crate) pipes: Vec<(RawFd, Socket)>,
}

/// Why nothing was started.
#[derive(Debug)]
pub(crate) struct NotLaunched {
    /// What was being done.
    pub(crate) step: &'static str,
    pub(crate) error: io::Error,
}

/// A child that has not been waited for.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    watch: Watch,
}

/// What tells of its end by becoming readable.
#[derive(Debug)]
enum Watch {
    #[cfg(target_os = "linux")]
    PidFd(OwnedFd),
    /// A thread holds the other end of this pipe while it waits.
    Thread(OwnedFd),
}

/// How long a child is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    None,
    Endless,
}

/// A child's descriptors, while they are being made.
#[derive(Default)]
struct Ends {
    /// Ours, by the child's numbers.
    pipes: Vec<(RawFd, Socket)>,
    /// What the child gets.
    descriptors: Vec<(RawFd, RawFd)>,
    /// Kept open until it has them.
    made: Vec<OwnedFd>,
}

impl Launch<'_> {
    /// Starts it. When this returns the program has begun.
    pub(crate) fn start(&self) -> Result<Launched, NotLaunched> {
        let ends = self.make_ends().map_err(at("making its descriptors"))?;
        let leads = match (self.pty, self.leads_group) {
            (Some(_), _) => Leads::Session(Some(0)),
            (None, true) => Leads::Group,
            (None, false) => Leads::Nothing,
        };
        let plan = self.plan(&ends, leads).map_err(at("reading what to run"))?;
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

    fn plan(&self, ends: &Ends, leads: Leads) -> io::Result<Plan> {
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

    /// Who it becomes. It has no other groups than those that were said, and is, if nothing was said, who we are now: also when
    /// we could be root again.
    fn identity(&self) -> Option<Identity> {
        if self.uid.is_none() && self.gid.is_none() && self.groups.is_none() {
            return None;
        }
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let is_same =
            self.uid.is_none_or(|asked| asked == uid) && self.gid.is_none_or(|asked| asked == gid);
        Some(Identity {
            may_keep_groups: is_same && self.groups.is_none(),
            groups: self.groups.clone().unwrap_or_default(),
            gid: self.gid,
            uid: self.uid.unwrap_or(uid),
        })
    }

    /// Where the program may be.
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
            .map(|place| {
                let place = match place {
                    [] => Path::new("."),
                    place => Path::new(OsStr::from_bytes(place)),
                };
                c_string("the program", place.join(self.program).as_os_str())
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

impl Child {
    /// Watches a child; if it cannot be watched, there is none (invariant 3).
    fn new(forked: Forked) -> io::Result<Self> {
        let pid = forked.pid;
        #[cfg(target_os = "linux")]
        if let Some(pidfd) = forked.pidfd.filter(can_be_watched) {
            let watch = Watch::PidFd(pidfd);
            return Ok(Self { pid, watch });
        }
        match Watch::new(pid) {
            Ok(watch) => Ok(Self { pid, watch }),
            Err(error) => {
                let _ = fork::signal(pid, libc::SIGKILL, false);
                let _ = wait(pid, None, Patience::Endless);
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// How it ended, if it has; to be asked no more then. An error is of somebody else's making, who has waited for it.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        wait(self.pid, self.pidfd(), Patience::None)
    }

    /// Sends it a signal; with `group` to all of the group that it leads, and to it if it has left that.
    pub(crate) fn signal(&self, number: i32, group: bool) -> io::Result<()> {
        if group && self.has_its_number() {
            let sent = fork::signal(self.pid, number, true);
            if rustix::process::getpgid(Some(self.pid)) == Ok(self.pid) {
                return sent;
            }
        }
        self.signal_alone(number)
    }

    fn signal_alone(&self, number: i32) -> io::Result<()> {
        match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::PidFd(pidfd) => fork::signal_by(pidfd, number),
            Watch::Thread(_) => fork::signal(self.pid, number, false),
        }
    }

    /// Is its number, and so that of its group, still its own? Whoever waited for it behind our back has set that free.
    fn has_its_number(&self) -> bool {
        let asked = self.signal_alone(0);
        !asked.is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
    }

    fn pidfd(&self) -> Option<&OwnedFd> {
        match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::PidFd(pidfd) => Some(pidfd),
            Watch::Thread(_) => None,
        }
    }

    /// Kills it, and waits for it.
    pub(crate) fn end(self) {
        let _ = self.signal_alone(libc::SIGKILL);
        let _ = wait(self.pid, self.pidfd(), Patience::Endless);
    }

    /// Its loop is gone: somebody else waits for it.
    pub(crate) fn abandon(self) {
        super::orphans::adopt(self);
    }
}

impl AsFd for Child {
    /// Readable when it has ended.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::PidFd(fd) => fd.as_fd(),
            Watch::Thread(fd) => fd.as_fd(),
        }
    }
}

impl Source for Child {
    fn name(&self) -> Name<'_> {
        match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::PidFd(fd) => Name::Machine(fd.as_fd()),
            Watch::Thread(fd) => Name::Machine(fd.as_fd()),
        }
    }
}

impl Watch {
    fn new(pid: Pid) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(fd) => return Ok(Self::PidFd(fd)),
            // An older kernel, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            // It has ended, and this program has the system wait for its children.
            Err(Errno::SRCH) => return Self::gone(),
            Err(error) => return Err(error.into()),
        }
        Self::by_thread(pid)
    }

    /// Tells of an end at once.
    #[cfg(target_os = "linux")]
    fn gone() -> io::Result<Self> {
        let (news, _) = pipe()?;
        Ok(Self::Thread(news))
    }

    /// A thread waits, and leaves the child to be waited for.
    fn by_thread(pid: Pid) -> io::Result<Self> {
        let (news, held) = pipe()?;
        let body = move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options));
            drop(held);
        };
        let named = thread::Builder::new().name("torsade-child".to_owned());
        named.stack_size(STACK).spawn(body)?;
        Ok(Self::Thread(news))
    }
}

impl From<Refused> for NotLaunched {
    fn from(refused: Refused) -> Self {
        let step = match refused.step {
            Step::Fork => "making a process",
            Step::Lead => "making it lead",
            Step::Descriptors => "giving it its descriptors",
            Step::Terminal => "giving it its terminal",
            Step::Directory => "going to its directory",
            Step::Identity => "becoming its user",
            Step::Run => "running it",
        };
        Self {
            step,
            error: refused.error,
        }
    }
}

/// Waits for a child: by its descriptor if there is one, so that it is never another one that has its number by now. Gives how it
/// ended, if it has.
pub(super) fn wait(
    pid: Pid,
    pidfd: Option<&OwnedFd>,
    patience: Patience,
) -> io::Result<Option<ExitStatus>> {
    #[cfg(target_os = "linux")]
    if let Some(pidfd) = pidfd {
        let options = match patience {
            Patience::None => WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            Patience::Endless => WaitIdOptions::EXITED,
        };
        match rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), options)) {
            // A kernel that gives such descriptors and cannot wait by them.
            Err(Errno::INVAL) => {}
            waited => return Ok(waited?.map(|status| how(&status))),
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = pidfd;
    let options = match patience {
        Patience::None => WaitOptions::NOHANG,
        Patience::Endless => WaitOptions::empty(),
    };
    let waited = rustix::io::retry_on_intr(|| waitpid(Some(pid), options))?;
    Ok(waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
}

/// As `waitpid` would tell it.
#[cfg(target_os = "linux")]
fn how(status: &WaitIdStatus) -> ExitStatus {
    let dumped = if status.dumped() { 0x80 } else { 0 };
    ExitStatus::from_raw(match status.terminating_signal() {
        Some(signal) => signal | dumped,
        None => (status.exit_status().unwrap_or_default() & 0xff) << 8,
    })
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> NotLaunched {
    move |error| NotLaunched { step, error }
}

/// Linux 5.2 gives descriptors of processes that a poller cannot wait for: these are always ready to be written to.
#[cfg(target_os = "linux")]
fn can_be_watched(pidfd: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(pidfd, PollFlags::OUT)];
    let polled = rustix::io::retry_on_intr(|| poll(&mut ready, Some(&Timespec::default())));
    polled == Ok(0) || polled == Ok(1) && !ready[0].revents().contains(PollFlags::OUT)
}

/// A new terminal: our end, which does not block, and the child's.
fn open_pty(size: Pty) -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = rustix_openpty::openpty(None, Some(&size.into()))?;
    set_nonblocking(&pair.controller)?;
    Ok((pair.controller, pair.user))
}

/// Tells a terminal how large it is; who runs in it gets SIGWINCH.
pub(super) fn set_window_size(terminal: &impl AsFd, size: Pty) -> io::Result<()> {
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

/// A pipe: its end to read, and its end to write. Both are closed on exec.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(not(any(target_vendor = "apple", target_os = "aix", target_os = "haiku")))]
    return Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?);
    #[cfg(any(target_vendor = "apple", target_os = "aix", target_os = "haiku"))]
    {
        let (read, write) = rustix::pipe::pipe()?;
        rustix::io::fcntl_setfd(&read, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::fcntl_setfd(&write, rustix::io::FdFlags::CLOEXEC)?;
        Ok((read, write))
    }
}

pub(super) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

fn c_string(what: &str, string: &OsStr) -> io::Result<CString> {
    CString::new(string.as_bytes()).map_err(|_| {
        let text = format!("{what} has a NUL in it: {string:?}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

/// Where programs are looked for when the environment has no `PATH`.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A thread that only waits needs little.
const STACK: usize = 64 * 1024;

#[cfg(all(test, not(torsade_loom)))]
mod tests;
