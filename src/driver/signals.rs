//! Being asked to stop by the terminal or by whoever started the process.
//!
//! Each loop that wants to know installs [`Signals`]. The first SIGINT or SIGTERM is noted for all of
//! them and ends their waits; a second, while the stop is still pending, ends the process as if nobody had
//! been listening, so a shutdown that hangs can be cut short. A loop can also want to be told of each SIGUSR1, upon
//! which it says what it is doing; that never ends anything.
//!
//! | event                      | pending | does                                                            |
//! |----------------------------|---------|-----------------------------------------------------------------|
//! | first install              | –       | notes the dispositions, sets ours                               |
//! | further install            | no      | counts                                                          |
//! | further install            | yes     | counts; the newcomer is told at once                            |
//! | a signal                   | no      | pending from now on; noted for each loop, each wait is ended    |
//! | a signal                   | yes     | default disposition, raised again: the process ends by it       |
//! | a drop that is not the last| –       | uncounts                                                        |
//! | the last drop              | –       | restores the dispositions, nothing is pending                   |
//!
//! # Invariants
//!
//! 1. SIGINT is taken only from the default disposition: who ignores it, or has a handler, keeps that.
//! 2. The handler uses nothing but atomics, `write`, `sigaction` and `raise`, and leaves `errno` as it was.
//! 3. A place's descriptor is open while the handler may write to it: a drop clears the place, then waits for
//!    handlers that are under way, and only then lets its [`Waking`] go.
//! 4. A disposition that somebody changed after us is left to them.
//!
//! In memory a wait with a timeout does not block and so has nothing to be ended; the signal is noted all the
//! same.

use std::io;

use super::waking::Waking;

/// Tells one loop that the process was asked to stop, or to say what it does. Dropping the last one restores what was
/// before.
#[derive(Debug)]
pub(crate) struct Signals(Inner);

/// What a loop wants to be told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wants {
    /// SIGINT and SIGTERM.
    pub(crate) stops: bool,
    /// SIGUSR1.
    pub(crate) dumps: bool,
}

impl Wants {
    pub(crate) fn any(self) -> bool {
        self.stops || self.dumps
    }
}

impl Signals {
    /// Listens, and ends the waits of `wake`'s driver when a signal comes.
    pub(crate) fn install(wake: Waking, wants: Wants) -> io::Result<Self> {
        Inner::install(wake, wants).map(Self)
    }

    /// Did SIGUSR1 come since the last time?
    pub(crate) fn take_dump(&self) -> bool {
        self.0.take_dump()
    }

    /// The signal that came, once.
    pub(crate) fn take(&self) -> Option<i32> {
        self.0.take()
    }
}

#[cfg(unix)]
use unix::Inner;

#[cfg(not(unix))]
#[derive(Debug)]
struct Inner;

#[cfg(not(unix))]
impl Inner {
    fn install(_wake: Waking, _wants: Wants) -> io::Result<Self> {
        Ok(Self)
    }

    fn take_dump(&self) -> bool {
        false
    }

    fn take(&self) -> Option<i32> {
        None
    }
}

