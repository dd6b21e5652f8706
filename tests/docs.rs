//! Documents that are generated from the source and from each other, and must not drift from it.
//!
//! `TORSADE_WRITE=1 cargo test --test docs` writes them again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[test]
fn the_tables_of_words_are_made_from_the_aliases() {
    let words = words();
    let paths = paths_of_items();
    let table = |library: &str, is_theirs: fn(&str) -> bool| {
        let mut text = format!("| {library} | torsade |\n|---|---|\n");
        for (word, ours) in words.iter().filter(|(word, _)| is_theirs(word)) {
            let mut ours = ours.clone();
            ours.sort_by_key(|item| rank(word, &item.name));
            let ours: Vec<_> = ours.iter().map(|item| item.link(&paths)).collect();
            writeln!(text, "| `{word}` | {} |", ours.join(", ")).unwrap();
        }
        text
    };
    is_current("src/guide/from_twisted.md", &table("Twisted", is_twisted));
    is_current("src/guide/from_tokio.md", &table("tokio", is_tokio));
}

#[test]
fn the_pictures_in_the_docs_are_those_of_the_readme() {
    let mut links = String::new();
    for name in ["chart", "modules", "turn"] {
        let readme = fs::read_to_string(root().join("README.md")).unwrap();
        let label = format!("[{name}]: ");
        let line = readme.lines().find(|line| line.starts_with(&label));
        let path = line.expect(name)[label.len()..].to_owned();
        let picture = fs::read_to_string(root().join(path)).unwrap();
        writeln!(links, "{label}data:image/svg+xml,{}", escaped(&picture)).unwrap();
    }
    is_current("src/guide/pictures.md", &links);
}

/// The search finds an item that a private module declares and a public one exports only by the
/// aliases of that `pub use`: rustdoc 1.95 loses those of the item itself.
#[test]
fn an_item_of_a_private_module_has_its_aliases_where_it_is_exported() {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    let mut lost = Vec::new();
    for file in files.iter().filter(|file| !is_public(file)) {
        let text = fs::read_to_string(file).unwrap();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with("#[doc(alias") {
                lost.push(format!("{}:{}", file.display(), number + 1));
            }
        }
    }
    assert!(
        lost.is_empty(),
        "these belong to the `pub use` of the item: {lost:#?}"
    );
}

#[test]
fn every_link_to_the_glossary_names_one_of_its_terms() {
    let glossary = fs::read_to_string(root().join("src/guide/glossary.rs")).unwrap();
    let headings = glossary.lines().filter_map(|line| {
        let heading = line.strip_prefix("//! #")?.trim_start_matches('#').trim();
        let words = heading.to_lowercase().replace(',', "").replace(' ', "-");
        (!heading.is_empty()).then_some(words)
    });
    let headings: Vec<String> = headings.collect();
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    let mut count = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (_, link) in text
            .match_indices("guide::glossary#")
            .map(|(at, label)| (at, &text[at + label.len()..]))
        {
            let end = link.find([')', ']', '`', '"']).unwrap_or(link.len());
            let term = &link[..end];
            let is_term = headings.iter().any(|heading| heading == term);
            assert!(is_term, "{}: glossary#{term}", file.display());
            count += 1;
        }
    }
    assert!(count > 30, "{count} links");
}

#[test]
fn the_readme_is_short_and_names_every_feature() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        readme.lines().count() <= 200,
        "{} lines",
        readme.lines().count()
    );
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, features) = manifest.split_once("[features]\n").unwrap();
    let (features, _) = features.split_once("\n[").unwrap();
    let lines = features.lines().filter(|line| !line.starts_with('#'));
    for name in lines
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
    {
        let is_there = readme.contains(&format!("`{name}`"));
        assert!(is_there || name == "default", "README: the feature {name}");
    }
}

/// Returns whether the word is Twisted's: those are in camel case, and so are a few others.
fn is_twisted(word: &str) -> bool {
    const OTHERS: [&str; 5] = [
        "allSettled",
        "setInterval",
        "killOnDrop",
        "asFuture",
        "busyLoop",
    ];
    let mut letters = word.chars();
    let first = letters.next().is_some_and(char::is_lowercase);
    let is_camel =
        first && word.chars().all(char::is_alphanumeric) && letters.any(char::is_uppercase);
    let is_interface = word.starts_with('I')
        && word[1..].starts_with(char::is_uppercase)
        && word.chars().any(char::is_lowercase);
    (is_camel || is_interface || MORE.contains(&word)) && !OTHERS.contains(&word)
}

