//! The BGP speaker with other implementations: `bird`, `gobgpd` and `exabgp`, each at an address of
//! its own, with a hold time of three seconds.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::time::Instant;

use support::await_that;
use support::folder::Folder;
use support::foreign::need;
use support::program::{PATIENCE, Program, example_path};

/// An address of this process, so that tests may run at the same time.
fn address(last: u8) -> String {
    let [.., high, low] = id().to_be_bytes();
    format!("127.{}.{}.{last}", 1 + high % 250, low)
}

/// The speaker, and where its commands go.
struct Speaker {
    program: Program,
    commands: UnixStream,
}

impl Speaker {
    /// Starts a speaker of AS 65001 at the address with this last number, for a peer at the next.
    fn start(last: u8, words: &[&str]) -> Self {
        let (commands, input) = UnixStream::pair().unwrap();
        let listen = format!("{}:1790", address(last));
        let peer = format!("{}:1790", address(last + 1));
        let mut command = Command::new(example_path("bgp_speaker"));
        command
            .args(["--as", "65001", "--id", "1.1.1.1", "--hold", "3"])
            .args(["--retry", "0.3", "--idle", "0.3", "--listen", &listen])
            .args(["--peer", &peer])
            .args(words)
            // A watchdog would report that the speaker was stopped.
            .env("TORSADE_DEBUG", "0")
            .stdin(Stdio::from(OwnedFd::from(input)));
        let program = Program::start_with(&mut command);
        assert_eq!(program.address(), listen);
        Self { program, commands }
    }

    /// Waits for a line that contains the text, and returns it.
    #[track_caller]
    fn until(&self, text: &str) -> String {
        let start = Instant::now();
        let mut lines = Vec::new();
        while start.elapsed() < PATIENCE {
            match self.program.line_within(PATIENCE) {
                Some(line) if line.contains(text) => return line,
                Some(line) => lines.push(line),
                None => break,
            }
        }
        panic!("no {text:?} in {lines:#?}");
    }

    fn command(&mut self, line: &str) {
        use std::io::Write;
        writeln!(self.commands, "{line}").unwrap();
    }
}

/// Another implementation, which is killed when this is dropped.
struct Other(Child);

impl Other {
    fn start(command: &mut Command) -> Self {
        Self::start_with_log(command, Stdio::null())
    }

