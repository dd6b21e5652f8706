//! The URLs of requests: which server they name, and references relative to them.

use std::fmt::Display;

use http::{HeaderValue, Uri};
use iri_string::types::{UriAbsoluteStr, UriReferenceStr};

use super::HttpError;

/// A server that is sent requests: what a URL says before its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) is_tls: bool,
    /// A name in lower case, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) versions: Versions,
}

/// The versions of HTTP that are spoken with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Versions {
    /// HTTP/2 if the server agrees on it by ALPN, otherwise HTTP/1.
    Any,
    Http1,
    /// HTTP/2 without TLS as well.
    Http2,
}

impl Origin {
    pub(super) fn of(uri: &Uri, versions: Versions) -> Result<Self, HttpError> {
        Self::parse(uri, versions).map_err(|problem| problem_with(uri, problem))
    }

    fn parse(uri: &Uri, versions: Versions) -> Result<Self, &'static str> {
        let is_tls = match uri.scheme_str().ok_or("it has no scheme")? {
            "http" => false,
            "https" if cfg!(feature = "tls") => true,
            "https" => return Err("`https` needs the cargo feature `tls`"),
            _ => return Err("its scheme is neither http nor https"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("credentials belong in the header `authorization`");
        }
        let host = authority.host();
        let port = match authority.as_str()[host.len()..].trim_start_matches(':') {
            "" if is_tls => 443,
            "" => 80,
            port => port
                .parse()
                .map_err(|_| "its port is not a number below 65536")?,
        };
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        Ok(Self {
            is_tls,
            host,
            port,
            versions,
        })
    }
}

/// Returns the error for a URL, without the credentials that it may have.
fn problem_with(uri: &Uri, problem: &str) -> HttpError {
    let url = uri.to_string();
    let url = match (uri.scheme_str(), url.split_once('@')) {
        (Some(scheme), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url,
    };
    HttpError::Url {
        url,
        problem: problem.to_owned(),
    }
}

/// Returns the value of the header `host`.
pub(super) fn host_header(uri: &Uri) -> Result<HeaderValue, HttpError> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let is_tls = uri.scheme_str() == Some("https");
    let value = authority.strip_suffix(if is_tls { ":443" } else { ":80" });
    let value = value.unwrap_or(authority);
    HeaderValue::from_str(value).map_err(|_| problem_with(uri, "its host is no header value"))
}

/// Parses a URL. A fragment is dropped.
pub(super) fn parse(url: impl Display) -> Result<Uri, HttpError> {
    let url = url.to_string();
    url.parse::<Uri>().map_err(|error| HttpError::Url {
        problem: error.to_string(),
        url,
    })
}

/// Returns the URL that a link names in the page of another URL. A fragment is dropped; what must
/// be escaped in a URL and is not is escaped.
///
/// # Errors
///
/// Fails with [`HttpError::Url`] when the link is no reference to a URL (RFC 3986, section 4.1).
///
/// # Examples
///
/// ```
/// use torsade::http::{self, Uri};
///
/// let page = Uri::from_static("http://example.org/shop/index.html");
/// assert_eq!(http::resolve(&page, "../about us")?, "http://example.org/about%20us");
/// # Ok::<(), http::HttpError>(())
/// ```
#[doc(alias("urljoin", "join"))]
pub fn resolve(base: &Uri, link: impl AsRef<[u8]>) -> Result<Uri, HttpError> {
    let link = link.as_ref();
    join(base, link).map_err(|problem| HttpError::Url {
        url: String::from_utf8_lossy(link).into_owned(),
        problem,
    })
}

/// Returns the URL that a reference names, as a response's `Location` or a link in a page does.
pub(super) fn join(base: &Uri, reference: &[u8]) -> Result<Uri, String> {
    let base = escape(base.to_string().as_bytes());
    let base = UriAbsoluteStr::new(&base).map_err(|error| error.to_string())?;
    let reference = escape(reference.trim_ascii());
    let reference = UriReferenceStr::new(&reference).map_err(|error| error.to_string())?;
    let target = reference.resolve_against(base).to_string();
    target.parse::<Uri>().map_err(|error| error.to_string())
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
