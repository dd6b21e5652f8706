//! The rules of this crate that neither the compiler nor clippy checks.

use std::fmt::Write;
use std::fs;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use support::circles;

#[test]
fn modules_look_down() {
    let mut upward = String::new();
    for file in rust_files("src") {
        let Some(module) = file.module() else {
            continue;
        };
        let Some(level) = level_of(&module) else {
            writeln!(
                upward,
                "{}: {module} is not in the list of layers",
                file.path
            )
            .unwrap();
            continue;
        };
        for (line, text) in file.code() {
            for used in file.modules_used(text) {
                if level_of(&used).is_none_or(|other| other > level) {
                    writeln!(upward, "{}:{line}: {module} uses {used}: {text}", file.path).unwrap();
                }
            }
        }
    }
    assert!(upward.is_empty(), "upward uses:\n{upward}");
}

#[test]
fn files_of_a_module_use_each_other_in_circles_only_where_listed() {
    let files = rust_files("src");
    let inside = |file: &'_ File| file.path["src/".len()..].to_owned();
    let paths: Vec<String> = files.iter().map(inside).collect();
    let texts = files.iter().map(|file| file.text.as_str());
    let found = circles::circles(paths.iter().map(String::as_str).zip(texts));
    let listed: Vec<circles::Circle> = CIRCLES
        .iter()
        .map(|(module, members, _)| {
            let members = members.split(' ').map(str::to_owned).collect();
            ((*module).to_owned(), members)
        })
        .collect();
    let mut wrong = String::new();
    for (module, members) in found.iter().filter(|circle| !listed.contains(circle)) {
        writeln!(
            wrong,
            "new or changed; list it in CIRCLES with the reason: {module}: {}",
            members.join(" ")
        )
        .unwrap();
    }
    for (module, members) in listed.iter().filter(|circle| !found.contains(circle)) {
        writeln!(
            wrong,
            "listed and not there: {module}: {}",
            members.join(" ")
        )
        .unwrap();
    }
    assert!(wrong.is_empty(), "circles between files:\n{wrong}");
}

#[test]
fn a_context_has_no_method_of_a_transports_name() {
    let methods = |path: &str, start: &str| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let of_type = text.split("\nimpl").filter(|part| part.starts_with(start));
        let words = of_type.flat_map(|part| part.split("\n    pub fn ").skip(1));
        words
            .map(|word| word.split(['(', '<']).next().unwrap().to_owned())
            .collect()
    };
    let mut own = methods(
        "src/protocol/context.rs",
        "<'a, P: 'static, T: 'static> Context",
    );
    own.extend(methods(
        "src/protocol/context.rs",
        "<P: 'static> Context<'_, P, Transport>",
    ));
    assert!(own.contains(&"call_later".to_owned()) && own.contains(&"become_protocol".to_owned()));
    for (path, start) in [
        ("src/transport/mod.rs", " Transport {"),
        ("src/process/handle.rs", " Process {"),
        ("src/net/datagram/port.rs", " DatagramPort {"),
    ] {
        let others = methods(path, start);
        assert!(others.len() > 10, "{path}: {others:?}");
        let both: Vec<_> = own.iter().filter(|name| others.contains(name)).collect();
        assert!(
            both.is_empty(),
            "`cx.{both:?}()` would hide a method of {path}"
        );
    }
}

#[test]
fn a_circle_is_found_through_re_exports_and_not_where_there_is_none() {
    let door = (
        "a/mod.rs",
        "mod one; mod two;\npub use one::{One, Other as Third};",
    );
    let one = ("a/one.rs", "use crate::b;\nuse super::two::{self, Two};");
    let two = |text| circles::circles([door, one, ("a/two.rs", text), ("b.rs", "use crate::a;")]);
    let circle = vec![("a".to_owned(), vec!["one".to_owned(), "two".to_owned()])];
    assert_eq!(two("use super::Third;"), circle);
    assert_eq!(two("fn f() -> crate::a::One { todo }"), circle);
    assert_eq!(two("use std::fmt; // super::One"), []);
    assert_eq!(two("pub(in crate::a::one) struct Two;"), []);
    assert_eq!(
        two("use std::fmt as either;\nuse super::one as either;\nuse either::One;"),
        circle
    );
    assert_eq!(
        two("#[cfg(test)]\nmod tests {\nuse super::super::One;\n}"),
        []
    );
}

