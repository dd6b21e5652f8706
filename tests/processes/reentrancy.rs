//! Every method of a process from inside every hook; processes that are started, dropped and
//! stopped there; panics in each.
#![cfg(target_os = "linux")]

use std::cell::{Cell, RefCell};
use std::fs;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;
use torsade::Phase;

use support::noted::Noted;
use support::{Log, children, expect_reports, until};
use torsade::process::{Command, Process, ProcessProtocol};
use torsade::{Context, Failure, Handle, Reactor, testing};

type Cx<'a> = Context<'a, Everywhere, Process>;
type Act = Rc<dyn Fn(&Process, &'static str)>;

/// Does the same action in each of its hooks.
struct Everywhere {
    log: Log,
    act: Act,
    /// Kept for the last hook, which is given none.
    process: Rc<RefCell<Option<Process>>>,
}

impl Everywhere {
    fn new(log: &Log, act: impl Fn(&Process, &'static str) + 'static) -> Self {
        Self {
            log: log.clone(),
            act: Rc::new(act),
            process: Rc::default(),
        }
    }

    fn at(&self, process: &Process, hook: &'static str) {
        self.log.note(hook);
        (self.act)(process, hook);
    }
}

impl ProcessProtocol for Everywhere {
    fn connection_made(&mut self, cx: &mut Cx<'_>) {
        *self.process.borrow_mut() = Some((**cx).clone());
        // Enough to fill the pipe, so that it has space later.
        cx.write(vec![b'x'; 300_000]);
        self.at(cx, "made");
    }

    fn out_received(&mut self, cx: &mut Cx<'_>, _data: &[u8]) {
        self.at(cx, "out");
    }

    fn err_received(&mut self, cx: &mut Cx<'_>, _data: &[u8]) {
        self.at(cx, "err");
    }

    fn write_ready(&mut self, cx: &mut Cx<'_>, _fd: i32) {
        self.at(cx, "ready");
        cx.close_stdin();
    }

    fn in_connection_lost(&mut self, cx: &mut Cx<'_>) {
        self.at(cx, "in lost");
    }

    fn out_connection_lost(&mut self, cx: &mut Cx<'_>) {
        self.at(cx, "out lost");
    }

    fn err_connection_lost(&mut self, cx: &mut Cx<'_>) {
        self.at(cx, "err lost");
    }

    fn process_exited(&mut self, cx: &mut Cx<'_>, _exited: Result<ExitStatus, Failure>) {
        self.at(cx, "exited");
    }

    fn process_ended(&mut self, _ended: Result<ExitStatus, Failure>) {
        let process = self.process.take();
        self.log.note("ended");
        if let Some(process) = process {
            (self.act)(&process, "ended");
        }
    }
}

/// It has every hook called.
fn busy() -> Command {
    let script = "echo err >&2; cat";
    Command::new("sh").args(["-c", script]).kill_on_drop(true)
}

const HOOKS: [&str; 9] = [
    "made", "out", "err", "ready", "in lost", "out lost", "err lost", "exited", "ended",
];

/// Hooks that are called once are called once, in their order.
#[track_caller]
fn check(log: &Log, what: &str) {
    let notes = log.all();
    assert_eq!(notes[0], "made", "{what}: {notes:?}");
    assert_eq!(notes.last().unwrap(), "ended", "{what}: {notes:?}");
    for once in ["made", "in lost", "out lost", "err lost", "exited", "ended"] {
        assert_eq!(log.count(once), 1, "{what}: {once} in {notes:?}");
    }
}

/// The methods of a process, by name.
type Request = (&'static str, fn(&Process));

/// All that may be asked of a process.
fn requests() -> Vec<Request> {
    vec![
        ("nothing", |_| {}),
        ("write", |process| process.write("more")),
        ("write_sequence", |process| {
            process.write_sequence(["a", "b"])
        }),
        ("write_to_child", |process| {
            let _ = process.write_to_child(0, "x");
            assert!(process.write_to_child(1, "x").is_err(), "we read that");
            assert!(process.write_to_child(77, "x").is_err());
        }),
        ("close_stdin", Process::close_stdin),
        ("close_stdout", Process::close_stdout),
        ("close_stderr", Process::close_stderr),
        ("close_child_fd", |process| process.close_child_fd(77)),
        ("lose_connection", Process::lose_connection),
        ("pause and resume", |process| {
            process.pause_producing();
            process.resume_producing();
        }),
        ("signal_process", |process| {
            let _ = process.signal_process("CONT");
        }),
        ("kill", Process::kill),
        ("terminate_within", |process| {
            process.terminate_within(Duration::from_millis(1));
            process.terminate_within(Duration::from_secs(1));
        }),
        ("set_window_size", |process| {
            assert!(process.set_window_size(1, 1).is_err());
        }),
        ("abort the pipes", |process| {
            for pipe in (0..3).filter_map(|fd| process.pipe(fd)) {
                pipe.abort_connection();
            }
        }),
        ("ask", |process| {
            let observed = (process.pid(), process.is_running(), process.exit_status());
            assert_eq!(observed.0.is_some(), observed.1);
            assert!(!observed.1 || observed.2.is_none());
            assert!(format!("{process:?}").contains("sh"));
        }),
        ("drop clones", |process| drop(vec![process.clone(); 3])),
    ]
}

#[track_caller]
fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

async fn all_is_gone(reactor: &Reactor) {
    until(|| testing::leftovers(reactor).is_empty()).await;
}

#[test]
fn every_request_may_be_made_in_every_hook() {
    run(async |reactor| {
        for (name, request) in requests() {
            for hook in HOOKS {
                let log = Log::new();
                let here = Everywhere::new(&log, move |process, at| {
                    if at == hook {
                        request(process);
                    }
                });
                busy().spawn_protocol(&reactor, here)?.closed().await?;
                check(&log, &format!("{name} in {hook}"));
                if name == "nothing" {
                    assert!(HOOKS.iter().all(|hook| log.has(hook)), "{:?}", log.all());
                }
            }
        }
        all_is_gone(&reactor).await;
        Ok(())
    });
}

#[test]
fn processes_may_be_started_in_every_hook() {
    run(async |reactor| {
        for hook in HOOKS {
            let (log, other) = (Log::new(), Log::new());
            let (started, starter) = (other.clone(), reactor.clone());
            let here = Everywhere::new(&log, move |_, at| {
                if at == hook && started.is_empty() {
                    started.note("started");
                    let noted = Noted::new(&started).on_made(|process| process.close_stdin());
                    drop(Command::new("cat").spawn_protocol(&starter, noted).unwrap());
                    drop(Command::new("cat").spawn(&starter).unwrap());
                    let failure = Command::new("/no/such").spawn(&starter);
                    assert!(failure.is_err());
                }
            });
            busy().spawn_protocol(&reactor, here)?.closed().await?;
            check(&log, hook);
            until(|| other.has("ended with code 0")).await;
            all_is_gone(&reactor).await;
        }
        Ok(())
    });
}

#[test]
fn the_last_handle_may_be_dropped_in_every_hook() {
    run(async |reactor| {
        for hook in HOOKS {
            let (log, kept) = (Log::new(), Rc::new(Cell::new(None)));
            let dropped = kept.clone();
            let here = Everywhere::new(&log, move |_, at| {
                if at == hook {
                    let handle: Option<Handle<Everywhere, Process>> = dropped.take();
                    drop(handle);
                }
            });
            kept.set(Some(busy().spawn_protocol(&reactor, here)?));
            until(|| log.has("ended")).await;
            check(&log, hook);
            assert!(kept.take().is_none());
        }
        Ok(())
    });
}

#[test]
fn a_process_that_exits_at_once_still_gets_all_its_hooks() {
    run(async |reactor| {
        for _ in 0..20 {
            let log = Log::new();
            let handle = Command::new("true").spawn_protocol(&reactor, Noted::new(&log))?;
            let process = handle.transport().expect("it has not ended");
            let stat = format!(
                "/proc/{}/stat",
                process.pid().expect("it has not been waited for")
            );
            // The loop stands still meanwhile.
            while !fs::read_to_string(&stat)?.contains(") Z ") {
                std::thread::yield_now();
            }
            assert!(log.is_empty() && process.is_running());
            handle.closed().await?;
            assert_eq!(log.all()[0], "made");
            assert_eq!(log.count("exited with code 0"), 1);
            assert_eq!(log.all().last().unwrap(), "ended with code 0");
        }
        Ok(())
    });
}

#[test]
fn one_that_has_exited_before_the_loop_ran_is_waited_for_by_it() {
    let (log, reactor) = (Log::new(), Reactor::new().unwrap());
    let command = Command::new("true");
    let handle = command.spawn_protocol(&reactor, Noted::new(&log)).unwrap();
    let pid = handle.transport().unwrap().pid().unwrap();
    let stat = format!("/proc/{pid}/stat");
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    assert!(log.is_empty());
    reactor.run_until(handle.closed()).unwrap().unwrap();
    assert_eq!(log.all()[0], "made");
    assert_eq!(log.count("exited with code 0"), 1);
    assert_eq!(log.all().last().unwrap(), "ended with code 0");
    assert!(fs::metadata(stat).is_err(), "it is no zombie");
}

#[test]
fn at_its_end_it_is_not_connected_and_no_mail_reaches_it() {
    run(async |reactor| {
        let (log, kept) = (Log::new(), Rc::new(RefCell::new(None)));
        let (seen, found) = (log.clone(), kept.clone());
        let here = Everywhere::new(&log, move |_, at| {
            let handle: Option<Handle<Everywhere, Process>> = found.borrow().clone();
            let handle = handle.expect("it is kept");
            if at == "ended" {
                assert!(!handle.is_connected());
                let mail = seen.clone();
                handle.post(move |_, _| mail.note("mail"));
            } else {
                assert!(handle.is_connected(), "{at}");
            }
        });
        let handle = busy().spawn_protocol(&reactor, here)?;
        *kept.borrow_mut() = Some(handle.clone());
        handle.closed().await?;
        check(&log, "mail");
        support::some_turns().await;
        assert!(!log.has("mail"));
        Ok(())
    });
}

#[test]
fn a_panic_in_any_hook_is_reported_once_and_the_end_still_comes() {
    run(async |reactor| {
        let reports = expect_reports(&reactor);
        for hook in HOOKS {
            let log = Log::new();
            let here = Everywhere::new(&log, move |_, at| {
                assert!(at != hook || at == "ready", "no {hook}");
            });
            busy().spawn_protocol(&reactor, here)?.closed().await?;
            check(&log, hook);
            let observed = reports.take();
            match hook {
                "ready" => assert_eq!(observed.len(), 0),
                // Until the pipe is lost there is no more of it.
                _ => assert_eq!(observed.len(), 1, "{hook}: {observed:?}"),
            }
        }
        all_is_gone(&reactor).await;
        Ok(())
    });
}

#[test]
fn the_reactor_may_be_stopped_in_every_hook() {
    for hook in HOOKS {
        let log = Log::new();
        let reactor = Reactor::new().unwrap();
        let stopper = reactor.clone();
        let here = Everywhere::new(&log, move |_, at| {
            if at == hook {
                let _ = stopper.stop();
            }
        });
        let starter = reactor.clone();
        reactor.add_system_event_trigger(Phase::After, "startup", move || {
            busy().spawn_protocol(&starter, here).unwrap();
        });
        reactor.run().unwrap();
        let notes = log.all();
        assert_eq!(notes[0], "made", "{hook}: {notes:?}");
        assert_eq!(notes.last().unwrap(), "ended", "{hook}: {notes:?}");
        assert_eq!(log.count("ended"), 1, "{hook}: {notes:?}");
        for once in ["in lost", "out lost", "err lost"] {
            assert_eq!(log.count(once), 1, "{hook}: {once} in {notes:?}");
        }
    }
    run(async |_| {
        until(|| children().is_empty() || !support::has_zombies()).await;
        Ok(())
    });
}
