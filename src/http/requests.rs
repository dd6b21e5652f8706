//! The methods of an agent that send requests; [`get_page`] and [`download_page`].

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body as _;

use super::agent::{Agent, Slot};
use super::url::{self, Origin};
use super::{Body, HttpError, Phase};
use crate::defer::{Deferred, DeferredError};
use crate::failure::Failure;
use crate::reactor::Reactor;
use crate::stream::Connection;

/// Requests a URL by `GET`, and reads the whole body of the response. The Deferred fires with its
/// bytes, 16 MiB at most.
///
/// Follows redirects. All calls of `get_page` and [`download_page`] on a reactor share an [`Agent`]
/// with the default settings, which closes a connection as soon as no request waits for it. A
/// program that requests more than a few pages of a server, or needs other settings, uses
/// [`Agent::get_page`].
///
/// # Cancel safety
///
/// Cancelling the Deferred ends the request, and closes its connection (in HTTP/2, its stream).
///
/// # Errors
///
/// Fails with an [`HttpError`]: with [`HttpError::Status`], which has the response's status,
/// headers and body, unless the status is one of success (200 to 299); with [`HttpError::Failed`],
/// whose cause is [`HttpError::TooLarge`], when the body is longer. Fails with
/// [`DeferredError::NoReactor`] when no reactor runs on this thread.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::http;
///
/// torsade::testing::run(async |_reactor| {
///     let port = http::serve("127.0.0.1:0", async |_request| Ok("<h1>hello</h1>"))?;
///     let page = http::get_page(format!("http://{}/", port.local_addr())).await?;
///     assert_eq!(page, "<h1>hello</h1>");
///     port.stop(Duration::ZERO).await?;
///     Ok(())
/// });
/// ```
#[track_caller]
pub fn get_page(url: impl Display) -> Deferred<Bytes> {
    page_agent().get_page(url)
}

/// Requests a URL by `GET`, like [`get_page`], and writes the body of the response to a file.
///
/// The body may have any size; the time limits of [`Agent`] apply, of which
/// [`timeout`](Agent::timeout), 1 h by default, is that of the whole download. After each piece,
/// `progress` is called with the number of bytes written so far, and with the length of the body if
/// that is known.
///
/// Threads of the reactor's pool create a new file beside `path`, write the bytes to it, and rename
/// it to `path` at the end. If the download fails or the Deferred is cancelled, the new file is
/// removed and `path` is left as it was, unless a thread is renaming the file already.
///
/// # Errors
///
/// As for [`get_page`], except that no body is too large; and with the system's error when the file
/// cannot be created, written or renamed.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), torsade::Failure> {
/// torsade::run(async |_reactor| {
///     let url = "https://example.org/image.iso";
///     torsade::http::download_page(url, "image.iso", |bytes, of| {
///         println!("{bytes} of {}", of.unwrap_or(bytes));
///     })
///     .await
/// })
/// # }
/// ```
#[track_caller]
pub fn download_page(
    url: impl Display,
    path: impl AsRef<Path>,
    progress: impl FnMut(u64, Option<u64>) + 'static,
) -> Deferred<()> {
    page_agent().download_page(url, path, progress)
}

impl Agent {
    /// Sends a request, whose URL is absolute. The Deferred fires with the response when its head
    /// has arrived; the methods of [`Body`] then read its body.
    ///
    /// If redirects were followed, the extensions of the response contain its URL, as a [`Uri`].
    ///
    /// # Cancel safety
    ///
    /// Cancelling the Deferred ends the request, and so does dropping the response's body. Over
    /// HTTP/1 this closes the connection, unless the rest of the body has arrived already; over
    /// HTTP/2 it resets the stream.
    ///
    /// # Errors
    ///
    /// Fails with an [`HttpError`](super::HttpError). A response with an error status, such as 404,
    /// is not an error here. Fails with [`DeferredError::NoReactor`] when no reactor runs on this
    /// thread.
    #[track_caller]
    pub fn request<B: Into<Body>>(&self, request: Request<B>) -> Deferred<Response<Body>> {
        // The future is large, and would be moved several times.
        Deferred::from_future(Box::pin(self.send(request)))
    }

