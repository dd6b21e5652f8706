//! TLS on a connection: its handshake, and its end.
//!
//! # The idea
//!
//! [`ConnCore::start_tls`] wraps the socket at once. While [`Flag::SECURING`] is set, the handler
//! gets no bytes and its writes stay in the queue; each event of the socket goes on with the
//! handshake, [`Conn::advance_handshake`]. From then on the connection is as any other: what is
//! written is encrypted when it is flushed.
//!
//! # Invariants
//!
//! 1. Bytes that had arrived before the handshake are never delivered as if they had been
//!    encrypted: they end the connection.
//! 2. Bytes that were queued before the handshake are sent before it, without encryption; bytes
//!    that are queued later are sent only when the peer has been verified.
//! 3. The handshake ends: by its time limit at the latest. Its Deferred fires once.
//! 4. `close_notify` is sent after the last byte, before the connection counts as drained.

use std::mem;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::Transport;
use super::engine::{Conn, ConnHandler};
use super::errors::ConnectionError;
use super::flags::Flag;
use super::link::ConnCore;
use crate::defer::{Deferred, Resolver};
use crate::driver::{Event, Socket};
use crate::failure::Failure;
use crate::reactor::{Reactor, Retry};
use crate::report;
use crate::task::Task;
use crate::tls::{
    ClientConfig, ClientHello, GivenUp, Handshake, ServerConfig, Session, TlsError, TlsInfo,
};

/// A handshake under way.
pub(super) struct Handshaking {
    limit: Duration,
    timer: Retry,
    /// Fires when it is finished; `None` where the handler waits for that.
    done: Option<Resolver<()>>,
    /// Waits for the program to choose a configuration.
    choosing: Option<Task<()>>,
    /// Whether bytes that had arrived before were looked for.
    is_checked: bool,
    /// Whether there is nothing to do for it before the next event: the one that is being handled
    /// has gone on with it already, or the peer begins.
    is_advanced: bool,
}

/// What one end of a handshake needs.
pub(crate) struct TlsSide {
    pub(crate) session: Session,
    pub(crate) limit: Duration,
}

impl TlsSide {
    /// Begins a client's side.
    pub(crate) fn client(config: &ClientConfig) -> Result<Self, TlsError> {
        Ok(Self {
            session: Session::client(config)?,
            limit: config.limit(),
        })
    }

    /// Begins a server's side.
    pub(crate) fn server(config: &Rc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self {
            session: Session::server(config)?,
            limit: config.limit(),
        })
    }
}

impl Transport {
    /// Starts TLS on the connection, as the client, after the bytes that are queued now: those are
    /// sent without encryption. The Deferred fires when the handshake is finished.
    ///
    /// Until then no bytes are delivered, and bytes that are written are queued; they are encrypted
    /// and sent after the handshake. A protocol may call this in any hook, and its hooks are then
    /// called as before. Policies see the bytes without encryption. Async code uses
    /// [`Connection::start_tls`](crate::Connection::start_tls) instead.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the Deferred aborts the connection.
    ///
    /// # Errors
    ///
    /// Fails with the reason of the connection's end when the handshake fails; its cause is then a
    /// [`TlsError`]. It is [`TlsError::PlaintextReceived`] when bytes had arrived that the protocol
    /// has not taken: they were sent without encryption, and anybody may have inserted them. Fails
    /// with [`TlsError::Config`] when the configuration cannot be used, when a handshake is under
    /// way, while a file is sent, and for the connection of async code; then the connection is
    /// unchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// use torsade::tls::ClientConfig;
    /// use torsade::Context;
    /// use torsade::protocols::LineProtocol;
    ///
    /// /// Asks for TLS, then logs in.
    /// struct Client {
    ///     tls: ClientConfig,
    /// }
    ///
    /// impl LineProtocol for Client {
    ///     fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
    ///         if line.starts_with(b"220 ready") {
    ///             drop(cx.start_tls(&self.tls));
    ///             cx.write(b"LOGIN secret\r\n"); // encrypted
    ///         }
    ///     }
    /// }
    /// ```
    #[doc(alias("startTLS", "STARTTLS"))]
    #[track_caller]
    pub fn start_tls(&self, config: &ClientConfig) -> Deferred<()> {
        if let Some(error) = self.refusal() {
            return Deferred::fail(error);
        }
        self.0
            .link()
            .start_tls(TlsSide::client(config))
            .on_cancel(self.aborts())
    }

