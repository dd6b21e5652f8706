//! The settings that clients and servers have in common.

/// Defines the methods of these settings, for a configuration with the fields `settings` and
/// `built`.
macro_rules! shared_settings {
    () => {
        /// Sets the oldest version that is spoken; TLS 1.2 by default.
        #[doc(alias("raiseMinimumTo", "minimum_version"))]
        pub fn min_version(self, version: Version) -> Self {
            self.set(|settings| settings.least = version)
        }

        /// Sets the library that does the cryptography.
        pub fn provider(self, provider: Provider) -> Self {
            self.set(|settings| settings.provider = provider)
        }

        /// Sets whether the secrets of each connection are appended to the file that the
        /// environment variable `SSLKEYLOGFILE` names, with which other programs can decrypt what
        /// is sent. Not by default.
        #[doc(alias = "keylog")]
        pub fn log_keys(self, on: bool) -> Self {
            self.set(|settings| settings.logs_keys = on)
        }

        /// Sets how long the handshake may take; 10 seconds by default. Then the connection is
        /// closed. The peer gets the alert `user_canceled` as long as nothing is encrypted: a
        /// server that waits for the rest of the first message or for
        /// [`choose`](crate::tls::ServerConfig::choose), and a client that waits for the answer.
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
