//! Each case runs in a separate process, where it may change dispositions and raise signals.

use std::env;
#[cfg(unix)]
use std::io;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use libc::c_int;
#[cfg(windows)]
use windows_sys::Win32::Foundation::{FALSE, STATUS_CONTROL_C_EXIT, TRUE};
#[cfg(windows)]
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_SHUTDOWN_EVENT,
};

#[cfg(windows)]
use super::windows::console;
use super::{SignalSlot, system};
use crate::driver::Driver;
use crate::signal::{Signal, SignalSet};

/// The cases that run in a separate process, by name.
const CASES: &[(&str, fn())] = &[
    ("first", || {
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        assert_eq!(stop.take_stop(), None);
        raise(Signal::TERM);
        assert!(is_woken(&driver));
        assert_eq!(stop.take_stop(), Some(Signal::TERM));
        assert_eq!(stop.take_stop(), None);
        assert!(!is_woken(&driver));
    }),
    ("subscribed", || {
        set_handler(ONE, libc::SIG_IGN);
        let (driver, other) = (Driver::machine().unwrap(), Driver::machine().unwrap());
        let listener = listener(&driver, &[ONE, OTHER]);
        let stops = stopper(&other);
        for times in [1, 3, 1] {
            for _ in 0..times {
                raise(ONE);
            }
            assert!(is_woken(&driver));
            assert_eq!(pending(&listener), [ONE]);
            assert_eq!(pending(&listener), []);
            assert_eq!((listener.take_stop(), stops.take_stop()), (None, None));
            assert!(!is_woken(&other));
        }
        drop(stops);
        raise(OTHER);
        raise(ONE);
        assert_eq!(pending(&listener), [OTHER, ONE]);
        let stops = stopper(&other);
        // A stop signal does not reach a slot that only subscribes.
        raise(Signal::TERM);
        assert_eq!(
            (listener.take_stop(), stops.take_stop()),
            (None, Some(Signal::TERM))
        );
        drop(listener);
        assert_eq!(handler(ONE), libc::SIG_IGN);
        assert_ne!(handler(Signal::TERM), libc::SIG_DFL);
        drop(stops);
        assert_eq!(handler(OTHER), libc::SIG_DFL);
        assert_eq!(handler(Signal::TERM), libc::SIG_DFL);
    }),
    ("each of them", || {
        let driver = Driver::machine().unwrap();
        let listener = listener(&driver, &[]);
        for signal in Signal::all().filter(|signal| !FAULTS.contains(signal)) {
            let is_kept = signal == Signal::KILL || signal == NEVER;
            let before = (!is_kept).then(|| handler(signal));
            let done = listener.set_subscribed(signal.into());
            assert_eq!(done.is_err(), is_kept, "{signal}");
            if !is_kept {
                raise(signal);
                assert_eq!(pending(&listener), [signal]);
            }
            listener.set_subscribed(SignalSet::default()).unwrap();
            let after = (!is_kept).then(|| handler(signal));
            assert_eq!(after, before, "{signal}");
        }
    }),
    ("all or none", || {
        let driver = Driver::machine().unwrap();
        let listener = listener(&driver, &[OTHER]);
        let all = [Signal::INT, ONE, NEVER];
        assert!(listener.set_subscribed(all.into_iter().collect()).is_err());
        for signal in [Signal::INT, ONE] {
            assert_eq!(handler(signal), libc::SIG_DFL);
        }
        raise(OTHER);
        assert_eq!(pending(&listener), [OTHER]);
    }),
    ("only meanwhile", || {
        let driver = Driver::machine().unwrap();
        let other = listener(&driver, &[ONE, Signal::INT]);
        let listener = listener(&driver, &[Signal::INT]);
        raise(ONE);
        listener.set_subscribed(ONE.into()).unwrap();
        assert_eq!(pending(&listener), []);
        raise(ONE);
        listener.set_subscribed(SignalSet::default()).unwrap();
        listener.set_subscribed(ONE.into()).unwrap();
        assert_eq!(pending(&listener), []);
        assert_eq!(pending(&other), [ONE]);
    }),
    ("subscribed and stops", || {
        let driver = Driver::machine().unwrap();
        let both = stopper(&driver);
        both.set_subscribed(Signal::TERM.into()).unwrap();
        for _ in 0..3 {
            raise(Signal::TERM);
            assert_eq!(
                (pending(&both), both.take_stop()),
                (vec![Signal::TERM], None)
            );
        }
        both.set_subscribed(SignalSet::default()).unwrap();
        assert_ne!(handler(Signal::TERM), libc::SIG_DFL);
        raise(Signal::TERM);
        assert_eq!(
            (pending(&both), both.take_stop()),
            (vec![], Some(Signal::TERM))
        );
        // A slot that has its stop signal does not lose it by subscribing.
        both.set_subscribed(Signal::INT.into()).unwrap();
        wait_past_merging();
        raise(Signal::INT);
    }),
    ("stopping", || {
        let driver = Driver::machine().unwrap();
        let both = stopper(&driver);
        both.set_subscribed(Signal::TERM.into()).unwrap();
        both.set_stopping(true);
        raise(Signal::TERM);
        assert_eq!(
            (pending(&both), both.take_stop()),
            (vec![Signal::TERM], Some(Signal::TERM))
        );
        wait_past_merging();
        raise(Signal::TERM);
    }),
    ("another stops", || {
        let (driver, other) = (Driver::machine().unwrap(), Driver::machine().unwrap());
        let (listener, stops) = (stopper(&driver), stopper(&other));
        listener.set_subscribed(Signal::TERM.into()).unwrap();
        raise(Signal::TERM);
        assert_eq!(
            (pending(&listener), listener.take_stop()),
            (vec![Signal::TERM], None)
        );
        assert_eq!(stops.take_stop(), Some(Signal::TERM));
        drop(stops);
        // The pending signals are gone with the slot.
        raise(Signal::TERM);
        assert_eq!(
            (pending(&listener), listener.take_stop()),
            (vec![Signal::TERM], None)
        );
    }),
    ("delivered", || {
        let driver = Driver::memory(None).unwrap();
        let (both, other) = (stopper(&driver), stopper(&driver));
        both.set_subscribed(ONE.into()).unwrap();
        assert!(both.deliver(ONE) && both.deliver(Signal::TERM) && both.deliver(Signal::INT));
        assert!(!both.deliver(Signal::SEGV));
        driver.wait(None, &mut Vec::new()).unwrap();
        assert_eq!(
            (pending(&both), both.take_stop()),
            (vec![ONE], Some(Signal::TERM))
        );
        assert_eq!((pending(&other), other.take_stop()), (vec![], None));
    }),
    ("second", || {
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        // Signals that come together, or before the loop could obey, count as one.
        raise(Signal::INT);
        raise(Signal::TERM);
        wait_past_merging();
        raise(Signal::TERM);
        assert_eq!(stop.take_stop(), Some(Signal::INT));
        assert_eq!(stop.take_stop(), None);
        raise(Signal::TERM);
    }),
    ("second after taking", || {
        let driver = Driver::memory(None).unwrap();
        let stop = stopper(&driver);
        raise(Signal::INT);
        assert_eq!(stop.take_stop(), Some(Signal::INT));
        raise(Signal::INT);
        assert!(!stop.has_stop(), "it came together with the first");
        wait_past_merging();
        raise(Signal::INT);
    }),
    ("defaults", || {
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        assert_ne!(handler(Signal::INT), libc::SIG_DFL);
        assert_ne!(handler(Signal::TERM), libc::SIG_DFL);
        raise(Signal::INT);
        assert_eq!(stop.take_stop(), Some(Signal::INT));
        drop(stop);
        assert_eq!(handler(Signal::INT), libc::SIG_DFL);
        assert_eq!(handler(Signal::TERM), libc::SIG_DFL);
        // Nothing is pending any more: the next stop signal is a first one again.
        let stop = stopper(&driver);
        assert_eq!(stop.take_stop(), None);
        raise(Signal::TERM);
        assert_eq!(stop.take_stop(), Some(Signal::TERM));
    }),
    ("ignored", || {
        set_handler(Signal::INT, libc::SIG_IGN);
        set_handler(Signal::TERM, libc::SIG_IGN);
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        raise(Signal::INT);
        assert_eq!(stop.take_stop(), None);
        raise(Signal::TERM);
        assert_eq!(stop.take_stop(), Some(Signal::TERM));
        drop(stop);
        assert_eq!(handler(Signal::INT), libc::SIG_IGN);
        assert_eq!(handler(Signal::TERM), libc::SIG_IGN);
    }),
    ("own handler", || {
        let own = own_handler as *const () as libc::sighandler_t;
        set_handler(Signal::INT, own);
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        assert_eq!(handler(Signal::INT), own);
        set_handler(Signal::TERM, own);
        drop(stop);
        assert_eq!(handler(Signal::INT), own);
        assert_eq!(handler(Signal::TERM), own, "set after us");
    }),
    ("taken again", || {
        let own = own_handler as *const () as libc::sighandler_t;
        let driver = Driver::machine().unwrap();
        let first = listener(&driver, &[OTHER]);
        set_handler(OTHER, own);
        // Other code replaced our handler; a new listener takes the signal back, and restores that
        // handler in the end.
        let second = listener(&driver, &[OTHER]);
        raise(OTHER);
        assert_eq!(
            (pending(&first), pending(&second)),
            (vec![OTHER], vec![OTHER])
        );
        drop(second);
        assert_ne!(handler(OTHER), own);
        drop(first);
        assert_eq!(handler(OTHER), own);
        // Our handler, put back by other code when it was not installed any more, counts as the
        // default.
        set_handler(OTHER, libc::SIG_DFL);
        let first = listener(&driver, &[OTHER]);
        let ours = handler(OTHER);
        drop(first);
        set_handler(OTHER, ours);
        drop(listener(&driver, &[OTHER]));
        assert_eq!(handler(OTHER), libc::SIG_DFL);
        // SIGINT was ignored: a listener receives it all the same, and it stops no loop.
        set_handler(Signal::INT, libc::SIG_IGN);
        let first = listener(&driver, &[Signal::INT]);
        let stops = stopper(&driver);
        raise(Signal::INT);
        assert_eq!(
            (pending(&first), stops.take_stop()),
            (vec![Signal::INT], None)
        );
        drop(first);
        assert_eq!(handler(Signal::INT), libc::SIG_IGN);
    }),
    ("several", || {
        let drivers = [
            Driver::machine().unwrap(),
            Driver::memory(None).unwrap(),
            Driver::machine().unwrap(),
        ];
        let mut stops: Vec<_> = drivers.iter().map(stopper).collect();
        drop(stops.remove(2));
        assert_ne!(handler(Signal::TERM), libc::SIG_DFL);
        raise(Signal::TERM);
        assert!(is_woken(&drivers[0]));
        // In memory only a wait without a timeout can be ended.
        drivers[1].wait(None, &mut Vec::new()).unwrap();
        assert!(!is_woken(&drivers[2]));
        stops.push(stopper(&drivers[2]));
        assert!(is_woken(&drivers[2]), "a new slot gets the stop signal");
        for stop in &stops {
            assert_eq!(stop.take_stop(), Some(Signal::TERM));
            assert_eq!(stop.take_stop(), None);
        }
        drop(stops);
        assert_eq!(handler(Signal::TERM), libc::SIG_DFL);
    }),
    #[cfg(unix)]
    ("through the poller", || {
        let driver = Driver::Machine(crate::driver::machine::Machine::oneshot());
        let stop = stopper(&driver);
        raise(Signal::TERM);
        assert!(is_woken(&driver));
        assert_eq!(stop.take_stop(), Some(Signal::TERM));
        assert!(!is_woken(&driver));
    }),
    ("while waiting", || {
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        let sender = thread::spawn(|| send(Signal::INT));
        let mut taken = None;
        while taken.is_none() {
            driver.wait(None, &mut Vec::new()).unwrap();
            taken = stop.take_stop();
        }
        assert_eq!(taken, Some(Signal::INT));
        sender.join().unwrap();
    }),
    ("too many", || {
        let driver = Driver::machine().unwrap();
        let install = || SignalSlot::new(driver.waker());
        let all: Vec<_> = (0..64).map(|_| install().unwrap()).collect();
        assert!(install().is_err());
        drop(all);
        install().unwrap();
    }),
    #[cfg(target_os = "linux")]
    ("a file without a reader", || {
        let driver = Driver::machine().unwrap();
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (socket, _) = driver.adopt_connection(one.into()).unwrap();
        drop(other);
        let file = std::fs::File::open(env::current_exe().unwrap()).unwrap();
        for (handler, kind) in [
            (libc::SIG_IGN, io::ErrorKind::BrokenPipe),
            (libc::SIG_DFL, io::ErrorKind::Unsupported),
        ] {
            set_handler(Signal::PIPE, handler);
            assert_eq!(socket.send_file(&file, 100).unwrap_err().kind(), kind);
        }
    }),
    #[cfg(unix)]
    ("errno", || {
        let driver = Driver::machine().unwrap();
        let _stop = stopper(&driver);
        // The counter is full, so that the handler's own write fails: the descriptor was written
        // once, when the driver was made.
        let most = (u64::MAX - 2).to_ne_bytes();
        let hand = driver.waker().raw_fd().unwrap();
        // SAFETY: eight bytes are read from `most`, and the descriptor is open while the driver
        // lives.
        let written = unsafe { libc::write(hand, most.as_ptr().cast(), most.len()) };
        assert_eq!(written, 8);
        // SAFETY: closing a descriptor that cannot be open only sets errno.
        unsafe { libc::close(-1) };
        raise(Signal::TERM);
        let errno = io::Error::last_os_error().raw_os_error();
        assert_eq!(errno, Some(libc::EBADF));
    }),
    #[cfg(windows)]
    ("the console's", || {
        let driver = Driver::machine().unwrap();
        let listener = listener(&driver, &[Signal::INT]);
        for _ in 0..3 {
            assert_eq!(console(CTRL_C_EVENT), TRUE);
            assert!(is_woken(&driver));
            assert_eq!(pending(&listener), [Signal::INT]);
        }
        assert_eq!(console(CTRL_BREAK_EVENT), FALSE);
        // Other code replaced our handler.
        let own = own_handler as *const () as libc::sighandler_t;
        set_handler(Signal::INT, own);
        assert_eq!(console(CTRL_C_EVENT), FALSE);
        assert_eq!((pending(&listener), handler(Signal::INT)), (vec![], own));
        let again = listener(&driver, &[Signal::INT, Signal::BREAK]);
        assert_eq!(console(CTRL_BREAK_EVENT), TRUE);
        assert_eq!(pending(&again), [Signal::BREAK]);
        drop((listener, again));
        assert_eq!(console(CTRL_C_EVENT), FALSE);
        assert_eq!(console(CTRL_BREAK_EVENT), FALSE);
        assert_eq!(console(CTRL_CLOSE_EVENT), FALSE);
    }),
    #[cfg(windows)]
    ("closing", || {
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        let event = thread::spawn(|| console(CTRL_CLOSE_EVENT));
        driver.wait(None, &mut Vec::new()).unwrap();
        assert_eq!(stop.take_stop(), Some(Signal::BREAK));
        drop(stop);
        // The system would end the process.
        thread::park_timeout(Duration::from_millis(300));
        assert!(!event.is_finished());
        let stop = stopper(&driver);
        raise(Signal::TERM);
        assert_eq!(stop.take_stop(), Some(Signal::TERM));
        wait_past_merging();
        console(CTRL_SHUTDOWN_EVENT);
    }),
    #[cfg(windows)]
    ("no signals", || {
        for number in [Signal::KILL.number(), 3, 20] {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(
                system::raise(signal).unwrap_err().to_string(),
                "the C runtime has no such signal"
            );
        }
    }),
];

