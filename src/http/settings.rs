//! The settings of a server: [`Server`].

use std::time::Duration;

use crate::settings::settings;

settings! {
/// The settings of a server.
///
/// | limit | default | a peer that exceeds it |
/// |---|---|---|
/// | [`head_timeout`](Self::head_timeout) | 30 s | is disconnected |
/// | [`idle_timeout`](Self::idle_timeout) | 60 s | is disconnected |
/// | [`body_timeout`](Self::body_timeout) | 60 s | gets 408, or is disconnected |
/// | [`max_head`](Self::max_head) | 32 KiB | gets 431 |
/// | [`max_headers`](Self::max_headers) | 100 | gets 431 |
/// | [`max_body`](Self::max_body) | 16 MiB | gets 413 |
/// | [`max_streams`](Self::max_streams) | 100 | waits |
/// | [`max_connections`](Self::max_connections) | 10,000 | waits |
///
/// Further limits are those of [`ListenOptions`], for example on the connections of one peer.
///
/// [`ListenOptions`]: crate::net::ListenOptions
#[derive(Clone, Debug)]
#[must_use]
pub struct Server of Server, |server| server;

    /// Sets how long the head of a request may take, from its first byte, or from the beginning of
    /// the connection. `None` is no limit, here and below.
    #[doc(alias = "header_read_timeout")]
    head_timeout: Option<Duration> = Some(Duration::from_secs(30)),
        impl Into<Option<Duration>> => head_timeout.into();

    /// Sets how long a connection may wait for the next request.
    #[doc(alias("keep_alive_timeout", "timeOut"))]
    idle_timeout: Option<Duration> = Some(Duration::from_secs(60)),
        impl Into<Option<Duration>> => idle_timeout.into();

    /// Sets how long a peer may send no byte of a body that the handler reads, or accept no byte of
    /// a response.
    body_timeout: Option<Duration> = Some(Duration::from_secs(60)),
        impl Into<Option<Duration>> => body_timeout.into();

    /// Sets the most bytes of a request's head, at least 8 KiB.
    #[doc(alias("max_header_size", "max_header_list_size"))]
    max_head: usize = 32 << 10, usize => max_head.max(8 << 10);

    /// Sets the most headers of a request over HTTP/1.
    max_headers: usize = 100, usize => max_headers;

    /// Sets the most bytes of a request's body. A longer one fails with [`HttpError::TooLarge`]
    /// when it is read.
    ///
    /// [`HttpError::TooLarge`]: super::HttpError::TooLarge
    #[doc(alias("DefaultBodyLimit", "client_max_body_size"))]
    max_body: u64 = 16 << 20, u64 => max_body;

    /// Sets the most requests of one HTTP/2 connection that are under way at once.
    #[doc(alias = "max_concurrent_streams")]
    max_streams: u32 = 100, u32 => max_streams;

    /// Sets the most connections, unless the options of the endpoint do.
    max_connections: usize = 10_000, usize => max_connections;

    /// Sets whether each request has the peer's [`Address`](crate::Address) among its extensions.
    #[doc(alias("ConnectInfo", "getClientAddress", "remote_addr"))]
    peers: bool = false, bool => peers;
}

impl Server {
    /// Returns the default settings.
    pub fn new() -> Self {
        Self::default()
    }
}
