//! The live tree: everything that is alive in a reactor, and what each thing waits for.
//!
//! # The idea
//!
//! Each module lists its things (tasks, Deferreds, timers, connections) and what each of them waits
//! for. This module joins the lists: a thing that no other thing waits for is a root, and below
//! each thing is what it waits for. A thing that several others wait for is shown in full once, and
//! by name elsewhere. Things that wait for each other in a circle have no root; the tree shows the
//! circle, and marks it as one.

#![cfg_attr(
    not(any(doc, feature = "debug")),
    allow(
        unreachable_pub,
        unnameable_types,
        reason = "public with the feature `debug`"
    )
)]

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::Reactor;
use crate::clock::sealed::HasTimers;
use crate::debug::{self, Id, Thing};
use crate::defer;
use crate::index::Index;

/// Everything that is alive in a reactor, and what waits for what; see [`Reactor::dump`].
///
/// `Display` draws the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// The things that nothing waits for, each with what it waits for.
    pub roots: Vec<Node>,
    /// Whether debug mode was on. Without it the tree has no Deferreds, and does not show what a
    /// task waits for.
    pub is_complete: bool,
    /// Number of bytes that all connections hold together; 0 without a
    /// [budget](super::ReactorBuilder::buffer_budget), since then they are not counted.
    pub buffered: usize,
}

/// One thing in a [`Dump`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// The kind: `"task"`, `"Deferred"`, `"lock"`, `"sleep"`, `"delayed call"`, `"connection"`,
    /// `"port"` and so on.
    pub kind: &'static str,
    /// The name, if the thing has one.
    pub name: Option<Arc<str>>,
    /// The line that made it.
    pub location: &'static Location<'static>,
    /// The state, in words.
    pub about: String,
    /// The things that this one waits for.
    pub waits_for: Vec<Self>,
}

impl Reactor {
    /// Returns the live tree: all tasks, timers, connections, ports and descriptors and, in debug
    /// mode, all Deferreds of this thread; each with the line that made it, and below it what it
    /// waits for. Below a [lock](crate::locks) are its holders.
    ///
    /// [`ReactorBuilder::dumps_on_signal`](super::ReactorBuilder::dumps_on_signal) writes the tree
    /// of a program that is stuck.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::{Clock, Reactor};
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// let reactor = Reactor::builder().in_memory().debug(true).build()?;
    /// reactor.run_until(async {
    ///     let clock = reactor.clone();
    ///     let nap = reactor.spawn_named("nap", async move {
    ///         clock.sleep(Duration::from_secs(9)).await
    ///     });
    ///     torsade::yield_now().await;
    ///     let tree = reactor.dump().to_string();
    ///     assert!(tree.contains("task `nap`"));
    ///     assert!(tree.contains("sleep, due in 9s"));
    ///     # drop(nap);
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias(
        "all_tasks",
        "print_stack",
        "task dump",
        "getDelayedCalls",
        "getReaders"
    ))]
    #[cfg(any(doc, feature = "debug"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "debug")))]
    pub fn dump(&self) -> Dump {
        self.tree()
    }

    /// Returns the live tree, without debug mode as well.
    pub(crate) fn tree(&self) -> Dump {
        let inner = self.inner();
        let mut things: Vec<Thing> = Vec::new();
        things.extend(inner.main_info().map(|info| info.thing()));
        let infos = inner.executor().infos();
        things.extend(infos.iter().map(|info| info.thing()));
        // Tasks without an info are known by their location only.
        let mut places: Vec<_> = inner.executor().tasks();
        for info in &infos {
            let spawned = info.title().spawned;
            if let Some(at) = places.iter().position(|location| *location == spawned) {
                places.swap_remove(at);
            }
        }
        let nameless = places.into_iter().enumerate().map(|(n, location)| Thing {
            id: Id::Nameless(n),
            kind: "task",
            name: None,
            location,
            about: String::new(),
            waits: Vec::new(),
        });
        things.extend(nameless);
        things.extend(defer::things());
        things.extend(self.timers().things());
        things.extend(inner.all_tracked().into_iter().map(|(key, source)| Thing {
            id: Id::Source(key),
            kind: source.kind(),
            name: None,
            location: source.location(),
            about: source.about(),
            waits: Vec::new(),
        }));
        Dump {
            buffered: inner.buffered(),
            roots: Forest::new(things).grow(),
            is_complete: debug::is_on(),
        }
    }
}

/// All things, by id.
struct Forest {
    /// In the order in which the modules listed them.
    things: Vec<Thing>,
    /// The position in `things` of each id.
    index: Index,
    /// Whether each of `things` is in a tree.
    shown: Vec<bool>,
    /// The things at which trees were cut, which become roots.
    cut: VecDeque<usize>,
}

