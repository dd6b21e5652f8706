//! 100,000 pipelined commands to a `redis-server`: the client of torsade's example beside the
//! `redis` crate on tokio, interleaved, five rounds each.
//!
//! Run `cargo run --release --example redis_pipeline` in `benches/rivals`. Prints the processor
//! time of each client a command (user and system), medians, and the ratio.

#[allow(dead_code, reason = "the benchmark needs a part of it")]
#[path = "../../../examples/redis/client.rs"]
mod client;
#[allow(dead_code, reason = "the benchmark needs a part of it")]
#[path = "../../../examples/redis/resp.rs"]
mod resp;

use std::env;
use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::future::join_all;

use self::client::{Commands, Redis};

const COUNT: usize = 100_000;
/// How many commands are sent before their replies are awaited.
const DEPTH: usize = 1_000;
const ROUNDS: usize = 5;

/// Stops the server at the end.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ours(address: &str) -> Result<(), Box<dyn Error>> {
    torsade::run(async |reactor| {
        let redis = reactor.connect(address, Redis::new()).await?;
        redis.greet(None, 0).await?;
        for _ in 0..COUNT / DEPTH {
            let replies = (0..DEPTH).map(|_| redis.command(&["INCR", "ours"]));
            for reply in join_all(replies).await {
                reply?;
            }
        }
        redis.lose_connection();
        Ok(())
    })?;
    Ok(())
}

fn theirs(address: &str) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = redis::Client::open(format!("redis://{address}/"))?;
        let connection = client.get_multiplexed_async_connection().await?;
        for _ in 0..COUNT / DEPTH {
            let replies = (0..DEPTH).map(|_| {
                let mut connection = connection.clone();
                async move {
                    let mut command = redis::cmd("INCR");
                    command
                        .arg("theirs")
                        .query_async::<u64>(&mut connection)
                        .await
                }
            });
            for reply in join_all(replies).await {
                reply?;
            }
        }
        Ok(())
    })
}

/// Processor time of the ended children so far.
fn of_children() -> Result<Duration, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text[text.rfind(')').ok_or("no name")? + 2..]
        .split(' ')
        .collect();
    let ticks: u64 = fields[13].parse::<u64>()? + fields[14].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ours", address] => return ours(address),
        ["theirs", address] => return theirs(address),
        _ => {}
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let server = Command::new("redis-server")
        .args(["--save", "", "--port", &port.to_string()])
        .stdout(Stdio::null())
        .spawn()?;
    let _server = Server(server);
    let address = format!("127.0.0.1:{port}");
    while std::net::TcpStream::connect(&address).is_err() {
        std::thread::yield_now();
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (name, times) in ["ours", "theirs"].into_iter().zip(&mut times) {
            let before = of_children()?;
            let status = Command::new(env::current_exe()?)
                .args([name, &address])
                .status()?;
            assert!(status.success(), "{name} failed");
            times.push(of_children()? - before);
        }
    }
    let [ours, theirs] = times.map(|mut times| {
        times.sort();
        times[ROUNDS / 2]
    });
    let each = |time: Duration| time.as_nanos() / COUNT as u128;
    println!(
        "torsade {} ns, redis on tokio {} ns a command",
        each(ours),
        each(theirs)
    );
    println!("ratio {:.2}", ours.as_secs_f64() / theirs.as_secs_f64());
    Ok(())
}
