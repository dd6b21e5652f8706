//! What an agent does: requests, and whole pages: [`get_page`] and [`download_page`].

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

/// Requests a page. The Deferred fires with its bytes, 16 MiB at most.
///
/// Redirects are followed, and the limits are those of [`Agent::new`]. The connection is shared
/// with the other pages that are requested at the same time, and then closed; an [`Agent`] keeps
/// connections, and has settings.
///
/// # Cancel safety
///
/// Cancelling the Deferred closes the connection.
///
/// # Errors
///
/// Fails with an [`HttpError`]; with [`HttpError::Status`], which has the response's status,
/// headers and body, unless the status is one of success.
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
#[doc(alias = "getPage")]
#[track_caller]
pub fn get_page(url: impl Display) -> Deferred<Bytes> {
    page_agent().get_page(url)
}

/// Requests a page and writes it to a file, of any size; otherwise like [`get_page`].
///
/// `progress` is called with the number of bytes that were written, and of all if that is known.
/// The bytes are written by a thread, to a new file beside `path`, which is renamed at the end. It
/// is removed if anything fails, and when the Deferred is cancelled; then a file at `path` stays as
/// it is.
///
/// # Errors
///
/// As for [`get_page`], and when the file cannot be written.
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
#[doc(alias("downloadPage", "HTTPDownloader", "wget"))]
#[track_caller]
pub fn download_page(
    url: impl Display,
    path: impl AsRef<Path>,
    progress: impl FnMut(u64, Option<u64>) + 'static,
) -> Deferred<()> {
    page_agent().download_page(url, path, progress)
}

impl Agent {
    /// Sends a request. The Deferred fires with the response when its head has come; its body is
    /// then read with the methods of [`Body`].
    ///
    /// After redirects the response has its URL, a [`Uri`], among its extensions.
    ///
    /// # Cancel safety
    ///
    /// Cancelling the Deferred ends the request and frees its connection, and so does dropping the
    /// response's body. A connection over HTTP/1 is closed then, unless the rest of the body has
    /// come already.
    ///
    /// # Errors
    ///
    /// Fails with an [`HttpError`](super::HttpError). A response with an error status is no error.
    #[track_caller]
    pub fn request<B: Into<Body>>(&self, request: Request<B>) -> Deferred<Response<Body>> {
        // The future is large, and would be moved several times.
        Deferred::from_future(Box::pin(self.send(request)))
    }

    /// Sends a request like [`request`](Self::request), as a part of the task that awaits it: not
    /// before it is awaited, and without a task between that one and the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is what cancelling the Deferred of [`request`](Self::request) is.
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

    /// Requests a URL by the method `GET`; otherwise like [`request`](Self::request).
    #[track_caller]
    pub fn get(&self, url: impl Display) -> Deferred<Response<Body>> {
        match url::get(url) {
            Ok(request) => self.request(request),
            Err(error) => Deferred::fail(error),
        }
    }

    /// Sends a request that asks to speak another protocol over its connection: one with the
    /// headers `connection` and `upgrade`, or one of the method `CONNECT`. The Deferred fires with
    /// the response and the connection, which belongs to the agent no more.
    ///
    /// # Errors
    ///
    /// As for [`request`](Self::request), and with
    /// [`HttpError::Status`](super::HttpError::Status) when the server does not agree.
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

    /// Returns an agent that sends its requests over one connection, one after the other, whichever
    /// server their URLs name, and that follows no redirects. It speaks HTTP/2, all at once, if the
    /// connection has agreed on that by ALPN.
    ///
    /// # Errors
    ///
    /// Fails when HTTP/2 cannot begin. When the connection has ended, requests fail.
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

    /// Requests a page, like [`get_page`].
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

    /// Requests a page and writes it to a file, like [`download_page`].
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
            let (mut written, all) = (0, body.size_hint().exact());
            let (part, mut file) = Part::create(&path)?;
            while let Some(piece) = body.chunk().await? {
                written += piece.len() as u64;
                let write = move || Ok(file.write_all(&piece).map(|()| file)?);
                file = reactor.spawn_blocking(write).await?;
                progress(written, all);
            }
            Ok(fs::rename(&part.0, path)?)
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

/// Returns the agent of the functions.
fn page_agent() -> Agent {
    let new = || Agent::new().idle_timeout(Duration::ZERO);
    // Without a reactor, requests fail.
    let stored = Reactor::current().map(|reactor| reactor.inner().extension_or(new));
    stored.map_or_else(new, |agent| Agent::clone(&agent))
}

/// A file that is removed unless it was renamed.
struct Part(PathBuf);

impl Part {
    /// Creates a file beside another one, whose name no other file has.
    fn create(path: &Path) -> io::Result<(Self, File)> {
        for number in 0_u32.. {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".part{number}"));
            match File::create_new(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => return Ok((Self(name.into()), file?)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing is there after it was renamed.
        let _ = fs::remove_file(&self.0);
    }
}
