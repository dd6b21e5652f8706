//! A client with a pool of connections, [`Agent`], and whole pages: [`get_page`] and
//! [`download_page`].

use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body::Body as _;

use super::pool::{Pool, Slot};
use super::url::{self, Origin};
use super::{Body, HttpError, Phase};
use crate::defer::{Deferred, DeferredError};
use crate::failure::Failure;
use crate::net::ClientEndpoint;
use crate::reactor::Reactor;
use crate::settings::settings;
use crate::stream::Connection;
#[cfg(feature = "tls")]
use crate::tls::ClientConfig;

/// A client of HTTP: sends requests over connections that it keeps, and follows redirects.
///
/// | limit | default |
/// |---|---|
/// | [`connections_per_host`](Self::connections_per_host) | 6 |
/// | [`connections`](Self::connections) | 100 |
/// | [`idle_timeout`](Self::idle_timeout) | 60 s |
/// | [`connect_timeout`](Self::connect_timeout) | 30 s |
/// | [`head_timeout`](Self::head_timeout) | 60 s |
/// | [`body_timeout`](Self::body_timeout) | 60 s |
/// | [`timeout`](Self::timeout) | 1 h |
/// | [`redirects`](Self::redirects) | 20 |
/// | [`max_page`](Self::max_page) | 16 MiB |
///
/// A clone shares the connections; its settings are separate. The connections are closed when the
/// last clone is dropped.
///
/// A request is sent a second time if its connection was used before and turns out to have ended:
/// when nothing of the request was sent, and when its method is idempotent and its body is in
/// memory.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::http::{self, Agent, Request};
///
/// torsade::testing::run(async |_reactor| {
///     let port = http::serve("127.0.0.1:0", async |request| {
///         let body = request.into_body().read(1000).await?;
///         Ok([b"got ", &body[..]].concat())
///     })?;
///     let url = format!("http://{}/", port.local_addr());
///
///     let agent = Agent::new().connections_per_host(2);
///     let request = Request::put(&url).header("x-name", "joe").body("some bytes")?;
///     let response = agent.request(request).await?;
///     assert_eq!(response.status(), 200);
///     assert_eq!(response.into_body().read(1000).await?, "got some bytes");
///     port.stop(Duration::ZERO).await?;
///     Ok(())
/// });
/// ```
#[derive(Clone)]
#[must_use]
#[doc(alias("HTTPConnectionPool", "RedirectAgent", "reqwest"))]
#[doc(alias = "BrowserLikeRedirectAgent")]
pub struct Agent {
    pub(super) config: Rc<Config>,
    pub(super) pool: Rc<Pool>,
    pub(super) location: &'static Location<'static>,
}

settings! {
/// The settings of an agent.
#[derive(Clone)]
pub(super) struct Config of Agent, |agent| Rc::make_mut(&mut agent.config);

    limits of time:
    /// Sets how long connecting may take, with looking up the name and the handshake of TLS. `None`
    /// is no limit, here and below.
    #[doc(alias = "connectTimeout")]
    connect_timeout = MINUTE / 2;

    /// Sets how long the head of a response may take, counted from when the last piece of the
    /// request was sent.
    #[doc(alias("headers_timeout", "read_timeout"))]
    head_timeout = MINUTE;

    /// Sets how long no byte of a response's body may be read, because the server sends none or
    /// because the program does not read. The connection is free then.
    #[doc(alias = "read_timeout")]
    body_timeout = MINUTE;

    /// Sets how long all of a request may take, until its response's last byte is read, with its
    /// redirects, and without waiting for others to finish with their connections.
    #[doc(alias = "total_timeout")]
    timeout = MINUTE * 60;

    others:
    /// Limits the connections to one server. Requests beyond it wait. Over HTTP/2, one connection
    /// serves all requests.
    #[doc(alias("maxPersistentPerHost", "pool_max_idle_per_host"))]
    connections_per_host: usize = 6, usize => connections_per_host.max(1);

    /// Limits the connections in all.
    connections: usize = 100, usize => connections.max(1);

    /// Sets how long a connection is kept after a request. After no time at all it is closed,
    /// unless a request waits for it.
    #[doc(alias("cachedConnectionTimeout", "pool_idle_timeout"))]
    idle_timeout: Duration = MINUTE, Duration => idle_timeout;

    /// Sets how many redirects in a row are followed. With 0, a redirect is a response like others.
    ///
    /// A redirect by status 303 becomes a `GET`, and so does a `POST` by 301 and 302. On the way to
    /// another server the headers `authorization`, `cookie`, `host` and `proxy-authorization` are
    /// removed.
    #[doc(alias("redirectLimit", "max_redirects"))]
    redirects: usize = 20, usize => redirects;

    /// Sets which redirects are followed: those for which it returns `true`, given the URL and its
    /// target.
    redirect_if: Rc<dyn Fn(&Uri, &Uri) -> bool> = Rc::new(|_, _| true),
        impl Fn(&Uri, &Uri) -> bool + 'static => Rc::new(redirect_if);

    /// Limits the bytes of a page of [`get_page`](Self::get_page).
    max_page: u64 = 16 << 20, u64 => max_page;

    without methods:
    headers: HeaderMap = HeaderMap::from_iter([(header::USER_AGENT, USER_AGENT)]);
    // Whether HTTP/2 is spoken; `None` if the server agrees on it by ALPN.
    http2: Option<bool> = None;
    // Connected to in place of the server of a URL.
    over: Option<ClientEndpoint> = None;
    // How TLS is spoken: with both versions of HTTP, and with HTTP/1 only.
    #[cfg(feature = "tls")]
    tls: [ClientConfig; 2] = with_alpn(ClientConfig::new());
    // Set if all requests use the one connection of the pool.
    only: Option<Rc<Origin>> = None;
}

