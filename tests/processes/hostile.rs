//! Programs that misbehave: they hold descriptors, flood, ignore signals, and leave processes
//! behind; and very many of them at once.
#![cfg(target_os = "linux")]

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getpgid, getppid, getrlimit, setpgid, setrlimit};
use support::noted::Noted;
use support::{Log, children, cpu_time, role, some_turns, until};
use torsade::process::{ChildFd, Command, Process, ProcessError, ProcessProtocol};
use torsade::transport::Limits;
use torsade::{Cancelled, Context, Failure, Reactor, testing};

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script]).kill_on_drop(true)
}

/// Runs the child's role.
#[test]
fn role() {
    role::play(async |reactor, name| match name {
        "leaver" => leave_group().await,
        "heavy" => start_without_a_copy(reactor).await,
        "many" => end_together(reactor).await,
        other => panic!("no role is called {other}"),
    });
}

/// Returns a command that runs a role.
fn actor(role: &str) -> Command {
    let [program, words @ ..] = role::words();
    Command::new(program)
        .args(words)
        .env("TORSADE_ROLE", role)
        .kill_on_drop(true)
}

async fn plays_well(reactor: &Reactor, role: &str) -> Result<(), Failure> {
    let output = actor(role).output(reactor).await?;
    let observed = String::from_utf8_lossy(&output.err);
    assert!(output.status.success(), "{observed}");
    Ok(())
}

/// Each one's number and code, and how many hooks came before its end.
type Ends = Rc<RefCell<Vec<(usize, Option<i32>, u8)>>>;

/// Counts its hooks until its end.
struct Ended {
    number: usize,
    all: Ends,
    hooks: u8,
}

impl ProcessProtocol for Ended {
    fn connection_made(&mut self, _cx: &mut Context<'_, Self, Process>) {
        self.hooks += 1;
    }

    fn process_exited(
        &mut self,
        _cx: &mut Context<'_, Self, Process>,
        _exited: Result<ExitStatus, Failure>,
    ) {
        self.hooks += 1;
    }

    fn process_ended(&mut self, ended: Result<ExitStatus, Failure>) {
        let code = ended.ok().and_then(|status| status.code());
        self.all.borrow_mut().push((self.number, code, self.hooks));
    }
}

/// All are alive, each waiting for the same pipe to be closed; then it is.
async fn end_together(reactor: &Reactor) -> Result<(), Failure> {
    const COUNT: usize = 1000;
    let limit = Rlimit {
        current: getrlimit(Resource::Nofile).maximum,
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit)?;
    let (gate, delayed_close) = role::pipe();
    let gate = ChildFd::from(gate);
    let all = Ends::default();
    for number in 0..COUNT {
        let command = Command::new("sh")
            .args(["-c", &format!("read x; exit {}", number % 251)])
            .child_fds([(0, gate.clone())]);
        let ended = Ended {
            number,
            all: all.clone(),
            hooks: 0,
        };
        command.spawn_protocol(reactor, ended)?;
    }
    some_turns().await;
    assert_eq!(children().len(), COUNT);
    assert!(all.borrow().is_empty() && !support::has_zombies());
    drop(delayed_close);
    until(|| all.borrow().len() == COUNT).await;
    let mut ends = all.take();
    ends.sort_unstable();
    for (at, (number, code, hooks)) in ends.into_iter().enumerate() {
        assert_eq!((number, code, hooks), (at, Some(at as i32 % 251), 2));
    }
    assert_eq!(children(), []);
    assert_eq!(testing::leftovers(reactor), []);
    Ok(())
}

#[test]
fn a_thousand_simultaneous_exits_are_told_apart() {
    run(async |reactor| plays_well(&reactor, "many").await);
}

/// Returns how many pages this thread has asked the kernel for.
fn page_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_name, numbers) = stat.rsplit_once(") ").unwrap();
    numbers.split(' ').nth(7).unwrap().parse().unwrap()
}

/// Writes to each page.
fn touch(memory: &mut [u8]) {
    for page in memory.chunks_mut(4096) {
        page[0] = page[0].wrapping_add(1);
    }
}

/// A program is not copied to start another one: a copy takes time in proportion to the memory, and
/// the program's next write to each page asks the kernel for that page. (A page may be of 2 MiB.)
async fn start_without_a_copy(reactor: &Reactor) -> Result<(), Failure> {
    let mut ballast = vec![0_u8; 256 << 20];
    touch(&mut ballast);
    let child = Command::new("true").child_fds([]).spawn(reactor)?;
    assert!(child.status().await?.success());
    let before = page_faults();
    touch(&mut ballast);
    let faults = page_faults() - before;
    assert!(faults < 64, "{faults} page faults");
    assert_eq!(ballast[4096], 2);
    Ok(())
}

#[test]
fn a_large_process_is_not_copied_to_start_a_child() {
    run(async |reactor| plays_well(&reactor, "heavy").await);
}

/// Leads a group, and goes over to the one of its parent.
async fn leave_group() -> Result<(), Failure> {
    let parent = getppid().expect("it has one");
    setpgid(None, Some(getpgid(Some(parent))?))?;
    println!("gone over");
    std::thread::park_timeout(Duration::from_secs(15));
    Ok(())
}

