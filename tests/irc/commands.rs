//! What a client sends: commands, long texts, CTCP, at a limited rate; and its goodbye.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::noting::{Client as Wired, connect, sent, signed_on};
use support::HERE;
use torsade::Reactor;
use torsade::protocols::irc::{
    Client, Event, Irc, IrcClient, IrcError, IrcProtocol, IrcSender, Message, Settings, Text,
};
use torsade::testing::{Random, Wire};

const SECOND: Duration = Duration::from_secs(1);
const NOTHING: [&str; 0] = [];

fn sender(wire: &mut Wired) -> IrcSender {
    wire.with_protocol(|client, _cx| client.sender())
}

#[test]
fn each_command_is_one_line() {
    let (mut wire, _log) = signed_on(Settings::new("me"));
    let irc = sender(&mut wire);
    type Act = fn(&IrcSender) -> Result<(), IrcError>;
    let table: [(Act, &str); 31] = [
        (|irc| irc.join("rust"), "JOIN #rust"),
        (|irc| irc.join("&rust"), "JOIN &rust"),
        (|irc| irc.join("a,#b,c"), "JOIN #a,#b,#c"),
        (|irc| irc.join("+rust"), "JOIN +rust"),
        (|irc| irc.join_with_key("#rust", "key"), "JOIN #rust key"),
        (|irc| irc.leave("rust", ""), "PART #rust"),
        (|irc| irc.leave("rust", "so long"), "PART #rust :so long"),
        (|irc| irc.kick("rust", "ada", ""), "KICK #rust ada"),
        (|irc| irc.kick("rust", "ada", "a b"), "KICK #rust ada :a b"),
        (|irc| irc.invite("ada", "rust"), "INVITE ada #rust"),
        (|irc| irc.topic("rust", "a b"), "TOPIC #rust :a b"),
        (|irc| irc.topic("rust", ""), "TOPIC #rust :"),
        (|irc| irc.ask_topic("rust"), "TOPIC #rust"),
        (|irc| irc.names("rust"), "NAMES #rust"),
        (
            |irc| irc.mode("#rust", "+ov-l", ["a", "b"]),
            "MODE #rust +ov-l a b",
        ),
        (|irc| irc.mode("me", "", NOTHING), "MODE me"),
        (
            |irc| irc.say("rust", "hello there"),
            "PRIVMSG #rust :hello there",
        ),
        (|irc| irc.say("rust", ":-)"), "PRIVMSG #rust ::-)"),
        (|irc| irc.msg("ada", "hello"), "PRIVMSG ada hello"),
        (|irc| irc.notice("ada", "hello"), "NOTICE ada hello"),
        (
            |irc| irc.describe("#rust", "waves"),
            "PRIVMSG #rust :\u{1}ACTION waves\u{1}",
        ),
        (
            |irc| irc.describe("ada", "\\\u{1}"),
            "PRIVMSG ada :\u{1}ACTION \\\\\\a\u{1}",
        ),
        (|irc| irc.set_nick("you"), "NICK you"),
        (|irc| irc.away("at lunch"), "AWAY :at lunch"),
        (|irc| irc.back(), "AWAY"),
        (|irc| irc.ping("ada"), "PRIVMSG ada :\u{1}PING 1\u{1}"),
        (
            |irc| irc.ctcp_query("ada", "VERSION", ""),
            "PRIVMSG ada \u{1}VERSION\u{1}",
        ),
        (
            |irc| irc.ctcp_reply("ada", "TIME", "now"),
            "NOTICE ada :\u{1}TIME now\u{1}",
        ),
        (|irc| irc.send(&Message::new("who", ["#rust"])), "WHO #rust"),
        (|irc| irc.msg("ada", ""), ""),
        (|irc| irc.msg("ada", "\r\n \n"), ""),
    ];
    for (act, line) in table {
        assert_eq!(act(&irc), Ok(()), "{line}");
        let expected: Vec<&str> = Some(line)
            .into_iter()
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(sent(&mut wire), expected);
    }
    assert_eq!(irc.quit("good bye"), Ok(()));
    assert_eq!(sent(&mut wire), ["QUIT :good bye"]);
}

