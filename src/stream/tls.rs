//! TLS on a connection of async code that is open already.

use std::rc::Rc;

use super::Connection;
use crate::failure::Failure;
use crate::tls::{ClientConfig, ServerConfig, TlsError};
use crate::transport::{ConnectionError, TlsSide};

impl Connection {
    /// Starts TLS on the connection, as the client, and waits until the handshake is finished.
    /// Bytes written before are sent first, without encryption; all bytes written later are
    /// encrypted.
    ///
    /// # Cancel safety
    ///
    /// Cancelling aborts the connection.
    ///
    /// # Errors
    ///
    /// Fails with the reason of the connection's end when the handshake fails; its cause is then a
    /// [`TlsError`]. It is [`TlsError::PlaintextReceived`] when bytes had been received and not
    /// been read: they were sent without encryption, and anybody may have inserted them. Fails with
    /// [`TlsError::Config`] when the configuration cannot be used; then the connection is
    /// unchanged.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use torsade::tls::ClientConfig;
    /// # fn main() -> Result<(), torsade::Failure> {
    /// torsade::run(async |reactor| {
    ///     let mut conn = reactor.connect_stream("mail.example.org:587").await?;
    ///     while let Some(line) = conn.read_line(512).await? {
    ///         if line.starts_with(b"220 ") { break }
    ///     }
    ///     conn.write_all(b"EHLO here\r\nSTARTTLS\r\n").await?;
    ///     while let Some(line) = conn.read_line(512).await? {
    ///         if line.starts_with(b"220 ") { break }
    ///     }
    ///     conn.start_tls(&ClientConfig::new().server_name("mail.example.org")).await?;
    ///     println!("{}", conn.transport().tls().unwrap().cipher_suite);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("startTLS", "STARTTLS"))]
    pub async fn start_tls(&mut self, config: &ClientConfig) -> Result<(), Failure> {
        self.secure(TlsSide::client(config)).await
    }

    /// Starts TLS on the connection, as the server; otherwise this does what
    /// [`Connection::start_tls`] does.
    ///
    /// # Cancel safety
    ///
    /// As for [`Connection::start_tls`].
    ///
    /// # Errors
    ///
    /// As for [`Connection::start_tls`].
    #[doc(alias("startTLS", "STARTTLS"))]
    pub async fn start_tls_server(&mut self, config: &ServerConfig) -> Result<(), Failure> {
        self.secure(TlsSide::server(&Rc::new(config.clone()))).await
    }

    async fn secure(&mut self, side: Result<TlsSide, TlsError>) -> Result<(), Failure> {
        let conn = self.reader.conn().clone();
        let link = conn.link();
        let bytes = self.reader.ahead();
        if bytes > 0 && side.is_ok() {
            let error = link.failure(TlsError::PlaintextReceived { bytes });
            let reason = link.failure(ConnectionError::lost(error));
            link.break_with(reason.clone());
            drop(self.reader.take_ahead());
            return Err(reason);
        }
        let transport = self.transport();
        let done = link.start_tls(side);
        done.on_cancel(move || transport.abort_connection()).await
    }
}
