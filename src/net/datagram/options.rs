//! The options of a datagram socket: [`DatagramOptions`].

use crate::address::Address;

/// The options of a datagram socket. Options are passed in a pair with the address:
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

    /// Sets whether several sockets may be bound to the same address (`SO_REUSEADDR` and
    /// `SO_REUSEPORT`); each of them must set this. Each receives the datagrams sent to a group
    /// that it has joined. The system delivers a datagram sent to the address itself to one of
    /// them. Default: `false`.
    #[doc(alias("listenMultiple", "SO_REUSEADDR", "SO_REUSEPORT"))]
    pub fn listen_multiple(mut self, share: bool) -> Self {
        self.share = share;
        self
    }

    /// Sets whether the socket may send to broadcast addresses (`SO_BROADCAST`). Default: `false`.
    pub fn broadcast(mut self, allowed: bool) -> Self {
        self.broadcast = allowed;
        self
    }

    /// Sets the limit of the send queue, in bytes. A write fails with
    /// [`DatagramError::QueueFull`](super::DatagramError::QueueFull) if more than this is queued
    /// already. Each queued datagram counts as its length and 64 bytes. Default: 256 KiB.
    pub fn queue(mut self, bytes: usize) -> Self {
        self.queue = bytes;
        self
    }

    /// Sets the permissions of a UNIX socket's file, which decide who may send to the socket.
    /// Default: `0o666`.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Connects the socket to `peer`: it sends to `peer` only, and receives from `peer` only. A
    /// connected UNIX socket that was opened at [`Address::Unnamed`] has no name, so its peer
    /// cannot answer.
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
