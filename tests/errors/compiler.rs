//! The compiler's messages for common mistakes: they name what to write instead.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the newest library of the crate. Older ones may exist, and some with other features, for
/// which the messages are the same.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let files = test.parent().unwrap().read_dir().unwrap();
    let libraries = files.map(|file| file.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libtorsade-") && name.ends_with(".rlib")
    });
    let modified = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
    libraries.max_by_key(modified).unwrap()
}

/// Compiles a program; returns the compiler's messages, or `None` on success.
fn compile(program: &str) -> Option<String> {
    let library = library();
    let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap());
    let beside_cargo = cargo.with_file_name("rustc");
    let rustc = match beside_cargo.exists() {
        true => beside_cargo.as_path(),
        false => Path::new("rustc"),
    };
    let folder = std::env::temp_dir().join(format!(
        "torsade-compile-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir(&folder).unwrap();
    let source = folder.join("program.rs");
    std::fs::write(&source, program).unwrap();
    let mut with = std::ffi::OsString::from("torsade=");
    with.push(&library);
    let mut dependencies = std::ffi::OsString::from("dependency=");
    dependencies.push(library.parent().unwrap());
    let output = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata"])
        .arg("--extern")
        .arg(with)
        .arg("-L")
        .arg(dependencies)
        .arg("--out-dir")
        .args([&folder, &source])
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (!output.status.success()).then_some(said)
}

/// Checks that the compiler refuses the program with these messages.
#[track_caller]
fn refused(program: &str, wanted: &[&str]) {
    let said = compile(program).expect("it is refused");
    for words in wanted {
        assert!(said.contains(words), "without {words:?}:\n{said}");
    }
    let errors = said.matches("\nerror").count() + usize::from(said.starts_with("error"));
    assert_eq!(errors, 2, "one mistake, one error and the sum:\n{said}");
}

#[test]
fn a_timeout_accepts_any_future_also_one_that_borrows() {
    let said = compile(
        "use std::time::Duration;
        use torsade::{Clock, Failure, Reactor, stream::Connection};

        pub async fn read(reactor: &Reactor, conn: &mut Connection) -> Result<usize, Failure> {
            let mut buf = [0; 8];
            Ok(reactor.timeout(Duration::from_secs(1), conn.read(&mut buf)).await??)
        }",
    );
    assert_eq!(said, None);
}

#[test]
fn the_compiler_error_for_a_wrong_error_type_says_what_to_return() {
    refused(
        "use torsade::Deferred;

        pub fn parse(text: Deferred<String>) -> Deferred<u32> {
            text.add_callback(|text| text.parse::<u32>())
        }",
        &[
            "a callback cannot return `Result<u32, ParseIntError>`",
            "Ok(value)",
            "`?`",
        ],
    );
}

#[test]
fn the_message_for_a_factory_given_to_listen_names_listen_factory() {
    refused(
        "use torsade::{Address, Context, Factory, Protocol, Reactor};
        struct Echo;
        impl Protocol for Echo {
            fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) { cx.write(data) }
        }
        struct Echoes;
        impl Factory for Echoes {
            type Protocol = Echo;
            fn build_protocol(&mut self, _: Address) -> Option<Echo> { Some(Echo) }
        }

        pub fn begin(reactor: &Reactor) {
            drop(reactor.listen(\"127.0.0.1:0\", Echoes));
        }",
        &[
            "`Echoes` is no function that makes a protocol",
            "listen_factory(address, factory)",
        ],
    );
}

#[test]
fn the_message_for_an_async_closure_given_to_listen_names_serve() {
    refused(
        "pub fn begin(reactor: &torsade::Reactor) {
            drop(reactor.listen(\"127.0.0.1:0\", async |_peer| ()));
        }",
        &["`serve(address, handler)` in place of `listen`"],
    );
}

#[test]
fn a_resolver_sent_to_a_thread_is_named() {
    refused(
        "pub fn answer(resolver: torsade::Resolver<u32>) {
            std::thread::spawn(move || resolver.callback(1));
        }",
        &["cannot be sent between threads safely", "Resolver<u32>"],
    );
}
