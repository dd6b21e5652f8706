//! A new process: `fork`, and what the child does until it is another program.
//!
//! # The idea
//!
//! Between `fork` and `execve` the child of a process with threads may do very little: another
//! thread may have held any lock, the allocator's too, and it is not there any more to give it
//! back. So all that takes memory or a lookup is done before, in a [`Plan`], and the child only
//! walks along it with system calls. How that went is told through a pipe that the new program
//! closes by beginning: nothing read is success, else the step that failed and its error.
//!
//! Where the system can, the child does not even get a copy of our memory: it runs in ours, on a
//! stack of its own, while this thread stands still until it is another program (`vfork`,
//! <https://man7.org/linux/man-pages/man2/vfork.2.html>). To copy the tables of a gigabyte takes
//! longer than a loop may be held up. There it comes together with a descriptor of it
//! (`CLONE_PIDFD`), so that nobody has to find it by its number, which may be another's by then.
//!
//! # What the child does, in this order
//!
//! 1. The dispositions of all signals become the default, ignored ones too. (All are blocked from
//!    before the `fork`, so that no handler of ours runs in the child.)
//! 2. It leads a session, or a group of processes, if asked.
//! 3. Each descriptor that it is to have is first copied to a number that was not asked for, then
//!    to its own; so any permutation comes out right. All others are marked to be closed by
//!    `execve`.
//! 4. The terminal becomes its own, if it has one; then the directory; then groups, group and user,
//!    in this order, since none of them can be changed by who has changed the user.
//! 5. No signal is blocked any more, and the programs are tried one after another, as a search
//!    along `PATH` would.
//!
//! # Invariants
//!
//! 1. The child takes no lock, allocates nothing and cannot panic: it walks along slices and calls
//!    the system.
//! 2. The child never returns: it becomes another program, or ends by `_exit`.
//! 3. A call that fails leaves no child behind: it has been waited for.
//! 4. Where it runs in our memory it writes to nothing but its stack, the copies in its [`Lists`],
//!    that it was here, and `errno`; and it makes no call by which the C library would look for our
//!    other threads: who it is it changes by bare system calls.

use std::ffi::{CString, c_char};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::c_int;
use rustix::process::Pid;

use super::pipe::{pipe, set_nonblocking};
use super::wait::{Patience, wait};
use crate::driver::signals::with_all_blocked;

/// All that a child needs to know, found out beforehand.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Where the program may be; the first that can be run is.
    pub(super) programs: Vec<CString>,
    /// Its arguments, the name it is called by among them.
    pub(super) args: Vec<CString>,
    /// Its whole environment.
    pub(super) env: Vec<CString>,
    /// Where it begins.
    pub(super) directory: Option<CString>,
    /// Who it becomes; nothing when it is who we are.
    pub(super) identity: Option<Identity>,
    /// Which descriptor of ours it gets under which number. The numbers differ.
    pub(super) descriptors: Vec<(RawFd, RawFd)>,
    pub(super) leads: Leads,
}

/// Who a child becomes.
#[derive(Debug)]
pub(super) struct Identity {
    /// Its supplementary groups.
    pub(super) groups: Vec<u32>,
    /// It may keep the groups it has, where it is not allowed to have others: it is who we are in
    /// all else.
    pub(super) may_keep_groups: bool,
    pub(super) gid: Option<u32>,
    pub(super) uid: u32,
}

/// What a new process is the first of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leads {
    #[default]
    Nothing,
    /// A group of processes.
    Group,
    /// A session, with the descriptor of this number (as the child has it) as its terminal if there
    /// is one.
    Session(Option<RawFd>),
}

/// Why there is no new process.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) step: Step,
    pub(super) error: io::Error,
}

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Fork,
    Lead,
    Descriptors,
    Terminal,
    Directory,
    Identity,
    Run,
}

/// The plan as the system wants it: lists that end with nothing.
struct Lists<'a> {
    plan: &'a Plan,
    args: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// Room for the copies of the descriptors.
    copies: Vec<(RawFd, RawFd)>,
    /// From and to where, both included, there is nothing it is to have.
    gaps: Vec<(RawFd, RawFd)>,
}

