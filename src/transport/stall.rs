//! Time limits for a peer that accepts nothing of what is queued.
//!
//! # The idea
//!
//! A connection is *stalled* while its socket is full: bytes are queued, and the peer accepts none.
//! Three limits may apply to that, and the shortest counts:
//!
//! | limit                | applies                                                | default    |
//! |----------------------|--------------------------------------------------------|------------|
//! | [`Patience::closing`] | once the program, or the peer, has closed its side    | 60 seconds |
//! | [`Patience::open`]    | always                                                | none       |
//! | [`Grace::stalled`]    | while the reactor is about to end                     | 5 seconds  |
//!
//! That the peer has closed its side is not seen by reading, since a connection that is full does
//! not read. So when the time is over the system is asked.
//!
//! [`Grace::stalled`]: crate::reactor::Grace::stalled
//!
//! # Invariants
//!
//! 1. A connection that is not stalled has no timer.
//! 2. A timer that has run proves nothing yet: writing is tried once more, and only then the
//!    connection is broken.
//! 3. Progress moves no timer; a timer that has run too early is set anew.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::config::Patience;
use super::engine::{Conn, ConnHandler};
use super::errors::ConnectionError;
use super::flags::Flag;
use super::link::ConnCore;
use super::producer::Extras;
use crate::clock::Clock;
use crate::driver::Socket;
use crate::reactor::{Reactor, Retry};

/// What a connection has while it is stalled, or while the reactor waits for it to end.
pub(super) struct Stall {
    /// When the peer accepted something last, or when it began.
    since: Instant,
    /// When one of the sides was found to be closed.
    closed: Option<Instant>,
    /// How much of what is queued the end of the reactor waits for.
    owed: usize,
    /// Requests attention when the shortest limit is over.
    timer: Retry,
}

/// What follows from being stalled.
enum Verdict {
    NoLimit,
    /// Nothing, before this time has passed as well.
    Wait(Duration),
    /// This limit is passed.
    Cut(Duration),
}

impl Stall {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            closed: None,
            owed: 0,
            timer: Retry::default(),
        }
    }
}

impl Stall {
    /// What follows from being stalled, now that `ends` is how long the end of the reactor waits
    /// for it, if it does.
    fn judge(
        &mut self,
        link: &ConnCore,
        now: Instant,
        ends: Option<Duration>,
        was_notified: bool,
    ) -> Verdict {
        let idle = now.saturating_duration_since(self.since);
        let is_blocked = link.flags.has(Flag::BLOCKED);
        let Patience { open, closing } = link.config.patience;
        let mut firm = [
            (open.filter(|_| is_blocked), idle),
            (ends, idle),
            (None, idle),
        ];
        let mut next: Option<Duration> = None;
        let mut wait = |left: Duration| next = Some(next.map_or(left, |next| next.min(left)));
        if let Some(limit) = closing.filter(|_| is_blocked) {
            if self.closed.is_none() && link.has_closed() {
                self.closed = Some(now);
            }
            match self.closed {
                Some(at) => {
                    let idle = now.saturating_duration_since(at.max(self.since));
                    firm[2] = (Some(limit), idle);
                }
                None if idle < limit => wait(limit - idle),
                // Of a peer that has accepted nothing for just as long it does not matter when it
                // closed its side.
                None if was_notified && link.peer_has_shut() => {
                    match idle < limit.saturating_mul(2) {
                        true => return Verdict::Cut(limit),
                        false => {
                            self.closed = Some(now);
                            wait(limit);
                        }
                    }
                }
                // The longer it has been so, the less often it is looked at.
                None if idle < RARELY => wait(idle.max(limit)),
                None => {}
            }
        }
        for (limit, idle) in firm {
            match limit {
                Some(limit) if idle >= limit => return Verdict::Cut(limit),
                // Looked at more often than that: what little room the socket itself has left is
                // used up soon, and is not taken for the peer's progress at the end.
                Some(limit) => wait((limit - idle).min(limit / 4)),
                None => {}
            }
        }
        next.map_or(Verdict::NoLimit, Verdict::Wait)
    }
}

impl ConnCore {
    /// The peer has accepted bytes.
    pub(super) fn note_progress(&self, count: usize) {
        let Some(reactor) = self.reactor() else {
            return;
        };
        self.with_extras(|extras| {
            if let Some(stall) = &mut extras.stall {
                stall.since = reactor.now();
                stall.owed = stall.owed.saturating_sub(count);
            }
        });
    }

