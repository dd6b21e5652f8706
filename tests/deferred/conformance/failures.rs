//! The behaviour of failures.
//!
//! A script is a list of commands, separated by `;`, about one failure.
//!
//! | command                     | does                                                                       |
//! |-----------------------------|----------------------------------------------------------------------------|
//! | `parse`, `io`, `text E`     | makes one of a `ParseIntError`, an `io::Error` or a text                    |
//! | `panicked E`                | makes one of a panic                                                       |
//! | `context W`                 | puts a level on it                                                         |
//! | `boxed`, `cloned`, `away`   | boxes it and makes one of that; clones it; sends it to a thread and back   |
//! | `is T`, `check T`, `find T` | logs `yes` or `no`; the error's text, or `-`; the same for all its causes  |
//! | `trap T`, `trap_any T U`    | logs the error's text, or its place in the list; `passed` if that is the same failure |
//! | `shown`, `all`, `debug`     | logs it as `{}`, `{:#}` and `{:?}` do, of the last the first line          |
//! | `levels`                    | logs how many errors there are in the chain                                |
//! | `same`                      | logs whether it is still the one that was made                             |
//! | `place`                     | logs whether it says where that was                                        |

use std::error::Error;
use std::io;
use std::num::{ParseFloatError, ParseIntError};
use std::panic::{Location, resume_unwind};

use torsade::{Failure, defer};

const TABLE: &[(&str, &str, &str)] = &[
    // The type. In Twisted one asks by class, of which others may be derived.
    (
        "it is checked for a type of error",
        "parse; is parse; is io; check parse; check io",
        "yes no invalid digit found in string -",
    ),
    (
        "it is trapped by the type that it has",
        "parse; trap parse",
        "invalid digit found in string",
    ),
    (
        "a failure that is not trapped is passed on as the same failure",
        "parse; trap io; io; trap parse",
        "passed passed",
    ),
    (
        "of several types the first that it has counts",
        "parse; trap_any io parse; trap_any parse io; trap_any parse parse; trap_any io float",
        "1 0 0 passed",
    ),
    (
        "a text becomes a failure",
        "text oh; shown; is parse; trap io",
        "oh no passed",
    ),
    (
        "a panic becomes a failure",
        "panicked oh; shown; is parse",
        "panicked: oh no",
    ),
    // `Display` and `Debug`.
    (
        "it is shown with its text, with its causes, and with its place",
        "io; context reading; context serving; shown; all; debug",
        "serving serving: reading: gone serving: reading: gone (at …)",
    ),
    (
        "find returns an error that is the cause of another",
        "parse; context reading; is parse; trap parse; find parse; find io; levels",
        "no passed invalid digit found in string - 2",
    ),
    // Passing on.
    (
        "a failure made of a failure is the same failure",
        "parse; boxed; same; place; shown",
        "same there invalid digit found in string",
    ),
    (
        "a clone is the same failure",
        "parse; cloned; same; place",
        "same there",
    ),
    (
        "a failure may be sent to another thread, with its location and all its levels",
        "parse; context reading; away; same; place; all",
        "same there reading: invalid digit found in string",
    ),
    (
        "it knows where it was made",
        "parse; place; io; place; text oh; place; context reading; place",
        "there there there there",
    ),
];

#[test]
fn every_row_gives_its_trace() {
    super::check(TABLE, |script| {
        let mut world = World::default();
        for command in script.split("; ") {
            world.run(command);
        }
        world.log
    });
}

/// The state of a script.
#[derive(Default)]
struct World {
    failure: Option<Failure>,
    /// The same failure, as it was made.
    made: Option<(Failure, &'static Location<'static>)>,
    log: Vec<String>,
}

