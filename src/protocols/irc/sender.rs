//! The commands of a client: [`IrcSender`].
//!
//! # Invariants
//!
//! 1. The session is borrowed only while it runs, so never while the program's code does.
//! 2. The timer is set to the session's next deadline whenever the session has run.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::session::{Session, Step};
use super::{Event, IrcError, Message, Settings, Support, Text, Whois};
use crate::clock::{Clock, DelayedCall};
use crate::defer::{Deferred, Resolver};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::transport::Transport;

/// A handle to an IRC client, for sending commands and asking about the client. Clones are handles
/// to the same client.
///
/// Any code on the reactor's thread may keep a sender. Its methods run no user code, except
/// [`whois`](Self::whois), whose Deferred may fail at once.
///
/// Commands that are sent before the client has signed on wait until it has. Commands fail with
/// [`IrcError::NotConnected`] before the connection is made and after its end; with
/// [`IrcError::BadCommand`], [`IrcError::ForbiddenByte`], [`IrcError::BadParam`],
/// [`IrcError::LineTooLong`] or [`IrcError::NoSpaceForText`] when the message cannot be sent; and
/// with [`IrcError::QueueFull`]. Nothing is sent then.
///
/// Parameters called `channel` may lack their first letter: `rust` is sent as `#rust`. Parameters
/// called `target` are sent unchanged.
///
/// # Examples
///
/// Another part of the program joins a channel and writes to it:
///
/// ```
/// use std::time::Duration;
/// use torsade::protocols::irc::{IrcClient, IrcError, IrcProtocol, Message, Settings};
/// use torsade::testing::Wire;
///
/// struct Silent;
/// impl IrcProtocol for Silent {}
///
/// let settings = Settings::new("bot").line_rate(2, Duration::from_secs(1));
/// let mut wire = Wire::new(IrcClient::new(Silent, settings));
/// wire.send(":irc.example.org 001 bot :Welcome\r\n");
/// wire.take_received();
///
/// let irc = wire.with_protocol(|client, _cx| client.sender());
/// irc.join("rust")?;
/// irc.say("rust", "two lines\nof text")?;
/// assert_eq!(wire.take_received(), b"JOIN #rust\r\nPRIVMSG #rust :two lines\r\n");
/// wire.advance(Duration::from_secs(1));
/// assert_eq!(wire.take_received(), b"PRIVMSG #rust :of text\r\n");
///
/// let refused = irc.topic("rust", "one\r\nQUIT");
/// assert_eq!(refused, Err(IrcError::ForbiddenByte { found: b'\r' }));
/// irc.quit("good bye")?;
/// assert_eq!(irc.send(&Message::new("LIST", ["#r*"])), Err(IrcError::NotConnected));
/// # Ok::<(), IrcError>(())
/// ```
#[derive(Clone)]
pub struct IrcSender(Rc<Shared>);

struct Shared {
    session: RefCell<Session>,
    settings: Settings,
    transport: RefCell<Option<Transport>>,
    timer: Cell<Option<DelayedCall>>,
    /// The Deferreds of `whois`, by nickname.
    waiting: RefCell<Vec<(Text, Resolver<Whois>)>>,
}

impl IrcSender {
    /// Sends any message.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    #[doc(alias("sendLine", "sendMessage", "sendCommand"))]
    pub fn send(&self, message: &Message) -> Result<(), IrcError> {
        self.act(|session, now| session.send(message, now))
    }

