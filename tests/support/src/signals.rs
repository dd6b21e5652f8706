//! Signals for children that are the test's own program, and dispositions.
//!
//! On Windows no process can send another one a SIGTERM: there a child is asked, on its standard
//! input, to raise it itself. Ctrl-C and Ctrl-Break can be sent to a child with its own process
//! group, where there is a console.

#[cfg(target_os = "linux")]
use std::fs;
#[cfg(windows)]
use std::io::{Write, stdin};
#[cfg(windows)]
use std::os::windows::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(windows)]
use windows_sys::Win32::Foundation::{FALSE, STATUS_CONTROL_C_EXIT};
#[cfg(windows)]
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};

use torsade::Signal;

/// Makes the command take signals from [`send`].
pub fn takes_signals(command: &mut Command) -> &mut Command {
    #[cfg(windows)]
    command
        .stdin(std::process::Stdio::piped())
        .creation_flags(GROUP_OF_ITS_OWN);
    command
}

/// Said by a child: from now on it takes what [`send`] sends.
pub fn obey() {
    #[cfg(windows)]
    {
        // A process with its own group ignores Ctrl-C at first. SAFETY: no handler is given.
        unsafe { SetConsoleCtrlHandler(None, FALSE) };
        thread::spawn(|| {
            for line in stdin().lines() {
                line.unwrap().parse::<Signal>().unwrap().raise().unwrap();
            }
        });
    }
}

/// Sends a signal to a child.
pub fn send(child: &mut Child, signal: Signal) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process};
        let signal = Signal::from_named_raw(signal.number()).unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }
    #[cfg(windows)]
    writeln!(child.stdin.as_mut().unwrap(), "{signal}").unwrap();
}

/// Sends a signal to a child as often as necessary to end it: signals that come together count as
/// one.
#[track_caller]
pub fn insist(child: &mut Child, signal: Signal) -> ExitStatus {
    let patience = Instant::now() + Duration::from_secs(20);
    while Instant::now() < patience {
        send(child, signal);
        let pause = Instant::now() + Duration::from_millis(150);
        while Instant::now() < pause {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }
    panic!("{signal} does not end it");
}

/// Presses Ctrl-C or Ctrl-Break for a child. Is there a console, and does it know of that?
#[cfg(windows)]
pub fn press(child: &Child, signal: Signal) -> bool {
    let event = match signal {
        Signal::INT => CTRL_C_EVENT,
        _ => CTRL_BREAK_EVENT,
    };
    // SAFETY: two numbers are given, and a group that is none is refused.
    unsafe { GenerateConsoleCtrlEvent(event, child.id()) != FALSE }
}

/// Returns whether the status is that of a process that ended by this signal.
pub fn is_end_by(signal: Signal, status: ExitStatus) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(signal.number());
    #[cfg(windows)]
    return status.code()
        == Some(match signal {
            Signal::INT | Signal::BREAK => STATUS_CONTROL_C_EXIT,
            _ => 3,
        });
}

/// Returns whether a handler is installed.
#[cfg(target_os = "linux")]
pub fn is_caught(signal: Signal) -> bool {
    status("SigCgt", signal)
}

#[cfg(target_os = "linux")]
pub fn is_ignored(signal: Signal) -> bool {
    status("SigIgn", signal)
}

#[cfg(target_os = "linux")]
fn status(what: &str, signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    let set = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
    set >> (signal.number() - 1) & 1 == 1
}

/// Returns whether a handler is installed.
#[cfg(windows)]
pub fn is_caught(signal: Signal) -> bool {
    ![libc::SIG_DFL, libc::SIG_IGN].contains(&handler(signal))
}

#[cfg(windows)]
pub fn is_ignored(signal: Signal) -> bool {
    handler(signal) == libc::SIG_IGN
}

#[cfg(windows)]
pub fn ignore(signal: Signal) {
    set_handler(signal, libc::SIG_IGN);
}

#[cfg(windows)]
fn handler(signal: Signal) -> libc::sighandler_t {
    let found = set_handler(signal, libc::SIG_IGN);
    set_handler(signal, found);
    found
}

#[cfg(windows)]
fn set_handler(signal: Signal, handler: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: the disposition is C's own, or was there before.
    unsafe { libc::signal(signal.number(), handler) }
}

/// `CREATE_NEW_PROCESS_GROUP`
#[cfg(windows)]
const GROUP_OF_ITS_OWN: u32 = 0x200;