    /// Returns a future that sends a request like [`request`](Self::request).
    ///
    /// `request` begins at once and runs as a task. This future begins when it is first polled, and
    /// runs as a part of the task that awaits it, which costs less: use it where that task only
    /// waits for the response.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the request, as cancelling the Deferred of
    /// [`request`](Self::request) does.
    ///
    /// # Errors
    ///
    /// As for [`request`](Self::request).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use torsade::http::{self, Agent, Request};
    ///
    /// torsade::testing::run(async |_reactor| {
    ///     let port = http::serve("127.0.0.1:0", async |_request| Ok("hello"))?;
    ///     let url = format!("http://{}/", port.local_addr());
    ///     let response = Agent::new().send(Request::get(url).body(())?).await?;
    ///     assert_eq!(response.into_body().read(100).await?, "hello");
    ///     port.stop(Duration::ZERO).await?;
    ///     Ok(())
    /// });
    /// ```
    #[doc(alias("fetch", "execute"))]
    pub fn send<B: Into<Body>>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Body>, Failure>> + use<B> + 'static {
        let (this, mut request) = (self.clone(), request.map(Into::into));
        async move { this.exchange(&mut request).await }
    }

    /// Requests a URL by `GET`; otherwise like [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// As for [`request`](Self::request).
    #[track_caller]
    pub fn get(&self, url: impl Display) -> Deferred<Response<Body>> {
        match url::get(url) {
            Ok(request) => self.request(request),
            Err(error) => Deferred::fail(error),
        }
    }

    /// Sends an HTTP/1 request that asks to speak another protocol over its connection: a request
    /// with the headers `connection` and `upgrade`, or with the method `CONNECT`.
    ///
    /// The Deferred fires with the response and the connection, which no longer belongs to the
    /// agent. Redirects are not followed.
    ///
    /// # Errors
    ///
    /// As for [`request`](Self::request), and with
    /// [`HttpError::Status`](super::HttpError::Status) unless the status is 101 or, for `CONNECT`,
    /// one of success.
    ///
    /// # Examples
    ///
    /// See [`with_connection`](Self::with_connection).
    #[track_caller]
    #[doc(alias("WebSocket", "CONNECT", "switching_protocols"))]
    pub fn upgrade<B: Into<Body>>(
        &self,
        request: Request<B>,
    ) -> Deferred<(Response<Body>, Connection)> {
        Deferred::from_future(self.clone().upgraded(request.map(Into::into)))
    }

    /// Returns an agent that sends all of its requests over `conn`, whichever server their URLs
    /// name. The other settings are those of this agent, except that it follows no redirects.
    ///
    /// Over HTTP/1 the requests are sent one after the other. HTTP/2, which sends them at the same
    /// time, is spoken if the TLS of `conn` agreed on it by ALPN, or without TLS after
    /// [`http2_prior_knowledge`](Self::http2_prior_knowledge).
    ///
    /// # Errors
    ///
    /// Fails when the handshake of HTTP/2 fails. After the connection has ended, requests fail with
    /// [`HttpError::Failed`](super::HttpError::Failed).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use torsade::http::{Agent, Request};
    /// use torsade::tls::ClientConfig;
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// torsade::run(async |reactor| {
    ///     // Through a proxy.
    ///     let conn = reactor.connect_stream("proxy.example:3128").await?;
    ///     let proxy = Agent::new().with_connection(conn).await?;
    ///     let request = Request::connect("example.org:443").body(())?;
    ///     let (_, mut conn) = proxy.upgrade(request).await?;
    ///     conn.start_tls(&ClientConfig::new().server_name("example.org")).await?;
    ///     let agent = Agent::new().with_connection(conn).await?;
    ///     println!("{:?}", agent.get_page("https://example.org/").await?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[track_caller]
    #[doc(alias("ProxyAgent", "handshake"))]
    pub fn with_connection(&self, conn: Connection) -> Deferred<Self> {
        let only = Rc::new(Origin {
            http2: self.config.http2,
            ..Origin::default()
        });
        let this = self.clone().with_new_pool().redirects(0);
        let this = this.connections_per_host(1).idle_timeout(Duration::MAX);
        let this = this.set(|config| config.only = Some(only.clone()));
        Deferred::from_future(async move {
            Slot::new(&this.pool, &only).begin(conn, &this).await?;
            Ok(this)
        })
    }

    /// Requests a URL and reads the whole body, like [`get_page`], of at most
    /// [`max_page`](Self::max_page) bytes.
    ///
    /// # Errors
    ///
    /// As for [`get_page`].
    #[doc(alias = "getPage")]
    #[track_caller]
    pub fn get_page(&self, url: impl Display) -> Deferred<Bytes> {
        let (page, most) = (self.clone().page(url.to_string()), self.config.max_page);
        Deferred::from_future(async move {
            let (url, body) = page.await?;
            let bytes = body.read(most).await;
            bytes.map_err(|cause| HttpError::failed(Phase::Reading, &url, cause))
        })
    }

    /// Requests a URL and writes the body to a file, like [`download_page`].
    ///
    /// # Errors
    ///
    /// As for [`download_page`].
    #[doc(alias = "downloadPage")]
    #[track_caller]
    pub fn download_page(
        &self,
        url: impl Display,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(u64, Option<u64>) + 'static,
    ) -> Deferred<()> {
        let (page, path) = (self.clone().page(url.to_string()), path.as_ref().to_owned());
        Deferred::from_future(async move {
            let (_, mut body) = page.await?;
            let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
            let (mut written, all, to) = (0, body.size_hint().exact(), path.clone());
            let create = move || Ok(Part::create(&path)?);
            let mut part = reactor.spawn_blocking(create).await?;
            while let Some(piece) = body.chunk().await? {
                written += piece.len() as u64;
                let write = move || Ok(part.0.write_all(&piece).map(|()| part)?);
                part = reactor.spawn_blocking(write).await?;
                progress(written, all);
            }
            // Another download may use the name as soon as the file is renamed.
            let rename = move || Ok(fs::rename(&part.1, to).map(|()| part.1.clear())?);
            reactor.spawn_blocking(rename).await
        })
    }

    /// Returns the URL of a page, after redirects, and its body. Fails unless the status is one of
    /// success.
    async fn page(self, url: String) -> Result<(Uri, Body), Failure> {
        let mut request = url::get(url)?;
        let response = Box::pin(self.exchange(&mut request)).await?;
        match response.status().is_success() {
            true => Ok((request.uri().clone(), response.into_body())),
            false => Err(self.status_error(request.uri(), response).await),
        }
    }
}

/// Returns the agent of [`get_page`] and [`download_page`].
fn page_agent() -> Agent {
    let new = || Agent::new().idle_timeout(Duration::ZERO);
    // Without a reactor, requests fail.
    let stored = Reactor::current().map(|reactor| reactor.inner().extension_or(new));
    stored.map_or_else(new, |agent| Agent::clone(&agent))
}

/// A new file and its path. Dropping this removes the file, unless the path is empty.
struct Part(File, PathBuf);

impl Part {
    /// Creates a file beside `path`, under a name that no other file has.
    fn create(path: &Path) -> io::Result<Self> {
        for number in 0_u32.. {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".part{number}"));
            match File::create_new(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return Ok(Self(file?, name.into())),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.1);
    }
}