    /// Joins a channel, or several with commas between them.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn join(&self, channel: impl AsRef<[u8]>) -> Result<(), IrcError> {
        let channels = channel.as_ref().split(|byte| *byte == b',');
        let channels = channels.map(|name| self.channel(name).into_bytes());
        let channels = channels.collect::<Vec<_>>().join(&b',');
        self.command("JOIN", [channels.into()])
    }

    /// Joins a channel that has a key.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn join_with_key(
        &self,
        channel: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<(), IrcError> {
        self.command(
            "JOIN",
            [self.channel(channel.as_ref()), key.as_ref().into()],
        )
    }

    /// Leaves a channel. An empty reason is not sent.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    #[doc(alias = "part")]
    pub fn leave(
        &self,
        channel: impl AsRef<[u8]>,
        reason: impl AsRef<[u8]>,
    ) -> Result<(), IrcError> {
        self.with_text("PART", [self.channel(channel.as_ref())], reason.as_ref())
    }

    /// Removes a user from a channel. An empty reason is not sent.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn kick(
        &self,
        channel: impl AsRef<[u8]>,
        nick: impl AsRef<[u8]>,
        reason: impl AsRef<[u8]>,
    ) -> Result<(), IrcError> {
        let params = [self.channel(channel.as_ref()), nick.as_ref().into()];
        self.with_text("KICK", params, reason.as_ref())
    }

    /// Invites a user to a channel.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn invite(
        &self,
        nick: impl AsRef<[u8]>,
        channel: impl AsRef<[u8]>,
    ) -> Result<(), IrcError> {
        let channel = self.channel(channel.as_ref());
        self.command("INVITE", [nick.as_ref().into(), channel])
    }

    /// Sets the topic of a channel.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn topic(
        &self,
        channel: impl AsRef<[u8]>,
        topic: impl AsRef<[u8]>,
    ) -> Result<(), IrcError> {
        let channel = self.channel(channel.as_ref());
        self.command("TOPIC", [channel, topic.as_ref().into()])
    }

    /// Asks for the topic of a channel, which arrives as [`Event::TopicUpdated`].
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn ask_topic(&self, channel: impl AsRef<[u8]>) -> Result<(), IrcError> {
        self.command("TOPIC", [self.channel(channel.as_ref())])
    }

    /// Asks for the members of a channel, which arrive as [`Event::Names`].
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn names(&self, channel: impl AsRef<[u8]>) -> Result<(), IrcError> {
        self.command("NAMES", [self.channel(channel.as_ref())])
    }

    /// Changes the modes of a channel or of the client, such as `+o-v` with two nicknames as
    /// `params`. With empty `modes` it requests the current modes, which arrive as [`Event::Other`]
    /// (reply 324 for a channel, 221 for the client).
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn mode<T: AsRef<[u8]>>(
        &self,
        target: impl AsRef<[u8]>,
        modes: &str,
        params: impl IntoIterator<Item = T>,
    ) -> Result<(), IrcError> {
        let mut all = vec![Text::from(target.as_ref())];
        all.extend((!modes.is_empty()).then(|| modes.into()));
        all.extend(params.into_iter().map(|param| Text::from(param.as_ref())));
        self.command("MODE", all)
    }

    /// Sends text to a channel, in one or more messages: see [`msg`](Self::msg).
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn say(&self, channel: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> Result<(), IrcError> {
        self.msg(self.channel(channel.as_ref()), text)
    }

    /// Sends text to a user or a channel, in one or more messages.
    ///
    /// Each line of the text becomes a message. A line that is too long for one message becomes
    /// several: it is split between words or, where there are none, between characters. The limit
    /// leaves space for the longest prefix that the server may put before the message, so that the
    /// server does not cut it.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn msg(&self, target: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> Result<(), IrcError> {
        let (target, text) = (target.as_ref(), text.as_ref());
        self.act(|session, now| session.say("PRIVMSG", target, text, now))
    }

    /// Sends text as notices; otherwise as [`msg`](Self::msg).
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn notice(&self, target: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> Result<(), IrcError> {
        let (target, text) = (target.as_ref(), text.as_ref());
        self.act(|session, now| session.say("NOTICE", target, text, now))
    }

    /// Sends text as an action (`/me`); otherwise as [`msg`](Self::msg).
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    #[doc(alias = "me")]
    pub fn describe(
        &self,
        target: impl AsRef<[u8]>,
        text: impl AsRef<[u8]>,
    ) -> Result<(), IrcError> {
        let (target, text) = (target.as_ref(), text.as_ref());
        self.act(|session, now| session.describe(target, text, now))
    }

    /// Sends a CTCP query. The answer arrives as [`Event::CtcpReply`].
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    #[doc(alias = "ctcpMakeQuery")]
    pub fn ctcp_query(
        &self,
        target: impl AsRef<[u8]>,
        tag: &str,
        data: impl AsRef<[u8]>,
    ) -> Result<(), IrcError> {
        let (target, data) = (target.as_ref(), data.as_ref());
        self.act(|session, now| session.ctcp_query(target, tag, data, now))
    }

    /// Answers a CTCP query, for example a query of [`Event::CtcpQuery`].
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    #[doc(alias = "ctcpMakeReply")]
    pub fn ctcp_reply(
        &self,
        nick: impl AsRef<[u8]>,
        tag: &str,
        data: impl AsRef<[u8]>,
    ) -> Result<(), IrcError> {
        let (nick, data) = (nick.as_ref(), data.as_ref());
        self.act(|session, now| session.ctcp_reply(nick, tag, data, now))
    }

    /// Sends a CTCP `PING`. The answer arrives as [`Event::Pong`]. Only the last twelve unanswered
    /// pings are remembered.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn ping(&self, user: impl AsRef<[u8]>) -> Result<(), IrcError> {
        let user = user.as_ref();
        self.act(|session, now| session.ping(user, now))
    }

    /// Requests another nickname; [`Event::NickChanged`] follows. If the nickname is in use, others
    /// are tried ([`Settings::alter_collided_nick`]).
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    #[doc(alias = "setNick")]
    pub fn set_nick(&self, nick: impl Into<Text>) -> Result<(), IrcError> {
        let nick = nick.into();
        self.act(|session, now| session.set_nick(nick, now))
    }

    /// Marks the user as away, with a text for others who write to the user.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn away(&self, text: impl AsRef<[u8]>) -> Result<(), IrcError> {
        self.command("AWAY", [Text::from(text.as_ref())])
    }

    /// Marks the user as no longer away.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn back(&self) -> Result<(), IrcError> {
        self.command("AWAY", [])
    }

    /// Asks the server about a user.
    ///
    /// Async code that reads the events calls [`Client::whois`](super::Client::whois) instead.
    ///
    /// # Errors
    ///
    /// The Deferred fails with [`IrcError::NoSuchNick`], with the reason of the connection's end
    /// when that comes first, or with an error of a command (see [`IrcSender`]).
    #[track_caller]
    pub fn whois(&self, nick: impl Into<Text>) -> Deferred<Whois> {
        let nick = nick.into();
        match self.act(|session, now| session.whois(&nick, now)) {
            Err(error) => Deferred::fail(error),
            Ok(()) => {
                let (deferred, resolver) = Deferred::pair();
                self.0.waiting.borrow_mut().push((nick, resolver));
                deferred
            }
        }
    }

    /// Sends `QUIT` at once, with the reason if it is not empty. Lines that wait in the queue are
    /// dropped.
    ///
    /// The server then closes the connection; if it does not, the client closes it after five
    /// seconds.
    ///
    /// # Errors
    ///
    /// See [`IrcSender`].
    pub fn quit(&self, reason: impl AsRef<[u8]>) -> Result<(), IrcError> {
        let reason = reason.as_ref();
        self.act(|session, now| session.quit(reason, now))
    }

    /// Returns the client's nickname; before the client has signed on, that of the settings.
    pub fn nick(&self) -> Text {
        self.0.session.borrow().nick().clone()
    }

    /// Returns the server's name, which is empty before the client has signed on.
    #[doc(alias = "hostname")]
    pub fn server(&self) -> Text {
        self.0.session.borrow().hostname().clone()
    }

    /// Returns whether the client has signed on and not quit.
    pub fn is_signed_on(&self) -> bool {
        self.0.session.borrow().is_signed_on()
    }

    /// Returns the channels that the client has joined, at most 1000.
    pub fn channels(&self) -> Vec<Text> {
        self.0.session.borrow().channels().to_vec()
    }

    /// Returns the features and limits that the server has announced.
    #[doc(alias = "supported")]
    pub fn support(&self) -> Support {
        self.0.session.borrow().support().clone()
    }

    /// Returns whether a capability of IRCv3 is enabled ([`Settings::capability`]).
    pub fn has_capability(&self, name: &str) -> bool {
        self.0.session.borrow().has_capability(name)
    }

    /// Returns whether a nickname is the client's.
    pub fn is_me(&self, nick: impl AsRef<[u8]>) -> bool {
        self.0.session.borrow().is_me(nick.as_ref())
    }

    /// Returns whether two nicknames, or two channels, are equal by the server's [case
    /// mapping](Support::case_mapping).
    pub fn is_same(&self, one: impl AsRef<[u8]>, other: impl AsRef<[u8]>) -> bool {
        let session = self.0.session.borrow();
        session.is_same(one.as_ref(), other.as_ref())
    }

    /// Returns a channel's name, with a `#` if it begins with no letter of channels.
    fn channel(&self, name: &[u8]) -> Text {
        let is_whole = match name.first() {
            Some(first) => {
                b"&#!+".contains(first) || self.0.session.borrow().support().is_channel(name)
            }
            None => false,
        };
        match is_whole {
            true => name.into(),
            false => [b"#", name].concat().into(),
        }
    }

    fn command(
        &self,
        command: &str,
        params: impl IntoIterator<Item = Text>,
    ) -> Result<(), IrcError> {
        self.send(&Message::new(command, params))
    }

    /// Sends a command with text, unless that is empty.
    fn with_text(
        &self,
        command: &str,
        params: impl IntoIterator<Item = Text>,
        text: &[u8],
    ) -> Result<(), IrcError> {
        let text = (!text.is_empty()).then(|| text.into());
        self.command(command, params.into_iter().chain(text))
    }
}

