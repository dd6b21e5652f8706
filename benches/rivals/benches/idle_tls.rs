//! What an idle connection in TLS costs in memory, beside tokio-rustls.
//!
//! Run `cargo bench --bench idle_tls` in `benches/rivals`. Two thousand connections, made by
//! another process, have done their handshake and wait; the bytes that the server's allocator has
//! handed out are counted before and after. Left out: the kernel's sockets, and the allocator's
//! overhead.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use torsade::net::ServerEndpoint;
use torsade::tls::{Identity, ServerConfig};
use torsade::{Clock, Connection, Context, Failure, Port, Protocol, Reactor};

#[path = "../src/tls.rs"]
mod tls;

use self::tls::Error;

const CONNECTIONS: usize = 2_000;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("hold") {
        return hold(arguments.next().expect("an address").parse()?);
    }
    println!("{:<22} {:>12}", "", "bytes each");
    measure("a protocol", |reactor, endpoint| {
        reactor.listen(endpoint, |_peer| Idle)
    })?;
    measure("an async handler", |reactor, endpoint| {
        reactor.serve(endpoint, idle)
    })?;
    measure_tokio("tokio-rustls")
}

struct Idle;

impl Protocol for Idle {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        MADE.fetch_add(1, Ordering::Relaxed);
        cx.write(data);
    }
}

async fn idle(mut conn: Connection) -> Result<(), Failure> {
    let mut buf = [0; 1];
    while conn.read(&mut buf).await? > 0 {
        MADE.fetch_add(1, Ordering::Relaxed);
        conn.write_all(&buf).await?;
    }
    Ok(())
}

fn measure(
    name: &str,
    open: impl FnOnce(&Reactor, ServerEndpoint) -> Result<Port, Failure>,
) -> Result<(), Error> {
    let config = ServerConfig::new(Identity::from_pem(tls::PEM)?).tickets(false);
    let config = config.max_handshakes(CONNECTIONS);
    let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.tls(config);
    torsade::run(async |reactor| {
        let port = open(&reactor, endpoint)?;
        let address = port.local_addr().inet().expect("an IP address");
        MADE.store(0, Ordering::Relaxed);
        // The first connection pays for memory that is allocated once only.
        let warm = Holder::start(address, 1)?;
        wait_for(&reactor, 1).await?;
        let before = LIVE.load(Ordering::Relaxed);
        let holder = Holder::start(address, CONNECTIONS)?;
        wait_for(&reactor, 1 + CONNECTIONS).await?;
        print(name, before);
        drop((warm, holder));
        Ok(())
    })?;
    Ok(())
}

async fn wait_for(reactor: &Reactor, connections: usize) -> Result<(), Failure> {
    while MADE.load(Ordering::Relaxed) < connections {
        reactor.sleep(Duration::from_millis(10)).await?;
    }
    // And for what they do next.
    reactor.sleep(Duration::from_millis(200)).await
}

fn measure_tokio(name: &str) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let acceptor = tokio_rustls::TlsAcceptor::from(tls::server()?);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        MADE.store(0, Ordering::Relaxed);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accepted = acceptor.accept(stream);
                tokio::spawn(async move {
                    let mut stream = accepted.await?;
                    let mut buf = [0; 1];
                    while stream.read(&mut buf).await? > 0 {
                        MADE.fetch_add(1, Ordering::Relaxed);
                        stream.write_all(&buf).await?;
                    }
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        let wait_for = async |connections| {
            while MADE.load(Ordering::Relaxed) < connections {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let warm = Holder::start(address, 1)?;
        wait_for(1).await;
        let before = LIVE.load(Ordering::Relaxed);
        let holder = Holder::start(address, CONNECTIONS)?;
        wait_for(1 + CONNECTIONS).await;
        print(name, before);
        drop((warm, holder));
        Ok(())
    })
}

fn print(name: &str, before: usize) {
    let each = (LIVE.load(Ordering::Relaxed) - before) as f64 / CONNECTIONS as f64;
    println!("{name:<22} {each:>12.0}");
}

/// The process at the other ends.
struct Holder(Child);

impl Holder {
    fn start(address: SocketAddr, count: usize) -> Result<Self, std::io::Error> {
        let child = Command::new(std::env::current_exe()?)
            .args(["hold", &address.to_string()])
            .env("CONNECTIONS", count.to_string())
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Holds connections until its standard input ends: each has sent a byte and received one.
fn hold(address: SocketAddr) -> Result<(), Error> {
    let count: usize = std::env::var("CONNECTIONS")?.parse()?;
    let config = tls::client()?;
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = tls::connect(&config, address)?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        held.push(stream);
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The number of connections.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Counts bytes that are handed out and not given back.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one passes everything on"
)]
// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}
