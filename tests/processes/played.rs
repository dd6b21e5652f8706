//! Fake programs in memory: their terminals, their numbers, their ends.
#![cfg(target_os = "linux")]

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;

use support::{expect_reports, some_turns};
use torsade::process::Command;
use torsade::testing::{self, Programs};
use torsade::{Failure, Reactor, Signal};

/// A program that only waits.
fn waiter(reactor: &Reactor) -> Result<Command, Failure> {
    Programs::new(reactor)?.add("wait", async |_actor| std::future::pending().await);
    Ok(Command::new("wait"))
}

#[test]
fn a_terminal_that_is_played_can_be_resized() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let programs = Programs::new(&reactor)?;
        programs.add("sized", async |mut actor| {
            let mut terminal = actor.take_stdout()?;
            loop {
                let resized = actor.catch(Signal::WINCH);
                let (rows, columns) = actor.window_size().expect("it has a terminal");
                terminal
                    .write_all(format!("{rows} {columns}\n").as_bytes())
                    .await?;
                resized.await?;
            }
        });
        programs.add("plain", async |actor| {
            assert_eq!(actor.window_size(), None);
            std::future::pending().await
        });
        let mut child = Command::new("sized").pty().spawn(&reactor)?;
        let mut terminal = child.take_stdout()?;
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"24 80");
        child.process().set_window_size(50, 132)?;
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"50 132");
        // A program is notified of a change only, and this is none.
        child.process().set_window_size(50, 132)?;
        some_turns().await;
        child.process().set_window_size(10, 20)?;
        assert_eq!(terminal.read_line(80).await?.unwrap(), b"10 20");
        let plain = Command::new("plain").spawn(&reactor)?;
        let error = plain.process().set_window_size(1, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        child.kill();
        plain.kill();
        plain.status().await?;
        Ok(())
    });
    Ok(())
}

#[test]
fn a_part_has_the_number_of_no_process() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let wait = waiter(&reactor)?;
        let (one, other) = (wait.clone().spawn(&reactor)?, wait.spawn(&reactor)?);
        let (pid, next) = (one.pid().unwrap(), other.pid().unwrap());
        // Linux has none from here on, however it is set up.
        assert!(pid >= 1 << 22 && next > pid, "{pid}, {next}");
        one.kill();
        other.kill();
        assert_eq!(other.status().await?.signal(), Some(9));
        Ok(())
    });
    Ok(())
}

#[test]
fn the_pieces_of_a_fake_process_have_the_location_of_its_start() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let reports = expect_reports(&reactor);
        let programs = Programs::new(&reactor)?;
        programs.add("panic", async |mut actor| {
            let _kept = actor.take_stdin()?;
            actor.catch(Signal::USR1).await?;
            panic!("the part")
        });
        let child = Command::new("panic").spawn(&reactor)?;
        some_turns().await;
        let tree = reactor.dump().to_string();
        assert!(tree.contains(file!()), "{tree}");
        assert!(!tree.contains("src/process"), "{tree}");
        child.signal_process(Signal::USR1)?;
        assert_eq!(child.status().await?.signal(), Some(6));
        let report = format!("{:?}", reports.borrow());
        assert!(!report.contains("acted.rs"), "{report}");
        Ok(())
    });
    Ok(())
}

/// It holds on to what tells it, and waits for something else.
#[test]
fn the_catches_of_a_killed_fake_process_are_dropped_without_a_report() -> Result<(), Failure> {
    testing::run_on(Reactor::in_memory()?, async |reactor| {
        let programs = Programs::new(&reactor)?;
        programs.add("careful", async |actor| {
            let _asked = actor.catch(Signal::TERM);
            std::future::pending().await
        });
        let child = Command::new("careful").spawn(&reactor)?;
        some_turns().await;
        child.kill();
        assert_eq!(child.status().await?.signal(), Some(9));
        Ok(())
    });
    Ok(())
}
