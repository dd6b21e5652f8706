//! The files of UNIX sockets: their mode, their lock, their owner, and their removal.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::folder::Folder;
use support::{MS, Spy, alive, own, some_turns};
use torsade::locks::DeferredFilesystemLock;
use torsade::net::{ConnectError, ConnectOptions, ListenError, ListenOptions, ServerEndpoint};
use torsade::{Address, Cancelled, Clock, Failure, Port, Reactor, testing};

fn locked() -> ListenOptions {
    ListenOptions::new().lock_file(true)
}

fn listen(reactor: &Reactor, address: &Address, options: &ListenOptions) -> Result<Port, Failure> {
    reactor.listen((address, options), |_| Spy::echo())
}

/// Returns the error of listening.
fn refusal(reactor: &Reactor, address: &Address, options: &ListenOptions) -> std::io::Error {
    let failure = listen(reactor, address, options).unwrap_err();
    let error = expect_error!(failure, ListenError::Failed { error, .. } => error);
    std::io::Error::new(error.kind(), error.to_string())
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Returns the id of a dead process.
fn a_dead_process() -> u32 {
    let mut child = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn the_file_has_the_requested_mode_whatever_the_umask() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        for (options, mode) in [
            (ListenOptions::new(), 0o666),
            (ListenOptions::new().mode(0o600), 0o600),
            (ListenOptions::new().mode(0o777), 0o777),
            (ListenOptions::new().mode(0o4060), 0o060),
        ] {
            let port = listen(&reactor, &folder.socket(), &options)?;
            assert_eq!(mode_of(&folder.path("socket")), mode);
            port.stop().await?;
        }
        let text = format!("{}:mode=640:lockfile=0", folder.socket());
        let port = reactor.listen(text, |_| Spy::echo())?;
        assert_eq!(mode_of(&folder.path("socket")), 0o640);
        port.stop().await
    });
}

#[test]
fn the_mode_and_the_lock_of_a_call_hold_for_an_endpoint_value() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let call = ListenOptions::new().mode(0o600).lock_file(true);
        let by_path = ServerEndpoint::new(folder.path("socket"));
        let by_text = ServerEndpoint::parse(&folder.socket().to_string())?;
        let unlocked = ServerEndpoint::parse(&format!("{}:lockfile=0", folder.socket()))?;
        for (endpoint, options, mode, files) in [
            (&by_path, &call, 0o600, 2),
            (&by_text, &call, 0o600, 2),
            (&unlocked, &call, 0o600, 1),
            (&by_path, &ListenOptions::new(), 0o666, 1),
            (&by_text, &ListenOptions::new(), 0o666, 2),
            (&by_text, &ListenOptions::new().lock_file(false), 0o666, 1),
        ] {
            let port = reactor.listen((endpoint, options), |_| Spy::echo())?;
            assert_eq!(
                mode_of(&folder.path("socket")),
                mode,
                "{endpoint} {options:?}"
            );
            assert_eq!(folder.files().len(), files, "{endpoint} {options:?}");
            port.stop().await?;
        }
        Ok::<(), Failure>(())
    });
}

#[test]
fn the_file_never_has_more_than_its_mode() {
    let folder = Folder::create();
    let (path, over) = (folder.path("socket"), Arc::new(AtomicBool::new(false)));
    let until = over.clone();
    let watcher = thread::spawn(move || {
        let (mut looks, mut wrong) = (0, None);
        while !until.load(Ordering::Relaxed) {
            if let Ok(found) = fs::symlink_metadata(&path) {
                looks += 1;
                if found.permissions().mode() & 0o077 != 0 {
                    wrong = Some(found.permissions().mode());
                }
            }
        }
        (looks, wrong)
    });
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        for _ in 0..3000 {
            let port = listen(
                &reactor,
                &folder.socket(),
                &ListenOptions::new().mode(0o600),
            )?;
            port.stop().await?;
        }
        Ok::<(), Failure>(())
    });
    over.store(true, Ordering::Relaxed);
    let (looks, wrong) = watcher.join().unwrap();
    assert!(looks > 0);
    assert_eq!(wrong, None);
}

#[test]
fn a_port_that_stops_removes_its_file_and_its_lock() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let port = listen(&reactor, &folder.socket(), &locked())?;
        assert_eq!(folder.files(), ["socket", "socket.lock"]);
        let holder = fs::read_link(folder.path("socket.lock"))?;
        assert_eq!(holder.to_str(), Some(process::id().to_string().as_str()));
        port.stop().await?;
        assert!(folder.files().is_empty());
        Ok::<(), Failure>(())
    });
}

#[test]
fn a_reactor_that_is_dropped_removes_them_too() {
    let folder = Folder::create();
    let reactor = Reactor::new().unwrap();
    let port = listen(&reactor, &folder.socket(), &locked()).unwrap();
    drop(reactor);
    assert!(folder.files().is_empty());
    assert!(!port.is_listening());
}

