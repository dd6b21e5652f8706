//! Debug mode in tests: a reactor in debug mode, and the shape of its tree.

use std::panic::Location;

use torsade::Reactor;
use torsade::reactor::Node;

/// Returns a reactor in debug mode, with its own network.
pub fn debugged() -> Reactor {
    Reactor::builder().in_memory().debug(true).build().unwrap()
}

/// The line that comes after the one it is called in.
#[track_caller]
pub fn next_line() -> u32 {
    Location::caller().line() + 1
}

/// The tree of a node as text, without places: `task(Deferred(task(sleep)))`.
pub fn shape(node: &Node) -> String {
    let below: Vec<_> = node.waits_for.iter().map(shape).collect();
    let name = node.name.as_deref().unwrap_or(node.kind);
    match below.is_empty() {
        true => name.to_owned(),
        false => format!("{name}({})", below.join(" ")),
    }
}

pub fn shapes(reactor: &Reactor) -> Vec<String> {
    let mut shapes: Vec<_> = reactor.dump().roots.iter().map(shape).collect();
    shapes.retain(|shape| !shape.starts_with("main"));
    shapes.sort();
    shapes
}

/// The tree as lines, without what `main` is, and without branches and places.
pub fn tree(reactor: &Reactor) -> Vec<String> {
    let text = reactor.dump().to_string();
    let lines = text.lines().filter(|line| !line.contains("`main`"));
    lines
        .map(|line| {
            let line = line.trim_start_matches([' ', '│', '├', '└', '─']);
            let line = line.split(" (made at ").next().unwrap();
            line.split(" since ").next().unwrap().to_owned()
        })
        .collect()
}