fn is_tokio(word: &str) -> bool {
    TOKIO.contains(&word)
}

/// Orders the items of a word: the main one first, which is the one that [`MAIN`] names, or has the
/// word's own name, or belongs to the type that comes first in [`OWNERS`].
fn rank(word: &str, item: &str) -> (bool, bool, usize) {
    let main = MAIN.iter().find(|(other, _)| *other == word);
    let (owner, name) = item.rsplit_once("::").unwrap_or(("", item));
    let owner = OWNERS.iter().position(|other| *other == owner);
    (
        main.is_none_or(|(_, main)| *main != item),
        name != snake(word),
        owner.unwrap_or(OWNERS.len()),
    )
}

/// Converts `camelCase` to `snake_case`.
fn snake(word: &str) -> String {
    let mut snake = String::new();
    for letter in word.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// An item that has an alias.
#[derive(Clone)]
struct Item {
    /// Its name, after the type that it belongs to.
    name: String,
    /// The module of its file.
    module: Vec<String>,
    /// What follows its path in a link: `()` for a function, `!` for a macro.
    kind: &'static str,
}

impl Item {
    /// Returns the name as a link to the item.
    fn link(&self, paths: &BTreeMap<String, Vec<Vec<String>>>) -> String {
        let Self { name, module, kind } = self;
        let (first, rest) = name.split_once("::").unwrap_or((name, ""));
        let all = paths.get(first).map_or(&[][..], Vec::as_slice);
        let common = |path: &[String]| path.iter().zip(module).take_while(|(a, b)| a == b).count();
        let mut parts = vec!["crate"];
        if *kind != "!" {
            let path = all.iter().max_by_key(|path| common(path));
            let path = path.unwrap_or_else(|| panic!("{first} has no public path"));
            parts.extend(path.iter().map(String::as_str));
        }
        parts.push(first);
        parts.extend((!rest.is_empty()).then_some(rest));
        format!("[`{name}`]({}{kind})", parts.join("::"))
    }
}

/// Returns for the name of each public item the modules in which it is.
fn paths_of_items() -> BTreeMap<String, Vec<Vec<String>>> {
    let mut paths = BTreeMap::<String, Vec<Vec<String>>>::new();
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    files.sort();
    for file in files.iter().filter(|file| is_public(file)) {
        let text = fs::read_to_string(file).unwrap();
        for part in text.split("\npub ").skip(1) {
            let names: Vec<&str> = match part.strip_prefix("use ") {
                Some(names) => names
                    .split(';')
                    .next()
                    .unwrap()
                    .split([',', ':', '{', '}', ' ', '\n'])
                    .collect(),
                None => item_of(part).into_iter().collect(),
            };
            for name in names.iter().filter(|name| !name.is_empty()) {
                paths
                    .entry((*name).to_owned())
                    .or_default()
                    .push(module_of(file));
            }
        }
    }
    paths
}

/// Returns each word of a `doc(alias)`, with the items that have it.
fn words() -> BTreeMap<String, Vec<Item>> {
    let mut all = BTreeMap::<String, Vec<Item>>::new();
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    files.sort();
    for file in files {
        let module = module_of(&file);
        let text = fs::read_to_string(file).unwrap();
        let mut owner = String::new();
        let mut open: Option<String> = None;
        let mut waiting = Vec::new();
        let mut in_attribute = false;
        for line in text.lines() {
            if let Some(name) = owner_of(line) {
                owner = name;
            }
            let code = line.trim_start();
            let is_alias = code.starts_with("#[doc(alias");
            if in_attribute || (code.starts_with("#[") && !is_alias && !code.ends_with(']')) {
                in_attribute = !code.ends_with(")]");
                continue;
            }
            if code.starts_with("#[doc(alias") {
                open = Some(String::new());
            }
            if let Some(list) = &mut open {
                list.push_str(code);
                if code.ends_with(")]") {
                    waiting.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
                    open = None;
                }
                continue;
            }
            let Some(name) = item_of(code)
                .filter(|name| !waiting.is_empty() || MORE.contains(name) || TOKIO.contains(name))
            else {
                continue;
            };
            let is_named =
                code.starts_with("pub ") && (MORE.contains(&name) || TOKIO.contains(&name));
            if is_named {
                waiting.push(name.to_owned());
            }
            let is_inside = line.starts_with(' ') && !owner.is_empty();
            let is_function = code.contains("fn ") || code.starts_with("pub use ");
            let item = Item {
                name: match is_inside {
                    true => format!("{owner}::{name}"),
                    false => name.to_owned(),
                },
                module: module.clone(),
                kind: match code {
                    _ if code.starts_with("macro_rules") => "!",
                    _ if is_function && !is_inside && name.starts_with(char::is_lowercase) => "()",
                    _ => "",
                },
            };
            for word in waiting.drain(..) {
                let items = all.entry(word).or_default();
                if !items.iter().any(|other| other.name == item.name) {
                    items.push(item.clone());
                }
            }
        }
    }
    all
}

/// Returns the type that a declaration or an `impl` at the left margin is about; for a macro that
/// makes methods, a type that has them.
fn owner_of(line: &str) -> Option<String> {
    if let Some(name) = line.strip_prefix("macro_rules! ") {
        return Some(match name.trim_end_matches(" {") {
            "connection_options" => "ListenOptions".to_owned(),
            "reads" | "receives" | "sends" | "writes" => "Connection".to_owned(),
            "shared_settings" => "ServerConfig".to_owned(),
            _ => String::new(),
        });
    }
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let kinds = ["trait ", "struct ", "enum "];
    let about = match kinds.iter().find_map(|kind| line.strip_prefix(kind)) {
        Some(name) => name,
        None => {
            let rest = line.strip_prefix("impl")?;
            let rest = match rest.strip_prefix('<') {
                Some(generics) => after_generics(generics),
                None => rest,
            };
            rest.split_once(" for ").map_or(rest, |(_, about)| about)
        }
    };
    let name = about
        .trim_start()
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Returns the text after the `>` that closes generics.
fn after_generics(text: &str) -> &str {
    let mut depth = 1;
    for (at, letter) in text.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' if !text[..at].ends_with('-') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[at + 1..];
        }
    }
    ""
}

