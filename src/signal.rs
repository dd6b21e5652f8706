//! A signal's name and number: [`Signal`].
//!
//! A signal is a plain value, the number that the system knows: making one neither sends nor
//! listens. The same type names the signals to listen to, to send to a process, and by which a
//! process ended.
//!
//! Names are those of POSIX and of this system, written `SIGTERM`. A number without a name (two of
//! Linux's, which the C library reserves) is a signal as well, since a process may end by it.

use std::fmt;
use std::str::FromStr;

use crate::failure::errors;

/// A signal of the operating system, by its number there. [`signals`](crate::signals) says how to
/// listen to signals.
///
/// # Examples
///
/// By name or by number, and back:
///
/// ```
/// use torsade::Signal;
///
/// let signal: Signal = "SIGTERM".parse()?;
/// assert_eq!(signal, Signal::TERM);
/// assert_eq!(signal, "term".parse()?);
/// assert_eq!(signal, Signal::from_number(15)?);
/// assert_eq!(signal.to_string(), "SIGTERM");
/// # #[cfg(target_os = "linux")]
/// assert_eq!("RTMAX-1".parse::<Signal>()?.to_string(), "SIGRTMIN+29");
///
/// let error = "SIGNIFICANT".parse::<Signal>().unwrap_err();
/// assert_eq!(error.to_string(), "no signal has the name \"SIGNIFICANT\"");
/// # Ok::<(), torsade::Failure>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

/// Makes the constants, and the table of their names.
macro_rules! signals {
    ($($(#[$cfg:meta])* $name:ident = $number:expr, $text:literal: $about:literal;)+) => {
        impl Signal {
            $($(#[$cfg])*
            #[doc = $about]
            #[doc(alias = $text)]
            pub const $name: Self = Self($number);)+
        }

        /// Each signal with its name.
        const NAMED: &[(Signal, &str)] = &[$($(#[$cfg])* (Signal::$name, $text)),+];
    };
}

#[cfg(unix)]
signals! {
    HUP = libc::SIGHUP, "SIGHUP": "The terminal was closed; a daemon reads its settings again.";
    INT = libc::SIGINT, "SIGINT": "The user pressed Ctrl-C in the terminal.";
    QUIT = libc::SIGQUIT, "SIGQUIT": "The user pressed Ctrl-\\\\ in the terminal; asks for a core dump.";
    ILL = libc::SIGILL, "SIGILL": "The process executed an invalid instruction.";
    TRAP = libc::SIGTRAP, "SIGTRAP": "The process reached a breakpoint.";
    ABRT = libc::SIGABRT, "SIGABRT": "The process called `abort`.";
    BUS = libc::SIGBUS, "SIGBUS": "The process accessed memory that does not exist.";
    FPE = libc::SIGFPE, "SIGFPE": "An arithmetic operation failed, such as a division by zero.";
    KILL = libc::SIGKILL, "SIGKILL": "Ends the process; a program cannot listen to it.";
    USR1 = libc::SIGUSR1, "SIGUSR1": "Has no fixed meaning: the program defines one.";
    SEGV = libc::SIGSEGV, "SIGSEGV": "The process accessed memory that it must not use.";
    USR2 = libc::SIGUSR2, "SIGUSR2": "Has no fixed meaning: the program defines one.";
    PIPE = libc::SIGPIPE, "SIGPIPE": "The process wrote to a pipe or socket that has no reader.";
    ALRM = libc::SIGALRM, "SIGALRM": "The timer that `alarm(2)` set has expired.";
    TERM = libc::SIGTERM, "SIGTERM": "Asks the process to end: what `kill` sends by default.";
    CHLD = libc::SIGCHLD, "SIGCHLD": "A child process has ended, was stopped, or was continued.";
    CONT = libc::SIGCONT, "SIGCONT": "The process continues after it was stopped.";
    STOP = libc::SIGSTOP, "SIGSTOP": "Stops the process; a program cannot listen to it.";
    TSTP = libc::SIGTSTP, "SIGTSTP": "The user pressed Ctrl-Z in the terminal: stops the process.";
    TTIN = libc::SIGTTIN, "SIGTTIN": "The process read from its terminal while in the background.";
    TTOU = libc::SIGTTOU, "SIGTTOU": "The process wrote to its terminal while in the background.";
    URG = libc::SIGURG, "SIGURG": "Urgent data arrived on a socket.";
    XCPU = libc::SIGXCPU, "SIGXCPU": "The process exceeded its limit of processor time.";
    XFSZ = libc::SIGXFSZ, "SIGXFSZ": "The process exceeded the limit of a file's size.";
    VTALRM = libc::SIGVTALRM, "SIGVTALRM": "A timer that counts the process's own time has expired.";
    PROF = libc::SIGPROF, "SIGPROF": "A timer for profiling has expired.";
    WINCH = libc::SIGWINCH, "SIGWINCH": "The size of the terminal has changed.";
    IO = libc::SIGIO, "SIGIO": "A descriptor is ready for reading or writing.";
    SYS = libc::SIGSYS, "SIGSYS": "The process made an invalid system call.";
    #[cfg(any(target_os = "linux", target_os = "android"))]
    PWR = libc::SIGPWR, "SIGPWR": "The power supply is failing.";
    #[cfg(all(
        any(target_os = "linux", target_os = "android"),
        not(any(
            target_arch = "mips",
            target_arch = "mips64",
            target_arch = "mips32r6",
            target_arch = "mips64r6",
            target_arch = "sparc",
            target_arch = "sparc64"
        ))
    ))]
    STKFLT = libc::SIGSTKFLT, "SIGSTKFLT": "A stack fault of a coprocessor; Linux never sends it.";
    #[cfg(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd"
    ))]
    EMT = libc::SIGEMT, "SIGEMT": "An emulator's trap.";
    #[cfg(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd"
    ))]
    INFO = libc::SIGINFO, "SIGINFO": "The user pressed Ctrl-T in the terminal: asks for a status.";
}

