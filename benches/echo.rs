//! Echo servers: ours as a protocol and as an async function, beside tokio's on its current-thread runtime.
//!
//! Run `cargo bench --bench echo`. Each server is a process of its own; this one keeps 64 bytes in flight on each of
//! its connections. What is compared is the server's time on a processor for one message, which the client does not
//! share; each server is measured several times, in turn, and the best counts. Nearly all of it is the kernel's, so
//! one can only lose here: by calls that others do not make. Left out: how long a message takes.
//!
//! | figure                              | goal                                |
//! |-------------------------------------|-------------------------------------|
//! | 64 connections, protocol / async    | ≤ 1.00 × / ≤ 1.01 × tokio           |
//! | 1,000 connections, protocol / async | ≤ 0.93 × / ≤ 0.99 × tokio           |
//!
//! (The design asks for 1.02 and 1.03, 1.05 and 1.12 times a bare epoll loop, of which tokio takes 1.02 and 1.13.)

use std::fs;
use std::future::pending;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use torsade::net::ListenOptions;
use torsade::{Connection, Context, Failure, Protocol};

const ROUNDS: usize = 5;
const MESSAGES: usize = 128_000;
const SIZE: usize = 64;
const SERVERS: [&str; 3] = ["tokio", "protocol", "async"];
/// For each number of connections, the goals for a protocol and for an async function.
const LOADS: [(usize, [f64; 2]); 3] = [(1, [1.0, 1.0]), (64, [1.0, 1.01]), (1000, [0.93, 0.99])];

fn main() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some("tokio") => return serve_tokio(),
        Some("protocol") => return serve(false),
        Some("async") => return serve(true),
        _ => {}
    }
    println!(
        "{:<12} {:>9} {:>12} {:>7} {:>6}",
        "connections", "server", "ns a message", "ratio", "goal"
    );
    for (connections, goals) in LOADS {
        let mut best = [f64::INFINITY; 3];
        for _ in 0..ROUNDS {
            for (name, best) in SERVERS.iter().zip(&mut best) {
                *best = best.min(measure(name, connections)?);
            }
        }
        println!("{connections:<12} {:>9} {:>12.0}", SERVERS[0], best[0]);
        for n in 1..3 {
            let (ratio, goal) = (best[n] / best[0], goals[n - 1]);
            println!(
                "{:<12} {:>9} {:>12.0} {ratio:>7.3} {goal:>6.2}",
                "", SERVERS[n], best[n]
            );
        }
    }
    Ok(())
}

/// The server's time for one message, in nanoseconds.
fn measure(name: &str, connections: usize) -> Result<f64, Failure> {
    let server = Server::start(name)?;
    let streams: Result<Vec<_>, _> = (0..connections)
        .map(|_| TcpStream::connect(server.address))
        .collect();
    let mut streams = streams?;
    for stream in &streams {
        stream.set_nodelay(true)?;
    }
    let rounds = (MESSAGES / connections).clamp(1, 20_000);
    exchange(&mut streams, rounds / 10 + 1)?;
    let before = server.busy()?;
    exchange(&mut streams, rounds)?;
    Ok((server.busy()? - before) / (rounds * connections) as f64)
}

fn exchange(streams: &mut [TcpStream], rounds: usize) -> Result<(), Failure> {
    let (message, mut answer) = ([b'x'; SIZE], [0; SIZE]);
    for _ in 0..rounds {
        for stream in &mut *streams {
            stream.write_all(&message)?;
        }
        for stream in &mut *streams {
            stream.read_exact(&mut answer)?;
        }
    }
    Ok(())
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(name)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        Ok(Self {
            child,
            address: line.trim().parse()?,
        })
    }

    /// How long it has been on a processor, in nanoseconds.
    fn busy(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()))?;
        Ok(stat.split(' ').next().unwrap_or_default().parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

async fn echo(mut conn: Connection) -> Result<(), Failure> {
    let mut buf = [0; 4096];
    loop {
        match conn.read(&mut buf).await? {
            0 => return Ok(()),
            n => conn.write_all(&buf[..n]).await?,
        }
    }
}

fn serve(as_async: bool) -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let options = ListenOptions::new().backlog(1024);
        let port = match as_async {
            true => reactor.serve_with("127.0.0.1:0", &options, echo)?,
            false => reactor.listen_with("127.0.0.1:0", &options, |_peer| Echo)?,
        };
        println!("{}", port.local_addr());
        pending().await
    })
}

fn serve_tokio() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buf = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    if stream.write_all(&buf[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}
