//! Socket activation: sockets that a supervisor, such as systemd, opened before it started this
//! process.
//!
//! The supervisor passes file descriptors from number 3 on, and three environment variables: the id
//! of the process that the descriptors are for (`LISTEN_PID`), how many there are (`LISTEN_FDS`)
//! and their names (`LISTEN_FDNAMES`). Most programs do not need this module: they listen at an
//! endpoint such as `systemd:index=0` or `systemd:name=web`. The module lists the descriptors, and
//! takes descriptors that are not listening stream sockets: datagram sockets
//! ([`DatagramEndpoint::adopt`](crate::net::datagram::DatagramEndpoint::adopt)), pipes, files.
//!
//! The environment is read once, on first use, and not changed, because a change is not safe in a
//! process that has threads. Child processes ignore the variables, because `LISTEN_PID` is not
//! their process id. A descriptor can be taken once in a process, whatever the number of reactors.
//!
//! A taken descriptor is a duplicate with the close-on-exec flag; the original descriptor stays
//! open. So a listening socket accepts connections into its queue until the process exits, also
//! after the port was closed; the supervisor keeps it open in any case.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::process;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::failure::Failure;
use crate::net::endpoint::fields::quote;
use crate::net::errors::ListenError;

/// Returns the names of the descriptors that the process was given, in order. When `LISTEN_FDNAMES`
/// is not set, each is called `"unknown"`.
///
/// Returns an empty slice when there are no descriptors, when they are for another process, and
/// when there are more or fewer names than descriptors.
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

/// Takes the descriptor with this index in the list of [`names`]; the first index is 0.
///
/// # Errors
///
/// Fails with [`ListenError::NotInherited`] when the list has no such descriptor; with
/// [`ListenError::AlreadyAdopted`] when it was taken before, here or by an endpoint; and with the
/// system's error when the descriptor cannot be duplicated.
#[track_caller]
pub fn take(index: usize) -> Result<OwnedFd, Failure> {
    take_given(&InheritedFd::Index(index)).map(|(_, copy)| copy)
}

/// Takes the first descriptor of this name that has not been taken.
///
/// # Errors
///
/// Fails as [`take`] does.
#[track_caller]
pub fn take_named(name: &str) -> Result<OwnedFd, Failure> {
    take_given(&InheritedFd::Name(name.to_owned())).map(|(_, copy)| copy)
}

/// Names a descriptor that the process was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) enum InheritedFd {
    /// By its index in the list.
    Index(usize),
    /// By its name in the list.
    Name(String),
    /// By its number, whether it is in the list or not.
    Number(i32),
}

impl fmt::Display for InheritedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "fd:{number}"),
            Self::Index(index) => write!(f, "systemd:index={index}"),
            Self::Name(name) => write!(f, "systemd:name={}", quote(name)),
        }
    }
}

/// Takes a descriptor, once; also returns its number.
#[track_caller]
pub(super) fn take_given(which: &InheritedFd) -> Result<(i32, OwnedFd), Failure> {
    let names = names();
    let location = Location::caller();
    let missing = || {
        let error = ListenError::NotInherited {
            descriptor: which.to_string(),
            count: names.len(),
        };
        Failure::at(error, location)
    };
    let numbers: Vec<i32> = match which {
        InheritedFd::Number(number) => vec![*number],
        InheritedFd::Index(index) => (*index < names.len())
            .then_some(*index)
            .into_iter()
            .map(number_of)
            .collect(),
        InheritedFd::Name(name) => (0..names.len())
            .filter(|index| names[*index] == *name)
            .map(number_of)
            .collect(),
    };
    if numbers.is_empty() {
        return Err(missing());
    }
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(number) = numbers.into_iter().find(|number| !taken.contains(number)) else {
        return Err(Failure::new(ListenError::AlreadyAdopted));
    };
    let copy = crate::driver::copy_of(number)?.ok_or_else(missing)?;
    taken.push(number);
    Ok((number, copy))
}

/// Marks a descriptor as not taken, because it was of the wrong kind.
pub(super) fn give_back(number: i32) {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.retain(|other| *other != number);
}

/// Reads the environment of a process: the names of the descriptors, in order.
fn read(pid: u32, var: impl Fn(&str) -> Option<OsString>) -> Vec<String> {
    let text = |name| var(name).and_then(|value| value.into_string().ok());
    let number = |name| text(name).and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(pid) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").and_then(|count| usize::try_from(count).ok());
    let Some(count) = count.filter(|count| *count <= MAX_COUNT) else {
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
    // The index is at most [`MAX_COUNT`].
    FIRST + i32::try_from(index).unwrap_or(i32::MAX - FIRST)
}

/// The numbers of the descriptors that were taken.
static TAKEN: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// The number of the first descriptor.
const FIRST: i32 = 3;
/// The largest number of descriptors that is accepted.
const MAX_COUNT: usize = 64 * 1024;

#[cfg(all(test, not(torsade_loom)))]
mod tests {
    use super::*;

    fn names_of(pairs: &[(&str, &str)]) -> Vec<String> {
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
        assert_eq!(names_of(&pairs), ["web", "admin"]);
        assert_eq!(names_of(&pairs[..2]), ["unknown", "unknown"]);
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
            assert!(names_of(&pairs).is_empty(), "{pairs:?}");
        }
    }
}
