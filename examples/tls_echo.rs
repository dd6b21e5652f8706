//! A server in TLS that sends back what it receives, and a client of it.
//!
//! Run `cargo run --example tls_echo [ADDR CERTIFICATE KEY]`, with two files in PEM. Without
//! arguments it makes a certificate for `localhost`, listens at any port of this machine, connects
//! to itself and ends. Prints `listening on ADDR`, then what the two ends have agreed on, and the
//! echo.

use std::env;
use std::error::Error;

use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::prelude::*;
use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig};

struct Echo;

impl Protocol for Echo {
    // The handshake is finished: a client that does not speak TLS never gets here.
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [address, certificate, key] => {
            let identity = Identity::from_pem_files(certificate, key)?;
            let endpoint = ServerEndpoint::parse(address)?.tls(ServerConfig::new(identity));
            torsade::run(async |reactor| {
                let port = reactor.listen(endpoint, |_peer| Echo)?;
                println!("listening on {}", port.local_addr());
                reactor.stopped().await
            })?;
        }
        [] => demonstrate()?,
        _ => return Err("usage: tls_echo [ADDR CERTIFICATE KEY]".into()),
    }
    Ok(())
}

/// A server and a client in one program, with a certificate that is its own authority.
fn demonstrate() -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = Identity::from_pem(made.cert.pem() + &made.signing_key.serialize_pem())?;
    let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.tls(ServerConfig::new(identity));
    let client = ClientConfig::new().roots(Roots::empty().pem(made.cert.pem())?);
    torsade::run(async |reactor| {
        let port = reactor.listen(endpoint, |_peer| Echo)?;
        println!("listening on {}", port.local_addr());

        let endpoint = ClientEndpoint::new(port.local_addr());
        let endpoint = endpoint.tls(client.server_name("localhost"));
        let mut conn = reactor.connect_stream(endpoint).await?;
        let tls = conn.transport().tls().expect("the handshake is finished");
        println!("{:?}, {}", tls.version, tls.cipher_suite);
        conn.write_all(b"hello\n").await?;
        let line = conn.read_line(80).await?.unwrap_or_default();
        println!("{}", String::from_utf8_lossy(&line));
        drop(conn);
        port.stop().await
    })?;
    Ok(())
}
