//! The policies of a connection at work: see `policy`.
//!
//! A connection with a policy has [`Flag::POLICED`], which is one of the flags that keep it off the
//! fast path; a connection without one pays a test of that flag for each read and each flush.
//!
//! # Invariants
//!
//! 1. Observers are taken out while they are called, from the loop's turn or from the task that
//!    reads; a panic in one ends the connection.
//! 2. While a rate limit allows no byte, `READ_HELD` or `WRITE_HELD` is set and the socket is not
//!    armed for that direction, so nothing spins; the timer clears the flag.
//! 3. An observer whose `connected` was called gets one `closed`, at the latest when it is dropped:
//!    with a connection that is between two handlers, or that moves to a port with other policies.
//! 4. All limits share one timer, which is set for the earliest of them. Traffic moves no timer; a
//!    timer that runs too early is set again.

use std::io;
use std::panic::Location;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Transport;
use super::errors::ConnectionError;
use super::flags::Flag;
use super::link::ConnCore;
use super::policy::{Buckets, Direction, Policy, RateLimits, SharedPolicies, Total};
use crate::bytes::Outgoing;
use crate::clock::{Clock, LimitTimer};
use crate::driver::is_for_later;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::report::{self, Origin};

/// The policies of one connection.
pub(super) struct Policies {
    idle: Option<Duration>,
    /// When bytes were received or sent last.
    active: Instant,
    frame: Option<Duration>,
    /// When the frame began of which a part has arrived.
    frame_began: Option<Instant>,
    rates: Buckets,
    total: Option<Rc<Total>>,
    /// The numbers of bytes that the total limits have granted to this connection and that it has
    /// not moved yet: to be read, to be written.
    granted: [usize; 2],
    observers: Vec<Observer>,
    /// Makes the first observers, when the connection begins.
    make: Option<Rc<SharedPolicies>>,
    timer: LimitTimer,
}

/// An observer that has seen its connection begin (invariant 3).
struct Observer {
    /// `None` once it is closed.
    policy: Option<Box<dyn Policy>>,
    location: &'static Location<'static>,
}

impl Observer {
    fn close(&mut self, reason: &Failure) {
        if let Some(mut policy) = self.policy.take() {
            report::contain_rarely(Origin::Connection, self.location, || policy.closed(reason));
            report::discard(policy, self.location);
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if self.policy.is_some() {
            self.close(&Failure::at(ConnectionError::Aborted, self.location));
        }
    }
}

impl Policies {
    /// Tells the observers that the connection has ended, and drops them.
    pub(super) fn end(self: Box<Self>, reason: &Failure) {
        for mut observer in self.observers {
            observer.close(reason);
        }
    }

    fn new(now: Instant) -> Self {
        Self {
            idle: None,
            active: now,
            frame: None,
            frame_began: None,
            rates: Buckets::new(RateLimits::default(), now),
            total: None,
            granted: [0; 2],
            observers: Vec::new(),
            make: None,
            timer: LimitTimer::default(),
        }
    }

    /// Makes the policies that a connection begins with.
    pub(super) fn of_shared(shared: &Rc<SharedPolicies>, now: Instant) -> Box<Self> {
        let config = &shared.config;
        Box::new(Self {
            idle: config.idle.flatten(),
            frame: config.frame.flatten(),
            rates: Buckets::new(config.rates.unwrap_or_default(), now),
            total: config.total_rates.map(|_| shared.total.clone()),
            make: (!config.make.is_empty()).then(|| shared.clone()),
            ..Self::new(now)
        })
    }

    /// Returns how many bytes the connection with this key may move now; none if it has to wait.
    fn allowance(&mut self, direction: Direction, key: usize, now: Instant) -> usize {
        let own = self.rates.allowance(direction, now);
        let Some(total) = self.total.as_ref().filter(|_| own > 0) else {
            return own;
        };
        let granted = &mut self.granted[direction as usize];
        if *granted == 0 {
            *granted = total.grant(direction, key, now);
        }
        own.min(*granted)
    }

    fn spend(&mut self, direction: Direction, count: usize) {
        self.rates.spend(direction, count);
        let granted = &mut self.granted[direction as usize];
        *granted = granted.saturating_sub(count);
    }

    /// Returns how long it takes until bytes may be moved again.
    fn wait(&self, direction: Direction, key: usize, now: Instant) -> Duration {
        let own = self.rates.wait(direction, now);
        let total = self.total.as_ref();
        own.max(total.map_or(Duration::ZERO, |total| total.wait(direction, key, now)))
    }