/// A process that has been made.
#[derive(Debug)]
pub(super) struct Forked {
    pub(super) pid: Pid,
    /// A descriptor of it, where the system gives one together with the process.
    pub(super) pidfd: Option<OwnedFd>,
    /// It ran in our memory, and does not any more: it is another program, or is ending.
    is_past_its_beginning: bool,
}

/// Makes a process along `plan`. When this returns the program has begun.
pub(super) fn fork(plan: &Plan) -> Result<Forked, Refused> {
    let refused = |error: io::Error| Refused {
        step: Step::Fork,
        error,
    };
    let mut lists = Lists::new(plan);
    let (news, teller) = pipe().map_err(refused)?;
    let forked = with_all_blocked(|| begin(&mut lists, teller.as_raw_fd()));
    drop(teller);
    let forked = forked.map_err(refused)?;
    if forked.is_past_its_beginning {
        // It has told what there is to be told; others may have a copy of its end, and keep it.
        // (Where this is refused, they are waited for.)
        let _ = set_nonblocking(&news);
    }
    match listen(news) {
        None => Ok(forked),
        Some(refused) => {
            wait_for(&forked);
            Err(refused)
        }
    }
}

/// Makes the child, in our memory. An emulator of another processor may give it a copy all the same
/// (qemu's does), and let both go on at once; then it leaves no trace in ours.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn begin(lists: &mut Lists<'_>, teller: RawFd) -> io::Result<Forked> {
    use std::ffi::c_void;
    use std::os::fd::FromRawFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Start<'a, 'b> {
        lists: &'a mut Lists<'b>,
        teller: RawFd,
        was_here: AtomicBool,
    }

    extern "C" fn enter(start: *mut c_void) -> c_int {
        // SAFETY: it is what is given below, and whoever lent it stands still.
        let start = unsafe { &mut *start.cast::<Start<'_, '_>>() };
        start.was_here.store(true, Ordering::Relaxed);
        // SAFETY: this is the child, and the lists were made before it.
        unsafe { child(start.lists, start.teller) }
    }

    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let mut start = Start {
        lists,
        teller,
        was_here: AtomicBool::new(false),
    };
    let mut clone = |flags: c_int| {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | flags;
        // One that fails may have written to it, so each has its own.
        let mut pidfd: RawFd = -1;
        let (start, at) = ((&raw mut start).cast(), &raw mut pidfd);
        // SAFETY: the stack is there until this call returns, which is when the child has no use
        // for it any more; it grows down from its end, which is aligned as its elements are. The
        // child keeps to invariants 1, 2 and 4. Where the descriptor goes there is room for it.
        let pid = check_pid(unsafe { libc::clone(enter, top.cast(), flags, start, at) })?;
        Ok((pid, pidfd))
    };
    let (pid, pidfd) = match clone(libc::CLONE_PIDFD) {
        // A sandbox that does not know the flag. (A kernel that does not lets it pass, and gives
        // nothing.)
        Err(error) if is_unknown(&error) => clone(0)?,
        made => made?,
    };
    let pidfd = (pidfd != -1).then(|| {
        // SAFETY: the kernel has just opened it, and nobody else knows of it.
        unsafe { OwnedFd::from_raw_fd(pidfd) }
    });
    let is_past_its_beginning = start.was_here.into_inner();
    Ok(Forked {
        pid,
        pidfd,
        is_past_its_beginning,
    })
}

/// Makes the child.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
fn begin(lists: &mut Lists<'_>, teller: RawFd) -> io::Result<Forked> {
    // SAFETY: the child calls only what is safe after a fork, and does not return (invariants 1 and
    // 2).
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is the child of a fork, and `lists` was made before it.
        unsafe { child(lists, teller) }
    }
    Ok(Forked {
        pid: check_pid(pid)?,
        pidfd: None,
        is_past_its_beginning: false,
    })
}

/// Sends a signal to a process of ours that has not been waited for, so the number is still its
/// own. With `group` to all of the group that it leads.
pub(super) fn signal(pid: Pid, number: c_int, group: bool) -> io::Result<()> {
    let pid = pid.as_raw_pid();
    let target = if group { -pid } else { pid };
    // SAFETY: it takes two numbers, and memory is none of its business.
    check(unsafe { libc::kill(target, number) })
}

