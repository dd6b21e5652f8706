//! The IRC client against Twisted's (`twisted_irc.py`): random lines of a server call the same
//! hooks with the same arguments.
//!
//! Left out is what differs on purpose: the client knows its nickname in any case of its letters,
//! the first line of the message of the day is the server's and no part of it, signs of modes
//! without modes are allowed, and reply 004 is understood.
//!
//! `TORSADE_LINES` sets how many lines are tried. Default: 4000.

use std::cell::RefCell;
use std::env;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::thread;

use support::foreign::{script, twisted};
use torsade::protocols::irc::{Irc, IrcClient, IrcProtocol, Mode, Prefix, Settings, Text};
use torsade::testing::{Random, Wire};

fn hex(text: &impl ToString) -> String {
    text.to_string()
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Records the hooks in the form in which the script prints them.
#[derive(Clone, Default)]
struct Noting(Rc<RefCell<Vec<String>>>);

impl Noting {
    fn note(&self, name: &str, args: &[String]) {
        let words = [&[name.to_owned()], args].concat();
        self.0.borrow_mut().push(words.join(" "));
    }
}

/// Twisted passes nicknames where this library passes the whole sender.
impl IrcProtocol for Noting {
    fn joined(&mut self, _irc: &mut Irc<'_, Self>, channel: &Text) {
        self.note("joined", &[hex(channel)]);
    }
    fn left(&mut self, _irc: &mut Irc<'_, Self>, channel: &Text) {
        self.note("left", &[hex(channel)]);
    }
    fn user_joined(&mut self, _irc: &mut Irc<'_, Self>, user: &Prefix, channel: &Text) {
        self.note("userJoined", &[hex(&user.nick), hex(channel)]);
    }
    fn user_left(&mut self, _: &mut Irc<'_, Self>, user: &Prefix, channel: &Text, _: &Text) {
        self.note("userLeft", &[hex(&user.nick), hex(channel)]);
    }
    fn user_quit(&mut self, _irc: &mut Irc<'_, Self>, user: &Prefix, reason: &Text) {
        self.note("userQuit", &[hex(&user.nick), hex(reason)]);
    }
    fn user_renamed(&mut self, _irc: &mut Irc<'_, Self>, user: &Prefix, nick: &Text) {
        self.note("userRenamed", &[hex(&user.nick), hex(nick)]);
    }
    fn privmsg(&mut self, _: &mut Irc<'_, Self>, user: &Prefix, target: &Text, text: &Text) {
        self.note("privmsg", &[hex(user), hex(target), hex(text)]);
    }
    fn notice(&mut self, _: &mut Irc<'_, Self>, user: &Prefix, target: &Text, text: &Text) {
        self.note("noticed", &[hex(user), hex(target), hex(text)]);
    }
    fn action(&mut self, _: &mut Irc<'_, Self>, user: &Prefix, target: &Text, text: &Text) {
        self.note("action", &[hex(user), hex(target), hex(text)]);
    }
    fn kicked_from(&mut self, _: &mut Irc<'_, Self>, channel: &Text, by: &Prefix, why: &Text) {
        self.note("kickedFrom", &[hex(channel), hex(&by.nick), hex(why)]);
    }
    fn user_kicked(
        &mut self,
        _irc: &mut Irc<'_, Self>,
        nick: &Text,
        channel: &Text,
        by: &Prefix,
        why: &Text,
    ) {
        self.note(
            "userKicked",
            &[hex(nick), hex(channel), hex(&by.nick), hex(why)],
        );
    }
    fn nick_changed(&mut self, _irc: &mut Irc<'_, Self>, nick: &Text) {
        self.note("nickChanged", &[hex(nick)]);
    }
    fn topic_updated(
        &mut self,
        _: &mut Irc<'_, Self>,
        user: &Prefix,
        channel: &Text,
        topic: &Text,
    ) {
        self.note("topicUpdated", &[hex(&user.nick), hex(channel), hex(topic)]);
    }
    fn mode_changed(
        &mut self,
        _irc: &mut Irc<'_, Self>,
        user: &Prefix,
        target: &Text,
        is_set: bool,
        modes: &[Mode],
    ) {
        let letters: String = modes.iter().map(|mode| mode.letter).collect();
        let param = |mode: &Mode| mode.param.as_ref().map_or_else(|| "none".into(), hex);
        let params: Vec<String> = modes.iter().map(param).collect();
        let params = format!("[{}]", params.join(" "));
        let args = [
            hex(user),
            hex(target),
            is_set.to_string(),
            hex(&letters),
            params,
        ];
        self.note("modeChanged", &args);
    }
    fn received_motd(&mut self, _irc: &mut Irc<'_, Self>, lines: &[Text]) {
        let all: Vec<String> = lines.iter().map(hex).collect();
        // Twisted passes `None` in place of an empty list.
        let is_empty = lines.is_empty();
        let all = if is_empty {
            "none".into()
        } else {
            format!("[{}]", all.join(" "))
        };
        self.note("receivedMOTD", &[all]);
    }
    fn created(&mut self, _irc: &mut Irc<'_, Self>, text: &Text) {
        self.note("created", &[hex(text)]);
    }
    fn your_host(&mut self, _irc: &mut Irc<'_, Self>, text: &Text) {
        self.note("yourHost", &[hex(text)]);
    }
    fn bounce(&mut self, _irc: &mut Irc<'_, Self>, text: &Text) {
        self.note("bounce", &[hex(text)]);
    }
}

/// Makes a line of a server.
fn line(random: &mut Random) -> String {
    let user = random.pick(&["ada!a@h", "me!m@h", "me!m@h", "here", "eve"]);
    let channel = random.pick(&["#c", "#C", "&d", "#rust"]);
    let nick = random.pick(&["ada", "me", "Me", "bob"]);
    let target = random.pick(&["#c", "&d", "me"]);
    let words = ["hello", "a b c", "", "caf\u{e9}", ":)", "x :y", "a\tb"];
    let tagged = [
        "\u{1}ACTION waves at you\u{1}",
        "a \u{1}ACTION x\u{1} b",
        "\u{1}ACTION \\\\ \\a\u{1}",
    ];
    let text = match random.below(4) {
        0 => random.pick(&tagged),
        _ => random.pick(&words),
    };
    let modes = random.pick(&[
        ("+o", "ada"),
        ("-o", "ada"),
        ("o", "ada"),
        ("+ov-b", "a b c"),
        ("+l", "10"),
        ("-l", ""),
        ("+k", "key"),
        ("-k", "key"),
        ("+imn-st", ""),
        ("+b-b", "x y"),
        ("+o", ""),
        ("+i", "more"),
        ("-v+v", "a b"),
    ]);
    match random.below(17) {
        0 => format!(":{user} JOIN {channel}"),
        1 => format!(":{user} JOIN :{channel}"),
        2 => format!(":{user} PART {channel} :{text}"),
        3 => format!(":{user} QUIT :{text}"),
        4 => format!(":{user} NICK :{}", random.pick(&["bob", "me"])),
        5 => format!(":{user} PRIVMSG {target} :{text}"),
        6 => format!(":{user} NOTICE {target} :{text}"),
        7 => format!(":{user} PRIVMSG {target} x"),
        8 => format!(":{user} KICK {channel} {nick} :{text}"),
        9 => format!(":{user} TOPIC {channel} :{text}"),
        10 => format!(":here 332 me {channel} :{text}"),
        11 => format!(":here 331 me {channel} :No topic is set"),
        12 => format!(":{user} MODE {channel} {} {}", modes.0, modes.1),
        13 => format!(":me!m@h MODE me {}", random.pick(&["+i", "-i+w", "w"])),
        14 => format!(":here {} me :{text}", random.pick(&["002", "003", "010"])),
        15 => String::from(random.pick(&[
            ":here 372 me :- one",
            ":here 372 me :two",
            ":here 376 me :end",
            ":here 005 me PREFIX=(ov)@+ CHANMODES=b,k,l,imnst :are supported",
        ])),
        _ => String::from(random.pick(&["PING x", ":here 999 me x", "X", ":here PONG here"])),
    }
}

#[test]
fn random_lines_call_the_hooks_that_they_call_in_twisted() {
    let Some(twisted) = twisted() else { return };
    let count: usize = env::var("TORSADE_LINES").map_or(4000, |text| text.parse().unwrap());
    let mut random = Random::new(14);
    let supports = ":here 005 me PREFIX=(ov)@+ CHANMODES=b,k,l,imnst :are supported";
    let lines: Vec<String> = (0..count)
        .flat_map(|number| match number % 50 {
            0 => vec![String::from("new"), supports.into()],
            _ => vec![line(&mut random)],
        })
        .collect();
    let mut child = Command::new(twisted)
        .arg(script("twisted_irc.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let text: String = lines
        .iter()
        .map(|line| {
            if line == "new" {
                "new\n".into()
            } else {
                format!("{}\n", hex(line))
            }
        })
        .collect();
    let mut input = BufWriter::new(child.stdin.take().unwrap());
    let writer = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let theirs = String::from_utf8(output.stdout).unwrap();
    assert_eq!(theirs.lines().count(), lines.len());

    let noting = Noting::default();
    let begin = || {
        let mut wire = Wire::new(IrcClient::new(noting.clone(), Settings::new("me")));
        wire.send(":here 001 me :Welcome\r\n");
        wire
    };
    let mut wire = begin();
    let mut calls = 0;
    for (line, theirs) in lines.iter().zip(theirs.lines()) {
        match &line[..] {
            "new" => wire = begin(),
            line => wire.send(format!("{line}\r\n")),
        }
        let hooks = noting.0.take();
        calls += hooks.len();
        let nick = wire.with_protocol(|client, _cx| client.sender().nick());
        let ours = format!("{}|{}", hooks.join(";"), hex(&nick));
        assert_eq!(ours, theirs, "{line:?}");
    }
    assert!(calls > count / 2, "{calls}");
}