    /// Starts TLS on the connection, as the server; otherwise this does what
    /// [`Transport::start_tls`] does.
    ///
    /// # Cancel safety
    ///
    /// As for [`Transport::start_tls`].
    ///
    /// # Errors
    ///
    /// As for [`Transport::start_tls`].
    #[doc(alias("startTLS", "STARTTLS"))]
    #[track_caller]
    pub fn start_tls_server(&self, config: &ServerConfig) -> Deferred<()> {
        if let Some(error) = self.refusal() {
            return Deferred::fail(error);
        }
        self.0
            .link()
            .start_tls(TlsSide::server(&Rc::new(config.clone())))
            .on_cancel(self.aborts())
    }

    /// Returns the parameters that the TLS handshake has negotiated, and the peer's certificates;
    /// `None` without TLS, before the handshake is finished, and after the end of the connection.
    #[doc(alias("getPeerCertificate", "negotiatedProtocol", "ssl_object"))]
    pub fn tls(&self) -> Option<TlsInfo> {
        let info = |socket: &Socket| socket.tls().and_then(|tls| tls.info());
        self.0.link().with_socket(info).flatten()
    }

    /// Returns why TLS cannot be started here: async code may have read ahead, which only its
    /// connection knows.
    fn refusal(&self) -> Option<TlsError> {
        self.0.reads_for_itself().then(|| {
            TlsError::config(
                "async code starts TLS with `Connection::start_tls`, when it is not split",
            )
        })
    }

    fn aborts(&self) -> impl FnOnce() + 'static {
        let weak = Rc::downgrade(&self.0);
        move || {
            if let Some(conn) = weak.upgrade() {
                Self(conn).abort_connection();
            }
        }
    }
}

impl ConnCore {
    /// Wraps the socket in TLS, and begins the handshake. The Deferred fires when it is finished.
    #[track_caller]
    pub(crate) fn start_tls(&self, side: Result<TlsSide, TlsError>) -> Deferred<()> {
        let reactor = self.reactor().filter(|_| self.life().takes_writes());
        let side = match side {
            Ok(_) if self.flags.has(Flag::SECURING) => {
                Err(TlsError::config("a handshake is under way already"))
            }
            Ok(_) if self.sends_file() => Err(TlsError::config("a file is being sent")),
            side => side,
        };
        match (side, reactor) {
            (Err(error), _) => Deferred::fail(error),
            (Ok(_), None) => {
                let reason = self.reason();
                Deferred::fail(reason.unwrap_or_else(|| self.failure(ConnectionError::Done)))
            }
            (Ok(side), Some(reactor)) => {
                let (deferred, resolver) = Deferred::pair();
                self.begin_tls(&reactor, side, Some(resolver), false);
                deferred
            }
        }
    }

    /// Wraps the socket in TLS, and begins the handshake: when its peer's bytes arrive, if the peer
    /// begins and nothing was read yet.
    pub(crate) fn begin_tls(
        &self,
        reactor: &Reactor,
        side: TlsSide,
        done: Option<Resolver<()>>,
        waits_for_peer: bool,
    ) {
        let TlsSide { mut session, limit } = side;
        if let Some(out) = self.out.take() {
            session.send_plain_first(&out.to_vec());
            self.note_queued(out.len(), 0);
            self.config.buffers.give_back(out);
        }
        let scratch = reactor.inner().tls_buffers();
        self.socket
            .replace_with(|socket| socket.in_tls(session, scratch));
        let handshaking = Handshaking {
            limit,
            timer: Retry::default(),
            done,
            choosing: None,
            is_checked: false,
            is_advanced: waits_for_peer,
        };
        let timer = reactor.limit(limit, self.registration.attention());
        handshaking.timer.set(Some(timer));
        self.with_extras(|extras| extras.handshaking = Some(Box::new(handshaking)));
        self.flags.set(Flag::SECURING, true);
        self.flags.set(Flag::BLOCKED, false);
        self.ask_for_attention();
    }