#[test]
fn the_front_door_only_opens() {
    let door = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for word in ["fn ", "struct ", "enum ", "trait ", "impl "] {
        let found = code_lines(&door).find(|(_, text)| text.contains(word));
        assert_eq!(found, None, "src/lib.rs defines something");
    }
}

#[test]
fn unsafe_is_written_in_few_places() {
    forbid("unsafe", &UNSAFE_FILES, |text| {
        let text = text.replace("unsafe_code", "");
        words(&text).any(|word| word == "unsafe")
    });
}

#[test]
fn nothing_is_left_for_later() {
    let unfinished = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let ignored = format!("#[{}", "ignore");
    forbid("unfinished work", &[], |text| {
        text.contains(&ignored) || unfinished.iter().any(|name| text.contains(name))
    });
}

#[test]
fn no_test_sleeps() {
    let sleep = format!("thread::{}", "sleep");
    forbid("a sleeping thread", &SLEEPERS, |text| text.contains(&sleep));
}

#[test]
fn every_module_has_a_header() {
    let mut silent = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        for file in rust_files(folder) {
            if !file.text.starts_with("//! ") {
                silent.push(file.path);
            }
        }
    }
    assert!(
        silent.is_empty(),
        "these do not begin with `//!` docs: {silent:#?}"
    );
}

#[test]
fn every_example_documents_its_command_and_its_output() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (name, file) in examples() {
        let run = format!("--example {name}");
        let header: String = file
            .text
            .lines()
            .take_while(|l| l.starts_with("//!"))
            .collect();
        assert!(header.contains("Run `cargo run "), "{}: `Run`", file.path);
        assert!(header.contains(&run), "{}: `{run}`", file.path);
        assert!(header.contains("Prints "), "{}: `Prints`", file.path);
        assert!(readme.contains(&format!("`{name}`")), "README: `{name}`");
    }
}

#[test]
fn each_function_of_the_paths_is_where_the_guide_says() {
    let guide = fs::read_to_string("src/guide/paths.rs").unwrap();
    let mut count = 0;
    for line in guide.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, function, file, ..] = cells[..] else {
            continue;
        };
        let (Some(function), Some(file)) = (quoted(function), quoted(file)) else {
            continue;
        };
        let text = fs::read_to_string(format!("src/{file}")).unwrap();
        let (owner, name) = function.rsplit_once("::").unwrap_or(("", function));
        let is_there = ["(", "<"]
            .iter()
            .any(|next| text.contains(&format!("fn {name}{next}")));
        assert!(is_there, "{function} is not in {file}");
        assert!(text.contains(owner), "{file} has no {owner}");
        count += 1;
    }
    assert!(count > 40, "{count} functions");
}

fn quoted(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        for file in rust_files(folder) {
            let lines = file.text.lines().count();
            if lines > MOST_LINES {
                long.push(format!("{}: {lines} lines", file.path));
            }
        }
    }
    assert!(long.is_empty(), "longer than {MOST_LINES} lines: {long:#?}");
}

