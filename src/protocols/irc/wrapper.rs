//! An [`IrcProtocol`] as a protocol: [`IrcClient`].

use std::fmt;

use super::protocol::deliver;
use super::{Irc, IrcCodec, IrcError, IrcProtocol, IrcSender, Message, Settings};
use crate::failure::Failure;
use crate::framing::Rejected;
use crate::protocol::{Context, Nested};
use crate::protocols::FrameProtocol;
use crate::transport::Transport;

/// A [`Protocol`](crate::Protocol) that speaks IRC as a client and calls the hooks of an
/// [`IrcProtocol`].
///
/// # Examples
///
/// A client that stays connected, through a
/// [`ClientService`](crate::services::ClientService):
///
/// ```
/// use torsade::protocols::irc::{Irc, IrcClient, IrcProtocol, Settings};
/// use torsade::services::{ClientService, Service};
/// use torsade::{Failure, Reactor};
///
/// struct Bot;
///
/// impl IrcProtocol for Bot {
///     fn signed_on(&mut self, irc: &mut Irc<'_, Self>) {
///         let _ = irc.join("#rust");
///     }
/// }
///
/// fn start(reactor: &Reactor) -> Result<ClientService<IrcClient<Bot>>, Failure> {
///     let settings = Settings::new("bot");
///     let build = move || IrcClient::new(Bot, settings.clone());
///     let service = ClientService::new(reactor, "irc.example.org:6667", build)?;
///     service.start()?;
///     Ok(service)
/// }
/// ```
pub struct IrcClient<P: 'static> {
    inner: Nested<P, Transport>,
    sender: IrcSender,
    codec: IrcCodec,
}

impl<P: IrcProtocol> IrcClient<P> {
    /// Creates a client that calls the hooks of `protocol`.
    pub fn new(protocol: P, settings: Settings) -> Self {
        Self {
            inner: Nested::new(protocol),
            sender: IrcSender::new(settings),
            codec: IrcCodec::new(),
        }
    }

    /// Returns the protocol with the hooks.
    pub fn get_mut(&mut self) -> &mut P {
        &mut self.inner.protocol
    }

    /// Returns the protocol with the hooks and a context of it, to call its methods from a
    /// [`Handle`](crate::Handle); see [`Lines::inner`](crate::protocols::Lines::inner).
    pub fn inner<'a>(&'a mut self, cx: &'a Context<'_, Self>) -> (&'a mut P, Context<'a, P>) {
        self.inner.enter(cx, |client| &mut client.inner.protocol)
    }

    /// Returns the client's handle, for other code to send commands.
    pub fn sender(&self) -> IrcSender {
        self.sender.clone()
    }

    /// Calls `f` with the protocol inside.
    fn with<R>(
        &mut self,
        cx: &Context<'_, Self>,
        f: impl FnOnce(&mut P, &mut Irc<'_, P>) -> R,
    ) -> R {
        let (protocol, cx) = self.inner.enter(cx, |client| &mut client.inner.protocol);
        f(protocol, &mut Irc::new(&cx, &self.sender))
    }

    /// Calls the hooks of what has happened.
    fn deliver(&mut self, cx: &Context<'_, Self>) {
        let sender = self.sender.clone();
        self.with(cx, |protocol, irc| {
            while let Some(event) =
                sender.next_event(|nick| protocol.alter_collided_nick(irc, nick))
            {
                deliver(protocol, irc, event);
            }
        });
    }
}

impl<P: IrcProtocol> FrameProtocol for IrcClient<P> {
    type Codec = IrcCodec;

    fn codec(&mut self) -> &mut IrcCodec {
        &mut self.codec
    }

    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.sender.attach(cx.transport().clone());
        self.with(cx, |protocol, irc| protocol.connection_made(irc));
    }

    fn frame_received(&mut self, cx: &mut Context<'_, Self>, message: Message) {
        self.sender.receive(message);
        self.deliver(cx);
    }

    fn frame_rejected(&mut self, cx: &mut Context<'_, Self>, rejected: Rejected<'_, IrcError>) {
        self.sender.receive_bad(rejected.error);
        self.deliver(cx);
    }

    fn connection_lost(&mut self, reason: Failure) {
        let reason = self.sender.detach(&reason);
        self.inner.protocol.connection_lost(reason);
    }
}

impl<P: fmt::Debug> fmt::Debug for IrcClient<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IrcClient")
            .field("protocol", &self.inner)
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}