impl World {
    fn run(&mut self, command: &str) {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "parse" => self.make(here(), "x".parse::<u32>().unwrap_err().into()),
            "io" => self.make(here(), io::Error::other("gone").into()),
            "text" => self.make(here(), Failure::new(rest)),
            "panicked" => {
                let text = rest.to_owned();
                let panicked = defer::execute::<()>(move || resume_unwind(Box::new(text)));
                self.failure = torsade::task::block_on(panicked).err();
            }
            "context" => {
                let inner = self.failure.take().unwrap();
                self.make(here(), inner.context(rest));
            }
            "boxed" => {
                let boxed: Box<dyn Error + Send + Sync> = self.failure.take().unwrap().into();
                self.failure = Some(Failure::new(boxed));
            }
            "cloned" => self.failure = self.failure.clone(),
            "away" => {
                let failure = self.failure.take();
                self.failure = std::thread::spawn(|| failure).join().unwrap();
            }
            "is" => {
                let failure = self.it();
                let is = match rest {
                    "parse" => failure.is::<ParseIntError>(),
                    _ => failure.is::<io::Error>(),
                };
                self.say(if is { "yes" } else { "no" });
            }
            "check" => {
                let checked = match rest {
                    "parse" => text(self.it().downcast_ref::<ParseIntError>()),
                    _ => text(self.it().downcast_ref::<io::Error>()),
                };
                self.say(checked);
            }
            "find" => {
                let found = match rest {
                    "parse" => text(self.it().find::<ParseIntError>()),
                    _ => text(self.it().find::<io::Error>()),
                };
                self.say(found);
            }
            "trap" => {
                let trapped = match rest {
                    "parse" => self.it().trap::<ParseIntError>().map(|e| e.to_string()),
                    _ => self.it().trap::<io::Error>().map(|e| e.to_string()),
                };
                self.say_trapped(trapped);
            }
            "trap_any" => {
                let failure = self.it();
                let trapped = match rest {
                    "io parse" => failure.trap_any::<(io::Error, ParseIntError)>(),
                    "parse io" => failure.trap_any::<(ParseIntError, io::Error)>(),
                    "parse parse" => failure.trap_any::<(ParseIntError, ParseIntError)>(),
                    _ => failure.trap_any::<(io::Error, ParseFloatError)>(),
                };
                self.say_trapped(trapped.map(|index| index.to_string()));
            }
            "shown" => self.say(self.it().to_string()),
            "all" => self.say(format!("{:#}", self.it())),
            "debug" => {
                let (failure, location) = (self.it(), self.it().location().to_string());
                let shown = format!("{failure:?}").replace(&location, "…");
                self.say(shown.lines().next().unwrap());
            }
            "levels" => self.say(self.it().chain().count().to_string()),
            "same" => {
                let (made, _) = self.made.as_ref().unwrap();
                self.say(if made.ptr_eq(&self.it()) {
                    "same"
                } else {
                    "another"
                });
            }
            "place" => {
                let (_, location) = self.made.as_ref().unwrap();
                let (at, location) = (self.it().location(), *location);
                let is_there = (at.file(), at.line()) == (location.file(), location.line());
                self.say(if is_there { "there" } else { "elsewhere" });
            }
            _ => panic!("no such command: {command}"),
        }
    }

    fn make(&mut self, location: &'static Location<'static>, failure: Failure) {
        self.made = Some((failure.clone(), location));
        self.failure = Some(failure);
    }

    fn it(&self) -> Failure {
        self.failure.clone().expect("it was made")
    }

    fn say_trapped(&mut self, trapped: Result<String, Failure>) {
        self.say(match trapped {
            Ok(text) => text,
            Err(failure) if failure.ptr_eq(&self.it()) => "passed".into(),
            Err(failure) => format!("{failure:?}"),
        });
    }

    fn say(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }
}

/// Returns the line of the call.
#[track_caller]
fn here() -> &'static Location<'static> {
    Location::caller()
}

fn text(error: Option<&impl Error>) -> String {
    error.map_or_else(|| "-".into(), ToString::to_string)
}
