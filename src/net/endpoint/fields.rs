//! The fields of an endpoint's text: [`EndpointFields`] and [`quote`].
//!
//! # Invariants
//!
//! 1. Unknown text is an error that names the text and its position; nothing is skipped.
//! 2. `quote` and the parser are inverse: a quoted text is one field, with that value.

use std::panic::Location;
use std::str::FromStr;
use std::time::Duration;

pub(super) use crate::address::Field;
pub use crate::address::quote;
use crate::address::{Address, EndpointError, NOT_HEX, UNIX_KEYS, split_fields, unix_address};
use crate::failure::Failure;
#[cfg(any(doc, feature = "proxy-protocol"))]
use crate::net::proxied::{Network, ProxyOptions};
use crate::report;

/// The built-in types of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Tcp6,
    Unix,
    #[cfg(unix)]
    Systemd,
    #[cfg(unix)]
    Fd,
    #[cfg(unix)]
    Stdio,
    Tls,
    Ssl,
}

/// The names of the types, in the order in which an error lists them.
pub(super) const KINDS: &[(&str, Kind)] = &[
    ("tcp", Kind::Tcp),
    ("tcp6", Kind::Tcp6),
    ("unix", Kind::Unix),
    #[cfg(unix)]
    ("systemd", Kind::Systemd),
    #[cfg(unix)]
    ("fd", Kind::Fd),
    #[cfg(unix)]
    ("stdio", Kind::Stdio),
    ("tls", Kind::Tls),
    ("ssl", Kind::Ssl),
];

/// The prefix of endpoints behind a proxy. It is not a type to connect to, so a host may have this
/// name.
pub(super) const PROXIED: &str = "haproxy";

/// The fields of an endpoint's text, for a parser that is registered with
/// [`ClientEndpoint::register`](crate::net::ClientEndpoint::register) or
/// [`ServerEndpoint::register`](crate::net::ServerEndpoint::register). The parser takes out the
/// fields that it knows; a field that remains is an error.
///
/// Colons separate the fields; a field with an equals sign has a name. A backslash escapes the next
/// character ([`quote`]).
#[derive(Debug)]
pub struct EndpointFields<'a> {
    pub(super) text: &'a str,
    pub(super) left: Vec<Field>,
}