    fn start_with_log(command: &mut Command, log: impl Into<Stdio>) -> Self {
        let quiet = command.stdin(Stdio::null()).stderr(Stdio::null());
        Self(quiet.stdout(log).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(id: u32, name: &str) {
    let status = Command::new("kill").args([name, &id.to_string()]).status();
    assert!(status.unwrap().success());
}

/// Returns what a program prints.
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A `bird` at the address with this last number, for a peer at the one before.
struct Bird {
    folder: Folder,
    program: PathBuf,
}

impl Bird {
    fn new(last: u8) -> Option<Self> {
        let program = need("bird")?;
        let folder = Folder::create();
        let (own, peer) = (address(last), address(last - 1));
        let config = format!(
            "log \"{}\" all;
             router id 2.2.2.2;
             protocol device {{}}
             protocol static {{ ipv4; route 10.2.0.0/16 blackhole; route 10.3.3.0/24 blackhole; }}
             protocol bgp peer {{
                 local {own} port 1790 as 65002;
                 neighbor {peer} port 1790 as 65001;
                 strict bind yes;
                 multihop;
                 hold time 3;
                 connect delay time 1; connect retry time 1; error wait time 1, 1;
                 ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};
             }}",
            folder.path("log").display()
        );
        fs::write(folder.path("bird.conf"), config).unwrap();
        Some(Self { folder, program })
    }

    fn start(&self) -> Other {
        let mut command = Command::new(&self.program);
        command
            .args(["-f", "-c"])
            .arg(self.folder.path("bird.conf"))
            .arg("-s")
            .arg(self.folder.path("ctl"))
            .arg("-P")
            .arg(self.folder.path("pid"));
        Other::start(&mut command)
    }

    /// Asks it.
    fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new(self.program.with_file_name("birdc"));
        output(command.arg("-s").arg(self.folder.path("ctl")).args(words))
    }

    #[track_caller]
    fn until(&self, words: &[&str], cond: impl Fn(&str) -> bool) {
        await_that(|| cond(&self.ask(words)));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }
}

const ROUTES: [&str; 2] = ["show", "route"];

#[test]
fn bird_and_the_speaker_exchange_routes_and_find_each_other_again() {
    let Some(bird) = Bird::new(2) else {
        return;
    };
    let running = bird.start();
    let db = bird.folder.path("peers.db");
    let words = ["--route", "10.1.0.0/16", "--db", db.to_str().unwrap()];
    let mut speaker = Speaker::start(1, &words);
    speaker.until("Established, AS 65002, id 2.2.2.2, hold time 3 s");
    let route = speaker.until("10.2.0.0/16 next-hop");
    assert!(route.ends_with("path 65002 origin IGP"), "{route}");
    speaker.until("10.3.3.0/24");
    bird.until(&ROUTES, |routes| {
        routes.contains("10.1.0.0/16") && routes.contains("[AS65001i]")
    });
    speaker.command("announce 10.9.0.0/16,next-hop=10.0.0.9");
    speaker.command("withdraw 10.1.0.0/16");
    bird.until(&ROUTES, |routes| {
        routes.contains("10.9.0.0/16") && !routes.contains("10.1.0.0/16")
    });
    // SIGUSR2 announces the routes of the command line, SIGUSR1 withdraws them.
    signal(speaker.program.id(), "-USR2");
    bird.until(&ROUTES, |routes| routes.contains("10.1.0.0/16"));
    signal(speaker.program.id(), "-USR1");
    bird.until(&ROUTES, |routes| !routes.contains("10.1.0.0/16"));
    // Route refresh, in both directions.
    let imports = || {
        let text = bird.ask(&["show", "protocols", "all", "peer"]);
        let line = text.lines().find(|line| line.contains("Import updates:"));
        line.and_then(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok())
    };
    let before = imports();
    bird.ask(&["reload", "in", "peer"]);
    await_that(|| imports() > before);
    speaker.command("refresh");
    speaker.until("all routes are here");
    // It is killed, and comes back.
    drop(running);
    speaker.until("10.3.3.0/24 withdrawn");
    speaker.until("connection lost");
    let _running = bird.start();
    speaker.until("Established");
    speaker.until("10.3.3.0/24 next-hop");
    bird.until(&ROUTES, |routes| routes.contains("10.9.0.0/16"));
    // It says goodbye, and its file knows what was.
    speaker.program.interrupt();
    let (lines, errors) = speaker.program.end();
    let end = lines
        .iter()
        .any(|line| line.ends_with("sent 6/2 cease: shutdown \"stopped\""));
    assert!(end && errors.is_empty(), "{lines:#?}\n{errors}");
    await_that(|| bird.log().contains("Administrative shutdown: \"stopped\""));
    let file = rusqlite::Connection::open(&db).unwrap();
    let row = file.query_row(
        "SELECT address, state, since - keepalive FROM peers",
        [],
        |row| {
            let row: (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(row)
        },
    );
    let (peer, state, age) = row.unwrap();
    assert_eq!((peer, state), (address(2), "Idle".into()));
    assert!((0..=3).contains(&age), "a keepalive {age} s before the end");
}

#[test]
fn bird_and_the_speaker_find_each_other_again_after_either_has_stopped() {
    let Some(bird) = Bird::new(9) else {
        return;
    };
    let running = bird.start();
    let speaker = Speaker::start(8, &["--route", "10.9.0.0/16,next-hop=10.0.0.9"]);
    speaker.until("Established");
    bird.until(&ROUTES, |routes| routes.contains("10.9.0.0/16"));
    // It stops, and goes on.
    running.signal("-STOP");
    speaker.until("sent 4/0 hold timer expired");
    running.signal("-CONT");
    speaker.until("Established");
    bird.until(&ROUTES, |routes| routes.contains("10.9.0.0/16"));
    // The speaker stops, and goes on.
    signal(speaker.program.id(), "-STOP");
    bird.until(&ROUTES, |routes| !routes.contains("10.9.0.0/16"));
    signal(speaker.program.id(), "-CONT");
    speaker.until("Established");
}

#[test]
fn a_speaker_that_waits_is_found_by_bird() {
    let Some(bird) = Bird::new(6) else {
        return;
    };
    let speaker = Speaker::start(5, &["--route", "10.1.0.0/16", "--retry", "60"]);
    // It has tried once, and now waits for a minute.
    speaker.until("not reachable");
    let _running = bird.start();
    speaker.until("Established");
    bird.until(&ROUTES, |routes| routes.contains("10.1.0.0/16"));
}

/// A `gobgpd` at the address with this last number, for a peer at the one before.
struct Gobgp {
    folder: Folder,
    program: PathBuf,
    api: String,
}

impl Gobgp {
    fn new(last: u8) -> Option<Self> {
        let program = need("gobgpd")?;
        let (own, peer) = (address(last), address(last - 1));
        let folder = Folder::create();
        let config = format!(
            "[global.config]
               as = 4200000003
               router-id = \"3.3.3.3\"
               port = 1790
               local-address-list = [\"{own}\"]
             [[neighbors]]
               [neighbors.config]
                 neighbor-address = \"{peer}\"
                 peer-as = 65001
               [neighbors.timers.config]
                 hold-time = 3
                 keepalive-interval = 1
                 connect-retry = 1
                 idle-hold-time-after-reset = 1
               [neighbors.transport.config]
                 local-address = \"{own}\"
                 remote-port = 1790
               [neighbors.ebgp-multihop.config]
                 enabled = true
            "
        );
        fs::write(folder.path("gobgp.toml"), config).unwrap();
        let api = format!("{own}:50051");
        Some(Self {
            folder,
            program,
            api,
        })
    }

    fn start(&self) -> Other {
        let mut command = Command::new(&self.program);
        command.arg("-f").arg(self.folder.path("gobgp.toml"));
        Other::start(command.args(["--api-hosts", &self.api]))
    }

    /// Asks it.
    fn ask(&self, words: &[&str]) -> String {
        let (host, port) = self.api.split_once(':').unwrap();
        let mut command = Command::new("gobgp");
        output(command.args(["-u", host, "-p", port]).args(words))
    }

    fn routes(&self) -> String {
        self.ask(&["global", "rib"])
    }
}

#[test]
fn gobgp_and_the_speaker_exchange_routes_and_find_each_other_again() {
    let Some(gobgp) = Gobgp::new(12) else {
        return;
    };
    let _running = gobgp.start();
    let mut speaker = Speaker::start(11, &["--route", "10.1.0.0/16,next-hop=10.0.0.1"]);
    speaker.until("Established, AS 4200000003, id 3.3.3.3, hold time 3 s");
    await_that(|| gobgp.routes().contains("10.1.0.0/16"));
    assert!(gobgp.routes().contains("65001"), "{}", gobgp.routes());
    let words = "global rib add 10.5.0.0/16 origin igp med 7 community 65001:20";
    gobgp.ask(&words.split(' ').collect::<Vec<_>>());
    let route = speaker.until("10.5.0.0/16 next-hop");
    assert!(
        route.ends_with("path 4200000003 origin IGP med 7 community 65001:20"),
        "{route}"
    );
    gobgp.ask(&["global", "rib", "del", "10.5.0.0/16"]);
    speaker.until("10.5.0.0/16 withdrawn");
    speaker.command("announce 10.9.0.0/16,next-hop=10.0.0.9");
    speaker.command("withdraw 10.1.0.0/16");
    await_that(|| {
        gobgp.routes().contains("10.9.0.0/16") && !gobgp.routes().contains("10.1.0.0/16")
    });
    // The operator of the other side ends the session, and allows it again.
    gobgp.ask(&["neighbor", &address(11), "disable"]);
    speaker.until("received 6/2 cease: shutdown");
    gobgp.ask(&["neighbor", &address(11), "enable"]);
    speaker.until("Established");
    await_that(|| gobgp.routes().contains("10.9.0.0/16"));
    speaker.program.interrupt();
    speaker.program.end();
}

#[test]
fn gobgp_and_the_speaker_find_each_other_again_after_it_has_stopped() {
    let Some(gobgp) = Gobgp::new(15) else {
        return;
    };
    let running = gobgp.start();
    let speaker = Speaker::start(14, &["--route", "10.1.0.0/16,next-hop=10.0.0.1"]);
    speaker.until("Established");
    running.signal("-STOP");
    speaker.until("sent 4/0 hold timer expired");
    drop(running);
    let _running = gobgp.start();
    speaker.until("Established");
    await_that(|| gobgp.routes().contains("10.1.0.0/16"));
}

/// Starts `exabgp` at the address 22, which announces these routes to 21.
fn exabgp(program: &Path, folder: &Folder, routes: &str) -> Other {
    let (own, peer) = (address(22), address(21));
    let config = format!(
        "neighbor {peer} {{
            router-id 4.4.4.4;
            local-address {own};
            local-as 65004;
            peer-as 65001;
            hold-time 3;
            static {{ {routes} }}
        }}"
    );
    fs::write(folder.path("exabgp.conf"), config).unwrap();
    let mut command = Command::new(program);
    command
        .arg("-d")
        .arg(folder.path("exabgp.conf"))
        .env("PYTHONUNBUFFERED", "1")
        .env("exabgp.tcp.port", "1790")
        .env("exabgp.daemon.drop", "false")
        .env("exabgp.api.cli", "false");
    let log = fs::File::create(folder.path("log")).unwrap();
    Other::start_with_log(&mut command, log)
}

#[test]
fn a_bad_update_of_exabgp_is_answered_as_the_rfc_says() {
    let Some(program) = need("exabgp") else {
        return;
    };
    let speaker = Speaker::start(21, &[]);
    let folder = Folder::create();
    // A MED of three bytes: the network is withdrawn, and the session goes on.
    let running = exabgp(
        &program,
        &folder,
        "route 10.6.0.0/16 next-hop 10.0.0.6;
         route 10.7.0.0/16 next-hop 10.0.0.7 attribute [ 0x04 0x80 0x010203 ];
         route 10.8.0.0/16 next-hop 10.0.0.8;",
    );
    speaker.until("Established, AS 65004, id 4.4.4.4, hold time 3 s");
    let mut seen: Vec<_> = (0..3).map(|_| speaker.program.line()).collect();
    seen.sort();
    let peer = address(22);
    let route = |n| format!("{peer}: 10.{n}.0.0/16 next-hop 10.0.0.{n} path 65004 origin IGP");
    let fault = "treated as withdrawn, for 3/5 UPDATE: attribute length (6 bytes of data)";
    assert_eq!(seen, [route(6), route(8), format!("{peer}: {fault}")]);
    drop(running);
    speaker.until("10.8.0.0/16 withdrawn");
    // An attribute that is well known, and unknown: the session ends.
    let _running = exabgp(
        &program,
        &folder,
        "route 10.7.0.0/16 next-hop 10.0.0.7 attribute [ 0x63 0x40 0x01 ];",
    );
    speaker.until("sent 3/2 UPDATE: unrecognized well-known attribute (4 bytes of data)");
    let log = || fs::read_to_string(folder.path("log")).unwrap_or_default();
    await_that(|| log().contains("notification received (3,2)"));
}
