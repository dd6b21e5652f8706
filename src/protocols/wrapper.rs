//! A protocol around another one: [`Wrapped`].

use std::fmt;
#[cfg(unix)]
use std::os::fd::OwnedFd;

use crate::address::Address;
use crate::failure::Failure;
use crate::protocol::{Context, Factory, Input, Nested, Protocol};
use crate::transport::Transport;

/// Implements the hooks without input of a protocol around another one, whose `enter` returns what
/// to call and its context.
macro_rules! forward_hooks {
    () => {
        forward_hooks!(connection_made, eof_received, write_ready, write_closed);

        #[cfg(unix)]
        fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
            let (inner, mut cx) = self.enter(cx);
            inner.descriptor_received(&mut cx, descriptor);
        }
    };
    ($($hook:ident),+) => {
        $(fn $hook(&mut self, cx: &mut Context<'_, Self>) {
            let (inner, mut cx) = self.enter(cx);
            inner.$hook(&mut cx);
        })+
    };
}
pub(super) use forward_hooks;

/// A layer around any protocol, which sees every hook before the protocol does, and decides whether
/// to call it.
///
/// Each method gets the [`InnerProtocol`]; the default implementation calls the same hook of that
/// protocol. The inner protocol needs no change: its context, its handles, its timers and its
/// transport are its own, and after [`become_protocol`](Context::become_protocol) the next protocol
/// has the connection without the layer.
///
/// Limits of time and traffic need no wrapper: see [`Policy`](crate::transport::Policy), which also
/// works for async handlers.
///
/// # Examples
///
/// A password before everything else, for any protocol:
///
/// ```
/// use std::time::Duration;
/// use torsade::protocol::Input;
/// use torsade::protocols::{
///     InnerProtocol, LineCodec, LineProtocol, Lines, ProtocolWrapper, Wrapped,
/// };
/// use torsade::testing::Wire;
/// use torsade::{Context, Protocol};
///
/// #[derive(Default)]
/// struct Password {
///     lines: LineCodec,
///     is_given: bool,
/// }
///
/// impl ProtocolWrapper for Password {
///     fn connection_made<P: Protocol>(&mut self, inner: &mut InnerProtocol<'_, Self, P>) {
///         inner.context().write("password: ");
///         inner.context().call_later(Duration::from_secs(30), |wrapped, cx| {
///             if !wrapped.wrapper_mut().is_given {
///                 cx.lose_connection();
///             }
///         });
///     }
///
///     fn input_received<P: Protocol>(
///         &mut self,
///         inner: &mut InnerProtocol<'_, Self, P>,
///         input: &mut Input<'_>,
///     ) {
///         if !self.is_given {
///             match input.next_frame(&mut self.lines) {
///                 Some(Ok(b"swordfish")) => self.is_given = true,
///                 Some(_) => return inner.context().lose_connection(),
///                 None => return,
///             }
///             inner.connection_made();
///         }
///         inner.input_received(input);
///     }
/// }
///
/// struct Echo;
///
/// impl LineProtocol for Echo {
///     fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
///         cx.send_line(line);
///     }
/// }
///
/// let mut wire = Wire::new(Wrapped::new(Password::default(), Lines::new(Echo)));
/// wire.send("swordfish\nhello\n");
/// assert_eq!(wire.take_received(), b"password: hello\r\n");
/// ```
pub trait ProtocolWrapper: Sized + 'static {
    /// Called when the connection is established. A wrapper that does not call
    /// [`InnerProtocol::connection_made`] here must call it before it calls another hook of the
    /// inner protocol.
    fn connection_made<P: Protocol>(&mut self, inner: &mut InnerProtocol<'_, Self, P>) {
        inner.connection_made();
    }

    /// Called when there are bytes that have not been used. See [`Protocol::input_received`].
    fn input_received<P: Protocol>(
        &mut self,
        inner: &mut InnerProtocol<'_, Self, P>,
        input: &mut Input<'_>,
    ) {
        inner.input_received(input);
    }

    /// Called for a descriptor that was received over a UNIX socket. See
    /// [`Protocol::descriptor_received`].
    #[cfg(unix)]
    fn descriptor_received<P: Protocol>(
        &mut self,
        inner: &mut InnerProtocol<'_, Self, P>,
        descriptor: OwnedFd,
    ) {
        inner.descriptor_received(descriptor);
    }

    /// Called when the peer has closed its writing side. See [`Protocol::eof_received`].
    fn eof_received<P: Protocol>(&mut self, inner: &mut InnerProtocol<'_, Self, P>) {
        inner.eof_received();
    }

    /// Called when the send queue, which was full, has drained to the low-water mark. See
    /// [`Protocol::write_ready`].
    fn write_ready<P: Protocol>(&mut self, inner: &mut InnerProtocol<'_, Self, P>) {
        inner.write_ready();
    }

    /// Called when the writing side is closed and all bytes were sent. See
    /// [`Protocol::write_closed`].
    fn write_closed<P: Protocol>(&mut self, inner: &mut InnerProtocol<'_, Self, P>) {
        inner.write_closed();
    }

    /// Called when the connection is lost. The default calls the protocol's `connection_lost`, even
    /// if its `connection_made` was never called.
    fn connection_lost<P: Protocol>(&mut self, protocol: &mut P, reason: Failure) {
        protocol.connection_lost(reason);
    }
}

