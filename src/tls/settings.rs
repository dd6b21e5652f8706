//! The settings that clients and servers have in common.

/// Defines the methods of these settings, for a configuration with the fields `settings` and
/// `built`.
macro_rules! shared_settings {
    () => {
        /// Sets the oldest version of TLS that is accepted; TLS 1.2 by default.
        #[doc(alias("raiseMinimumTo", "minimum_version"))]
        pub fn min_version(self, version: Version) -> Self {
            self.set(|settings| settings.least = version)
        }

        /// Sets the library that does the cryptography; [`Provider::Ring`] by default.
        pub fn provider(self, provider: Provider) -> Self {
            self.set(|settings| settings.provider = provider)
        }

        /// Sets whether the secrets of each connection are appended to the file that the
        /// environment variable `SSLKEYLOGFILE` names; off by default. With that file, programs
        /// such as Wireshark can decrypt the connections.
        #[doc(alias = "keylog")]
        pub fn log_keys(self, on: bool) -> Self {
            self.set(|settings| settings.logs_keys = on)
        }

        /// Sets the time limit for the handshake; 10 seconds by default.
        ///
        /// When it passes, the connection ends with
        /// [`TlsError::HandshakeTimedOut`](crate::tls::TlsError::HandshakeTimedOut). The peer
        /// receives the alert `user_canceled`, unless encryption has begun, or the peer is a client
        /// that has sent nothing.
        pub fn handshake_timeout(mut self, limit: Duration) -> Self {
            self.settings.limit = limit;
            self
        }

        fn set(mut self, f: impl FnOnce(&mut Settings)) -> Self {
            f(&mut self.settings);
            self.settings.is_mixed = self.settings.given.is_some();
            self.built = Rc::default();
            self
        }

        pub(crate) fn limit(&self) -> Duration {
            self.settings.limit
        }
    };
}
pub(super) use shared_settings;