#[cfg(not(unix))]
signals! {
    INT = 2, "SIGINT": "The user pressed Ctrl-C in the terminal.";
    ILL = 4, "SIGILL": "The process executed an invalid instruction.";
    FPE = 8, "SIGFPE": "An arithmetic operation failed, such as a division by zero.";
    KILL = 9, "SIGKILL": "Ends the process; a program cannot listen to it.";
    SEGV = 11, "SIGSEGV": "The process accessed memory that it must not use.";
    TERM = 15, "SIGTERM": "Asks the process to end: what `kill` sends by default.";
    BREAK = 21, "SIGBREAK": "The user pressed Ctrl-Break, or the console was closed.";
    ABRT = 22, "SIGABRT": "The process called `abort`.";
}

impl Signal {
    /// Returns the signal with this number.
    ///
    /// # Errors
    ///
    /// Fails with [`SignalError::UnknownNumber`] when this system has no signal of that number.
    pub fn from_number(number: i32) -> Result<Self, SignalError> {
        let signal = Self(number);
        match Self::range().contains(&number) || signal.name().is_some() {
            true => Ok(signal),
            false => Err(SignalError::UnknownNumber { number }),
        }
    }

    /// Makes the signal of a number that the system returned.
    pub(crate) const fn given(number: i32) -> Self {
        Self(number)
    }

    /// Returns the real-time signal `SIGRTMIN+n`; `None` when this system has none of that number.
    #[doc(alias("SIGRTMIN", "SIGRTMAX"))]
    pub fn real_time(n: u32) -> Option<Self> {
        let (first, last) = real_time()?;
        let number = first.checked_add(i32::try_from(n).ok()?)?;
        (number <= last).then_some(Self(number))
    }

    /// Returns all named and real-time signals of this system, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::range()
            .map(Self)
            .filter(|signal| signal.name().is_some() || signal.is_real_time())
    }

    /// Returns the signal's number on this system.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Returns whether the signal is a real-time signal: one from `SIGRTMIN` to `SIGRTMAX`, which
    /// have no predefined meaning.
    pub fn is_real_time(self) -> bool {
        real_time().is_some_and(|(first, last)| (first..=last).contains(&self.0))
    }

    /// Returns whether the signal has no name, because the C library reserves it.
    pub(crate) fn is_reserved(self) -> bool {
        self.name().is_none() && !self.is_real_time()
    }

    /// Returns the signal's name, unless it is a real-time signal or has none.
    fn name(self) -> Option<&'static str> {
        let named = NAMED.iter().find(|(signal, _)| *signal == self);
        named.map(|(_, name)| *name)
    }

    /// Returns the range of possible numbers.
    fn range() -> std::ops::RangeInclusive<i32> {
        let highest = NAMED.iter().map(|(signal, _)| signal.0).max().unwrap_or(0);
        1..=real_time().map_or(highest, |(_, last)| last)
    }
}

