//! Circles between the files of one module: which file uses which, and what leads back.

use std::collections::{BTreeMap, BTreeSet};

/// The path of a file's module from the crate's root.
type Module = Vec<String>;

/// A circle: the top-level module, and those of its files that all lead to each other (`mod` is
/// its own file).
pub type Circle = (String, Vec<String>);

/// Returns the circles between files that belong to the same top-level module. Each file comes
/// with its path in `src`.
///
/// A re-exported name counts as a use of the file that defines it; a re-export by itself is no use.
/// Tests and models of a file are ignored.
pub fn circles<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Circle> {
    let sources = Sources::read(files);
    let uses: BTreeMap<&Module, BTreeSet<Module>> = sources
        .files
        .keys()
        .map(|file| (file, sources.used_by(file)))
        .collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = uses
        .keys()
        .map(|file| {
            let (mut reached, mut left) = (BTreeSet::new(), vec![*file]);
            while let Some(file) = left.pop() {
                left.extend(uses[file].iter().filter(|used| reached.insert(*used)));
            }
            (*file, reached)
        })
        .collect();
    let circles: BTreeSet<Circle> = reached
        .iter()
        .filter(|(file, all)| all.contains(*file))
        .map(|(file, all)| {
            let members = all.iter().filter(|other| reached[**other].contains(*file));
            (file[0].clone(), members.map(|file| name(file)).collect())
        })
        .collect();
    circles.into_iter().collect()
}

fn name(file: &[String]) -> String {
    match &file[1..] {
        [] => "mod".to_owned(),
        inside => inside.join("/"),
    }
}

struct Sources {
    files: BTreeMap<Module, Source>,
}

#[derive(Default)]
struct Source {
    /// The paths it names outside of re-exports, as written.
    used: Vec<Vec<String>>,
    /// The names that its `use` items bring into scope: the name here, and the path as written.
    imports: Vec<(String, Vec<String>)>,
}

impl Sources {
    fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut read = BTreeMap::new();
        for (path, text) in files {
            let names = path.trim_end_matches(".rs").split('/');
            let module: Module = names.filter(|n| *n != "mod").map(str::to_owned).collect();
            let aside = ["tests", "model"];
            if path != "lib.rs" && !module.iter().any(|name| aside.contains(&&**name)) {
                read.insert(module, Source::read(text));
            }
        }
        Self { files: read }
    }

    /// The other files of the same top-level module that a file uses.
    fn used_by(&self, file: &Module) -> BTreeSet<Module> {
        let paths = self.files[file].used.iter();
        paths
            .filter_map(|path| self.absolute(file, path))
            .flat_map(|path| self.files_of(&path, &mut BTreeSet::new()))
            .filter(|used| used != file && used[0] == file[0])
            .collect()
    }

    /// Returns a path from the crate's root; `None` for a path that leads to other crates, or to
    /// names of the file itself.
    fn absolute(&self, file: &Module, path: &[String]) -> Option<Module> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        let (mut whole, rest) = match path[0].as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (file.clone(), &path[1..]),
            "super" => (
                file[..file.len().checked_sub(supers)?].to_vec(),
                &path[supers..],
            ),
            child => {
                let whole = [file.as_slice(), &[child.to_owned()]].concat();
                if !self.files.contains_key(&whole) {
                    return None;
                }
                (whole, &path[1..])
            }
        };
        whole.extend_from_slice(rest);
        Some(whole)
    }

    /// Returns the files that define the target of a path, through whatever imports lie between.
    /// There are several where an import depends on the system.
    fn files_of(&self, path: &[String], seen: &mut BTreeSet<Module>) -> Vec<Module> {
        let mut lengths = (1..=path.len()).rev();
        let Some(length) = lengths.find(|length| self.files.contains_key(&path[..*length])) else {
            return Vec::new();
        };
        let file = path[..length].to_vec();
        let mut found = Vec::new();
        if let Some(name) = path.get(length) {
            let imports = self.files[&file].imports.iter();
            for (_, from) in imports.filter(|(here, _)| here == name) {
                if let Some(mut from) = self.absolute(&file, from) {
                    from.extend_from_slice(&path[length + 1..]);
                    if from != path && seen.insert(from.clone()) {
                        found.extend(self.files_of(&from, seen));
                    }
                }
            }
        }
        if found.is_empty() {
            found.push(file);
        }
        found
    }
}

impl Source {
    fn read(text: &str) -> Self {
        let tokens = tokens(without_tests(text));
        let mut source = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            let before = at.checked_sub(1).map_or(";", |before| &tokens[before]);
            let after_use = tokens.get(at + 1).map_or("", |token| token);
            let begins = [";", "{", "}", "]", ")", "pub"].contains(&before);
            if tokens[at] == "use" && begins && (is_name(after_use) || after_use == "::") {
                let length = tokens[at..]
                    .iter()
                    .take_while(|token| *token != ";")
                    .count();
                let mut paths = Vec::new();
                expand(&tokens[at + 1..at + length], &[], &mut paths);
                for (name, path) in paths {
                    if !["pub", ")"].contains(&before) {
                        source.used.push(path.clone());
                    }
                    source.imports.push((name, path));
                }
                at += length;
            } else if tokens[at] == "in" && before == "(" {
                // The path of a visibility is no use.
                let path = tokens[at..].iter().take_while(|token| *token != ")");
                at += path.count();
            } else if is_name(&tokens[at]) && !["::", "."].contains(&before) {
                let mut path = vec![tokens[at].clone()];
                while let [colons, name, ..] = &tokens[at + 1..] {
                    if colons != "::" || !is_name(name) {
                        break;
                    }
                    path.push(name.clone());
                    at += 2;
                }
                if path.len() > 1 {
                    source.used.push(path);
                }
            }
            at += 1;
        }
        source
    }
}

/// The paths of the tree of a `use`, each with the name that it gets.
fn expand(tree: &[String], before: &[String], paths: &mut Vec<(String, Vec<String>)>) {
    let mut path = before.to_vec();
    let mut names = tree.iter().enumerate();
    while let Some((at, token)) = names.next() {
        match token.as_str() {
            "::" => {}
            "{" => {
                let (mut depth, mut from) = (0, at + 1);
                for (here, token) in tree.iter().enumerate().skip(at) {
                    match token.as_str() {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                    if (depth == 1 && token == ",") || depth == 0 {
                        expand(&tree[from..here], &path, paths);
                        from = here + 1;
                    }
                    if depth == 0 {
                        return;
                    }
                }
            }
            "as" => {
                let (_, name) = names.next().expect("a name follows `as`");
                paths.push((name.clone(), path));
                return;
            }
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
    }
    if !tree.is_empty() {
        paths.push((path.last().cloned().unwrap_or_default(), path));
    }
}

/// A file's text up to its own module of tests.
fn without_tests(text: &str) -> &str {
    let mut conditional = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("#[cfg(") && line.contains("test") {
            conditional = Some(at);
        } else if let Some(end) = conditional.filter(|_| !line.starts_with("#[")) {
            if line.starts_with("mod ") && line.trim_end().ends_with('{') {
                return &text[..end];
            }
            conditional = None;
        }
        at += line.len();
    }
    text
}

/// The names, `::` and other signs of a text without its comments.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut rest = line.split("//").next().unwrap_or_default().trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match rest.find(|c: char| c != '_' && !c.is_alphanumeric()) {
                Some(0) if rest.starts_with("::") => 2,
                Some(0) => first.len_utf8(),
                Some(length) => length,
                None => rest.len(),
            };
            tokens.push(rest[..length].to_owned());
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c == '_' || c.is_alphabetic())
}
