//! Servers and users that mean no good: noise, floods, lists without end, silence.

use std::time::Duration;

use crate::noting::{sent, signed_on};
use support::HERE;
use torsade::protocols::irc::{Client, Event, IrcError, Settings};
use torsade::testing::Random;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn random_lines_neither_panic_nor_end_the_connection() {
    let mut random = Random::new(41);
    let commands = [
        "001",
        "002",
        "003",
        "004",
        "005",
        "010",
        "251",
        "252",
        "301",
        "311",
        "312",
        "313",
        "317",
        "318",
        "319",
        "330",
        "331",
        "332",
        "353",
        "366",
        "372",
        "375",
        "376",
        "401",
        "421",
        "422",
        "432",
        "433",
        "437",
        "464",
        "903",
        "904",
        "CAP",
        "AUTHENTICATE",
        "PING",
        "PONG",
        "NICK",
        "JOIN",
        "PART",
        "QUIT",
        "KICK",
        "TOPIC",
        "MODE",
        "INVITE",
        "PRIVMSG",
        "NOTICE",
        "X",
    ];
    let words: [&[u8]; 16] = [
        b"me",
        b"ME",
        b"#c",
        b"#c,#d",
        b"ada",
        b"+ov-l",
        b"-",
        b":",
        b":a b",
        b"*",
        b"LS",
        b"ACK",
        b":\x01PING 1\x01",
        b":\x01\x01\x01",
        b"\xff\xfe",
        b"99999999999999999999",
    ];
    for round in 0..30 {
        let settings = Settings::new("me").version("1").time(String::new);
        let (mut wire, log) = signed_on(settings);
        let irc = wire.with_protocol(|client, _cx| client.sender());
        let mut text = Vec::new();
        for _ in 0..300 {
            drop(irc.whois("ada").add_both(drop));
            if random.below(2) == 0 {
                text.extend_from_slice(random.pick(&[&b":ada!a@h "[..], b":me ", b": ", b"@a "]));
            }
            text.extend_from_slice(random.pick(&commands).as_bytes());
            for _ in 0..random.below(6) {
                text.push(b' ');
                text.extend_from_slice(random.pick(&words));
            }
            text.extend_from_slice(random.pick(&[&b"\r\n"[..], b"\n", b"\r\n\r\n"]));
        }
        for piece in text.chunks(1 + random.below(200)) {
            wire.send(piece);
        }
        assert!(!wire.is_closed(), "round {round}: {:?}", log.all().last());
        assert!(!log.is_empty());
        wire.take_received();
        wire.reset();
    }
}

#[test]
fn random_bytes_neither_panic_nor_end_the_connection() {
    let mut random = Random::new(42);
    let (mut wire, log) = signed_on(Settings::new("me"));
    for _ in 0..2000 {
        let noise: Vec<u8> = (0..random.below(100))
            .map(|_| random.below(256) as u8)
            .collect();
        wire.send(noise);
    }
    assert!(!wire.is_closed());
    assert!(
        log.take()
            .iter()
            .any(|event| event.starts_with("BadMessage"))
    );
    wire.send("\nPING still\r\n");
    assert_eq!(sent(&mut wire).pop().unwrap(), "PONG still");
}

#[test]
fn an_endless_line_is_reported_once_and_takes_no_memory() {
    let (mut wire, log) = signed_on(Settings::new("me"));
    for _ in 0..1000 {
        wire.send([b'x'; 10_000]);
    }
    let found = log.take();
    assert_eq!(found, ["BadMessage { error: LineTooLong { limit: 8701 } }"]);
    wire.send("\r\nPING x\r\n");
    assert_eq!(sent(&mut wire), ["PONG x"]);
    assert!(log.is_empty());
}

#[test]
fn a_flood_of_queries_has_few_answers() {
    let (mut wire, log) = signed_on(Settings::new("me").version("1"));
    for number in 0..1000 {
        wire.send(format!(
            ":u{number}!a@h PRIVMSG me :\u{1}PING {number}\u{1}\r\n"
        ));
    }
    assert_eq!(sent(&mut wire).len(), 4);
    wire.advance(SECOND * 4);
    wire.send(":ada!a@h PRIVMSG me \u{1}VERSION\u{1}\r\n".repeat(100));
    assert_eq!(sent(&mut wire).len(), 1);
    assert!(log.is_empty());
}

#[test]
fn an_answer_that_does_not_fit_is_not_sent() {
    let (mut wire, log) = signed_on(Settings::new("me"));
    let long = "x".repeat(600);
    wire.send(format!(
        "PING :{long}\r\n:ada!a@h PRIVMSG me :\u{1}PING {long}\u{1}\r\n"
    ));
    assert_eq!(sent(&mut wire), [""; 0]);
    assert!(log.is_empty() && !wire.is_closed());
}

