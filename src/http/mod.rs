//! HTTP: pages, clients and servers, over hyper.
//!
//! Cargo feature `http`; with the feature `tls` as well, also `https`.

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

pub use self::url::resolve;
