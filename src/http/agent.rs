//! A client with a pool of connections: [`Agent`].

use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};

use super::Body;
use super::client::{Client, Config};
use super::pool::{Pool, agreed};
use super::redirect::Redirects;
use super::url::{self, Origin, Versions};
use crate::defer::{Deferred, DeferredError};
use crate::net::ClientEndpoint;
use crate::reactor::Reactor;
use crate::stream::Connection;

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
/// A clone shares the connections and the first three limits; its other settings are separate.
/// The connections are closed when the last clone is dropped.
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
#[doc(alias(
    "HTTPConnectionPool",
    "RedirectAgent",
    "BrowserLikeRedirectAgent",
    "reqwest"
))]
pub struct Agent(pub(super) Client);

impl Agent {
    /// Creates an agent.
    #[track_caller]
    pub fn new() -> Self {
        let agent = concat!("torsade/", env!("CARGO_PKG_VERSION"));
        let agent = (header::USER_AGENT, HeaderValue::from_static(agent));
        let minute = Duration::from_secs(60);
        let config = Config {
            connect: Some(minute / 2),
            headers: Some(minute),
            between: Some(minute),
            whole: Some(60 * minute),
            redirects: Redirects {
                most: 20,
                is_followed: Rc::new(|_, _| true),
            },
            defaults: HeaderMap::from_iter([agent]),
            max_page: 16 << 20,
            versions: Versions::Any,
            over: None,
            #[cfg(feature = "tls")]
            tls: with_alpn(crate::tls::ClientConfig::new()),
            only: None,
            location: Location::caller(),
        };
        Self(Client {
            config: Rc::new(config),
            pool: Pool::new(6, 100, minute),
        })
    }

    /// Limits the connections to one server. Requests beyond it wait. Over HTTP/2, one connection
    /// serves all requests.
    #[doc(alias("maxPersistentPerHost", "pool_max_idle_per_host"))]
    pub fn connections_per_host(self, limit: usize) -> Self {
        self.0.pool.per_host.set(limit.max(1));
        self
    }

    /// Limits the connections in all.
    pub fn connections(self, limit: usize) -> Self {
        self.0.pool.in_all.set(limit.max(1));
        self
    }

    /// Sets how long a connection is kept without a request. After no time at all it is closed,
    /// unless a request waits for it.
    #[doc(alias("cachedConnectionTimeout", "pool_idle_timeout"))]
    pub fn idle_timeout(self, limit: Duration) -> Self {
        self.0.pool.idle.set(limit);
        self
    }

    /// Sets how long connecting may take, with looking up the name and the handshake of TLS. `None`
    /// is no limit, here and below.
    #[doc(alias = "connectTimeout")]
    pub fn connect_timeout(self, limit: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.connect = limit.into())
    }

    /// Sets how long the head of a response may take, counted from when the last piece of the
    /// request was sent.
    #[doc(alias("headers_timeout", "read_timeout"))]
    pub fn head_timeout(self, limit: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.headers = limit.into())
    }

    /// Sets how long no byte of a response's body may be read, because the server sends none or
    /// because the program does not read. The connection is free then.
    #[doc(alias = "read_timeout")]
    pub fn body_timeout(self, limit: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.between = limit.into())
    }

    /// Sets how long all of a request may take, until its response's last byte is read, with its
    /// redirects, and without waiting for others to finish with their connections.
    #[doc(alias = "total_timeout")]
    pub fn timeout(self, limit: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.whole = limit.into())
    }

    /// Sets how many redirects in a row are followed. With 0, a redirect is a response like others.
    ///
    /// A redirect by status 303 becomes a `GET`, and so does a `POST` by 301 and 302. On the way to
    /// another server the headers `authorization`, `cookie`, `host` and `proxy-authorization` are
    /// removed.
    #[doc(alias("redirectLimit", "max_redirects"))]
    pub fn redirects(self, limit: usize) -> Self {
        self.set(|config| config.redirects.most = limit)
    }

    /// Sets which redirects are followed: those for which `follow` returns `true`, given the URL
    /// and its target.
    pub fn redirect_if(self, follow: impl Fn(&Uri, &Uri) -> bool + 'static) -> Self {
        self.set(|config| config.redirects.is_followed = Rc::new(follow))
    }

    /// Sets a header of all requests that do not have it. By default there is a `user-agent`.
    #[doc(alias = "default_headers")]
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.set(|config| drop(config.defaults.insert(name, value)))
    }

    /// Limits the bytes of a page of [`get_page`](Self::get_page).
    pub fn max_page(self, bytes: u64) -> Self {
        self.set(|config| config.max_page = bytes)
    }

    /// Speaks HTTP/1 only. Otherwise HTTP/2 is spoken with servers that agree on it by ALPN, in
    /// TLS.
    pub fn http1_only(self) -> Self {
        self.set(|config| config.versions = Versions::Http1)
    }

    /// Speaks HTTP/2 without TLS as well, with servers that are known to.
    #[doc(alias("prior_knowledge", "h2c"))]
    pub fn http2_prior_knowledge(self) -> Self {
        self.set(|config| config.versions = Versions::Http2)
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
        self.with_new_pool()
            .set(|config| config.over = Some(endpoint))
    }

    /// Sets how TLS is spoken. Unless the configuration names protocols (ALPN), it is given those
    /// of HTTP.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    #[doc(alias("contextFactory", "BrowserLikePolicyForHTTPS"))]
    pub fn tls(self, config: crate::tls::ClientConfig) -> Self {
        let tls = with_alpn(config);
        self.with_new_pool().set(|config| config.tls = tls)
    }

    fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Rc::make_mut(&mut self.0.config));
        self
    }

    fn with_new_pool(mut self) -> Self {
        let pool = &self.0.pool;
        self.0.pool = Pool::new(pool.per_host.get(), pool.in_all.get(), pool.idle.get());
        self
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
        let request = request.map(Into::into);
        // The future is large, and would be moved several times.
        Deferred::from_future(Box::pin(self.0.clone().exchange(request)))
    }

    /// Requests a URL by the method `GET`; otherwise like [`request`](Self::request).
    #[track_caller]
    pub fn get(&self, url: impl fmt::Display) -> Deferred<Response<Body>> {
        match url::parse(url) {
            Ok(uri) => {
                let mut request = Request::new(());
                *request.uri_mut() = uri;
                self.request(request)
            }
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
        Deferred::from_future(self.0.clone().upgrade(request))
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
        let mut versions = self.0.config.versions;
        if versions == Versions::Any && agreed(&conn).is_none() {
            versions = Versions::Http1;
        }
        let only = Rc::new(Origin {
            is_tls: false,
            host: conn.peer().to_string(),
            port: 0,
            versions,
        });
        let this = self.clone().with_new_pool().redirects(0);
        let this = this.connections_per_host(1).idle_timeout(Duration::MAX);
        let this = this.set(|config| config.only = Some(only.clone()));
        Deferred::from_future(async move {
            let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
            if let Err(waiting) = this.0.pool.acquire(&only) {
                if let Err(slot) = waiting.await? {
                    slot.begin(&reactor, conn, this.0.config.location).await?;
                }
            }
            Ok(this)
        })
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
        f.debug_struct("Agent")
            .field("connections", &self.0.pool.open.get())
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "tls")]
fn with_alpn(config: crate::tls::ClientConfig) -> [crate::tls::ClientConfig; 2] {
    let both = config.clone().or_alpn(&["h2", "http/1.1"]);
    [both, config.or_alpn(&["http/1.1"])]
}
