//! The handshake: when handlers begin, what is agreed on, limits of time and number.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::certs::{authority, pair};
use crate::support::{HERE, Log, until};
use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::tls::{ClientConfig, Identities, ServerConfig, TlsError, Version};
use torsade::{Context, Failure, Port, Protocol, Reactor};

fn here() -> ServerEndpoint {
    ServerEndpoint::parse(HERE).unwrap()
}

fn to(port: &Port) -> ClientEndpoint {
    ClientEndpoint::new(port.local_addr())
}

/// Notes its hooks, with what was agreed on.
struct Noting(Log);

impl Protocol for Noting {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        let alpn = cx.tls().and_then(|tls| tls.alpn);
        let alpn = String::from_utf8(alpn.unwrap_or_default()).unwrap();
        self.0.note(format!("made {alpn}"));
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        self.0.note(String::from_utf8_lossy(data));
        cx.write(data);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.0.note(format!("lost {reason:#}"));
    }
}

on_both! {
    async fn bytes_go_both_ways(reactor) {
        let (server, client) = pair();
        let log = Log::new();
        let port = reactor.listen(here().tls(server), { let log = log.clone(); move |_| Noting(log.clone()) })?;
        let mut conn = reactor.connect_stream(to(&port).tls(client)).await?;
        conn.write_all(b"hello").await?;
        let mut got = [0; 5];
        futures::AsyncReadExt::read_exact(&mut conn, &mut got).await?;
        assert_eq!(&got, b"hello");
        let tls = conn.transport().tls().unwrap();
        assert_eq!(tls.version, Version::Tls13);
        assert!(!tls.peer_certificates.is_empty() && !tls.resumed);
        drop(conn);
        until(|| log.all().len() == 3).await;
        assert_eq!(log.take(), ["made ", "hello", "lost the connection was closed in good order"]);
        port.stop().await?;
    }
}
