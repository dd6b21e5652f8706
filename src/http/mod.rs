//! HTTP: pages, clients and servers, over hyper.
//!
//! Cargo feature `http`; with the feature `tls` as well, also `https`.

mod body;
mod error;
mod exchange;
mod port;
mod serve;
mod watch;
mod wire;

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
pub use http::{Request, Response};

pub use self::body::{Body, BodyWriter};
pub use self::error::{HttpError, Phase};
pub use self::port::HttpPort;
pub use self::serve::{IntoResponse, Server, serve};
