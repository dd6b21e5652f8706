//! HTTP/1 and HTTP/2: clients and servers, over the library hyper.
//!
//! * [`get_page`] and [`download_page`] request one URL and read the whole response.
//! * An [`Agent`] sends any request, keeps connections, and has settings.
//! * [`serve`](fn@serve) calls an async function for each request of a port; [`Server`] has its
//!   settings.
//!
//! Requests, responses and headers are the types of the crate `http`. [The
//! guide](crate::guide::http) has longer examples, and the limits of an agent.
//!
//! Cargo feature `http`; `https` URLs and ports need the feature `tls` as well.

mod agent;
mod body;
mod client;
mod error;
mod exchange;
mod files;
mod requests;
mod serve;
mod url;
mod wire;

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
pub use http::{Request, Response};

#[doc(alias("HTTPConnectionPool", "RedirectAgent", "reqwest"))]
#[doc(alias = "BrowserLikeRedirectAgent")]
pub use self::agent::Agent;
#[doc(alias("IBodyProducer", "FileBodyProducer"))]
pub use self::body::Body;
#[doc(alias("Sender", "IConsumer"))]
pub use self::body::BodyWriter;
#[doc(alias("ResponseFailed", "RequestNotSent", "PageRedirect"))]
#[doc(alias = "ResponseNeverReceived")]
pub use self::error::HttpError;
pub use self::error::Phase;
pub use self::exchange::Server;
#[doc(alias("on_upgrade", "WebSocket", "CONNECT"))]
pub use self::exchange::upgrade;
#[doc(alias("static.File", "ServeDir", "StaticFiles", "sendfile"))]
pub use self::files::files;

#[doc(alias("downloadPage", "HTTPDownloader", "wget"))]
pub use self::requests::download_page;
#[doc(alias = "getPage")]
pub use self::requests::get_page;
#[doc(alias = "IListeningPort")]
pub use self::serve::HttpPort;
#[doc(alias("Site", "Resource", "listenTCP", "axum::serve", "HTTPFactory"))]
pub use self::serve::serve;
#[doc(alias("tower", "axum", "Router", "ServiceExt"))]
pub use self::serve::service;
pub use self::serve::{IntoResponse, SendBody};

#[doc(alias("urljoin", "join"))]
pub use self::url::resolve_url;
