//! A client's side of the conversation, without I/O and without a clock: [`Session`].
//!
//! # The idea
//!
//! Messages and the time go in; bytes to send, steps for the program and the next deadline come
//! out. The protocol and the async client both drive the same session.
//!
//! | `phase` | means |
//! |---|---|
//! | `New` | nothing was sent |
//! | `Registering` | capabilities, password, nickname; commands of the program wait in the queue |
//! | `SignedOn` | the server has welcomed the client |
//! | `Quitting` | `QUIT` was sent; nothing else is |
//! | `Ended` | the connection is to be closed, because of `error` if there is one |
//!
//! # Invariants
//!
//! 1. One message becomes one line: all that is sent goes through the codec.
//! 2. No function of the program runs in here; what has to ask the program is a [`Step`].
//! 3. What a server can make the client keep is limited (`MOST_KEPT`, `MOST_CHANNELS`), and so are
//!    the answers that a user can make it send (`replies`).
//! 4. Answers to `PING`, the registration and `QUIT` do not wait in the queue.

mod channels;
mod lists;
mod parts;
mod register;
mod talk;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::parts::{Lists, Progress};
use super::pace::Pace;
use super::{Event, IrcCodec, IrcError, Message, Prefix, Settings, Support, Text, Whois};
use crate::framing::Encoder;

/// Something for the program.
#[derive(Debug)]
pub(super) enum Step {
    /// An event.
    Event(Event),
    /// The nickname is in use; [`Session::set_other_nick`] is to be called with another.
    Collided(Text),
    /// A user asks for the time; the answer is a CTCP reply to that nickname.
    AskedTime(Text),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Registering,
    SignedOn,
    Quitting,
    Ended,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Session {
    settings: Settings,
    codec: IrcCodec,
    phase: Phase,
    /// The nickname, and the one that was requested last.
    nick: Text,
    attempted: Text,
    hostname: Text,
    support: Support,
    channels: Vec<Text>,
    registration: Progress,
    lists: Lists,
    /// The numbers of the CTCP pings that were sent, and when.
    pings: VecDeque<(u64, Instant)>,
    next_ping: u64,
    replies: Pace,
    queue: VecDeque<Vec<u8>>,
    pace: Option<Pace>,
    out: Vec<u8>,
    steps: VecDeque<Step>,
    limits: Limits,
    error: Option<IrcError>,
}

/// When something is due.
#[derive(Debug, Default)]
struct Limits {
    registration: Option<Instant>,
    /// When the next `PING` is sent, or when its answer is missing.
    ping: Option<Instant>,
    pong: Option<Instant>,
    quit: Option<Instant>,
}

impl Session {
    pub(super) fn new(settings: Settings) -> Self {
        let pace = settings.line_rate;
        Self {
            codec: IrcCodec::new(),
            phase: Phase::New,
            nick: settings.nick.clone(),
            attempted: settings.nick.clone(),
            hostname: Text::default(),
            support: Support::default(),
            channels: Vec::new(),
            registration: Progress::default(),
            lists: Lists::default(),
            pings: VecDeque::new(),
            next_ping: 1,
            replies: Pace::new(REPLIES.0, REPLIES.1),
            queue: VecDeque::new(),
            pace: pace.map(|(burst, period)| Pace::new(burst, period)),
            out: Vec::new(),
            steps: VecDeque::new(),
            limits: Limits::default(),
            error: None,
            settings,
        }
    }

    /// Handles a message of the server.
    pub(super) fn receive(&mut self, message: Message, now: Instant) {
        if self.has_ended() {
            return;
        }
        let handled = self
            .control(&message, now)
            .or_else(|| self.register(&message, now))
            .or_else(|| self.channel(&message))
            .or_else(|| self.talk(&message, now))
            .or_else(|| self.list(&message));
        if handled.is_none() {
            self.event(Event::Other(message));
        }
        self.flush(now);
    }

    /// Handles a line that is not a message.
    pub(super) fn receive_bad(&mut self, error: IrcError) {
        self.event(Event::BadMessage { error });
    }

    /// Handles the messages that keep the connection alive or end it. Returns `None` for other
    /// messages, as the other functions of this kind do.
    fn control(&mut self, message: &Message, now: Instant) -> Option<()> {
        let params = &message.params;
        match &message.command[..] {
            // An answer that is too long cannot be sent.
            "PING" => drop(self.send_now(&Message::new("PONG", params.iter()))),
            "PONG" => {
                self.limits.pong.take()?;
                self.limits.ping = self.after(self.settings.heartbeat, now);
            }
            "ERROR" => {
                let text = params.first().cloned().unwrap_or_default();
                if self.phase != Phase::Quitting {
                    self.error = Some(IrcError::ServerClosed { text: text.clone() });
                    let limit = self.after(Some(QUIT_LIMIT), now);
                    self.limits.quit = self.limits.quit.or(limit);
                }
                self.event(Event::Error { text });
            }
            _ => return None,
        }
        Some(())
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.limits.registration) {
            let limit = self.settings.registration_limit;
            self.fail(IrcError::RegistrationTimedOut { limit });
        }
        if is_due(self.limits.pong) {
            let limit = self.settings.pong_limit;
            self.fail(IrcError::PongMissing { limit });
        }
        if is_due(self.limits.quit) {
            self.phase = Phase::Ended;
        }
        if is_due(self.limits.ping) && self.phase == Phase::SignedOn {
            self.limits.ping = None;
            self.limits.pong = self.after(Some(self.settings.pong_limit), now);
            let host = match self.hostname.is_empty() {
                true => &self.nick,
                false => &self.hostname,
            };
            drop(self.send_now(&Message::new("PING", [host.clone()])));
        }
        self.flush(now);
    }

