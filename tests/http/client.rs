//! Requests and their responses, against servers that a test directs byte by byte.

use std::time::Duration;

use futures::FutureExt;
use torsade::http::{self, Agent, Body, HeaderValue, HttpError, Phase, Request, header};
use torsade::net::ClientEndpoint;
use torsade::{Cancelled, Reactor};

use crate::peers::{head, ok, server};
use support::folder::Folder;
use support::{HERE, some_turns};

on_both! {
    async fn a_page_is_requested_and_read(reactor) {
        let (port, url) = server(&reactor, async |_| ok("hello"))?;
        assert_eq!(http::get_page(&url).await?, "hello");
        let both = (http::get_page(&url), http::get_page(&url));
        assert_eq!((both.0.await?, both.1.await?), ("hello".into(), "hello".into()));
        port.stop().await?;
    }

    async fn a_request_has_what_it_was_given(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            let mut lines = head(&mut conn).await?;
            lines.sort();
            let mut body = [0; 4];
            conn.read_exact(&mut body).await?;
            let text = format!("{}|{}", lines.join("|"), String::from_utf8_lossy(&body));
            let text = format!("HTTP/1.0 200 OK\r\n\r\n{text}");
            Ok(conn.write_all(text.as_bytes()).await?)
        })?;
        let address = port.local_addr().to_string();
        let agent = Agent::new();
        let request = Request::post(format!("http://{address}/a%20b?c#d")).header("x-y", "z");
        let response = agent.request(request.body("body")?).await?;
        let text = response.into_body().read(1000).await?;
        let all = format!(
            "POST /a%20b?c HTTP/1.1|content-length: 4|host: {address}|user-agent: torsade/{}|x-y: z|body",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text, all);
        drop(agent);
        port.stop().await?;
    }

    async fn an_error_status_is_an_error_of_a_page(reactor) {
        let answer = "HTTP/1.1 404 Not Found\r\nx-why: gone\r\ncontent-length: 4\r\n\r\nnone";
        let (port, url) = server(&reactor, async |_| answer.into())?;
        let failure = http::get_page(&url).await.unwrap_err();
        let (at, code, headers, text) = expect_error!(
            failure, HttpError::Status { url, status, headers, body } => (url, status, headers, body)
        );
        assert_eq!((at, code.as_u16(), text), (&url, 404, &"none".into()));
        assert_eq!(headers["x-why"], "gone");

        let agent = Agent::new();
        let response = agent.get(&url).await?;
        assert_eq!(response.status(), 404);
        drop((response, agent));
        port.stop().await?;
    }

    async fn an_error_says_which_phase_failed_for_which_url(reactor) {
        let (port, url) = server(&reactor, async |_| ok("hello").replace("lo", "l"))?;
        let agent = Agent::new();
        let failure = Agent::new().get("gopher://x/").await.unwrap_err();
        assert_failure!(failure, HttpError::Url { .. });

        let body = agent.get(&url).await?.into_body();
        port.lose_connections(Duration::ZERO).await?;
        let failure = body.read(100).await.unwrap_err();
        let (phase, at) =
            expect_error!(failure, HttpError::Failed { phase, url, .. } => (phase, url));
        assert_eq!((*phase, at), (Phase::Reading, &url));

        port.stop().await?;
        let failure = agent.get(&url).await.unwrap_err();
        let phase = expect_error!(failure, HttpError::Failed { phase, .. } => phase);
        assert_eq!(*phase, Phase::Connecting);
        drop(agent);
    }

    async fn a_connection_is_used_again(reactor) {
        let (port, url) = server(&reactor, async |_| ok("hello"))?;
        let agent = Agent::new();
        for _ in 0..3 {
            let response = agent.get(&url).await?;
            assert_eq!(response.into_body().read(5).await?, "hello");
            assert_eq!(port.connections(), 1);
        }
        drop(agent);
        port.stop().await?;
    }

    async fn a_body_is_streamed_both_ways(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            head(&mut conn).await?;
            conn.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            while let Some(line) = conn.read_line(1000).await? {
                conn.write_all(&[&line[..], b"\r\n"].concat()).await?;
            }
            Ok(())
        })?;
        let agent = Agent::new();
        let (writer, body) = Body::channel();
        let request = Request::post(format!("http://{}/", port.local_addr())).body(body)?;
        writer.write("one");
        let mut response = agent.request(request).await?.into_body();
        assert_eq!(response.chunk().await?.unwrap(), "one");
        writer.send("two").await?;
        assert_eq!(response.chunk().await?.unwrap(), "two");
        writer.finish();
        assert_eq!(response.chunk().await?, None);
        drop(agent);
        port.stop().await?;
    }

    async fn settings_are_those_of_each_clone(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            while let lines @ [_, ..] = &head(&mut conn).await?[..] {
                let accept = lines.iter().find(|line| line.starts_with("accept"));
                conn.write_all(ok(accept.map_or("none", |line| line)).as_bytes()).await?;
            }
            Ok(())
        })?;
        let url = format!("http://{}/", port.local_addr());
        let agent = Agent::new();
        let other = agent.clone().header(header::ACCEPT, HeaderValue::from_static("text/html"));
        assert_eq!(agent.get_page(&url).await?, "none");
        assert_eq!(other.get_page(&url).await?, "accept: text/html");
        let request = Request::get(&url).header(header::ACCEPT, "a/b").body(())?;
        let body = other.request(request).await?.into_body();
        assert_eq!(body.read(99).await?, "accept: a/b");
        assert_eq!(port.connections(), 1);
        assert!(format!("{other:?}").contains("connections: 1"));
        drop((agent, other));
        port.stop().await?;
    }

    async fn a_page_that_is_too_large_is_not_read(reactor) {
        let (port, url) = server(&reactor, async |_| ok("hello"))?;
        let agent = Agent::new().max_page(4);
        let failure = agent.get_page(&url).await.unwrap_err();
        let expected = format!("reading the body failed for {url}: the body is larger than 4 bytes");
        assert_eq!(format!("{failure:#}"), expected);
        assert_eq!(agent.clone().max_page(5).get_page(&url).await?, "hello");
        drop(agent);
        port.stop().await?;
    }

    async fn a_cancelled_request_frees_its_connection(reactor) {
        let (port, url) = server(&reactor, async |line| match line.contains("/never") {
            true => String::new(),
            false => ok("hello"),
        })?;
        let agent = Agent::new().connections_per_host(1);
        let never = agent.get(format!("{url}never"));
        let page = agent.get_page(&url);
        while port.connections() == 0 {
            torsade::yield_now().await;
        }
        never.cancel();
        assert!(never.await.unwrap_err().is::<Cancelled>());
        assert_eq!(page.await?, "hello");
        let waiting = agent.get(&url);
        waiting.cancel();
        assert!(waiting.await.unwrap_err().is::<Cancelled>());
        assert_eq!(agent.get_page(&url).await?, "hello");
        drop(agent);
        port.lose_connections(Duration::ZERO).await?;
        port.stop().await?;
    }

    async fn a_request_that_is_a_part_of_a_task_begins_and_ends_with_its_future(reactor) {
        let (port, url) = server(&reactor, async |line| match line.contains("/never") {
            true => String::new(),
            false => ok("hello"),
        })?;
        let agent = Agent::new().connections_per_host(1);
        let request = |path: &str| Request::get(format!("{url}{path}")).body(()).unwrap();
        let idle = agent.send(request("never"));
        some_turns().await;
        assert_eq!(port.connections(), 0);
        drop(idle);
        // The connection, which is the only one, is freed for the next.
        let mut never = Box::pin(agent.send(request("never")));
        while port.connections() == 0 {
            assert!((&mut never).now_or_never().is_none());
            torsade::yield_now().await;
        }
        let page = agent.get_page(&url);
        some_turns().await;
        drop(never);
        assert_eq!(page.await?, "hello");
        let response = agent.send(request("")).await?;
        assert_eq!(response.into_body().read(100).await?, "hello");
        drop(agent);
        port.lose_connections(Duration::ZERO).await?;
        port.stop().await?;
    }

    async fn a_request_that_asks_for_another_protocol_gets_the_connection(reactor) {
        let port = reactor.serve(HERE, async |mut conn| {
            let lines = head(&mut conn).await?;
            if lines[0].starts_with("GET /no") {
                return Ok(conn.write_all(ok("no").as_bytes()).await?);
            }
            let answer = match lines[0].as_str() {
                "CONNECT there:443 HTTP/1.1" => "HTTP/1.1 200 OK\r\n\r\n",
                _ => "HTTP/1.1 101 Go on\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n",
            };
            conn.write_all(format!("{answer}first\n").as_bytes()).await?;
            while let Some(line) = conn.read_line(100).await? {
                conn.write_all(&[&line.to_ascii_uppercase()[..], b"\n"].concat()).await?;
            }
            Ok(())
        })?;
        let agent = Agent::new();
        let url = |path: &str| format!("http://{}/{path}", port.local_addr());
        let ask = |path| Request::get(url(path)).header("connection", "upgrade");
        let request = ask("up").header("upgrade", "shout").body(())?;
        let (response, mut conn) = agent.upgrade(request).await?;
        assert_eq!(response.headers()["upgrade"], "shout");
        conn.write_all(b"hello\n").await?;
        assert_eq!(conn.read_line(99).await?.as_deref(), Some(&b"first"[..]));
        assert_eq!(conn.read_line(99).await?.as_deref(), Some(&b"HELLO"[..]));
        drop(conn);

        let failure = agent.upgrade(ask("no").body(())?).await.unwrap_err();
        let body = expect_error!(failure, HttpError::Status { body, .. } => body);
        assert_eq!(body, "no");

        let conn = reactor.connect_stream(port.local_addr()).await?;
        let proxy = agent.with_connection(conn).await?;
        let (_, mut conn) = proxy.upgrade(Request::connect("there:443").body(())?).await?;
        assert_eq!(conn.read_line(99).await?.as_deref(), Some(&b"first"[..]));
        let failure = proxy.get(url("up")).await.unwrap_err();
        assert_failure!(failure, HttpError::Failed { phase: Phase::Connecting, .. });
        drop((conn, proxy, agent));
        port.stop().await?;
    }

    async fn one_connection_serves_the_requests_in_turn(reactor) {
        let (port, _) = server(&reactor, async |line| ok(&line))?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let agent = Agent::new().with_connection(conn).await?;
        let pages = ["a", "b", "c"].map(|name| agent.get_page(format!("http://any/{name}")));
        for (page, name) in pages.into_iter().zip(["a", "b", "c"]) {
            assert_eq!(page.await?, format!("GET /{name} HTTP/1.1"));
        }
        assert_eq!(port.connections(), 1);
        drop(agent);
        port.stop().await?;
    }

    async fn an_agent_may_use_another_endpoint_than_the_url_names(reactor) {
        let (port, _) = server(&reactor, async |line| ok(&line))?;
        let endpoint = ClientEndpoint::new(port.local_addr());
        let agent = Agent::new().connect_to(endpoint);
        assert_eq!(agent.get_page("http://service/x").await?, "GET /x HTTP/1.1");
        drop(agent);
        port.stop().await?;
    }

    async fn a_page_is_downloaded_to_a_file_or_leaves_none(reactor) {
        let folder = Folder::create();
        let path = folder.path("page");
        let (port, url) = server(&reactor, async |line| {
            match line.contains("/end") {
                true => ok("hello").replace("lo", "l"),
                false => ok(&"x".repeat(100_000)),
            }
        })?;
        let seen = std::rc::Rc::new(std::cell::Cell::new((0, None)));
        let note = seen.clone();
        let agent = Agent::new();
        agent.download_page(&url, &path, move |bytes, of| note.set((bytes, of))).await?;
        assert_eq!(seen.get(), (100_000, Some(100_000)));
        assert_eq!(std::fs::read(&path)?.len(), 100_000);

        let short = agent.download_page(format!("{url}end"), &path, |_, _| ());
        assert!(short.await.is_err());
        assert_eq!(std::fs::read(&path)?.len(), 100_000);
        assert_eq!(std::fs::read_dir(path.parent().unwrap())?.count(), 1);
        drop(agent);
        port.stop().await?;
    }

    async fn a_download_uses_its_file_in_threads_only(reactor) {
        let folder = Folder::create();
        let path = folder.path("page");
        let (port, url) = server(&reactor, async |_| ok("hello"))?;
        let files = || std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        reactor.thread_pool().adjust(0, 1);
        // Occupies the only thread.
        let occupy = || {
            let (open, gate) = std::sync::mpsc::channel::<()>();
            let waits = move || Ok(gate.recv().is_ok());
            (open, Reactor::current().unwrap().spawn_blocking(waits))
        };
        let (open, busy) = occupy();
        let later = std::rc::Rc::new(std::cell::Cell::new(None));
        let note = later.clone();
        let page = http::download_page(&url, &path, move |_, _| note.set(Some(occupy())));
        while port.connections() == 0 {
            torsade::yield_now().await;
        }
        some_turns().await;
        assert_eq!(files(), 0);
        drop(open);
        busy.await?;
        let (open, busy) = loop {
            torsade::yield_now().await;
            if let Some(busy) = later.take() {
                break busy;
            }
        };
        some_turns().await;
        assert!(!path.exists() && files() == 1);
        drop(open);
        busy.await?;
        page.await?;
        assert_eq!(std::fs::read(&path)?, b"hello");
        assert_eq!(files(), 1);

        // What a cancel leaves in a thread is removed there.
        let (open, busy) = occupy();
        let page = http::download_page(&url, folder.path("other"), |_, _| ());
        some_turns().await;
        page.cancel();
        drop(open);
        busy.await?;
        assert!(page.await.is_err());
        assert_eq!(files(), 1);
        port.lose_connections(Duration::ZERO).await?;
        port.stop().await?;
    }
}
