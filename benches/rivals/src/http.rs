//! HTTP servers beside hyper on tokio's current-thread runtime, asked by `wrk` and `h2load`.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use torsade::http::{self, Body, Bytes};

use crate::measure::{self, Error};
use crate::median;

/// The program that makes the requests.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    /// `wrk`: HTTP/1.1, for some time. It makes no exact number of requests, so where instructions
    /// are counted, `h2load` takes its part.
    Wrk,
    /// `h2load` with HTTP/1.1.
    H1,
    /// `h2load` with HTTP/2.
    H2,
}

/// One kind of request.
pub struct HttpRow {
    name: &'static str,
    load: Load,
    path: &'static str,
    /// The number of requests of a round, and those that callgrind counts.
    count: usize,
    counted: usize,
}

const ROWS: [HttpRow; 4] = [
    HttpRow {
        name: "http-hello",
        load: Load::Wrk,
        path: "/",
        count: 50_000,
        counted: 2_000,
    },
    HttpRow {
        name: "http2-hello",
        load: Load::H2,
        path: "/",
        count: 50_000,
        counted: 4_000,
    },
    HttpRow {
        name: "http-1mb",
        load: Load::H1,
        path: "/1mb",
        count: 3_000,
        counted: 200,
    },
    HttpRow {
        name: "http-file",
        load: Load::H1,
        path: "/file",
        count: 3_000,
        counted: 200,
    },
];

/// The contenders: hyper on tokio, torsade, and torsade that reads files instead of `sendfile`.
const CONTENDERS: [&str; 3] = ["tokio", "torsade", "user-space"];
const ROUNDS: usize = 11;
const CONNECTIONS: usize = 64;
const MEGABYTE: usize = 1 << 20;

/// Compares the contenders in turns: the CPU time of a request, or its instructions.
pub fn compare(names: &[&str], counts_instructions: bool) -> Result<(), Error> {
    for row in ROWS
        .iter()
        .filter(|row| names.is_empty() || names.contains(&row.name))
    {
        let takes_part = |who: &&&str| **who != "user-space" || row.path == "/file";
        let contenders: Vec<_> = CONTENDERS.iter().filter(takes_part).collect();
        let mut samples = vec![Vec::new(); contenders.len()];
        for round in 0..if counts_instructions { 1 } else { ROUNDS } {
            // Each round begins with another one.
            for turn in 0..contenders.len() {
                let index = (round + turn) % contenders.len();
                let who = contenders[index];
                samples[index].push(match counts_instructions {
                    true => row.instructions(who)?,
                    false => row.sample(who)?,
                });
            }
        }
        for (who, samples_of) in contenders.iter().zip(&samples) {
            print(row.name, who, samples_of, &samples[0]);
        }
    }
    Ok(())
}

/// Prints the median of a contender's rounds, and that of its ratios to tokio in each round.
pub fn print(row: &str, who: &str, samples: &[f64], tokio: &[f64]) {
    let ratios = samples.iter().zip(tokio).map(|(own, tokio)| own / tokio);
    let (figure, ratio) = (median(samples.to_vec()), median(ratios.collect()));
    println!("{row:<12} {who:<10} {figure:>12.0} {ratio:>6.3}");
}

impl HttpRow {
    /// Returns the CPU time of a request in nanoseconds.
    fn sample(&self, who: &str) -> Result<f64, Error> {
        let mut server = Server::start(who, &[])?;
        self.ask(server.port, self.count / 10)?;
        let before = measure::busy(server.child.id())?;
        let count = match self.load {
            Load::Wrk => self.ask_for_seconds(server.port)?,
            Load::H1 | Load::H2 => self.ask(server.port, self.count)?,
        };
        let busy = measure::busy(server.child.id())? - before;
        server.end()?;
        Ok(busy / count as f64)
    }

    /// Returns the user instructions of a request.
    fn instructions(&self, who: &str) -> Result<f64, Error> {
        let counted = |count| {
            let mut server = Server::start(who, &measure::VALGRIND)?;
            self.ask(server.port, count)?;
            server.end()
        };
        let (once, twice) = (counted(self.counted)?, counted(self.counted * 2)?);
        Ok((twice - once) / self.counted as f64)
    }

    /// Makes requests; returns how many were answered.
    fn ask(&self, port: u16, count: usize) -> Result<usize, Error> {
        let url = format!("http://127.0.0.1:{port}{}", self.path);
        let mut command = Command::new("taskset");
        command.args(["-c", "0", "h2load", "-t1", "-c", &CONNECTIONS.to_string()]);
        command.args(["-n", &count.to_string()]);
        if self.load != Load::H2 {
            command.arg("--h1");
        }
        let output = command.arg(&url).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let done = text
            .split(" succeeded")
            .next()
            .and_then(|text| text.rsplit(' ').next());
        let done: usize = done.and_then(|done| done.parse().ok()).unwrap_or(0);
        match done == count {
            true => Ok(count),
            false => Err(format!("{}: {done} of {count}: {text}", self.name).into()),
        }
    }