/// Does this signal, when it comes, end the process?
#[cfg(target_os = "linux")]
pub(super) fn kills(signal: i32) -> bool {
    unix::disposition(signal).is_ok_and(|found| found.sa_sigaction == libc::SIG_DFL)
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
    use std::sync::{Mutex, PoisonError};
    use std::thread;

    use libc::{SIGINT, SIGTERM, SIGUSR1, c_int};

    use super::{Waking, Wants};

    /// A place in the table, held while this lives.
    #[derive(Debug)]
    pub(super) struct Inner {
        place: usize,
        wants: Wants,
        /// Keeps the descriptor in the place open (invariant 3).
        _wake: Waking,
    }

    /// Where the handler finds one loop.
    struct Place {
        /// What to write to, or [`NOBODY`].
        hand: AtomicI32,
        /// [`QUIET`], then the signal that came, then [`TAKEN`] until the place is given away.
        signal: AtomicI32,
        /// It is to be told of SIGINT and SIGTERM.
        stops: AtomicBool,
        /// SIGUSR1 came.
        dump: AtomicBool,
    }

    /// What the first install found.
    struct Installed {
        /// How many want to be told of SIGINT and SIGTERM.
        count: usize,
        /// How many want to be told of SIGUSR1.
        dumpers: usize,
        /// The dispositions that ours replaced.
        previous: Vec<(c_int, libc::sigaction)>,
    }

    impl Inner {
        pub(super) fn install(wake: Waking, wants: Wants) -> io::Result<Self> {
            let hand = wake.hand()?;
            let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
            let free = |place: &Place| place.hand.load(SeqCst) == NOBODY;
            let place = PLACES.iter().position(free).ok_or_else(|| {
                io::Error::other(format!("{} loops listen for signals already", PLACES.len()))
            })?;
            if wants.stops && installed.count == 0 {
                // A handler that began before the last drop may have come to its first line after it.
                PENDING.store(QUIET, SeqCst);
                installed.begin(&[SIGINT, SIGTERM])?;
            }
            if wants.dumps && installed.dumpers == 0 {
                if let Err(error) = installed.begin(&[SIGUSR1]) {
                    if wants.stops && installed.count == 0 {
                        installed.end(&[SIGINT, SIGTERM]);
                    }
                    return Err(error);
                }
            }
            installed.count += usize::from(wants.stops);
            installed.dumpers += usize::from(wants.dumps);
            PLACES[place].signal.store(QUIET, SeqCst);
            PLACES[place].dump.store(false, SeqCst);
            PLACES[place].stops.store(wants.stops, SeqCst);
            PLACES[place].hand.store(hand, SeqCst);
            // Pending already, or from just now when the handler had not seen the place yet.
            let pending = PENDING.load(SeqCst);
            if wants.stops && pending != QUIET {
                PLACES[place].note(pending);
                wake.wake();
            }
            drop(installed);
            Ok(Self {
                place,
                wants,
                _wake: wake,
            })
        }

        pub(super) fn take_dump(&self) -> bool {
            self.wants.dumps && PLACES[self.place].dump.swap(false, SeqCst)
        }

        pub(super) fn take(&self) -> Option<c_int> {
            let signal = &PLACES[self.place].signal;
            let came = signal.load(SeqCst);
            if came == QUIET || came == TAKEN {
                return None;
            }
            signal.store(TAKEN, SeqCst);
            Some(came)
        }
    }

    impl Drop for Inner {
        fn drop(&mut self) {
            let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
            installed.count -= usize::from(self.wants.stops);
            installed.dumpers -= usize::from(self.wants.dumps);
            if self.wants.stops && installed.count == 0 {
                installed.end(&[SIGINT, SIGTERM]);
            }
            if self.wants.dumps && installed.dumpers == 0 {
                installed.end(&[SIGUSR1]);
            }
            PLACES[self.place].hand.store(NOBODY, SeqCst);
            while BUSY.load(SeqCst) != 0 {
                thread::yield_now();
            }
            if installed.count == 0 {
                PENDING.store(QUIET, SeqCst);
            }
        }
    }

    impl Place {
        /// Notes `came`, unless one was noted before.
        fn note(&self, came: c_int) {
            let _ = self.signal.compare_exchange(QUIET, came, SeqCst, SeqCst);
        }
    }

    impl Installed {
        /// Sets our handler, and notes what it replaces.
        fn begin(&mut self, signals: &[c_int]) -> io::Result<()> {
            for &signal in signals {
                let previous = disposition(signal)?;
                if signal == SIGINT && previous.sa_sigaction != libc::SIG_DFL {
                    continue;
                }
                if let Err(error) = set_disposition(signal, &ours()) {
                    self.end(signals);
                    return Err(error);
                }
                self.previous.push((signal, previous));
            }
            Ok(())
        }

        /// Puts back what was replaced.
        fn end(&mut self, signals: &[c_int]) {
            let all = std::mem::take(&mut self.previous);
            let (ended, kept): (Vec<_>, Vec<_>) = all
                .into_iter()
                .partition(|(signal, _)| signals.contains(signal));
            self.previous = kept;
            for (signal, previous) in ended {
                let current = disposition(signal).map(|current| current.sa_sigaction);
                if current.is_ok_and(|current| current == address()) {
                    // It was in place before, so it can be again.
                    let _ = set_disposition(signal, &previous);
                }
            }
        }
    }

    /// What the kernel calls, on any thread, between any two instructions.
    extern "C" fn handler(signal: c_int) {
        let errno = errno();
        BUSY.fetch_add(1, SeqCst);
        if signal == SIGUSR1 {
            for place in &PLACES {
                let hand = place.hand.load(SeqCst);
                if hand != NOBODY {
                    place.dump.store(true, SeqCst);
                    ring(hand);
                }
            }
        } else if PENDING
            .compare_exchange(QUIET, signal, SeqCst, SeqCst)
            .is_ok()
        {
            for place in &PLACES {
                let hand = place.hand.load(SeqCst);
                if hand != NOBODY && place.stops.load(SeqCst) {
                    place.note(signal);
                    ring(hand);
                }
            }
        } else {
            // It stays blocked until we return; then it ends the process.
            let _ = set_disposition(signal, &default());
            // SAFETY: raising a signal is allowed in a handler and has no preconditions.
            unsafe { libc::raise(signal) };
        }
        BUSY.fetch_sub(1, SeqCst);
        set_errno(errno);
    }

    /// Ends a wait. It may find the descriptor full, and then it has been rung already.
    fn ring(hand: c_int) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes are read from `one`, which is that long; `hand` is open (invariant 3).
        let _ = unsafe { libc::write(hand, one.as_ptr().cast(), one.len()) };
    }

    /// What is done about `signal` now.
    pub(super) fn disposition(signal: c_int) -> io::Result<libc::sigaction> {
        let mut current = MaybeUninit::uninit();
        // SAFETY: no new disposition is given, and there is room for the present one.
        let done = unsafe { libc::sigaction(signal, ptr::null(), current.as_mut_ptr()) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so it has filled `current`.
        Ok(unsafe { current.assume_init() })
    }

    /// Does `action` about `signal` from now on.
    fn set_disposition(signal: c_int, action: &libc::sigaction) -> io::Result<()> {
        // SAFETY: `action` is whole, and the handler in it, if it is ours, does only what a handler may
        // (invariant 2); any other was in place before.
        let done = unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Our handler. It does not interrupt itself, and calls it does interrupt go on.
    fn ours() -> libc::sigaction {
        let mut action = default();
        action.sa_sigaction = address();
        action.sa_flags = libc::SA_RESTART;
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            // SAFETY: the set is whole, `default` emptied it, and the signal's number is a true one.
            unsafe { libc::sigaddset(&raw mut action.sa_mask, signal) };
        }
        action
    }

    /// The default disposition.
    fn default() -> libc::sigaction {
        // SAFETY: it is a struct of C's made of integers and a pointer that may be null; all zeros is the
        // default disposition with an empty mask wherever `SIG_DFL` is zero, which is set below besides.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        // SAFETY: the set is there to be written to.
        unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
        action.sa_sigaction = libc::SIG_DFL;
        action
    }

    /// Our handler as C's struct holds it.
    fn address() -> libc::sighandler_t {
        handler as *const () as libc::sighandler_t
    }

    fn errno() -> c_int {
        // SAFETY: the C library gives each thread a place for it that lives as long as the thread.
        unsafe { *errno_place() }
    }

    fn set_errno(errno: c_int) {
        // SAFETY: as above; it is this thread's alone.
        unsafe { *errno_place() = errno };
    }

    /// Where the C library keeps this thread's `errno`.
    fn errno_place() -> *mut c_int {
        #[cfg(any(target_os = "illumos", target_os = "solaris"))]
        use libc::___errno as place;
        #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
        use libc::__errno as place;
        #[cfg(not(any(
            target_vendor = "apple",
            target_os = "freebsd",
            target_os = "android",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "illumos",
            target_os = "solaris"
        )))]
        use libc::__errno_location as place;
        #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
        use libc::__error as place;
        // SAFETY: it takes nothing and only returns an address.
        unsafe { place() }
    }

    static INSTALLED: Mutex<Installed> = Mutex::new(Installed {
        count: 0,
        dumpers: 0,
        previous: Vec::new(),
    });

    static PLACES: [Place; 64] = [const {
        Place {
            hand: AtomicI32::new(NOBODY),
            signal: AtomicI32::new(QUIET),
            stops: AtomicBool::new(false),
            dump: AtomicBool::new(false),
        }
    }; 64];

    /// The signal that came first, or [`QUIET`].
    static PENDING: AtomicI32 = AtomicI32::new(QUIET);

    /// How many handlers are under way.
    static BUSY: AtomicUsize = AtomicUsize::new(0);

    /// No descriptor.
    const NOBODY: c_int = -1;

    /// No signal came.
    const QUIET: c_int = 0;

    /// One came and was taken.
    const TAKEN: c_int = -1;
}