#[test]
fn a_replaced_file_is_not_removed() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let port = listen(&reactor, &folder.socket(), &ListenOptions::new())?;
        let path = folder.path("socket");
        fs::rename(&path, folder.path("away"))?;
        let other = UnixListener::bind(&path)?;
        let inode = fs::symlink_metadata(&path)?.ino();
        port.stop().await?;
        assert_eq!(fs::symlink_metadata(&path)?.ino(), inode);
        drop(other);
        Ok::<(), Failure>(())
    });
}

#[test]
fn without_a_lock_an_existing_file_is_an_error_and_stays() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        drop(UnixListener::bind(folder.path("socket"))?);
        for options in [ListenOptions::new(), locked()] {
            let error = refusal(&reactor, &folder.socket(), &options);
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            assert_eq!(folder.files(), ["socket"], "the lock is let go again");
        }
        Ok::<(), Failure>(())
    });
}

#[test]
fn the_error_names_the_living_owner_of_the_lock() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let lock = folder.path("socket.lock");
        let port = listen(&reactor, &folder.socket(), &locked())?;
        let us = process::id();
        let said = |pid| format!("process {pid} holds the lock {lock:?}");
        let error = refusal(&reactor, &folder.socket(), &locked());
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::AddrInUse, said(us))
        );
        assert!(port.is_listening());
        port.stop().await?;

        symlink("1", &lock)?;
        let error = refusal(&reactor, &folder.socket(), &locked());
        assert_eq!(error.to_string(), said(1));
        assert_eq!(fs::read_link(&lock)?.to_str(), Some("1"));
        Ok::<(), Failure>(())
    });
}

#[test]
fn the_files_of_a_dead_process_are_taken_over() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        drop(UnixListener::bind(folder.path("socket"))?);
        symlink(a_dead_process().to_string(), folder.path("socket.lock"))?;
        let port = listen(&reactor, &folder.socket(), &locked())?;
        assert!(DeferredFilesystemLock::is_locked(
            folder.path("socket.lock")
        )?);
        let mut conn = reactor.connect_stream(folder.socket()).await?;
        conn.write_all(b"x").await?;
        conn.read_exact(&mut [0]).await?;
        drop(conn);
        port.stop().await?;
        assert!(folder.files().is_empty());
        Ok::<(), Failure>(())
    });
}

#[test]
fn a_file_that_is_not_a_socket_is_never_removed() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let path = folder.path("socket");
        fs::write(&path, "precious")?;
        symlink(a_dead_process().to_string(), folder.path("socket.lock"))?;
        let error = refusal(&reactor, &folder.socket(), &locked());
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path)?, "precious");
        assert_eq!(folder.files(), ["socket"]);

        // Nor is the target of a link.
        drop(UnixListener::bind(folder.path("other"))?);
        fs::remove_file(&path)?;
        symlink(folder.path("other"), &path)?;
        symlink(a_dead_process().to_string(), folder.path("socket.lock"))?;
        let error = refusal(&reactor, &folder.socket(), &locked());
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(folder.files(), ["other", "socket"]);
        Ok::<(), Failure>(())
    });
}

#[test]
fn an_invalid_lock_is_an_error() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        fs::write(folder.path("socket.lock"), "")?;
        let error = refusal(&reactor, &folder.socket(), &locked());
        assert!(
            error.to_string().ends_with("it is not a symbolic link"),
            "{error}"
        );
        assert_eq!(folder.files(), ["socket.lock"]);
        Ok::<(), Failure>(())
    });
}

#[test]
fn a_description_locks_unless_it_or_the_options_say_otherwise() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let text = folder.socket().to_string();
        let off = ListenOptions::new().lock_file(false);
        for (text, options, files) in [
            (text.clone(), ListenOptions::new(), 2),
            (format!("{text}:lockfile=0"), ListenOptions::new(), 1),
            (text.clone(), off.clone(), 1),
            (format!("{text}:lockfile=1"), off, 2),
        ] {
            let port = reactor.listen((&text, &options), |_| Spy::echo())?;
            assert_eq!(folder.files().len(), files, "{text} {options:?}");
            port.stop().await?;
        }
        let port = reactor.listen(folder.socket(), |_| Spy::echo())?;
        assert_eq!(folder.files(), ["socket"]);
        port.stop().await
    });
}