/// A set of signals.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SignalSet(u128);

impl SignalSet {
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn with(self, other: impl Into<Self>) -> Self {
        Self(self.0 | other.into().0)
    }

    pub(crate) fn without(self, other: impl Into<Self>) -> Self {
        Self(self.0 & !other.into().0)
    }

    /// Returns the signals that are in both sets.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Removes and returns the signal with the lowest number.
    pub(crate) fn pop(&mut self) -> Option<Signal> {
        let lowest = (!self.is_empty()).then_some(Signal(self.0.trailing_zeros() as i32));
        self.0 &= self.0.wrapping_sub(1);
        lowest
    }

    /// Iterates over the signals, by number.
    pub(crate) fn iter(self) -> impl Iterator<Item = Signal> {
        let mut left = self;
        std::iter::from_fn(move || left.pop())
    }

    /// Returns the set as four words, the lowest numbers first: larger words cannot be shared with
    /// a signal handler.
    pub(crate) fn words(self) -> [u32; 4] {
        [0, 32, 64, 96].map(|shift| (self.0 >> shift) as u32)
    }

    pub(crate) fn from_words(words: [u32; 4]) -> Self {
        let put = |set, word: &u32| (set << 32) | u128::from(*word);
        Self(words.iter().rev().fold(0, put))
    }
}

impl From<Signal> for SignalSet {
    fn from(signal: Signal) -> Self {
        // No system has signals beyond 127: the kernel's own sets end there.
        Self(
            1_u128
                .checked_shl(signal.0.unsigned_abs())
                .unwrap_or_default(),
        )
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> Self {
        signals.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The reason why a signal cannot be listened to, or does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalError {
    /// SIGKILL and SIGSTOP cannot be listened to: the kernel acts and calls no handler.
    NotCatchable {
        /// The signal that was to be listened to.
        signal: Signal,
    },
    /// SIGSEGV, SIGBUS, SIGFPE and SIGILL cannot be listened to: after a fault a program cannot
    /// continue to a turn of the event loop.
    Fault {
        /// The signal that was to be listened to.
        signal: Signal,
    },
    /// The signal is one that the C library reserves for its own use.
    Reserved {
        /// The signal that was to be listened to.
        signal: Signal,
    },
    /// No signal has this name.
    UnknownName {
        /// The name that was looked for.
        name: String,
    },
    /// No signal has this number.
    UnknownNumber {
        /// The number that was looked for.
        number: i32,
    },
}

errors! {
    enum SignalError {
        NotCatchable { signal }: "{signal} cannot be listened to: the kernel calls no handler for it";
        Fault { signal }:
            "{signal} cannot be listened to: a program cannot continue to the event loop after it";
        Reserved { signal }: "{signal} cannot be listened to: the C library reserves it";
        UnknownName { name }: "no signal has the name {name:?}";
        UnknownNumber { number }: "no signal has the number {number}";
    }
}

/// Writes the signal's name: `SIGTERM`, `SIGRTMIN+3`; `signal 33` where it has none.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.name() {
            return f.pad(name);
        }
        match real_time() {
            Some((first, _)) if self.0 == first => f.pad("SIGRTMIN"),
            Some((first, _)) if self.is_real_time() => {
                f.pad(&format!("SIGRTMIN+{}", self.0 - first))
            }
            _ => f.pad(&format!("signal {}", self.0)),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Parses a name or number: `SIGTERM`, `TERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`.
impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse().ok();
            let signal = number.and_then(|number| Self::from_number(number).ok());
            return signal.ok_or_else(|| unknown(text));
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let name = match name {
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            "POLL" => "IO",
            other => other,
        };
        let named = NAMED.iter().find(|(_, known)| known[3..] == *name);
        let found = named.map(|(signal, _)| *signal);
        found
            .or_else(|| parse_real_time(name))
            .ok_or_else(|| unknown(text))
    }
}

/// Parses a name or number.
impl TryFrom<&str> for Signal {
    type Error = SignalError;

    fn try_from(text: &str) -> Result<Self, SignalError> {
        text.parse()
    }
}

/// Converts like [`Signal::from_number`].
impl TryFrom<i32> for Signal {
    type Error = SignalError;