    /// Returns the time limit that has passed, as the reason for which the connection ends.
    fn passed(&self, now: Instant) -> Option<ConnectionError> {
        let has_passed = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        let idle = self.idle.filter(|limit| has_passed(self.active, *limit));
        if let Some(limit) = idle {
            return Some(ConnectionError::Idle { limit });
        }
        let (limit, began) = self.frame.zip(self.frame_began)?;
        has_passed(began, limit).then_some(ConnectionError::FrameTimedOut { limit })
    }

    /// Returns how long the connection can be left alone.
    fn next_check(&self, flags: (bool, bool), key: usize, now: Instant) -> Option<Duration> {
        let left = |since: Instant, limit: Duration| {
            limit.saturating_sub(now.saturating_duration_since(since))
        };
        let (read_held, write_held) = flags;
        let waits = [
            self.idle.map(|limit| left(self.active, limit)),
            self.frame
                .zip(self.frame_began)
                .map(|(limit, began)| left(began, limit)),
            read_held.then(|| self.wait(Direction::Read, key, now)),
            write_held.then(|| self.wait(Direction::Write, key, now)),
        ];
        waits.into_iter().flatten().min()
    }
}

impl ConnCore {
    /// Changes the policies, and has the loop look at them.
    fn with_policies<R>(&self, f: impl FnOnce(&mut Policies) -> R) -> Option<R> {
        let now = self.reactor()?.now();
        self.flags.set(Flag::POLICED, true);
        let result = self.with_extras(|extras| {
            let policies = &mut extras.policies;
            f(policies.get_or_insert_with(|| Box::new(Policies::new(now))))
        });
        self.ask_for_attention();
        Some(result)
    }

    /// Calls `f` with the policies, if there are any. Runs no user code.
    fn on_policies<R>(&self, f: impl FnOnce(&mut Policies) -> R) -> Option<R> {
        self.with_extras(|extras| extras.policies.as_deref_mut().map(f))
    }

    /// Takes the policies out for good, or for another handler.
    pub(super) fn take_policies(&self) -> Option<Box<Policies>> {
        if !self.flags.replace(Flag::POLICED, false) {
            return None;
        }
        let policies = self.with_extras(|extras| extras.policies.take())?;
        policies.timer.stop();
        if let Some(total) = &policies.total {
            total.forget(self.key());
        }
        Some(policies)
    }

    pub(super) fn set_policies(&self, policies: Option<Box<Policies>>) {
        self.flags.set(Flag::POLICED, policies.is_some());
        if policies.is_some() {
            self.with_extras(|extras| extras.policies = policies);
        }
    }

    fn observer(&self, policy: Box<dyn Policy>) -> Observer {
        Observer {
            policy: Some(policy),
            location: self.location(),
        }
    }

    /// Calls each observer (invariant 1).
    fn observe(&self, mut call: impl FnMut(&mut dyn Policy)) {
        let observers = self.on_policies(|policies| std::mem::take(&mut policies.observers));
        let Some(mut observers) = observers.filter(|observers| !observers.is_empty()) else {
            return;
        };
        let mut panicked = None;
        for policy in observers
            .iter_mut()
            .flat_map(|observer| &mut observer.policy)
        {
            let called = report::catch_rarely(self.location(), || call(&mut **policy));
            panicked = panicked.or_else(|| called.err());
        }
        let mut observers = Some(observers);
        self.on_policies(|policies| {
            // Those that were added meanwhile come after the others.
            let added = std::mem::replace(
                &mut policies.observers,
                observers.take().unwrap_or_default(),
            );
            policies.observers.extend(added);
        });
        drop(observers);
        if let Some(panic) = panicked {
            report::deliver(Origin::Connection, panic.clone(), self.location());
            self.panicked(panic);
        }
    }

    /// Reads as [`ConnCore::read`] does, where there are policies, or a handshake.
    #[cold]
    #[inline(never)]
    pub(super) fn read_checked(&self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        if self.flags.has(Flag::SECURING) {
            // What arrives is for the handshake.
            return Some(Err(io::ErrorKind::WouldBlock.into()));
        }
        let now = self.reactor()?.now();
        let room =
            self.on_policies(|policies| policies.allowance(Direction::Read, self.key(), now));
        let room = room.unwrap_or(usize::MAX).min(buf.len());
        if room == 0 && !buf.is_empty() {
            self.flags.set(Flag::READ_HELD, true);
            self.ask_for_attention();
            return None;
        }
        let result = self.socket.read(&mut buf[..room])?;
        if let Ok(count @ 1..) = result {
            self.on_policies(|policies| {
                policies.spend(Direction::Read, count);
                policies.active = now;
            });
            self.observe(|observer| observer.received(&buf[..count]));
        }
        Some(result)
    }

