//! What an idle connection costs in memory.
//!
//! Run `cargo bench --bench idle`. Ten thousand connections, made by another process, are held by a
//! server that does nothing with them; the bytes that the server's allocator has handed out are
//! counted before and after, with nothing rounded up or hidden in caches. The memory of the
//! protocol or handler itself is shown separately: the rest belongs to the runtime. Left out: the
//! kernel's sockets (about 2.4 KiB each), and the allocator's overhead.
//!
//! | kind                 | goal             | the best and the usual elsewhere (resident memory)  |
//! |----------------------|------------------|------------------------------------------------------|
//! | a protocol           | ≤ 170 bytes      | libuv 286, tokio at least 1,024                      |
//! | an async handler     | ≤ 300 bytes      | the same                                             |
//! | an async echo        | ≤ 400, all in all | the same, and its buffer                            |

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use torsade::net::ListenOptions;
use torsade::{Address, Clock, Connection, Context, Failure, Port, Protocol, Reactor};

const CONNECTIONS: usize = 10_000;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("hold") {
        return hold(&arguments.next().expect("an address"));
    }
    println!(
        "{:<18} {:>12} {:>12} {:>12} {:>6}",
        "", "bytes each", "its own", "beyond that", "goal"
    );
    measure("a protocol", size_of::<Idle>(), 170, |reactor, options| {
        reactor.listen(("127.0.0.1:0", options), |_peer| {
            MADE.fetch_add(1, Ordering::Relaxed);
            Idle
        })
    })?;
    measure(
        "an async handler",
        size_of_future(idle),
        300,
        |reactor, options| reactor.serve(("127.0.0.1:0", options), idle),
    )?;
    // All of its memory, the handler's included.
    measure("an async echo", 0, 400, |reactor, options| {
        reactor.serve(("127.0.0.1:0", options), echo)
    })
}

/// Like the example `echo_async`: it has no buffer while it waits.
async fn echo(mut conn: Connection) -> Result<(), Failure> {
    MADE.fetch_add(1, Ordering::Relaxed);
    let out = conn.transport();
    let mut echo = |bytes: &[u8]| {
        out.write(bytes);
        bytes.len()
    };
    while conn.read_with(&mut echo).await? > 0 {
        if out.is_full() {
            conn.flush().await?;
        }
    }
    Ok(())
}

struct Idle;

impl Protocol for Idle {
    fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
}

async fn idle(mut conn: Connection) -> Result<(), Failure> {
    MADE.fetch_add(1, Ordering::Relaxed);
    conn.read(&mut [0; 1]).await?;
    Ok(())
}

/// Returns the size of a handler's future: the code that its author wrote, as the compiler lays it
/// out.
fn size_of_future<F: Future>(_handler: impl Fn(Connection) -> F) -> usize {
    size_of::<F>()
}

fn measure(
    name: &str,
    own: usize,
    goal: usize,
    open: impl FnOnce(&Reactor, &ListenOptions) -> Result<Port, Failure>,
) -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let port = open(&reactor, &ListenOptions::new().backlog(4096))?;
        MADE.store(0, Ordering::Relaxed);
        // The first connection pays for memory that is allocated once only.
        let warm = TcpStream::connect(port.local_addr())?;
        wait_for(&reactor, 1).await?;
        let before = LIVE.load(Ordering::Relaxed);
        let mut holder = Holder::start(&port.local_addr())?;
        wait_for(&reactor, 1 + CONNECTIONS).await?;
        let each = (LIVE.load(Ordering::Relaxed) - before) as f64 / CONNECTIONS as f64;
        println!(
            "{name:<18} {each:>12.0} {own:>12} {:>12.0} {goal:>6}",
            each - own as f64
        );
        holder.end()?;
        drop(warm);
        Ok(())
    })
}

async fn wait_for(reactor: &Reactor, connections: usize) -> Result<(), Failure> {
    while MADE.load(Ordering::Relaxed) < connections {
        reactor.sleep(Duration::from_millis(10)).await?;
    }
    // And for the memory of what they do next.
    reactor.sleep(Duration::from_millis(200)).await
}

/// The process at the other ends.
struct Holder(Child);

impl Holder {
    fn start(address: &Address) -> Result<Self, Failure> {
        let child = Command::new(std::env::current_exe()?)
            .args(["hold", &address.to_string()])
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    fn end(&mut self) -> Result<(), Failure> {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }
}

/// Holds connections until its standard input ends.
fn hold(address: &str) -> Result<(), Failure> {
    let held: Result<Vec<_>, _> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(address))
        .collect();
    let held = held?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
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
