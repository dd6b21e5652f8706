//! Each plays in a process of its own, where it may do as it likes with signals.

use std::env;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use libc::{SIGINT, SIGTERM, SIGUSR1, c_int};

use super::{Signals, unix};
use crate::driver::Driver;
use crate::signal::{Signal, SignalSet};

/// What is played in a process of its own, by name. There each may do as it likes with signals.
const PLAYS: &[(&str, fn())] = &[
    ("first", || {
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        assert_eq!(stop.take_stop(), None);
        raise(SIGTERM);
        assert!(is_woken(&driver));
        assert_eq!(stop.take_stop(), Some(Signal::TERM));
        assert_eq!(stop.take_stop(), None);
        assert!(!is_woken(&driver));
    }),
    ("heard", || {
        set_handler(SIGUSR1, libc::SIG_IGN);
        let (driver, other) = (Driver::machine().unwrap(), Driver::machine().unwrap());
        let hears = listener(&driver, &[Signal::USR1, Signal::HUP]);
        let stops = stopper(&other);
        for times in [1, 3, 1] {
            for _ in 0..times {
                raise(SIGUSR1);
            }
            assert!(is_woken(&driver));
            assert_eq!(heard(&hears), [Signal::USR1]);
            assert_eq!(heard(&hears), []);
            assert_eq!((hears.take_stop(), stops.take_stop()), (None, None));
            assert!(!is_woken(&other));
        }
        raise(libc::SIGHUP);
        raise(SIGUSR1);
        assert_eq!(heard(&hears), [Signal::HUP, Signal::USR1]);
        // Being asked to stop is no business of one that only hears.
        raise(SIGTERM);
        assert_eq!(
            (hears.take_stop(), stops.take_stop()),
            (None, Some(Signal::TERM))
        );
        drop(hears);
        assert_eq!(handler(SIGUSR1), libc::SIG_IGN);
        assert_eq!(handler(libc::SIGHUP), libc::SIG_DFL);
        assert_ne!(handler(SIGTERM), libc::SIG_DFL);
        drop(stops);
        assert_eq!(handler(SIGTERM), libc::SIG_DFL);
    }),
    ("each of them", || {
        let driver = Driver::machine().unwrap();
        let hears = listener(&driver, &[]);
        for signal in Signal::all() {
            let is_kept = [libc::SIGKILL, libc::SIGSTOP].contains(&signal.number());
            let before = handler(signal.number());
            let done = hears.set_heard(signal.into());
            assert_eq!(done.is_err(), is_kept, "{signal}");
            if !is_kept {
                raise(signal.number());
                assert_eq!(heard(&hears), [signal]);
            }
            hears.set_heard(SignalSet::default()).unwrap();
            assert_eq!(handler(signal.number()), before, "{signal}");
        }
    }),
    ("all or none", || {
        let driver = Driver::machine().unwrap();
        let hears = listener(&driver, &[Signal::HUP]);
        let all = [Signal::USR1, Signal::STOP, Signal::USR2];
        assert!(hears.set_heard(all.into_iter().collect()).is_err());
        for signal in [Signal::USR1, Signal::USR2] {
            assert_eq!(handler(signal.number()), libc::SIG_DFL);
        }
        raise(libc::SIGHUP);
        assert_eq!(heard(&hears), [Signal::HUP]);
    }),
    ("only meanwhile", || {
        let driver = Driver::machine().unwrap();
        let other = listener(&driver, &[Signal::USR1, Signal::USR2]);
        let hears = listener(&driver, &[Signal::USR2]);
        raise(SIGUSR1);
        hears.set_heard(Signal::USR1.into()).unwrap();
        assert_eq!(heard(&hears), []);
        raise(SIGUSR1);
        hears.set_heard(SignalSet::default()).unwrap();
        hears.set_heard(Signal::USR1.into()).unwrap();
        assert_eq!(heard(&hears), []);
        assert_eq!(heard(&other), [Signal::USR1]);
    }),
    ("heard and stops", || {
        let driver = Driver::machine().unwrap();
        let both = stopper(&driver);
        both.set_heard(Signal::TERM.into()).unwrap();
        for _ in 0..3 {
            raise(SIGTERM);
            assert_eq!((heard(&both), both.take_stop()), (vec![Signal::TERM], None));
        }
        both.set_heard(SignalSet::default()).unwrap();
        assert_ne!(handler(SIGTERM), libc::SIG_DFL);
        raise(SIGTERM);
        assert_eq!(
            (heard(&both), both.take_stop()),
            (vec![], Some(Signal::TERM))
        );
        // Who was told cannot put it off by hearing.
        both.set_heard(Signal::INT.into()).unwrap();
        raise(SIGINT);
    }),
    ("stopping", || {
        let driver = Driver::machine().unwrap();
        let both = stopper(&driver);
        both.set_heard(Signal::TERM.into()).unwrap();
        both.set_stopping(true);
        raise(SIGTERM);
        assert_eq!(
            (heard(&both), both.take_stop()),
            (vec![Signal::TERM], Some(Signal::TERM))
        );
        raise(SIGTERM);
    }),
    ("another stops", || {
        let (driver, other) = (Driver::machine().unwrap(), Driver::machine().unwrap());
        let (hears, stops) = (stopper(&driver), stopper(&other));
        hears.set_heard(Signal::TERM.into()).unwrap();
        raise(SIGTERM);
        assert_eq!(
            (heard(&hears), hears.take_stop()),
            (vec![Signal::TERM], None)
        );
        assert_eq!(stops.take_stop(), Some(Signal::TERM));
        drop(stops);
        // What was pending has gone with it.
        raise(SIGTERM);
        assert_eq!(
            (heard(&hears), hears.take_stop()),
            (vec![Signal::TERM], None)
        );
    }),
    ("delivered", || {
        let driver = Driver::memory(None).unwrap();
        let (both, other) = (stopper(&driver), stopper(&driver));
        both.set_heard(Signal::USR1.into()).unwrap();
        assert!(
            both.deliver(Signal::USR1) && both.deliver(Signal::TERM) && both.deliver(Signal::INT)
        );
        assert!(!both.deliver(Signal::USR2));
        driver.wait(None, &mut Vec::new()).unwrap();
        assert_eq!(
            (heard(&both), both.take_stop()),
            (vec![Signal::USR1], Some(Signal::TERM))
        );
        assert_eq!((heard(&other), other.take_stop()), (vec![], None));
    }),
    ("second", || {
        let driver = Driver::machine().unwrap();
        let _stop = stopper(&driver);
        raise(SIGINT);
        raise(SIGTERM);
    }),
    ("second after taking", || {
        let driver = Driver::memory(None).unwrap();
        let stop = stopper(&driver);
        raise(SIGINT);
        assert_eq!(stop.take_stop(), Some(Signal::INT));
        raise(SIGINT);
    }),
    ("defaults", || {
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        assert_ne!(handler(SIGINT), libc::SIG_DFL);
        assert_ne!(handler(SIGTERM), libc::SIG_DFL);
        raise(SIGINT);
        assert_eq!(stop.take_stop(), Some(Signal::INT));
        drop(stop);
        assert_eq!(handler(SIGINT), libc::SIG_DFL);
        assert_eq!(handler(SIGTERM), libc::SIG_DFL);
        // Nothing is pending any more: the next first signal is a first one again.
        let stop = stopper(&driver);
        assert_eq!(stop.take_stop(), None);
        raise(SIGTERM);
        assert_eq!(stop.take_stop(), Some(Signal::TERM));
    }),
    ("ignored", || {
        set_handler(SIGINT, libc::SIG_IGN);
        set_handler(SIGTERM, libc::SIG_IGN);
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        raise(SIGINT);
        assert_eq!(stop.take_stop(), None);
        raise(SIGTERM);
        assert_eq!(stop.take_stop(), Some(Signal::TERM));
        drop(stop);
        assert_eq!(handler(SIGINT), libc::SIG_IGN);
        assert_eq!(handler(SIGTERM), libc::SIG_IGN);
    }),
    ("own handler", || {
        let own = own_handler as *const () as libc::sighandler_t;
        set_handler(SIGINT, own);
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        assert_eq!(handler(SIGINT), own);
        set_handler(SIGTERM, own);
        drop(stop);
        assert_eq!(handler(SIGINT), own);
        assert_eq!(handler(SIGTERM), own, "set after us");
    }),
    ("taken anew", || {
        let own = own_handler as *const () as libc::sighandler_t;
        let driver = Driver::machine().unwrap();
        let first = listener(&driver, &[Signal::HUP]);
        set_handler(libc::SIGHUP, own);
        // It was taken from us; who begins to listen takes it back, and so it is theirs in the end.
        let second = listener(&driver, &[Signal::HUP]);
        raise(libc::SIGHUP);
        assert_eq!(
            (heard(&first), heard(&second)),
            (vec![Signal::HUP], vec![Signal::HUP])
        );
        drop(second);
        assert_ne!(handler(libc::SIGHUP), own);
        drop(first);
        assert_eq!(handler(libc::SIGHUP), own);
        // Ours, put back by somebody when it was ours no more, is as good as none.
        set_handler(libc::SIGHUP, libc::SIG_DFL);
        let first = listener(&driver, &[Signal::HUP]);
        let ours = handler(libc::SIGHUP);
        drop(first);
        set_handler(libc::SIGHUP, ours);
        drop(listener(&driver, &[Signal::HUP]));
        assert_eq!(handler(libc::SIGHUP), libc::SIG_DFL);
        // Interrupted and ignored: heard all the same, and no reason to stop.
        set_handler(SIGINT, libc::SIG_IGN);
        let first = listener(&driver, &[Signal::INT]);
        let stops = stopper(&driver);
        raise(SIGINT);
        assert_eq!(
            (heard(&first), stops.take_stop()),
            (vec![Signal::INT], None)
        );
        drop(first);
        assert_eq!(handler(SIGINT), libc::SIG_IGN);
    }),
    ("several", || {
        let drivers = [
            Driver::machine().unwrap(),
            Driver::memory(None).unwrap(),
            Driver::machine().unwrap(),
        ];
        let mut stops: Vec<_> = drivers.iter().map(stopper).collect();
        drop(stops.remove(2));
        assert_ne!(handler(SIGTERM), libc::SIG_DFL);
        raise(SIGTERM);
        assert!(is_woken(&drivers[0]));
        // A wait with no timeout is what can be ended in memory.
        drivers[1].wait(None, &mut Vec::new()).unwrap();
        assert!(!is_woken(&drivers[2]));
        stops.push(stopper(&drivers[2]));
        assert!(is_woken(&drivers[2]), "a newcomer is told");
        for stop in &stops {
            assert_eq!(stop.take_stop(), Some(Signal::TERM));
            assert_eq!(stop.take_stop(), None);
        }
        drop(stops);
        assert_eq!(handler(SIGTERM), libc::SIG_DFL);
    }),
    ("through the poller", || {
        let driver = Driver::Machine(crate::driver::machine::Machine::oneshot());
        let stop = stopper(&driver);
        raise(SIGTERM);
        assert!(is_woken(&driver));
        assert_eq!(stop.take_stop(), Some(Signal::TERM));
        assert!(!is_woken(&driver));
    }),
    ("while waiting", || {
        let driver = Driver::machine().unwrap();
        let stop = stopper(&driver);
        // SAFETY: it only asks who we are.
        let us = unsafe { libc::getpid() };
        let sender = std::thread::spawn(move || {
            // SAFETY: a signal is sent to this process, which listens for it.
            unsafe { libc::kill(us, SIGINT) }
        });
        let mut taken = None;
        while taken.is_none() {
            driver.wait(None, &mut Vec::new()).unwrap();
            taken = stop.take_stop();
        }
        assert_eq!(taken, Some(Signal::INT));
        assert_eq!(sender.join().unwrap(), 0);
    }),
    ("too many", || {
        let driver = Driver::machine().unwrap();
        let install = || Signals::new(driver.waker());
        let all: Vec<_> = (0..64).map(|_| install().unwrap()).collect();
        assert!(install().is_err());
        drop(all);
        install().unwrap();
    }),
    #[cfg(target_os = "linux")]
    ("a file for nobody", || {
        let driver = Driver::machine().unwrap();
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let (socket, _) = driver.adopt_connection(one.into()).unwrap();
        drop(other);
        let file = std::fs::File::open(env::current_exe().unwrap()).unwrap();
        for (handler, kind) in [
            (libc::SIG_IGN, io::ErrorKind::BrokenPipe),
            (libc::SIG_DFL, io::ErrorKind::Unsupported),
        ] {
            set_handler(libc::SIGPIPE, handler);
            assert_eq!(socket.send_file(&file, 100).unwrap_err().kind(), kind);
        }
    }),
    ("errno", || {
        let driver = Driver::machine().unwrap();
        let _stop = stopper(&driver);
        // Full, so that the handler's own call fails: it was rung once, when the driver was made.
        let most = (u64::MAX - 2).to_ne_bytes();
        let hand = driver.waker().hand().unwrap();
        // SAFETY: eight bytes are read from `most`, and the descriptor is open while the driver lives.
        let written = unsafe { libc::write(hand, most.as_ptr().cast(), most.len()) };
        assert_eq!(written, 8);
        // SAFETY: closing a descriptor that cannot be open only sets errno.
        unsafe { libc::close(-1) };
        raise(SIGTERM);
        let errno = io::Error::last_os_error().raw_os_error();
        assert_eq!(errno, Some(libc::EBADF));
    }),
];

