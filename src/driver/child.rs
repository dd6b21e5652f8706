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
//! 2. A child is waited for on the loop's thread alone, once. Before that its number is its own, so a signal never goes to
//!    another process.
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

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
#[cfg(target_os = "linux")]
use rustix::io::Errno;
use rustix::io::FdFlags;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, getegid, geteuid, waitid, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::fork::{self, Identity, Leads, Plan, Refused, Step};
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
        let pid = fork::fork(&plan).map_err(NotLaunched::from)?;
        let pid = Pid::from_raw(pid).expect("a child's number is positive");
        let child = Child::new(pid).map_err(at("watching it"))?;
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
    fn new(pid: Pid) -> io::Result<Self> {
        match Watch::new(pid) {
            Ok(watch) => Ok(Self { pid, watch }),
            Err(error) => {
                end(pid);
                Err(error)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// How it ended, if it has; to be asked no more then. An error is of somebody else's making, who has waited for it.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        let waited = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::NOHANG))?;
        Ok(waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
    }

    /// Sends it a signal; with `group` to all of the group that it leads, and to it if it has left that.
    pub(crate) fn signal(&self, number: i32, group: bool) -> io::Result<()> {
        if group {
            let sent = fork::signal(self.pid.as_raw_pid(), number, true);
            if rustix::process::getpgid(Some(self.pid)) == Ok(self.pid) {
                return sent;
            }
        }
        match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::PidFd(pidfd) => fork::signal_by(pidfd, number),
            Watch::Thread(_) => fork::signal(self.pid.as_raw_pid(), number, false),
        }
    }

    /// Kills it, and waits for it.
    pub(crate) fn end(self) {
        end(self.pid);
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

/// Kills a child that has not been waited for, so its number is its own; and waits for it.
fn end(pid: Pid) {
    let _ = fork::signal(pid.as_raw_pid(), libc::SIGKILL, false);
    let _ = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
}

fn at(step: &'static str) -> impl FnOnce(io::Error) -> NotLaunched {
    move |error| NotLaunched { step, error }
}

/// A new terminal: our end, which does not block, and the child's.
fn open_pty(size: Pty) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
    let flags = flags | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    rustix::io::fcntl_setfd(&master, FdFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = open(ptsname(&master, Vec::new())?, flags, Mode::empty())?;
    set_window_size(&master, size)?;
    set_nonblocking(&master)?;
    Ok((master, slave))
}

/// Tells a terminal how large it is; who runs in it gets SIGWINCH.
pub(super) fn set_window_size(terminal: &impl AsFd, size: Pty) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}

/// A pipe: its end to read, and its end to write. Both are closed on exec.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(not(any(target_vendor = "apple", target_os = "aix", target_os = "haiku")))]
    return Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?);
    #[cfg(any(target_vendor = "apple", target_os = "aix", target_os = "haiku"))]
    {
        let (read, write) = rustix::pipe::pipe()?;
        rustix::io::fcntl_setfd(&read, FdFlags::CLOEXEC)?;
        rustix::io::fcntl_setfd(&write, FdFlags::CLOEXEC)?;
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
mod tests {
    #[cfg(target_os = "linux")]
    use std::fs::File;
    #[cfg(target_os = "linux")]
    use std::io::Read;
    use std::time::Duration;

    use super::*;
    use crate::driver::{Driver, Interest};

    fn launch(script: &str) -> Launch<'_> {
        Launch {
            program: OsStr::new("/bin/sh"),
            args: ["sh", "-c", script].map(OsStr::new).to_vec(),
            env: std::env::vars_os().collect(),
            directory: None,
            groups: None,
            gid: None,
            uid: None,
            fds: vec![
                (0, ChildFd::Null),
                (1, ChildFd::Null),
                (2, ChildFd::Inherit),
            ],
            pty: None,
            has_stream: false,
            leads_group: false,
        }
    }

    /// Waits until the driver tells of a child's end.
    fn await_end(child: &Child) -> ExitStatus {
        let driver = Driver::machine().unwrap();
        driver.add(child, 5, Interest::Read).unwrap();
        let mut events = Vec::new();
        while events.is_empty() {
            driver
                .wait(Some(Duration::from_secs(20)), &mut events)
                .unwrap();
        }
        assert_eq!(events[0].key, 5);
        driver.remove(child).unwrap();
        child.try_wait().unwrap().expect("it has ended")
    }

    #[test]
    fn an_end_is_told_through_a_descriptor_by_whatever_watches() {
        let launched = launch("exit 3").start().unwrap();
        assert_eq!(await_end(&launched.child).code(), Some(3));

        let launched = launch("exit 4").start().unwrap();
        let watch = Watch::by_thread(launched.child.pid).unwrap();
        let child = Child {
            pid: launched.child.pid,
            watch,
        };
        assert_eq!(await_end(&child).code(), Some(4));
        // It has been waited for once, and cannot be again.
        assert!(child.try_wait().is_err());
    }

    #[test]
    fn one_that_is_watched_by_a_thread_is_signalled_all_the_same() {
        let launched = launch("exec sleep 1000").start().unwrap();
        let watch = Watch::by_thread(launched.child.pid).unwrap();
        let child = Child {
            pid: launched.child.pid,
            watch,
        };
        assert!(child.try_wait().unwrap().is_none());
        child.signal(libc::SIGTERM, false).unwrap();
        assert_eq!(await_end(&child).signal(), Some(libc::SIGTERM));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_watched_tells_its_end_at_once() {
        let watch = Watch::gone().unwrap();
        let Watch::Thread(fd) = &watch else {
            panic!("{watch:?}");
        };
        assert_eq!(rustix::io::read(fd, &mut [0; 1]), Ok(0));
    }

    /// What a program that prints who it is says in this thread: user, effective user, groups.
    #[cfg(target_os = "linux")]
    fn identity_of(change: impl FnOnce(&mut Launch<'_>)) -> String {
        let (said, output) = pipe().unwrap();
        let mut launch = launch("id -ru; id -u; id -G");
        launch.fds = vec![(1, ChildFd::from(output)), (2, ChildFd::Inherit)];
        change(&mut launch);
        let child = launch.start().unwrap().child;
        drop(launch);
        let mut text = String::new();
        File::from(said).read_to_string(&mut text).unwrap();
        assert!(await_end(&child).success());
        text.replace('\n', " ")
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_has_put_root_aside_gives_it_to_no_child() {
        if !geteuid().is_root() {
            return;
        }
        // Who a thread is it is for itself, with bare system calls.
        let aside = thread::spawn(|| {
            assert!(fork::put_root_aside(65534));
            let plain = identity_of(|_| {});
            assert!(plain.starts_with("65534 65534 "), "{plain}");
            let grouped = identity_of(|launch| launch.gid = Some(65533));
            assert_eq!(grouped, "65534 65534 65533 ");
            let several = identity_of(|launch| launch.groups = Some(vec![7, 9]));
            assert_eq!(several, "65534 65534 0 7 9 ");
            let other = identity_of(|launch| {
                launch.uid = Some(65532);
                launch.gid = Some(65533);
            });
            assert_eq!(other, "65532 65532 65533 ");
        });
        aside.join().unwrap();
        assert!(geteuid().is_root(), "we are who we were");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_given_is_placed_whatever_the_numbers_were() {
        // Four descriptors of ours are dealt out again in each order, under the very numbers they have.
        let (folder, mut files) = (std::env::temp_dir(), Vec::new());
        let path = |n: usize| folder.join(format!("torsade-child-{}-{n}", std::process::id()));
        for n in 0..4 {
            files.push(File::create(path(n)).unwrap());
        }
        let own: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let orders = [
            [1, 0, 3, 2],
            [1, 2, 3, 0],
            [3, 0, 1, 2],
            [0, 1, 2, 3],
            [3, 2, 1, 0],
        ];
        for order in orders {
            let script = "for fd in /proc/$$/fd/*; do test -L $fd && printf \"${fd##*/} \" && readlink $fd; done";
            let found = path(9);
            let output = File::create(&found).unwrap();
            let mut launch = launch(script);
            launch.fds = vec![(1, ChildFd::from(output)), (2, ChildFd::Inherit)];
            for (at, from) in order.into_iter().enumerate() {
                let given = ChildFd::from(files[from].try_clone().unwrap());
                launch.fds.push((own[at], given));
            }
            let launched = launch.start().unwrap();
            assert!(await_end(&launched.child).success());
            let lines = std::fs::read_to_string(&found).unwrap();
            for (fd, from) in own.iter().zip(order) {
                let expected = format!("{fd} {}", path(from).display());
                assert!(
                    lines.lines().any(|line| line == expected),
                    "{order:?}: {lines}"
                );
            }
            assert_eq!(lines.lines().count(), 6, "{lines}");
        }
        for n in [0, 1, 2, 3, 9] {
            std::fs::remove_file(path(n)).unwrap();
        }
    }
}