    /// Writes what it can of the queue as [`ConnCore::flush`] does, where there are policies.
    #[cold]
    #[inline(never)]
    pub(super) fn flush_policed(&self, mut out: Box<Outgoing>) -> io::Result<bool> {
        let before = out.len();
        let result = self.flush_within_limits(&mut out);
        self.note_queued(before, out.len());
        if out.is_empty() {
            self.config.buffers.give_back(out);
        } else {
            self.out.set(Some(out));
        }
        result
    }

    fn flush_within_limits(&self, out: &mut Outgoing) -> io::Result<bool> {
        while !out.is_empty() {
            let room = self.write_allowance().min(out.front().len());
            if room == 0 {
                return Ok(true);
            }
            let piece = &out.front()[..room];
            match self.socket.write(piece).unwrap_or(Ok(0)) {
                Ok(count) => {
                    self.note_sent(count);
                    self.observe(|observer| observer.sent(&piece[..count]));
                    out.consume(count);
                    if count < room {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Returns how many bytes may be sent now.
    pub(super) fn write_allowance(&self) -> usize {
        if !self.flags.has(Flag::POLICED) {
            return usize::MAX;
        }
        let now = self.reactor().map(|reactor| reactor.now());
        let room = now.and_then(|now| {
            self.on_policies(|policies| policies.allowance(Direction::Write, self.key(), now))
        });
        // The socket is not full.
        self.flags.set(Flag::WRITE_HELD, room == Some(0));
        room.unwrap_or(usize::MAX)
    }

    /// Records that the system has accepted bytes.
    #[cold]
    pub(super) fn note_sent_policed(&self, count: usize) {
        let Some(reactor) = self.reactor() else {
            return;
        };
        self.on_policies(|policies| {
            policies.spend(Direction::Write, count);
            policies.active = reactor.now();
        });
    }

    /// Records whether a part of a frame has arrived, for the time limit of frames; `progressed`
    /// when another frame was complete before it.
    #[inline]
    pub(crate) fn note_unfinished(&self, is_unfinished: bool, progressed: bool) {
        if self.flags.has(Flag::POLICED) {
            self.note_unfinished_policed(is_unfinished, progressed);
        }
    }

    #[cold]
    fn note_unfinished_policed(&self, is_unfinished: bool, progressed: bool) {
        let Some(reactor) = self.reactor() else {
            return;
        };
        let is_new = self.on_policies(|policies| {
            if !is_unfinished || progressed {
                policies.frame_began = None;
            }
            let is_new = is_unfinished && policies.frame_began.is_none();
            if is_new {
                policies.frame_began = Some(reactor.now());
            }
            is_new && policies.frame.is_some()
        });
        if is_new == Some(true) {
            self.ask_for_attention();
        }
    }
}

// None of this is generic over the handler, so that it is compiled once.
impl ConnCore {
    /// Calls `connected` of the observers, which are made where there are none yet.
    #[cold]
    pub(super) fn begin_policies(&self, transport: &Transport) {
        let link = self;
        let shared = link.on_policies(|policies| policies.make.take()).flatten();
        let makers = shared.iter().flat_map(|shared| &shared.config.make);
        let mut made = Vec::new();
        for maker in makers {
            match report::catch_rarely(link.location(), || (maker.0)(&link.peer())) {
                Ok(policy) => made.push(policy),
                Err(panic) => {
                    report::discard(made, link.location());
                    report::deliver(Origin::Connection, panic.clone(), link.location());
                    return link.panicked(panic);
                }
            }
        }
        if !made.is_empty() {
            let made = made.into_iter().map(|policy| link.observer(policy));
            link.with_policies(|policies| policies.observers.extend(made));
        }
        link.observe(|observer| observer.connected(transport));
    }

    /// Ends the connection when a time limit has passed, and lets it go on that a rate limit has
    /// held.
    #[cold]
    pub(super) fn check_policies(&self, reactor: &Reactor) {
        let (link, now) = (self, reactor.now());
        let passed = link.on_policies(|policies| {
            for (flag, direction) in [
                (Flag::READ_HELD, Direction::Read),
                (Flag::WRITE_HELD, Direction::Write),
            ] {
                if link.flags.has(flag) && policies.allowance(direction, link.key(), now) > 0 {
                    link.flags.set(flag, false);
                }
            }
            policies.passed(now)
        });
        if let Some(Some(error)) = passed {
            link.break_with(link.failure(error));
        }
    }

    /// Sets the timer for the next check (invariant 4).
    #[cold]
    pub(super) fn watch_policies(&self, reactor: &Reactor) {
        let (link, now) = (self, reactor.now());
        let held = (
            link.flags.has(Flag::READ_HELD),
            link.flags.has(Flag::WRITE_HELD),
        );
        let look = link.registration.attention();
        link.on_policies(|policies| {
            if let Some(left) = policies.next_check(held, link.key(), now) {
                policies.timer.within(left, reactor, look);
            }
        });
    }

    /// Ends the policies with the connection.
    #[cold]
    pub(super) fn end_policies(&self, reason: &Failure) {
        if let Some(policies) = self.take_policies() {
            policies.end(reason);
        }
    }
}

impl Transport {
    /// Adds a policy, which observes the connection's traffic. Its `connected` is called first,
    /// within this call. Drops the policy when the connection has ended.
    ///
    /// # Examples
    ///
    /// See [`Policy`].
    pub fn add_policy(&self, mut policy: impl Policy) {
        let link = self.0.link();
        if link.life().is_over() {
            return;
        }
        policy.connected(self);
        let observer = link.observer(Box::new(policy));
        link.with_policies(|policies| policies.observers.push(observer));
    }

    /// Ends the connection when no byte was received or sent for this long; `None` means no limit.
    /// Returns the previous limit. Default:
    /// [`ListenOptions::idle_timeout`](crate::net::ListenOptions::idle_timeout), no limit.
    ///
    /// The connection is lost with [`ConnectionError::Idle`].
    ///
    /// Unlike Twisted's `TimeoutMixin`, the limit counts sent bytes too (a member of a chat who is
    /// silent but receives is not idle), and there is no hook before the end. For both, keep a
    /// delayed call: the second example of [`Context::call_later`](crate::Context::call_later).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::testing::Wire;
    /// use torsade::{Context, Protocol};
    ///
    /// struct Echo;
    ///
    /// impl Protocol for Echo {
    ///     fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
    ///         cx.set_idle_timeout(Duration::from_secs(60));
    ///     }
    ///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
    ///         cx.write(data);
    ///     }
    /// }
    ///
    /// let mut wire = Wire::new(Echo);
    /// wire.advance(Duration::from_secs(59));
    /// wire.send("hello");
    /// wire.advance(Duration::from_secs(59));
    /// assert!(!wire.is_closed());
    /// wire.advance(Duration::from_secs(1));
    /// assert!(wire.is_closed());
    /// ```
    #[doc(alias("TimeoutMixin", "TimeoutFactory"))]
    pub fn set_idle_timeout(&self, limit: impl Into<Option<Duration>>) -> Option<Duration> {
        let (limit, link) = (limit.into(), self.0.link());
        let now = link.reactor()?.now();
        link.with_policies(|policies| {
            policies.active = now;
            std::mem::replace(&mut policies.idle, limit)
        })?
    }

    /// Ends the connection when a frame that has begun to arrive is not complete after this long,
    /// however many bytes of it arrive in between; `None` means no limit. Returns the previous
    /// limit.
    ///
    /// The limit applies to protocols that leave bytes in their [`Input`](crate::protocol::Input),
    /// and to async code that waits for a line or another frame. The connection is lost with
    /// [`ConnectionError::FrameTimedOut`]. Default:
    /// [`ListenOptions::frame_timeout`](crate::net::ListenOptions::frame_timeout), no limit.
    #[doc(alias("slowloris", "read_timeout"))]
    pub fn set_frame_timeout(&self, limit: impl Into<Option<Duration>>) -> Option<Duration> {
        let limit = limit.into();
        self.0
            .link()
            .with_policies(|policies| std::mem::replace(&mut policies.frame, limit))?
    }

    /// Limits how many bytes a second the connection receives and sends. Replaces the earlier
    /// limits. Default: [`ListenOptions::rate_limits`](crate::net::ListenOptions::rate_limits), no
    /// limits.
    #[doc(alias(
        "ThrottlingFactory",
        "ThrottlingProtocol",
        "throttleReads",
        "throttleWrites"
    ))]
    pub fn set_rate_limits(&self, limits: RateLimits) {
        if let Some(reactor) = self.0.link().reactor() {
            let rates = Buckets::new(limits, reactor.now());
            self.0
                .link()
                .with_policies(|policies| policies.rates = rates);
        }
    }
}