#[test]
fn no_comment_is_too_wide() {
    let mut wide = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        for file in rust_files(folder) {
            for (number, line) in file.text.lines().enumerate() {
                let text = line.trim_start();
                let words = text.trim_start_matches(['/', '!', ' ']);
                // Tables, and links that are longer than a line.
                let may_be_wide = words.starts_with('|') || !words.trim_end().contains(' ');
                let is_wide = text.starts_with("//") && line.chars().count() > MOST_COLUMNS;
                if is_wide && !may_be_wide {
                    wide.push(format!("{}:{}", file.path, number + 1));
                }
            }
        }
    }
    for path in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"] {
        for (number, line) in fs::read_to_string(root().join(path))
            .unwrap()
            .lines()
            .enumerate()
        {
            let is_exempt = line.trim_start().starts_with(['|', '!', '[']);
            if line.chars().count() > MOST_COLUMNS && !is_exempt {
                wide.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert!(
        wide.is_empty(),
        "wider than {MOST_COLUMNS} columns: {wide:#?}"
    );
}

#[test]
fn every_doc_alias_is_a_known_word() {
    let known: Vec<&str> = include_str!("aliases.txt").lines().collect();
    assert!(known.is_sorted(), "tests/aliases.txt is sorted");
    let mut unknown = Vec::new();
    for file in rust_files("src") {
        for alias in aliases(&file.text) {
            if known.binary_search(&alias).is_err() {
                unknown.push(format!("{}: {alias:?}", file.path));
            }
        }
    }
    assert!(
        unknown.is_empty(),
        "damaged, or new and to be added to tests/aliases.txt: {unknown:#?}"
    );
}

#[test]
fn words_of_other_libraries_lead_somewhere() {
    let files = rust_files("src");
    let there: Vec<&str> = files.iter().flat_map(|file| aliases(&file.text)).collect();
    for word in [
        "ClientCreator",
        "TimeoutMixin",
        "connectProtocol",
        "failureResultOf",
        "flushLoggedErrors",
        "inlineCallbacks",
        "iosim",
        "reactor.iterate",
        "setRawMode",
        "successResultOf",
        "tokio::time::timeout",
        "twistd",
    ] {
        assert!(there.contains(&word), "nothing has the alias {word:?}");
    }
}

#[test]
fn every_link_of_the_readme_leads_somewhere_there_and_in_the_docs() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let links = fs::read_to_string(root().join("src/guide/links.md")).unwrap()
        + &fs::read_to_string(root().join("src/guide/pictures.md")).unwrap();
    let page = fs::read_to_string(root().join("src/guide/examples.rs")).unwrap();
    for after in readme.split("](").skip(1) {
        assert!(
            after.starts_with("http"),
            "a link for the README only: {after:.40}"
        );
    }
    let mut count = 0;
    for line in readme.lines().filter(|line| line.starts_with('[')) {
        let Some((label, path)) = line.split_once("]: ") else {
            continue;
        };
        assert!(root().join(path).exists(), "README: {line}");
        let there = format!("{label}]: ");
        assert!(
            links.lines().any(|line| line.starts_with(&there)),
            "links.md: {there}"
        );
        count += 1;
    }
    assert!(count >= 4, "{count} links");
    for (name, file) in examples() {
        let path = format!("/{}\"", file.path);
        assert!(
            page.contains(&format!("## {name}\\n")) && page.contains(&path),
            "guide::examples: {name}"
        );
    }
}

/// Returns the words of each `doc(alias)` in a text.
fn aliases(text: &str) -> impl Iterator<Item = &str> {
    text.split("doc(alias").skip(1).flat_map(|after| {
        let list = after.split_once(")]").map_or(after, |(list, _)| list);
        list.split('"').skip(1).step_by(2)
    })
}

/// The modules, bottom first. A module may use itself and those above it in this list.
const LAYERS: [&str; 39] = [
    "sync",
    "spans",
    "context",
    "slots",
    "index",
    "failure",
    "address",
    "settings",
    "signal",
    "cells",
    "queue",
    "bytes",
    "framing",
    "tls",
    "debug",
    "report",
    "task",
    "defer",
    "clock",
    "locks",
    "repeat",
    "scope",
    "driver",
    "threads",
    "reactor",
    "signals",
    "transport",
    "protocol",
    "stream",
    "process",
    "net",
    "protocols",
    "services",
    "hyper",
    "http",
    "tokio",
    "testing",
    "prelude",
    "guide",
];