    /// Returns whether a handshake is under way.
    pub(crate) fn is_securing(&self) -> bool {
        self.flags.has(Flag::SECURING)
    }

    /// Returns the interest in reading and in writing that a handshake has, if one is under way.
    pub(super) fn handshake_interest(&self) -> Option<(bool, bool)> {
        if !self.flags.has(Flag::SECURING) {
            return None;
        }
        let interest = |socket: &Socket| socket.tls().map(|tls| tls.handshake_interest());
        self.with_socket(interest).flatten()
    }

    fn on_handshake<R>(&self, f: impl FnOnce(&mut Handshaking) -> R) -> Option<R> {
        self.with_extras(|extras| extras.handshaking.as_deref_mut().map(f))
    }

    /// Ends the handshake that the end of the connection has cut off.
    pub(super) fn end_handshake(&self, reason: &Failure) {
        if self.flags.replace(Flag::SECURING, false) {
            let handshaking = self.with_extras(|extras| extras.handshaking.take());
            if let Some(handshaking) = handshaking {
                handshaking.end(Err(reason.clone()));
            }
        }
    }
}

impl Handshaking {
    fn end(self, result: Result<(), Failure>) {
        let Self {
            timer,
            done,
            choosing,
            ..
        } = self;
        timer.cancel();
        if let Some(choosing) = choosing {
            drop(choosing.cancel());
        }
        match done {
            // A protocol gets the failure as the reason of the connection's end.
            Some(done) if result.is_err() && done.has_no_consumer() => done.drop_silently(),
            Some(done) => done.resolve(result),
            None => {}
        }
    }
}

impl<S: ConnHandler> Conn<S> {
    /// Goes on with the handshake for an event of the socket. Returns whether there is nothing else
    /// to do.
    #[inline(never)]
    pub(super) fn advance_handshake_first(
        self: &Rc<Self>,
        reactor: &Reactor,
        event: Event,
    ) -> bool {
        self.advance_handshake(reactor);
        let link = self.link();
        if link.flags.has(Flag::LOST) {
            // It has another handler now, or has ended.
            return true;
        }
        let is_usual = link.flags.those_of(Flag::UNUSUAL) == Flag::SECURING && !link.has_queue();
        if is_usual && event.is_read_only() {
            match self.arm(reactor) {
                Ok(()) => {
                    link.registration.end_busy();
                    return true;
                }
                Err(error) => link.broken_by(error),
            }
        }
        link.note_advanced();
        false
    }

    /// Goes on with the handshake, as far as the peer's bytes reach.
    #[inline(never)]
    pub(super) fn advance_handshake(self: &Rc<Self>, reactor: &Reactor) {
        let conn: Rc<Conn> = self.clone();
        if conn.shake_hands(reactor) && self.link().finish_handshake() {
            S::secured(self, reactor);
        }
    }
}