/// The protocol inside a [`Wrapped`], as its wrapper reaches it during one hook.
pub struct InnerProtocol<'a, W: 'static, P: 'static> {
    protocol: &'a mut P,
    outer: &'a Context<'a, Wrapped<W, P>>,
    cx: Context<'a, P>,
}

impl<'a, W: 'static, P: Protocol> InnerProtocol<'a, W, P> {
    /// Returns the context of the [`Wrapped`] protocol, through which the wrapper writes to the
    /// connection, closes it, and schedules calls.
    pub fn context(&self) -> &'a Context<'a, Wrapped<W, P>> {
        self.outer
    }

    /// Returns the protocol.
    pub fn get_mut(&mut self) -> &mut P {
        self.protocol
    }

    /// Calls the protocol's `connection_made`.
    pub fn connection_made(&mut self) {
        self.protocol.connection_made(&mut self.cx);
    }

    /// Passes the bytes that are left in `input` to the protocol.
    pub fn input_received(&mut self, input: &mut Input<'_>) {
        self.protocol.input_received(&mut self.cx, input);
    }

    /// Calls the protocol's `descriptor_received`.
    #[cfg(unix)]
    pub fn descriptor_received(&mut self, descriptor: OwnedFd) {
        self.protocol.descriptor_received(&mut self.cx, descriptor);
    }

    /// Calls the protocol's `eof_received`.
    pub fn eof_received(&mut self) {
        self.protocol.eof_received(&mut self.cx);
    }

    /// Calls the protocol's `write_ready`.
    pub fn write_ready(&mut self) {
        self.protocol.write_ready(&mut self.cx);
    }

    /// Calls the protocol's `write_closed`.
    pub fn write_closed(&mut self) {
        self.protocol.write_closed(&mut self.cx);
    }
}

/// A protocol inside a [`ProtocolWrapper`]. A `Wrapped` is a protocol itself, so wrappers can be
/// stacked.
pub struct Wrapped<W, P: 'static> {
    wrapper: W,
    inner: Nested<P, Transport>,
}

impl<W: ProtocolWrapper, P: Protocol> Wrapped<W, P> {
    /// Puts a protocol into a wrapper.
    pub fn new(wrapper: W, protocol: P) -> Self {
        Self {
            wrapper,
            inner: Nested::new(protocol),
        }
    }

    /// Returns the wrapper.
    pub fn wrapper_mut(&mut self) -> &mut W {
        &mut self.wrapper
    }

    /// Returns the protocol inside.
    pub fn get_mut(&mut self) -> &mut P {
        &mut self.inner.protocol
    }

