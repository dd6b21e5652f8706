//! Creates a process: `fork`, and what the child does until it executes another program.
//!
//! # The idea
//!
//! Between `fork` and `execve` the child of a multi-threaded process may do very little: another
//! thread may have held any lock, the allocator's included, and that thread does not exist in the
//! child to release it. So everything that allocates or looks something up is done before, in a
//! [`Plan`], and the child only follows the plan with system calls. The child reports through a
//! pipe that `execve` closes: end of file without data means success; otherwise the pipe holds the
//! step that failed and its error.
//!
//! Where the system supports it, the child does not even get a copy of our memory: it runs in ours,
//! on a stack of its own, while this thread is suspended until the child executes the program
//! (`vfork`, <https://man7.org/linux/man-pages/man2/vfork.2.html>). Copying the page tables of a
//! gigabyte would block the loop for too long. The child then also comes with a descriptor
//! (`CLONE_PIDFD`), so that it need not be found by a process ID, which may have been reused by
//! then.
//!
//! # What the child does, in this order
//!
//! 1. It sets the dispositions of all signals to the default, ignored signals included. (All
//!    signals are blocked from before the `fork`, so that none of our handlers runs in the child.)
//! 2. It becomes the leader of a session or of a process group, if requested.
//! 3. It copies each descriptor that it will keep to an unused number first, and then to its final
//!    number, so that any permutation comes out right. It marks all other descriptors
//!    close-on-exec.
//! 4. It makes the terminal its controlling terminal, if there is one; then changes the directory;
//!    then groups, group and user, in this order, because a process that has changed its user may
//!    no longer change the rest.
//! 5. It unblocks all signals and tries the programs one after another, as a search along `PATH`
//!    would.
//!
//! # Invariants
//!
//! 1. The child takes no lock, allocates nothing and cannot panic: it iterates over slices and
//!    makes system calls.
//! 2. The child never returns: it executes another program, or ends by `_exit`.
//! 3. A call that fails leaves no child behind: the child has been waited for.
//! 4. A child that runs in our memory writes only to its stack, to the copies in its [`Lists`], to
//!    the flag that says that it shared our memory, and to `errno`. It makes no call for which the
//!    C library would look for our other threads: it changes its user and groups by bare system
//!    calls.

use std::ffi::{CString, c_char};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::c_int;
use rustix::process::Pid;

use super::pipe::{pipe, set_nonblocking};
use super::wait::{WaitMode, wait};
use crate::driver::signals::with_all_blocked;

/// Everything that a child needs, prepared in advance.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The paths where the program may be; the child executes the first that can be executed.
    pub(super) programs: Vec<CString>,
    /// The arguments, `argv[0]` included.
    pub(super) args: Vec<CString>,
    /// The whole environment.
    pub(super) env: Vec<CString>,
    /// The working directory.
    pub(super) directory: Option<CString>,
    /// The user and groups of the child; `None` keeps those of this process.
    pub(super) identity: Option<Identity>,
    /// The descriptors that the child keeps, as (our number, the child's number). The child's
    /// numbers differ from each other.
    pub(super) descriptors: Vec<(RawFd, RawFd)>,
    pub(super) leads: Leader,
}

/// The user and groups that a child takes on.
#[derive(Debug)]
pub(super) struct Identity {
    /// The supplementary groups.
    pub(super) groups: Vec<u32>,
    /// Whether the child may keep its present groups where it is not allowed to change them: it is
    /// our user and group in all else.
    pub(super) may_keep_groups: bool,
    pub(super) gid: Option<u32>,
    pub(super) uid: u32,
}

/// What the new process becomes the leader of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leader {
    #[default]
    Nothing,
    /// A process group.
    Group,
    /// A session, with the child's descriptor of this number as its controlling terminal, if there
    /// is one.
    Session(Option<RawFd>),
}

/// The reason why no process was created.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) step: Step,
    pub(super) error: io::Error,
}

/// The step that failed.
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

/// The plan in the form that the system calls take: null-terminated lists.
struct Lists<'a> {
    plan: &'a Plan,
    args: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// Space for the copies of the descriptors.
    copies: Vec<(RawFd, RawFd)>,
    /// The ranges of descriptor numbers, both ends included, that the child does not keep.
    gaps: Vec<(RawFd, RawFd)>,
}

