//! The same programs under Twisted's `spawnProcess` (`twisted_process.py`) and under torsade: the
//! same hooks are called, with the same reasons. Without Twisted the test says so and passes.
#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process;
use std::rc::Rc;

use support::Log;
use support::foreign::{script, twisted};
use support::noted::Noted;
use support::program::Program;
use torsade::process::{ChildFd, Command, Process};
use torsade::{Failure, Reactor, testing};

/// The command, and the action after its start.
const CASES: [(&str, &str); 10] = [
    ("exit 0", "nothing"),
    ("echo out; echo err >&2; exit 3", "nothing"),
    ("kill -9 $$", "nothing"),
    ("exec 0<&- 1>&- 2>&-; exit 4", "nothing"),
    ("cat; echo err >&2; exit 5", "feed"),
    ("exec 0<&-; sleep 0.05; exit 6", "feed"),
    ("cat <&4 >&3", "feed4"),
    ("read x; exit 7", "lose"),
    ("exec sleep 1000", "term"),
    (
        "trap 'exit 8' PIPE; head -c 1000000 /dev/zero | tr '\\0' x",
        "nothing",
    ),
];

#[test]
fn twisted_and_torsade_call_the_same_hooks() {
    let Some(twisted) = twisted() else { return };
    let mut all = process::Command::new(twisted);
    all.arg(script("twisted_process.py"));
    all.args(CASES.iter().flat_map(|(text, action)| [text, action]));
    let (theirs, _) = Program::start(&mut all).end();
    let mut theirs = theirs.split(|line| line.is_empty());
    for (text, action) in CASES {
        let theirs = theirs.next().unwrap_or_default();
        let ours = Rc::<RefCell<Vec<String>>>::default();
        let observed = ours.clone();
        testing::run_on(Reactor::new().unwrap(), async move |reactor| {
            observed.replace(life(&reactor, text, action).await?);
            Ok(())
        });
        assert_eq!(*ours.borrow(), theirs, "{text:?}, {action}");
    }
}

/// Returns the hooks that were called, sorted except for the last, and all output.
async fn life(reactor: &Reactor, text: &str, action: &'static str) -> Result<Vec<String>, Failure> {
    let log = Log::new();
    let said = Rc::new(RefCell::new(BTreeMap::<i32, Vec<u8>>::new()));
    let heard = said.clone();
    let noted = Noted::new(&log)
        .quiet()
        .on_made(move |process| act(process, action))
        .on_data(move |_, fd, data| {
            heard
                .borrow_mut()
                .entry(fd)
                .or_default()
                .extend_from_slice(data);
        });
    let command = Command::new("/bin/sh").arg0("sh").args(["-c", text]);
    let command = match action {
        "feed4" => command.child_fds([(3, ChildFd::Read), (4, ChildFd::Write)]),
        _ => command,
    };
    command.spawn_protocol(reactor, noted)?.closed().await?;
    let mut notes = log.take();
    let last = notes.pop().expect("the end is recorded");
    for (fd, data) in said.take() {
        notes.push(format!("{fd} says {}", String::from_utf8(data)?.trim()));
    }
    notes.sort();
    notes.push(last);
    Ok(notes)
}

fn act(process: &Process, action: &str) {
    match action {
        "feed" => {
            process.write("fed");
            process.close_stdin();
        }
        "feed4" => {
            process.write_to_child(4, "fed").unwrap();
            process.close_child_fd(4);
        }
        "lose" => process.lose_connection(),
        "term" => process.signal_process("TERM").unwrap(),
        _ => {}
    }
}