#[test]
fn the_first_signal_is_recorded_and_ends_a_wait() {
    check("first", None);
    check("while waiting", None);
    #[cfg(unix)]
    check("through the poller", None);
}

#[test]
fn a_subscribed_signal_is_delivered_once_for_each_look_and_does_not_end_the_process() {
    check("subscribed", None);
    check("only meanwhile", None);
    check("delivered", None);
}

#[test]
fn every_signal_but_two_can_be_subscribed_to() {
    check("each of them", None);
    check("all or none", None);
}

#[test]
fn a_subscribed_stop_signal_does_not_stop_the_loop_before_its_stop_has_begun() {
    check("subscribed and stops", Some(Signal::INT));
    check("stopping", Some(Signal::TERM));
    check("another stops", None);
}

#[test]
fn the_second_signal_ends_the_process() {
    check("second", Some(Signal::TERM));
    check("second after taking", Some(Signal::INT));
}

#[test]
fn the_earlier_disposition_is_restored() {
    check("defaults", None);
    check("ignored", None);
    check("own handler", None);
    check("taken again", None);
}

#[test]
fn every_loop_gets_the_signal_and_the_last_one_restores_the_disposition() {
    check("several", None);
    check("too many", None);
}

#[cfg(windows)]
#[test]
fn events_of_the_console_are_signals_as_long_as_their_dispositions_are_ours() {
    check("the console's", None);
    check("no signals", None);
}

