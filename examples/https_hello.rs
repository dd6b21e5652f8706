//! A web server in TLS, over HTTP/1 and HTTP/2.
//!
//! Run `cargo run --example https_hello [ADDR CERTIFICATE KEY]`, with two files in PEM, and then
//! `curl https://…`. Without arguments it makes a certificate for `localhost`, serves at any port
//! of this machine, asks itself for a page and ends. Prints `serving at https://ADDR/`, a line for
//! each request, and without arguments the answer.

use std::env;
use std::error::Error;
use std::time::Duration;

use torsade::http::{self, Agent, Body, Request};
use torsade::net::ServerEndpoint;
use torsade::prelude::*;
use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig};

/// Answers one request.
async fn hello(request: Request<Body>) -> Result<String, Failure> {
    println!("{} {}", request.method(), request.uri().path());
    Ok(format!("hello from {}\n", request.uri().path()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [address, certificate, key] => {
            let identity = Identity::from_pem_files(certificate, key)?;
            let endpoint = endpoint(address, identity)?;
            torsade::run(async |reactor| {
                let port = http::serve(endpoint, hello)?;
                println!("serving at https://{}/", port.local_addr());
                reactor.stopped().await
            })?;
        }
        [] => demonstrate()?,
        _ => return Err("usage: https_hello [ADDR CERTIFICATE KEY]".into()),
    }
    Ok(())
}

/// An endpoint in TLS, which offers both versions of HTTP.
fn endpoint(address: &str, identity: Identity) -> Result<ServerEndpoint, Failure> {
    let config = ServerConfig::new(identity).alpn(["h2", "http/1.1"]);
    Ok(ServerEndpoint::parse(address)?.tls(config))
}

fn demonstrate() -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = Identity::from_pem(made.cert.pem() + &made.signing_key.serialize_pem())?;
    let endpoint = endpoint("127.0.0.1:0", identity)?;
    let client = ClientConfig::new().roots(Roots::empty().pem(made.cert.pem())?);
    torsade::run(async |_reactor| {
        let port = http::serve(endpoint, hello)?;
        println!("serving at https://{}/", port.local_addr());

        let number = port.local_addr().port().unwrap_or_default();
        let page = format!("https://localhost:{number}/page");
        let response = Agent::new().tls(client).get(page).await?;
        println!("{:?} {}", response.version(), response.status());
        let body = response.into_body().read(1000).await?;
        print!("{}", String::from_utf8_lossy(&body));
        port.stop(Duration::from_secs(1)).await?;
        Ok(())
    })?;
    Ok(())
}