/// The accepted circles between files of a module: all their members, and what closes the circle.
const CIRCLES: [(&str, &str, &str); 7] = [
    (
        "defer",
        "mod callback_queue core core/group core/slot core/waiter core/work coroutine live make outcome queued tracker",
        "a Deferred is a handle on its core, and the core's steps give and take Deferreds",
    ),
    (
        "driver",
        "signals/table signals/unix signals/windows",
        "the table sets the system's handler, and the handler reads the table",
    ),
    (
        "driver",
        "socket tls_socket",
        "a socket may be another socket in TLS",
    ),
    (
        "protocol",
        "connected context slot successor",
        "a seat makes the context of a protocol, which may name a successor, which needs the seat",
    ),
    (
        "reactor",
        "mod budget builder connection_spans descriptor drain ending events extensions handler registration reports requests \
         signals threads turn_context unknown_keys",
        "mod.rs defines the reactor and uses the files that each do a part of its work on it",
    ),
    (
        "task",
        "mod current_executor executor root",
        "the executor makes and holds tasks, which name it, and mod.rs defines what all share",
    ),
    (
        "transport",
        "engine link policed producer stall tls",
        "a link holds its producer and its stall timer, which act on the link and the engine's seat",
    ),
];

/// The files that may contain `unsafe`, and why.
const UNSAFE_FILES: [(&str, &str); 19] = [
    (
        "src/defer/callback_queue.rs",
        "callbacks lie in one allocation",
    ),
    (
        "src/driver/sockets/ancillary.rs",
        "a peer out of sight has no safe type",
    ),
    ("src/driver/poller/epoll.rs", "waiting has no safe function"),
    (
        "src/driver/children/fork.rs",
        "a child makes bare system calls",
    ),
    (
        "src/driver/descriptors/inherited.rs",
        "a descriptor is named by its number",
    ),
    (
        "src/driver/poller/register.rs",
        "the poller trusts descriptors",
    ),
    (
        "src/driver/sockets/sockopt.rs",
        "an option has no safe function in the libraries in use",
    ),
    (
        "src/driver/socket_cell.rs",
        "a `RefCell` costs as much as a socket",
    ),
    ("src/driver/signals/tests.rs", "signals are sent as C does"),
    ("src/driver/signals/unix.rs", "signal handlers are C"),
    ("src/driver/signals/windows.rs", "signal handlers are C"),
    ("src/queue.rs", "a `RefCell` costs as much as a queue"),
    (
        "src/task/handle.rs",
        "a handle's state is beside its task, which may be dropped elsewhere",
    ),
    (
        "src/task/remote_call.rs",
        "a small call is sent without an allocation",
    ),
    (
        "src/task/inbox.rs",
        "counting the reference of each task takes a tenth of its time",
    ),
    (
        "src/task/current_executor.rs",
        "a task's thread is not compared at each poll",
    ),
    ("tests/memory/counted.rs", "an allocator counts"),
    ("tests/signals/flood.rs", "a signal is sent to one thread"),
    ("tests/support/src/signals.rs", "Windows is asked as C does"),
];

/// The files that may put a thread to sleep, and why.
const SLEEPERS: [(&str, &str); 2] = [
    (
        "tests/net/descriptors_run_out.rs",
        "the clients of another process take their time",
    ),
    (
        "tests/reactor/turns.rs",
        "real time must go by while a manual clock stands",
    ),
];

const MOST_LINES: usize = 800;

/// The width of a comment, in columns. Tables may be wider.
const MOST_COLUMNS: usize = 100;

/// A file of the project, by its path from the project's root.
struct File {
    path: String,
    text: String,
}

impl File {
    /// Returns the top-level module that the file belongs to; `None` for `lib.rs`.
    fn module(&self) -> Option<String> {
        let inside = self.path.strip_prefix("src/")?;
        let module = inside.split('/').next()?.trim_end_matches(".rs");
        (module != "lib").then(|| module.to_owned())
    }

    /// Returns the depth of the file's module: 1 for a top-level module, 2 for a file in its
    /// folder.
    fn depth(&self) -> usize {
        let names = self.path.split('/').count() - 1;
        names - usize::from(self.path.ends_with("/mod.rs"))
    }

    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        code_lines(&self.text)
    }

    /// Returns the modules that a line names: after `crate::`, or after as many `super::` as lead
    /// to the crate.
    fn modules_used(&self, text: &str) -> Vec<String> {
        let mut named = Vec::new();
        for (at, _) in text.match_indices("crate::") {
            if !text[..at].ends_with('$') {
                named.extend(first_names(&text[at + "crate::".len()..]));
            }
        }
        for path in text.split(|c: char| !(c == ':' || c == '_' || c.is_alphanumeric())) {
            let supers = path.split("::").take_while(|name| *name == "super").count();
            if supers >= self.depth() {
                // In an inner module `super` is the file itself, so only modules count.
                let name = path.split("::").nth(supers).unwrap_or_default();
                named.extend(level_of(name).map(|_| name.to_owned()));
            }
        }
        named.retain(|name| !name.is_empty());
        named
            .into_iter()
            .map(|name| behind_the_door(&name))
            .collect()
    }
}

