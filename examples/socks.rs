//! An endpoint that the program defines: it connects through a SOCKS5 proxy, and has a name for
//! text (`socks:...`).
//!
//! Run `cargo run --example socks`. Prints `the proxy connects to the echo`, `the echo says HELLO`
//! and `socks: the proxy says 5`.

use torsade::net::{ClientEndpoint, ConnectOptions, StreamClientEndpoint, quote};
use torsade::{Connection, Deferred, Failure, Reactor};

/// Connects to `host:port` through the proxy at `proxy`, which is any endpoint.
#[derive(Clone)]
struct Socks {
    proxy: String,
    host: String,
    port: u16,
}

impl StreamClientEndpoint for Socks {
    fn connect(&self, reactor: &Reactor, options: &ConnectOptions) -> Deferred<Connection> {
        let connecting = reactor.connect_stream((&self.proxy, options));
        let this = self.clone();
        Deferred::from_future(async move { this.negotiate(connecting.await?).await })
    }

    fn describe(&self) -> String {
        format!("socks:{}:{}", self.host, self.port)
    }
}

impl Socks {
    /// RFC 1928: no password, then the name of the host, which the proxy looks up.
    async fn negotiate(self, mut conn: Connection) -> Result<Connection, Failure> {
        conn.write_all(&[5, 1, 0]).await?;
        let mut method = [0; 2];
        conn.read_exact(&mut method).await?;
        let length = u8::try_from(self.host.len()).map_err(Failure::new)?;
        if method != [5, 0] {
            return Err(Failure::new("socks: the proxy wants a password"));
        }
        let host = self.host.as_bytes();
        let ask = [&[5, 1, 0, 3, length], host, &self.port.to_be_bytes()].concat();
        conn.write_all(&ask).await?;
        let mut answer = [0; 4];
        conn.read_exact(&mut answer).await?;
        if answer[1] != 0 {
            return Err(Failure::new(format!("socks: the proxy says {}", answer[1])));
        }
        let rest = if answer[3] == 4 { 16 + 2 } else { 4 + 2 };
        conn.read_exact(&mut [0; 18][..rest]).await?;
        Ok(conn)
    }
}

/// A proxy that knows one host, `echo`, and plays its part itself.
async fn proxy(mut conn: Connection) -> Result<(), Failure> {
    conn.read_exact(&mut [0; 3]).await?;
    conn.write_all(&[5, 0]).await?;
    let mut ask = [0; 5];
    conn.read_exact(&mut ask).await?;
    let mut host = vec![0; usize::from(ask[4]) + 2];
    conn.read_exact(&mut host).await?;
    let is_known = host.starts_with(b"echo");
    let answer = if is_known { 0 } else { 5 };
    conn.write_all(&[5, answer, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    if is_known {
        println!("the proxy connects to the echo");
        let line = conn.read_line(80).await?.unwrap_or_default();
        conn.write_all(&line.to_ascii_uppercase()).await?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let port = reactor.serve("127.0.0.1:0", proxy)?;
        ClientEndpoint::register(&reactor, "socks", |fields| {
            Ok(ClientEndpoint::custom(Socks {
                proxy: fields.required("proxy")?,
                host: fields.required("host")?,
                port: fields.port()?,
            }))
        });
        let through = format!("socks:proxy={}", quote(&port.local_addr().to_string()));
        let mut conn = reactor.connect_stream(format!("{through}:echo:7")).await?;
        conn.write_all(b"hello\n").await?;
        let said = conn.read_line(80).await?.unwrap_or_default();
        println!("the echo says {}", String::from_utf8_lossy(&said));
        let failure = reactor
            .connect_stream(format!("{through}:elsewhere:7"))
            .await;
        println!("{}", failure.expect_err("it is not known"));
        Ok(())
    })
}