/// Whatever a peer says is used in every place of every command; there is one line, or an error.
#[test]
fn nothing_that_a_peer_says_makes_a_command_two_lines() {
    let mut random = Random::new(31);
    let (mut wire, _log) = signed_on(Settings::new("me"));
    let irc = sender(&mut wire);
    let mut refused = 0;
    for _ in 0..3000 {
        let text: Vec<u8> = (0..random.below(8))
            .map(|_| random.pick(b"\r\n\0\x01 :#,ab\xff@!"))
            .collect();
        let word = String::from_utf8_lossy(&text).into_owned();
        let results = [
            irc.join(&text),
            irc.join_with_key(&text, &text),
            irc.leave(&text, &text),
            irc.kick(&text, &text, &text),
            irc.invite(&text, &text),
            irc.topic(&text, &text),
            irc.mode(&text, &word, [&text]),
            irc.set_nick(&text[..]),
            irc.away(&text),
            irc.ping(&text),
            irc.ctcp_query(&text, &word, &text),
            irc.ctcp_reply(&text, &word, &text),
            irc.send(&Message::new(word.clone(), [&text[..], &text])),
        ];
        let lines = wire.take_received();
        let accepted = results.iter().filter(|result| result.is_ok()).count();
        refused += results.len() - accepted;
        assert_eq!(
            lines.iter().filter(|byte| **byte == b'\n').count(),
            accepted
        );
        assert_eq!(
            lines.iter().filter(|byte| **byte == b'\r').count(),
            accepted
        );
        // Text is split at the ends of lines; each piece is a message to the same target.
        let pieces = word
            .split(['\r', '\n'])
            .filter(|line| !line.trim_matches(' ').is_empty())
            .count();
        for (act, is_wrapped) in [
            (IrcSender::say as fn(&_, _, _) -> _, false),
            (IrcSender::describe, true),
        ] {
            let result: Result<(), IrcError> = act(&irc, "#c", &text[..]);
            let lines = wire.take_received();
            let count = lines
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .count();
            assert_eq!(
                count,
                if result.is_ok() { pieces } else { 0 },
                "{is_wrapped} {word:?}"
            );
            let all_are_messages = lines
                .split(|byte| *byte == b'\n')
                .all(|line| line.is_empty() || line.starts_with(b"PRIVMSG #c "));
            assert!(all_are_messages, "{}", lines.escape_ascii());
        }
    }
    assert!(refused > 10_000, "{refused}");
}

#[test]
fn long_text_is_split_so_that_the_server_can_put_the_longest_prefix_before_it() {
    let (mut wire, _log) = signed_on(Settings::new("me"));
    let irc = sender(&mut wire);
    wire.send(":here 005 me NICKLEN=30 :are supported\r\n");
    let prefix = format!(":{}!{}@{} ", "n".repeat(30), "u".repeat(10), "h".repeat(63));
    let mut random = Random::new(32);
    for round in 0..200 {
        let text: String = (0..random.below(3000))
            .map(|_| {
                random.pick(&[
                    'a',
                    'b',
                    'ä',
                    '€',
                    '😀',
                    if round % 2 == 0 { ' ' } else { 'x' },
                ])
            })
            .collect();
        irc.say("#channel", &text).unwrap();
        irc.describe("#channel", &text).unwrap();
        irc.notice("ada", &text).unwrap();
        let lines = sent(&mut wire);
        assert!(
            lines
                .iter()
                .all(|line| prefix.len() + line.len() + 2 <= 512)
        );
        let said = lines
            .iter()
            .filter(|line| line.starts_with("PRIVMSG") && !line.contains('\u{1}'));
        let said: String = said
            .map(|line| &line["PRIVMSG #channel ".len()..])
            .collect();
        let kept = |text: &str| text.replace([' ', ':'], "");
        assert_eq!(kept(&said), kept(&text));
    }
    irc.say("#channel", "word ".repeat(300)).unwrap();
    let lines = sent(&mut wire);
    assert!((4..=5).contains(&lines.len()), "{}", lines.len());
    assert!(lines.iter().all(|line| line.trim_end().ends_with("word")));
    assert_eq!(
        irc.msg("x".repeat(400), "hello"),
        Err(IrcError::NoSpaceForText)
    );
    assert_eq!(
        irc.msg("ada", "one\ntwo\0three"),
        Err(IrcError::ForbiddenByte { found: 0 })
    );
    assert_eq!(sent(&mut wire), NOTHING, "all or nothing");
}

