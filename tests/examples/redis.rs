//! The Redis client of the examples: its codec, a scripted server in memory, and `redis-server`.

#[allow(dead_code, reason = "the shell uses the rest")]
#[path = "../../examples/redis/client.rs"]
mod client;
#[path = "../../examples/redis/pool.rs"]
mod pool;
#[allow(dead_code, reason = "the shell uses the rest")]
#[path = "../../examples/redis/resp.rs"]
mod resp;

use std::time::Duration;

use futures::future::join_all;

use self::client::{Commands, Redis, RedisError};
use self::pool::Pool;
use self::resp::{Resp, RespError, Value};
use support::{HERE, Log, until};
use torsade::protocols::{Encoder, FrameBuffer};
use torsade::testing::{self, Random};
use torsade::{Clock, Connection, Failure, Handle, Reactor};

const SECOND: Duration = Duration::from_secs(1);

fn bulk(text: &str) -> Value {
    Value::Bulk(text.into())
}

/// Each kind of reply, and its value.
fn replies() -> Vec<(&'static [u8], Value)> {
    vec![
        (b"+OK\r\n", Value::Simple("OK".into())),
        (b"-ERR no\r\n", Value::Error("ERR no".into())),
        (b"!6\r\nERR\r\nx\r\n", Value::Error("ERR\r\nx".into())),
        (b":-42\r\n", Value::Integer(-42)),
        (b"$-1\r\n", Value::Null),
        (b"*-1\r\n", Value::Null),
        (b"_\r\n", Value::Null),
        (b"$0\r\n\r\n", bulk("")),
        (b"$7\r\n\r\n$5\r\n*\r\n", bulk("\r\n$5\r\n*")),
        (b"#t\r\n", Value::Boolean(true)),
        (b",3.25\r\n", Value::Double(3.25)),
        (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
        (
            b"(3492890328409238509324850943850943825024385\r\n",
            Value::BigNumber("3492890328409238509324850943850943825024385".into()),
        ),
        (
            b"=8\r\ntxt:some\r\n",
            Value::Verbatim("txt".into(), b"some".to_vec()),
        ),
        (b"*0\r\n", Value::Array(vec![])),
        (
            b"*3\r\n:1\r\n*2\r\n+a\r\n$1\r\nb\r\n_\r\n",
            Value::Array(vec![
                Value::Integer(1),
                Value::Array(vec![Value::Simple("a".into()), bulk("b")]),
                Value::Null,
            ]),
        ),
        (
            b"%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n",
            Value::Map(vec![
                (Value::Simple("a".into()), Value::Integer(1)),
                (Value::Simple("b".into()), Value::Array(vec![])),
            ]),
        ),
        (b"~1\r\n:5\r\n", Value::Set(vec![Value::Integer(5)])),
        (
            b">2\r\n+message\r\n$2\r\nhi\r\n",
            Value::Push(vec![Value::Simple("message".into()), bulk("hi")]),
        ),
    ]
}

#[test]
fn each_kind_of_reply_is_read_however_the_bytes_are_cut() {
    let (text, values): (Vec<_>, Vec<_>) = replies().into_iter().unzip();
    let text = text.concat();
    let mut random = Random::new(1);
    for size in (1..=text.len()).chain([0; 50]) {
        let mut buffer = FrameBuffer::new(Resp::new());
        let (mut found, mut rest) = (Vec::new(), &text[..]);
        while !rest.is_empty() {
            let count = if size == 0 {
                1 + random.below(20)
            } else {
                size
            };
            let (piece, left) = rest.split_at(count.min(rest.len()));
            buffer.feed(piece);
            while let Some(value) = buffer.next_frame() {
                found.push(value.unwrap());
            }
            rest = left;
        }
        assert_eq!(found, values);
    }
}

#[test]
fn a_large_reply_that_arrives_byte_by_byte_is_looked_at_once() {
    let mut text = b"*200000\r\n".to_vec();
    for _ in 0..200_000 {
        text.extend_from_slice(b":7\r\n");
    }
    let mut buffer = FrameBuffer::new(Resp::new());
    for byte in &text {
        buffer.feed(&[*byte]);
        match buffer.next_frame() {
            Some(Ok(Value::Array(values))) => return assert_eq!(values.len(), 200_000),
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    panic!("it is not complete");
}

#[test]
fn what_is_no_reply_is_an_error_that_says_what_was_found() {
    for (text, limit, error) in [
        (&b"HTTP/1.1 200 OK\r\n"[..], 100, RespError::Type(b'H')),
        (b":12x\r\n", 100, RespError::Line(":12x\\r\\n".into())),
        (b"+OK\n", 100, RespError::Line("+OK\\n".into())),
        (b"$-2\r\n", 100, RespError::Line("$-2\\r\\n".into())),
        (b"#maybe\r\n", 100, RespError::Line("#maybe\\r\\n".into())),
        (b"$3\r\nabcde", 100, RespError::NoEnd),
        (b"$101\r\n", 100, RespError::TooLarge(100)),
        (b"$99999999999999999999\r\n", 100, RespError::Line("$99999999999999999999\\r\\n".into())),
        (b"*1000000000\r\n", 100, RespError::TooLarge(100)),
        (b"*9\r\n$40\r\n0123456789012345678901234567890123456789\r\n$40\r\n0123456789012345678901234567890123456789\r\n$40\r\n0123456789012345678901234567890123456789\r\n",
            100, RespError::TooLarge(100)),
        (&b"*1\r\n".repeat(40), 10_000, RespError::TooDeep),
        (&[b'+'; 70_000], 100_000, RespError::TooLarge(65_536)),
    ] {
        let mut buffer = FrameBuffer::new(Resp::with_limit(limit));
        buffer.feed(text);
        assert_eq!(buffer.next_frame(), Some(Err(error)));
    }
}

#[test]
fn a_command_is_an_array_of_strings() {
    let mut out = Vec::new();
    Resp::new()
        .encode(&["SET", "k\r\n", ""][..], &mut out)
        .unwrap();
    assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n");
}

/// The next command that the server gets, as words.
async fn next_command(conn: &mut Connection) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let Some(count) = conn.read_line(80).await? else {
        return Err(Failure::new("the client has left"));
    };
    let count: usize = String::from_utf8_lossy(&count[1..]).parse()?;
    for _ in 0..count {
        conn.read_line(80).await?;
        let word = conn.read_line(80).await?.unwrap_or_default();
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Ok(words)
}

/// A client, and the server's end of its connection.
async fn pair(reactor: &Reactor) -> Result<(Handle<Redis>, Connection), Failure> {
    let mut port = reactor.bind(HERE)?;
    let client = reactor.connect(port.local_addr(), Redis::new()).await?;
    Ok((client, port.accept().await?))
}

fn error(failure: &Failure) -> RedisError {
    failure.find::<RedisError>().cloned().unwrap()
}

on_both! {
    async fn commands_are_pipelined_and_replies_come_in_order(reactor) {
        let (client, mut server) = pair(&reactor).await?;
        let replies = join_all((0..100).map(|n| client.command(&["ECHO", &n.to_string()])));
        let serving = async {
            for n in 0..100 {
                assert_eq!(next_command(&mut server).await?, ["ECHO", &n.to_string()]);
            }
            for n in 0..100 {
                // A push may come between two replies.
                server.write_all(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n").await?;
                server.write_all(format!(":{n}\r\n").as_bytes()).await?;
            }
            Ok::<_, Failure>(())
        };
        let (replies, served) = futures::future::join(replies, serving).await;
        served?;
        for (n, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply?, Value::Integer(n as i64));
        }
        for _ in 0..100 {
            assert_eq!(client.next_message().await?.payload, b"m");
        }
    }

    async fn an_error_of_the_server_fails_its_command_only(reactor) {
        let (client, mut server) = pair(&reactor).await?;
        let (bad, good) = (client.command(&["X"]), client.command(&["PING"]));
        server.write_all(b"-ERR unknown command\r\n+PONG\r\n").await?;
        let failure = bad.await.unwrap_err();
        assert_eq!(error(&failure), RedisError::Refused("ERR unknown command".into()));
        assert_eq!(good.await?, Value::Simple("PONG".into()));
    }

    async fn a_cancelled_command_keeps_its_place(reactor) {
        let (client, mut server) = pair(&reactor).await?;
        let first = client.command(&["A"]);
        let second = client.command(&["B"]);
        assert_eq!(next_command(&mut server).await?, ["A"]);
        first.cancel();
        server.write_all(b":1\r\n:2\r\n").await?;
        assert_eq!(second.await?, Value::Integer(2));
        assert!(first.await.is_err());
    }

    async fn a_lost_connection_says_which_commands_were_sent(reactor) {
        let (client, mut server) = pair(&reactor).await?;
        let sent = client.command(&["INCR", "n"]);
        next_command(&mut server).await?;
        drop(server);
        assert_eq!(error(&sent.await.unwrap_err()), RedisError::NoReply);
        until(|| !client.is_connected()).await;
        let late = client.command(&["INCR", "n"]);
        assert_eq!(error(&late.await.unwrap_err()), RedisError::NotSent);
    }

    async fn replies_without_a_request_and_garbage_end_the_connection(reactor) {
        for bytes in [&b"+OK\r\n"[..], b"HTTP/1.1 400 Bad Request\r\n", b"$-5\r\n"] {
            let (client, mut server) = pair(&reactor).await?;
            server.write_all(bytes).await?;
            until(|| !client.is_connected()).await;
        }
    }
}

#[test]
fn a_pool_makes_as_many_connections_as_it_may_and_closes_idle_ones() {
    testing::run(async |reactor| {
        let log = Log::new();
        let to = log.clone();
        let clock = reactor.clone();
        let port = reactor.serve(HERE, async move |mut conn| {
            to.note("connected");
            loop {
                match next_command(&mut conn).await {
                    Ok(words) if words == ["SLOW"] => clock.sleep(SECOND).await?,
                    Ok(_) => {}
                    Err(_) => break,
                }
                if conn.write_all(b"+OK\r\n").await.is_err() {
                    break;
                }
            }
            to.note("gone");
            Ok(())
        })?;
        let pool = Pool::new(&reactor, port.local_addr().to_string(), 3, 10 * SECOND)?;
        let start = reactor.now();
        let slow = |pool: Pool| async move {
            pool.with(async |redis| redis.command(&["SLOW"]).await)
                .await
        };
        for done in join_all((0..9).map(|_| slow(pool.clone()))).await {
            assert_eq!(done??, Value::Simple("OK".into()));
        }
        assert_eq!((reactor.now() - start).as_secs(), 3, "three at a time");
        assert_eq!((pool.made(), log.count("connected")), (3, 3));
        // A use that is cancelled ends its connection, for a reply would still come.
        let cancelled = reactor.timeout(SECOND / 2, slow(pool.clone())).await;
        assert!(cancelled.is_err());
        reactor.sleep(2 * SECOND).await?;
        assert_eq!(log.count("gone"), 1);
        // One that was idle for long is not used again.
        reactor.sleep(11 * SECOND).await?;
        slow(pool.clone()).await??;
        assert_eq!((pool.made(), log.count("gone")), (4, 3));
        drop(pool);
        port.stop().await?;
        port.lose_connections(SECOND).await?;
        Ok(())
    });
}

#[cfg(target_os = "linux")]
mod with_a_server {
    use std::io::Write;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use support::folder::Folder;
    use support::foreign::need;
    use support::program::example_path;
    use torsade::testing::run_on;

    /// A `redis-server` on a UNIX socket.
    struct Server(Child, Folder);

    impl Server {
        fn start() -> Option<Self> {
            let program = need("redis-server")?;
            let folder = Folder::create();
            let child = Command::new(program)
                .args(["--port", "0", "--save", "", "--unixsocket"])
                .arg(folder.path("redis"))
                .arg("--dir")
                .arg(folder.path(""))
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            Some(Self(child, folder))
        }

        fn address(&self) -> String {
            format!("unix:{}", self.1.path("redis").display())
        }

        async fn client(&self, reactor: &Reactor) -> Result<Handle<Redis>, Failure> {
            for _ in 0..500 {
                if let Ok(client) = reactor.connect(self.address().as_str(), Redis::new()).await {
                    client.greet(None, 0).await?;
                    return Ok(client);
                }
                reactor.sleep(SECOND / 100).await?;
            }
            Err(Failure::new("redis-server does not answer"))
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_hundred_thousand_pipelined_commands_have_the_right_replies() {
        let Some(server) = Server::start() else {
            return;
        };
        run_on(Reactor::new().unwrap(), async |reactor| {
            let client = server.client(&reactor).await?;
            let replies = (0..100_000).map(|_| client.command(&["INCR", "n"]));
            for (n, reply) in join_all(replies).await.into_iter().enumerate() {
                assert_eq!(reply?, Value::Integer(n as i64 + 1));
            }
            let big = vec![7; 5 << 20];
            client.command(&[&b"SET"[..], b"big", &big]).await?;
            assert_eq!(client.command(&["GET", "big"]).await?, Value::Bulk(big));
            let failure = client.command(&["INCR", "big"]).await.unwrap_err();
            assert!(matches!(error(&failure), RedisError::Refused(_)));
            client.lose_connection();
            Ok(())
        });
    }

    #[test]
    fn messages_of_a_channel_arrive_beside_replies() {
        let Some(server) = Server::start() else {
            return;
        };
        run_on(Reactor::new().unwrap(), async |reactor| {
            let (listener, speaker) = (
                server.client(&reactor).await?,
                server.client(&reactor).await?,
            );
            assert_eq!(listener.subscribe("news").await?, Value::Integer(1));
            for n in 0..100 {
                let count = speaker
                    .command(&["PUBLISH", "news", &n.to_string()])
                    .await?;
                assert_eq!(count, Value::Integer(1));
                // The protocol's version 3 allows commands on a connection that subscribes.
                assert_eq!(listener.command(&["ECHO", "x"]).await?, bulk("x"));
                let message = listener.next_message().await?;
                assert_eq!(message.channel, b"news");
                assert_eq!(message.payload, n.to_string().as_bytes());
            }
            for client in [listener, speaker] {
                client.lose_connection();
            }
            Ok(())
        });
    }

    #[test]
    fn the_shell_prints_replies_and_reconnects_when_the_server_was_away() {
        let Some(server) = Server::start() else {
            return;
        };
        run_on(Reactor::new().unwrap(), async |reactor| {
            server.client(&reactor).await?.lose_connection();
            Ok(())
        });
        let mut shell = Command::new(example_path("redis"))
            .arg(server.address())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = [
            "set greeting hello",
            "get greeting",
            "lpush list a b c",
            "lrange list 0 -1",
            "incr greeting",
            "get nothing",
            "client kill type normal skipme no",
            "get greeting",
            "get greeting",
        ];
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(lines.join("\n").as_bytes())
            .unwrap();
        let output = shell.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut answers: Vec<_> = text.lines().collect();
        // The one before it may be an error: the connection was lost at that moment.
        assert_eq!(answers.pop(), Some("\"hello\""), "{text}");
        let all = [
            "OK",
            "\"hello\"",
            "(integer) 3",
            "1) \"c\"",
            "2) \"b\"",
            "3) \"a\"",
            "(error) ERR value is not an integer or out of range",
            "(nil)",
        ];
        assert_eq!(answers[..all.len()], all);
    }
}
