//! Time limits for a peer that accepts nothing of what is queued.
//!
//! # The idea
//!
//! A connection is *stalled* while its socket is full: bytes are queued, and the peer accepts none.
//! Three limits may apply to that, and the shortest counts:
//!
//! | limit                | applies                                                | default    |
//! |----------------------|--------------------------------------------------------|------------|
//! | [`SendLimits::closing`] | once the program, or the peer, has closed its side    | 60 seconds |
//! | [`SendLimits::open`]    | always                                                | none       |
//! | [`Grace::stalled`]    | while the reactor is about to end                     | 5 seconds  |
//!
//! The peer's end of file is not noticed by reading, because a full connection does not read. So
//! when the time is over, the system is asked for it.
//!
//! [`Grace::stalled`]: crate::reactor::Grace::stalled
//!
//! # Invariants
//!
//! 1. A connection that is not stalled has no timer.
//! 2. When the timer expires, the write is tried once more before the connection is broken.
//! 3. Progress moves no timer; a timer that has run too early is set again.

use std::time::{Duration, Instant};

use super::config::SendLimits;
use super::errors::ConnectionError;
use super::flags::Flag;
use super::link::ConnCore;
use super::producer::Extras;
use crate::clock::Clock;
use crate::driver::Socket;
use crate::reactor::{Reactor, Retry};

/// The state of a connection that is stalled, or that the end of the reactor waits for.
pub(super) struct Stall {
    /// When the peer accepted bytes last, or when the state began.
    since: Instant,
    /// When one of the sides was found to be closed.
    closed: Option<Instant>,
    /// The number of queued bytes that the end of the reactor waits for.
    drain_bytes: usize,
    /// Requests attention when the shortest limit is over.
    timer: Retry,
}

/// The consequence of being stalled.
enum StallCheck {
    NoLimit,
    /// None, before this time has passed as well.
    Wait(Duration),
    /// This limit has passed.
    TimedOut(Duration),
}

impl Stall {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            closed: None,
            drain_bytes: 0,
            timer: Retry::default(),
        }
    }
}

impl Stall {
    /// Decides what follows from being stalled; `ends` is how long the end of the reactor waits for
    /// the connection, if it does.
    fn check_limits(
        &mut self,
        link: &ConnCore,
        now: Instant,
        ends: Option<Duration>,
        was_notified: bool,
    ) -> StallCheck {
        let idle = now.saturating_duration_since(self.since);
        let is_blocked = link.flags.has(Flag::BLOCKED);
        let SendLimits { open, closing } = link.config.send_limits;
        let mut limits = [
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
                    limits[2] = (Some(limit), idle);
                }
                None if idle < limit => wait(limit - idle),
                // For a peer that has accepted nothing for that long, it does not matter when it
                // closed its side.
                None if was_notified && link.peer_has_shut() => {
                    match idle < limit.saturating_mul(2) {
                        true => return StallCheck::TimedOut(limit),
                        false => {
                            self.closed = Some(now);
                            wait(limit);
                        }
                    }
                }
                // The longer it has lasted, the less often it is checked.
                None if idle < CHECKED_FOR => wait(idle.max(limit)),
                None => {}
            }
        }
        for (limit, idle) in limits {
            match limit {
                Some(limit) if idle >= limit => return StallCheck::TimedOut(limit),
                // Checked more often than that: the little space that the socket itself has left is
                // used up soon, and does not count as the peer's progress at the end.
                Some(limit) => wait((limit - idle).min(limit / 4)),
                None => {}
            }
        }
        next.map_or(StallCheck::NoLimit, StallCheck::Wait)
    }
}

impl ConnCore {
    /// Records that the peer has accepted bytes.
    pub(super) fn note_progress(&self, count: usize) {
        let Some(reactor) = self.reactor() else {
            return;
        };
        self.with_extras(|extras| {
            if let Some(stall) = &mut extras.stall {
                stall.since = reactor.now();
                stall.drain_bytes = stall.drain_bytes.saturating_sub(count);
            }
        });
    }

    /// Returns whether the timer has run, so that the write is tried once more (invariant 2).
    pub(super) fn is_overdue(&self) -> bool {
        let is_due = |extras: &mut Extras| {
            extras
                .stall
                .as_ref()
                .is_some_and(|stall| stall.timer.is_due())
        };
        self.flags.has(Flag::STALLED) && self.with_extras(is_due)
    }