#[test]
fn the_first_signal_is_noted_and_ends_a_wait() {
    check("first", None);
    check("while waiting", None);
    check("through the poller", None);
}

#[test]
fn what_is_heard_is_told_once_for_each_look_and_ends_nothing() {
    check("heard", None);
    check("only meanwhile", None);
    check("delivered", None);
}

#[test]
fn every_signal_but_two_can_be_heard() {
    check("each of them", None);
    check("all or none", None);
}

#[test]
fn who_hears_a_stop_signal_is_not_stopped_by_it_until_the_stop_has_begun() {
    check("heard and stops", Some(SIGINT));
    check("stopping", Some(SIGTERM));
    check("another stops", None);
}

#[test]
fn the_second_signal_ends_the_process() {
    check("second", Some(SIGTERM));
    check("second after taking", Some(SIGINT));
}

#[test]
fn what_was_before_is_restored() {
    check("defaults", None);
    check("ignored", None);
    check("own handler", None);
    check("taken anew", None);
}

#[test]
fn every_loop_is_told_and_the_last_one_cleans_up() {
    check("several", None);
    check("too many", None);
}

#[test]
fn a_signal_leaves_errno_alone() {
    check("errno", None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_for_a_peer_that_went_away_kills_nobody() {
    check("a file for nobody", None);
}

/// Not a test by itself: plays what the environment names.
#[test]
fn play() {
    let Ok(name) = env::var(PLAY) else { return };
    let (_, play) = PLAYS.iter().find(|(other, _)| *other == name).unwrap();
    // Whoever started the tests may have had some ignored, as `nohup` has.
    for signal in [SIGINT, SIGTERM, SIGUSR1, libc::SIGHUP, libc::SIGUSR2] {
        set_handler(signal, libc::SIG_DFL);
    }
    play();
}

/// Plays `name` in a process of its own, which ends by `signal` or well.
#[track_caller]
fn check(name: &str, signal: Option<c_int>) {
    let module = module_path!().split_once("::").unwrap().1;
    let output = Command::new(env::current_exe().unwrap())
        .args([&format!("{module}::play"), "--exact", "--test-threads=1"])
        .env(PLAY, name)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let ended = |status: ExitStatus| match signal {
        Some(signal) => status.signal() == Some(signal),
        None => status.success() && said.contains("1 passed"),
    };
    assert!(ended(output.status), "{name}: {}\n{said}", output.status);
}

/// One that stops.
fn stopper(driver: &Driver) -> Signals {
    let signals = Signals::new(driver.waker()).unwrap();
    signals.set_stops(true).unwrap();
    signals
}

/// One that hears these.
fn listener(driver: &Driver, heard: &[Signal]) -> Signals {
    let signals = Signals::new(driver.waker()).unwrap();
    signals.set_heard(heard.iter().copied().collect()).unwrap();
    signals
}

/// What it has heard since the last time.
fn heard(signals: &Signals) -> Vec<Signal> {
    signals.take_heard().iter().collect()
}

/// Whether a wait is ended at once.
fn is_woken(driver: &Driver) -> bool {
    let began = Instant::now();
    let mut events = Vec::new();
    let timeout = Duration::from_millis(200);
    driver.wait(Some(timeout), &mut events).unwrap();
    assert_eq!(events, []);
    began.elapsed() < timeout
}

fn raise(signal: c_int) {
    // SAFETY: this process is there to be sent signals.
    unsafe { libc::raise(signal) };
}

fn set_handler(signal: c_int, handler: libc::sighandler_t) {
    // SAFETY: the handlers given are C's own, and one that does nothing.
    unsafe { libc::signal(signal, handler) };
}

fn handler(signal: c_int) -> libc::sighandler_t {
    unix::disposition(signal).unwrap().sa_sigaction
}

extern "C" fn own_handler(_signal: c_int) {}

const PLAY: &str = "TORSADE_SIGNAL_PLAY";