/// A process that has been created.
#[derive(Debug)]
pub(super) struct Forked {
    pub(super) pid: Pid,
    /// The pidfd, where the system returns one together with the process.
    pub(super) pidfd: Option<OwnedFd>,
    /// Whether the process once ran in our memory and no longer does: it has executed another
    /// program, or is ending.
    is_past_its_beginning: bool,
}

/// Creates a process as `plan` says. The program has begun when this returns.
pub(super) fn fork(plan: &Plan) -> Result<Forked, Refused> {
    let refused = |error: io::Error| Refused {
        step: Step::Fork,
        error,
    };
    let mut lists = Lists::new(plan);
    let (report_pipe, report_fd) = pipe().map_err(refused)?;
    let forked = with_all_blocked(|| begin(&mut lists, report_fd.as_raw_fd()));
    drop(report_fd);
    let forked = forked.map_err(refused)?;
    if forked.is_past_its_beginning {
        // The child has written what it has to write; other processes may hold a copy of the write
        // end and keep it open. (Where the flag is refused, this read waits for them.)
        let _ = set_nonblocking(&report_pipe);
    }
    match read_report(report_pipe) {
        None => Ok(forked),
        Some(refused) => {
            wait_for(&forked);
            Err(refused)
        }
    }
}

/// Creates the child in our memory. An emulator of another processor, such as qemu, may give it a
/// copy instead and let both run at once; the child then writes nothing into our memory.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn begin(lists: &mut Lists<'_>, report_fd: RawFd) -> io::Result<Forked> {
    use std::ffi::c_void;
    use std::os::fd::FromRawFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Start<'a, 'b> {
        lists: &'a mut Lists<'b>,
        report_fd: RawFd,
        was_here: AtomicBool,
    }

    extern "C" fn enter(start: *mut c_void) -> c_int {
        // SAFETY: the pointer is the one passed to `clone` below, and the thread that owns the
        // value is suspended.
        let start = unsafe { &mut *start.cast::<Start<'_, '_>>() };
        start.was_here.store(true, Ordering::Relaxed);
        // SAFETY: this is the child, and the lists were made before it.
        unsafe { child(start.lists, start.report_fd) }
    }

    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let mut start = Start {
        lists,
        report_fd,
        was_here: AtomicBool::new(false),
    };
    let mut clone = |flags: c_int| {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | flags;
        // A child that fails may have written to the stack, so each child has its own.
        let mut pidfd: RawFd = -1;
        let (start, at) = ((&raw mut start).cast(), &raw mut pidfd);
        // SAFETY: the stack lives until this call returns, and the child does not use it after
        // that; the stack grows down from its end, which is aligned as its elements are. The child
        // keeps to invariants 1, 2 and 4. `pidfd` has room for the descriptor.
        let pid = check_pid(unsafe { libc::clone(enter, top.cast(), flags, start, at) })?;
        Ok((pid, pidfd))
    };
    let (pid, pidfd) = match clone(libc::CLONE_PIDFD) {
        // A sandbox that refuses the flag. (A kernel that does not know the flag ignores it and
        // returns no descriptor.)
        Err(error) if is_unknown(&error) => clone(0)?,
        made => made?,
    };
    let pidfd = (pidfd != -1).then(|| {
        // SAFETY: the kernel has just opened the descriptor, and nothing else uses it.
        unsafe { OwnedFd::from_raw_fd(pidfd) }
    });
    let is_past_its_beginning = start.was_here.into_inner();
    Ok(Forked {
        pid,
        pidfd,
        is_past_its_beginning,
    })
}

/// Creates the child.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
fn begin(lists: &mut Lists<'_>, report_fd: RawFd) -> io::Result<Forked> {
    // SAFETY: the child calls only functions that are async-signal-safe, and does not return
    // (invariants 1 and 2).
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: this is the child of a fork, and `lists` was made before it.
        unsafe { child(lists, report_fd) }
    }
    Ok(Forked {
        pid: check_pid(pid)?,
        pidfd: None,
        is_past_its_beginning: false,
    })
}

/// Sends a signal to a child that has not been waited for, so its process ID has not been reused.
/// With `group`, sends it to the whole process group that the child leads.
pub(super) fn signal(pid: Pid, number: c_int, group: bool) -> io::Result<()> {
    let pid = pid.as_raw_pid();
    let target = if group { -pid } else { pid };
    // SAFETY: the call takes two numbers and touches no memory.
    check(unsafe { libc::kill(target, number) })
}