/// Returns whether a file of `src` is a module that a public path names.
fn is_public(file: &Path) -> bool {
    let module = module_of(file);
    (1..=module.len()).all(|depth| {
        let (name, parents) = module[..depth].split_last().unwrap();
        let parent = parents
            .iter()
            .fold(root().join("src"), |path, name| path.join(name));
        let parent = match parents {
            [] => parent.join("lib.rs"),
            _ if parent.with_extension("rs").exists() => parent.with_extension("rs"),
            _ => parent.join("mod.rs"),
        };
        let text = fs::read_to_string(parent).unwrap();
        let is_declared = text.lines().any(|line| line == format!("pub mod {name};"));
        is_declared || EXPORTED.contains(&module.join("::").as_str())
    })
}

/// Returns the path of a file's module in the crate.
fn module_of(file: &Path) -> Vec<String> {
    let path = file.strip_prefix(root().join("src")).unwrap();
    let path = path.with_extension("");
    let names = path.iter().map(|name| name.to_str().unwrap().to_owned());
    names
        .filter(|name| name != "mod" && name != "lib")
        .collect()
}

/// Returns the name that a line declares, or a `pub use` of one item exports.
fn item_of(code: &str) -> Option<&str> {
    let code = code.strip_prefix("pub ").unwrap_or(code);
    if let Some(path) = code.strip_prefix("use ") {
        return path.strip_suffix(';')?.rsplit([':', ' ']).next();
    }
    let code = code.strip_prefix("async ").unwrap_or(code);
    let kinds = [
        "fn ",
        "struct ",
        "enum ",
        "trait ",
        "mod ",
        "type ",
        "macro_rules! ",
    ];
    let rest = match kinds.iter().find_map(|kind| code.strip_prefix(kind)) {
        Some(rest) => rest,
        // A variant or a field.
        None if code.starts_with(char::is_alphabetic) => code,
        None => return None,
    };
    rest.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// Percent-encodes what a link in Markdown or a `data:` URI cannot hold.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.trim_end().bytes() {
        match byte {
            b'\n' => escaped.push_str("%0A"),
            b' ' => escaped.push_str("%20"),
            b'"'
            | b'#'
            | b'%'
            | b'<'
            | b'>'
            | b'('
            | b')'
            | b'\\'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | 0x80.. => write!(escaped, "%{byte:02X}").unwrap(),
            _ => escaped.push(byte.into()),
        }
    }
    escaped
}

