//! The interface of a client for async code: [`Client`].

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Deref;

use futures::FutureExt;

use super::{Event, IrcCodec, IrcError, IrcSender, Settings, Text, Whois};
use crate::failure::Failure;
use crate::stream::{Connection, Framed};
use crate::transport::ConnectionError;

/// An IRC client for async code, over any connection: a smart pointer to its [`IrcSender`], so it
/// has the commands as methods.
///
/// The client answers the server only while one of its async methods is awaited, so a program keeps
/// awaiting [`next_event`](Self::next_event): a client that is not awaited does not see the answer
/// to its `PING` and aborts the connection ([`Settings::pong_limit`]). Dropping the client closes
/// the connection.
///
/// # Examples
///
/// ```
/// use torsade::protocols::irc::{Client, Event, Settings};
/// use torsade::testing;
///
/// testing::run(async |reactor| {
///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
///         conn.write_all(b":here 001 bot :Welcome\r\n").await?;
///         while let Some(line) = conn.read_line(512).await? {
///             if line.starts_with(b"PRIVMSG ") {
///                 conn.write_all(b":ada!a@here PRIVMSG bot :hello yourself\r\n").await?;
///             }
///         }
///         Ok(())
///     })?;
///     let conn = reactor.connect_stream(port.local_addr()).await?;
///     let mut client = Client::connect(conn, Settings::new("bot")).await?;
///     client.msg("ada", "hello")?;
///     while let Some(event) = client.next_event().await? {
///         if let Event::Privmsg { user, text, .. } = event {
///             assert_eq!(format!("{user}: {text}"), "ada!a@here: hello yourself");
///             break;
///         }
///     }
///     drop(client);
///     port.stop().await
/// });
/// ```
pub struct Client {
    framed: Framed<IrcCodec>,
    sender: IrcSender,
    /// The events that came while the client waited for another result.
    events: VecDeque<Event>,
    /// The result, when the connection is over.
    end: Option<Result<(), Failure>>,
}

impl Client {
    /// Registers a client at the server. Returns when the client has signed on; events until then
    /// are returned by [`next_event`](Self::next_event). Dropping the future closes the connection.
    ///
    /// # Errors
    ///
    /// Fails with the [`IrcError`] for which the client or the server has ended the connection,
    /// with the reason for which the connection broke, or with [`IrcError::TooManyEvents`] when
    /// more than 4096 events come before the result.
    pub async fn connect(conn: Connection, settings: Settings) -> Result<Self, Failure> {
        let sender = IrcSender::new(settings);
        sender.attach(conn.transport());
        let mut client = Self {
            framed: conn.framed(IrcCodec::new()),
            sender,
            events: VecDeque::new(),
            end: None,
        };
        while !client.sender.is_signed_on() {
            client.receive().await?;
            client.keep_events()?;
            if let Some(end) = &client.end {
                end.clone()?;
                return Err(Failure::new(IrcError::NotConnected));
            }
        }
        Ok(client)
    }

    /// Waits for the next event. Returns `None` when the connection has ended after
    /// [`quit`](IrcSender::quit).
    ///
    /// # Errors
    ///
    /// Fails when the connection has ended otherwise, as [`connect`](Self::connect) does; later
    /// calls return `None`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn next_event(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.events.pop_front().or_else(|| self.take_event()) {
                return Ok(Some(event));
            }
            if let Some(end) = &mut self.end {
                return std::mem::replace(end, Ok(())).map(|()| None);
            }
            self.receive().await?;
        }
    }

    /// Asks the server about a user, and waits for the answer. Events until then are returned by
    /// [`next_event`](Self::next_event).
    ///
    /// # Errors
    ///
    /// Fails with [`IrcError::NoSuchNick`], with an error of the command (see [`IrcSender`]), and
    /// as [`connect`](Self::connect) does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses only the answer; no event is lost.
    pub async fn whois(&mut self, nick: impl Into<Text>) -> Result<Whois, Failure> {
        let mut answer = self.sender.whois(nick);
        loop {
            if let Some(result) = (&mut answer).now_or_never() {
                return result;
            }
            self.receive().await?;
            self.keep_events()?;
        }
    }

    /// Quits as [`IrcSender::quit`] does, and waits until the connection is closed. Events until
    /// then are dropped.
    ///
    /// # Errors
    ///
    /// As for [`IrcSender::quit`]; and fails when the connection breaks before its end.
    pub async fn close(mut self, reason: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.sender.quit(reason)?;
        while self.next_event().await?.is_some() {}
        Ok(())
    }

    /// Returns the client's handle, for other code to send commands.
    pub fn sender(&self) -> IrcSender {
        self.sender.clone()
    }

    fn take_event(&mut self) -> Option<Event> {
        let sender = &self.sender;
        sender.next_event(|nick| sender.other_nick(nick))
    }

    /// Keeps the events for later.
    fn keep_events(&mut self) -> Result<(), Failure> {
        while let Some(event) = self.take_event() {
            if self.events.len() == MOST_EVENTS {
                let limit = MOST_EVENTS;
                return Err(Failure::new(IrcError::TooManyEvents { limit }));
            }
            self.events.push_back(event);
        }
        Ok(())
    }

    /// Waits for a message and handles it, or records the end.
    async fn receive(&mut self) -> Result<(), Failure> {
        if self.end.is_some() {
            return Err(Failure::new(IrcError::NotConnected));
        }
        // Nothing is read from a server that reads nothing.
        if self.framed.get_mut().transport().is_full() {
            if let Err(error) = self.framed.flush().await {
                self.finish(Some(error));
                return Ok(());
            }
        }
        match self.framed.next().await {
            Some(Ok(message)) => self.sender.receive(message),
            Some(Err(error)) => match bad_message(&error) {
                Some(bad) => self.sender.receive_bad(bad),
                None => self.finish(Some(error)),
            },
            None => self.finish(None),
        }
        Ok(())
    }

    /// Records the end of the connection.
    fn finish(&mut self, error: Option<io::Error>) {
        let is_wanted = self.sender.has_quit();
        let transport = self.framed.get_mut().transport();
        let reason = match error.filter(|error| error.kind() != io::ErrorKind::UnexpectedEof) {
            Some(error) => Failure::new(error),
            None => transport
                .reason()
                .unwrap_or_else(|| Failure::new(ConnectionError::Done)),
        };
        transport.lose_connection();
        let reason = self.sender.detach(&reason);
        self.end = Some(if is_wanted { Ok(()) } else { Err(reason) });
    }
}

/// Returns the error of a line that is not a message.
fn bad_message(error: &io::Error) -> Option<IrcError> {
    error.get_ref()?.downcast_ref().cloned()
}

impl Deref for Client {
    type Target = IrcSender;

    fn deref(&self) -> &IrcSender {
        &self.sender
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.sender.detach(&Failure::new(IrcError::NotConnected)));
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("sender", &self.sender)
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}

/// The most events that are kept while the client waits for another result.
const MOST_EVENTS: usize = 4096;
