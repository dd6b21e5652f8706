//! The registration: passwords, capabilities, SASL, nicknames, and time limits.

use std::time::Duration;

use crate::noting::{connect, sent, signed_on};
use support::HERE;
use torsade::protocols::irc::{Client, IrcError, Settings, Text};
use torsade::{Clock, Reactor};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_client_introduces_itself() {
    let (mut wire, _log) = connect(Settings::new("me"));
    assert_eq!(sent(&mut wire), ["NICK me", "USER me 0 * me"]);
    let settings = Settings::new("me")
        .username("user")
        .realname("A real name")
        .password("open sesame");
    let (mut wire, _log) = connect(settings);
    let expected = ["PASS :open sesame", "NICK me", "USER user 0 * :A real name"];
    assert_eq!(sent(&mut wire), expected);
}

#[test]
fn commands_wait_until_the_client_has_signed_on() {
    let (mut wire, log) = connect(Settings::new("me"));
    sent(&mut wire);
    let irc = wire.with_protocol(|client, _cx| client.sender());
    irc.join("#rust").unwrap();
    irc.say("#rust", "hello").unwrap();
    wire.send("PING :cookie\r\n");
    assert_eq!(sent(&mut wire), ["PONG cookie"]);
    assert!(!irc.is_signed_on());
    wire.send(":here 001 me :Welcome\r\n");
    assert_eq!(sent(&mut wire), ["JOIN #rust", "PRIVMSG #rust hello"]);
    assert_eq!(log.take(), [r#"SignedOn { nick: "me" }"#]);
    assert!(irc.is_signed_on());
}

#[test]
fn another_nickname_is_tried_for_one_that_is_in_use() {
    let (mut wire, log) = connect(Settings::new("me"));
    sent(&mut wire);
    wire.send(":here 433 * me :Nickname is already in use\r\n");
    assert_eq!(sent(&mut wire), ["NICK me_"]);
    wire.send(":here 436 * me_ :Nickname collision\r\n");
    assert_eq!(sent(&mut wire), ["NICK me__"]);
    wire.send(":here 001 me__ :Welcome\r\n");
    assert_eq!(log.take(), [r#"SignedOn { nick: "me__" }"#]);

    // Also later on, and by a function of the program.
    let alter = |nick: &Text| Text::from(format!("x{nick}"));
    let (mut wire, _log) = signed_on(Settings::new("me").alter_collided_nick(alter));
    let irc = wire.with_protocol(|client, _cx| client.sender());
    irc.set_nick("ada").unwrap();
    wire.send(":here 433 me ada :Nickname is already in use\r\n");
    assert_eq!(sent(&mut wire), ["NICK ada", "NICK xada"]);
}

#[test]
fn nicknames_in_use_without_end_end_the_registration() {
    let (mut wire, log) = connect(Settings::new("me"));
    sent(&mut wire);
    for _ in 0..100 {
        wire.send(":here 433 * me :Nickname is already in use\r\n");
    }
    assert_eq!(sent(&mut wire).len(), 10);
    assert!(wire.is_closed());
    assert_eq!(
        log.take(),
        [r#"lost: the server refuses the nickname "me__________""#]
    );

    // After the registration it is no reason to end.
    let (mut wire, log) = signed_on(Settings::new("me"));
    for _ in 0..20 {
        wire.send(":here 433 * me :Nickname is already in use\r\n");
    }
    assert_eq!(sent(&mut wire).len(), 10);
    assert_eq!(log.take().len(), 10);
    assert!(!wire.is_closed());
}

#[test]
fn an_erroneous_nickname_has_a_fallback_once() {
    let (mut wire, log) = connect(Settings::new("m:e").fallback_nick("other"));
    sent(&mut wire);
    wire.send(":here 432 * m:e :Erroneous nickname\r\n");
    assert_eq!(sent(&mut wire), ["NICK other"]);
    wire.send(":here 432 * other :Erroneous nickname\r\n");
    assert!(wire.is_closed());
    assert_eq!(
        log.take(),
        [r#"lost: the server refuses the nickname "other""#]
    );
    let (mut wire, log) = signed_on(Settings::new("me"));
    wire.send(":here 432 me x :Erroneous nickname\r\n");
    assert_eq!((sent(&mut wire).len(), log.take().len()), (0, 1));
}

#[test]
fn a_refusal_ends_the_registration_with_the_servers_words() {
    for reply in ["463", "464", "465"] {
        let (mut wire, log) = connect(Settings::new("me"));
        wire.send(format!(":here {reply} * :Go away\r\n"));
        assert!(wire.is_closed());
        assert_eq!(log.take(), ["lost: the server refuses the client: Go away"]);
    }
}

#[test]
fn capabilities_that_are_wanted_and_offered_are_requested() {
    let settings = Settings::new("me")
        .capability("server-time")
        .capability("odd")
        .capability("x");
    let (mut wire, log) = connect(settings);
    assert_eq!(sent(&mut wire), ["CAP LS 302", "NICK me", "USER me 0 * me"]);
    wire.send(":here CAP * LS * :a x=1,2 xx\r\n");
    assert_eq!(sent(&mut wire), [""; 0]);
    wire.send(":here CAP * LS :server-time b\r\n");
    assert_eq!(sent(&mut wire), ["CAP REQ :server-time x"]);
    wire.send(":here CAP * ACK :server-time x\r\n");
    assert_eq!(sent(&mut wire), ["CAP END"]);
    wire.send(":here 001 me :Welcome\r\n");
    let irc = wire.with_protocol(|client, _cx| client.sender());
    assert!(irc.has_capability("x") && !irc.has_capability("odd"));
    wire.send(":here CAP me DEL :x\r\n");
    assert!(!irc.has_capability("x") && irc.has_capability("server-time"));
    assert_eq!(log.take().len(), 1);

    // Nothing in common, a refusal, and a server that knows no capabilities.
    for answer in ["CAP * LS :a b", "CAP * NAK :x"] {
        let (mut wire, _log) = connect(Settings::new("me").capability("x"));
        sent(&mut wire);
        wire.send(format!(":here {answer}\r\n"));
        assert_eq!(sent(&mut wire), ["CAP END"]);
    }
    let (mut wire, log) = connect(Settings::new("me").capability("x"));
    wire.send(":here 421 * CAP :Unknown command\r\n:here 001 me :Welcome\r\n");
    assert_eq!(log.take().len(), 2);
}

#[test]
fn sasl_authenticates_before_the_client_signs_on() {
    let (mut wire, log) = connect(Settings::new("me").sasl_plain("ada", "secret"));
    assert_eq!(sent(&mut wire)[0], "CAP LS 302");
    wire.send(":here CAP * LS :multi-prefix sasl=EXTERNAL,PLAIN\r\n");
    assert_eq!(sent(&mut wire), ["CAP REQ sasl"]);
    wire.send(":here CAP * ACK :sasl\r\n");
    assert_eq!(sent(&mut wire), ["AUTHENTICATE PLAIN"]);
    wire.send("AUTHENTICATE +\r\n");
    assert_eq!(sent(&mut wire), ["AUTHENTICATE YWRhAGFkYQBzZWNyZXQ="]);
    wire.send(":here 900 me me!m@h ada :You are now logged in\r\n:here 903 me :Success\r\n");
    assert_eq!(sent(&mut wire), ["CAP END"]);
    wire.send(":here 001 me :Welcome\r\n");
    assert_eq!(log.take().len(), 2);

    // A long password goes in pieces, and one whose last piece is full has an empty one after it.
    for (length, pieces) in [(296, [400, 1].as_slice()), (297, &[400, 4])] {
        let settings = Settings::new("me").sasl_plain("a", "x".repeat(length));
        let (mut wire, _log) = connect(settings);
        wire.send(":here CAP * LS :sasl\r\n:here CAP * ACK :sasl\r\n");
        sent(&mut wire);
        wire.send("AUTHENTICATE +\r\n");
        let lengths = sent(&mut wire)
            .iter()
            .map(|line| line.len() - 13)
            .collect::<Vec<_>>();
        assert_eq!(lengths, pieces);
    }
}

#[test]
fn a_client_that_cannot_authenticate_does_not_sign_on() {
    let table = [
        ":here 001 me :Welcome",
        ":here CAP * LS :multi-prefix",
        ":here CAP * LS :sasl=EXTERNAL",
        ":here CAP * LS :sasl\r\n:here CAP * NAK :sasl",
        ":here CAP * LS :sasl\r\n:here CAP * ACK :sasl\r\n:here 904 me :Failed",
        ":here CAP * LS :sasl\r\n:here CAP * ACK :sasl\r\n:here 908 me EXTERNAL :are available",
        ":here 421 * CAP :Unknown command",
    ];
    for lines in table {
        let (mut wire, log) = connect(Settings::new("me").sasl_plain("ada", "secret"));
        wire.send(format!("{lines}\r\n:here 001 me :Welcome\r\n"));
        assert!(wire.is_closed(), "{lines}");
        let log = log.take();
        assert_eq!(log.len(), 1, "{log:?}");
        assert!(
            log[0].starts_with("lost: the authentication failed: "),
            "{log:?}"
        );
        let lines = sent(&mut wire).join("\n");
        assert!(
            !lines.contains("CAP END") && !lines.contains("YWRh"),
            "{lines}"
        );
    }
}

#[test]
fn settings_that_cannot_be_sent_end_the_connection_with_the_reason() {
    for settings in [
        Settings::new("me\r\nQUIT"),
        Settings::new("me").password("x\ny"),
        Settings::new("me").realname("x\0y"),
        Settings::new("two words"),
    ] {
        let (mut wire, log) = connect(settings);
        assert!(wire.is_closed());
        assert_eq!(sent(&mut wire), [""; 0]);
        assert!(log.take()[0].starts_with("lost: "));
    }
}

#[test]
fn a_server_that_does_not_answer_is_given_up_in_time() {
    let (mut wire, log) = connect(Settings::new("me").registration_limit(SECOND * 20));
    wire.advance(SECOND * 19);
    assert!(!wire.is_closed());
    // Noise is no answer.
    wire.send(":here NOTICE * :Looking up your hostname\r\n");
    log.take();
    wire.advance(SECOND);
    assert!(wire.is_closed());
    assert_eq!(
        log.take(),
        ["lost: the registration was not finished within 20s"]
    );
}

#[test]
fn a_missing_pong_ends_the_connection() {
    let settings = || {
        Settings::new("me")
            .heartbeat(Some(SECOND * 30))
            .pong_limit(SECOND * 10)
    };
    let (mut wire, log) = signed_on(settings());
    for _ in 0..5 {
        wire.advance(SECOND * 29);
        assert_eq!(sent(&mut wire), [""; 0]);
        wire.advance(SECOND);
        assert_eq!(sent(&mut wire), ["PING here"]);
        wire.advance(SECOND * 9);
        wire.send(":here PONG here :here\r\n");
    }
    wire.advance(SECOND * 30);
    wire.send(":ada!a@h PRIVMSG me :still here\r\n");
    wire.advance(SECOND * 10);
    assert!(wire.is_closed());
    assert_eq!(
        log.take().pop().unwrap(),
        "lost: the server did not answer a PING within 10s"
    );

    let (mut wire, _log) = signed_on(settings().heartbeat(None));
    wire.advance(SECOND * 100_000);
    assert!(!wire.is_closed() && sent(&mut wire).is_empty());
}

async fn connecting(reactor: &Reactor, words: &'static [u8], settings: Settings) -> String {
    let port = reactor
        .serve(HERE, async move |mut conn| {
            conn.write_all(words).await?;
            let closes = words.ends_with(b"ERROR :No\r\n");
            while !closes && conn.read_line(600).await?.is_some() {}
            Ok(())
        })
        .unwrap();
    let conn = reactor.connect_stream(port.local_addr()).await.unwrap();
    let failure = Client::connect(conn, settings).await.unwrap_err();
    assert!(failure.is::<IrcError>(), "{failure:?}");
    port.stop().await.unwrap();
    failure.to_string()
}

on_both! {
    async fn async_code_gets_the_reason_for_which_the_registration_failed(reactor) {
        let settings = Settings::new("me");
        let refused: &[u8] = b":here 464 * :Password incorrect\r\n";
        let error = connecting(&reactor, refused, settings.clone()).await;
        assert_eq!(error, "the server refuses the client: Password incorrect");
        let hasty = settings.clone().registration_limit(Duration::from_millis(30));
        let error = connecting(&reactor, b"", hasty).await;
        assert_eq!(error, "the registration was not finished within 30ms");
        let error = connecting(&reactor, b"NOTICE * :x\r\nERROR :No\r\n", settings).await;
        assert_eq!(error, "the server has closed the connection: No");
    }

    async fn async_code_answers_while_it_waits_and_tries_other_nicknames(reactor) {
        let port = reactor.serve(HERE, async move |mut conn| {
            assert_eq!(conn.read_line(600).await?.unwrap(), b"NICK me");
            conn.write_all(b"PING x\r\n:here 433 * me :In use\r\n").await?;
            for line in ["USER me 0 * me", "PONG x", "NICK me_"] {
                assert_eq!(conn.read_line(600).await?.unwrap(), line.as_bytes());
            }
            conn.write_all(b":here NOTICE * :early\r\n:here 001 me_ :Welcome\r\n").await?;
            assert_eq!(conn.read_line(600).await?.unwrap(), b"QUIT :so long");
            Ok(())
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let client = Client::connect(conn, Settings::new("me")).await?;
        assert_eq!(client.nick(), "me_");
        client.close("so long").await?;
        let before = reactor.now();
        port.stop().await?;
        assert!(reactor.now() - before < SECOND * 5);
    }
}