#[cfg(all(test, unix))]
mod tests {
    use std::env;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, ExitStatus};
    use std::time::{Duration, Instant};

    use libc::{SIGINT, SIGTERM, SIGUSR1, c_int};

    use super::*;
    use crate::driver::Driver;

    const STOPS: Wants = Wants {
        stops: true,
        dumps: false,
    };

    const DUMPS: Wants = Wants {
        stops: false,
        dumps: true,
    };

    /// What is played in a process of its own, by name. There each may do as it likes with signals.
    const PLAYS: &[(&str, fn())] = &[
        ("first", || {
            let driver = Driver::machine().unwrap();
            let stop = Signals::install(driver.waker(), STOPS).unwrap();
            assert_eq!(stop.take(), None);
            raise(SIGTERM);
            assert!(is_woken(&driver));
            assert_eq!(stop.take(), Some(SIGTERM));
            assert_eq!(stop.take(), None);
            assert!(!is_woken(&driver));
        }),
        ("dump", || {
            set_handler(SIGUSR1, libc::SIG_IGN);
            let (driver, other) = (Driver::machine().unwrap(), Driver::machine().unwrap());
            let dumps = Signals::install(driver.waker(), DUMPS).unwrap();
            let stops = Signals::install(other.waker(), STOPS).unwrap();
            for _ in 0..3 {
                raise(SIGUSR1);
                assert!(is_woken(&driver));
                assert!(dumps.take_dump());
                assert!(!dumps.take_dump() && !stops.take_dump());
                assert_eq!((dumps.take(), stops.take()), (None, None));
            }
            // Being asked to stop is no business of one that only dumps.
            raise(SIGTERM);
            assert_eq!((dumps.take(), stops.take()), (None, Some(SIGTERM)));
            drop(dumps);
            assert_eq!(handler(SIGUSR1), libc::SIG_IGN);
            assert_ne!(handler(SIGTERM), libc::SIG_DFL);
            drop(stops);
            assert_eq!(handler(SIGTERM), libc::SIG_DFL);
        }),
        ("second", || {
            let driver = Driver::machine().unwrap();
            let _stop = Signals::install(driver.waker(), STOPS).unwrap();
            raise(SIGINT);
            raise(SIGTERM);
        }),
        ("second after taking", || {
            let driver = Driver::memory(None).unwrap();
            let stop = Signals::install(driver.waker(), STOPS).unwrap();
            raise(SIGINT);
            assert_eq!(stop.take(), Some(SIGINT));
            raise(SIGINT);
        }),
        ("defaults", || {
            let driver = Driver::machine().unwrap();
            let stop = Signals::install(driver.waker(), STOPS).unwrap();
            assert_ne!(handler(SIGINT), libc::SIG_DFL);
            assert_ne!(handler(SIGTERM), libc::SIG_DFL);
            raise(SIGINT);
            assert_eq!(stop.take(), Some(SIGINT));
            drop(stop);
            assert_eq!(handler(SIGINT), libc::SIG_DFL);
            assert_eq!(handler(SIGTERM), libc::SIG_DFL);
            // Nothing is pending any more: the next first signal is a first one again.
            let stop = Signals::install(driver.waker(), STOPS).unwrap();
            assert_eq!(stop.take(), None);
            raise(SIGTERM);
            assert_eq!(stop.take(), Some(SIGTERM));
        }),
        ("ignored", || {
            set_handler(SIGINT, libc::SIG_IGN);
            set_handler(SIGTERM, libc::SIG_IGN);
            let driver = Driver::machine().unwrap();
            let stop = Signals::install(driver.waker(), STOPS).unwrap();
            raise(SIGINT);
            assert_eq!(stop.take(), None);
            raise(SIGTERM);
            assert_eq!(stop.take(), Some(SIGTERM));
            drop(stop);
            assert_eq!(handler(SIGINT), libc::SIG_IGN);
            assert_eq!(handler(SIGTERM), libc::SIG_IGN);
        }),
        ("own handler", || {
            let own = own_handler as *const () as libc::sighandler_t;
            set_handler(SIGINT, own);
            let driver = Driver::machine().unwrap();
            let stop = Signals::install(driver.waker(), STOPS).unwrap();
            assert_eq!(handler(SIGINT), own);
            set_handler(SIGTERM, own);
            drop(stop);
            assert_eq!(handler(SIGINT), own);
            assert_eq!(handler(SIGTERM), own, "set after us");
        }),
        ("several", || {
            let drivers = [
                Driver::machine().unwrap(),
                Driver::memory(None).unwrap(),
                Driver::machine().unwrap(),
            ];
            let install = |driver: &Driver| Signals::install(driver.waker(), STOPS).unwrap();
            let mut stops: Vec<_> = drivers.iter().map(install).collect();
            drop(stops.remove(2));
            assert_ne!(handler(SIGTERM), libc::SIG_DFL);
            raise(SIGTERM);
            assert!(is_woken(&drivers[0]));
            // A wait with no timeout is what can be ended in memory.
            drivers[1].wait(None, &mut Vec::new()).unwrap();
            assert!(!is_woken(&drivers[2]));
            stops.push(install(&drivers[2]));
            assert!(is_woken(&drivers[2]), "a newcomer is told");
            for stop in &stops {
                assert_eq!(stop.take(), Some(SIGTERM));
                assert_eq!(stop.take(), None);
            }
            drop(stops);
            assert_eq!(handler(SIGTERM), libc::SIG_DFL);
        }),
        ("through the poller", || {
            let driver = Driver::Machine(crate::driver::machine::Machine::oneshot());
            let stop = Signals::install(driver.waker(), STOPS).unwrap();
            raise(SIGTERM);
            assert!(is_woken(&driver));
            assert_eq!(stop.take(), Some(SIGTERM));
            assert!(!is_woken(&driver));
        }),
        ("while waiting", || {
            let driver = Driver::machine().unwrap();
            let stop = Signals::install(driver.waker(), STOPS).unwrap();
            // SAFETY: it only asks who we are.
            let us = unsafe { libc::getpid() };
            let sender = std::thread::spawn(move || {
                // SAFETY: a signal is sent to this process, which listens for it.
                unsafe { libc::kill(us, SIGINT) }
            });
            let mut taken = None;
            while taken.is_none() {
                driver.wait(None, &mut Vec::new()).unwrap();
                taken = stop.take();
            }
            assert_eq!(taken, Some(SIGINT));
            assert_eq!(sender.join().unwrap(), 0);
        }),
        ("too many", || {
            let driver = Driver::machine().unwrap();
            let install = || Signals::install(driver.waker(), STOPS);
            let all: Vec<_> = (0..64).map(|_| install().unwrap()).collect();
            assert!(install().is_err());
            drop(all);
            install().unwrap();
        }),
        ("errno", || {
            let driver = Driver::machine().unwrap();
            let _stop = Signals::install(driver.waker(), STOPS).unwrap();
            // SAFETY: closing a descriptor that cannot be open only sets errno.
            unsafe { libc::close(-1) };
            raise(SIGTERM);
            let errno = io::Error::last_os_error().raw_os_error();
            assert_eq!(errno, Some(libc::EBADF));
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
    ];

    #[test]
    fn the_first_signal_is_noted_and_ends_a_wait() {
        check("first", None);
        check("while waiting", None);
        check("through the poller", None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_for_a_peer_that_went_away_kills_nobody() {
        check("a file for nobody", None);
    }

    #[test]
    fn sigusr1_asks_for_a_dump_each_time_and_ends_nothing() {
        check("dump", None);
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

    /// Not a test by itself: plays what the environment names.
    #[test]
    fn play() {
        let Ok(name) = env::var(PLAY) else { return };
        let (_, play) = PLAYS.iter().find(|(other, _)| *other == name).unwrap();
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
}