/// For the two interfaces of a client.
impl IrcSender {
    pub(super) fn new(settings: Settings) -> Self {
        Self(Rc::new(Shared {
            session: RefCell::new(Session::new(settings.clone())),
            settings,
            transport: RefCell::default(),
            timer: Cell::default(),
            waiting: RefCell::default(),
        }))
    }

    /// Begins the registration on a connection.
    pub(super) fn attach(&self, transport: Transport) {
        self.0.transport.replace(Some(transport));
        self.run(|session, now| session.start(now));
    }

    /// Ends the session: the connection is lost. Returns the reason, if it is known here.
    pub(super) fn detach(&self, reason: &Failure) -> Failure {
        let transport = self.0.transport.take();
        if let Some(timer) = self.0.timer.take() {
            timer.cancel();
        }
        let error = {
            let mut session = self.0.session.borrow_mut();
            session.end();
            session.error().cloned()
        };
        drop(transport);
        let reason = error.map_or_else(|| reason.clone(), Failure::new);
        for (_, resolver) in self.0.waiting.take() {
            resolver.errback(reason.clone());
        }
        reason
    }

    pub(super) fn receive(&self, message: Message) {
        self.run(|session, now| session.receive(message, now));
    }

    pub(super) fn receive_bad(&self, error: IrcError) {
        self.run(|session, _now| session.receive_bad(error));
    }

