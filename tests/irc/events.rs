//! What a server sends, as hooks and as events: the same, however it is cut, on both drivers.

use crate::noting::{Noting, sent, signed_on};
use support::{HERE, Log, until};
use torsade::Connection;
use torsade::protocols::irc::{CaseMapping, Client, IrcClient, Settings};
use torsade::testing::{Random, Wire};

/// A conversation: what a server sends after the welcome, and the events. A `*` stands for `user:
/// Prefix { nick: "ada", user: Some("a"), host: Some("h") }`.
const TABLE: &[(&str, &[&str])] = &[
    (
        ":here 002 me :Your host",
        &[r#"YourHost { text: "Your host" }"#],
    ),
    (
        ":here 003 me :Since then",
        &[r#"Created { text: "Since then" }"#],
    ),
    (
        ":here 004 me here 1.0 aoi lkb",
        &[r#"MyInfo { server: "here", version: "1.0", user_modes: "aoi", channel_modes: "lkb" }"#],
    ),
    (
        ":here 005 me CHANMODES=b,k,l,imnt PREFIX=(ov)@+ CASEMAPPING=rfc1459 :are supported",
        &[
            r#"Isupport { tokens: ["CHANMODES=b,k,l,imnt", "PREFIX=(ov)@+", "CASEMAPPING=rfc1459"] }"#,
        ],
    ),
    (
        ":here 010 me there 6667 :Go there",
        &[r#"Bounce { text: "Go there" }"#],
    ),
    (
        ":here 251 me :There are 3 users",
        &[r#"Lusers { reply: 251, count: None, text: "There are 3 users" }"#],
    ),
    (
        ":here 252 me 7 :operators online",
        &[r#"Lusers { reply: 252, count: Some(7), text: "operators online" }"#],
    ),
    (":here 375 me :- here -", &[]),
    (":here 372 me :- one", &[]),
    (":here 372 me :- two", &[]),
    (":here 376 me :End", &[r#"Motd { lines: ["one", "two"] }"#]),
    (":here 422 me :No MOTD", &["Motd { lines: [] }"]),
    (":me!m@h JOIN #Rust", &[r##"Joined { channel: "#Rust" }"##]),
    (":here 353 me = #Rust :@ada me", &[]),
    (":here 353 me = #rust :+bob", &[]),
    (
        ":here 366 me #rust :End",
        &[r##"Names { channel: "#rust", names: ["@ada", "me", "+bob"] }"##],
    ),
    (
        ":here 332 me #rust :the topic",
        &[
            r##"TopicUpdated { user: Prefix { nick: "here", user: None, host: None }, channel: "#rust", topic: "the topic" }"##,
        ],
    ),
    (
        ":here 331 me #rust :No topic is set",
        &[
            r##"TopicUpdated { user: Prefix { nick: "here", user: None, host: None }, channel: "#rust", topic: "" }"##,
        ],
    ),
    (
        ":ada!a@h JOIN #rust",
        &[r##"UserJoined { *, channel: "#rust" }"##],
    ),
    (
        ":ada!a@h PART #rust :tired",
        &[r##"UserLeft { *, channel: "#rust", reason: "tired" }"##],
    ),
    (
        ":ada!a@h PART #rust",
        &[r##"UserLeft { *, channel: "#rust", reason: "" }"##],
    ),
    (
        ":ada!a@h QUIT :gone",
        &[r#"UserQuit { *, reason: "gone" }"#],
    ),
    (":ada!a@h NICK eve", &[r#"UserRenamed { *, nick: "eve" }"#]),
    (
        ":ada!a@h PRIVMSG #rust :hello there",
        &[r##"Privmsg { *, target: "#rust", text: "hello there" }"##],
    ),
    (
        ":ada!a@h PRIVMSG me psst",
        &[r#"Privmsg { *, target: "me", text: "psst" }"#],
    ),
    (":ada!a@h PRIVMSG me :", &[]),
    (
        ":ada!a@h NOTICE me :note",
        &[r#"Notice { *, target: "me", text: "note" }"#],
    ),
    (
        "NOTICE * :from the server",
        &[
            r#"Notice { user: Prefix { nick: "here", user: None, host: None }, target: "*", text: "from the server" }"#,
        ],
    ),
    (
        ":ada!a@h PRIVMSG #rust :\x01ACTION waves\x01",
        &[r##"Action { *, target: "#rust", text: "waves" }"##],
    ),
    (
        ":ada!a@h PRIVMSG me :\x01DCC SEND x 1 2\x01 see this",
        &[
            r#"CtcpQuery { *, target: "me", tag: "DCC", data: "SEND x 1 2" }"#,
            r#"Privmsg { *, target: "me", text: " see this" }"#,
        ],
    ),
    (
        ":ada!a@h NOTICE me :\x01VERSION x 1\x01",
        &[r#"CtcpReply { *, tag: "VERSION", data: "x 1" }"#],
    ),
    (
        ":ada!a@h MODE #rust +ov-l+b me bob *!*@x",
        &[
            r##"ModeChanged { *, target: "#rust", is_set: true, modes: [Mode { letter: 'o', param: Some("me") }, Mode { letter: 'v', param: Some("bob") }, Mode { letter: 'b', param: Some("*!*@x") }] }"##,
            r##"ModeChanged { *, target: "#rust", is_set: false, modes: [Mode { letter: 'l', param: None }] }"##,
        ],
    ),
    (
        ":me MODE me :+i",
        &[
            r#"ModeChanged { user: Prefix { nick: "me", user: None, host: None }, target: "me", is_set: true, modes: [Mode { letter: 'i', param: None }] }"#,
        ],
    ),
    (
        ":ada!a@h MODE #rust +o",
        &[
            r##"Other(Message { tags: [], prefix: Some(Prefix { nick: "ada", user: Some("a"), host: Some("h") }), command: "MODE", params: ["#rust", "+o"] })"##,
        ],
    ),
    (
        ":ada!a@h TOPIC #rust :new",
        &[r##"TopicUpdated { *, channel: "#rust", topic: "new" }"##],
    ),
    (
        ":ada!a@h INVITE me #c",
        &[r##"Invited { *, nick: "me", channel: "#c" }"##],
    ),
    (
        ":ada!a@h KICK #rust bob :out",
        &[
            r##"UserKicked { nick: "bob", channel: "#rust", kicker: Prefix { nick: "ada", user: Some("a"), host: Some("h") }, reason: "out" }"##,
        ],
    ),
    (
        ":ada!a@h KICK #RUST ME",
        &[
            r##"KickedFrom { channel: "#RUST", kicker: Prefix { nick: "ada", user: Some("a"), host: Some("h") }, reason: "" }"##,
        ],
    ),
    (":ME!m@h JOIN #b", &[r##"Joined { channel: "#b" }"##]),
    (":me!m@h PART #b", &[r##"Left { channel: "#b" }"##]),
    (":ME NICK Me2", &[r#"NickChanged { nick: "Me2" }"#]),
    (":me2!m@h NICK me", &[r#"NickChanged { nick: "me" }"#]),
    (
        ":prefixonly",
        &[r#"BadMessage { error: NoCommand { line: ":prefixonly" } }"#],
    ),
    ("", &[]),
    (
        "@time=now;x :here 999 me :?",
        &[
            r#"Other(Message { tags: [("time", "now"), ("x", "")], prefix: Some(Prefix { nick: "here", user: None, host: None }), command: "999", params: ["me", "?"] })"#,
        ],
    ),
    ("PING :a b", &[]),
    ("ERROR :Closing", &[r#"Error { text: "Closing" }"#]),
];

const USER: &str = r#"user: Prefix { nick: "ada", user: Some("a"), host: Some("h") }"#;

fn text() -> Vec<u8> {
    let lines = TABLE.iter().map(|(line, _)| format!("{line}\r\n"));
    let mut text: Vec<u8> = lines.collect::<String>().into();
    text.extend_from_slice(b":ada!a@h PRIVMSG #caf\xe9 :\xff\xfe\r\n");
    text
}

fn expected() -> Vec<String> {
    let events = TABLE.iter().flat_map(|(_, events)| *events);
    let last = r##"Privmsg { *, target: b"#caf\xe9", text: b"\xff\xfe" }"##;
    let events = events.chain([&last]);
    events
        .map(|event| {
            event
                .replace('*', USER)
                .replace(&format!("\"{USER}!{USER}@x\""), "\"*!*@x\"")
                .replace(&format!("target: \"{USER}\""), "target: \"*\"")
        })
        .collect()
}

#[test]
fn each_message_calls_its_hook() {
    let (mut wire, log) = signed_on(Settings::new("me"));
    for (line, events) in TABLE {
        wire.send(format!("{line}\r\n"));
        assert_eq!(log.take().len(), events.len(), "{line}");
    }
    assert!(!wire.is_closed());
    assert_eq!(sent(&mut wire), ["PONG :a b"]);
}

#[test]
fn hooks_are_the_same_however_the_bytes_are_cut() {
    let (text, expected) = (text(), expected());
    let mut random = Random::new(7);
    let sizes = [1, 2, 3, 7, 64, 1000, text.len()];
    for most in sizes {
        let (mut wire, log) = signed_on(Settings::new("me"));
        let mut rest = &text[..];
        while !rest.is_empty() {
            let size = if most < 3 {
                most
            } else {
                1 + random.below(most)
            };
            let (piece, left) = rest.split_at(size.min(rest.len()));
            wire.send(piece);
            rest = left;
        }
        let found = log.take();
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "pieces of {most}");
        }
        assert_eq!(found.len(), expected.len());
        wire.reset();
    }
}

/// Welcomes a client, sends the text in pieces, and closes.
async fn serve(mut conn: Connection, size: usize) -> Result<(), torsade::Failure> {
    while conn
        .read_line(600)
        .await?
        .is_some_and(|line| !line.starts_with(b"USER"))
    {}
    conn.write_all(b":here 001 me :Welcome\r\n").await?;
    for piece in text().chunks(size) {
        conn.write_all(piece).await?;
        torsade::yield_now().await;
    }
    Ok(())
}

on_both! {
    async fn events_of_async_code_are_those_of_the_hooks(reactor) {
        for size in [1, 50, 10_000] {
            let port = reactor.serve(HERE, move |conn| serve(conn, size))?;
            let conn = reactor.connect_stream(port.local_addr()).await?;
            let mut client = Client::connect(conn, Settings::new("me")).await?;
            let mut found = Vec::new();
            let end = loop {
                match client.next_event().await {
                    Ok(event) => found.push(format!("{:?}", event.expect("it has not quit"))),
                    Err(end) => break end,
                }
            };
            assert_eq!(found.remove(0), r#"SignedOn { nick: "me" }"#);
            assert_eq!(found, expected());
            assert_eq!(end.to_string(), "the server has closed the connection: Closing");
            assert_eq!(client.next_event().await?, None);
            assert!(client.say("#c", "x").is_err());
            port.stop().await?;
        }
    }

    async fn hooks_are_called_over_a_connection(reactor) {
        let port = reactor.serve(HERE, |conn| serve(conn, 13))?;
        let log = Log::new();
        let client = IrcClient::new(Noting(log.clone()), Settings::new("me"));
        reactor.connect(port.local_addr(), client).await?;
        until(|| log.all().last().is_some_and(|last| last.starts_with("lost"))).await;
        let mut found = log.take();
        assert_eq!(found.remove(0), r#"SignedOn { nick: "me" }"#);
        let last = found.pop().unwrap();
        assert_eq!(last, "lost: the server has closed the connection: Closing");
        assert_eq!(found, expected());
        port.stop().await?;
    }
}

#[test]
fn channels_and_the_nickname_are_known_whatever_their_case() {
    let (mut wire, _log) = signed_on(Settings::new("Me[x]"));
    let irc = wire.with_protocol(|client, _cx| client.sender());
    // The welcome says another nickname than the one that was requested: the server's counts.
    assert_eq!(irc.nick(), "me");
    assert_eq!(irc.server(), "here");
    wire.send(":ME!m@h JOIN #a,#b{}\r\n:me JOIN #C\r\n");
    assert_eq!(irc.channels(), ["#a", "#b{}", "#C"]);
    wire.send(":me JOIN #A\r\n:me PART #B[]\r\n:x KICK #c mE\r\n:other PART #a\r\n");
    assert_eq!(irc.channels(), ["#a"]);
    assert!(irc.is_me("ME") && irc.is_same("#x[]", "#X{}"));
    wire.send(":here 005 me CASEMAPPING=ascii :ok\r\n");
    assert_eq!(irc.support().case_mapping(), CaseMapping::Ascii);
    assert!(!irc.is_same("#x[]", "#X{}"));
    drop(wire);
}

#[test]
fn what_the_server_supports_is_typed() {
    let (mut wire, _log) = signed_on(Settings::new("me"));
    let irc = wire.with_protocol(|client, _cx| client.sender());
    let defaults = irc.support();
    assert_eq!(
        (
            defaults.nick_len(),
            defaults.channel_len(),
            defaults.modes()
        ),
        (9, 200, Some(3))
    );
    assert_eq!(defaults.chan_types(), b"#&");
    assert_eq!(
        defaults.prefix(),
        [(b'o', b'@'), (b'v', b'+'), (b'h', b'%')]
    );
    assert_eq!(
        (
            defaults.excepts(),
            defaults.topic_len(),
            defaults.safe_list()
        ),
        (None, None, false)
    );
    wire.send(
        ":here 005 me CHANLIMIT=#&:25,!: CHANNELLEN=50 CHANTYPES=# EXCEPTS INVEX=J KICKLEN=180 \
         MAXLIST=b:60,e:40 MODES NETWORK=Free\\x20Net NICKLEN=31 :are supported\r\n\
         :here 005 me PREFIX=(qo)~@ SAFELIST STATUSMSG=@+ TARGMAX=KICK:1,LIST: TOPICLEN=390 \
         IDCHAN=!:5 ODD=\\x4 X=\\xzz\\x41 :are supported\r\n",
    );
    let support = irc.support();
    let pairs = |pairs: Vec<(torsade::protocols::irc::Text, Option<usize>)>| format!("{pairs:?}");
    assert_eq!(
        pairs(support.chan_limit()),
        r##"[("#&", Some(25)), ("!", None)]"##
    );
    assert_eq!(
        pairs(support.max_list()),
        r#"[("b", Some(60)), ("e", Some(40))]"#
    );
    assert_eq!(
        pairs(support.targ_max()),
        r#"[("KICK", Some(1)), ("LIST", None)]"#
    );
    assert_eq!(pairs(support.id_chan()), r#"[("!", Some(5))]"#);
    assert_eq!(
        (support.excepts(), support.invex()),
        (Some(b'e'), Some(b'J'))
    );
    assert_eq!(
        (support.modes(), support.kick_len(), support.topic_len()),
        (None, Some(180), Some(390))
    );
    assert_eq!((support.nick_len(), support.channel_len()), (31, 50));
    assert_eq!(support.network().unwrap(), &"Free Net");
    assert_eq!(support.prefix(), [(b'q', b'~'), (b'o', b'@')]);
    assert_eq!(support.unmarked(b"~@ada"), b"ada");
    assert_eq!(
        (support.status_msg(), support.safe_list()),
        (&b"@+"[..], true)
    );
    assert_eq!(support.get("ODD").unwrap(), &"\\x4");
    assert_eq!(support.get("X").unwrap(), &"\\xzzA");
    assert!(support.is_channel("#x") && !support.is_channel("&x"));
    wire.send(":here 005 me -NICKLEN -SAFELIST CHANTYPES= :are supported\r\n");
    let support = irc.support();
    assert_eq!((support.nick_len(), support.safe_list()), (9, false));
    assert!(!support.is_channel("#x"));
}

#[test]
fn a_protocol_in_memory_needs_no_server() {
    let log = Log::new();
    let mut wire = Wire::new(IrcClient::new(Noting(log.clone()), Settings::new("me")));
    wire.send_eof();
    assert!(wire.is_closed());
    assert_eq!(log.take().len(), 1);
}
