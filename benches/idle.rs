//! What an idle connection costs in memory.
//!
//! Run `cargo bench --bench idle`. Ten thousand connections, made by another process, are held by a server that does
//! nothing with them; what the server's allocator has handed out is counted before and after, with nothing rounded
//! up or hidden in caches. The protocol and the handler have next to no state of their own: what is printed is the
//! runtime's part. Left out: the kernel's sockets (about 2.4 KiB each), and what the allocator adds.
//!
//! | kind                 | goal             | the best and the usual elsewhere (resident memory)  |
//! |----------------------|------------------|------------------------------------------------------|
//! | a protocol           | ≤ 200 bytes      | libuv 286, tokio at least 1,024                      |
//! | an async handler     | ≤ 400 bytes      | the same                                             |

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use torsade::net::tcp::ListenOptions;
use torsade::{Clock, Connection, Context, Failure, Port, Protocol, Reactor};

const CONNECTIONS: usize = 10_000;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("hold") {
        return hold(&arguments.next().expect("an address"));
    }
    println!(
        "{:<18} {:>12} {:>12} {:>6}",
        "", "bytes each", "resident", "goal"
    );
    measure("a protocol", 200, |reactor, options, made| {
        let made = made.clone();
        reactor.listen_with("127.0.0.1:0", options, move |_peer| {
            made.set(made.get() + 1);
            Idle
        })
    })?;
    measure("an async handler", 400, |reactor, options, made| {
        let made = made.clone();
        reactor.serve_with("127.0.0.1:0", options, async move |mut conn: Connection| {
            made.set(made.get() + 1);
            conn.read(&mut [0; 1]).await?;
            Ok(())
        })
    })
}

struct Idle;

impl Protocol for Idle {
    fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
}

fn measure(
    name: &str,
    goal: usize,
    open: impl FnOnce(&Reactor, &ListenOptions, &Rc<Cell<usize>>) -> Result<Port, Failure>,
) -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let made = Rc::new(Cell::new(0));
        let port = open(&reactor, &ListenOptions::new().backlog(4096), &made)?;
        // The first connections pay for what is there once only.
        let warm = TcpStream::connect(port.local_addr())?;
        while made.get() < 1 {
            reactor.sleep(Duration::from_millis(1)).await?;
        }
        let (bytes, pages) = (LIVE.load(Ordering::Relaxed), resident()?);
        let mut holder = Holder::start(port.local_addr())?;
        while made.get() < 1 + CONNECTIONS {
            reactor.sleep(Duration::from_millis(10)).await?;
        }
        reactor.sleep(Duration::from_millis(200)).await?;
        let each = (LIVE.load(Ordering::Relaxed) - bytes) as f64 / CONNECTIONS as f64;
        let rss = (resident()? - pages) as f64 / CONNECTIONS as f64;
        println!("{name:<18} {each:>12.0} {rss:>12.0} {goal:>6}");
        holder.end()?;
        drop(warm);
        Ok(())
    })
}

/// The process at the other ends.
struct Holder(Child);

impl Holder {
    fn start(address: SocketAddr) -> Result<Self, Failure> {
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

/// This process's resident memory, in bytes, where the system tells.
fn resident() -> Result<usize, Failure> {
    let Ok(status) = std::fs::File::open("/proc/self/status") else {
        return Ok(0);
    };
    for line in BufReader::new(status).lines() {
        let line = line?;
        if let Some(rest) = line.strip_prefix("VmRSS:") {
            let kib: usize = rest.trim().trim_end_matches(" kB").parse()?;
            return Ok(kib * 1024);
        }
    }
    Ok(0)
}

/// Counts what is handed out and not given back.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one passes everything on"
)]
// SAFETY: every call is passed on to the system's allocator as it came.
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
