//! Messages as lines: parsed, written, cut into pieces, damaged.

use torsade::protocols::irc::{IrcCodec, IrcError, Message, Prefix, Text};
use torsade::protocols::{Encoder, FrameBuffer};
use torsade::testing::Random;

fn parsed(line: &[u8]) -> String {
    match Message::parse(line) {
        Ok(message) => {
            let tags: Vec<_> = message
                .tags
                .iter()
                .map(|(k, v)| format!("{k}={v:?}"))
                .collect();
            let prefix = message
                .prefix
                .map(|p| format!("{:?} {:?} {:?}", p.nick, p.user, p.host));
            format!(
                "{tags:?} {prefix:?} {} {:?}",
                message.command, message.params
            )
        }
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn a_line_is_parsed_into_tags_prefix_command_and_parameters() {
    let table: [(&[u8], &str); 18] = [
        (b"PING", "[] None PING []"),
        (b"ping x", r#"[] None PING ["x"]"#),
        (b"A :b c", r#"[] None A ["b c"]"#),
        (b"A b :", r#"[] None A ["b", ""]"#),
        (b"A  b   c ", r#"[] None A ["b", "c"]"#),
        (b"A b:c d", r#"[] None A ["b:c", "d"]"#),
        (
            b":n!u@h 001 x",
            r#"[] Some("\"n\" Some(\"u\") Some(\"h\")") 001 ["x"]"#,
        ),
        (b":irc.here A", r#"[] Some("\"irc.here\" None None") A []"#),
        (b":n@h A", r#"[] Some("\"n\" None Some(\"h\")") A []"#),
        (
            b"@a=1;b;c=\\:\\s\\\\\\r\\n\\x\\ A",
            r#"["a=\"1\"", "b=\"\"", "c=\"; \\\\\\r\\nx\""] None A []"#,
        ),
        (
            b"@a=\xff :n A \xfe",
            r#"["a=b\"\\xff\""] Some("\"n\" None None") A [b"\xfe"]"#,
        ),
        (
            b":prefix-only",
            r#"error: the line ":prefix-only" has no command"#,
        ),
        (b"@tag", r#"error: the line "@tag" has no command"#),
        (b":", r#"error: the line ":" has no command"#),
        (b"1234 x", r#"error: "1234" is not a command"#),
        (b"A1", r#"error: "A1" is not a command"#),
        (b"\xff\xff x", r#"error: b"\xff\xff" is not a command"#),
        (b"A b\0c", "error: a message contains the byte 0x00"),
    ];
    for (line, expected) in table {
        assert_eq!(parsed(line), expected, "{}", line.escape_ascii());
    }
}

fn random_text(random: &mut Random, alphabet: &[u8], most: usize) -> Vec<u8> {
    (0..random.below(most))
        .map(|_| random.pick(alphabet))
        .collect()
}

fn random_message(random: &mut Random) -> Message {
    let word: &[u8] = b"abc#\xff\xc3\xa4\x01:;\\,";
    let mut message = Message::new(random.pick(&["PRIVMSG", "001", "x"]), None::<Text>);
    message.command = message.command.to_uppercase();
    for _ in 0..random.below(3) {
        let value = random_text(random, b"a;= \\\r\n\xff", 6);
        message.tags.push(("key/x".into(), value.into()));
    }
    if random.below(2) == 0 {
        let part = |random: &mut Random| Text::from(random_text(random, b"ab.-\xff", 5));
        let nick = part(random);
        message.prefix = Some(Prefix {
            nick,
            user: (random.below(2) == 0).then(|| part(random)),
            host: (random.below(2) == 0).then(|| part(random)),
        });
    }
    for _ in 0..random.below(4) {
        let mut param = vec![b'p'];
        param.extend(random_text(random, word, 8));
        message.params.push(param.into());
    }
    if random.below(2) == 0 {
        let last = random_text(random, b"a :\xff,", 10);
        message.params.push(last.into());
    }
    message
}

#[test]
fn what_is_written_is_found_again_however_it_is_cut() {
    let mut random = Random::new(21);
    for _ in 0..2000 {
        let messages: Vec<_> = (0..5).map(|_| random_message(&mut random)).collect();
        let mut text = Vec::new();
        for message in &messages {
            IrcCodec::new().encode(message, &mut text).unwrap();
            let noise: &[u8] = random.pick(&[&b""[..], b"\r\n", b"\n", b"  \r\n"]);
            text.extend_from_slice(noise);
        }
        let mut found = Vec::new();
        let mut buffer = FrameBuffer::new(IrcCodec::new());
        let mut rest = &text[..];
        while !rest.is_empty() {
            let most = random.pick(&[1, 3, 40]);
            let (piece, left) = rest.split_at(rest.len().min(1 + random.below(most)));
            buffer.feed(piece);
            while let Some(message) = buffer.next_frame() {
                found.push(message.unwrap());
            }
            rest = left;
        }
        assert_eq!(found, messages, "{}", text.escape_ascii());
        assert_eq!(buffer.take_rest(), b"");
    }
}

#[test]
fn no_message_is_written_as_two_lines() {
    let mut random = Random::new(22);
    let bytes: Vec<u8> = (0..=255).chain(b"\r\n\0 :\r\n\0 :".repeat(20)).collect();
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut message = Message::new("PRIVMSG", None::<Text>);
        for _ in 0..random.below(4) {
            message
                .params
                .push(random_text(&mut random, &bytes, 6).into());
        }
        if random.below(3) == 0 {
            message.command = String::from_utf8_lossy(&random_text(&mut random, &bytes, 4)).into();
        }
        if random.below(3) == 0 {
            message.prefix = Some(Prefix::new(random_text(&mut random, &bytes, 4)));
        }
        if random.below(3) == 0 {
            let name = random_text(&mut random, &bytes, 3);
            let value = random_text(&mut random, &bytes, 6);
            message.tags.push((name.into(), value.into()));
        }
        let mut out = b"before ".to_vec();
        match IrcCodec::new().encode(&message, &mut out) {
            Ok(()) => {
                let line = out
                    .strip_prefix(b"before ")
                    .unwrap()
                    .strip_suffix(b"\r\n")
                    .unwrap();
                assert!(
                    !line.iter().any(|byte| b"\r\n\0".contains(byte)),
                    "{message:?}"
                );
                let again = Message::parse(line).unwrap();
                assert_eq!(again.params, message.params);
            }
            Err(_) => {
                refused += 1;
                assert_eq!(out, b"before ");
            }
        }
        let shown = message.to_string();
        assert!(!shown.contains(['\r', '\n', '\0']), "{shown:?}");
    }
    assert!((2000..18_000).contains(&refused), "{refused}");
}

#[test]
fn a_line_may_be_as_long_as_the_limits_and_no_longer() {
    let mut codec = IrcCodec::new();
    let mut out = Vec::new();
    let text = |length| Message::new("A", ["x".repeat(length)]);
    assert_eq!(codec.encode(text(508), &mut out), Ok(()));
    assert_eq!(out.len(), IrcCodec::MAX_LENGTH);
    let too_long = |limit| Err(IrcError::LineTooLong { limit });
    assert_eq!(codec.encode(text(509), &mut out), too_long(512));
    assert_eq!(out.len(), IrcCodec::MAX_LENGTH);

    let mut tagged = text(508);
    tagged.tags.push(("k".into(), "v".repeat(8191 - 4).into()));
    out.clear();
    assert_eq!(codec.encode(&tagged, &mut out), Ok(()));
    assert_eq!(out.len(), 8191 + 512);
    let mut buffer = FrameBuffer::new(IrcCodec::new());
    buffer.feed(&out);
    assert_eq!(buffer.next_frame(), Some(Ok(tagged.clone())));
    tagged.tags[0].1 = "v".repeat(8191 - 3).into();
    assert_eq!(codec.encode(&tagged, &mut out), too_long(8191));

    buffer.feed(&[b'x'; 8702]);
    assert_eq!(buffer.next_frame(), Some(too_long(8701).map(|()| tagged)));
    buffer.feed(b"more\r\nPING :y\r\n");
    assert_eq!(buffer.next_frame(), Some(Ok(Message::new("PING", ["y"]))));
}

#[test]
fn lines_end_as_servers_end_them() {
    let mut buffer = FrameBuffer::new(IrcCodec::new());
    buffer.feed(b"A b\nA b\r\n\r\r\n\nA b\r\r\nA \rb\r\n");
    for _ in 0..4 {
        assert_eq!(buffer.next_frame(), Some(Ok(Message::new("A", ["b"]))));
    }
    assert_eq!(buffer.next_frame(), None);
}

#[test]
fn random_bytes_give_messages_or_errors_and_never_a_panic() {
    let mut random = Random::new(23);
    let (mut good, mut bad) = (0, 0);
    let mut buffer = FrameBuffer::new(IrcCodec::new());
    for _ in 0..50_000 {
        let line = random_text(&mut random, b"@:=;!\\ A1\r\n\0\xffpq ", 30);
        buffer.feed(&line);
        buffer.feed(b"\n");
        while let Some(found) = buffer.next_frame() {
            match found {
                Ok(message) => {
                    let mut out = Vec::new();
                    IrcCodec::new().encode(&message, &mut out).unwrap();
                    let again = Message::parse(out.strip_suffix(b"\r\n").unwrap()).unwrap();
                    assert_eq!(again, message);
                    good += 1;
                }
                Err(_) => bad += 1,
            }
        }
    }
    assert!(good > 1000 && bad > 1000, "{good} {bad}");
}
