//! A web server: a greeting, an upload that comes back, and the files of a folder.
//!
//! Run `cargo run --example http_server [ADDR FOLDER]`, and then `curl http://ADDR/hello/you`,
//! `curl -T FILE http://ADDR/echo` or `curl http://ADDR/FILE`. Without arguments it serves the
//! folder `examples` at any port of this machine. SIGINT ends it, after at most ten seconds for the
//! requests under way. Prints `serving at http://ADDR/`, and a line for each request: the access
//! log.

use std::env;
use std::time::Duration;

use torsade::http::{self, Body, IntoResponse, Request, Response};
use torsade::{Failure, Phase, Reactor};

fn main() -> Result<(), Failure> {
    // Any subscriber will do; this one prints the events of the access log.
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(false)
        .init();
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let folder = arguments.next().unwrap_or_else(|| "examples".into());
    torsade::run(async |reactor| serve(reactor, &address, &folder).await)
}

async fn serve(reactor: Reactor, address: &str, folder: &str) -> Result<(), Failure> {
    let files = http::files(folder)?;
    let port = http::serve(address, async move |request: Request<Body>| {
        match request.uri().path().split_once("/hello/") {
            Some((_, name)) => Ok(format!("hello, {name}\n").into_response()),
            // Sent back while it comes.
            None if request.uri().path() == "/echo" => Ok(Response::new(request.into_body())),
            None => files(request).await,
        }
    })?;
    println!("serving at http://{}/", port.local_addr());
    reactor.add_system_event_trigger(Phase::Before, "shutdown", move || {
        port.stop(Duration::from_secs(10)).map(drop)
    });
    reactor.stopped().await
}
