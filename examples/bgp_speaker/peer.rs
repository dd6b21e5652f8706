//! A peer: the machine that connects to it, the machine that waits for it, and what decides between
//! the two. Without I/O and without a clock.
//!
//! 1. When both have a connection, the first OPEN that arrives while the other one is in
//!    OpenConfirm or Established decides (RFC 4271 section 6.8): an established session stays;
//!    otherwise the connection stays that was made by the speaker with the higher identifier.
//! 2. When one is Established, the other one makes no connection.
//! 3. When no connection is left, both start again after a time in Idle. The time doubles with each
//!    failure up to a minute; a session that has lasted ends that. After an error of the peer, its
//!    connections are refused meanwhile.

use std::time::Duration;

use super::machine::{Action, Cause, Config, Event, Machine, State, Timer};
use super::message::{Message, Notification, Open};

/// Who has made a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// This speaker.
    Out,
    /// The peer.
    In,
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    config: Config,
    machines: [Machine; 2],
    is_started: bool,
    failures: u32,
    /// The KEEPALIVEs of the present session.
    keepalives: u32,
}

/// An action, and the connection that it is about.
pub(super) type Actions = Vec<(Side, Action)>;

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
        }
    }
}

impl Peer {
    pub(super) fn new(config: Config) -> Self {
        let machine = Machine::new(config.clone());
        Self {
            config,
            machines: [machine.clone(), machine],
            is_started: false,
            failures: 0,
            keepalives: 0,
        }
    }

    pub(super) fn machine(&self, side: Side) -> &Machine {
        &self.machines[side as usize]
    }

    /// Returns the state of the machine that is closest to a session. The one that waits counts
    /// only when the other one does nothing either.
    pub(super) fn state(&self) -> State {
        let [out, inward] = self.machines.each_ref().map(Machine::state);
        match inward {
            State::Active => out,
            inward => out.max(inward),
        }
    }

    /// Starts both machines (events 1 and 4).
    pub(super) fn start(&mut self) -> Actions {
        self.is_started = true;
        let mut actions = vec![(Side::Out, Action::Clear(Timer::IdleHold))];
        if !self.machine(Side::In).is_busy() {
            self.step(Side::Out, Event::Start, &mut actions);
        }
        self.step(Side::In, Event::StartPassive, &mut actions);
        actions
    }

    /// Ends the session and everything else (event 2).
    pub(super) fn stop(&mut self, error: &Notification) -> Actions {
        self.is_started = false;
        let mut actions = vec![(Side::Out, Action::Clear(Timer::IdleHold))];
        for side in [Side::Out, Side::In] {
            self.step(side, Event::Stop(error.clone()), &mut actions);
        }
        actions
    }

    pub(super) fn handle(&mut self, side: Side, event: Event) -> Actions {
        let mut actions = Vec::new();
        match event {
            Event::Expired(Timer::IdleHold) => return self.start(),
            Event::Received(Ok(Message::Open(ref open))) if self.collides(side, open) => {
                let loser = match self.keeps(side, open) {
                    true => side.other(),
                    false => side,
                };
                self.step(loser, Event::Collision, &mut actions);
                if loser != side {
                    self.step(side, event, &mut actions);
                }
            }
            event => {
                let is_keepalive = event == Event::Received(Ok(Message::Keepalive));
                self.step(side, event, &mut actions);
                if is_keepalive && self.machine(side).state() == State::Established {
                    self.keepalives += 1;
                    if self.keepalives > 2 {
                        self.failures = 0;
                    }
                }
            }
        }
        self.follow(&mut actions);
        actions
    }

    /// Returns whether the other connection is as far as this one will be with this OPEN.
    fn collides(&self, side: Side, open: &Open) -> bool {
        let machine = self.machine(side);
        let other = self.machine(side.other()).state();
        other >= State::OpenConfirm && machine.expects_open() && machine.check(open).is_ok()
    }

    /// Returns whether the connection at `side` is the one to keep.
    fn keeps(&self, side: Side, open: &Open) -> bool {
        if self.machine(side.other()).state() == State::Established {
            return false;
        }
        // Of two equal identifiers in two systems the higher number decides (RFC 6286).
        let is_higher = (self.config.id, self.config.asn) > (open.id, open.asn);
        is_higher == (side == Side::Out)
    }

    fn step(&mut self, side: Side, event: Event, actions: &mut Actions) {
        let made = self.machines[side as usize].handle(event);
        actions.extend(made.into_iter().map(|action| (side, action)));
    }

    /// Does what follows from a session that came, or a connection that went.
    fn follow(&mut self, actions: &mut Actions) {
        for (side, action) in actions.clone() {
            match action {
                Action::Up(_) => {
                    self.keepalives = 0;
                    actions.push((Side::Out, Action::Clear(Timer::IdleHold)));
                    if !self.machine(side.other()).is_busy() && side == Side::In {
                        let stop = Event::Stop(Notification::cease(0, ""));
                        self.step(Side::Out, stop, actions);
                    }
                }
                Action::Down(cause) if self.is_started => self.ended(side, &cause, actions),
                _ => {}
            }
        }
    }

    fn ended(&mut self, side: Side, cause: &Cause, actions: &mut Actions) {
        if self.machine(side.other()).is_busy() {
            if side == Side::In {
                self.step(Side::In, Event::StartPassive, actions);
            }
            return;
        }
        let delay = match cause {
            // A refused connection is not an oscillation.
            Cause::Unreachable => self.config.connect_retry,
            Cause::Disconnected => self.config.idle_hold,
            _ => {
                let factor = 1 << self.failures.min(8);
                self.failures += 1;
                (self.config.idle_hold * factor).min(Duration::from_secs(60))
            }
        };
        let stop = Event::Stop(Notification::cease(0, ""));
        self.step(Side::Out, stop.clone(), actions);
        match cause {
            Cause::Sent(_) => self.step(Side::In, stop, actions),
            _ => self.step(Side::In, Event::StartPassive, actions),
        }
        actions.push((Side::Out, Action::Set(Timer::IdleHold, delay)));
    }
}
