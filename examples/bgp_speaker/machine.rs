//! The state machine of one connection to a peer (RFC 4271 section 8), without I/O and without a
//! clock: an event goes in, actions come out.
//!
//! A peer has two machines: one that connects, and one that waits for the peer to connect. See
//! [`Peer`](super::peer::Peer), which starts both, decides between them, and starts them again.
//!
//! | State | Event | Actions | Next state |
//! |---|---|---|---|
//! | Idle | `Start` | connect, set ConnectRetry | Connect |
//! | Idle | `StartPassive` | | Active |
//! | Connect | `Connected`, with a delay | clear ConnectRetry, set DelayOpen | Connect |
//! | Connect | `Connected` | clear ConnectRetry, send OPEN, set Hold to 4 min | OpenSent |
//! | Connect | ConnectRetry expires | close, connect, set ConnectRetry | Connect |
//! | Connect | `Disconnected` while DelayOpen runs | clear DelayOpen, set ConnectRetry | Active |
//! | Connect | `Disconnected` | clear ConnectRetry | Idle |
//! | Active | `Connected` | as in Connect | Active or OpenSent |
//! | Active | ConnectRetry expires | connect, set ConnectRetry | Connect |
//! | Active | `Disconnected` while DelayOpen runs | as in Connect | Active |
//! | Connect, Active | DelayOpen expires | send OPEN, set Hold to 4 min | OpenSent |
//! | Connect, Active | OPEN while DelayOpen runs | send OPEN, then as in OpenSent | OpenConfirm |
//! | OpenSent | OPEN | send KEEPALIVE, set Hold and Keepalive as agreed | OpenConfirm |
//! | OpenSent | `Disconnected` | close, set ConnectRetry | Active |
//! | OpenConfirm | KEEPALIVE | set Hold, `Up` | Established |
//! | OpenConfirm, Established | Keepalive expires | send KEEPALIVE, set Keepalive | the same |
//! | Established | UPDATE, KEEPALIVE, ROUTE-REFRESH | set Hold, `Deliver` | Established |
//! | OpenSent and later | Hold expires | send 4/0, `Down` | Idle |
//! | OpenSent and later | a message that does not belong there | send 5/1, 5/2 or 5/3, `Down` | Idle |
//! | OpenSent and later | a message with a fault | send what answers it, `Down` | Idle |
//! | OpenSent and later | `Stop`, `Collision` | send 6/2, 6/7, `Down` | Idle |
//! | OpenConfirm, Established | `Disconnected` | `Down` | Idle |
//! | any | NOTIFICATION | `Down`; it is not answered | Idle |
//! | Connect, Active | `Stop`, or a message without DelayOpen | `Down` | Idle |
//!
//! Where the RFC answers a NOTIFICATION with a NOTIFICATION (in OpenSent), and where it gives up
//! waiting because a connection was lost during DelayOpen (in Active), this machine does not.
//!
//! Invariants:
//!
//! 1. `Down` is the last action of a machine that becomes Idle; it has cleared all timers and
//!    closed the connection, after what was sent.
//! 2. Between `Up` and `Down` the machine is Established.
//! 3. No timer runs in Idle, and Hold and Keepalive do not run when the agreed hold time is 0.
//! 4. An event that means nothing in a state changes nothing.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::codec::IPV4_UNICAST;
use super::message::{Message, Notification, Open, Terms, Update};

/// The hold time until the peer's OPEN arrives.
const LARGE_HOLD: Duration = Duration::from_secs(240);

/// What is configured for a peer.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) asn: u32,
    pub(super) id: Ipv4Addr,
    /// The peer's AS; any if `None`.
    pub(super) peer_as: Option<u32>,
    /// The proposed hold time in seconds: 0, or at least 3.
    pub(super) hold: u16,
    pub(super) connect_retry: Duration,
    /// Time to wait for the peer's OPEN before one is sent; mostly none.
    pub(super) delay_open: Duration,
    /// The time in Idle after the first failure; it doubles with each up to a minute.
    pub(super) idle_hold: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    ConnectRetry,
    Hold,
    Keepalive,
    DelayOpen,
    /// The peer's: its machines are Idle after a failure.
    IdleHold,
}

/// What happens, with its numbers in RFC 4271 section 8.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// 1 and 3.
    Start,
    /// 4 and 5.
    StartPassive,
    /// 2 and 8; what is sent.
    Stop(Notification),
    /// 9 to 13.
    Expired(Timer),
    /// 16 and 17.
    Connected,
    /// 18.
    Disconnected,
    /// 19, 20, and 24 to 27; with a fault 21, 22 and 28.
    Received(Result<Message, Notification>),
    /// 23.
    Collision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Connect,
    Send(Message),
    /// Close the connection, or stop connecting.
    Close,
    Set(Timer, Duration),
    Clear(Timer),
    Up(Session),
    Deliver(Update),
    /// The peer wants all routes again.
    SendRoutes,
    Down(Cause),
}

