//! Options of a datagram socket: [`DatagramOptions`].

use crate::address::Address;

/// Options of a datagram socket. They are given with the address, as a pair:
/// `reactor.bind_datagram(("127.0.0.1:0", options))`.
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
    pub(super) peer: Option<Address>,
    pub(super) buffers: [Option<usize>; 2],
}

impl DatagramOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self {
            share: false,
            broadcast: false,
            queue: QUEUE,
            mode: 0o666,
            peer: None,
            buffers: [None; 2],
        }
    }

    /// Sets whether several sockets may be bound to the same address; each of them must set this. Every one of them receives
    /// what is sent to a group it has joined. For what is sent to the address itself the system chooses one of them.
    #[doc(alias("listenMultiple", "SO_REUSEADDR", "SO_REUSEPORT"))]
    pub fn listen_multiple(mut self, share: bool) -> Self {
        self.share = share;
        self
    }

    /// Sets whether the socket may send to broadcast addresses (`SO_BROADCAST`).
    pub fn broadcast(mut self, allowed: bool) -> Self {
        self.broadcast = allowed;
        self
    }

    /// Sets how many bytes may wait to be sent before a write fails with [`QueueFull`](super::QueueFull). Each waiting datagram
    /// counts 64 bytes more than its length. A write is accepted while no more than this waits. Default: 256 KiB.
    pub fn queue(mut self, bytes: usize) -> Self {
        self.queue = bytes;
        self
    }

    /// Sets the permissions of a UNIX socket's file, which say who may send to it. Default: `0o666`.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Connects the socket to `peer`: it sends to `peer` only, and receives from `peer` only. A connected UNIX socket that was
    /// opened at [`Address::Unnamed`] has no name, so its peer cannot answer.
    #[doc(alias("connectUNIXDatagram", "connect_unix_datagram"))]
    pub fn connect(mut self, peer: impl Into<Address>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    /// Sets the size of the system's receive buffer, in bytes.
    #[doc(alias = "SO_RCVBUF")]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.buffers[0] = Some(bytes);
        self
    }

    /// Sets the size of the system's send buffer, in bytes.
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

/// The default of [`DatagramOptions::queue`].
pub(super) const QUEUE: usize = 256 * 1024;