/// Sends a signal like [`signal`], by the pidfd: never to another process.
#[cfg(target_os = "linux")]
pub(super) fn signal_by(pidfd: &OwnedFd, number: c_int) -> io::Result<()> {
    let (fd, nothing) = (pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is open, and with a null `siginfo_t` the kernel fills in its own.
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

/// Reads the child's report from the pipe; `None` when the program has begun.
fn read_report(report_pipe: OwnedFd) -> Option<Refused> {
    let mut report = [0; 8];
    // The pipe is read to its end or until the buffer is full; a read of our own pipe has no other
    // way to fail.
    std::fs::File::from(report_pipe)
        .read_exact(&mut report)
        .ok()?;
    let [a, b, c, d, e, f, g, h] = report;
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
    /// Returns the number that represents the step in the pipe.
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

/// Waits for a child that failed: it is ending, or has ended.
fn wait_for(child: &Forked) {
    let _ = wait(child.pid, child.pidfd.as_ref(), WaitMode::Block);
}

fn check(done: c_int) -> io::Result<()> {
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Returns whether an error may mean that the kernel or a sandbox does not know a flag.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
fn is_unknown(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EINVAL | libc::ENOSYS | libc::EPERM))
}

/// Checks the result of a call that creates a process.
fn check_pid(pid: c_int) -> io::Result<Pid> {
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid).expect("a child's number is positive")),
    }
}

/// Runs the child's part.
///
/// # Safety
///
/// Must be called right after `fork`, in the child, with lists that were made before.
unsafe fn child(lists: &mut Lists<'_>, report_fd: RawFd) -> ! {
    // SAFETY: the caller promises the same.
    let (step, report_fd, error) = match unsafe { prepare(lists, report_fd) } {
        Ok(report_fd) => {
            // SAFETY: the caller promises the same.
            let error = unsafe { run(lists) };
            (Step::Run, report_fd, error)
        }
        Err((step, report_fd)) => (step, report_fd, errno()),
    };
    let [a, b, c, d] = step.number().to_ne_bytes();
    let [e, f, g, h] = error.to_ne_bytes();
    let report = [a, b, c, d, e, f, g, h];
    // SAFETY: the call reads eight bytes from `report`, which has that length.
    while unsafe { libc::write(report_fd, report.as_ptr().cast(), report.len()) } == -1
        && errno() == libc::EINTR
    {}
    // SAFETY: the call ends this process and runs no other code.
    unsafe { libc::_exit(127) }
}

/// Executes the first program that can be executed; returns the error if none can. A program that
/// exists and may not be executed decides the error, rather than paths where there is none.
///
/// # Safety
///
/// As for [`child`].
unsafe fn run(lists: &Lists<'_>) -> c_int {
    unblock_signals();
    let mut worst = libc::ENOENT;
    for program in &lists.plan.programs {
        // SAFETY: the arguments are a C string and two null-terminated lists of C strings, all
        // alive.
        unsafe { libc::execve(program.as_ptr(), lists.args.as_ptr(), lists.env.as_ptr()) };
        match errno() {
            error if lists.plan.programs.len() == 1 => return error,
            // The last three are of mounted file systems that cannot be reached.
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            libc::EACCES => worst = libc::EACCES,
            other => return other,
        }
    }
    worst
}

