//! A reverse proxy: passes requests to another server, and the responses back, piece by piece.
//!
//! Run `cargo run --example reverse_proxy ADDR URL [CERTIFICATE KEY]`: it serves at `ADDR`, in TLS
//! if there are a certificate and its key (files in PEM), what the server at `URL` has. The
//! connections to that server are kept. Prints `serving at ADDR`, and a line for each request that
//! the server does not answer.

use std::env;
use std::error::Error;

use torsade::http::{self, Agent, Body, HeaderMap, Request, Response, Server, StatusCode};
use torsade::net::ServerEndpoint;
use torsade::tls::{Identity, ServerConfig};
use torsade::{Address, Failure};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (address, url, tls) = match &arguments[..] {
        [address, url] => (address, url, None),
        [address, url, certificate, key] => {
            let identity = Identity::from_pem_files(certificate, key)?;
            (address, url, Some(ServerConfig::new(identity)))
        }
        _ => return Err("usage: reverse_proxy ADDR URL [CERTIFICATE KEY]".into()),
    };
    let mut endpoint = ServerEndpoint::parse(address)?;
    if let Some(config) = tls {
        endpoint = endpoint.tls(config);
    }
    let base = url.trim_end_matches('/').to_owned();
    torsade::run(async |reactor| {
        // A redirect is the client's to follow, and a slow handler the server's to limit.
        let agent = Agent::new().redirects(0).head_timeout(None).timeout(None);
        let server = Server::new().max_body(u64::MAX).peers(true);
        let port = server.serve(endpoint, async move |request| {
            pass(&agent, &base, request).await
        })?;
        println!("serving at {}", port.local_addr());
        reactor.stopped().await
    })?;
    Ok(())
}

/// Passes a request to the server at `base`.
async fn pass(
    agent: &Agent,
    base: &str,
    mut request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let url = format!("{base}{path}");
    let peer = request.extensions().get::<Address>().cloned();
    *request.uri_mut() = url.parse()?;
    let headers = request.headers_mut();
    remove_hops(headers);
    headers.remove(http::header::HOST);
    if let Some(ip) = peer.and_then(|peer| peer.ip()) {
        headers.append("x-forwarded-for", ip.to_string().parse()?);
    }
    match agent.send(request).await {
        Ok(mut response) => {
            remove_hops(response.headers_mut());
            Ok(response)
        }
        Err(failure) => {
            println!("{failure:#}");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            Ok(response)
        }
    }
}

/// Removes the headers that are about one connection, not about the message.
fn remove_hops(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(',').map(|name| name.trim().to_owned()))
        .collect();
    let always = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    for name in always.into_iter().chain(named.iter().map(String::as_str)) {
        headers.remove(name);
    }
}