#[test]
fn lines_leave_at_their_rate_and_answers_to_ping_and_quit_do_not_wait() {
    let settings = Settings::new("me").line_rate(3, SECOND * 2);
    let (mut wire, _log) = signed_on(settings);
    let irc = sender(&mut wire);
    for number in 1..=8 {
        irc.say("#c", number.to_string()).unwrap();
    }
    assert_eq!(
        sent(&mut wire),
        ["PRIVMSG #c 1", "PRIVMSG #c 2", "PRIVMSG #c 3"]
    );
    wire.send("PING x\r\n");
    assert_eq!(sent(&mut wire), ["PONG x"]);
    wire.advance(SECOND);
    assert_eq!(sent(&mut wire), NOTHING);
    wire.advance(SECOND);
    assert_eq!(sent(&mut wire), ["PRIVMSG #c 4"]);
    wire.advance(SECOND * 4);
    assert_eq!(sent(&mut wire), ["PRIVMSG #c 5", "PRIVMSG #c 6"]);
    irc.quit("").unwrap();
    assert_eq!(sent(&mut wire), ["QUIT"]);
    assert_eq!(irc.say("#c", "late"), Err(IrcError::NotConnected));
    wire.advance(SECOND * 4);
    assert_eq!(sent(&mut wire), NOTHING);
}

#[test]
fn the_queue_has_a_limit() {
    let settings = Settings::new("me").line_rate(1, SECOND).queue_limit(3);
    let (mut wire, _log) = signed_on(settings);
    let irc = sender(&mut wire);
    let results: Vec<_> = (0..6).map(|_| irc.say("#c", "x").is_ok()).collect();
    assert_eq!(results, [true, true, true, true, false, false]);
    assert_eq!(irc.say("#c", "x"), Err(IrcError::QueueFull { limit: 3 }));
    wire.advance(SECOND);
    assert_eq!(irc.say("#c", "x\ny"), Err(IrcError::QueueFull { limit: 3 }));
    assert_eq!(irc.say("#c", "y"), Ok(()));
    wire.advance(SECOND * 10);
    assert_eq!(sent(&mut wire).len(), 5);
}

#[test]
fn after_quit_the_connection_is_closed_by_the_server_or_in_five_seconds() {
    let (mut wire, log) = signed_on(Settings::new("me"));
    let irc = sender(&mut wire);
    irc.quit("bye").unwrap();
    wire.send("ERROR :Closing link\r\n");
    wire.send_eof();
    assert!(wire.is_closed());
    let lost = log.take().pop().unwrap();
    assert!(
        lost.starts_with("lost: ") && !lost.contains("server"),
        "{lost}"
    );

    let (mut wire, _log) = signed_on(Settings::new("me"));
    sender(&mut wire).quit("bye").unwrap();
    wire.advance(SECOND * 4);
    assert!(!wire.is_closed());
    wire.advance(SECOND);
    assert!(wire.is_closed());
    assert_eq!(sent(&mut wire), ["QUIT bye"]);
}

#[test]
fn commands_after_the_end_say_so() {
    let (mut wire, log) = signed_on(Settings::new("me"));
    let irc = sender(&mut wire);
    let whois = irc.whois("ada");
    wire.send_eof();
    assert_eq!(log.take().len(), 1);
    assert_eq!(irc.join("#c"), Err(IrcError::NotConnected));
    assert_eq!(irc.quit(""), Err(IrcError::NotConnected));
    assert!(!irc.is_signed_on());
    for deferred in [whois, irc.whois("bob")] {
        let failure = torsade::testing::failure_of(deferred);
        assert!(failure.is::<IrcError>() || failure.is::<torsade::ConnectionError>());
    }
}

