//! The URLs of requests: which server they name, and references relative to them.

use std::error::Error;
use std::fmt::Display;

use http::{HeaderValue, Request, Uri};
use iri_string::types::{UriAbsoluteStr, UriReferenceStr};

use super::{Body, HttpError};

/// A server that is sent requests: what a URL says before its path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) is_tls: bool,
    /// A name in lower case, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether HTTP/2 is spoken; `None` if the server agrees on it by ALPN.
    pub(super) http2: Option<bool>,
}

impl Origin {
    pub(super) fn of(uri: &Uri, http2: Option<bool>) -> Result<Self, HttpError> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        // The error does not repeat them.
        if let Some((_, server)) = authority.split_once('@') {
            let problem = "credentials belong in the header `authorization`";
            return Err(HttpError::url(server, problem));
        }
        Self::parse(uri, http2).map_err(|problem| HttpError::url(uri, problem))
    }

    fn parse(uri: &Uri, http2: Option<bool>) -> Result<Self, &'static str> {
        let (is_tls, usual_port) = match uri.scheme_str().ok_or("it has no scheme")? {
            "http" => (false, 80),
            "https" if cfg!(feature = "tls") => (true, 443),
            "https" => return Err("`https` needs the cargo feature `tls`"),
            _ => return Err("its scheme is neither http nor https"),
        };
        let authority = uri.authority().ok_or("it has no host")?.as_str();
        let parts = authority.rsplit_once(':');
        let parts = parts.filter(|(_, port)| !port.ends_with(']'));
        let (host, port) = parts.unwrap_or((authority, ""));
        let port = Some(port).filter(|port| !port.is_empty());
        let port = port.map_or(Ok(usual_port), str::parse);
        Ok(Self {
            is_tls,
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port: port.map_err(|_| "its port is not a number below 65536")?,
            http2,
        })
    }
}

/// Returns the value of the header `host`.
pub(super) fn host_header(uri: &Uri) -> HeaderValue {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let is_tls = uri.scheme_str() == Some("https");
    let host = authority.strip_suffix(if is_tls { ":443" } else { ":80" });
    HeaderValue::from_str(host.unwrap_or(authority)).expect("a URL is of visible characters")
}

/// Returns a request of a URL. A fragment is dropped.
pub(super) fn get(url: impl Display) -> Result<Request<Body>, HttpError> {
    let url = url.to_string();
    let request = Request::get(&url).body(Body::empty());
    request.map_err(|error| HttpError::url(url, error))
}

/// Resolves a link against the URL of the page that has it (RFC 3986, section 5).
///
/// Drops the fragment, and percent-encodes the bytes of the link that a URL may not contain.
///
/// # Errors
///
/// Fails with [`HttpError::Url`] when the link is not a URI reference (RFC 3986, section 4.1), or
/// when the result does not parse as a [`Uri`].
///
/// # Examples
///
/// ```
/// use torsade::http::{self, Uri};
///
/// let page = Uri::from_static("http://example.org/shop/index.html");
/// assert_eq!(http::resolve_url(&page, "../about us")?, "http://example.org/about%20us");
/// # Ok::<(), http::HttpError>(())
/// ```
pub fn resolve_url(base: &Uri, link: impl AsRef<[u8]>) -> Result<Uri, HttpError> {
    let link = link.as_ref();
    join(base, link).map_err(|error| HttpError::url(String::from_utf8_lossy(link), error))
}

/// Resolves a reference: the `Location` of a response, or a link in a page.
pub(super) fn join(base: &Uri, reference: &[u8]) -> Result<Uri, Box<dyn Error>> {
    let base = escape(base.to_string().as_bytes());
    let reference = escape(reference.trim_ascii());
    let target = UriReferenceStr::new(&reference)?.resolve_against(UriAbsoluteStr::new(&base)?);
    Ok(target.to_string().parse()?)
}

fn escape(text: &[u8]) -> String {
    let (mut escaped, mut is_query) = (String::new(), false);
    for (index, byte) in text.iter().enumerate() {
        let digits = text.get(index + 1..index + 3).unwrap_or(b"none");
        is_query |= *byte == b'?';
        let is_plain = match byte {
            b'[' | b']' => !is_query,
            b'%' => digits.iter().all(u8::is_ascii_hexdigit),
            byte => byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte),
        };
        match is_plain {
            true => escaped.push(char::from(*byte)),
            false => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}