const MINUTE: Duration = Duration::from_secs(60);
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("torsade/", env!("CARGO_PKG_VERSION")));

impl Agent {
    /// Creates an agent.
    #[track_caller]
    pub fn new() -> Self {
        Self {
            config: Rc::default(),
            pool: Rc::default(),
            location: Location::caller(),
        }
    }

    /// Sets a header of all requests that do not have it. By default there is a `user-agent`.
    #[doc(alias = "default_headers")]
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.set(|config| drop(config.headers.insert(name, value)))
    }

    /// Speaks HTTP/1 only. Otherwise HTTP/2 is spoken with servers that agree on it by ALPN, in
    /// TLS.
    pub fn http1_only(self) -> Self {
        self.set(|config| config.http2 = Some(false))
    }

    /// Speaks HTTP/2 without TLS as well, with servers that are known to.
    #[doc(alias("prior_knowledge", "h2c"))]
    pub fn http2_prior_knowledge(self) -> Self {
        self.set(|config| config.http2 = Some(true))
    }

    /// Connects to this endpoint, whichever server a URL names: the socket of a service, a proxy.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use torsade::http::Agent;
    /// use torsade::net::ClientEndpoint;
    ///
    /// # fn main() -> Result<(), torsade::Failure> {
    /// torsade::run(async |_reactor| {
    ///     let docker = Agent::new().over(ClientEndpoint::parse("unix:/run/docker.sock")?);
    ///     println!("{:?}", docker.get_page("http://docker/version").await?);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[doc(alias("usingEndpointFactory", "unix_socket"))]
    pub fn over(self, endpoint: ClientEndpoint) -> Self {
        let this = self.with_new_pool();
        this.set(|config| config.over = Some(endpoint))
    }

    /// Sets how TLS is spoken. Unless the configuration names protocols (ALPN), it is given those
    /// of HTTP.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    #[doc(alias("contextFactory", "BrowserLikePolicyForHTTPS"))]
    pub fn tls(self, config: ClientConfig) -> Self {
        let tls = with_alpn(config);
        self.with_new_pool().set(|config| config.tls = tls)
    }

    fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Rc::make_mut(&mut self.config));
        self
    }

    fn with_new_pool(self) -> Self {
        let pool = Rc::default();
        Self { pool, ..self }
    }

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
        let (this, mut request) = (self.clone(), request.map(Into::into));
        // The future is large, and would be moved several times.
        Deferred::from_future(Box::pin(async move { this.exchange(&mut request).await }))
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
        let request = request.map(Into::into);
        Deferred::from_future(self.clone().upgraded(request))
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
        let mut only = Origin::default();
        only.http2 = self.config.http2;
        let only = Rc::new(only);
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
        let page = self.clone().page(url.to_string());
        let most = self.config.max_page;
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
        let page = self.clone().page(url.to_string());
        let path = path.as_ref().to_owned();
        Deferred::from_future(async move {
            let (_, mut body) = page.await?;
            let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
            let (mut written, all) = (0, body.size_hint().exact());
            let part = Part::create(&path)?;
            while let Some(piece) = body.chunk().await? {
                written += piece.len() as u64;
                let file = part.file.clone();
                let write = move || Ok((&*file).write_all(&piece)?);
                reactor.spawn_blocking(write).await?;
                progress(written, all);
            }
            Ok(fs::rename(&part.path, path)?)
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

impl Default for Agent {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent {{ connections: {} }}", self.pool.open.get())
    }
}

#[cfg(feature = "tls")]
fn with_alpn(config: ClientConfig) -> [ClientConfig; 2] {
    let both = config.clone().or_alpn(&["h2", "http/1.1"]);
    [both, config.or_alpn(&["http/1.1"])]
}

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

/// Returns the agent of the functions.
fn page_agent() -> Agent {
    let new = || Agent::new().idle_timeout(Duration::ZERO);
    // Without a reactor, requests fail.
    let stored = Reactor::current().map(|reactor| reactor.inner().extension_or(new));
    stored.map_or_else(new, |agent| Agent::clone(&agent))
}

/// A file that is removed unless it was renamed.
struct Part {
    path: PathBuf,
    file: Arc<File>,
}

impl Part {
    /// Creates a file beside another one, whose name no other file has.
    fn create(path: &Path) -> io::Result<Self> {
        for number in 0_u32.. {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".part{number}"));
            match File::create_new(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => {
                    let (path, file) = (name.into(), Arc::new(file?));
                    return Ok(Self { path, file });
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing is there after it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}
