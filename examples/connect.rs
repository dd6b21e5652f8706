//! Connecting twice to one server: as a stream, and as a protocol whose handle is asked for a
//! value.
//!
//! Run `cargo run --example connect`. Prints `the server says PING`, `the protocol got 15 bytes`,
//! `that was all`, and, when the server is gone, `connection refused`.

use torsade::net::ConnectError;
use torsade::{Connection, Context, Deferred, Failure, Protocol, Resolver};

/// Sends back what it receives, in upper case.
async fn shout(mut conn: Connection) -> Result<(), Failure> {
    while let Some(line) = conn.read_line(80).await? {
        conn.write_all(&line.to_ascii_uppercase()).await?;
        conn.write_all(b"\n").await?;
    }
    Ok(())
}

/// Sends two messages, and counts the bytes that come back.
struct Count {
    bytes: usize,
    done: Option<Resolver<()>>,
}

impl Protocol for Count {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.write("hello\nand bye.\n");
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
        self.bytes += data.len();
        if data.ends_with(b"BYE.\n") {
            if let Some(done) = self.done.take() {
                done.callback(());
            }
        }
    }
}

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let port = reactor.serve("127.0.0.1:0", shout)?;
        let address = port.local_addr();

        let mut conn = reactor.connect_stream(&address).await?;
        conn.write_all(b"ping\n").await?;
        let line = conn.read_line(80).await?.unwrap_or_default();
        println!("the server says {}", String::from_utf8_lossy(&line));

        let (all, done) = Deferred::pair();
        let done = Some(done);
        let count = reactor.connect(&address, Count { bytes: 0, done }).await?;
        all.await?;
        let bytes = count.ask(|count, _cx| count.bytes).await?;
        println!("the protocol got {bytes} bytes");
        count.post(|_count, cx| cx.lose_connection());
        println!("that was all");

        port.stop().await?;
        if let Err(failure) = reactor.connect_stream(&address).await {
            assert!(matches!(failure.trap()?, ConnectError::Refused { .. }));
            println!("connection refused");
        }
        Ok(())
    })
}
