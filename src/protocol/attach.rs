//! Attaches a protocol to a connection that exists already: a given descriptor, or a child's pipe.

use std::rc::Rc;

use super::connected::OnStream;
use super::{Protocol, ProtocolSlot, visit};
use crate::address::Address;
use crate::driver::Socket;
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::transport::{Conn, ConnConfig};

impl Reactor {
    /// Attaches a protocol to a connection whose ends have no addresses. No hook is called before
    /// the next batch, which calls `connection_made`.
    pub(crate) fn attach_later<P: Protocol>(
        &self,
        socket: Socket,
        protocol: P,
        config: &Rc<ConnConfig>,
    ) -> Result<Rc<Conn<OnStream<P>>>, Failure> {
        let (peer, slot) = (Address::Unnamed, ProtocolSlot::new(protocol));
        let conn = Conn::unwatched(self, socket, peer, config, slot)?;
        let (later, weak) = (conn.clone(), self.downgrade());
        self.inner().executor().call(config.location, move || {
            let Some(reactor) = weak.upgrade() else {
                return;
            };
            later.begin_unwatched(&reactor, || {
                visit(&later, &reactor, |protocol, cx| {
                    protocol.connection_made(cx)
                });
            });
        });
        Ok(conn)
    }
}
