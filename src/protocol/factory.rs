//! Where protocols come from: [`Factory`].

use super::Protocol;
use crate::address::Address;

/// Makes a protocol for each connection of a port, and keeps what they share.
///
/// For most servers a closure will do: see `Reactor::listen`. A factory is for those that want to know when
/// the port opens and closes, or that have something to keep.
pub trait Factory: 'static {
    /// What it makes.
    type Protocol: Protocol;

    /// A protocol for a connection from `peer`; `None` turns it away.
    #[doc(alias = "buildProtocol")]
    fn build_protocol(&mut self, peer: Address) -> Option<Self::Protocol>;

    /// The port is open.
    #[doc(alias("startFactory", "doStart"))]
    fn started(&mut self) {}

    /// The port is closed. Connections made before go on.
    #[doc(alias("stopFactory", "doStop"))]
    fn stopped(&mut self) {}
}

/// What a closure given to `Reactor::listen` may return: a protocol, or `None` to turn the peer away.
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
