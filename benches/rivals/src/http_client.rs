//! The agent beside hyper-util's client on tokio's current-thread runtime: 64 requests at a time
//! through a pool, to the same server.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use torsade::http::{Agent, Bytes, Request, Uri};

use crate::http::{self, Server};
use crate::measure::{self, Error};

pub const NAME: &str = "http-get";
const COUNT: usize = 100_000;
const COUNTED: usize = 2_000;
const AT_ONCE: usize = 64;
const ROUNDS: usize = 9;
/// The agent has limits of time by default; so the other has one.
const LIMIT: Duration = Duration::from_secs(60);

/// Compares the two in turns: the CPU time of a request, or its instructions.
pub fn compare(counts_instructions: bool) -> Result<(), Error> {
    let mut figures = [("tokio", Vec::new()), ("torsade", Vec::new())];
    for _ in 0..if counts_instructions { 1 } else { ROUNDS } {
        for (who, samples) in &mut figures {
            samples.push(match counts_instructions {
                true => {
                    let (once, twice) = (count(who, COUNTED)?, count(who, COUNTED * 2)?);
                    (twice - once) / COUNTED as f64
                }
                false => ask(who, COUNT, &[])?.0,
            });
        }
    }
    for (who, samples) in &figures {
        http::print(NAME, who, samples, &figures[0].1);
    }
    Ok(())
}

fn count(who: &str, count: usize) -> Result<f64, Error> {
    measure::collected(&ask(who, count, &measure::VALGRIND)?.1)
}

/// Makes requests in a separate process. Returns what it has printed.
fn ask(who: &str, count: usize, under: &[&str]) -> Result<(f64, String), Error> {
    let mut server = Server::start("tokio", &[])?;
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or("the program's path")?;
    let (port, count) = (server.port.to_string(), count.to_string());
    let words = [
        &["taskset", "-c", "0"],
        under,
        &[program, "get-http", who, &port, &count],
    ]
    .concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    let output = command.output()?;
    server.end()?;
    let printed = String::from_utf8(output.stdout)?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let each = printed.trim().parse();
    Ok((each.map_err(|_| errors.clone())?, errors))
}

/// Makes requests, and prints the CPU time of each.
pub fn get(who: &str, port: &str, count: &str) -> Result<(), Error> {
    let uri: Uri = format!("http://127.0.0.1:{port}/").parse()?;
    let count: usize = count.parse()?;
    let warm = count / 10 / AT_ONCE;
    let each = match who {
        "tokio" => tokio(uri, warm, count / AT_ONCE)?,
        _ => torsade(uri, warm, count / AT_ONCE)?,
    };
    println!("{each}");
    Ok(())
}

fn busy() -> f64 {
    let mut text = String::new();
    let file = std::fs::File::open("/proc/self/schedstat");
    let _ = file.map(|mut file| file.read_to_string(&mut text));
    text.split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0)
}

fn torsade(uri: Uri, warm: usize, rounds: usize) -> Result<f64, Error> {
    let mut each = 0.0;
    torsade::run(async |_reactor| {
        let agent = Agent::new().connections_per_host(AT_ONCE);
        let run = async |rounds: usize| {
            let lanes = (0..AT_ONCE).map(|_| {
                let (agent, uri) = (agent.clone(), uri.clone());
                torsade::spawn(async move {
                    for _ in 0..rounds {
                        let mut request = Request::new(());
                        *request.uri_mut() = uri.clone();
                        let response = agent.send(request).await?;
                        let body = response.into_body().read(100).await?;
                        assert_eq!(body, "hello");
                    }
                    Ok::<_, torsade::Failure>(())
                })
            });
            futures::future::try_join_all(lanes).await
        };
        run(warm).await?;
        let before = busy();
        run(rounds).await?;
        each = (busy() - before) / (rounds * AT_ONCE) as f64;
        Ok(())
    })?;
    Ok(each)
}

fn tokio(uri: Uri, warm: usize, rounds: usize) -> Result<f64, Error> {
    use hyper_util::client::legacy::{Client, connect::HttpConnector};
    use hyper_util::rt::TokioExecutor;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(AT_ONCE)
            .build(connector);
        let run = async |rounds: usize| {
            let lanes: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    let (client, uri) = (client.clone(), uri.clone());
                    tokio::task::spawn_local(async move {
                        for _ in 0..rounds {
                            let get = async {
                                let response = client.get(uri.clone()).await?;
                                Ok::<_, Error>(response.into_body().collect().await?)
                            };
                            let body = tokio::time::timeout(LIMIT, get).await??;
                            assert_eq!(body.to_bytes(), "hello");
                        }
                        Ok::<_, Error>(())
                    })
                })
                .collect();
            for lane in lanes {
                lane.await??;
            }
            Ok::<_, Error>(())
        };
        run(warm).await?;
        let before = busy();
        run(rounds).await?;
        Ok((busy() - before) / (rounds * AT_ONCE) as f64)
    })
}
