//! The times at which a silent peer is probed: [`KeepAlive`].

use std::time::Duration;

/// The times at which the system probes a silent TCP peer, and after which the connection is lost:
/// see [`Transport::set_keepalive_times`](super::Transport::set_keepalive_times). The defaults are
/// those of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Time without received bytes before the first probe, rounded down to whole seconds, at least
    /// one. Default: two hours.
    #[doc(alias = "TCP_KEEPIDLE")]
    pub idle: Duration,
    /// Time between an unanswered probe and the next one, rounded down to whole seconds, at least
    /// one. Default: 75 seconds.
    #[doc(alias = "TCP_KEEPINTVL")]
    pub interval: Duration,
    /// Number of unanswered probes after which the connection is lost. Default: 9.
    #[doc(alias = "TCP_KEEPCNT")]
    pub count: u32,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(2 * 60 * 60),
            interval: Duration::from_secs(75),
            count: 9,
        }
    }
}