impl Forest {
    fn new(things: Vec<Thing>) -> Self {
        let mut forest = Self {
            things: Vec::new(),
            index: Index::default(),
            shown: Vec::new(),
            cut: VecDeque::new(),
        };
        let mut todo = VecDeque::from(things);
        while let Some(mut thing) = todo.pop_front() {
            // What is only met as something that another one waits for comes last.
            let waited_for: Vec<Thing> = thing
                .waits
                .iter_mut()
                .map(|other| Thing {
                    waits: std::mem::take(&mut other.waits),
                    ..other.clone()
                })
                .collect();
            todo.extend(waited_for);
            let Some(at) = forest.index.get(thing.id.number()) else {
                forest.index.insert(thing.id.number(), forest.things.len());
                forest.things.push(thing);
                continue;
            };
            let known = &mut forest.things[at];
            if known.waits.is_empty() && !thing.waits.is_empty() {
                *known = thing;
            }
        }
        forest.shown = vec![false; forest.things.len()];
        forest
    }

    /// Returns the trees: first those of things that no other thing waits for, then those of the
    /// rest, which wait in circles.
    fn grow(mut self) -> Vec<Node> {
        let mut awaited = vec![false; self.things.len()];
        for other in self.things.iter().flat_map(|thing| &thing.waits) {
            if let Some(at) = self.find(other) {
                awaited[at] = true;
            }
        }
        let (below, roots): (Vec<usize>, Vec<usize>) =
            (0..self.things.len()).partition(|at| awaited[*at]);
        let mut nodes = Vec::new();
        for at in roots.into_iter().chain(below) {
            self.cut.push_front(at);
            while let Some(at) = self.cut.pop_front() {
                if !self.shown[at] {
                    nodes.extend(self.node(at));
                }
            }
        }
        nodes
    }

    /// Returns a thing and what it waits for. Without recursion: a chain of Deferreds may be long.
    fn node(&mut self, root: usize) -> Option<Node> {
        let mut path = vec![self.open(root)];
        let mut on_path = Index::default();
        on_path.add(root as u128);
        loop {
            let depth = path.len();
            let (node, left, _) = path.last_mut()?;
            let Some(at) = left.pop() else {
                let (done, _, at) = path.pop()?;
                on_path.remove(at as u128);
                match path.last_mut() {
                    Some((above, ..)) => above.waits_for.push(done),
                    None => return Some(done),
                }
                continue;
            };
            let why = match self.shown[at] {
                _ if on_path.contains(at as u128) => "which waits for all this: a circle",
                true => "shown above",
                false if depth == DEEPEST => {
                    self.cut.push_back(at);
                    "shown below"
                }
                false => {
                    on_path.add(at as u128);
                    path.push(self.open(at));
                    continue;
                }
            };
            node.waits_for.push(Node::again(&self.things[at], why));
        }
    }

    fn open(&mut self, at: usize) -> (Node, Vec<usize>, usize) {
        self.shown[at] = true;
        let thing = &self.things[at];
        let waits = thing.waits.iter().rev();
        let left = waits.filter_map(|other| self.find(other)).collect();
        (Node::new(thing), left, at)
    }

    fn find(&self, thing: &Thing) -> Option<usize> {
        self.index.get(thing.id.number())
    }
}

impl Node {
    fn new(thing: &Thing) -> Self {
        Self {
            kind: thing.kind,
            name: thing.name.clone(),
            location: thing.location,
            about: thing.about.clone(),
            waits_for: Vec::new(),
        }
    }

    fn again(thing: &Thing, about: &str) -> Self {
        Self {
            about: about.to_owned(),
            ..Self::new(thing)
        }
    }
}

impl fmt::Display for Node {
    /// Writes one line, without what the thing waits for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if let Some(name) = &self.name {
            write!(f, " `{name}`")?;
        }
        if !self.about.is_empty() {
            write!(f, ", {}", self.about)?;
        }
        write!(f, " (made at {})", self.location)
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut todo: Vec<(&Node, String, &str)> = self
            .roots
            .iter()
            .rev()
            .map(|root| (root, String::new(), ""))
            .collect();
        if todo.is_empty() {
            writeln!(f, "nothing is alive")?;
        }
        while let Some((node, indent, branch)) = todo.pop() {
            writeln!(f, "{indent}{branch}{node}")?;
            let below = match branch {
                "" => indent,
                "├─ " => indent + "│  ",
                _ => indent + "   ",
            };
            // A line of Deferreds goes on straight down.
            let count = node.waits_for.len();
            for (n, other) in node.waits_for.iter().enumerate().rev() {
                let branch = if n + 1 == count { "└─ " } else { "├─ " };
                todo.push((other, below.clone(), branch));
            }
        }
        if !self.is_complete {
            writeln!(
                f,
                "(debug mode is off: Deferreds, and what tasks wait for, are not known)"
            )?;
        }
        Ok(())
    }
}

/// A tree is cut at this depth, and goes on as another one.
const DEEPEST: usize = 100;
