//! The live tree: everything that is alive in a reactor, and what each item waits for.
//!
//! # The idea
//!
//! Each module lists its items (tasks, Deferreds, timers, connections) and what each of them waits
//! for. This module joins the lists: an item that no other item waits for is a root, and below each
//! item is what it waits for. An item that several others wait for is shown in full once, and by
//! name elsewhere. Items that wait for each other in a cycle have no root; the tree shows the
//! cycle, and marks it as a deadlock.

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
use crate::debug::{self, DumpItem, Id};
use crate::defer;
use crate::index::Index;

/// Everything that is alive in a reactor, and what waits for what; see [`Reactor::dump`].
///
/// `Display` draws the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// The items that no other item waits for, each with what it waits for.
    pub roots: Vec<Node>,
    /// Whether debug mode was on. Without it the tree has no Deferreds, and does not show what a
    /// task waits for.
    pub is_complete: bool,
    /// Number of bytes that all connections hold together; 0 without a
    /// [budget](super::ReactorBuilder::buffer_budget), since then they are not counted.
    pub buffered: usize,
}

/// One item in a [`Dump`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// The kind of the item: `"task"`, `"Deferred"`, `"lock"`, `"sleep"`, `"delayed call"`,
    /// `"connection"`, `"port"` and so on.
    pub kind: &'static str,
    /// The name, if the item has one.
    pub name: Option<Arc<str>>,
    /// The line that made the item.
    pub location: &'static Location<'static>,
    /// The state of the item, as text; may be empty.
    pub about: String,
    /// The items that this one waits for.
    pub waits_for: Vec<Self>,
}

impl Reactor {
    /// Returns a tree of everything that is alive: all tasks, timers, connections, ports and
    /// descriptors and, in debug mode, all Deferreds of this thread. Each item has the line that
    /// made it, and below it the items that it waits for. Below a [lock](crate::locks) are its
    /// holders.
    ///
    /// With [`ReactorBuilder::dumps_on_signal`](super::ReactorBuilder::dumps_on_signal), SIGUSR1
    /// makes a program that is stuck write the tree.
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
        let mut dump_items: Vec<DumpItem> = Vec::new();
        dump_items.extend(inner.main_info().map(|info| info.dump_item()));
        let infos = inner.executor().infos();
        dump_items.extend(infos.iter().map(|info| info.dump_item()));
        // Tasks without an info are known by their location only.
        let mut places: Vec<_> = inner.executor().tasks();
        for info in &infos {
            let spawned = info.title().spawned;
            if let Some(at) = places.iter().position(|location| *location == spawned) {
                places.swap_remove(at);
            }
        }
        let nameless = places
            .into_iter()
            .enumerate()
            .map(|(n, location)| DumpItem {
                id: Id::Nameless(n),
                kind: "task",
                name: None,
                location,
                about: String::new(),
                waits: Vec::new(),
            });
        dump_items.extend(nameless);
        dump_items.extend(defer::dump_items());
        dump_items.extend(self.timers().dump_items());
        dump_items.extend(
            inner
                .all_tracked()
                .into_iter()
                .map(|(key, source)| DumpItem {
                    id: Id::Source(key),
                    kind: source.kind(),
                    name: None,
                    location: source.location(),
                    about: source.about(),
                    waits: Vec::new(),
                }),
        );
        Dump {
            buffered: inner.buffered(),
            roots: Forest::new(dump_items).grow(),
            is_complete: debug::is_on(),
        }
    }
}

/// All items, by ID.
struct Forest {
    /// In the order in which the modules listed them.
    dump_items: Vec<DumpItem>,
    /// The position in `dump_items` of each ID.
    index: Index,
    /// Whether each of `dump_items` is in a tree.
    shown: Vec<bool>,
    /// The items at which trees were cut, which become roots.
    cut: VecDeque<usize>,
}

impl Forest {
    fn new(dump_items: Vec<DumpItem>) -> Self {
        let mut forest = Self {
            dump_items: Vec::new(),
            index: Index::default(),
            shown: Vec::new(),
            cut: VecDeque::new(),
        };
        let mut todo = VecDeque::from(dump_items);
        while let Some(mut dump_item) = todo.pop_front() {
            // Items that are only known because another item waits for them come last.
            let waited_for: Vec<DumpItem> = dump_item
                .waits
                .iter_mut()
                .map(|other| DumpItem {
                    waits: std::mem::take(&mut other.waits),
                    ..other.clone()
                })
                .collect();
            todo.extend(waited_for);
            let Some(at) = forest.index.get(dump_item.id.number()) else {
                forest
                    .index
                    .insert(dump_item.id.number(), forest.dump_items.len());
                forest.dump_items.push(dump_item);
                continue;
            };
            let known = &mut forest.dump_items[at];
            if known.waits.is_empty() && !dump_item.waits.is_empty() {
                *known = dump_item;
            }
        }
        forest.shown = vec![false; forest.dump_items.len()];
        forest
    }

    /// Returns the trees: first those of items that no other item waits for, then those of the
    /// rest, which wait in cycles.
    fn grow(mut self) -> Vec<Node> {
        let mut awaited = vec![false; self.dump_items.len()];
        for other in self
            .dump_items
            .iter()
            .flat_map(|dump_item| &dump_item.waits)
        {
            if let Some(at) = self.find(other) {
                awaited[at] = true;
            }
        }
        let (below, roots): (Vec<usize>, Vec<usize>) =
            (0..self.dump_items.len()).partition(|at| awaited[*at]);
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

    /// Returns an item and what it waits for. Without recursion: a chain of Deferreds may be long.
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
                _ if on_path.contains(at as u128) => "which waits for all of these: a deadlock",
                true => "shown above",
                false if depth == MAX_DEPTH => {
                    self.cut.push_back(at);
                    "shown below"
                }
                false => {
                    on_path.add(at as u128);
                    path.push(self.open(at));
                    continue;
                }
            };
            node.waits_for.push(Node::again(&self.dump_items[at], why));
        }
    }

    fn open(&mut self, at: usize) -> (Node, Vec<usize>, usize) {
        self.shown[at] = true;
        let dump_item = &self.dump_items[at];
        let waits = dump_item.waits.iter().rev();
        let left = waits.filter_map(|other| self.find(other)).collect();
        (Node::new(dump_item), left, at)
    }

    fn find(&self, dump_item: &DumpItem) -> Option<usize> {
        self.index.get(dump_item.id.number())
    }
}

impl Node {
    fn new(dump_item: &DumpItem) -> Self {
        Self {
            kind: dump_item.kind,
            name: dump_item.name.clone(),
            location: dump_item.location,
            about: dump_item.about.clone(),
            waits_for: Vec::new(),
        }
    }

    fn again(dump_item: &DumpItem, about: &str) -> Self {
        Self {
            about: about.to_owned(),
            ..Self::new(dump_item)
        }
    }
}

impl fmt::Display for Node {
    /// Writes one line, without what the item waits for.
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
            // A chain of Deferreds continues straight down.
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

/// A tree is cut at this depth, and continues as another one.
const MAX_DEPTH: usize = 100;