#[test]
fn whois_is_collected() {
    let (mut wire, log) = signed_on(Settings::new("me"));
    let irc = sender(&mut wire);
    let found = Rc::new(RefCell::new(Vec::new()));
    for nick in ["Ada", "ada", "nobody", "me"] {
        let found = found.clone();
        drop(irc.whois(nick).add_both(move |result| match result {
            Ok(whois) => found.borrow_mut().push(format!("{whois:?}")),
            Err(failure) => found.borrow_mut().push(failure.to_string()),
        }));
    }
    assert_eq!(sent(&mut wire), ["WHOIS Ada", "WHOIS nobody", "WHOIS me"]);
    wire.send(
        ":here 311 me ada a host.example * :Ada L.\r\n:here 319 me ada :@#rust #c\r\n\
         :here 312 me ada irc.example :The server\r\n:here 313 me ada :is an operator\r\n\
         :here 401 me nobody :No such nick\r\n:here 318 me nobody :End\r\n\
         :here 317 me ada 77 1700000000 :seconds idle\r\n:here 330 me ada acct :is logged in as\r\n\
         :here 301 me ada :at lunch\r\n:here 319 me ada +#x\r\n:here 318 me ADA :End\r\n\
         :here 311 me ada x y * z\r\n",
    );
    let expected = "Whois { nick: \"ada\", user: \"a\", host: \"host.example\", realname: \"Ada L.\", \
        server: \"irc.example\", is_operator: true, idle: Some(77s), channels: [\"@#rust\", \"#c\", \
        \"+#x\"], account: Some(\"acct\"), away: Some(\"at lunch\") }";
    assert_eq!(
        *found.borrow(),
        ["there is no user \"nobody\"", expected, expected]
    );
    // An answer without a request is passed on: the ends of lists that are over.
    assert_eq!(log.take().len(), 2);
    wire.send(":here 318 me me :End\r\n");
    assert_eq!(found.borrow().last().unwrap(), "there is no user \"me\"");
}

#[test]
fn ctcp_queries_are_answered_by_the_settings() {
    let settings = Settings::new("me")
        .version("bot 1.0")
        .finger("me")
        .source("https://example.org")
        .user_info("a bot")
        .time(|| String::from("noon"));
    let (mut wire, log) = signed_on(settings);
    let all = "ACTION CLIENTINFO ERRMSG FINGER PING SOURCE TIME USERINFO VERSION";
    for (query, answer) in [
        ("PING 1 2", "PING 1 2"),
        ("version", "VERSION bot 1.0"),
        ("FINGER", "FINGER me"),
        ("SOURCE", "SOURCE https://example.org"),
        ("USERINFO", "USERINFO a bot"),
        ("TIME", "TIME noon"),
        ("ERRMSG x", "ERRMSG x :No error has occurred"),
        ("CLIENTINFO", &format!("CLIENTINFO {all}")),
    ] {
        wire.send(format!(":ada!a@h PRIVMSG me :\u{1}{query}\u{1}\r\n"));
        assert_eq!(sent(&mut wire), [format!("NOTICE ada :\u{1}{answer}\u{1}")]);
        wire.advance(SECOND * 4);
    }
    assert!(log.is_empty());
    // Each kind once for each message, and never an answer to oneself.
    wire.send(":ada!a@h PRIVMSG me :\u{1}PING 1\u{1}\u{1}PING 2\u{1}\u{1}TIME\u{1}\r\n");
    assert_eq!(sent(&mut wire).len(), 2);
    wire.send(":me!a@h PRIVMSG me :\u{1}PING 1\u{1}\r\n");
    assert_eq!(sent(&mut wire), NOTHING);

    let (mut wire, log) = signed_on(Settings::new("me"));
    wire.send(":ada!a@h PRIVMSG me :\u{1}VERSION\u{1}\r\n:ada!a@h PRIVMSG me \u{1}TIME\u{1}\r\n");
    assert_eq!(sent(&mut wire), NOTHING);
    assert_eq!(log.take().len(), 2, "the program may answer");
    wire.send(":ada!a@h PRIVMSG me \u{1}CLIENTINFO\u{1}\r\n");
    let answer = "NOTICE ada :\u{1}CLIENTINFO ACTION CLIENTINFO ERRMSG PING\u{1}";
    assert_eq!(sent(&mut wire), [answer]);
}