    fn try_from(number: i32) -> Result<Self, SignalError> {
        Self::from_number(number)
    }
}

fn unknown(name: &str) -> SignalError {
    SignalError::UnknownName { name: name.into() }
}

/// Parses `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn parse_real_time(name: &str) -> Option<Signal> {
    let (first, last) = real_time()?;
    let count = |text: &str, sign: char| match text.strip_prefix(sign) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        _ => text.is_empty().then_some(0),
    };
    let n = match name.strip_prefix("RTMIN") {
        Some(rest) => count(rest, '+')?,
        None => {
            let down: u32 = count(name.strip_prefix("RTMAX")?, '-')?;
            last.abs_diff(first).checked_sub(down)?
        }
    };
    Signal::real_time(n)
}

/// Returns the first real-time signal that is free for use, and the last.
fn real_time() -> Option<(i32, i32)> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Some((libc::SIGRTMIN(), libc::SIGRTMAX()));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return None;
}

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_that_leads_back_to_it() {
        for signal in Signal::all() {
            let name = signal.to_string();
            assert!(name.starts_with("SIG"), "{name}");
            assert_eq!(name.parse(), Ok(signal));
            assert_eq!(name.to_lowercase()[3..].parse(), Ok(signal));
            assert_eq!(signal.number().to_string().parse(), Ok(signal));
            assert_eq!(Signal::try_from(signal.number()), Ok(signal));
            assert_eq!(Signal::try_from(&*name), Ok(signal));
        }
    }

    #[test]
    fn what_is_none_is_refused_by_what_was_asked() {
        for text in [
            "", "SIG", "SIGFOO", "TERMS", "+15", "-15", "RTMIN+", "RTMIN+-1", "RTMAX+1",
        ] {
            let error = text.parse::<Signal>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("no signal has the name {text:?}")
            );
        }
        for text in ["0", "200", "99999999999999999999"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
        for number in [i32::MIN, -1, 0, 200] {
            let error = Signal::from_number(number).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("no signal has the number {number}")
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_has_sixty_four_and_two_of_them_have_no_name() {
        let all: Vec<_> = Signal::all().map(Signal::number).collect();
        let expected: Vec<_> = (1..=31).chain(34..=64).collect();
        assert_eq!(all, expected);
        assert_eq!(Signal::from_number(33).unwrap().to_string(), "signal 33");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn real_time_signals_are_counted_from_either_end() {
        for (text, number) in [
            ("SIGRTMIN", 34),
            ("rtmin+0", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX", 64),
            ("SIGRTMAX-30", 34),
        ] {
            assert_eq!(text.parse::<Signal>().unwrap().number(), number, "{text}");
        }
        for text in ["RTMIN+31", "RTMAX-31", "RTMIN3", "RTMIN+4294967296"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
        assert_eq!(Signal::real_time(31), None);
        assert_eq!(Signal::real_time(u32::MAX), None);
        assert!(Signal::real_time(0).unwrap().is_real_time());
        assert!(!Signal::SYS.is_real_time());
    }

    #[test]
    fn a_set_gives_them_back_by_number() {
        let few = [
            Signal::TERM,
            Signal::INT,
            Signal::SEGV,
            Signal(64),
            Signal(127),
        ];
        let set: SignalSet = few.into_iter().collect();
        assert!(!set.and(Signal::TERM.into()).is_empty());
        assert!(set.and(Signal(9).into()).is_empty());
        let numbers: Vec<_> = set.iter().map(Signal::number).collect();
        assert_eq!(numbers, [2, 11, 15, 64, 127]);
        assert_eq!(SignalSet::from_words(set.words()), set);
        assert_eq!(set.words(), [1 << 2 | 1 << 11 | 1 << 15, 0, 1, 1 << 31]);
        let left = set.without(Signal::TERM).without(Signal::TERM);
        assert_eq!(left.with(Signal::TERM), set);
        assert!(set.without(set).is_empty() && set.without(set).iter().next().is_none());
    }

    #[cfg(unix)]
    #[test]
    fn other_names_of_the_same_are_known() {
        for (text, signal) in [
            ("SIGIOT", Signal::ABRT),
            ("SIGCLD", Signal::CHLD),
            ("poll", Signal::IO),
        ] {
            assert_eq!(text.parse(), Ok(signal));
        }
    }
}