    /// Returns whether the end of the reactor waits for queued bytes.
    pub(super) fn is_draining(&self) -> bool {
        if self.life().is_over() {
            return false;
        }
        let ends_later = self.ends_later();
        let has_to_send =
            self.queued() > 0 && (self.life().is_flushing() || self.drain_bytes() > 0);
        has_to_send || ends_later || self.sends_file()
    }

    /// Returns how many queued bytes the end of the reactor waits for.
    pub(super) fn drain_bytes(&self) -> usize {
        match self.flags.has(Flag::STALLED) {
            true => self
                .with_extras(|extras| extras.stall.as_ref().map_or(0, |stall| stall.drain_bytes)),
            false => 0,
        }
    }

    /// Makes the end of the reactor wait for `count` queued bytes, from `now` on.
    pub(super) fn set_drain_bytes(&self, now: Instant, count: usize) {
        self.flags.set(Flag::STALLED, true);
        self.with_extras(|extras| {
            let stall = extras.stall.get_or_insert_with(|| Stall::new(now));
            stall.drain_bytes = count;
            // The connection may have been stalled for long, but the limit of the end begins now.
            stall.since = now;
        });
    }

    /// Returns whether the program has closed its side, or the peer is known to have done so.
    fn has_closed(&self) -> bool {
        self.life().is_flushing() || self.ends_later() || self.flags.has(Flag::PEER_DONE)
    }

    /// See [`Socket::peer_has_shut`].
    pub(super) fn peer_has_shut(&self) -> bool {
        self.with_socket(Socket::peer_has_shut).unwrap_or(false)
    }

    /// Ends the stalled state.
    pub(super) fn clear_stall(&self) {
        if self.flags.replace(Flag::STALLED, false) {
            let stall = self.with_extras(|extras| extras.stall.take());
            if let Some(stall) = stall {
                stall.timer.cancel();
            }
        }
    }

    /// Sets the timer, leaves it, or breaks the connection.
    pub(super) fn watch_stall(&self, reactor: &Reactor) {
        let is_ending = reactor.inner().grace_to_drain().is_some() && self.is_draining();
        if !self.flags.has(Flag::BLOCKED) && !self.flags.has(Flag::STALLED) && !is_ending {
            return;
        }
        let now = reactor.now();
        let was_stalled = self.flags.has(Flag::STALLED);
        let ends = reactor.inner().grace_to_drain();
        let ends = ends.filter(|_| self.is_draining() && !self.is_standard());
        let stall = self.with_extras(|extras| extras.stall.take());
        let mut stall = stall.unwrap_or_else(|| Stall::new(now));
        stall.timer.take_due();
        let was_notified = was_stalled && !stall.timer.is_set();
        let left = match stall.check_limits(self, now, ends, was_notified) {
            StallCheck::NoLimit => None,
            StallCheck::Wait(left) => Some(left),
            // Only the timer cuts the connection off, after another write was tried.
            StallCheck::TimedOut(limit) if was_notified => {
                let queued = self.queued();
                self.break_with(self.failure(ConnectionError::SendTimedOut { queued, limit }));
                None
            }
            StallCheck::TimedOut(_) => Some(Duration::ZERO),
        };
        let wake = left.and_then(|left| now.checked_add(left));
        let due = stall.timer.deadline();
        if left.is_none() || due.is_none() || (wake.is_some() && due > wake) {
            let attention = || self.registration.attention();
            stall
                .timer
                .set(left.map(|left| reactor.limit(left, attention())));
        }
        let is_kept = left.is_some() || (is_ending && stall.drain_bytes > 0);
        self.flags.set(Flag::STALLED, is_kept);
        if is_kept {
            self.with_extras(|extras| extras.stall = Some(stall));
        }
    }

    /// Makes the end of the reactor wait until the present queue has been sent.
    pub(super) fn begin_to_drain(&self, reactor: &Reactor) {
        if self.queued() > 0 && !self.life().is_over() {
            self.set_drain_bytes(reactor.now(), self.queued());
        }
        self.watch_stall(reactor);
    }
}

/// A connection that has been open and stalled for this long is not checked any more: 30 days.
const CHECKED_FOR: Duration = Duration::from_secs(30 * 86_400);
