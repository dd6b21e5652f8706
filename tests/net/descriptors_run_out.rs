//! A server without free descriptors: it serves its connections, does not spin, and accepts again.
#![cfg(unix)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::own;
use support::program::PATIENCE;

/// So many clients are served at least: the server opens few descriptors else.
const SERVED: usize = 40;

/// The server; does nothing in the parent.
#[test]
fn child() {
    if std::env::var("TORSADE_CHILD").is_err() {
        return;
    }
    let _ = torsade::run(async |reactor| {
        let port = reactor.serve("127.0.0.1:0", async |mut conn| {
            let mut buf = [0; 64];
            loop {
                match conn.read(&mut buf).await? {
                    0 => return Ok(()),
                    count => conn.write_all(&buf[..count]).await?,
                }
            }
        })?;
        println!("\nport {}", port.local_addr());
        std::io::stdout().flush()?;
        std::future::pending().await
    });
}

#[test]
fn a_server_without_descriptors_serves_its_connections_and_accepts_again() {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(own::program())
        .args(own::words("child"))
        .env("TORSADE_CHILD", "yes")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let address: SocketAddr = loop {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0);
        if let Some(address) = line.trim().strip_prefix("port ") {
            break address.parse().unwrap();
        }
    };
    let soon = Duration::from_millis(200);
    let mut clients = Vec::new();
    for number in 0..200 {
        // When the port's queue is full too, the system retries after a second.
        let Some(client) = connect(address, 5) else {
            break;
        };
        // The first are served, however long that takes.
        let timeout = if number < SERVED { PATIENCE } else { soon };
        client.set_read_timeout(Some(timeout)).unwrap();
        clients.push(client);
    }
    let is_served = |client: &mut TcpStream| {
        client.write_all(b"x").is_ok()
            && match client.read(&mut [0]) {
                Ok(count) => count == 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    false
                }
            }
    };
    let served = clients
        .iter_mut()
        .map(is_served)
        .take_while(|served| *served)
        .count();
    let before = cpu_ticks(child.id());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert!(clients[..SERVED].iter_mut().all(is_served));
        std::thread::sleep(Duration::from_millis(200));
    }
    let ticks = cpu_ticks(child.id()) - before;
    println!(
        "{} clients, {served} served, {ticks} ticks of 10 ms in 2 s",
        clients.len()
    );
    assert!((SERVED..64).contains(&served), "{served}");
    assert!(clients.len() > served);
    assert!(ticks < 40, "{ticks} ticks of 10 ms in 2 s");

    drop(clients);
    let start = Instant::now();
    let mut client = connect(address, 1000).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(is_served(&mut client));
    println!("accepting again after {:?}", start.elapsed());
    child.kill().unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    let port = format!("torsade: the port {address}");
    let cannot = format!("{port} cannot accept connections for now: ");
    assert_eq!(said.matches(&cannot).count(), 1, "{said}");
    let again = format!("{port} accepts connections again\n");
    assert_eq!(said.matches(&again).count(), 1, "{said}");
}

/// Connects, in at most this many attempts. Each is short: the system repeats a connect that finds
/// the queue full after a second only.
fn connect(address: SocketAddr, attempts: u32) -> Option<TcpStream> {
    let short = Duration::from_millis(20);
    (0..attempts).find_map(|_| TcpStream::connect_timeout(&address, short).ok())
}

/// Returns the user and system time of a process.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