    /// Has its timer run? Then writing is to be tried once more (invariant 2).
    pub(super) fn is_overdue(&self) -> bool {
        let is_due = |extras: &mut Extras| {
            extras
                .stall
                .as_ref()
                .is_some_and(|stall| stall.timer.is_due())
        };
        self.flags.has(Flag::STALLED) && self.with_extras(is_due)
    }

    /// Is there something that the end of the reactor waits for?
    pub(super) fn is_draining(&self) -> bool {
        if self.life().is_over() {
            return false;
        }
        let ends_later = self.ends_later();
        let has_to_send = self.queued() > 0 && (self.life().is_about_to_end() || self.owed() > 0);
        has_to_send || ends_later || self.sends_file()
    }

    /// How much of what is queued the end of the reactor waits for.
    pub(super) fn owed(&self) -> usize {
        match self.flags.has(Flag::STALLED) {
            true => self.with_extras(|extras| extras.stall.as_ref().map_or(0, |stall| stall.owed)),
            false => 0,
        }
    }

    /// The end of the reactor waits for so much of what is queued, from `now` on.
    pub(super) fn owe(&self, now: Instant, count: usize) {
        self.flags.set(Flag::STALLED, true);
        self.with_extras(|extras| {
            let stall = extras.stall.get_or_insert_with(|| Stall::new(now));
            stall.owed = count;
            // The program may have let it wait long, but the end begins now.
            stall.since = now;
        });
    }

    /// Has the program closed its side, or is the peer known to have done so?
    fn has_closed(&self) -> bool {
        self.life().is_about_to_end() || self.ends_later() || self.flags.has(Flag::PEER_DONE)
    }

    fn peer_has_shut(&self) -> bool {
        self.with_socket(Socket::peer_has_shut).unwrap_or(false)
    }

    /// The stalled state is over, or so is the connection.
    pub(super) fn forget_stall(&self) {
        if self.flags.replace(Flag::STALLED, false) {
            let stall = self.with_extras(|extras| extras.stall.take());
            if let Some(stall) = stall {
                stall.timer.cancel();
            }
        }
    }
}

impl<S: ConnHandler> Conn<S> {
    /// Sets the timer, lets it be, or breaks the connection.
    pub(super) fn watch_stall(self: &Rc<Self>, reactor: &Reactor) {
        let link = self.link();
        let is_ending = reactor.inner().grace_to_drain().is_some() && link.is_draining();
        if !link.flags.has(Flag::BLOCKED) && !link.flags.has(Flag::STALLED) && !is_ending {
            return;
        }
        let now = reactor.now();
        let was_stalled = link.flags.has(Flag::STALLED);
        let ends = reactor.inner().grace_to_drain();
        let ends = ends.filter(|_| link.is_draining() && !link.is_standard());
        let stall = link.with_extras(|extras| extras.stall.take());
        let mut stall = stall.unwrap_or_else(|| Stall::new(now));
        stall.timer.take_due();
        let was_notified = was_stalled && !stall.timer.is_set();
        let left = match stall.judge(link, now, ends, was_notified) {
            Verdict::NoLimit => None,
            Verdict::Wait(left) => Some(left),
            // It is the timer that cuts, when writing has been tried.
            Verdict::Cut(limit) if was_notified => {
                let queued = link.queued();
                link.break_with(link.failure(ConnectionError::SendTimedOut { queued, limit }));
                None
            }
            Verdict::Cut(_) => Some(Duration::ZERO),
        };
        let wake = left.and_then(|left| now.checked_add(left));
        let due = stall.timer.deadline();
        if left.is_none() || due.is_none() || (wake.is_some() && due > wake) {
            let attention = || link.registration.attention();
            stall
                .timer
                .set(left.map(|left| reactor.limit(left, attention())));
        }
        let is_kept = left.is_some() || (is_ending && stall.owed > 0);
        link.flags.set(Flag::STALLED, is_kept);
        if is_kept {
            link.with_extras(|extras| extras.stall = Some(stall));
        }
    }

    /// The reactor is about to end: it waits until what is queued now has been sent.
    pub(super) fn begin_to_drain(self: &Rc<Self>, reactor: &Reactor) {
        let link = self.link();
        if link.queued() > 0 && !link.life().is_over() {
            link.owe(reactor.now(), link.queued());
        }
        self.watch_stall(reactor);
    }
}

/// A connection that has been open and stalled for so long is not looked at any more: 30 days.
const RARELY: Duration = Duration::from_secs(30 * 86_400);
