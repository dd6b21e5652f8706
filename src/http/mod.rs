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

pub use self::agent::Agent;
pub use self::body::{Body, BodyWriter};
pub use self::error::{HttpError, Phase};
pub use self::exchange::{Server, upgrade};
pub use self::files::files;

pub use self::requests::{download_page, get_page};
pub use self::serve::{HttpPort, IntoResponse, SendBody, serve, service};

pub use self::url::resolve_url;