/// As [`signal`], by the descriptor of the process: never to another one.
#[cfg(target_os = "linux")]
pub(super) fn signal_by(pidfd: &OwnedFd, number: c_int) -> io::Result<()> {
    let (fd, nothing) = (pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is open, and without a `siginfo_t` the kernel makes up its own.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, nothing, 0) };
    check(c_int::try_from(done).unwrap_or(-1))
}

impl<'a> Lists<'a> {
    fn new(plan: &'a Plan) -> Self {
        let list = |strings: &[CString]| {
            let all = strings.iter().map(|string| string.as_ptr());
            all.chain([ptr::null()]).collect()
        };
        let mut wanted: Vec<RawFd> = plan.descriptors.iter().map(|(_, to)| *to).collect();
        wanted.sort_unstable();
        let mut gaps = Vec::new();
        let mut next = 0;
        for number in wanted {
            if number > next {
                gaps.push((next, number - 1));
            }
            next = number.saturating_add(1);
        }
        gaps.push((next, RawFd::MAX));
        Self {
            plan,
            args: list(&plan.args),
            env: list(&plan.env),
            copies: plan.descriptors.clone(),
            gaps,
        }
    }
}

/// What came through the pipe; nothing when the program has begun.
fn listen(news: OwnedFd) -> Option<Refused> {
    let mut told = [0; 8];
    // It is read to the end or filled: what else may go wrong with a pipe of our own?
    std::fs::File::from(news).read_exact(&mut told).ok()?;
    let [a, b, c, d, e, f, g, h] = told;
    let step = match u32::from_ne_bytes([a, b, c, d]) {
        1 => Step::Lead,
        2 => Step::Descriptors,
        3 => Step::Terminal,
        4 => Step::Directory,
        5 => Step::Identity,
        _ => Step::Run,
    };
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes([e, f, g, h]));
    Some(Refused { step, error })
}

impl Step {
    /// As it is told through the pipe.
    fn number(self) -> u32 {
        match self {
            Self::Fork => 0,
            Self::Lead => 1,
            Self::Descriptors => 2,
            Self::Terminal => 3,
            Self::Directory => 4,
            Self::Identity => 5,
            Self::Run => 6,
        }
    }
}

/// A child that failed is ending, or has ended.
fn wait_for(child: &Forked) {
    let _ = wait(child.pid, child.pidfd.as_ref(), Patience::Endless);
}

fn check(done: c_int) -> io::Result<()> {
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// May it be that whoever refused a flag does not know it?
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn is_unknown(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EINVAL | libc::ENOSYS | libc::EPERM))
}

/// What a call gave that makes a process.
fn check_pid(pid: c_int) -> io::Result<Pid> {
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid).expect("a child's number is positive")),
    }
}

/// What the child does.
///
/// # Safety
///
/// To be called right after `fork`, in the child, with lists that were made before.
unsafe fn child(lists: &mut Lists<'_>, teller: RawFd) -> ! {
    // SAFETY: as this function's own promise.
    let (step, teller, error) = match unsafe { prepare(lists, teller) } {
        Ok(teller) => {
            // SAFETY: as this function's own promise.
            let error = unsafe { run(lists) };
            (Step::Run, teller, error)
        }
        Err((step, teller)) => (step, teller, errno()),
    };
    let [a, b, c, d] = step.number().to_ne_bytes();
    let [e, f, g, h] = error.to_ne_bytes();
    let told = [a, b, c, d, e, f, g, h];
    // SAFETY: eight bytes are read from `told`, which is that long.
    while unsafe { libc::write(teller, told.as_ptr().cast(), told.len()) } == -1
        && errno() == libc::EINTR
    {}
    // SAFETY: it ends this process, and runs nothing on the way.
    unsafe { libc::_exit(127) }
}

