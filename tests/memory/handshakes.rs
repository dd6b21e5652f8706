//! What a handshake that does not go on costs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use torsade::net::ServerEndpoint;
use torsade::tls::{Identity, ServerConfig};
use torsade::{Clock, Reactor, testing};

use crate::attacks::is_full;
use crate::counted::{BYTES, PEAK};

/// The first message of a client.
fn hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut records = Vec::new();
    client.write_tls(&mut records).unwrap();
    records
}

#[test]
fn half_open_handshakes_cost_little_each() {
    // So few that all come before the first has no time left, however slow the machine is.
    let clients_in_all = if is_full() { 500 } else { 100 };
    let whole = hello();
    // The most that is kept of a first message without end: its length says 16 KiB.
    let mut long = vec![22, 3, 1, 0x3f, 0xff];
    long.resize(16_000, 0);
    let first = &whole[..whole.len() - 1];
    for (name, sent) in [("half", first), ("long", &long), ("whole", &whole)] {
        testing::run_on(Reactor::new().unwrap(), async move |reactor| {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            let identity = made.cert.pem() + &made.signing_key.serialize_pem();
            let config = ServerConfig::new(Identity::from_pem(identity)?);
            let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.tls(config);
            let port = reactor.serve(endpoint, async |_conn| Ok(()))?;
            let address = port.local_addr().to_string();
            let mut clients = Vec::with_capacity(clients_in_all + 1);
            let before = BYTES.get();
            PEAK.set(before);
            for count in 0..=clients_in_all {
                let mut client = TcpStream::connect(&address)?;
                client.set_nonblocking(true)?;
                client.write_all(sent)?;
                clients.push(client);
                while port.connections() <= count {
                    reactor.sleep(std::time::Duration::from_micros(100)).await?;
                }
            }
            for _ in 0..20 {
                reactor.sleep(std::time::Duration::from_millis(2)).await?;
            }
            let has_answer = clients[0].read(&mut [0; 100]).is_ok_and(|count| count > 0);
            assert_eq!(has_answer, name == "whole");
            assert_eq!(port.connections(), clients_in_all + 1);
            let each = (BYTES.get() - before) as usize / clients_in_all;
            let peak = (PEAK.get() - before) as usize / clients_in_all;
            println!("{name}: {each} bytes each, at the peak {peak}");
            assert!(peak <= 64 << 10, "{name}: {peak} bytes each");
            drop(clients);
            port.stop().await
        });
    }
}
