//! The log bot on real servers of IRC, ngIRCd and InspIRCd, with a second client that is scripted:
//! what the bot answers and logs, and how it comes back after the server has died.
//!
//! A test whose program is missing says so and passes.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Instant;

use support::folder::Folder;
use support::foreign::have;
use support::program::{PATIENCE, Program};

/// A client that sends lines and waits for others.
struct Peer {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Peer {
    /// Connects as soon as the server listens, signs on, and joins the channel.
    fn new(address: SocketAddr, nick: &str) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::yield_now();
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        let mut peer = Self { stream, reader };
        peer.say(&format!("NICK {nick}\r\nUSER {nick} 0 * :A peer"));
        peer.wait_for(" 001 ");
        peer
    }

    fn say(&mut self, line: &str) {
        let line = format!("{line}\r\n");
        self.stream.write_all(line.as_bytes()).unwrap();
    }

    /// Reads lines until one contains the words, and returns it.
    #[track_caller]
    fn wait_for(&mut self, words: &str) -> String {
        let mut seen = String::new();
        loop {
            let start = seen.len();
            let count = self.reader.read_line(&mut seen);
            assert!(
                count.is_ok_and(|count| count > 0),
                "no {words:?} in:\n{seen}"
            );
            let line = seen[start..].trim_end().to_owned();
            if line.starts_with("PING ") {
                self.say(&line.replacen("PING", "PONG", 1));
            }
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Joins the channel, in which the bot is.
    #[track_caller]
    fn join(&mut self, bot: &str) {
        self.say("JOIN #test");
        let names = self.wait_for(" 353 ");
        assert!(names.contains(bot), "{names}");
        self.wait_for(" 366 ");
    }
}

/// Runs the conversation on a server, which `start` starts at an address.
fn converse(start: impl Fn(&Folder, SocketAddr) -> Program) {
    let folder = Folder::create();
    let log = folder.path("test.log");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = start(&folder, address);
    // A user with the bot's name is there before the bot.
    let _taken = Peer::new(address, "logbot");
    let mut ada = Peer::new(address, "ada");
    let bot = Program::example(
        "irc_logbot",
        &[&address.to_string(), "test", log.to_str().unwrap()],
    );
    let appears = || {
        assert_eq!(bot.line(), format!("connected to {address}"));
        assert_eq!(bot.line(), "joined #test");
    };
    appears();
    ada.join("logbot_");
    ada.say("PRIVMSG #test :hello, all of you");
    ada.say("PRIVMSG #test :logbot_: who are you? caf\u{e9}");
    let answer = ada.wait_for("PRIVMSG #test");
    assert!(answer.starts_with(":logbot_!") && answer.ends_with(":ada: I am a log bot"));
    ada.stream
        .write_all(b"PRIVMSG #test :\xff\xfe\r\n")
        .unwrap();
    ada.say("PRIVMSG logbot_ :psst");
    let answer = ada.wait_for("PRIVMSG ada");
    assert!(answer.ends_with("Play nice with the group."), "{answer}");
    ada.say("PRIVMSG logbot_ :\u{1}VERSION\u{1}");
    let answer = ada.wait_for("NOTICE ada");
    assert!(answer.contains("\u{1}VERSION irc_logbot"), "{answer}");
    ada.say("PRIVMSG #test :\u{1}ACTION waves\u{1}");
    ada.say("NICK eve");
    ada.say("PART #test");
    ada.wait_for(" PART ");
    ada.say("JOIN #test");
    ada.wait_for(" 366 ");
    ada.say("PRIVMSG logbot_ :\u{1}PING 1\u{1}");
    ada.wait_for("\u{1}PING 1\u{1}");

    // The server dies, and comes back.
    drop(server);
    let _server = start(&folder, address);
    appears();
    let mut bob = Peer::new(address, "bob");
    bob.join("logbot");
    bob.say("PRIVMSG #test :logbot: again?");
    bob.wait_for(":bob: I am a log bot");
    bot.interrupt();
    let quit = bob.wait_for("QUIT ");
    assert!(
        quit.starts_with(":logbot!") && quit.contains("good bye"),
        "{quit}"
    );
    bot.end();

    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| {
            let (time, rest) = line.split_at("[00:00:00] ".len());
            let is_time = time
                .bytes()
                .enumerate()
                .all(|(index, byte)| byte.is_ascii_digit() || byte == b"[00:00:00] "[index]);
            assert!(is_time, "{line}");
            rest
        })
        .collect();
    let connected = format!("[connected to {address}]");
    let expected = [
        &connected,
        "[I have joined #test]",
        "ada has joined #test",
        "<ada> hello, all of you",
        "<ada> logbot_: who are you? caf\u{e9}",
        "<logbot_> ada: I am a log bot",
        "<ada> \u{fffd}\u{fffd}",
        "<ada> psst",
        "* ada waves",
        "ada is now known as eve",
        "eve has left #test",
        "eve has joined #test",
        "[disconnected: …]",
        &connected,
        "[I have joined #test]",
        "bob has joined #test",
        "<bob> logbot: again?",
        "<logbot> bob: I am a log bot",
        "[disconnected: …]",
        "[stopped: good bye]",
    ];
    let lines = lines
        .iter()
        .map(|line| match line.starts_with("[disconnected: ") {
            true => "[disconnected: …]",
            false => line,
        });
    assert_eq!(lines.collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn the_bot_logs_a_channel_of_ngircd() {
    if !have("ngircd") {
        return;
    }
    converse(|folder, address| {
        let port = address.port();
        // The server becomes the user `nobody` when it is started by root.
        let text = format!(
            "[Global]\nName = irc.test\nInfo = test\nListen = 127.0.0.1\nPorts = {port}\n\
             [Limits]\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\n[Options]\nDNS = no\nIdent = no\nPAM = no\n"
        );
        let path = folder.path("ngircd.conf");
        fs::write(&path, text).unwrap();
        Program::start(Command::new("ngircd").arg("-n").arg("-f").arg(path))
    });
}

#[test]
fn the_bot_logs_a_channel_of_inspircd() {
    if !have("inspircd") {
        return;
    }
    converse(|folder, address| {
        let (port, pid) = (address.port(), folder.path("pid"));
        let text = format!(
            r#"<server name="irc.test" description="test" network="Test">
               <admin name="x" nick="x" email="x@example.org">
               <bind address="127.0.0.1" port="{port}" type="clients">
               <connect allow="*" resolvehostnames="no" timeout="60" pingfreq="120"
                        hardsendq="262144" softsendq="8192" recvq="8192" localmax="30"
                        globalmax="30" fakelag="no" threshold="1000" commandrate="100000">
               <pid file="{}">"#,
            pid.display()
        );
        let path = folder.path("inspircd.conf");
        fs::write(&path, text).unwrap();
        let mut command = Command::new("inspircd");
        command.args(["--nofork", "--runasroot", "--nolog", "--config"]);
        Program::start(command.arg(path))
    });
}
