//! A client of Redis: pipelined commands, messages of channels, and errors that say what is known
//! of a command whose connection is lost.

use std::collections::VecDeque;
use std::fmt;

use torsade::DeferredQueue;
use torsade::prelude::*;
use torsade::protocols::{FrameProtocol, Rejected};

use super::resp::{Resp, RespError, Value};

/// The protocol of one connection. Its [`Handle`] is the client: see [`Commands`].
pub(super) struct Redis {
    codec: Resp,
    /// The commands that were sent, in the order in which their replies come.
    sent: VecDeque<Pending>,
    /// The subscriptions that were sent, and those whose messages are awaited.
    subscribing: VecDeque<Pending>,
    messages: DeferredQueue<Message>,
}

/// A message of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) channel: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RedisError {
    /// The server has refused the command.
    Refused(String),
    /// The connection was lost before the command was sent: it may be sent again.
    NotSent,
    /// The connection was lost after the command was sent: the server may have carried it out.
    NoReply,
}

/// A command, from the call to the reply. When it is dropped before, its Deferred fails.
struct Pending {
    resolver: Option<Resolver<Value>>,
    is_sent: bool,
}

impl Redis {
    pub(super) fn new() -> Self {
        Self {
            codec: Resp::new(),
            sent: VecDeque::new(),
            subscribing: VecDeque::new(),
            messages: DeferredQueue::new(),
        }
    }

    fn push(&mut self, values: Vec<Value>) {
        let mut words = values.into_iter();
        let kind = words.next();
        let all = (kind, words.next(), words.next());
        // Pushes of other kinds were not requested.
        let (Some(Value::Bulk(kind)), Some(Value::Bulk(channel)), Some(last)) = all else {
            return;
        };
        match last {
            Value::Bulk(payload) if kind == b"message" => {
                // It has no limit, so it is never full.
                let _ = self.messages.put(Message { channel, payload });
            }
            count => {
                if let Some(pending) = self.subscribing.pop_front() {
                    pending.resolve(count);
                }
            }
        }
    }
}

impl FrameProtocol for Redis {
    type Codec = Resp;

    fn codec(&mut self) -> &mut Resp {
        &mut self.codec
    }

    fn frame_received(&mut self, cx: &mut Context<'_, Self>, reply: Value) {
        match (reply, self.sent.is_empty()) {
            (Value::Push(values), _) => self.push(values),
            (_, true) => cx.abort_connection(),
            (reply, false) => {
                if let Some(pending) = self.sent.pop_front() {
                    pending.resolve(reply);
                }
            }
        }
    }

    fn frame_rejected(&mut self, cx: &mut Context<'_, Self>, rejected: Rejected<'_, RespError>) {
        eprintln!("{}: {}", cx.peer(), rejected.error);
        cx.abort_connection();
    }
}

/// The methods of a client, which is a [`Handle`] to its protocol.
pub(super) trait Commands {
    /// Sends a command, without waiting for the replies to those before. Cancelling the Deferred
    /// drops the reply; the command is sent all the same.
    fn command<T: AsRef<[u8]>>(&self, words: &[T]) -> Deferred<Value>;

    /// Subscribes to a channel, whose messages [`Commands::next_message`] returns.
    fn subscribe(&self, channel: &str) -> Deferred<Value>;

    /// Waits for the next message of any channel.
    fn next_message(&self) -> impl Future<Output = Result<Message, Failure>>;

    /// Says which version of the protocol is spoken, who the client is, and which database it uses.
    fn greet(&self, login: Option<(&str, &str)>, database: u32) -> Deferred<()>;
}

impl Commands for Handle<Redis> {
    fn command<T: AsRef<[u8]>>(&self, words: &[T]) -> Deferred<Value> {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_ref().into()).collect();
        let (deferred, mut pending) = Pending::pair();
        self.post(move |redis, cx| {
            let Ok(()) = redis.send(cx, &words[..]);
            pending.is_sent = true;
            redis.sent.push_back(pending);
        });
        deferred.then_check()
    }

    fn subscribe(&self, channel: &str) -> Deferred<Value> {
        let words = ["SUBSCRIBE".into(), channel.to_string()];
        let (deferred, mut pending) = Pending::pair();
        self.post(move |redis, cx| {
            let Ok(()) = redis.send(cx, &words[..]);
            pending.is_sent = true;
            redis.subscribing.push_back(pending);
        });
        deferred
    }

    async fn next_message(&self) -> Result<Message, Failure> {
        let messages = self.ask(|redis, _cx| redis.messages.clone()).await?;
        messages.get().await
    }

    fn greet(&self, login: Option<(&str, &str)>, database: u32) -> Deferred<()> {
        let mut hello = vec!["HELLO", "3"];
        if let Some((name, password)) = login {
            hello.extend(["AUTH", name, password]);
        }
        let (hello, select) = (
            self.command(&hello),
            self.command(&["SELECT", &database.to_string()]),
        );
        Deferred::from_future(async move {
            hello.await?;
            select.await.map(drop)
        })
    }
}

/// An error of the server is a failure.
trait ThenCheck {
    fn then_check(self) -> Self;
}

impl ThenCheck for Deferred<Value> {
    fn then_check(self) -> Self {
        self.add_callback(|reply| match reply {
            Value::Error(text) => Err(Failure::new(RedisError::Refused(text))),
            reply => Ok(reply),
        })
    }
}

impl Pending {
    fn pair() -> (Deferred<Value>, Self) {
        let (deferred, resolver) = Deferred::pair();
        let resolver = Some(resolver);
        (
            deferred,
            Self {
                resolver,
                is_sent: false,
            },
        )
    }

    fn resolve(mut self, reply: Value) {
        if let Some(resolver) = self.resolver.take() {
            resolver.callback(reply);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(resolver) = self.resolver.take() {
            resolver.errback(match self.is_sent {
                true => RedisError::NoReply,
                false => RedisError::NotSent,
            });
        }
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) => f.write_str(text),
            Self::NotSent => f.write_str("not sent: there is no connection"),
            Self::NoReply => f.write_str("sent, but the connection was lost before the reply"),
        }
    }
}

impl std::error::Error for RedisError {}
