//! Static files: [`files`].

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use http::response::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_range_header::parse_range_header;
use percent_encoding::percent_decode_str;

use super::body::Body;
use super::serve::IntoResponse;
use crate::failure::Failure;

/// Returns a handler for [`serve`](super::serve) that serves the files below a directory. Another
/// handler may call it as well, and return its response.
///
/// * `GET` and `HEAD` are answered, also with the conditions `If-None-Match`, `If-Modified-Since`
///   and `If-Range`, and with one range of bytes; several ranges are answered with the whole file.
///   Other methods get status 405.
/// * A directory is answered with its `index.html`; there are no listings.
/// * The content type is that of the file name's extension.
/// * Status 404 answers a path that does not exist or has the component `..`, a symbolic link to
///   outside of the directory, and a file that is not a regular one. Other links are followed.
///   Files whose names begin with a dot are served. A file without permission gets status 403.
/// * On Linux, HTTP/1 without TLS sends files by `sendfile`. Opening and reading a file block the
///   reactor's thread while the system waits for the disk.
///
/// # Errors
///
/// Fails with the system's error when `root` does not exist or is not accessible.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::http;
///
/// # let folder = std::env::temp_dir().join(format!("torsade-files-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # std::fs::write(folder.join("hello.txt"), "hello")?;
/// # let root = folder.clone();
/// torsade::testing::run(async move |reactor| {
///     let port = http::serve("127.0.0.1:0", http::files(&root)?)?;
///     let mut client = reactor.connect_stream(port.local_addr()).await?;
///     client.write_all(b"GET /hello.txt HTTP/1.0\r\n\r\n").await?;
///     let mut answer = Vec::new();
///     client.read_to_end(&mut answer).await?;
///     assert!(answer.ends_with(b"\r\n\r\nhello"));
///     port.stop(Duration::ZERO).await?;
///     Ok(())
/// });
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn files(
    root: impl AsRef<Path>,
) -> io::Result<impl AsyncFn(Request<Body>) -> Result<Response<Body>, Failure> + 'static> {
    let root = root.as_ref().canonicalize()?;
    Ok(async move |request: Request<Body>| {
        let response = respond(&root, &request);
        Ok(response.unwrap_or_else(|error| status(&error).into_response()))
    })
}

fn respond(root: &Path, request: &Request<Body>) -> io::Result<Response<Body>> {
    let response = Response::builder();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let response = response.status(StatusCode::METHOD_NOT_ALLOWED);
        return finish(response.header(header::ALLOW, "GET, HEAD"), Body::empty());
    }
    let path = request.uri().path();
    let mut found = find(root, path)?;
    if found.is_dir() {
        if !path.ends_with('/') {
            // Relative links in the index are those of the directory. Two slashes would be a host.
            let target = format!("/{}/", path.trim_matches('/'));
            let response = response.status(StatusCode::MOVED_PERMANENTLY);
            return finish(response.header(header::LOCATION, target), Body::empty());
        }
        found = find(root, &format!("{path}index.html"))?;
    }
    match found.is_file() {
        true => send(response, &found, request.headers()),
        false => Err(ErrorKind::NotFound.into()),
    }
}

/// Returns the path of the file or directory that a client requests.
fn find(root: &Path, path: &str) -> io::Result<PathBuf> {
    let name = percent_decode_str(path).decode_utf8();
    let name = name.map_err(|_| ErrorKind::NotFound)?;
    let name = Path::new(name.trim_start_matches('/'));
    let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let found = match name.components().all(is_plain) {
        true => root.join(name).canonicalize()?,
        false => PathBuf::new(),
    };
    let is_inside = found.starts_with(root);
    is_inside
        .then_some(found)
        .ok_or_else(|| ErrorKind::NotFound.into())
}

/// Makes the response with a file.
fn send(response: Builder, path: &Path, asked: &HeaderMap) -> io::Result<Response<Body>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let (length, modified) = (metadata.len(), metadata.modified()?);
    let age = modified.duration_since(SystemTime::UNIX_EPOCH);
    let tag = format!("\"{:x}-{length:x}\"", age.unwrap_or_default().as_nanos());
    let date = httpdate::fmt_http_date(modified);
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let is_text = mime.type_() == mime_guess::mime::TEXT;
    let charset = if is_text { "; charset=utf-8" } else { "" };
    let mut response = response
        .header(header::ETAG, &tag)
        .header(header::LAST_MODIFIED, &date)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_TYPE, format!("{mime}{charset}"));
    let (status, start, left) = match range(asked, &tag, &date, length) {
        _ if is_unchanged(asked, &tag, modified) => (StatusCode::NOT_MODIFIED, 0, 0),
        None => (StatusCode::OK, 0, length),
        Some(Some((start, end))) => {
            let range = format!("bytes {start}-{end}/{length}");
            response = response.header(header::CONTENT_RANGE, range);
            (StatusCode::PARTIAL_CONTENT, start, end - start + 1)
        }
        Some(None) => {
            response = response.header(header::CONTENT_RANGE, format!("bytes */{length}"));
            (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0)
        }
    };
    file.seek(SeekFrom::Start(start))?;
    finish(response.status(status), Body::file_part(file, left))
}

fn finish(response: Builder, body: Body) -> io::Result<Response<Body>> {
    response.body(body).map_err(io::Error::other)
}

fn text(asked: &HeaderMap, name: HeaderName) -> Option<&str> {
    asked.get(name)?.to_str().ok()
}

/// Returns whether the client has the file already.
fn is_unchanged(asked: &HeaderMap, tag: &str, modified: SystemTime) -> bool {
    if let Some(tags) = text(asked, header::IF_NONE_MATCH) {
        let is_known = |known: &str| [tag, "*"].contains(&known.trim().trim_start_matches("W/"));
        return tags.split(',').any(is_known);
    }
    let date = text(asked, header::IF_MODIFIED_SINCE);
    // Dates have whole seconds.
    date.and_then(|date| httpdate::parse_http_date(date).ok())
        .is_some_and(|date| modified < date + Duration::from_secs(1))
}

/// Returns the first and last byte of the requested range; `Some(None)` if the file has none of its
/// bytes; `None` if no range is requested, or several, or one of another version of the file.
fn range(asked: &HeaderMap, tag: &str, date: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let is_same = |known: &HeaderValue| known == tag || known == date;
    let range = text(asked, header::RANGE)?;
    let range = Some(range).filter(|_| asked.get(header::IF_RANGE).is_none_or(is_same))?;
    match parse_range_header(range).ok()?.validate(length) {
        Ok(ranges) if ranges.len() > 1 => None,
        Ok(mut ranges) => Some(ranges.pop().map(|range| range.into_inner())),
        Err(_) => Some(None),
    }
}

/// Returns the status for an error of the system.
fn status(error: &io::Error) -> StatusCode {
    match error.kind() {
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidInput => {
            StatusCode::NOT_FOUND
        }
        _ if error.raw_os_error() == Some(libc::ENAMETOOLONG) => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
