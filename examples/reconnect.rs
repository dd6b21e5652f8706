//! A client that stays connected to a server that keeps closing the connection.
//!
//! Run `cargo run --example reconnect`. Prints `connected, for the 1st time`, then for the 2nd and
//! the 3rd, then `gone, and tried 4 times`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use torsade::net::Backoff;
use torsade::services::{ClientService, Service};
use torsade::{Context, Failure, Protocol};

const MS: Duration = Duration::from_millis(1);

/// The client's protocol.
struct Client;

impl Protocol for Client {
    fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
}

/// The server's protocol: closes the connection soon.
struct HangsUp;

impl Protocol for HangsUp {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.call_later(MS * 5, |_me, cx| cx.lose_connection());
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
}

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let port = reactor.listen("127.0.0.1:0", |_peer| HangsUp)?;
        let policy = Backoff::new().initial(MS * 10).jitter(MS * 5);
        let count = Rc::new(Cell::new(0));
        let seen = count.clone();
        let service = ClientService::new(&reactor, port.local_addr(), || Client)?
            .backoff(policy)
            .prepare(move |_client| {
                seen.set(seen.get() + 1);
                let nth = ["1st", "2nd", "3rd"].get(seen.get() - 1);
                println!("connected, for the {} time", nth.unwrap_or(&"n-th"));
            });
        service.start()?;
        while count.get() < 3 {
            let client = service.when_connected().await?;
            client.closed().await?;
        }

        port.stop().await?;
        let failure = service.when_connected_within(4).await;
        assert!(failure.is_err(), "nothing listens there any more");
        println!("gone, and tried {} times", service.failures());
        service.stop().await
    })
}
