//! Protocols: what to do when something happens on a connection.
//!
//! # The idea
//!
//! A [`Protocol`] is a value with hooks, one value per connection. Its `&mut self` is its own: between calls it
//! sits in a seat, a hook is lent a [`Context`] to act on its connection, and everybody else holds a [`Handle`]
//! and posts. A [`Factory`] makes protocols for the connections of a port.
//!
//! # Rules
//!
//! 1. `connection_made` comes first, once; `connection_lost` last, once; the others in between.
//! 2. No hook runs inside another one of the same protocol, nor inside a method of a handle.
//! 3. What a hook writes leaves when it returns.
//! 4. A protocol may hand its connection to another one ([`Context::become_protocol`]): that one has the two ends of rule 1
//!    again, and the first one is told nothing more.
//! 5. A hook that panics is reported, and its connection is lost with the panic as the reason.

#[cfg(unix)]
mod attach;
mod connected;
mod context;
mod factory;
mod input;
mod lens;
mod slot;
mod successor;

#[cfg(unix)]
use std::os::fd::OwnedFd;

pub use self::context::{Context, Handle};
pub use self::factory::{BuildProtocol, Factory, IntoProtocol, SharedFactory};
pub use self::input::Input;
pub(crate) use self::lens::Inside;
pub(crate) use self::slot::{ProtocolHost, ProtocolSlot, handle, leave, try_leave, visit};
pub(crate) use self::successor::attach_handed;
use crate::failure::Failure;

/// What to do when something happens on a connection.
///
/// # Order
///
/// [`connection_made`](Self::connection_made) once, then [`data_received`](Self::data_received) for whatever comes in
/// whatever pieces, [`eof_received`](Self::eof_received) when the peer has nothing more to say, and
/// [`connection_lost`](Self::connection_lost) once, last, whatever happened.
///
/// # Examples
///
/// ```
/// use torsade::{Context, Protocol};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
///         cx.write(data);
///     }
/// }
/// ```
///
/// A connection that an async function serves is given to `serve`, not to `listen`, as the compiler
/// says:
///
/// ```compile_fail,E0277
/// # use torsade::Reactor;
/// fn begin(reactor: &Reactor) {
///     let _ = reactor.listen("127.0.0.1:0", async |_peer| ());
/// }
/// ```
///
/// A client's protocol is given by value, and a [`LineProtocol`](crate::protocols::LineProtocol)
/// inside a [`Lines`](crate::protocols::Lines):
///
/// ```compile_fail,E0277
/// # use torsade::{Context, Protocol, Reactor};
/// # struct Echo;
/// # impl Protocol for Echo {
/// #     fn data_received(&mut self, _: &mut Context<'_, Self>, _: &[u8]) {}
/// # }
/// fn begin(reactor: &Reactor) {
///     drop(reactor.connect("127.0.0.1:80", |_peer| Echo));
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a protocol: it does not implement `Protocol`",
    label = "not a `Protocol`",
    note = "for an async function or closure there is `serve(address, handler)` in place of `listen`",
    note = "`connect` takes the protocol itself, not a closure that makes it",
    note = "a `LineProtocol` is wrapped: `Lines::new(protocol)`"
)]
pub trait Protocol: Sized + 'static {
    /// The connection is there.
    #[doc(alias("connectionMade", "makeConnection"))]
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Bytes came, at least one, in whatever pieces the network made of them.
    ///
    /// A protocol that receives frames need not keep what is incomplete itself: see
    /// [`input_received`](Self::input_received).
    #[doc(alias = "dataReceived")]
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        let _ = (cx, data);
    }

    /// There are bytes that were not used yet: those that just came, behind those that were left before. Unless it is
    /// overridden, [`data_received`](Self::data_received) is given all of them.
    ///
    /// A protocol that receives frames overrides this instead of `data_received` and takes them out with
    /// [`Input::next_frame`]. What it leaves, the connection keeps, and lends again as soon as there is more, or as soon as
    /// it may go on where it had to stop: after [`Transport::resume_producing`](crate::Transport::resume_producing), when
    /// there is room for answers again, when the other connections have had their turn. Whatever is held back comes before
    /// what is read later, the end of file included; after [`Context::become_protocol`] it is the next protocol's.
    #[doc(alias("LineReceiver", "framing"))]
    fn input_received(&mut self, cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
        let data = input.take();
        if !data.is_empty() {
            self.data_received(cx, data);
        }
    }

    /// A descriptor came over a UNIX socket: the other process has given it to us. It is called once for each, before
    /// [`data_received`](Self::data_received) is called with the bytes that brought them.
    ///
    /// Unless it is overridden, what comes is closed, and that is logged once for each connection. Beware: what a peer
    /// gives may be anything, also something whose reading blocks, or no end of it.
    #[cfg(unix)]
    #[doc(alias("fileDescriptorReceived", "IFileDescriptorReceiver", "SCM_RIGHTS"))]
    fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
        cx.refuse_descriptor(descriptor);
    }

    /// The peer has nothing more to say; it may still listen. Unless it is overridden, the connection ends when
    /// what is queued has been written.
    #[doc(alias("readConnectionLost", "IHalfCloseableProtocol"))]
    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        cx.lose_connection();
    }

    /// The connection was full, and is not any more: go on writing. It is not called when its end, or the end of its
    /// writing side, was asked for meanwhile.
    #[doc(alias("resumeProducing", "registerProducer", "unregisterProducer"))]
    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// The writing side is closed: after [`Transport::lose_write`](crate::Transport::lose_write) all that was queued has
    /// been handed to the system, and the peer was sent the end of file. Reading goes on.
    ///
    /// It is called once at most, and not when the connection as a whole ends: that is told by
    /// [`connection_lost`](Self::connection_lost) alone, also when the peer breaks it while the last bytes are queued.
    #[doc(alias("writeConnectionLost", "IHalfCloseableProtocol"))]
    fn write_closed(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// The connection is over; the protocol is dropped when this returns.
    ///
    /// The reason is [`ConnectionError::Done`] for an end in good order, [`ConnectionError::Lost`] (with the system's error inside)
    /// when it broke, [`ConnectionError::Aborted`], [`ConnectionError::WriteOverflow`], [`ConnectionError::SendTimedOut`], [`ReactorError::OverBudget`],
    /// [`ConnectionError::DescriptorOverrun`], or the panic of a hook.
    ///
    /// [`ConnectionError::Done`]: crate::ConnectionError::Done
    /// [`ConnectionError::Lost`]: crate::ConnectionError::Lost
    /// [`ConnectionError::Aborted`]: crate::ConnectionError::Aborted
    /// [`ConnectionError::WriteOverflow`]: crate::transport::ConnectionError::WriteOverflow
    /// [`ConnectionError::SendTimedOut`]: crate::transport::ConnectionError::SendTimedOut
    /// [`ReactorError::OverBudget`]: crate::reactor::ReactorError::OverBudget
    /// [`ConnectionError::DescriptorOverrun`]: crate::transport::ConnectionError::DescriptorOverrun
    #[doc(alias = "connectionLost")]
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }
}