/// Becomes the first of the programs that can be run; if none can, why. A program that is there and
/// may not be run is what to tell of, rather than places where there is none.
///
/// # Safety
///
/// As for [`child`].
unsafe fn run(lists: &Lists<'_>) -> c_int {
    unblock_signals();
    let mut worst = libc::ENOENT;
    for program in &lists.plan.programs {
        // SAFETY: a C string and two lists of such that end with nothing, all alive.
        unsafe { libc::execve(program.as_ptr(), lists.args.as_ptr(), lists.env.as_ptr()) };
        match errno() {
            error if lists.plan.programs.len() == 1 => return error,
            // The last three are of places that were mounted and cannot be reached.
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            libc::EACCES => worst = libc::EACCES,
            other => return other,
        }
    }
    worst
}

/// All before the program is run. Gives where to tell of a failure, which moves; or what failed,
/// with `errno` set.
///
/// # Safety
///
/// As for [`child`].
unsafe fn prepare(lists: &mut Lists<'_>, teller: RawFd) -> Result<RawFd, (Step, RawFd)> {
    let plan = lists.plan;
    for signal in 1..=LAST_SIGNAL {
        bare::reset(signal);
    }
    let session = match plan.leads {
        Leads::Nothing => 0,
        // SAFETY: they take numbers or nothing.
        Leads::Group => unsafe { libc::setpgid(0, 0) },
        // SAFETY: as above.
        Leads::Session(_) => unsafe { libc::setsid() },
    };
    if session == -1 {
        return Err((Step::Lead, teller));
    }
    let teller = match copy_aside(teller, &lists.gaps, FIRST) {
        -1 => return Err((Step::Descriptors, teller)),
        copy => copy,
    };
    let mut last = teller;
    for (from, _) in &mut lists.copies {
        // Below the one before there is no room any more.
        last = copy_aside(*from, &lists.gaps, last);
        *from = last;
        if last == -1 {
            return Err((Step::Descriptors, teller));
        }
    }
    for (from, to) in &lists.copies {
        // SAFETY: it takes two numbers; what it closes nobody in this process will use again.
        if unsafe { libc::dup2(*from, *to) } == -1 {
            return Err((Step::Descriptors, teller));
        }
    }
    for (from, to) in &lists.gaps {
        close_on_exec(*from, *to);
    }
    if let Leads::Session(Some(terminal)) = plan.leads {
        // SAFETY: this request takes a number.
        if unsafe { libc::ioctl(terminal, libc::TIOCSCTTY as _, 0) } == -1 {
            return Err((Step::Terminal, teller));
        }
    }
    if let Some(directory) = &plan.directory {
        // SAFETY: it is a C string.
        if unsafe { libc::chdir(directory.as_ptr()) } == -1 {
            return Err((Step::Directory, teller));
        }
    }
    match become_somebody(plan) {
        true => Ok(teller),
        false => Err((Step::Identity, teller)),
    }
}

/// Groups, group and user; `false` when one could not be had.
fn become_somebody(plan: &Plan) -> bool {
    let Some(identity) = &plan.identity else {
        return true;
    };
    // Whoever put root aside for a while may become anybody again; who cannot is told by what
    // follows.
    bare::become_root();
    (bare::set_groups(&identity.groups) || identity.may_keep_groups)
        && identity.gid.is_none_or(bare::set_gid)
        && bare::set_uid(identity.uid)
}

/// Bare system calls: the C library's would tell our threads, which are not the child's (invariant
/// 4).
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod bare {
    use std::ptr;

    use libc::{
        SYS_rt_sigaction, SYS_setgid, SYS_setgroups, SYS_setresuid, SYS_setuid, c_int, syscall,
    };

    /// The default is done about a signal, also about those that the C library keeps for itself.
    pub(super) fn reset(signal: c_int) {
        // As the kernel knows it: handler, flags, the way back and mask, all of them nothing.
        let nothing = [0_u64; 4];
        // SAFETY: it reads a disposition of that size, and is told that a set of signals has eight
        // bytes.
        unsafe {
            syscall(
                SYS_rt_sigaction,
                signal,
                nothing.as_ptr(),
                ptr::null::<u64>(),
                size_of::<u64>(),
            )
        };
    }

    pub(super) fn become_root() {
        // SAFETY: it takes three numbers.
        unsafe { syscall(SYS_setresuid, -1, 0, -1) };
    }

    pub(super) fn set_groups(groups: &[u32]) -> bool {
        // SAFETY: as many groups are read as there are.
        unsafe { syscall(SYS_setgroups, groups.len(), groups.as_ptr()) != -1 }
    }

    pub(super) fn set_gid(gid: u32) -> bool {
        // SAFETY: it takes a number.
        unsafe { syscall(SYS_setgid, gid) != -1 }
    }

    pub(super) fn set_uid(uid: u32) -> bool {
        // SAFETY: it takes a number.
        unsafe { syscall(SYS_setuid, uid) != -1 }
    }
}

