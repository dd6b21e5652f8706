//! HTTP: single pages, agents with a pool of connections, servers, and what other crates add.
//!
//! The feature `http` has clients and servers of HTTP/1 and HTTP/2, over the library *hyper*; with
//! the feature `tls`, of `https` as well. The types of requests and responses are those of the
//! crate `http`.
//!
//! # A page
//!
//! [`get_page`](crate::http::get_page) requests a URL and returns the whole body, if the status is
//! one of success. [`download_page`](crate::http::download_page) writes the body to a file.
//!
//! ```no_run
//! use torsade::defer::DeferredList;
//! use torsade::http::{self, HttpError};
//!
//! # fn main() -> Result<(), torsade::Failure> {
//! torsade::run(async |_reactor| {
//!     match http::get_page("https://example.org/").await {
//!         Ok(page) => println!("{} bytes", page.len()),
//!         Err(failure) => match failure.trap()? {
//!             HttpError::Status { status, .. } => println!("the server says {status}"),
//!             error => println!("{error}"),
//!         },
//!     }
//!     // Both at the same time; each element of `pages` is a result.
//!     let urls = ["https://example.org/", "https://example.com/"];
//!     let pages = DeferredList::new(urls.map(http::get_page)).all().await?;
//!     assert_eq!(pages.len(), 2);
//!     http::download_page("https://example.org/", "page.html", |_, _| ()).await
//! })
//! # }
//! ```
//!
//! # An agent
//!
//! An [`Agent`](crate::http::Agent) sends requests with any method, headers and body; it keeps
//! connections, and has settings. A clone shares the connections, and may have other settings:
//! `agent.clone().timeout(Duration::from_secs(5)).get(url)`.
//!
//! ```
//! use std::time::Duration;
//! use torsade::http::{self, Agent, Body, HeaderValue, Request, header};
//!
//! torsade::testing::run(async |_reactor| {
//!     let port = http::serve("127.0.0.1:0", async |request| {
//!         Ok(http::Response::new(request.into_body()))
//!     })?;
//!     let url = format!("http://{}/echo", port.local_addr());
//!
//!     let html = HeaderValue::from_static("text/html");
//!     let agent = Agent::new().header(header::ACCEPT, html).redirects(5);
//!     // A body that is written while it is sent, and one that is read while it arrives.
//!     let (writer, body) = Body::channel();
//!     let response = agent.request(Request::post(url).body(body)?);
//!     writer.send("one ").await?;
//!     let mut body = response.await?.into_body();
//!     assert_eq!(body.chunk().await?.unwrap(), "one ");
//!     writer.send("two").await?;
//!     writer.finish();
//!     assert_eq!(body.read(1000).await?, "two");
//!     drop(agent);
//!     port.stop(Duration::ZERO).await?;
//!     Ok(())
//! });
//! ```
//!
//! [`Agent::request`](crate::http::Agent::request) returns a Deferred: the request runs while the
//! program does something else. Async code that only waits for the response calls
//! [`Agent::send`](crate::http::Agent::send) instead. Its future runs as a part of the task that
//! awaits it, which takes about a tenth less time.
//!
//! # Limits of an agent
//!
//! The names in the last column are variants of [`HttpError`](crate::http::HttpError), with the
//! [`Phase`](crate::http::Phase) in which the error occurs.
//!
//! | what | default | at the limit |
//! |---|---|---|
//! | [connections to one server](crate::http::Agent::connections_per_host) | 6 | requests wait, in their order |
//! | [connections to all servers](crate::http::Agent::connections) | 100 | an idle connection to another server is closed, or the request waits |
//! | [a connection without a request](crate::http::Agent::idle_timeout) | 60 s | the connection is closed |
//! | [looking up the name, connecting, TLS](crate::http::Agent::connect_timeout) | 30 s | `TimedOut`, `Connecting` |
//! | [from the request's last byte to the response's head](crate::http::Agent::head_timeout) | 60 s | `TimedOut`, `Sending` or `Waiting` |
//! | [between two pieces of the response's body](crate::http::Agent::body_timeout) | 60 s | `TimedOut`, `Reading`; also if the program does not read the body |
//! | [all of a request](crate::http::Agent::timeout), with redirects | 1 h | `TimedOut` |
//! | [redirects in a row](crate::http::Agent::redirects) | 20 | `Redirect` |
//! | [a body that `get_page` reads](crate::http::Agent::max_page) | 16 MiB | `Failed`, `Reading`; the cause is `TooLarge` |
//! | a response's head | 400 KiB, 100 headers (HTTP/2: 16 KiB) | `Failed` |
//!
//! # Redirects and retries
//!
//! After status 303, and after 301 or 302 in answer to a `POST`, the agent continues with a `GET`.
//! After 307 and 308 it repeats the request; if the body is not in memory (a stream, a file), the
//! request fails with `Redirect`. Credentials do not go to another server: the headers
//! `authorization`, `cookie` and `proxy-authorization` are removed on the way to it. After
//! redirects, the extensions of the response contain its URL: `response.extensions().get::<Uri>()`.
//!
//! A server may close a connection that is kept for later requests just when the next request is
//! sent. The request is then sent again on another connection, if nothing of it was sent before, or
//! if its method is idempotent and its body is in memory. A request that an HTTP/2 server has
//! refused without processing it is sent again if its body is in memory. No other request is sent
//! twice.
//!
//! # WebSockets, proxies, UNIX sockets
//!
//! * [`Agent::upgrade`](crate::http::Agent::upgrade) returns the
//!   [`Connection`](crate::Connection) after status 101, for example for a WebSocket crate.
//! * [`Agent::with_connection`](crate::http::Agent::with_connection) sends all requests over one
//!   connection of any origin: also through an HTTP proxy, by `CONNECT`, as the example there
//!   shows. The example [`socks`](crate::guide::examples#socks) is a SOCKS proxy.
//! * [`Agent::connect_to`](crate::http::Agent::connect_to) connects to an endpoint such as
//!   `unix:/run/docker.sock`, whichever server the URL names.
//!
//! # A server
//!
//! [`serve`](crate::http::serve) calls an async function for each request, and sends the response
//! that it returns. [`Server`](crate::http::Server) has the settings, and a table of the limits,
//! all of which are on by default. An endpoint in TLS offers HTTP/2 and HTTP/1 to its clients.
//!
//! ```
//! use std::time::Duration;
//! use torsade::http::{Agent, Body, IntoResponse, Request, Server, StatusCode};
//!
//! torsade::testing::run(async |_reactor| {
//!     let server = Server::new().max_body(1000).idle_timeout(Duration::from_secs(10));
//!     let port = server.serve("127.0.0.1:0", async |request: Request<Body>| {
//!         match request.uri().path() {
//!             "/length" => {
//!                 let body = request.into_body().read(1000).await?;
//!                 Ok(format!("{} bytes", body.len()).into_response())
//!             }
//!             _ => Ok(StatusCode::NOT_FOUND.into_response()),
//!         }
//!     })?;
//!
//!     let agent = Agent::new();
//!     let url = format!("http://{}/length", port.local_addr());
//!     let response = agent.request(Request::put(&url).body("hello")?).await?;
//!     assert_eq!(response.into_body().read(1000).await?, "5 bytes");
//!     let response = agent.request(Request::put(&url).body("x".repeat(2000))?).await?;
//!     assert_eq!(response.status(), 413);
//!     drop(agent);
//!     port.stop(Duration::from_secs(1)).await?;
//!     Ok(())
//! });
//! ```
//!
//! [`testing::run`](crate::testing::run) runs this program in memory: without a network, and in
//! virtual time.
//!
//! * [`files`](crate::http::files) serves a directory, with ranges and conditional requests; the
//!   system sends the bytes by `sendfile` where it can.
//! * [`service`](crate::http::service) makes a handler of a `tower` service or an `axum` router.
//! * [`upgrade`](crate::http::upgrade) returns the connection of a request that asks for another
//!   protocol, such as WebSocket: see the example `websocket_chat` in `tests/crates/examples`.
//! * [`HttpPort::stop`](crate::http::HttpPort::stop) closes the port, and waits for the responses
//!   to the requests that are under way, up to a time limit.
//! * The access log is a `tracing` event of level INFO for each response, with the target
//!   `torsade::http::access`. Without a subscriber for it, nothing is recorded.
//! * A request over HTTP/1 whose end or host is ambiguous is answered with 400, and its connection
//!   is closed: because another program, such as a proxy, could understand it differently (request
//!   smuggling). Such a request has two lengths, a length and chunks, lines that end with LF only,
//!   folded headers, chunk sizes that are not hexadecimal digits, no `host`, or two.
//!
//! # With other crates
//!
//! In these examples, `agent` is an `Agent` and `url` the URL to request. Cookies, by
//! `cookie_store`:
//!
//! ```text
//! let mut store = cookie_store::CookieStore::default();
//! let cookies = store.get_request_values(&url);
//! let cookies = cookies.map(|(name, value)| format!("{name}={value}"));
//! let cookies = cookies.collect::<Vec<_>>().join("; ");
//! let request = Request::get(url.as_str()).header("cookie", cookies);
//! let response = agent.request(request.body(())?).await?;
//! for cookie in response.headers().get_all("set-cookie") {
//!     let _ = store.parse(cookie.to_str()?, &url);
//! }
//! ```
//!
//! Compression, by `async-compression`: a body is a stream of bytes.
//!
//! ```text
//! let request = Request::get(url).header("accept-encoding", "gzip");
//! let body = agent.request(request.body(())?).await?.into_body();
//! let pieces = body.map_err(|failure| std::io::Error::other(failure.into_error()));
//! let reader = pieces.into_async_read();
//! let mut decoder = async_compression::futures::bufread::GzipDecoder::new(reader);
//! decoder.read_to_end(&mut page).await?;
//! ```
//!
//! Forms, by `serde_urlencoded`, and JSON by `serde_json`:
//!
//! ```text
//! let kind = "application/x-www-form-urlencoded";
//! let request = Request::post(url).header("content-type", kind);
//! let request = request.body(serde_urlencoded::to_string(&form)?)?;
//! let body = agent.request(request).await?.into_body();
//! let answer: Answer = serde_json::from_slice(&body.read(1 << 20).await?)?;
//! ```
//!
//! # Build
//!
//! Without the feature `http` nothing of this is compiled. The table has the processor time of
//! `cargo build --lib`, with all dependencies, on 2026-11-30 (AMD EPYC, two processors, Rust 1.95),
//! and the number of crates that `cargo tree -e normal` lists on Linux:
//!
//! | features | crates | release | debug |
//! |---|--:|--:|--:|
//! | `default` | 27 | 43 s | 16 s |
//! | `default`, `http` | 53 | 67 s | 26 s |
//!
//! Most of the additional crates are hyper, h2, httparse and their dependencies. With `tls` as well
//! there are 64 crates.
