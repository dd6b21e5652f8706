//! Factories, which make the protocols of connections: [`Factory`].

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::Protocol;
use crate::address::Address;

/// Makes a protocol for each connection of a port, and keeps the state that they share.
///
/// A protocol has no `self.factory`: keep shared state in an `Rc` with `Cell`s, and clone it into
/// each protocol.
///
/// A closure is enough for most servers: see [`Reactor::listen`](crate::Reactor::listen). A
/// factory, which [`Reactor::listen_factory`](crate::Reactor::listen_factory) takes, is for servers
/// that act when the port opens and closes.
pub trait Factory: 'static {
    /// The protocol that this factory makes.
    type Protocol: Protocol;

    /// Returns a protocol for a connection from `peer`, or `None` to refuse the connection.
    #[doc(alias("buildProtocol", "forProtocol", "self.factory"))]
    fn build_protocol(&mut self, peer: Address) -> Option<Self::Protocol>;

    /// Called when the port has been opened. The default does nothing.
    #[doc(alias("startFactory", "doStart"))]
    fn started(&mut self) {}

    /// Called when the port has been closed. Connections that were made before continue. The
    /// default does nothing.
    #[doc(alias("stopFactory", "doStop"))]
    fn stopped(&mut self) {}
}

/// A factory for several ports. [`Factory::started`] is called when the first port opens, and
/// [`Factory::stopped`] when the last one closes. Clones share the factory.
///
/// # Examples
///
/// ```
/// use torsade::protocol::SharedFactory;
/// use torsade::{Address, Context, Factory, Protocol};
///
/// struct Quiet;
///
/// impl Protocol for Quiet {
///     fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
/// }
///
/// #[derive(Default)]
/// struct Count(u32);
///
/// impl Factory for Count {
///     type Protocol = Quiet;
///
///     fn build_protocol(&mut self, _peer: Address) -> Option<Quiet> {
///         self.0 += 1;
///         Some(Quiet)
///     }
/// }
///
/// torsade::testing::run(async |reactor| {
///     let count = SharedFactory::new(Count::default());
///     let one = reactor.listen_factory("127.0.0.1:0", count.clone())?;
///     let other = reactor.listen_factory("127.0.0.1:0", count)?;
///     one.stop().await?;
///     other.stop().await
/// });
/// ```
pub struct SharedFactory<F>(Rc<Sharing<F>>);

struct Sharing<F> {
    /// `None` while a method of the factory is running.
    factory: Cell<Option<F>>,
    ports: Cell<usize>,
}

impl<F: Factory> SharedFactory<F> {
    /// Makes a shared factory of `factory`.
    pub fn new(factory: F) -> Self {
        Self(Rc::new(Sharing {
            factory: Cell::new(Some(factory)),
            ports: Cell::new(0),
        }))
    }

    /// Takes the factory out, calls `call` with it, and puts it back, also when the call panics.
    /// Returns `None` when the factory is being called already.
    fn call<R>(&self, call: impl FnOnce(&mut F) -> R) -> Option<R> {
        struct PutBack<'a, F>(&'a Cell<Option<F>>, Option<F>);
        impl<F> Drop for PutBack<'_, F> {
            fn drop(&mut self) {
                self.0.set(self.1.take());
            }
        }
        let slot = &self.0.factory;
        let mut back = PutBack(slot, Some(slot.take()?));
        back.1.as_mut().map(call)
    }
}

impl<F> Clone for SharedFactory<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F> fmt::Debug for SharedFactory<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFactory")
            .field("ports", &self.0.ports.get())
            .finish_non_exhaustive()
    }
}

impl<F: Factory> Factory for SharedFactory<F> {
    type Protocol = F::Protocol;

    fn build_protocol(&mut self, peer: Address) -> Option<F::Protocol> {
        self.call(|factory| factory.build_protocol(peer)).flatten()
    }

    fn started(&mut self) {
        /// Counts a port, unless its opening fails by a panic.
        struct Opening<'a>(&'a Cell<usize>, bool);
        impl Drop for Opening<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.set(self.0.get().saturating_sub(1));
                }
            }
        }
        let ports = self.0.ports.get();
        self.0.ports.set(ports + 1);
        let mut opening = Opening(&self.0.ports, false);
        if ports == 0 {
            self.call(F::started);
        }
        opening.1 = true;
    }

    fn stopped(&mut self) {
        let left = self.0.ports.get().saturating_sub(1);
        self.0.ports.set(left);
        if left == 0 {
            self.call(F::stopped);
        }
    }
}

/// A function or closure that [`Reactor::listen`](crate::Reactor::listen) calls with the peer's
/// address to get a protocol. The trait is implemented for all such functions and closures, and for
/// nothing else.
///
/// # Examples
///
/// A [`Factory`] is passed to [`Reactor::listen_factory`](crate::Reactor::listen_factory), not to
/// `listen`. This does not compile:
///
/// ```compile_fail,E0277
/// # use torsade::{Address, Context, Factory, Protocol, Reactor};
/// struct Echo;
/// # impl Protocol for Echo {
/// #     fn data_received(&mut self, _: &mut Context<'_, Self>, _: &[u8]) {}
/// # }
/// struct Echoes;
///
/// impl Factory for Echoes {
///     type Protocol = Echo;
///     fn build_protocol(&mut self, _peer: Address) -> Option<Echo> {
///         Some(Echo)
///     }
/// }
///
/// fn begin(reactor: &Reactor) {
///     let _ = reactor.listen("127.0.0.1:0", Echoes);
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function that makes a protocol for a peer's address",
    label = "not a function or closure `FnMut(Address) -> protocol`",
    note = "for a factory there is `listen_factory(address, factory)`",
    note = "for one protocol value there is a closure: `|_peer| MyProtocol::new()`"
)]
pub trait BuildProtocol<R>: FnMut(Address) -> R {}

impl<R, F: FnMut(Address) -> R> BuildProtocol<R> for F {}

/// A return value of the closure that [`Reactor::listen`](crate::Reactor::listen) takes: a
/// protocol, or an `Option` of one, in which `None` refuses the connection.
#[diagnostic::on_unimplemented(
    message = "`listen` takes a closure that returns a protocol, and this one returns `{Self}`",
    label = "returns neither a `Protocol` nor an `Option` of one",
    note = "for an async function or closure there is `serve(address, handler)` in place of `listen`",
    note = "a `LineProtocol` is wrapped: `Lines::new(protocol)`"
)]
pub trait IntoProtocol {
    /// The protocol.
    type Protocol: Protocol;

    #[doc(hidden)]
    fn into_protocol(self) -> Option<Self::Protocol>;
}

impl<P: Protocol> IntoProtocol for P {
    type Protocol = P;

    fn into_protocol(self) -> Option<P> {
        Some(self)
    }
}

impl<P: Protocol> IntoProtocol for Option<P> {
    type Protocol = P;

    fn into_protocol(self) -> Self {
        self
    }
}