/// The child has its memory for itself, and no thread but this one.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod bare {
    use std::mem::MaybeUninit;
    use std::ptr;

    /// The default is done about a signal.
    pub(super) fn reset(signal: libc::c_int) {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: there is room for the present disposition, and no new one is given.
        if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } == -1 {
            return;
        }
        // SAFETY: the call succeeded, so it has filled `action`.
        let mut action = unsafe { action.assume_init() };
        if action.sa_sigaction != libc::SIG_DFL {
            action.sa_sigaction = libc::SIG_DFL;
            action.sa_flags = 0;
            // SAFETY: `action` is whole. KILL and STOP are at their default already.
            unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        }
    }

    pub(super) fn become_root() {
        // SAFETY: it takes a number.
        unsafe { libc::seteuid(0) };
    }

    pub(super) fn set_groups(groups: &[u32]) -> bool {
        // SAFETY: as many groups are read as there are. (The count's type differs from system to
        // system.)
        unsafe { libc::setgroups(groups.len() as _, groups.as_ptr()) != -1 }
    }

    pub(super) fn set_gid(gid: u32) -> bool {
        // SAFETY: it takes a number.
        unsafe { libc::setgid(gid) != -1 }
    }

    pub(super) fn set_uid(uid: u32) -> bool {
        // SAFETY: it takes a number.
        unsafe { libc::setuid(uid) != -1 }
    }
}

/// None is blocked. The last thing before the program: a signal that ends the child with a core
/// dump would, on older kernels, end all who share its memory.
fn unblock_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: it fills the set that it is given.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set has been made empty.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
}

/// A copy at `least` or above, under a number in one of the gaps, closed by `execve`; -1 with
/// `errno` if there is none.
fn copy_aside(fd: RawFd, gaps: &[(RawFd, RawFd)], mut least: RawFd) -> RawFd {
    for (from, to) in gaps {
        if *to < least {
            continue;
        }
        // SAFETY: the command takes a number.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least.max(*from)) };
        if copy <= *to {
            return copy;
        }
        // It is beyond the gap: if in none, the next ones begin behind it.
        least = copy;
        // SAFETY: it has just been made, and nobody else knows of it.
        unsafe { libc::close(copy) };
    }
    -1
}

/// Has all descriptors from `from` to `to` closed by `execve`.
fn close_on_exec(from: RawFd, to: RawFd) {
    #[cfg(target_os = "linux")]
    {
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        // SAFETY: it takes numbers, and closes nothing now.
        if unsafe { libc::syscall(libc::SYS_close_range, from, to, flags) } == 0 {
            return;
        }
        // An older kernel, or a sandbox that does not know the call.
        if listed::close_on_exec(from, to) {
            return;
        }
    }
    // Another system: one after another, as many as there may be.
    // SAFETY: it takes a number.
    let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    let most = RawFd::try_from(most).unwrap_or(MOST);
    let most = if most < 0 { MOST } else { most.min(MOST) };
    for fd in from..=to.min(most) {
        // SAFETY: the command takes a number; a descriptor that is not open is refused.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Puts root aside, for this thread: it is somebody else, and may become root again.
#[cfg(all(test, target_os = "linux"))]
pub(super) fn put_root_aside(uid: u32) -> bool {
    // SAFETY: it takes three numbers. (The C library's would speak for all threads.)
    unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, 0) != -1 }
}

/// The open descriptors, by what `/proc` says: there may be a thousand million numbers, and few of
/// them in use.
#[cfg(target_os = "linux")]
mod listed {
    use std::os::fd::RawFd;