#[cfg(windows)]
#[test]
fn an_event_that_closes_is_held_and_the_second_ends_the_process() {
    check("closing", Some(Signal::BREAK));
}

#[cfg(unix)]
#[test]
fn the_handler_preserves_errno() {
    check("errno", None);
}

#[cfg(target_os = "linux")]
#[test]
fn sending_a_file_to_a_peer_that_is_gone_does_not_kill_the_process() {
    check("a file without a reader", None);
}

/// Not a test by itself: runs the case that the environment names.
#[test]
fn run_case() {
    let Ok(name) = env::var(CASE) else { return };
    let (_, case) = CASES.iter().find(|(other, _)| *other == name).unwrap();
    // The parent may have had some signals ignored, as `nohup` does.
    for signal in [Signal::INT, Signal::TERM, ONE, OTHER] {
        set_handler(signal, libc::SIG_DFL);
    }
    case();
}

/// Runs `name` in a separate process, which ends by `signal` or successfully.
#[track_caller]
fn check(name: &str, signal: Option<Signal>) {
    let module = module_path!().split_once("::").unwrap().1;
    let output = Command::new(env::current_exe().unwrap())
        .args([
            &format!("{module}::run_case"),
            "--exact",
            "--test-threads=1",
        ])
        .env(CASE, name)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let ended = |status: ExitStatus| match signal {
        Some(signal) => is_end_by(signal, status),
        None => status.success() && stdout.contains("1 passed"),
    };
    assert!(ended(output.status), "{name}: {}\n{stdout}", output.status);
}

