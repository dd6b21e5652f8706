//! Clients that bring their own sockets: `reqwest`, `redis` and `lettre` with a tokio runtime
//! beside the reactor, `ureq` in the thread pool.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use torsade::clock::TimedOut;
use torsade::process::Command;
use torsade::{Clock, Connection, Failure, Port, Reactor, testing};

use crate::{HERE, SECOND};

fn run(test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    testing::run_on(Reactor::new().unwrap(), test);
}

/// A server that answers with the path; `/never` it does not answer. Returns how many connections
/// are open, too.
fn http(reactor: &Reactor) -> Result<(Port, Rc<Cell<u32>>), Failure> {
    let open = Rc::new(Cell::new(0));
    let count = open.clone();
    let port = reactor.serve(HERE, async move |conn: Connection| {
        count.set(count.get() + 1);
        let answer = async |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            if path == "/never" {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(path))))
        };
        let server = hyper::server::conn::http1::Builder::new();
        // A client that gives its request up leaves it incomplete.
        let _ = server.serve_connection(conn, service_fn(answer)).await;
        count.set(count.get() - 1);
        Ok(())
    })?;
    Ok((port, open))
}

#[test]
fn reqwest_runs_in_a_task_and_a_time_limit_cancels_it() {
    run(async |reactor| {
        torsade::tokio::enter(&reactor)?;
        let (port, open) = http(&reactor)?;
        let url = format!("http://{}", port.local_addr());
        let client = reqwest::Client::new();
        let texts = ["/a", "/b", "/c"].map(|path| {
            let request = client.get(format!("{url}{path}"));
            torsade::spawn(async move { request.send().await?.text().await })
        });
        for (text, path) in texts.into_iter().zip(["/a", "/b", "/c"]) {
            assert_eq!(text.await??, path);
        }
        let never = client.get(format!("{url}/never")).send();
        let late = reactor.timeout(SECOND / 20, never).await;
        assert!(late.is_err_and(|failure| failure.is::<TimedOut>()));
        drop(client);
        // The client has closed the connection of the request that was given up, and the idle ones.
        while open.get() > 0 {
            reactor.sleep(SECOND / 1000).await?;
        }
        port.stop().await
    });
}

#[test]
fn ureq_blocks_a_thread_of_the_pool_only() {
    run(async |reactor| {
        let (port, open) = http(&reactor)?;
        let url = format!("http://{}/hello", port.local_addr());
        let text = reactor.spawn_blocking(move || {
            let agent = ureq::Agent::new_with_defaults();
            Ok(agent.get(&url).call()?.body_mut().read_to_string()?)
        });
        assert_eq!(text.await?, "/hello");
        while open.get() > 0 {
            reactor.sleep(SECOND / 1000).await?;
        }
        port.stop().await
    });
}

/// Receives one mail, as far as SMTP demands it. Returns its lines.
async fn receive_mail(conn: &mut Connection) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    let mut is_data = false;
    conn.send_line("220 ready").await?;
    while let Some(line) = conn.read_line(1000).await? {
        let line = String::from_utf8(line)?;
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_owned();
        let answer = match (is_data, verb.as_str()) {
            (true, ".") => {
                is_data = false;
                "250 taken"
            }
            (true, _) => {
                lines.push(line);
                continue;
            }
            (false, "DATA") => {
                is_data = true;
                "354 go on"
            }
            (false, "QUIT") => "221 bye",
            (false, _) => "250 ok",
        };
        conn.send_line(answer).await?;
    }
    Ok(lines)
}

#[test]
fn lettre_sends_a_mail() {
    run(async |reactor| {
        torsade::tokio::enter(&reactor)?;
        let mut listener = reactor.bind(HERE)?;
        let port = listener.local_addr().port().expect("it is TCP");
        let receives = torsade::spawn(async move {
            let mut conn = listener.accept().await?;
            receive_mail(&mut conn).await
        });
        let mailer = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1");
        let mailer = mailer.port(port).build();
        let mail = Message::builder()
            .from("anna@example.org".parse()?)
            .to("otto@example.org".parse()?)
            .subject("hello")
            .body(String::from("how are you?"))?;
        let sent = mailer.send(mail).await?;
        assert!(sent.is_positive());
        mailer.shutdown().await;
        let lines = receives.await??;
        assert!(lines.contains(&"Subject: hello".to_owned()), "{lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("how are you?"));
        Ok(())
    });
}

#[test]
fn redis_pipelines_and_subscribes() {
    use futures::StreamExt;
    use redis::AsyncCommands;
    run(async |reactor| {
        torsade::tokio::enter(&reactor)?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("redis");
        let server = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--loglevel",
                "warning",
                "--unixsocket",
            ])
            .arg(&path)
            .current_dir(folder.path())
            .kill_on_drop(true)
            .spawn(&reactor)?;
        let client = redis::Client::open(format!("redis+unix://{}", path.display()))?;
        let connects = async {
            loop {
                match client.get_multiplexed_async_connection().await {
                    Ok(conn) => return conn,
                    Err(_) => drop(reactor.sleep(SECOND / 100).await),
                }
            }
        };
        let mut conn = reactor.timeout(10 * SECOND, connects).await?;
        let () = conn.set("name", "anna").await?;
        let (name, count): (String, u32) = redis::pipe()
            .get("name")
            .incr("count", 41)
            .ignore()
            .incr("count", 1)
            .query_async(&mut conn)
            .await?;
        assert_eq!((name.as_str(), count), ("anna", 42));

        let mut listener = client.get_async_pubsub().await?;
        listener.subscribe("news").await?;
        let mut news = listener.into_on_message();
        let _: u32 = conn.publish("news", "it works").await?;
        let message = reactor.timeout(10 * SECOND, news.next()).await?;
        assert_eq!(
            message.expect("a message").get_payload::<String>()?,
            "it works"
        );

        let never = conn.blpop::<_, Option<(String, String)>>("nothing", 0.0);
        let late = reactor.timeout(SECOND / 20, never).await;
        assert!(late.is_err_and(|failure| failure.is::<TimedOut>()));
        drop((conn, news));
        server.kill();
        server.status().await?;
        Ok(())
    });
}