/// What the two sides have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) peer: Open,
    /// The hold time in seconds.
    pub(super) hold: u16,
    pub(super) terms: Terms,
}

/// Why a machine has become Idle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Sent(Notification),
    Received(Notification),
    Disconnected,
    /// No connection could be made.
    Unreachable,
    /// It was stopped, or got a message, before there was a session.
    Dropped,
}

#[derive(Clone, Debug)]
pub(super) struct Machine {
    config: Config,
    state: State,
    is_passive: bool,
    delays_open: bool,
    session: Option<Session>,
}

impl Machine {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            state: State::Idle,
            is_passive: false,
            delays_open: false,
            session: None,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Returns what was agreed on, from OpenConfirm on.
    pub(super) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Returns whether there is no connection, and one may come.
    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Active && !self.delays_open
    }

    /// Returns whether a session is established or being negotiated.
    pub(super) fn is_busy(&self) -> bool {
        self.state >= State::OpenSent || self.delays_open
    }

    /// Returns whether an OPEN would be expected now.
    pub(super) fn expects_open(&self) -> bool {
        self.state == State::OpenSent || self.delays_open
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.step(event, &mut actions);
        actions
    }

    fn step(&mut self, event: Event, out: &mut Vec<Action>) {
        use State::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
        match (self.state, event) {
            (Idle, Event::Start) => self.connect(out),
            (Idle, Event::StartPassive) => {
                self.is_passive = true;
                self.state = Active;
            }
            (Connect | Active, Event::Connected) if !self.delays_open => {
                out.push(Action::Clear(Timer::ConnectRetry));
                if self.config.delay_open.is_zero() {
                    self.send_open(out);
                } else {
                    self.delays_open = true;
                    out.push(Action::Set(Timer::DelayOpen, self.config.delay_open));
                }
            }
            (Connect | Active, Event::Expired(Timer::ConnectRetry)) => {
                out.push(Action::Close);
                self.connect(out);
            }
            (Connect | Active, Event::Expired(Timer::DelayOpen)) => self.send_open(out),
            (Connect | Active, Event::Disconnected) if self.delays_open => {
                self.delays_open = false;
                out.push(Action::Clear(Timer::DelayOpen));
                self.wait(out);
            }
            (Connect, Event::Disconnected) => self.idle(Cause::Unreachable, out),
            (Connect | Active, Event::Received(Ok(Message::Open(open)))) if self.delays_open => {
                self.send_open(out);
                self.opened(open, out);
            }
            (Connect | Active, Event::Received(Ok(Message::Notification(error)))) => {
                self.idle(Cause::Received(error), out);
            }
            (Connect | Active, Event::Received(Err(error))) if self.delays_open => {
                self.fail(error, out);
            }
            (Connect | Active, Event::Received(_) | Event::Stop(_) | Event::Collision) => {
                self.idle(Cause::Dropped, out);
            }
            (OpenSent, Event::Disconnected) => {
                out.push(Action::Clear(Timer::Hold));
                self.wait(out);
            }
            (OpenSent, Event::Received(Ok(Message::Open(open)))) => self.opened(open, out),
            (OpenConfirm, Event::Received(Ok(Message::Keepalive))) => {
                self.state = Established;
                self.restart_hold(out);
                out.extend(self.session.clone().map(Action::Up));
            }
            (OpenConfirm | Established, Event::Expired(Timer::Keepalive)) => {
                out.push(Action::Send(Message::Keepalive));
                self.restart_keepalive(out);
            }
            (Established, Event::Received(Ok(Message::Keepalive))) => self.restart_hold(out),
            (Established, Event::Received(Ok(Message::Update(update)))) => {
                self.restart_hold(out);
                out.push(Action::Deliver(update));
            }
            (Established, Event::Received(Ok(Message::Refresh { afi, safi }))) => {
                self.restart_hold(out);
                if (afi, safi) == IPV4_UNICAST {
                    out.push(Action::SendRoutes);
                }
            }
            (OpenConfirm | Established, Event::Disconnected) => {
                self.idle(Cause::Disconnected, out);
            }
            (OpenSent | OpenConfirm | Established, Event::Expired(Timer::Hold)) => {
                self.fail(Notification::new(4, 0, []), out);
            }
            (OpenSent | OpenConfirm | Established, Event::Stop(error)) => self.fail(error, out),
            (OpenSent | OpenConfirm | Established, Event::Collision) => {
                self.fail(Notification::cease(7, ""), out);
            }
            (_, Event::Received(Ok(Message::Notification(error)))) if self.state != Idle => {
                self.idle(Cause::Received(error), out);
            }
            (OpenSent | OpenConfirm | Established, Event::Received(Err(error))) => {
                self.fail(error, out);
            }
            (OpenSent | OpenConfirm | Established, Event::Received(Ok(message))) => {
                // RFC 6608.
                let subcode = 1 + (self.state as u8 - OpenSent as u8);
                let data = match message {
                    Message::Open(_) => 1,
                    Message::Update(_) => 2,
                    Message::Notification(_) => 3,
                    Message::Keepalive => 4,
                    Message::Refresh { .. } => 5,
                };
                self.fail(Notification::new(5, subcode, [data]), out);
            }
            // These mean nothing there.
            (Idle, _)
            | (Active, Event::Disconnected)
            | (_, Event::Start | Event::StartPassive | Event::Connected | Event::Expired(_)) => {}
        }
    }

    fn connect(&mut self, out: &mut Vec<Action>) {
        self.state = State::Connect;
        self.delays_open = false;
        out.push(Action::Clear(Timer::DelayOpen));
        out.push(Action::Connect);
        out.push(Action::Set(Timer::ConnectRetry, self.config.connect_retry));
    }

    /// Waits for the peer, or for the time to connect again.
    fn wait(&mut self, out: &mut Vec<Action>) {
        self.state = State::Active;
        out.push(Action::Close);
        if !self.is_passive {
            out.push(Action::Set(Timer::ConnectRetry, self.config.connect_retry));
        }
    }

    fn send_open(&mut self, out: &mut Vec<Action>) {
        self.state = State::OpenSent;
        self.delays_open = false;
        out.push(Action::Clear(Timer::DelayOpen));
        out.push(Action::Send(Message::Open(Open {
            asn: self.config.asn,
            hold: self.config.hold,
            id: self.config.id,
            has_four_octets: true,
            has_refresh: true,
            families: vec![IPV4_UNICAST],
        })));
        out.push(Action::Set(Timer::Hold, LARGE_HOLD));
    }

    /// Checks what the peer's OPEN says (RFC 4271 section 6.2, RFC 6286).
    pub(super) fn check(&self, open: &Open) -> Result<(), Notification> {
        let is_other = |asn| self.config.peer_as.is_some_and(|wanted| wanted != asn);
        if open.asn == 0 || is_other(open.asn) {
            return Err(Notification::new(2, 2, []));
        }
        let is_own = open.id == self.config.id && open.asn == self.config.asn;
        if open.id.is_unspecified() || is_own {
            return Err(Notification::new(2, 3, []));
        }
        if matches!(open.hold, 1 | 2) {
            return Err(Notification::new(2, 6, []));
        }
        if !open.families.contains(&IPV4_UNICAST) {
            // The data is the capability that is needed (RFC 5492).
            return Err(Notification::new(2, 7, [1, 4, 0, 1, 0, 1]));
        }
        Ok(())
    }

    fn opened(&mut self, open: Open, out: &mut Vec<Action>) {
        if let Err(error) = self.check(&open) {
            return self.fail(error, out);
        }
        self.state = State::OpenConfirm;
        self.session = Some(Session {
            hold: self.config.hold.min(open.hold),
            terms: Terms {
                has_four_octets: open.has_four_octets,
                is_internal: open.asn == self.config.asn,
            },
            peer: open,
        });
        out.push(Action::Send(Message::Keepalive));
        out.push(Action::Clear(Timer::Hold));
        self.restart_hold(out);
        self.restart_keepalive(out);
    }

    fn hold(&self) -> Duration {
        let hold = self.session.as_ref().map_or(0, |session| session.hold);
        Duration::from_secs(hold.into())
    }

    fn restart_hold(&self, out: &mut Vec<Action>) {
        if !self.hold().is_zero() {
            out.push(Action::Set(Timer::Hold, self.hold()));
        }
    }

    fn restart_keepalive(&self, out: &mut Vec<Action>) {
        if !self.hold().is_zero() {
            out.push(Action::Set(Timer::Keepalive, self.hold() / 3));
        }
    }

    fn fail(&mut self, error: Notification, out: &mut Vec<Action>) {
        out.push(Action::Send(Message::Notification(error.clone())));
        self.idle(Cause::Sent(error), out);
    }

    fn idle(&mut self, cause: Cause, out: &mut Vec<Action>) {
        use Timer::{ConnectRetry, DelayOpen, Hold, Keepalive};
        out.push(Action::Close);
        out.extend([ConnectRetry, Hold, Keepalive, DelayOpen].map(Action::Clear));
        out.push(Action::Down(cause));
        *self = Self::new(self.config.clone());
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Open { asn, id, .. } = self.peer;
        write!(f, "AS {asn}, id {id}, hold time {} s", self.hold)?;
        if !self.terms.has_four_octets {
            f.write_str(", AS numbers of two octets")?;
        }
        Ok(())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(error) => write!(f, "sent {error}"),
            Self::Received(error) => write!(f, "received {error}"),
            Self::Disconnected => f.write_str("connection lost"),
            Self::Unreachable => f.write_str("not reachable"),
            Self::Dropped => f.write_str("stopped"),
        }
    }
}