/// Waits longer than the time within which signals are merged.
fn wait_past_merging() {
    let until = Instant::now() + Duration::from_millis(120);
    while Instant::now() < until {
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Takes a slot that stops.
fn stopper(driver: &Driver) -> SignalSlot {
    let signals = SignalSlot::new(driver.waker()).unwrap();
    signals.set_stops(true).unwrap();
    signals
}

/// Takes a slot that subscribes to these signals.
fn listener(driver: &Driver, pending: &[Signal]) -> SignalSlot {
    let signals = SignalSlot::new(driver.waker()).unwrap();
    signals
        .set_subscribed(pending.iter().copied().collect())
        .unwrap();
    signals
}

/// Takes the pending signals.
fn pending(signals: &SignalSlot) -> Vec<Signal> {
    signals.take_pending().iter().collect()
}

/// Returns whether a wait ends at once.
fn is_woken(driver: &Driver) -> bool {
    let began = Instant::now();
    let mut events = Vec::new();
    let timeout = Duration::from_millis(200);
    driver.wait(Some(timeout), &mut events).unwrap();
    assert_eq!(events, []);
    began.elapsed() < timeout
}

/// Returns whether the status is that of a process that ended by this signal.
fn is_end_by(signal: Signal, status: ExitStatus) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(signal.number());
    #[cfg(windows)]
    return status.code()
        == Some(match signal {
            Signal::INT | Signal::BREAK => STATUS_CONTROL_C_EXIT,
            _ => 3,
        });
}

/// Raises a signal with C's function: on Windows without looking at the disposition.
fn raise(signal: Signal) {
    // SAFETY: this process exists to be sent signals.
    unsafe { libc::raise(signal.number()) };
}

/// Sends a signal to the whole process.
fn send(signal: Signal) {
    #[cfg(unix)]
    // SAFETY: the call only returns a number.
    let us = unsafe { libc::getpid() };
    #[cfg(unix)]
    // SAFETY: this process exists to be sent signals.
    assert_eq!(unsafe { libc::kill(us, signal.number()) }, 0);
    #[cfg(windows)]
    raise(signal);
}

fn set_handler(signal: Signal, handler: libc::sighandler_t) {
    // SAFETY: the handlers are C's own, and one that does nothing.
    unsafe { libc::signal(signal.number(), handler) };
}

fn handler(signal: Signal) -> libc::sighandler_t {
    system::disposition(signal).unwrap().handler()
}

extern "C" fn own_handler(_signal: c_int) {}

const CASE: &str = "TORSADE_SIGNAL_CASE";

/// Two signals that stop no loop by default; the second has the lower number.
#[cfg(unix)]
const ONE: Signal = Signal::USR1;
#[cfg(unix)]
const OTHER: Signal = Signal::HUP;
#[cfg(windows)]
const ONE: Signal = Signal::ABRT;
#[cfg(windows)]
const OTHER: Signal = Signal::BREAK;

/// A signal whose handler cannot be set.
#[cfg(unix)]
const NEVER: Signal = Signal::STOP;
#[cfg(windows)]
const NEVER: Signal = Signal::KILL;

/// The signals that the C runtime of Windows keeps for each thread.
#[cfg(unix)]
const FAULTS: [Signal; 0] = [];
#[cfg(windows)]
const FAULTS: [Signal; 3] = [Signal::ILL, Signal::FPE, Signal::SEGV];