    /// Returns when [`advance`](Self::advance) is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.has_ended() {
            return None;
        }
        let limits = &self.limits;
        let waits = self.phase == Phase::SignedOn && !self.queue.is_empty();
        let next_line = self.pace.filter(|_| waits).and_then(|pace| pace.next_at());
        [
            limits.registration,
            limits.ping,
            limits.pong,
            limits.quit,
            next_line,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Sends a message, or queues it until it is its time.
    pub(super) fn send(&mut self, message: &Message, now: Instant) -> Result<(), IrcError> {
        self.send_all(std::slice::from_ref(message), now)
    }

    /// Sends messages, all of them or none.
    fn send_all(&mut self, messages: &[Message], now: Instant) -> Result<(), IrcError> {
        let mut lines = Vec::new();
        for message in messages {
            let mut line = Vec::new();
            self.codec.encode(message, &mut line)?;
            lines.push(line);
        }
        if !matches!(self.phase, Phase::Registering | Phase::SignedOn) {
            return Err(IrcError::NotConnected);
        }
        let limit = self.settings.queue_limit;
        if self.queue.len() + lines.len() > limit {
            return Err(IrcError::QueueFull { limit });
        }
        self.queue.extend(lines);
        self.flush(now);
        Ok(())
    }

    /// Sends a message before those in the queue.
    fn send_now(&mut self, message: &Message) -> Result<(), IrcError> {
        self.codec.encode(message, &mut self.out)
    }

    /// Sends what may be sent of the queue.
    fn flush(&mut self, now: Instant) {
        if self.phase != Phase::SignedOn {
            return;
        }
        while !self.queue.is_empty() && self.pace.as_mut().is_none_or(|pace| pace.take(now)) {
            let line = self.queue.pop_front();
            self.out.extend(line.unwrap_or_default());
        }
    }

    /// Sends `QUIT`. The connection is closed when the server does so, or after a time limit.
    pub(super) fn quit(&mut self, reason: &[u8], now: Instant) -> Result<(), IrcError> {
        if !matches!(self.phase, Phase::Registering | Phase::SignedOn) {
            return Err(IrcError::NotConnected);
        }
        let reason = (!reason.is_empty()).then_some(reason);
        self.send_now(&Message::new("QUIT", reason))?;
        self.phase = Phase::Quitting;
        self.queue.clear();
        self.limits = Limits {
            quit: self.after(Some(QUIT_LIMIT), now),
            ..Limits::default()
        };
        Ok(())
    }

    /// Ends the connection because of an error. The first one counts.
    fn fail(&mut self, error: IrcError) {
        self.error.get_or_insert(error);
        self.phase = Phase::Ended;
    }

    fn event(&mut self, event: Event) {
        self.steps.push_back(Step::Event(event));
    }

    /// Takes out what is to be sent.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Takes out the next step.
    pub(super) fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Returns whether the connection is to be closed.
    pub(super) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Returns whether the client has signed on.
    pub(super) fn is_signed_on(&self) -> bool {
        self.phase == Phase::SignedOn
    }

    /// Returns whether the client has quit.
    pub(super) fn has_quit(&self) -> bool {
        matches!(self.phase, Phase::Quitting | Phase::Ended) && self.error.is_none()
    }

    /// Returns why the connection has ended, as far as that is known here.
    pub(super) fn error(&self) -> Option<&IrcError> {
        self.error.as_ref()
    }

    /// Ends the session: the connection is lost.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Ended;
        self.queue.clear();
    }

    pub(super) fn nick(&self) -> &Text {
        &self.nick
    }

    pub(super) fn hostname(&self) -> &Text {
        &self.hostname
    }

    pub(super) fn support(&self) -> &Support {
        &self.support
    }

    pub(super) fn channels(&self) -> &[Text] {
        &self.channels
    }

    pub(super) fn has_capability(&self, name: &str) -> bool {
        self.registration
            .enabled
            .iter()
            .any(|enabled| *enabled == name)
    }

    pub(super) fn is_same(&self, one: &[u8], other: &[u8]) -> bool {
        self.support.case_mapping().is_same(one, other)
    }

    pub(super) fn is_me(&self, nick: &[u8]) -> bool {
        self.is_same(nick, &self.nick)
    }

    /// Returns the sender of a message: the server, when it names none.
    fn sender(&self, message: &Message) -> Prefix {
        let server = || Prefix::new(&self.hostname);
        message.prefix.clone().unwrap_or_else(server)
    }

    fn after(&self, delay: Option<Duration>, now: Instant) -> Option<Instant> {
        delay.and_then(|delay| now.checked_add(delay))
    }

    /// Takes out the results of `WHOIS`: for each nickname the server's answer.
    pub(super) fn take_whois(&mut self) -> Vec<(Text, Result<Whois, IrcError>)> {
        std::mem::take(&mut self.lists.results)
    }
}

/// The answers to CTCP queries: so many at once, then one in each period.
const REPLIES: (u32, Duration) = (4, Duration::from_secs(4));
/// How long the server has for closing the connection after `QUIT` or `ERROR`.
pub(super) const QUIT_LIMIT: Duration = Duration::from_secs(5);
/// The most bytes that are kept of each kind of list, as a server sends it.
const MOST_KEPT: usize = 4 * 1024 * 1024;
/// The most channels of which the client knows that it has joined them, and their longest name.
const MOST_CHANNELS: (usize, usize) = (1000, 512);
