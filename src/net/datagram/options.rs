//! How a port of datagrams is opened: [`DatagramOptions`].

use std::path::Path;

use super::place::ToDatagramAddress;
use crate::address::Address;

/// How a port of datagrams is opened.
///
/// # Examples
///
/// ```
/// use torsade::net::datagram::DatagramOptions;
///
/// let options = DatagramOptions::new().listen_multiple(true).queue(1 << 20);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct DatagramOptions {
    pub(super) share: bool,
    pub(super) broadcast: bool,
    pub(super) queue: usize,
    pub(super) mode: u32,
    pub(super) bind: Option<Address>,
    pub(super) buffers: [Option<usize>; 2],
}

impl DatagramOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            share: false,
            broadcast: false,
            queue: QUEUE,
            mode: 0o666,
            bind: None,
            buffers: [None; 2],
        }
    }

    /// May several sockets have the same address? All of them have to agree. Each gets what is sent
    /// to a group it has joined; which of them gets what is sent to the address itself, the system
    /// decides.
    #[doc(alias("listenMultiple", "SO_REUSEADDR", "SO_REUSEPORT"))]
    pub fn listen_multiple(mut self, share: bool) -> Self {
        self.share = share;
        self
    }

    /// May it send to broadcast addresses?
    pub fn broadcast(mut self, allowed: bool) -> Self {
        self.broadcast = allowed;
        self
    }

    /// How many bytes may wait to be sent before writing fails with
    /// [`QueueFull`](super::QueueFull); each datagram counts for 64 more. One more datagram may begin as long as no more than this waits.
    pub fn queue(mut self, bytes: usize) -> Self {
        self.queue = bytes;
        self
    }

    /// Who may send to a UNIX socket: the permissions of its name.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The own path of a UNIX socket that is connected.
    #[doc(alias = "bindAddress")]
    pub fn bind(mut self, path: impl AsRef<Path>) -> Self {
        self.bind = path.as_ref().to_datagram_address().ok();
        self
    }

    /// How much the system may keep of what came and was not read.
    #[doc(alias = "SO_RCVBUF")]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.buffers[0] = Some(bytes);
        self
    }

    /// How much the system may keep of what is to be sent.
    #[doc(alias = "SO_SNDBUF")]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.buffers[1] = Some(bytes);
        self
    }
}

impl Default for DatagramOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// How many bytes are queued at most, unless told.
pub(super) const QUEUE: usize = 256 * 1024;