#[test]
fn one_that_has_left_the_group_it_led_is_killed_all_the_same() {
    run(async |reactor| {
        let log = Log::new();
        let handle = actor("leaver")
            .lead_group()
            .spawn_protocol(&reactor, Noted::new(&log))?;
        until(|| log.all().iter().any(|note| note.contains("gone over"))).await;
        handle.transport().unwrap().kill();
        handle.closed().await?;
        assert!(log.has("ended with signal 9"), "{:?}", log.all());
        Ok(())
    });
}

#[test]
fn an_output_that_is_cancelled_does_not_wait_for_a_daemon_that_holds_the_pipes() {
    run(async |reactor| {
        let folder = support::folder::Folder::create();
        let observed = folder.path("daemon");
        // It is of another session and another parent, and has our pipes.
        let script = "(setsid sleep 1000 & echo $! > $TOLD); exec sleep 1000";
        let output = sh(script)
            .env("TOLD", &observed)
            .input(vec![0; 1 << 20])
            .output(&reactor);
        let daemon = || fs::read_to_string(&observed).unwrap_or_default();
        until(|| daemon().ends_with('\n')).await;
        output.cancel();
        output.await.unwrap_err().trap::<Cancelled>()?;
        until(|| testing::leftovers(&reactor).is_empty()).await;
        let kill = Command::new("kill").arg(daemon().trim_end());
        assert!(kill.status(&reactor).await?.success(), "it was alive");
        Ok(())
    });
}

#[test]
fn one_that_has_stopped_itself_is_killed_when_its_time_is_over() {
    run(async |reactor| {
        let child = sh("kill -STOP $$; exit 1").spawn(&reactor)?;
        let stat = format!("/proc/{}/stat", child.pid().unwrap());
        until(|| fs::read_to_string(&stat).unwrap().contains(") T ")).await;
        let status = child.end_within(Duration::from_millis(20)).await?;
        assert_eq!(status.signal(), Some(9));
        Ok(())
    });
}

#[test]
fn a_process_that_closes_its_output_and_continues_has_not_ended() {
    run(async |reactor| {
        let log = Log::new();
        let script = "exec >&- 2>&-; exec > /dev/null 2>&1; echo more; read x; exit 8";
        let handle = sh(script).spawn_protocol(&reactor, Noted::new(&log))?;
        until(|| log.has("1 closed") && log.has("2 closed")).await;
        some_turns().await;
        assert_eq!(log.all().len(), 3, "{:?}", log.all());
        handle.transport().unwrap().close_stdin();
        handle.closed().await?;
        assert!(log.has("ended with code 8"));
        Ok(())
    });
}

#[test]
fn a_flood_of_errors_is_held_by_the_limit() {
    run(async |reactor| {
        let flood = sh("exec head -c 3000000000 /dev/zero >&2").output_limit(10_000_000);
        let failure = flood.output(&reactor).await.unwrap_err();
        assert_failure!(failure, ProcessError::OutputTooLong { limit: 10_000_000 });
        until(|| testing::leftovers(&reactor).is_empty()).await;
        Ok(())
    });
}

#[test]
fn a_process_that_writes_endlessly_and_is_not_read_costs_nothing() {
    run(async |reactor| {
        let log = Log::new();
        let noted = Noted::new(&log).on_made(Process::pause_producing);
        let handle = sh("yes >&2 & exec yes").spawn_protocol(&reactor, noted)?;
        until(|| log.has("made")).await;
        let before = cpu_time();
        // A loop that gets the same event again and again would be busy all the time.
        let sleep = torsade::Clock::sleep(&reactor, Duration::from_millis(300));
        sleep.await?;
        assert!(cpu_time() - before < 100_000);
        assert_eq!(log.all(), ["made"]);
        handle.transport().unwrap().lose_connection();
        handle.closed().await?;
        assert!(log.has("ended with signal 13"), "{:?}", log.all());
        Ok(())
    });
}

#[test]
fn a_terminal_that_floods_gives_all_of_it_and_ends() {
    run(async |reactor| {
        let output = sh("yes | head -n 200000").pty().output(&reactor).await?;
        assert_eq!(output.out.len(), 600_000);
        assert!(output.out.chunks(3).all(|line| line == b"y\r\n"));
        // A child that is not read, and is closed half-way.
        let log = Log::new();
        let noted = Noted::new(&log)
            .quiet()
            .on_data(|process, _, _| process.lose_connection());
        Command::new("yes")
            .pty()
            .spawn_protocol(&reactor, noted)?
            .closed()
            .await?;
        assert_eq!(log.count("1 closed"), 1);
        assert!(log.has("ended with signal 1"), "{:?}", log.all());
        Ok(())
    });
}

#[test]
fn a_terminal_whose_program_never_reads_closes_when_the_program_exits() {
    run(async |reactor| {
        let (log, stuck) = (Log::new(), Rc::new(Cell::new(false)));
        let seen = stuck.clone();
        let noted = Noted::new(&log).quiet().on_made(move |process| {
            let limits = Limits {
                hard: 8 << 20,
                ..Limits::default()
            };
            process.stdin().unwrap().set_limits(limits);
            process.write(vec![b'x'; 1 << 20]);
            seen.set(process.stdin().unwrap().is_full());
        });
        let script = "stty raw -echo; sleep 0.1; exit 6";
        sh(script)
            .pty()
            .spawn_protocol(&reactor, noted)?
            .closed()
            .await?;
        assert!(stuck.get());
        assert!(log.has("ended with code 6"), "{:?}", log.all());
        assert_eq!(log.count("1 closed"), 1);
        Ok(())
    });
}
