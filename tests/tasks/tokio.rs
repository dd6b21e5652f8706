//! A tokio runtime beside a reactor: `torsade::tokio::enter`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use support::{MS, own};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use torsade::clock::TimedOut;
use torsade::reactor::ReactorError;
use torsade::{Clock, Failure, Phase, Reactor, spawn, testing};

/// Waits with a future of tokio, which needs a runtime around it.
async fn waits() {
    tokio::time::sleep(MS).await;
}

#[test]
fn tasks_callbacks_and_timers_find_the_runtime_and_its_sockets_work() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let handle = torsade::tokio::enter(&reactor)?;
        let again = torsade::tokio::enter(&reactor)?;
        assert_eq!(handle.id(), again.id());
        let (seen, from_timer) = (Rc::new(Cell::new(0)), reactor.clone());
        let see = {
            let (seen, id) = (seen.clone(), handle.id());
            move || {
                assert_eq!(Handle::current().id(), id);
                seen.set(seen.get() + 1);
            }
        };
        let (in_call, in_timer) = (see.clone(), see.clone());
        reactor.call_soon(in_call);
        reactor.call_later(MS, move || {
            in_timer();
            from_timer.call_soon(in_timer.clone());
        });
        spawn(async move { see() }).await?;
        waits().await;

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = spawn(async move {
            let (mut socket, _) = listener.accept().await?;
            let mut bytes = [0; 5];
            socket.read_exact(&mut bytes).await?;
            socket.write_all(&bytes).await?;
            Ok::<_, Failure>(())
        });
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(b"hello").await?;
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await?;
        assert_eq!(bytes, b"hello");
        server.await??;

        // What is spawned there runs there, on another thread.
        let here = std::thread::current().id();
        let there = tokio::spawn(async { std::thread::current().id() }).await?;
        assert_ne!(here, there);
        let blocking = tokio::task::spawn_blocking(|| 42).await?;
        assert_eq!(blocking, 42);
        while seen.get() < 4 {
            reactor.sleep(MS).await?;
        }
        Ok(())
    });
}

#[test]
fn a_time_limit_and_a_cancel_drop_what_waits_for_tokio() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        torsade::tokio::enter(&reactor)?;
        let dropped = Rc::new(Cell::new(0));
        struct Counts(Rc<Cell<u32>>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let endless = || {
            let counts = Counts(dropped.clone());
            async move {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                drop(counts);
            }
        };
        let late = reactor.timeout(MS, endless()).await;
        assert!(late.is_err_and(|failure| failure.is::<TimedOut>()));
        assert_eq!(dropped.get(), 1);
        assert_eq!(spawn(endless()).cancel().await, None);
        assert_eq!(dropped.get(), 2);
        Ok(())
    });
}

#[test]
fn it_is_entered_before_the_run_and_in_the_shutdown_triggers() -> Result<(), Failure> {
    let reactor = Reactor::new()?;
    let handle = torsade::tokio::enter(&reactor)?;
    assert!(
        Handle::try_current().is_err(),
        "outside a turn there is none"
    );
    {
        let _guard = reactor.enter();
        assert_eq!(Handle::current().id(), handle.id());
    }
    let saved = Rc::new(Cell::new(false));
    let saves = saved.clone();
    reactor.add_system_event_trigger(Phase::Before, "shutdown", async move || {
        waits().await;
        saves.set(true);
        Ok(())
    });
    reactor.run_until(waits())?;
    assert!(saved.get());
    assert!(Handle::try_current().is_err());
    let refused = torsade::tokio::enter(&reactor).unwrap_err();
    assert!(matches!(
        refused.downcast_ref(),
        Some(ReactorError::NotRestartable)
    ));
    Ok(())
}

#[test]
fn what_is_dropped_at_the_end_may_still_spawn() -> Result<(), Failure> {
    struct Spawns(Rc<Cell<u32>>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            drop(tokio::spawn(std::future::ready(())));
            self.0.set(self.0.get() + 1);
        }
    }
    let spawned = Rc::new(Cell::new(0));
    for runs in [true, false] {
        let reactor = Reactor::new()?;
        torsade::tokio::enter(&reactor)?;
        let spawns = Spawns(spawned.clone());
        reactor.call_later(Duration::from_secs(3600), move || drop(spawns));
        let spawns = Spawns(spawned.clone());
        let task = reactor.spawn(async move {
            std::future::pending::<()>().await;
            drop(spawns);
        });
        task.detach();
        if runs {
            reactor.run_until(waits())?;
        }
    }
    assert_eq!(spawned.get(), 4);
    Ok(())
}

#[test]
fn the_runtime_ends_with_its_reactor() -> Result<(), Failure> {
    struct Sends(std::sync::mpsc::Sender<()>);
    impl Drop for Sends {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let sends = Sends(sender);
    let reactor = Reactor::new()?;
    torsade::tokio::enter(&reactor)?;
    reactor.run_until(async move {
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(sends);
        });
    })?;
    assert_eq!(
        receiver.try_recv(),
        Ok(()),
        "the spawned future was dropped"
    );
    Ok(())
}

#[test]
fn two_reactors_have_runtimes_of_their_own() -> Result<(), Failure> {
    let (first, second) = (Reactor::new()?, Reactor::new()?);
    let handles = [&first, &second].map(|reactor| torsade::tokio::enter(reactor).unwrap());
    assert_ne!(handles[0].id(), handles[1].id());
    for (reactor, handle) in [&first, &second].into_iter().zip(&handles) {
        let _guard = first.enter();
        let id = reactor.run_until(async {
            waits().await;
            Handle::current().id()
        })?;
        assert_eq!(id, handle.id());
    }
    Ok(())
}

#[test]
fn a_guest_of_tokio_has_a_runtime_of_its_own_in_its_turns() -> Result<(), Failure> {
    let host = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    host.block_on(async {
        let host = Handle::current().id();
        let reactor = Reactor::new()?;
        let own = torsade::tokio::enter(&reactor)?.id();
        assert_ne!(own, host);
        reactor.start()?;
        let stopper = reactor.clone();
        let task = reactor.spawn(async move {
            waits().await;
            assert_eq!(Handle::current().id(), own);
            stopper.stop()
        });
        task.detach();
        while !reactor.has_ended() {
            reactor.iterate(MS);
            assert_eq!(Handle::current().id(), host);
            tokio::time::sleep(MS).await;
        }
        Ok(())
    })
}

/// Enters tokio where there are no descriptors left, and prints the failure; does nothing in the
/// parent.
#[test]
fn child() -> Result<(), Failure> {
    if std::env::var("TORSADE_CHILD").is_err() {
        return Ok(());
    }
    let reactor = Reactor::new()?;
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    let failure = torsade::tokio::enter(&reactor).unwrap_err();
    println!("\nfailure: {failure:#}");
    drop(files);
    torsade::tokio::enter(&reactor)?;
    reactor.run_until(waits())?;
    println!("works later");
    Ok(())
}

#[cfg(unix)]
#[test]
fn without_descriptors_the_failure_says_what_could_not_be_made_and_a_later_call_works() {
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""])
        .arg(own::program())
        .args(own::words("child"))
        .env("TORSADE_CHILD", "yes")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let expected = "failure: cannot create a tokio runtime: Too many open files (os error 24)\n";
    assert!(out.contains(expected), "{out}");
    assert!(out.contains("works later\n"), "{out}");
}