    /// Returns the protocol inside and a context of it, to call its methods from a
    /// [`Handle`](crate::Handle) of the `Wrapped`; see [`Lines::inner`](super::Lines::inner).
    pub fn inner<'a>(&'a mut self, cx: &'a Context<'_, Self>) -> (&'a mut P, Context<'a, P>) {
        self.inner.enter(cx, |wrapped| &mut wrapped.inner.protocol)
    }

    fn enter<'a>(&'a mut self, cx: &'a Context<'_, Self>) -> (&'a mut W, InnerProtocol<'a, W, P>) {
        let outer = cx;
        let (protocol, cx) = self.inner.enter(cx, |wrapped| &mut wrapped.inner.protocol);
        let inner = InnerProtocol {
            protocol,
            outer,
            cx,
        };
        (&mut self.wrapper, inner)
    }
}

impl<W: ProtocolWrapper, P: Protocol> Protocol for Wrapped<W, P> {
    forward_hooks!();

    fn input_received(&mut self, cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
        let (wrapper, mut inner) = self.enter(cx);
        wrapper.input_received(&mut inner, input);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.wrapper
            .connection_lost(&mut self.inner.protocol, reason);
    }
}

/// A factory that puts each protocol of another factory into a wrapper.
///
/// With a closure in place of a factory no type is needed: `|_peer| Wrapped::new(wrapper,
/// protocol)`.
///
/// # Examples
///
/// ```
/// use torsade::protocols::{InnerProtocol, ProtocolWrapper, WrappingFactory};
/// use torsade::{Address, Context, Factory, Protocol, testing};
///
/// struct Greeting;
///
/// impl ProtocolWrapper for Greeting {
///     fn connection_made<P: Protocol>(&mut self, inner: &mut InnerProtocol<'_, Self, P>) {
///         inner.context().write("hello\n");
///         inner.connection_made();
///     }
/// }
///
/// struct Quiet;
/// impl Protocol for Quiet {}
///
/// struct Quiets;
/// impl Factory for Quiets {
///     type Protocol = Quiet;
///     fn build_protocol(&mut self, _peer: Address) -> Option<Quiet> {
///         Some(Quiet)
///     }
/// }
///
/// testing::run(async |reactor| {
///     let factory = WrappingFactory::new(Quiets, |_peer| Greeting);
///     let port = reactor.listen_factory("127.0.0.1:0", factory)?;
///     let mut conn = reactor.connect_stream(port.local_addr()).await?;
///     assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
///     drop(conn);
///     port.stop().await
/// });
/// ```
pub struct WrappingFactory<F, M> {
    factory: F,
    make: M,
}

impl<F: Factory, W: ProtocolWrapper, M: FnMut(&Address) -> W + 'static> WrappingFactory<F, M> {
    /// Creates a factory. For each connection `make` is called with the peer's address, and returns
    /// the wrapper for the protocol that `factory` has made.
    pub fn new(factory: F, make: M) -> Self {
        Self { factory, make }
    }
}

impl<F: Factory, W: ProtocolWrapper, M: FnMut(&Address) -> W + 'static> Factory
    for WrappingFactory<F, M>
{
    type Protocol = Wrapped<W, F::Protocol>;

    fn build_protocol(&mut self, peer: Address) -> Option<Self::Protocol> {
        let protocol = self.factory.build_protocol(peer.clone())?;
        Some(Wrapped::new((self.make)(&peer), protocol))
    }

    fn started(&mut self) {
        self.factory.started();
    }

    fn stopped(&mut self) {
        self.factory.stopped();
    }
}

impl<W: fmt::Debug, P: fmt::Debug> fmt::Debug for Wrapped<W, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped")
            .field("wrapper", &self.wrapper)
            .field("protocol", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<W: fmt::Debug, P: fmt::Debug> fmt::Debug for InnerProtocol<'_, W, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InnerProtocol")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl<F: fmt::Debug, M> fmt::Debug for WrappingFactory<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappingFactory")
            .field("factory", &self.factory)
            .finish_non_exhaustive()
    }
}