/// Fails unless a file has this text; with `TORSADE_WRITE`, writes it first.
fn is_current(path: &str, text: &str) {
    let file = root().join(path);
    if env::var_os("TORSADE_WRITE").is_some() {
        fs::write(&file, text).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == text,
        "{path} is out of date: `TORSADE_WRITE=1 cargo test --test docs` writes it"
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The main item of a word where the order of [`OWNERS`] does not tell.
const MAIN: [(&str, &str); 30] = [
    ("DeferredList", "DeferredList"),
    ("IListeningPort", "Port"),
    ("LineOnlyReceiver", "LineProtocol"),
    ("LineReceiver", "LineProtocol"),
    ("ProcessDone", "ProcessError::Done"),
    ("TcpListener", "StreamListener"),
    ("TimeoutError", "TimedOut"),
    ("TimeoutMixin", "Transport::set_idle_timeout"),
    ("UnixListener", "StreamListener"),
    ("block_on", "Reactor::run_until"),
    ("callFromThread", "Remote::call"),
    ("childFDs", "Command::child_fds"),
    ("clientConnectionFailed", "ClientFactory::connection_failed"),
    ("clientFromString", "ClientEndpoint"),
    ("ensureDeferred", "Deferred::from_future"),
    ("fireOnOneCallback", "race"),
    ("fireOnOneErrback", "gather"),
    ("flushLoggedErrors", "take_reports"),
    ("getDelayedCalls", "Clock::delayed_calls"),
    ("getServiceNamed", "MultiService::get"),
    ("lengthLimitExceeded", "FrameProtocol::frame_rejected"),
    ("lineLengthExceeded", "LineProtocol::line_length_exceeded"),
    ("react", "run"),
    ("retryPolicy", "ClientService::backoff"),
    ("serverFromString", "ServerEndpoint"),
    ("setTimeout", "Context::call_later"),
    ("spawnProcess", "Command::spawn_protocol"),
    ("startService", "Service::start"),
    ("stopService", "Service::stop"),
    ("stringReceived", "FrameProtocol::frame_received"),
];

/// Private modules that a public one exports as a whole.
const EXPORTED: [&str; 1] = ["net::adopted::activation"];

/// The types whose items come first in a list.
const OWNERS: [&str; 14] = [
    "Transport",
    "Protocol",
    "Factory",
    "Deferred",
    "Port",
    "Watch",
    "Reactor",
    "Clock",
    "Connection",
    "Handle",
    "Process",
    "ProcessProtocol",
    "Group",
    "DatagramPort",
];

/// Words of Twisted that are not in camel case.
const MORE: [&str; 29] = [
    "AlreadyCalledError",
    "Application",
    "CancelledError",
    "ClientCreator",
    "ConnectionDone",
    "ConnectionLost",
    "ConnectionRefusedError",
    "DNSLookupError",
    "DeferredList",
    "FilesystemLock",
    "HostnameEndpoint",
    "LineOnlyReceiver",
    "LineReceiver",
    "LoopingCall",
    "MemoryReactor",
    "ProcessDone",
    "ReconnectingClientFactory",
    "StandardIO",
    "StreamServerEndpointService",
    "StringTransport",
    "TCP4ClientEndpoint",
    "TCP4ServerEndpoint",
    "TestCase",
    "TimeoutError",
    "TimeoutMixin",
    "portforward",
    "proto_helpers",
    "react",
    "self.factory",
];

/// Words of tokio.
const TOKIO: [&str; 46] = [
    "AbortHandle",
    "AsyncFd",
    "CancellationToken",
    "Handle::enter",
    "JoinHandle",
    "LocalSet",
    "MissedTickBehavior",
    "Mutex",
    "MutexGuard",
    "Notify",
    "RwLock",
    "Semaphore",
    "SignalKind",
    "TaskTracker",
    "TcpListener",
    "UdpSocket::bind",
    "UnixDatagram",
    "UnixDatagram::bind",
    "UnixListener",
    "abort_all",
    "abort_handle",
    "available_permits",
    "block_on",
    "borrow_and_update",
    "consume_budget",
    "copy_bidirectional",
    "ctrl_c",
    "interval_at",
    "into_split",
    "join_all",
    "lookup_host",
    "max_blocking_threads",
    "mpsc",
    "new_multi_thread",
    "notify_one",
    "notify_waiters",
    "oneshot",
    "select",
    "send_replace",
    "spawn_blocking",
    "spawn_local",
    "task_local",
    "tokio::fs",
    "tokio::time::interval",
    "tokio::time::timeout",
    "unconstrained",
];
