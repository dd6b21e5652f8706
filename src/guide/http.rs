//! HTTP: pages, an agent with a pool of connections, servers, and what other crates do.
//!
//! The feature `http` speaks HTTP/1 and HTTP/2 by the library *hyper*; with the feature `tls`,
//! `https` as well. Requests and responses are those of the crate `http`.
//!
//! # A page
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
//!     // All at once; an error of one is no error of the others.
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
//! An [`Agent`](crate::http::Agent) keeps connections and has settings. A clone shares the
//! connections, and may have other settings: `agent.clone().timeout(SECOND * 5).get(url)`.
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
//!     // A body that is written while it is sent, and one that is read while it comes.
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
//! [`Agent::request`](crate::http::Agent::request) returns a Deferred: the request goes on while
//! the program does something else. Async code that only waits for the response calls
//! [`Agent::send`](crate::http::Agent::send), whose future is a part of its task: that takes a
//! tenth less time.
//!
//! # Limits of an agent
//!
//! | what | default | at the limit |
//! |---|---|---|
//! | [connections to one server](crate::http::Agent::connections_per_host) | 6 | requests wait, in their order |
//! | [connections](crate::http::Agent::connections) | 100 | requests wait; an idle connection to another server is closed for them |
//! | [a connection without a request](crate::http::Agent::idle_timeout) | 60 s | it is closed |
//! | [looking up, connecting, TLS](crate::http::Agent::connect_timeout) | 30 s | `TimedOut`, `Connecting` |
//! | [from the request's last byte to the response's head](crate::http::Agent::head_timeout) | 60 s | `TimedOut`, `Sending` or `Waiting` |
//! | [between two bytes of the body](crate::http::Agent::body_timeout) | 60 s | `TimedOut`, `Reading`; also for a body that nobody reads |
//! | [all of a request](crate::http::Agent::timeout), with redirects | 1 h | `TimedOut` |
//! | [redirects in a row](crate::http::Agent::redirects) | 20 | `Redirect` |
//! | [a page](crate::http::Agent::max_page) | 16 MiB | `Failed`, by `TooLarge` |
//! | a response's head | 400 KiB, 100 headers (HTTP/2: 16 KiB) | `Failed` |
//!
//! # Redirects and retries
//!
//! Status 303 becomes a `GET`, and so does a `POST` by 301 or 302; 307 and 308 repeat the request,
//! if its body is in memory. Credentials never go to another server: the headers `authorization`,
//! `cookie` and `proxy-authorization` are removed. The response's URL is then among its extensions:
//! `response.extensions().get::<Uri>()`.
//!
//! A connection that was used before may have ended when the next request is sent. The request is
//! then sent again: if nothing of it was sent, or if its method is idempotent and its body is in
//! memory. Nothing else is sent twice.
//!
//! # Another protocol, one connection, UNIX sockets
//!
//! [`Agent::upgrade`](crate::http::Agent::upgrade) gives the [`Connection`](crate::Connection)
//! after status 101, for a WebSocket crate for example.
//! [`Agent::with_connection`](crate::http::Agent::with_connection) sends all requests over one
//! connection, which may come from anywhere: also through a proxy, by `CONNECT`, as its example
//! shows; a SOCKS proxy is the example `socks`.
//! [`Agent::over`](crate::http::Agent::over) goes to an endpoint whatever the URL says, as
//! `unix:/run/docker.sock`.
//!
//! # A server
//!
//! [`serve`](crate::http::serve) calls an async function for each request;
//! [`Server`](crate::http::Server) has the settings, and a table of its limits, which are all on by
//! default. An endpoint in TLS offers HTTP/2 and HTTP/1 to its clients.
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
//! The test above has no network, and its time limits take no time: [`testing`](crate::testing).
//!
//! * [`files`](crate::http::files) serves a folder, with ranges and conditions; the system sends
//!   the bytes by itself where it can.
//! * [`service`](crate::http::service) makes a handler of a `tower` service or an `axum` router.
//! * [`upgrade`](crate::http::upgrade) gives the connection of a request that asks for another
//!   protocol, such as WebSocket: the example `websocket_chat` in `tests/crates/examples`.
//! * [`HttpPort::stop`](crate::http::HttpPort::stop) answers the requests that are under way, with
//!   a time limit.
//! * The access log is an event of `tracing` for each response, with the target
//!   `torsade::http::access`; without a subscriber for it, it costs nothing.
//! * A request that two programs could divide in different ways is answered with 400, and its
//!   connection is closed: two lengths, a length with chunks, lines that end with LF only, folded
//!   headers, chunk sizes that are not plain digits, no host or two of them.
//!
//! # What is left to other crates
//!
//! Cookies, by `cookie_store`:
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
//! Without the feature nothing of this is compiled. Processor time of `cargo build --lib`, with all
//! dependencies, on 2026-11-30 (AMD EPYC, two processors, Rust 1.95), and the number of crates that
//! `cargo tree -e normal` lists on Linux:
//!
//! | features | crates | release | debug |
//! |---|--:|--:|--:|
//! | `default` | 27 | 43 s | 16 s |
//! | `default`, `http` | 53 | 67 s | 26 s |
//!
//! hyper, h2 and httparse are most of them, with what they need. With `tls` as well there are 64.