/// Does everything before the program is executed. Returns the descriptor for the report, whose
/// number changes; or the step that failed, with `errno` set.
///
/// # Safety
///
/// As for [`child`].
unsafe fn prepare(lists: &mut Lists<'_>, report_fd: RawFd) -> Result<RawFd, (Step, RawFd)> {
    let plan = lists.plan;
    for signal in 1..=LAST_SIGNAL {
        bare::reset(signal);
    }
    let session = match plan.leads {
        Leader::Nothing => 0,
        // SAFETY: the calls take numbers or nothing.
        Leader::Group => unsafe { libc::setpgid(0, 0) },
        // SAFETY: as above.
        Leader::Session(_) => unsafe { libc::setsid() },
    };
    if session == -1 {
        return Err((Step::Lead, report_fd));
    }
    let report_fd = match copy_aside(report_fd, &lists.gaps, FIRST) {
        -1 => return Err((Step::Descriptors, report_fd)),
        copy => copy,
    };
    let mut last = report_fd;
    for (from, _) in &mut lists.copies {
        // Below the previous copy there is no free number any more.
        last = copy_aside(*from, &lists.gaps, last);
        *from = last;
        if last == -1 {
            return Err((Step::Descriptors, report_fd));
        }
    }
    for (from, to) in &lists.copies {
        // SAFETY: the call takes two numbers; nothing in this process uses the descriptor that the
        // call closes.
        if unsafe { libc::dup2(*from, *to) } == -1 {
            return Err((Step::Descriptors, report_fd));
        }
    }
    for (from, to) in &lists.gaps {
        close_on_exec(*from, *to);
    }
    if let Leader::Session(Some(terminal)) = plan.leads {
        // SAFETY: this request takes a number.
        if unsafe { libc::ioctl(terminal, libc::TIOCSCTTY as _, 0) } == -1 {
            return Err((Step::Terminal, report_fd));
        }
    }
    if let Some(directory) = &plan.directory {
        // SAFETY: the argument is a C string.
        if unsafe { libc::chdir(directory.as_ptr()) } == -1 {
            return Err((Step::Directory, report_fd));
        }
    }
    match set_identity(plan) {
        true => Ok(report_fd),
        false => Err((Step::Identity, report_fd)),
    }
}

/// Sets groups, group and user; returns `false` when one cannot be set.
fn set_identity(plan: &Plan) -> bool {
    let Some(identity) = &plan.identity else {
        return true;
    };
    // A process that has put root aside for a while may become any user again; for any other
    // process this fails, and so do the calls that follow.
    bare::become_root();
    (bare::set_groups(&identity.groups) || identity.may_keep_groups)
        && identity.gid.is_none_or(bare::set_gid)
        && bare::set_uid(identity.uid)
}

/// Bare system calls: the C library's functions would change all threads of the process, which are
/// not the child's (invariant 4).
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod bare {
    use std::ptr;

    use libc::{
        SYS_rt_sigaction, SYS_setgid, SYS_setgroups, SYS_setresuid, SYS_setuid, c_int, syscall,
    };

    /// Sets the disposition of a signal to the default, also of signals that the C library
    /// reserves.
    pub(super) fn reset(signal: c_int) {
        // The kernel's structure: handler, flags, restorer and mask, all zero.
        let nothing = [0_u64; 4];
        // SAFETY: the call reads a disposition of that size, and gets the size of a signal set,
        // eight bytes.
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
        // SAFETY: the call takes three numbers.
        unsafe { syscall(SYS_setresuid, -1, 0, -1) };
    }

    pub(super) fn set_groups(groups: &[u32]) -> bool {
        // SAFETY: the call reads as many groups as there are.
        unsafe { syscall(SYS_setgroups, groups.len(), groups.as_ptr()) != -1 }
    }

    pub(super) fn set_gid(gid: u32) -> bool {
        // SAFETY: the call takes a number.
        unsafe { syscall(SYS_setgid, gid) != -1 }
    }

    pub(super) fn set_uid(uid: u32) -> bool {
        // SAFETY: the call takes a number.
        unsafe { syscall(SYS_setuid, uid) != -1 }
    }
}

/// The child has its own copy of the memory, and only this thread.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod bare {
    use std::mem::MaybeUninit;
    use std::ptr;

    /// Sets the disposition of a signal to the default.
    pub(super) fn reset(signal: libc::c_int) {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: there is space for the present disposition, and no new one is given.
        if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } == -1 {
            return;
        }
        // SAFETY: the call succeeded, so it has filled `action`.
        let mut action = unsafe { action.assume_init() };
        if action.sa_sigaction != libc::SIG_DFL {
            action.sa_sigaction = libc::SIG_DFL;
            action.sa_flags = 0;
            // SAFETY: `action` is initialised. KILL and STOP are at their default already.
            unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        }
    }

    pub(super) fn become_root() {
        // SAFETY: the call takes a number.
        unsafe { libc::seteuid(0) };
    }

    pub(super) fn set_groups(groups: &[u32]) -> bool {
        // SAFETY: the call reads as many groups as there are. (The count's type differs between
        // systems.)
        unsafe { libc::setgroups(groups.len() as _, groups.as_ptr()) != -1 }
    }

    pub(super) fn set_gid(gid: u32) -> bool {
        // SAFETY: the call takes a number.
        unsafe { libc::setgid(gid) != -1 }
    }

    pub(super) fn set_uid(uid: u32) -> bool {
        // SAFETY: the call takes a number.
        unsafe { libc::setuid(uid) != -1 }
    }
}

