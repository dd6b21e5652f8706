//! HTTP: pages, clients and servers, over hyper.
//!
//! Cargo feature `http`; with the feature `tls` as well, also `https`.

mod agent;
mod bodies;
mod body;
mod client;
mod error;
mod exchange;
mod files;
mod framing;
mod limits;
mod page;
mod pool;
mod port;
mod redirect;
mod serve;
mod service;
mod settings;
mod url;
mod watch;
mod wire;

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
pub use http::{Request, Response};

pub use self::agent::Agent;
pub use self::body::{Body, BodyWriter};
pub use self::error::{HttpError, Phase};
pub use self::exchange::upgrade;
pub use self::files::files;
pub use self::page::{download_page, get_page};
pub use self::port::HttpPort;
pub use self::serve::{IntoResponse, serve};
pub use self::service::{SendBody, service};
pub use self::settings::Server;
pub use self::url::resolve;