/// Returns the names with which a path begins: one, or those in its braces.
fn first_names(path: &str) -> Vec<String> {
    let first = |path: &str| {
        path.trim()
            .chars()
            .take_while(|c| *c == '_' || c.is_alphanumeric())
            .collect()
    };
    let Some(list) = path.strip_prefix('{') else {
        return vec![first(path)];
    };
    let mut depth = 0;
    let mut names = vec![String::new()];
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ if depth == 0 => names.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    names.iter().map(|name| first(name)).collect()
}

/// Returns the module of a name of the crate's root: the module of that name, or the one from which
/// `lib.rs` re-exports it.
fn behind_the_door(name: &str) -> String {
    let door = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    if level_of(name).is_some() {
        return name.to_owned();
    }
    for item in door.split(';') {
        let item: String = item.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((_, path)) = item.split_once("pub use crate::") {
            if words(path).any(|word| word == name) {
                return first_names(path).remove(0);
            }
        }
    }
    name.to_owned()
}

fn level_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|name| *name == module)
}

/// Fails with each line of the source and the tests that is `bad`, outside the allowed files; and
/// with each allowed file that has no such line.
#[track_caller]
fn forbid(what: &str, allowed: &[(&str, &str)], bad: impl Fn(&str) -> bool) {
    let mut found = String::new();
    let mut needed: Vec<&str> = allowed.iter().map(|(path, _)| *path).collect();
    for file in rust_files("src").into_iter().chain(rust_files("tests")) {
        let may = allowed.iter().any(|(path, _)| *path == file.path);
        for (line, text) in file.code().filter(|(_, text)| bad(text)) {
            needed.retain(|path| *path != file.path);
            if !may && file.path != "tests/tidy.rs" {
                writeln!(found, "{}:{line}: {text}", file.path).unwrap();
            }
        }
    }
    assert!(found.is_empty(), "{what}:\n{found}");
    assert!(
        needed.is_empty(),
        "{what} is allowed and not needed in {needed:?}"
    );
}

/// Iterates over the lines of a text that are not comments, with their numbers. A `use` over
/// several lines counts as one.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    let mut number = 1;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let begin = rest.trim_start();
        let is_use = ["use ", "pub use ", "pub(crate) use "]
            .iter()
            .any(|word| begin.starts_with(word));
        let end = if is_use { rest.find(';') } else { None };
        let from = end.unwrap_or(0);
        let length = rest[from..]
            .find('\n')
            .map_or(rest.len(), |at| from + at + 1);
        let (line, left) = rest.split_at(length);
        let found = (number, line.trim());
        rest = left;
        number += line.matches('\n').count();
        Some(found)
    })
    .filter(|(_, line)| !line.starts_with("//"))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c != '_' && !c.is_alphanumeric())
}

/// The examples by name: `examples/NAME.rs`, or `examples/NAME/main.rs` of one in several files.
fn examples() -> Vec<(String, File)> {
    let mut examples = Vec::new();
    for file in rust_files("examples") {
        let path = file.path.trim_start_matches("examples/");
        let name = match path.split_once('/') {
            Some((name, "main.rs")) => name,
            Some(_) => continue,
            None => path.trim_end_matches(".rs"),
        };
        examples.push((String::from(name), file));
    }
    examples
}

/// Returns all Rust files in a folder and its subfolders, in order.
fn rust_files(folder: &str) -> Vec<File> {
    let (mut files, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Build output of nested packages is not part of the project.
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(File {
                    path: {
                        let path = path.strip_prefix(root()).unwrap().to_str().unwrap();
                        path.replace(MAIN_SEPARATOR, "/")
                    },
                    text: fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