    /// Makes requests with `wrk` for some time; returns how many were answered.
    fn ask_for_seconds(&self, port: u16) -> Result<usize, Error> {
        let url = format!("http://127.0.0.1:{port}{}", self.path);
        let mut command = Command::new("taskset");
        command.args([
            "-c",
            "0",
            "wrk",
            "-t1",
            "-d2s",
            "-c",
            &CONNECTIONS.to_string(),
        ]);
        let output = command.arg(&url).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let done = text
            .split(" requests in ")
            .next()
            .and_then(|text| text.rsplit(char::is_whitespace).next()?.parse().ok());
        let failed = text.contains("Socket errors") || text.contains("Non-2xx");
        match done {
            Some(count) if count > 0 && !failed => Ok(count),
            _ => Err(format!("{}: {text}", self.name).into()),
        }
    }
}

/// A server in a separate process.
pub struct Server {
    child: Child,
    stdout: ChildStdout,
    pub port: u16,
    is_counted: bool,
}

impl Server {
    pub fn start(who: &str, under: &[&str]) -> Result<Self, Error> {
        let program = std::env::current_exe()?;
        let program = program.to_str().ok_or("the program's path")?;
        let words = [
            &["taskset", "-c", "1"],
            under,
            &[program, "serve-http", who],
        ]
        .concat();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdout = child.stdout.take().ok_or("no output")?;
        let mut port = [0; 2];
        stdout.read_exact(&mut port)?;
        let (port, is_counted) = (u16::from_be_bytes(port), !under.is_empty());
        Ok(Self {
            child,
            stdout,
            port,
            is_counted,
        })
    }

    /// Ends it; returns its instructions, where they are counted.
    pub fn end(&mut self) -> Result<f64, Error> {
        drop(self.child.stdin.take());
        let _ = self.stdout.read(&mut [0]);
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text)?;
        }
        self.child.wait()?;
        if self.is_counted {
            measure::collected(&text)
        } else {
            Ok(0.0)
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until the standard input ends.
pub fn serve(who: &str) -> Result<(), Error> {
    let file = std::env::temp_dir().join(format!("rivals-{}", std::process::id()));
    std::fs::write(&file, vec![b'x'; MEGABYTE])?;
    let served = match who {
        "tokio" => serve_tokio(file.clone()),
        who => serve_ours(file.clone(), who == "user-space"),
    };
    std::fs::remove_file(&file)?;
    served
}

fn announce(port: u16) {
    let _ = std::io::stdout().write_all(&port.to_be_bytes());
    let _ = std::io::stdout().flush();
    // In another thread, as no runtime here is to wait for a pipe.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}

fn serve_ours(file: std::path::PathBuf, reads: bool) -> Result<(), Error> {
    let megabyte = Bytes::from(vec![b'x'; MEGABYTE]);
    torsade::run(async move |_reactor| {
        let port = http::Server::new().serve("127.0.0.1:0", async move |request| {
            Ok(http::Response::new(match request.uri().path() {
                "/1mb" => Body::from(megabyte.clone()),
                "/file" if reads => Body::wrap(Body::file(std::fs::File::open(&file)?)?),
                "/file" => Body::file(std::fs::File::open(&file)?)?,
                _ => Body::from("hello"),
            }))
        })?;
        announce(port.local_addr().port().unwrap_or(0));
        std::future::pending().await
    })?;
    Ok(())
}

fn serve_tokio(file: std::path::PathBuf) -> Result<(), Error> {
    use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
    use hyper::body::Frame;
    use hyper_util::rt::TokioIo;

    type Answer =
        http::Response<http_body_util::Either<Full<Bytes>, UnsyncBoxBody<Bytes, std::io::Error>>>;
    let megabyte = Bytes::from(vec![b'x'; MEGABYTE]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (megabyte, file) = (megabyte.clone(), file.clone());
            let service = move |request: http::Request<hyper::body::Incoming>| {
                let (megabyte, file) = (megabyte.clone(), file.clone());
                async move {
                    let full = |bytes| http_body_util::Either::Left(Full::new(bytes));
                    let body = match request.uri().path() {
                        "/1mb" => full(megabyte),
                        "/file" => {
                            let file = std::fs::File::open(&file).unwrap();
                            let pieces = futures::stream::unfold(file, |mut file| async {
                                let mut piece = vec![0; 64 * 1024];
                                let count =
                                    file.read(&mut piece).ok().filter(|count| *count > 0)?;
                                piece.truncate(count);
                                Some((Ok(Frame::data(Bytes::from(piece))), file))
                            });
                            http_body_util::Either::Right(StreamBody::new(pieces).boxed_unsync())
                        }
                        _ => full(Bytes::from_static(b"hello")),
                    };
                    let mut answer = Answer::new(body);
                    if request.uri().path() == "/file" {
                        let length = http::HeaderValue::from_static("1048576");
                        answer.headers_mut().insert("content-length", length);
                    }
                    Ok::<_, Infallible>(answer)
                }
            };
            tokio::task::spawn_local(async move {
                let mut first = [0; 4];
                let is_http2 = stream.peek(&mut first).await.is_ok() && first == *b"PRI ";
                let (io, service) = (TokioIo::new(stream), hyper::service::service_fn(service));
                match is_http2 {
                    true => {
                        let builder = hyper::server::conn::http2::Builder::new(LocalExec);
                        builder.serve_connection(io, service).await
                    }
                    false => {
                        let builder = hyper::server::conn::http1::Builder::new();
                        builder.serve_connection(io, service).await
                    }
                }
            });
        }
    })
}

/// Spawns on the thread's own tasks.
#[derive(Clone)]
struct LocalExec;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