    /// Has those from `from` to `to` closed by `execve`; `false` when they cannot be listed.
    pub(super) fn close_on_exec(from: RawFd, to: RawFd) -> bool {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: it is a C string.
        let folder = unsafe { libc::open(c"/proc/self/fd".as_ptr(), flags) };
        if folder == -1 {
            return false;
        }
        let mut room = [0_u8; 4096];
        let is_whole = loop {
            let (at, size) = (room.as_mut_ptr(), room.len());
            // SAFETY: it writes no more than there is room for.
            let filled = unsafe { libc::syscall(libc::SYS_getdents64, folder, at, size) };
            match usize::try_from(filled) {
                Ok(0) => break true,
                Ok(filled) => each(&room[..filled.min(size)], |fd| {
                    if (from..=to).contains(&fd) {
                        // SAFETY: the command takes a number.
                        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
                    }
                }),
                Err(_) => break false,
            }
        };
        // SAFETY: it was opened above, and nobody else knows of it.
        unsafe { libc::close(folder) };
        is_whole
    }

    /// Walks along entries as the kernel writes them: two words, the length of the entry, a kind, a
    /// name that ends with nothing.
    fn each(mut entries: &[u8], mut found: impl FnMut(RawFd)) {
        while let Some([low, high]) = entries.get(LENGTH..LENGTH + 2) {
            let length = usize::from(u16::from_ne_bytes([*low, *high]));
            let name = entries.get(NAME..length).unwrap_or(&[]);
            if let Some(fd) = number(name) {
                found(fd);
            }
            entries = entries.get(length.max(NAME)..).unwrap_or(&[]);
        }
    }

    /// What a name says, if it is a number.
    fn number(name: &[u8]) -> Option<RawFd> {
        let mut fd = None;
        for byte in name {
            match byte {
                b'0'..=b'9' => {
                    let digit = RawFd::from(byte - b'0');
                    fd = Some(fd.unwrap_or(0_i32).checked_mul(10)?.checked_add(digit)?);
                }
                0 => return fd,
                _ => return None,
            }
        }
        None
    }

    /// Where an entry has its length.
    const LENGTH: usize = 16;
    /// Where it has its name.
    const NAME: usize = 19;

    #[cfg(all(test, not(torsade_loom)))]
    mod tests {
        use std::fs::File;
        use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

        use rustix::io::fcntl_getfd;

        #[test]
        fn those_that_are_open_are_found_and_no_others_are_touched() {
            let file = File::open("/dev/null").unwrap();
            // More than fit into one answer.
            let copies: Vec<OwnedFd> = (3000..3400)
                .map(|number| {
                    // SAFETY: the command takes a number.
                    let copy = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, number) };
                    assert_eq!(copy, number);
                    // SAFETY: it has just been made.
                    unsafe { OwnedFd::from_raw_fd(copy) }
                })
                .collect();
            let is_marked = |fd: &OwnedFd| !fcntl_getfd(fd.as_fd()).unwrap().is_empty();
            assert!(!copies.iter().any(is_marked));
            assert!(super::close_on_exec(3001, 3398));
            let marked = copies.iter().filter(|fd| is_marked(fd)).count();
            assert_eq!(marked, 398);
            assert!(!is_marked(&copies[0]) && !is_marked(&copies[399]));
        }

        #[test]
        fn names_that_are_no_numbers_are_none() {
            let known = [
                (&b"0\0"[..], Some(0)),
                (b"123\0\0\0", Some(123)),
                (b".\0", None),
                (b"..\0", None),
                (b"\0", None),
                (b"12", None),
                (b"1x\0", None),
                (b"99999999999\0", None),
            ];
            for (name, number) in known {
                assert_eq!(super::number(name), number, "{name:?}");
            }
        }
    }
}

/// Why the last call failed.
fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// What a child needs of a stack, many times over.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
const STACK: usize = 256 * 1024;

/// Copies are not put where standard input, output and errors are looked for.
const FIRST: RawFd = 3;

/// Where all cannot be closed at once, so many are looked at.
const MOST: RawFd = 1 << 20;

/// The highest number of a signal.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LAST_SIGNAL: c_int = 64;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const LAST_SIGNAL: c_int = 31;
