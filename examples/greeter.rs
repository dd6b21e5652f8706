//! Connects to an endpoint, and sends hello, and goodbye a second later.
//!
//! Run `cargo run --example greeter tcp:127.0.0.1:4001` beside a server such as `echo_protocol`;
//! without an endpoint it starts a server itself. Prints `the server got hello`, then `the server
//! got goodbye`.

use std::time::Duration;

use torsade::{Clock, Connection, Context, Failure, Protocol, Reactor};

struct Greeter;

impl Protocol for Greeter {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.write("hello\r\n");
        cx.call_later(Duration::from_secs(1), |_me, cx| {
            cx.write("goodbye\r\n");
            cx.lose_connection();
        });
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
}

async fn print(mut conn: Connection) -> Result<(), Failure> {
    while let Some(line) = conn.read_line(80).await? {
        println!("the server got {}", line.escape_ascii());
    }
    Ok(())
}

/// Starts a server, and returns its endpoint as text.
fn serve(reactor: &Reactor) -> Result<String, Failure> {
    let port = reactor.serve("tcp:0:interface=127.0.0.1", print)?;
    let number = port.local_addr().port().unwrap_or_default();
    Ok(format!("tcp:127.0.0.1:{number}"))
}

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let endpoint = match std::env::args().nth(1) {
            Some(endpoint) => endpoint,
            None => serve(&reactor)?,
        };
        let greeter = reactor.connect(endpoint, Greeter).await?;
        greeter.closed().await?;
        // The last bytes may still be on their way.
        reactor.sleep(Duration::from_millis(50)).await
    })
}