#[test]
fn the_answer_to_a_ping_says_how_long_it_took() {
    let (mut wire, log) = signed_on(Settings::new("me"));
    let irc = sender(&mut wire);
    irc.ping("ada").unwrap();
    wire.advance(SECOND * 3);
    wire.send(":ada!a@h NOTICE me :\u{1}PING 1\u{1}\r\n:ada!a@h NOTICE me :\u{1}PING 1\u{1}\r\n");
    let log = log.take();
    assert!(
        log[0].starts_with("Pong {") && log[0].ends_with("delay: 3s }"),
        "{log:?}"
    );
    assert!(
        log[1].starts_with("CtcpReply {"),
        "an answer counts once: {log:?}"
    );
}

/// Says goodbye later, by a timer.
struct Brief;

impl IrcProtocol for Brief {
    fn connection_made(&mut self, irc: &mut Irc<'_, Self>) {
        irc.join("#early").unwrap();
    }

    fn signed_on(&mut self, irc: &mut Irc<'_, Self>) {
        irc.call_later(SECOND, |_brief, irc| irc.quit("time is over").unwrap());
        irc.context()
            .call_later(SECOND * 60, |_brief, cx| cx.abort_connection());
    }

    fn alter_collided_nick(&mut self, irc: &mut Irc<'_, Self>, nick: &Text) -> Text {
        assert!(!irc.is_signed_on());
        [b"not-", &nick[..]].concat().into()
    }
}

#[test]
fn hooks_use_timers_and_choose_nicknames() {
    let mut wire = Wire::new(IrcClient::new(Brief, Settings::new("me")));
    wire.take_received();
    wire.send(":here 433 * me :In use\r\n");
    assert_eq!(wire.take_received(), b"NICK not-me\r\n");
    wire.send(":here 001 not-me :Welcome\r\n");
    assert_eq!(wire.take_received(), b"JOIN #early\r\n");
    wire.advance(SECOND);
    assert_eq!(wire.take_received(), b"QUIT :time is over\r\n");
    let (wire, _log) = connect(Settings::new("me"));
    drop(wire);
}

/// A server for async code: answers `WHOIS ada`, and sends a message before that.
async fn serve(reactor: &Reactor) -> torsade::Port {
    let served = reactor.serve(HERE, async |mut conn| {
        conn.write_all(b":here 001 me :Welcome\r\n").await?;
        while let Some(line) = conn.read_line(600).await? {
            if line == b"WHOIS ada" {
                let text =
                    ":x PRIVMSG me first\r\n:here 311 me ada a h * :Ada\r\n:here 318 me ada :\r\n";
                conn.write_all(text.as_bytes()).await?;
            } else if line.starts_with(b"QUIT") {
                conn.write_all(b":me QUIT\r\nERROR :Closing\r\n").await?;
                return Ok(());
            }
        }
        Ok(())
    });
    served.unwrap()
}

on_both! {
    async fn async_code_asks_and_loses_no_event_meanwhile(reactor) {
        let port = serve(&reactor).await;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let mut client = Client::connect(conn, Settings::new("me")).await?;
        let whois = client.whois("ada").await?;
        assert_eq!((whois.nick, whois.realname), ("ada".into(), "Ada".into()));
        assert_eq!(client.next_event().await?, Some(Event::SignedOn { nick: "me".into() }));
        let Some(Event::Privmsg { text, .. }) = client.next_event().await? else {
            panic!("the message was lost");
        };
        assert_eq!(text, "first");
        client.quit("")?;
        let mut last = None;
        while let Some(event) = client.next_event().await? {
            last = Some(event);
        }
        assert_eq!(last, Some(Event::Error { text: "Closing".into() }));
        port.stop().await?;
    }
}