// Not generic over the handler, so that it is compiled once.
impl Conn {
    /// Goes on with the handshake, as far as the peer's bytes reach. Returns whether it is done.
    fn shake_hands(self: &Rc<Self>, reactor: &Reactor) -> bool {
        let link = self.link();
        let is_due = link.on_handshake(|handshaking| {
            if mem::take(&mut handshaking.is_advanced) {
                return None;
            }
            let is_checked = mem::replace(&mut handshaking.is_checked, true);
            Some((handshaking.timer.take_due(), is_checked, handshaking.limit))
        });
        let Some((is_due, is_checked, limit)) = is_due.flatten() else {
            return false;
        };
        let bytes = self.handler().unused();
        if !is_checked && bytes > 0 {
            link.fail_tls(TlsError::PlaintextReceived { bytes });
            return false;
        }
        while !link.life().is_over() {
            let step = link.with_socket(|socket| socket.tls().map(|tls| tls.handshake()));
            match step.flatten() {
                Some(Ok(Handshake::Chooses(config, hello))) => {
                    self.choose(reactor, &config, hello);
                }
                Some(Ok(Handshake::Done)) => return true,
                Some(Ok(Handshake::Pending)) | None => break,
                Some(Err(error)) => {
                    link.broken_by(error);
                    return false;
                }
            }
        }
        if is_due {
            link.give_up(GivenUp::Late);
            link.fail_tls(TlsError::HandshakeTimedOut { limit });
        }
        false
    }

    /// Has the program choose a configuration, in a task that ends with the handshake.
    fn choose(self: &Rc<Self>, reactor: &Reactor, config: &ServerConfig, hello: ClientHello) {
        let link = self.link();
        let choosing = report::catch_rarely(link.location(), || config.chosen(hello));
        let choosing = match choosing {
            Ok(Some(choosing)) => choosing,
            Ok(None) => return,
            Err(panic) => {
                report::deliver(report::Origin::Connection, panic.clone(), link.location());
                link.give_up(GivenUp::Broken);
                return link.panicked(panic);
            }
        };
        let weak = Rc::downgrade(self);
        let task = async move {
            let mut unless_chosen = FailsWhenDropped(Some(weak.clone()));
            let chosen = choosing.await;
            unless_chosen.0 = None;
            let Some(conn) = weak.upgrade() else { return };
            let link = conn.link();
            match chosen {
                Ok(config) => {
                    link.with_socket(|socket| socket.tls().map(|tls| tls.accept(&config)));
                    link.ask_for_attention();
                }
                Err(failure) => {
                    link.give_up(GivenUp::Refused);
                    link.break_with(link.failure(ConnectionError::lost(failure)));
                }
            }
        };
        let task = reactor.inner().executor().spawn(task, link.location());
        link.on_handshake(|handshaking| handshaking.choosing = Some(task));
    }
}

impl ConnCore {
    fn note_advanced(&self) {
        self.on_handshake(|handshaking| handshaking.is_advanced = true);
    }

    /// Says to the peer why the handshake is given up, as far as that is possible.
    fn give_up(&self, why: GivenUp) {
        self.with_socket(|socket| socket.tls().map(|tls| tls.give_up(why)));
    }

    fn fail_tls(&self, error: TlsError) {
        self.break_with(self.failure(ConnectionError::lost(self.failure(error))));
    }

    /// Ends a handshake that is done. Returns whether no code waits for its end but the handler.
    fn finish_handshake(&self) -> bool {
        self.flags.set(Flag::SECURING, false);
        self.note_unread();
        let handshaking = self.with_extras(|extras| extras.handshaking.take());
        handshaking.is_some_and(|handshaking| {
            let is_awaited = handshaking.done.is_some();
            handshaking.end(Ok(()));
            !is_awaited
        })
    }

    /// Says the end of the stream; returns whether that is done.
    pub(super) fn finish_tls(&self) -> bool {
        let link = self;
        let closed = link.with_socket(|socket| socket.tls().map(|tls| tls.close()));
        match closed.flatten() {
            None | Some(Ok(true)) => true,
            Some(Ok(false)) => {
                link.flags.set(Flag::BLOCKED, true);
                false
            }
            // The peer is gone, which reading finds out.
            Some(Err(_)) => true,
        }
    }
}

/// Ends a handshake whose configuration is not chosen, because the program's function has panicked.
struct FailsWhenDropped(Option<Weak<Conn>>);

impl Drop for FailsWhenDropped {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take().and_then(|conn| conn.upgrade()) {
            conn.link().give_up(GivenUp::Broken);
            conn.link()
                .fail_tls(TlsError::config("no configuration was chosen"));
        }
    }
}