    /// Returns the next event. Asks `alter` for another nickname when one is in use.
    pub(super) fn next_event(&self, mut alter: impl FnMut(&Text) -> Text) -> Option<Event> {
        loop {
            let step = self.0.session.borrow_mut().next_step()?;
            match step {
                Step::Event(event) => return Some(event),
                Step::Collided(nick) => {
                    let other = alter(&nick);
                    self.run(|session, _now| session.set_other_nick(other));
                }
                Step::AskedTime(user) => {
                    let time = self.0.settings.time.as_ref().map(|time| time());
                    // The answer is dropped when the queue is full.
                    drop(self.ctcp_reply(user, "TIME", time.unwrap_or_default()));
                }
            }
        }
    }

    /// Returns the nickname in place of one that is in use, by the settings.
    pub(super) fn other_nick(&self, nick: &Text) -> Text {
        (self.0.settings.collided)(nick)
    }

    pub(super) fn has_quit(&self) -> bool {
        self.0.session.borrow().has_quit()
    }

    fn reactor(&self) -> Option<Reactor> {
        self.0.transport.borrow().as_ref()?.reactor()
    }

    /// Lets the session do something.
    fn act(
        &self,
        f: impl FnOnce(&mut Session, Instant) -> Result<(), IrcError>,
    ) -> Result<(), IrcError> {
        self.run(f).unwrap_or(Err(IrcError::NotConnected))
    }

