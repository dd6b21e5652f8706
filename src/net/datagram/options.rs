//! The options of a datagram socket: [`DatagramOptions`].

use crate::address::Address;
use crate::settings::settings;

settings! {
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
pub struct DatagramOptions of DatagramOptions, |options| options;

    /// Sets whether several sockets may be bound to the same address (`SO_REUSEADDR` and
    /// `SO_REUSEPORT`); each of these sockets must set this. Each socket receives the datagrams
    /// sent to a multicast group that it has joined. The system delivers a datagram sent to the
    /// address itself to only one of them. Default: `false`.
    #[doc(alias("listenMultiple", "SO_REUSEADDR", "SO_REUSEPORT"))]
    listen_multiple: bool = false, bool => listen_multiple;

    /// Sets whether the socket may send to broadcast addresses (`SO_BROADCAST`). Default: `false`.
    broadcast: bool = false, bool => broadcast;

    /// Sets the limit of the send queue, in bytes. A write that would have to wait fails with
    /// [`DatagramError::QueueFull`](super::DatagramError::QueueFull) when more bytes than this are
    /// queued already. Each queued datagram counts as its length plus 64 bytes. Default: 256 KiB.
    queue: usize = QUEUE, usize => queue;

    /// Sets the permissions of a UNIX socket's file, which decide who may send to the socket.
    /// Default: `0o666`.
    mode: u32 = 0o666, u32 => mode;

    /// Connects the socket to this peer when it opens: see
    /// [`DatagramPort::connect`](super::DatagramPort::connect). A connected UNIX socket that was
    /// opened at [`Address::Unnamed`] has no name, so its peer cannot answer. Default: not
    /// connected.
    #[doc(alias("connectUNIXDatagram", "connect_unix_datagram"))]
    connect: Option<Address> = None, impl Into<Address> => Some(connect.into());

    /// Sets the size of the system's receive buffer, in bytes. Default: the system's.
    #[doc(alias = "SO_RCVBUF")]
    receive_buffer: Option<usize> = None, usize => Some(receive_buffer);

    /// Sets the size of the system's send buffer, in bytes. Default: the system's.
    #[doc(alias = "SO_SNDBUF")]
    send_buffer: Option<usize> = None, usize => Some(send_buffer);
}

impl DatagramOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The default of [`DatagramOptions::queue`].
pub(super) const QUEUE: usize = 256 * 1024;
