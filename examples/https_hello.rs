//! A web server in TLS: the HTTP of hyper, over connections of this crate.
//!
//! Run `cargo run --example https_hello [ADDR CERTIFICATE KEY]`, with two files in PEM, and then
//! `curl https://…`. Without arguments it makes a certificate for `localhost`, serves at any port
//! of this machine, asks itself for a page and ends. Prints `serving at https://ADDR/`, a line for
//! each request, and without arguments the answer.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::prelude::*;
use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig};

/// Answers one request.
async fn hello(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    println!("{} {}", request.method(), request.uri().path());
    Ok(Response::new(format!(
        "hello from {}\n",
        request.uri().path()
    )))
}

/// Serves one connection: as many requests as the client sends.
async fn serve(conn: Connection) -> Result<(), Failure> {
    let mut http = http1::Builder::new();
    http.timer(torsade::hyper::Timer);
    http.header_read_timeout(Duration::from_secs(10));
    Ok(http.serve_connection(conn, service_fn(hello)).await?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [address, certificate, key] => {
            let identity = Identity::from_pem_files(certificate, key)?;
            let config = ServerConfig::new(identity).alpn(["http/1.1"]);
            let endpoint = ServerEndpoint::parse(address)?.tls(config);
            torsade::run(async |reactor| {
                let port = reactor.serve(endpoint, serve)?;
                println!("serving at https://{}/", port.local_addr());
                reactor.stopped().await
            })?;
        }
        [] => demonstrate()?,
        _ => return Err("usage: https_hello [ADDR CERTIFICATE KEY]".into()),
    }
    Ok(())
}

fn demonstrate() -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = Identity::from_pem(made.cert.pem() + &made.signing_key.serialize_pem())?;
    let config = ServerConfig::new(identity).alpn(["http/1.1"]);
    let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.tls(config);
    let client = ClientConfig::new().roots(Roots::none().pem(made.cert.pem())?);
    torsade::run(async |reactor| {
        let port = reactor.serve(endpoint, serve)?;
        println!("serving at https://{}/", port.local_addr());

        let endpoint = ClientEndpoint::new(port.local_addr());
        let endpoint = endpoint.tls(client.server_name("localhost").alpn(["http/1.1"]));
        let mut conn = reactor.connect_stream(endpoint).await?;
        conn.write_all(b"GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        conn.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        println!("{}", head.lines().next().unwrap_or_default());
        print!("{body}");
        drop(conn);
        port.stop().await
    })?;
    Ok(())
}
