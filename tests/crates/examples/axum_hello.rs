//! A web server: a router of axum, served on the reactor. Its handlers share state that is neither
//! `Send` nor locked.
//!
//! Run `cargo run --manifest-path tests/crates/Cargo.toml --example axum_hello [ADDRESS]` and open
//! the printed address. Ctrl-C ends it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use torsade::http;
use torsade::prelude::*;
use torsade::task::SendWrapper;

/// The number of visits: axum asks for `Send`, and everything is on one thread.
type Visits = SendWrapper<Rc<Cell<u32>>>;

async fn hello(State(visits): State<Visits>) -> String {
    visits.set(visits.get() + 1);
    format!("hello, visitor {}\n", visits.get())
}

/// Answers after a while. A future that awaits the reactor is not `Send`, and is wrapped.
fn slow(Path(seconds): Path<u64>) -> SendWrapper<impl Future<Output = String>> {
    SendWrapper::new(async move {
        let reactor = Reactor::current().expect("it runs in a task");
        match reactor.sleep(Duration::from_secs(seconds)).await {
            Ok(()) => format!("{seconds} seconds later\n"),
            Err(_) => String::from("the server stops\n"),
        }
    })
}

fn main() -> Result<(), Failure> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| String::from("127.0.0.1:8080"));
    torsade::run(async |reactor| {
        let router = Router::new()
            .route("/", get(hello))
            .route("/slow/{seconds}", get(slow))
            .with_state(SendWrapper::new(Rc::default()));
        let port = http::serve(address, http::service(router))?;
        println!("listening on http://{}/", port.local_addr());
        reactor.stopped().await
    })
}