#[test]
fn a_client_may_require_the_lock() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let want = ConnectOptions::new().lock_file(true);
        let port = listen(&reactor, &folder.socket(), &ListenOptions::new())?;
        let failure = reactor
            .connect_stream((folder.socket(), &want))
            .await
            .unwrap_err();
        let error = expect_error!(failure, ConnectError::Refused { error, .. } => error);
        let said = format!(
            "no live process holds the lock {:?}",
            folder.path("socket.lock")
        );
        assert_eq!(error.to_string(), said);
        symlink(a_dead_process().to_string(), folder.path("socket.lock"))?;
        let failure = reactor
            .connect_stream((folder.socket(), &want))
            .await
            .unwrap_err();
        assert!(matches!(failure.trap()?, ConnectError::Refused { .. }));
        fs::remove_file(folder.path("socket.lock"))?;
        port.stop().await?;

        let port = listen(&reactor, &folder.socket(), &locked())?;
        drop(reactor.connect_stream((folder.socket(), &want)).await?);
        drop(
            reactor
                .connect_stream(format!("{}:lockfile=1", folder.socket()))
                .await?,
        );
        port.stop().await
    });
}

#[test]
fn without_an_accept_the_time_limit_or_cancelling_ends_the_attempt() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let full = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        full.bind(&socket2::SockAddr::unix(folder.path("socket"))?)?;
        full.listen(0)?;
        let first = reactor.connect_stream(folder.socket()).await?;
        let limit = ConnectOptions::new().timeout(MS * 50);
        let failure = reactor
            .connect_stream((folder.socket(), &limit))
            .await
            .unwrap_err();
        assert_eq!(
            *expect_error!(failure, ConnectError::TimedOut { limit, .. } => limit),
            Some(MS * 50)
        );

        let waiting = reactor.connect_stream(folder.socket());
        some_turns().await;
        waiting.cancel();
        waiting.await.unwrap_err().trap::<Cancelled>()?;

        // A waiting client fails when the socket is gone.
        let waiting = reactor.connect_stream(folder.socket());
        some_turns().await;
        drop(full);
        let failure = waiting.await.unwrap_err();
        assert!(matches!(failure.trap()?, ConnectError::Refused { .. }));
        drop(first);
        some_turns().await;
        assert!(alive(&reactor).is_empty());
        Ok::<(), Failure>(())
    });
}

#[test]
fn a_missing_folder_is_an_error() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let address = Address::from_path(folder.path("no/socket"));
        for options in [ListenOptions::new(), locked()] {
            let error = refusal(&reactor, &address, &options);
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
        let failure = reactor.connect_stream(&address).await.unwrap_err();
        assert!(matches!(failure.trap()?, ConnectError::Failed { .. }));
        Ok::<(), Failure>(())
    });
}

/// The peer is in another PID namespace: the system reports its id as 0.
#[test]
fn a_peer_in_another_pid_namespace_has_no_pid() {
    const WHERE: &str = "TORSADE_UNSEEN";
    if let Ok(path) = std::env::var(WHERE) {
        testing::run_on(Reactor::new().unwrap(), async |reactor| {
            let conn = reactor.connect_stream(Address::from_path(path)).await?;
            let peer = conn.transport().peer_credentials()?;
            assert_eq!(peer.pid, 0);
            Ok(())
        });
        return;
    }
    let folder = Folder::create();
    let _open = UnixListener::bind(folder.path("socket")).unwrap();
    let run = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--pid", "--fork"]);
        command.args(program).env(WHERE, folder.path("socket"));
        command
            .output()
            .ok()
            .map(|output| (output.status.success(), output))
    };
    if !matches!(run(&["true"]), Some((true, _))) {
        return println!("namespaces cannot be made here");
    }
    let program = own::program();
    let words = own::words("a_peer_in_another_pid_namespace_has_no_pid");
    let words = words.iter().map(String::as_str);
    let again: Vec<_> = program.to_str().into_iter().chain(words).collect();
    let (well, output) = run(&again).unwrap();
    assert!(well, "{output:?}");
}

/// The file of a client's first attempt must not block the second.
#[test]
fn a_bound_client_may_try_again() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let own = Address::from_path(folder.path("own"));
        let options = ConnectOptions::new().bind(own.clone());
        for _ in 0..2 {
            let failure = reactor
                .connect_stream((folder.socket(), &options))
                .await
                .unwrap_err();
            assert_eq!(
                expect_error!(failure, ConnectError::Failed { error, .. } => error).kind(),
                ErrorKind::NotFound
            );
            assert!(folder.files().is_empty());
        }
        // A queue of one, and no accept: the others retry until there is space.
        let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        listener.bind(&socket2::SockAddr::unix(folder.path("socket"))?)?;
        listener.listen(0)?;
        let _first = reactor.connect_stream(folder.socket()).await?;
        let second = reactor.connect_stream((folder.socket(), &options));
        reactor.sleep(MS * 50).await?;
        listener.accept()?;
        let second = second.await?;
        assert_eq!(second.local_addr()?, own);
        Ok(())
    });
}