    /// Lets the session do something, and carries out what follows from it.
    fn run<R>(&self, f: impl FnOnce(&mut Session, Instant) -> R) -> Option<R> {
        let reactor = self.reactor()?;
        let result = f(&mut self.0.session.borrow_mut(), reactor.now());
        self.update(&reactor);
        Some(result)
    }

    fn update(&self, reactor: &Reactor) {
        let (output, deadline, end, whois) = {
            let mut session = self.0.session.borrow_mut();
            let end = session.has_ended().then(|| session.error().cloned());
            let output = session.take_output();
            (output, session.deadline(), end, session.take_whois())
        };
        let transport = self.0.transport.borrow().clone();
        if let Some(transport) = transport {
            if !output.is_empty() {
                transport.write(output);
            }
            match end {
                None => {}
                Some(Some(
                    IrcError::PongMissing { .. } | IrcError::RegistrationTimedOut { .. },
                )) => {
                    transport.abort_connection();
                }
                Some(_) => transport.lose_connection_within(super::session::QUIT_LIMIT),
            }
        }
        self.set_timer(reactor, deadline);
        for (nick, result) in whois {
            self.fire_whois(&nick, &result);
        }
    }

    fn set_timer(&self, reactor: &Reactor, deadline: Option<Instant>) {
        let timer = self.0.timer.take();
        let timer = match (timer, deadline) {
            (None, None) => None,
            (Some(timer), None) => {
                timer.cancel();
                None
            }
            (Some(timer), Some(deadline)) if timer.deadline() == Some(deadline) => Some(timer),
            (Some(timer), Some(deadline)) if timer.reset_at(deadline) => Some(timer),
            (_, Some(deadline)) => {
                let weak = Rc::downgrade(&self.0);
                let delay = deadline.saturating_duration_since(reactor.now());
                Some(reactor.limit(delay, move || Self::tick(&weak)))
            }
        };
        self.0.timer.set(timer);
    }

    fn tick(weak: &Weak<Shared>) {
        if let Some(shared) = weak.upgrade() {
            Self(shared).run(|session, now| session.advance(now));
        }
    }

    fn fire_whois(&self, nick: &Text, result: &Result<Whois, IrcError>) {
        let mapping = self.0.session.borrow().support().case_mapping();
        let waiting = self.0.waiting.take().into_iter();
        let (asked, others): (Vec<_>, Vec<_>) =
            waiting.partition(|(other, _)| mapping.is_same(nick, other));
        self.0.waiting.replace(others);
        for (_, resolver) in asked {
            match result {
                Ok(whois) => resolver.callback(whois.clone()),
                Err(error) => resolver.errback(error.clone()),
            }
        }
    }
}

impl fmt::Debug for IrcSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.0.session.borrow();
        f.debug_struct("IrcSender")
            .field("nick", session.nick())
            .field("is_signed_on", &session.is_signed_on())
            .finish_non_exhaustive()
    }
}
