//! The lock between processes: stale locks, waiting with a clock, and Twisted as the other process.
#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use support::foreign::{script, twisted};
use support::{expect_reports, own};
use torsade::clock::TimedOut;
use torsade::defer::DeferredError;
use torsade::locks::{DeferredFilesystemLock, FilesystemLockGuard, LockError};
use torsade::{Cancelled, Clock, Deferred, Reactor, VirtualClock, testing};

const SECOND: Duration = Duration::from_secs(1);

/// Returns a path of this test's own, at which there is nothing, in a separate folder, because
/// breaking a stale lock holds the folder meanwhile.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lock-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    folder.join("lock")
}

/// Returns the id of a process that is dead, and was waited for.
fn dead() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

/// Returns the process that the error names as the lock's holder.
#[track_caller]
fn holder_named_in(error: &std::io::Error) -> i32 {
    match inside(error) {
        LockError::NotHeld { holder } => *holder,
        other => panic!("{other:?}"),
    }
}

/// Returns the inner error.
#[track_caller]
fn inside(error: &std::io::Error) -> &LockError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .unwrap()
}

fn owner(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.to_string_lossy().into_owned())
}

#[test]
fn the_link_names_its_holder_and_goes_with_it() {
    let (path, clock) = (scratch("names"), VirtualClock::new());
    let (one, two) = (
        DeferredFilesystemLock::new(&path, &clock),
        DeferredFilesystemLock::new(&path, &clock),
    );
    assert!(!DeferredFilesystemLock::is_locked(&path).unwrap());
    assert_eq!(
        one.unlock().unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
    assert!(one.lock().unwrap() && one.was_clean());
    assert_eq!(owner(&path), Some(process::id().to_string()));
    // It excludes the same process as well, and itself.
    assert!(!one.lock().unwrap() && !two.lock().unwrap());
    assert!(DeferredFilesystemLock::is_locked(&path).unwrap());
    one.unlock().unwrap();
    assert_eq!(owner(&path), None);
    assert!(two.lock().unwrap());
    two.unlock().unwrap();
}

#[test]
fn the_lock_of_a_dead_process_is_taken_over() {
    let (path, clock) = (scratch("stale"), VirtualClock::new());
    let lock = DeferredFilesystemLock::new(&path, &clock);
    symlink(dead().to_string(), &path).unwrap();
    // Looking changes nothing.
    assert!(!DeferredFilesystemLock::is_locked(&path).unwrap());
    assert!(owner(&path).is_some());
    assert!(lock.lock().unwrap() && !lock.was_clean());
    assert_eq!(owner(&path), Some(process::id().to_string()));
    lock.unlock().unwrap();
    assert!(lock.lock().unwrap() && lock.was_clean());
    lock.unlock().unwrap();
}

#[test]
fn two_processes_that_break_a_stale_lock_do_not_disturb_each_other() {
    let folder = scratch("breakers");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let path = folder.join("lock");
    symlink(dead().to_string(), &path).unwrap();
    let lock = DeferredFilesystemLock::new(&path, &VirtualClock::new());
    let other = fs::File::open(&folder).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    assert!(!lock.lock().unwrap());
    assert!(owner(&path).is_some());
    drop(other);
    assert!(lock.lock().unwrap() && !lock.was_clean());
    lock.unlock().unwrap();
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn cancelling_ends_the_trying_whatever_the_user_wants_to_happen() {
    let (path, clock) = (scratch("cancelled"), VirtualClock::new());
    let lock = DeferredFilesystemLock::new(&path, &clock);
    symlink("1", &path).unwrap();
    let called = Rc::new(Cell::new(false));
    let note = called.clone();
    let waits = lock.defer_until_locked(None);
    let waits = waits.on_cancel(move || note.set(true));
    waits.cancel();
    assert!(called.get());
    drop(waits.map(drop).add_errback(|_| ()));
    // The next waiter is not blocked, and no timer is left.
    assert!(clock.delayed_calls().is_empty());
    fs::remove_file(&path).unwrap();
    assert!(lock.defer_until_locked(None).is_settled());
    assert!(!path.exists());
}

#[test]
fn a_lock_of_a_living_process_is_not_ours() {
    let (path, clock) = (scratch("alive"), VirtualClock::new());
    let lock = DeferredFilesystemLock::new(&path, &clock);
    // The process is alive, and may belong to another user.
    symlink("1", &path).unwrap();
    assert!(!lock.lock().unwrap());
    assert!(DeferredFilesystemLock::is_locked(&path).unwrap());
    let error = lock.unlock().unwrap_err();
    assert_eq!(inside(&error), &LockError::NotHeld { holder: 1 });
    assert_eq!(
        error.to_string(),
        "cannot release the lock: process 1 holds it"
    );
    assert_eq!(owner(&path).as_deref(), Some("1"));
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_that_is_no_lock_is_left_alone() {
    let (path, clock) = (scratch("none"), VirtualClock::new());
    let lock = DeferredFilesystemLock::new(&path, &clock);
    for target in ["", "elsewhere", "0", "-1", "99999999999", "12 "] {
        if target.is_empty() {
            fs::write(&path, "12").unwrap();
        } else {
            symlink(target, &path).unwrap();
        }
        for error in [
            lock.lock().unwrap_err(),
            lock.unlock().unwrap_err(),
            DeferredFilesystemLock::is_locked(&path).unwrap_err(),
        ] {
            let inner = inside(&error);
            assert!(matches!(inner, LockError::NotALock { .. }), "{inner}");
            assert!(error.to_string().contains("is not a lock: "), "{error}");
        }
        let failed = lock.defer_until_locked(None);
        failed.add_both(|result| assert!(result.unwrap_err().is::<std::io::Error>()));
        assert!(fs::symlink_metadata(&path).is_ok());
        fs::remove_file(&path).unwrap();
    }
    let nowhere = DeferredFilesystemLock::new(path.join("x/y"), &clock);
    assert!(nowhere.lock().is_err());
}

/// Logs whether it is settled, and with the lock.
fn watch(waits: Deferred<FilesystemLockGuard>) -> Deferred<FilesystemLockGuard> {
    assert!(!waits.is_settled());
    waits
}

#[test]
fn it_tries_each_second() {
    let (path, clock) = (scratch("tries"), VirtualClock::new());
    let (holder, lock) = (
        DeferredFilesystemLock::new(&path, &clock),
        DeferredFilesystemLock::new(&path, &clock),
    );
    assert!(holder.lock().unwrap());
    let waits = watch(lock.defer_until_locked(None));
    assert_eq!(clock.delayed_calls().len(), 1);
    for _ in 0..3 {
        clock.advance(SECOND);
        assert!(!waits.is_settled());
    }
    // Only one at a time, also by another handle of the same lock.
    let clone = lock.clone();
    let second = clone.defer_until_locked(None);
    second.add_both(|result| assert!(is_error!(result.unwrap_err(), LockError::AlreadyWaiting)));
    clock.advance(SECOND / 2);
    holder.unlock().unwrap();
    clock.advance(SECOND / 2 - Duration::from_millis(1));
    assert!(!waits.is_settled() && owner(&path).is_none());
    clock.advance(Duration::from_millis(1));
    assert!(waits.is_settled() && owner(&path).is_some());
    assert!(clock.delayed_calls().is_empty());
    // The lock can be waited for again, and dropping the guard releases it.
    let again = watch(lock.defer_until_locked(None));
    drop(waits);
    assert_eq!(owner(&path), None);
    clock.advance(SECOND);
    again.add_callback(|guard| guard.release().unwrap());
    assert_eq!(owner(&path), None);
}

#[test]
fn a_limit_ends_the_wait_after_one_last_try() {
    let (path, clock) = (scratch("limit"), VirtualClock::new());
    let holder = DeferredFilesystemLock::new(&path, &clock);
    let lock = DeferredFilesystemLock::new(&path, &clock);
    assert!(holder.lock().unwrap());
    let waits = watch(lock.defer_until_locked(SECOND * 5 / 2));
    clock.advance(SECOND * 5 / 2);
    assert!(clock.delayed_calls().is_empty());
    waits.add_both(|result| {
        let failure = result.unwrap_err();
        assert_eq!(
            *failure.downcast_ref::<TimedOut>().unwrap(),
            TimedOut(SECOND * 5 / 2)
        );
    });
    let waits = watch(lock.defer_until_locked(SECOND * 5 / 2));
    clock.advance(SECOND * 2);
    holder.unlock().unwrap();
    clock.advance(SECOND / 2);
    waits.add_callback(|guard| guard.release().unwrap());
    assert!(clock.delayed_calls().is_empty());
    // A free lock needs no timer.
    let had = lock.defer_until_locked(SECOND);
    assert!(had.is_settled() && clock.delayed_calls().is_empty());
}

#[test]
fn a_cancel_removes_the_timers_and_does_not_try_again() {
    let (path, clock) = (scratch("cancel"), VirtualClock::new());
    let holder = DeferredFilesystemLock::new(&path, &clock);
    let lock = DeferredFilesystemLock::new(&path, &clock);
    assert!(holder.lock().unwrap());
    let waits = watch(lock.defer_until_locked(SECOND * 9));
    holder.unlock().unwrap();
    waits.cancel();
    waits.add_both(|result| assert!(result.unwrap_err().is::<Cancelled>()));
    assert!(clock.delayed_calls().is_empty() && owner(&path).is_none());
    // Inside the callback, another wait can begin.
    assert!(holder.lock().unwrap());
    let again = lock.clone();
    let waits = watch(lock.defer_until_locked(None));
    let chain = waits.add_errback(move |_| again.defer_until_locked(None));
    chain.cancel();
    assert_eq!(clock.delayed_calls().len(), 1);
    holder.unlock().unwrap();
    clock.advance(SECOND);
    assert!(chain.is_settled());
    drop(chain);
    assert_eq!(owner(&path), None);
}

#[test]
fn an_error_while_waiting_ends_the_wait() {
    let (path, clock) = (scratch("wrong"), VirtualClock::new());
    let holder = DeferredFilesystemLock::new(&path, &clock);
    let lock = DeferredFilesystemLock::new(&path, &clock);
    for limit in [None, Some(SECOND)] {
        assert!(holder.lock().unwrap());
        let waits = watch(lock.defer_until_locked(limit));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        clock.advance(SECOND);
        waits.add_both(|result| assert!(result.unwrap_err().is::<std::io::Error>()));
        assert!(clock.delayed_calls().is_empty());
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_clock_that_stops_abandons_the_waiters() {
    let path = scratch("stops");
    symlink("1", &path).unwrap();
    let reactor = Reactor::in_memory().unwrap();
    let lock = DeferredFilesystemLock::new(&path, &reactor);
    let waits = watch(lock.defer_until_locked(SECOND * 9));
    reactor.run_until(async {}).unwrap();
    drop(reactor);
    waits.add_both(|result| assert!(is_error!(result.unwrap_err(), DeferredError::Abandoned)));
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_guard_that_cannot_unlock_reports_the_error() {
    testing::run(async |reactor| {
        let observed = expect_reports(&reactor);
        let path = scratch("says");
        let lock = DeferredFilesystemLock::new(&path, &reactor);
        let guard = lock.defer_until_locked(None).await?;
        fs::remove_file(&path)?;
        assert!(guard.release().is_err());
        let guard = lock.defer_until_locked(None).await?;
        fs::remove_file(&path)?;
        drop(guard);
        assert_eq!(observed.borrow().len(), 1);
        observed.borrow_mut().clear();
        Ok(())
    });
}

/// A process of Twisted.
struct Other {
    child: Child,
    words: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Other {
    fn start(twisted: &Path, path: &Path) -> Self {
        let mut child = Command::new(twisted)
            .arg(script("twisted_lock.py"))
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            words: child.stdin.take().unwrap(),
            said: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn ask(&mut self, word: &str) -> String {
        writeln!(self.words, "{word}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ends without releasing anything.
    fn die(mut self) {
        assert_eq!(self.ask("die"), "dying");
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn twisted_and_this_exclude_each_other() {
    let Some(twisted) = twisted() else { return };
    let (path, clock) = (scratch("twisted"), VirtualClock::new());
    let lock = DeferredFilesystemLock::new(&path, &clock);
    let mut other = Other::start(&twisted, &path);
    // The other process holds, this one waits.
    assert_eq!(other.ask("lock"), "True True");
    assert_eq!(owner(&path), Some(other.child.id().to_string()));
    assert!(!lock.lock().unwrap());
    assert!(DeferredFilesystemLock::is_locked(&path).unwrap());
    let error = lock.unlock().unwrap_err();
    assert_eq!(
        i64::from(holder_named_in(&error)),
        i64::from(other.child.id())
    );
    let waits = watch(lock.defer_until_locked(None));
    clock.advance(SECOND);
    assert!(!waits.is_settled());
    assert_eq!(other.ask("unlock"), "done");
    clock.advance(SECOND);
    assert!(waits.is_settled());
    // This process holds, the other one waits.
    assert_eq!(other.ask("lock"), "False True");
    assert_eq!(other.ask("look"), "True");
    assert_eq!(other.ask("unlock"), "ValueError");
    assert_eq!(other.ask("wait"), "has it False");
    assert_eq!(other.ask("second"), "has it False");
    drop(waits);
    assert_eq!(other.ask("second"), "has it True");
    assert!(!lock.lock().unwrap());
    assert_eq!(other.ask("unlock"), "done");
    assert_eq!(other.ask("look"), "False");
    assert!(lock.lock().unwrap() && lock.was_clean());
    lock.unlock().unwrap();
}

#[test]
fn each_implementation_removes_the_stale_lock_of_the_other() {
    let Some(twisted) = twisted() else { return };
    let (path, clock) = (scratch("twisted-stale"), VirtualClock::new());
    let lock = DeferredFilesystemLock::new(&path, &clock);
    let mut other = Other::start(&twisted, &path);
    assert_eq!(other.ask("lock"), "True True");
    other.die();
    assert!(owner(&path).is_some() && !DeferredFilesystemLock::is_locked(&path).unwrap());
    assert!(lock.lock().unwrap() && !lock.was_clean());
    lock.unlock().unwrap();
    let status = own::command("play")
        .env("PLAY", &path)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert!(owner(&path).is_some());
    let mut other = Other::start(&twisted, &path);
    assert_eq!(other.ask("lock"), "True False");
    assert_eq!(owner(&path), Some(other.child.id().to_string()));
    assert_eq!(other.ask("unlock"), "done");
}

/// Not a test by itself: a process that ends while it holds the lock.
#[test]
fn play() {
    if let Some(path) = std::env::var_os("PLAY") {
        let lock = DeferredFilesystemLock::new(path, &VirtualClock::new());
        assert!(lock.lock().unwrap());
    }
}