impl<'a> EndpointFields<'a> {
    /// Splits a description into its type and fields; returns `None` if the text is not a
    /// description.
    pub(super) fn read(text: &'a str) -> Result<Option<(Kind, Self)>, Failure> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Ok(None);
        };
        let lower = kind.to_ascii_lowercase();
        let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == lower) else {
            return Ok(None);
        };
        let fields = Self::after(text, text.len() - rest.len())?;
        Ok(Some((*kind, fields)))
    }

    /// Splits `text` into fields, from the byte `start`.
    pub(super) fn after(text: &'a str, start: usize) -> Result<Self, Failure> {
        let left = split_fields(text, start)
            .map_err(|at| bad(text, at, "the text ends with a backslash"))?;
        Ok(Self { text, left })
    }

    /// Calls a registered parser; fields that it does not take out are an error. A single empty
    /// field counts as none.
    pub(super) fn read_by<E>(
        &mut self,
        read: &dyn Fn(&mut Self) -> Result<E, Failure>,
    ) -> Result<E, Failure> {
        self.left
            .retain(|field| field.key.is_some() || !field.value.is_empty());
        let made = report::catch_rarely(Location::caller(), || read(self));
        let endpoint = made.and_then(|made| made)?;
        self.nothing_left()?;
        Ok(endpoint)
    }

    /// Takes out the named field and returns its value; `None` if there is no such field.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.named(name).map(|field| field.value)
    }

    /// Takes out the named field, or the first field without a name, and returns its value.
    ///
    /// # Errors
    ///
    /// [`EndpointError::Endpoint`] if there is no such field, or if it is empty.
    pub fn required(&mut self, name: &str) -> Result<String, Failure> {
        self.wanted(name).map(|field| field.value)
    }

    /// Takes out the field `port`, or the first field without a name, and returns the port number.
    ///
    /// # Errors
    ///
    /// [`EndpointError::Endpoint`] if there is no such field, or if it is not a number from 0 to
    /// 65535.
    pub fn port(&mut self) -> Result<u16, Failure> {
        let field = self.wanted("port")?;
        port(self.text, field.at, &field.value)
    }

    /// Takes out the named field and returns it as a number; `None` if there is no such field.
    ///
    /// # Errors
    ///
    /// [`EndpointError::Endpoint`] if it is not a number of this type.
    pub fn number<N: FromStr>(&mut self, name: &str) -> Result<Option<N>, Failure> {
        self.one_of(name, "a number", |text| text.parse().ok())
    }

    /// Takes out the named field, if there is one, and parses it; `wanted` describes the valid
    /// values.
    pub(super) fn one_of<T>(
        &mut self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(field) = self.named(name) else {
            return Ok(None);
        };
        match read(&field.value) {
            Some(read) => Ok(Some(read)),
            None => {
                let problem = format!("the {name} must be {wanted}, not {:?}", field.value);
                Err(self.bad(field.at, problem))
            }
        }
    }

    /// Takes out the named field and returns it as a number of seconds; `None` if there is no such
    /// field.
    pub(super) fn seconds(&mut self, name: &str) -> Result<Option<Duration>, Failure> {
        let seconds = self.number::<u32>(name)?;
        Ok(seconds.map(|seconds| Duration::from_secs(seconds.into())))
    }

    /// Returns an [`EndpointError::Endpoint`] about the whole text, for a parser to fail with.
    pub fn error(&self, problem: impl Into<String>) -> Failure {
        self.bad(0, problem)
    }

    /// Takes out the named field.
    pub(super) fn named(&mut self, key: &str) -> Option<Field> {
        self.take_where(|found| found == Some(key))
    }

    fn take_where(&mut self, is_it: impl Fn(Option<&str>) -> bool) -> Option<Field> {
        let found = self
            .left
            .iter()
            .position(|field| is_it(field.key.as_deref()));
        found.map(|index| self.left.remove(index))
    }

    /// Takes out the named field, or the first field without a name; fails if there is none or if
    /// it is empty.
    pub(super) fn wanted(&mut self, key: &str) -> Result<Field, Failure> {
        let field = self
            .named(key)
            .or_else(|| self.take_where(|found| found.is_none()));
        match field {
            Some(field) if !field.value.is_empty() => Ok(field),
            Some(field) => Err(self.bad(field.at, format!("the {key} is empty"))),
            None => Err(self.bad(self.text.len(), format!("the {key} is missing"))),
        }
    }

    /// Takes out the name of a UNIX socket; fails if there is none.
    pub(super) fn unix_address(&mut self) -> Result<Address, Failure> {
        let keyed = UNIX_KEYS.iter().find_map(|key| self.named(key));
        let field = match keyed {
            Some(field) => field,
            None => self.wanted("path")?,
        };
        unix_address(&field).map_err(|problem| match problem {
            NOT_HEX => self.bad(field.at, format!("{problem}, not {:?}", field.value)),
            problem => self.bad(field.at, problem),
        })
    }

    /// Returns which peers may send a PROXY header, and the header's timeout.
    #[cfg(any(doc, feature = "proxy-protocol"))]
    pub(super) fn proxy(&mut self) -> Result<ProxyOptions, Failure> {
        let mut options = ProxyOptions::new();
        if let Some(field) = self.named("trust") {
            for network in field.value.split(',') {
                let network = network.parse::<Network>();
                let network = network.map_err(|error| self.bad(field.at, error.to_string()))?;
                options = options.trust(network);
            }
        }
        if let Some(limit) = self.seconds("headertimeout")? {
            options = options.timeout(limit);
        }
        Ok(options)
    }

    /// Takes out the mode of a file, if there is one.
    pub(super) fn mode(&mut self) -> Result<Option<u32>, Failure> {
        self.one_of("mode", "an octal number up to 777", |text| {
            let mode = u32::from_str_radix(text, 8).ok();
            mode.filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
        })
    }

    /// Takes out a field that is 1 or 0, if there is one.
    pub(super) fn yes_or_no(&mut self, key: &str) -> Result<Option<bool>, Failure> {
        self.one_of(key, "0 or 1", |text| match text {
            "1" => Some(true),
            "0" => Some(false),
            _ => None,
        })
    }

    /// Takes out the first field if it names a directory, not a port.
    #[cfg(feature = "tls")]
    pub(super) fn directory(&mut self) -> Option<String> {
        let first = self.left.first()?;
        let is_port = first.key.is_some() || first.value.bytes().all(|byte| byte.is_ascii_digit());
        (!is_port).then(|| self.left.remove(0).value)
    }

    /// Fails if a field remains.
    pub(super) fn nothing_left(&self) -> Result<(), Failure> {
        let Some(field) = self.left.first() else {
            return Ok(());
        };
        let problem = match &field.key {
            Some(key) => format!("unknown or repeated field {key:?}"),
            None => format!("unexpected field {:?}", field.value),
        };
        Err(self.bad(field.at, problem))
    }

    pub(super) fn bad(&self, at: usize, problem: impl Into<String>) -> Failure {
        bad(self.text, at, problem)
    }
}

/// Returns whether the name is a built-in type or prefix.
pub(super) fn is_built_in(name: &str) -> bool {
    name == PROXIED || KINDS.iter().any(|(kind, _)| *kind == name)
}

pub(super) fn port(text: &str, at: usize, found: &str) -> Result<u16, Failure> {
    found.parse().map_err(|_| {
        let problem = format!(
            "the port must be a number up to {}, not {found:?}",
            u16::MAX
        );
        bad(text, at, problem)
    })
}

pub(super) fn bad(text: &str, at: usize, problem: impl Into<String>) -> Failure {
    Failure::from(EndpointError::Endpoint {
        text: text.into(),
        position: at,
        problem: problem.into(),
    })
}
