//! Foreign programs over UNIX sockets: Twisted with its lock and its descriptors
//! (`twisted_unix.py`), socat, another user, and systemd's socket activation.
//!
//! A test whose program is missing says so and passes.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use support::folder::Folder;
use support::foreign::{have, say, script, twisted};
use support::program::{PATIENCE, Program, example_path};
use support::{Log, Spy, until};
use torsade::net::{ConnectError, ConnectOptions, ListenError, ListenOptions};
use torsade::{Context, Failure, Protocol, Reactor, testing};

fn side(twisted: &Path, words: &[&str]) -> Program {
    let mut command = Command::new(twisted);
    Program::start(command.arg(script("twisted_unix.py")).args(words))
}

fn locked() -> ListenOptions {
    ListenOptions::new().lock_file(true)
}

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

/// Returns a program's next line, while the loop goes on.
async fn line_of(program: &Program) -> String {
    let mut said = None;
    until(|| {
        said = program.line_within(support::MS);
        said.is_some()
    })
    .await;
    said.unwrap_or_default()
}

#[test]
fn a_server_of_twisted_and_its_lock() {
    let Some(twisted) = twisted() else { return };
    run(async |reactor| {
        let folder = Folder::create();
        let path = folder.path("socket");
        let server = side(&twisted, &["serve", path.to_str().unwrap(), "1"]);
        assert_eq!(server.address(), folder.socket().to_string());
        let want = ConnectOptions::new().lock_file(true);
        let mut conn = reactor.connect_stream((folder.socket(), &want)).await?;
        conn.write_all(b"hello\r\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        drop(conn);

        let failure = reactor
            .listen((folder.socket(), &locked()), |_| Spy::echo())
            .unwrap_err();
        let error = expect_error!(failure, ListenError::Failed { error, .. } => error).to_string();
        assert!(
            error.starts_with(&format!("process {} holds the lock", server.id())),
            "{error}"
        );

        drop(server);
        assert_eq!(folder.files(), ["socket", "socket.lock"], "it was killed");
        let failure = reactor
            .connect_stream((folder.socket(), &want))
            .await
            .unwrap_err();
        assert!(matches!(failure.trap()?, ConnectError::Refused { .. }));
        let port = reactor.listen((folder.socket(), &locked()), |_| Spy::echo())?;
        port.stop().await
    });
}

#[test]
fn clients_of_twisted_and_our_lock() {
    let Some(twisted) = twisted() else { return };
    run(async |reactor| {
        let folder = Folder::create();
        let path = folder.path("socket");
        let path = path.to_str().unwrap();
        let port = reactor.listen((folder.socket(), &locked()), |_| Spy::echo())?;
        let talk = side(&twisted, &["talk", path, "1"]);
        let host = format!("host None peer {path}");
        for line in [host.as_str(), "hear hello", "lost ConnectionDone"] {
            assert_eq!(line_of(&talk).await, line);
        }
        let other = side(&twisted, &["try", path]);
        assert_eq!(line_of(&other).await, "CannotListenError");
        assert_eq!(folder.files(), ["socket", "socket.lock"]);
        port.stop().await?;
        assert_eq!(
            line_of(&side(&twisted, &["talk", path, "1"])).await,
            "failed BadFileError"
        );
        assert_eq!(line_of(&side(&twisted, &["try", path])).await, "it listens");
        Ok(())
    });
}

#[test]
fn twisted_takes_over_the_socket_of_our_dead_server() {
    let Some(twisted) = twisted() else { return };
    let folder = Folder::create();
    let server = Program::example("echo_async", &[&folder.socket().to_string()]);
    server.address();
    drop(server);
    assert_eq!(folder.files(), ["socket", "socket.lock"], "it was killed");
    let path = folder.path("socket");
    assert_eq!(
        side(&twisted, &["try", path.to_str().unwrap()]).line(),
        "it listens"
    );
}

#[test]
fn twisted_receives_and_sends_descriptors() {
    let Some(twisted) = twisted() else { return };
    run(async |reactor| {
        let folder = Folder::create();
        let path = folder.path("socket");
        let server = side(&twisted, &["serve", path.to_str().unwrap(), "0"]);
        server.address();
        let mut conn = reactor.connect_stream(folder.socket()).await?;
        let mut readers = Vec::new();
        for _ in 0..3 {
            let (reader, writer) = UnixStream::pair()?;
            conn.send_descriptor(writer)?;
            readers.push(reader);
        }
        conn.write_all(b"give\r\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"give"[..]));
        for line in ["descriptor", "descriptor", "descriptor", "line give"] {
            assert_eq!(server.line(), line);
        }
        for mut reader in readers {
            let mut said = String::new();
            reader.read_to_string(&mut said)?;
            assert_eq!(said, "Twisted was here");
        }
        for number in 0..3 {
            let pipe = conn.take_descriptor().unwrap();
            assert_eq!(all_of(pipe), format!("pipe {number} of Twisted"));
        }
        drop(conn);
        Ok(())
    });
}

/// A protocol that reads received descriptors to the end, and answers lines.
struct Reads(Log);

impl Protocol for Reads {
    fn descriptor_received(&mut self, _cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
        self.0.note(all_of(descriptor));
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

fn all_of(pipe: OwnedFd) -> String {
    let mut said = String::new();
    File::from(pipe).read_to_string(&mut said).unwrap();
    said
}

#[test]
fn our_protocol_receives_descriptors_from_a_twisted_client() {
    let Some(twisted) = twisted() else { return };
    run(async |reactor| {
        let (folder, log) = (Folder::create(), Log::new());
        let to = log.clone();
        let port = reactor.listen(folder.socket(), move |_| Reads(to.clone()))?;
        let path = folder.path("socket");
        let client = side(&twisted, &["give", path.to_str().unwrap()]);
        until(|| log.all().len() == 3).await;
        assert_eq!(
            log.take(),
            [0, 1, 2].map(|number| format!("pipe {number} of Twisted"))
        );
        line_of(&client).await;
        assert_eq!(line_of(&client).await, "hear hello");
        assert_eq!(line_of(&client).await, "lost ConnectionDone");
        port.stop().await
    });
}

/// Sends bytes with socat, half-closes at once, and reads to the end.
fn through_socat(to: &str, bytes: &[u8]) -> Vec<u8> {
    let mut socat = Command::new("socat")
        .args(["-t", "20", "STDIO", to])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, sent) = (socat.stdin.take().unwrap(), bytes.to_vec());
    let writing = std::thread::spawn(move || stdin.write_all(&sent));
    let mut back = Vec::new();
    socat.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    writing.join().unwrap().unwrap();
    assert!(socat.wait().unwrap().success());
    back
}

#[test]
fn socat_gets_its_echo_over_a_path_or_a_name_although_it_half_closes_at_once() {
    if !have("socat") {
        return;
    }
    for name in ["echo_protocol", "echo_async"] {
        let folder = Folder::create();
        let abstract_name = format!("torsade-others-{}", std::process::id());
        for (address, to) in [
            (
                folder.socket().to_string(),
                format!("UNIX-CONNECT:{}", folder.path("socket").display()),
            ),
            (
                format!("unix:@{abstract_name}"),
                format!("ABSTRACT-CONNECT:{abstract_name}"),
            ),
        ] {
            let server = Program::example(name, &[&address]);
            assert_eq!(server.address(), address);
            for size in [1, 1000, 1 << 20] {
                let bytes: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
                assert!(
                    through_socat(&to, &bytes) == bytes,
                    "{name} {address} {size}"
                );
            }
        }
    }
}

#[test]
fn another_user_connects_only_if_the_mode_permits_it() {
    if !have("setpriv") || !have("socat") {
        return;
    }
    if !rustix::process::getuid().is_root() {
        return say("skipped: only root can change its user");
    }
    for (mode, may) in [("600", false), ("666", true)] {
        let folder = Folder::create();
        let address = format!("{}:mode={mode}", folder.socket());
        let server = Program::example("echo_async", &[&address]);
        server.address();
        let to = format!("UNIX-CONNECT:{}", folder.path("socket").display());
        let status = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(["socat", "-u", "/dev/null", &to])
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.unwrap().success(), may, "{mode}");
    }
}

#[test]
fn systemd_starts_a_server_with_its_socket() {
    if !have("systemd-socket-activate") {
        return;
    }
    for address in ["systemd:domain=UNIX:index=0", "systemd:name=chat"] {
        let folder = Folder::create();
        let path = folder.path("socket");
        let mut command = Command::new("systemd-socket-activate");
        command.arg("-l").arg(&path).arg("--fdname=chat");
        let server = Program::start(command.arg(example_path("echo_async")).arg(address));
        // The file exists a moment before the server listens.
        let mut client = loop {
            if let Ok(client) = UnixStream::connect(&path) {
                break client;
            }
            assert!(server.line_within(support::MS).is_none());
        };
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
        assert_eq!(server.address(), folder.socket().to_string());
    }
}