/// Unblocks all signals. This is the last step before the program: on older kernels a signal that
/// ends the child with a core dump would end every process that shares its memory.
fn unblock_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: the call fills the set that it is given.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set has been made empty.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
}

/// Copies a descriptor to a number of at least `least` in one of the gaps, close-on-exec; returns
/// -1 with `errno` set if there is none.
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
        // The copy is beyond the gap: if it is in none, the search continues behind it.
        least = copy;
        // SAFETY: the descriptor has just been made, and nothing else uses it.
        unsafe { libc::close(copy) };
    }
    -1
}

/// Marks all descriptors from `from` to `to` close-on-exec.
fn close_on_exec(from: RawFd, to: RawFd) {
    #[cfg(target_os = "linux")]
    {
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        // SAFETY: the call takes numbers, and with this flag closes nothing now.
        if unsafe { libc::syscall(libc::SYS_close_range, from, to, flags) } == 0 {
            return;
        }
        // An older kernel, or a sandbox that does not know the call.
        if listed::close_on_exec(from, to) {
            return;
        }
    }
    // Another system: mark them one after another, up to the limit. SAFETY: the call takes a
    // number.
    let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    let most = RawFd::try_from(most).unwrap_or(MOST);
    let most = if most < 0 { MOST } else { most.min(MOST) };
    for fd in from..=to.min(most) {
        // SAFETY: the command takes a number; the kernel refuses a number that is not open.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Puts root aside for this thread: the thread takes on another user and may become root again.
#[cfg(all(test, target_os = "linux"))]
pub(super) fn put_root_aside(uid: u32) -> bool {
    // SAFETY: the call takes three numbers. (The C library's function would change all threads.)
    unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, 0) != -1 }
}

/// The open descriptors as `/proc` lists them: the limit may be a thousand million, with few
/// numbers in use.
#[cfg(target_os = "linux")]
mod listed {
    use std::os::fd::RawFd;

    /// Marks the descriptors from `from` to `to` close-on-exec; returns `false` when they cannot be
    /// listed.
    pub(super) fn close_on_exec(from: RawFd, to: RawFd) -> bool {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the argument is a C string.
        let folder = unsafe { libc::open(c"/proc/self/fd".as_ptr(), flags) };
        if folder == -1 {
            return false;
        }
        let mut room = [0_u8; 4096];
        let is_whole = loop {
            let (at, size) = (room.as_mut_ptr(), room.len());
            // SAFETY: the call writes at most the size that it is given.
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
        // SAFETY: the descriptor was opened above, and nothing else uses it.
        unsafe { libc::close(folder) };
        is_whole
    }

    /// Iterates over directory entries as the kernel writes them: two words, the length of the
    /// entry, a type, a null-terminated name.
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

    /// Parses a name as a number.
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

    /// Offset of the length in an entry.
    const LENGTH: usize = 16;
    /// Offset of the name in an entry.
    const NAME: usize = 19;

    #[cfg(all(test, not(torsade_loom)))]
    mod tests {
        use std::fs::File;
        use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

        use rustix::io::fcntl_getfd;

        #[test]
        fn only_open_descriptors_are_listed_and_marked() {
            let file = File::open("/dev/null").unwrap();
            // More than fit into one answer of the kernel.
            let copies: Vec<OwnedFd> = (3000..3400)
                .map(|number| {
                    // SAFETY: the command takes a number.
                    let copy = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, number) };
                    assert_eq!(copy, number);
                    // SAFETY: the descriptor has just been made.
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
        fn a_name_that_is_no_number_is_not_a_descriptor() {
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

/// Returns the error of the last call.
fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Stack size of the child, in bytes: many times what it needs.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
const STACK: usize = 256 * 1024;

/// The lowest number for a copy, above standard input, output and error.
const FIRST: RawFd = 3;

/// The number of descriptors that are marked one by one where they cannot be listed.
const MOST: RawFd = 1 << 20;

/// The highest signal number.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LAST_SIGNAL: c_int = 64;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const LAST_SIGNAL: c_int = 31;
