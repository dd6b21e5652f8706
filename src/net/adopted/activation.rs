//! Socket activation: sockets that a supervisor, such as systemd, opened before it started this process.
//!
//! The supervisor leaves the descriptors from number 3 on, and says in the environment for which process they are
//! (`LISTEN_PID`), how many (`LISTEN_FDS`) and what they are called (`LISTEN_FDNAMES`). Most programs need nothing of
//! this module: they listen at `systemd:index=0` or `systemd:name=web`. With it they ask what there is, and take what
//! is no listening stream socket.
//!
//! The environment is read once, when first asked for, and left as it is: changing it is not safe in a process that has
//! threads. Its `LISTEN_PID` tells children that it is not for them. That a descriptor was taken is remembered instead, for
//! the whole process, whatever reactor took it.
//!
//! What is taken is a copy, closed on exec, and the number that was given stays open: no safe code can own a number that
//! anybody may know. So while this process lives the socket goes on listening, as it does with the supervisor anyway.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::process;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::failure::Failure;
use crate::net::endpoint::fields::quote;
use crate::net::errors::AlreadyAdopted;

/// What the descriptors are called that this process was given, in their order. Without names all are `"unknown"`.
///
/// Nothing, if they were not meant for this process, or if there are not as many names as descriptors.
#[doc(alias(
    "sd_listen_fds",
    "sd_listen_fds_with_names",
    "LISTEN_FDS",
    "LISTEN_FDNAMES"
))]
pub fn names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| read(process::id(), |name| env::var_os(name)))
}

/// Takes the descriptor with this place in the list.
///
/// # Errors
///
/// [`NotGiven`] when there is none; [`AlreadyAdopted`] when it was taken before; the system's, where it allows no
/// copying.
#[track_caller]
pub fn take(index: usize) -> Result<OwnedFd, Failure> {
    take_given(&Which::Index(index)).map(|(_, copy)| copy)
}

/// Takes the first descriptor of this name that was not taken.
///
/// # Errors
///
/// As [`take`].
#[track_caller]
pub fn take_named(name: &str) -> Result<OwnedFd, Failure> {
    take_given(&Which::Name(name.to_owned())).map(|(_, copy)| copy)
}

/// This process was given no such descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotGiven {
    which: Which,
    names: &'static [String],
}

/// Which of the descriptors that the process was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) enum Which {
    /// By its place in the list.
    Index(usize),
    /// By its name in the list.
    Name(String),
    /// By its number, list or not.
    Number(i32),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "fd:{number}"),
            Self::Index(index) => write!(f, "systemd:index={index}"),
            Self::Name(name) => write!(f, "systemd:name={}", quote(name)),
        }
    }
}

impl fmt::Display for NotGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Index(index) => write!(f, "there is no socket number {index}")?,
            Which::Name(name) => write!(f, "there is no socket called {name:?}")?,
            Which::Number(number) => {
                return write!(f, "this process was started without a descriptor {number}");
            }
        }
        write!(
            f,
            " among the {} that this process was given",
            self.names.len()
        )
    }
}

impl Error for NotGiven {}

/// Takes one, the first time; also says which it was.
#[track_caller]
pub(super) fn take_given(which: &Which) -> Result<(i32, OwnedFd), Failure> {
    let names = names();
    let location = Location::caller();
    let missing = || {
        let which = which.clone();
        Failure::at(NotGiven { which, names }, location)
    };
    let numbers: Vec<i32> = match which {
        Which::Number(number) => vec![*number],
        Which::Index(index) => (*index < names.len())
            .then_some(*index)
            .into_iter()
            .map(number_of)
            .collect(),
        Which::Name(name) => (0..names.len())
            .filter(|index| names[*index] == *name)
            .map(number_of)
            .collect(),
    };
    if numbers.is_empty() {
        return Err(missing());
    }
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(number) = numbers.into_iter().find(|number| !taken.contains(number)) else {
        return Err(Failure::new(AlreadyAdopted));
    };
    let copy = crate::driver::copy_of(number)?.ok_or_else(missing)?;
    taken.push(number);
    Ok((number, copy))
}

/// It was not what was wanted: it may be taken again.
pub(super) fn give_back(number: i32) {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.retain(|other| *other != number);
}

/// What the environment says to this process: the names, in order.
fn read(pid: u32, var: impl Fn(&str) -> Option<OsString>) -> Vec<String> {
    let text = |name| var(name).and_then(|value| value.into_string().ok());
    let number = |name| text(name).and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(pid) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").and_then(|count| usize::try_from(count).ok());
    let Some(count) = count.filter(|count| *count <= MOST) else {
        return Vec::new();
    };
    let names: Vec<String> = match text("LISTEN_FDNAMES") {
        Some(names) => names.split(':').map(str::to_owned).collect(),
        None => vec!["unknown".into(); count],
    };
    if names.len() == count {
        names
    } else {
        Vec::new()
    }
}

fn number_of(index: usize) -> i32 {
    // There are few: see `read`.
    FIRST + i32::try_from(index).unwrap_or(i32::MAX - FIRST)
}

/// What this process has taken.
static TAKEN: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// The number of the first.
const FIRST: i32 = 3;
/// No supervisor gives more.
const MOST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pairs: &[(&str, &str)]) -> Vec<String> {
        read(7, |name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn what_was_given_is_named_in_its_order() {
        let pairs = [
            ("LISTEN_PID", "7"),
            ("LISTEN_FDS", "2"),
            ("LISTEN_FDNAMES", "web:admin"),
        ];
        assert_eq!(told(&pairs), ["web", "admin"]);
        assert_eq!(told(&pairs[..2]), ["unknown", "unknown"]);
    }

    #[test]
    fn what_is_for_another_process_or_does_not_agree_is_nothing() {
        for pairs in [
            [
                ("LISTEN_PID", "8"),
                ("LISTEN_FDS", "1"),
                ("LISTEN_FDNAMES", "web"),
            ],
            [
                ("LISTEN_PID", "x"),
                ("LISTEN_FDS", "1"),
                ("LISTEN_FDNAMES", "web"),
            ],
            [
                ("LISTEN_PID", "7"),
                ("LISTEN_FDS", "2"),
                ("LISTEN_FDNAMES", "web"),
            ],
            [
                ("LISTEN_PID", "7"),
                ("LISTEN_FDS", "-1"),
                ("LISTEN_FDNAMES", "web"),
            ],
            [
                ("LISTEN_PID", "7"),
                ("LISTEN_FDS", "4000000000"),
                ("LISTEN_FDNAMES", ""),
            ],
            [
                ("LISTEN_PID", "7"),
                ("LISTEN_FDS", "0"),
                ("LISTEN_FDNAMES", "web"),
            ],
        ] {
            assert!(told(&pairs).is_empty(), "{pairs:?}");
        }
    }
}
