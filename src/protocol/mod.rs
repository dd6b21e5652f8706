//! Protocols: what a program does when something happens on a connection.
//!
//! # The idea
//!
//! A [`Protocol`] is a value with hooks, one value per connection. Between calls it is stored in a
//! slot of its connection; a hook gets `&mut self` and a [`Context`] to act on the connection, and
//! all other code holds a [`Handle`] and posts closures. A [`Factory`] makes the protocols for the
//! connections of a port.
//!
//! # Rules
//!
//! 1. `connection_made` is called first, once; `connection_lost` last, once; the others in between.
//! 2. No hook runs inside another hook of the same protocol, nor inside a method of a handle.
//! 3. The bytes that a hook writes are sent when the hook returns.
//! 4. A protocol may hand its connection to another protocol ([`Context::become_protocol`]): no
//!    hook of the first protocol is called any more, and rule 1 applies to the second one from its
//!    beginning.
//! 5. A hook that panics is reported, and its connection is lost with the panic as the reason.
//!
//! The [glossary](crate::guide::glossary) defines the terms:
//! [protocol](crate::guide::glossary#protocol), [hook](crate::guide::glossary#hook),
//! [factory](crate::guide::glossary#factory), [context](crate::guide::glossary#context),
//! [handle](crate::guide::glossary#handle).

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
#[doc(alias = "numPorts")]
pub use self::factory::SharedFactory;
pub use self::factory::{BuildProtocol, Factory, IntoProtocol};
pub use self::input::Input;
pub(crate) use self::lens::Nested;
pub(crate) use self::slot::{ProtocolHost, ProtocolSlot, handle, leave, try_leave, visit};
pub(crate) use self::successor::attach_handed;
use crate::failure::Failure;

/// The hooks of a connection: what a program does when something happens on it.
///
/// # Order
///
/// [`connection_made`](Self::connection_made) is called once, then
/// [`data_received`](Self::data_received) for bytes as they arrive, in pieces of any size,
/// [`eof_received`](Self::eof_received) when the peer has closed its writing side, and
/// [`connection_lost`](Self::connection_lost) once, last, in every case.
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
/// An async function that serves a connection is passed to [`serve`](crate::Reactor::serve), not to
/// [`listen`](crate::Reactor::listen). This does not compile:
///
/// ```compile_fail,E0277
/// # use torsade::Reactor;
/// fn begin(reactor: &Reactor) {
///     let _ = reactor.listen("127.0.0.1:0", async |_peer| ());
/// }
/// ```
///
/// [`connect`](crate::Reactor::connect) takes the protocol itself, not a closure that makes it; a
/// [`LineProtocol`](crate::protocols::LineProtocol) is wrapped in
/// [`Lines`](crate::protocols::Lines). This does not compile:
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
    note = "`connect` takes the protocol itself, not a closure that makes it"
)]
pub trait Protocol: Sized + 'static {
    /// Called when the connection has been made.
    #[doc(alias("connectionMade", "makeConnection"))]
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Called when bytes have arrived: at least one, in pieces of any size. The default drops them.
    ///
    /// A protocol that receives frames need not keep incomplete frames itself: see
    /// [`input_received`](Self::input_received).
    #[doc(alias = "dataReceived")]
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        let _ = (cx, data);
    }

    /// Called when there are bytes that the protocol has not taken: those that were left before,
    /// then those that just arrived. The default passes all of them to
    /// [`data_received`](Self::data_received).
    ///
    /// A protocol that receives frames overrides this instead of `data_received` and takes the
    /// frames with [`Input::next_frame`]. The connection keeps the bytes that are left, and passes
    /// them again when more arrive, or when the protocol may take them: after
    /// [`Transport::resume_producing`](crate::Transport::resume_producing), when the connection is
    /// no longer full, or when the other connections have had their share of the loop's turn. Bytes
    /// that are left come before bytes that are read later and before the end of file; after
    /// [`Context::become_protocol`] they go to the next protocol.
    #[doc(alias("LineReceiver", "framing"))]
    fn input_received(&mut self, cx: &mut Context<'_, Self>, input: &mut Input<'_>) {
        let data = input.take();
        if !data.is_empty() {
            self.data_received(cx, data);
        }
    }

    /// Called when the process at the other end of a UNIX socket has sent a descriptor: once for
    /// each descriptor, before [`data_received`](Self::data_received) gets the bytes that the
    /// descriptor came with.
    ///
    /// The default closes the descriptor, and logs that once per connection. A peer may send any
    /// descriptor, including one from which a read blocks or never reaches an end.
    #[cfg(unix)]
    #[doc(alias("fileDescriptorReceived", "IFileDescriptorReceiver", "SCM_RIGHTS"))]
    fn descriptor_received(&mut self, cx: &mut Context<'_, Self>, descriptor: OwnedFd) {
        cx.refuse_descriptor(descriptor);
    }

    /// Called when the peer has closed its writing side; the peer may still read. The default
    /// closes the connection after the queued bytes have been sent, and after a registered producer
    /// has been unregistered, as [`lose_connection`](crate::Transport::lose_connection) does.
    #[doc(alias("readConnectionLost", "IHalfCloseableProtocol"))]
    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        cx.lose_connection();
    }

    /// Called when the connection was full ([`Transport::is_full`](crate::Transport::is_full)) and
    /// no longer is, so that the protocol may write again. Not called when `lose_connection`,
    /// `abort_connection` or `lose_write` has been called meanwhile.
    #[doc(alias("resumeProducing", "registerProducer", "unregisterProducer"))]
    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Called when the writing side is closed: after
    /// [`Transport::lose_write`](crate::Transport::lose_write) all queued bytes and the end of file
    /// have been handed to the system. Reading continues.
    ///
    /// Called at most once, and not when the connection as a whole ends: only
    /// [`connection_lost`](Self::connection_lost) is called then, also when the peer breaks the
    /// connection while the last bytes are queued.
    #[doc(alias("writeConnectionLost", "IHalfCloseableProtocol"))]
    fn write_closed(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// Called when the connection has ended. The protocol is dropped when this returns.
    ///
    /// The reason is a [`ConnectionError`](crate::ConnectionError):
    /// [`Done`](crate::ConnectionError::Done) for an end in good order,
    /// [`Lost`](crate::ConnectionError::Lost) (with the system's error inside) when the connection
    /// broke, [`Aborted`](crate::ConnectionError::Aborted), or the variant of the limit that was
    /// exceeded. It may also be
    /// [`ReactorError::OverBudget`](crate::reactor::ReactorError::OverBudget), or the panic of a
    /// hook ([`Failure::is_panic`]).
    #[doc(alias = "connectionLost")]
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }
}