#[test]
fn lists_without_end_are_kept_up_to_a_limit() {
    let (mut wire, log) = signed_on(Settings::new("me"));
    let irc = wire.with_protocol(|client, _cx| client.sender());
    // Each of the names takes 24 bytes beside its own, and so does the channel's; 4 MiB are kept.
    let most = (4 * 1024 * 1024 - 26) / 25;
    let names = "x ".repeat(250);
    for _ in 0..700 {
        wire.send(format!(":here 353 me = #c :{names}\r\n"));
    }
    wire.send(":here 366 me #c :End\r\n");
    let events = log.take();
    assert_eq!(
        (events.len(), events[0].matches("\"x\"").count()),
        (1, most)
    );
    for _ in 0..700 {
        wire.send(":here 372 me :- x\r\n".repeat(250));
    }
    wire.send(":here 376 me :End\r\n");
    assert_eq!(log.take()[0].matches("\"x\"").count(), 4 * 1024 * 1024 / 25);
    // Names of a thousand channels at once.
    for number in 0..5000 {
        wire.send(format!(":here 353 me = #{number} :x\r\n"));
    }
    wire.send(":here 366 me #999 :End\r\n:here 366 me #1000 :End\r\n");
    assert_eq!(log.take().concat().matches("\"x\"").count(), 1);
    for number in 0..999 {
        wire.send(format!(":here 366 me #{number} :End\r\n"));
    }
    log.take();
    for number in 0..1100 {
        wire.send(format!(":me JOIN #{number}\r\n"));
    }
    assert_eq!(irc.channels().len(), 1000);
    log.take();
    // Another list has its space again.
    wire.send(":here 353 me = #c :a b\r\n:here 366 me #c :End\r\n");
    assert_eq!(
        log.take(),
        [r##"Names { channel: "#c", names: ["a", "b"] }"##]
    );
    for number in 0..2000 {
        wire.send(format!(":here 005 me K{number}=1 :ok\r\n"));
    }
    assert_eq!(irc.support().iter().count(), 1000);
}

#[test]
fn a_server_that_says_it_closes_and_does_not_is_given_up() {
    let (mut wire, log) = signed_on(Settings::new("me"));
    wire.send("ERROR :Closing link\r\nERROR :Closing link again\r\n");
    wire.advance(SECOND * 4);
    assert!(!wire.is_closed());
    wire.advance(SECOND);
    assert!(wire.is_closed());
    let last = log.take().pop().unwrap();
    assert_eq!(
        last,
        "lost: the server has closed the connection: Closing link again"
    );
}

#[test]
fn a_server_that_takes_nothing_is_not_answered_without_end() {
    let (mut wire, _log) = signed_on(Settings::new("me"));
    let transport = wire.transport().clone();
    // Nothing is taken from the wire, so the answers stay in the queue; then nothing is read.
    for _ in 0..200 {
        wire.send("PING xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(100));
    }
    assert!(transport.is_connected());
    assert!(
        transport.queued() <= transport.limits().high + 64 * 100,
        "{}",
        transport.queued()
    );
}

on_both! {
    async fn a_server_that_floods_and_reads_nothing_does_not_fill_the_memory(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(b":here 001 me :Welcome\r\n").await?;
            let text = b"PING xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(100);
            loop {
                conn.write_all(&text).await?;
            }
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let transport = conn.transport();
        let settings = Settings::new("me")
            .heartbeat(Some(Duration::from_millis(100)))
            .pong_limit(Duration::from_millis(300));
        let mut client = Client::connect(conn, settings).await?;
        let mut most = 0;
        let end = loop {
            match client.next_event().await {
                Ok(event) => assert_eq!(event, Some(Event::SignedOn { nick: "me".into() })),
                Err(end) => break end,
            }
            most = most.max(transport.queued());
        };
        assert!(end.is::<IrcError>(), "{end:?}");
        assert!(most < 2 * 1024 * 1024, "{most}");
        port.stop().await?;
    }

    async fn a_server_that_never_answers_does_not_fill_the_memory_with_events(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(b":here 001 me :Welcome\r\n").await?;
            conn.write_all(&b":x PRIVMSG me hello\r\n".repeat(4096)).await?;
            while conn.read_line(600).await?.is_some() {}
            Ok(())
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let mut client = Client::connect(conn, Settings::new("me")).await?;
        let failure = client.whois("ada").await.unwrap_err();
        assert_eq!(failure.downcast_ref(), Some(&IrcError::TooManyEvents { limit: 4096 }));
        let text = failure.to_string();
        assert!(text.starts_with("more than 4096 events have arrived before"), "{text}");
        drop(client);
        port.stop().await?;
    }

    async fn a_server_that_falls_silent_is_given_up(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            conn.write_all(b":here 001 me :Welcome\r\n").await?;
            while conn.read_line(600).await?.is_some() {}
            Ok(())
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let settings = Settings::new("me")
            .heartbeat(Some(Duration::from_millis(20)))
            .pong_limit(Duration::from_millis(30));
        let mut client = Client::connect(conn, settings).await?;
        client.next_event().await?;
        let end = client.next_event().await.unwrap_err();
        assert_eq!(end.to_string(), "the server did not answer a PING within 30ms");
        port.stop().await?;
    }
}
