//! Static files: [`files`].

use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_range_header::parse_range_header;
use percent_encoding::percent_decode_str;

use super::body::Body;
use super::serve::IntoResponse;
use crate::failure::Failure;

/// Returns a handler that serves the files below a directory: for [`serve`](super::serve), or to be
/// called by another handler.
///
/// It answers `GET` and `HEAD`, also conditional ones (by `ETag` or date) and those of one range. A
/// directory is answered with its `index.html`; there are no listings. The content type is that of
/// the name's extension. On Linux the system sends the bytes of a file by itself (`sendfile`) over
/// HTTP/1 without TLS. Reading may wait for the disk, and then the loop waits too.
///
/// A path that leaves the directory, by `..` or by a symbolic link, does not exist for a client;
/// links that stay inside are followed. So are special files absent. Files whose names begin with a
/// dot are served.
///
/// # Errors
///
/// Fails when the directory does not exist.
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
#[doc(alias("static.File", "ServeDir", "StaticFiles", "sendfile"))]
pub fn files(
    root: impl AsRef<Path>,
) -> io::Result<impl AsyncFn(Request<Body>) -> Result<Response<Body>, Failure> + 'static> {
    let root = root.as_ref().canonicalize()?;
    Ok(async move |request: Request<Body>| {
        let response = respond(&root, &request);
        Ok(response.unwrap_or_else(IntoResponse::into_response))
    })
}

fn respond(root: &Path, request: &Request<Body>) -> Result<Response<Body>, StatusCode> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = StatusCode::METHOD_NOT_ALLOWED.into_response();
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allowed);
        return Ok(response);
    }
    let path = request.uri().path();
    let mut found = find(root, path)?;
    if found.1.is_dir() {
        if !path.ends_with('/') {
            // Relative links in the index are those of the directory. Two slashes would be a host.
            let target = format!("/{}/", path.trim_matches('/'));
            let target = HeaderValue::try_from(target).map_err(|_| StatusCode::NOT_FOUND)?;
            let mut response = StatusCode::MOVED_PERMANENTLY.into_response();
            response.headers_mut().insert(header::LOCATION, target);
            return Ok(response);
        }
        found = find(root, &format!("{path}index.html"))?;
    }
    let (path, metadata) = found;
    if !metadata.is_file() {
        return Err(StatusCode::NOT_FOUND);
    }
    send(&path, request.headers())
}

/// Returns the path and metadata of what a client names; fails with the status.
fn find(root: &Path, path: &str) -> Result<(PathBuf, Metadata), StatusCode> {
    let name = percent_decode_str(path).decode_utf8();
    let name = name.map_err(|_| StatusCode::NOT_FOUND)?;
    let name = Path::new(name.trim_start_matches('/'));
    let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if !name.components().all(is_plain) || name.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(StatusCode::NOT_FOUND);
    }
    let real = root
        .join(name)
        .canonicalize()
        .map_err(|error| status(&error))?;
    if !real.starts_with(root) {
        return Err(StatusCode::NOT_FOUND);
    }
    let metadata = fs::metadata(&real).map_err(|error| status(&error))?;
    Ok((real, metadata))
}

/// Makes the response with a file.
fn send(path: &Path, asked: &HeaderMap) -> Result<Response<Body>, StatusCode> {
    let mut file = File::open(path).map_err(|error| status(&error))?;
    let metadata = file.metadata().map_err(|error| status(&error))?;
    let length = metadata.len();
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let age = modified
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let tag = format!("\"{:x}-{length:x}\"", age.as_nanos());
    let date = httpdate::fmt_http_date(modified);

    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let mut set = |name, text: &str| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    set(header::ETAG, &tag);
    set(header::LAST_MODIFIED, &date);
    set(header::ACCEPT_RANGES, "bytes");
    if is_unchanged(asked, &tag, modified) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let charset = if mime.type_() == mime_guess::mime::TEXT {
        "; charset=utf-8"
    } else {
        ""
    };
    set(header::CONTENT_TYPE, &format!("{mime}{charset}"));
    let (start, left) = match range(asked, &tag, &date, length) {
        None => (0, length),
        Some(Ok((start, end))) => {
            set(
                header::CONTENT_RANGE,
                &format!("bytes {start}-{end}/{length}"),
            );
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            (start, end - start + 1)
        }
        Some(Err(())) => {
            set(header::CONTENT_RANGE, &format!("bytes */{length}"));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(response);
        }
    };
    file.seek(SeekFrom::Start(start))
        .map_err(|error| status(&error))?;
    *response.body_mut() = Body::file_part(file, left);
    Ok(response)
}

/// Returns whether the client has the file already.
fn is_unchanged(asked: &HeaderMap, tag: &str, modified: SystemTime) -> bool {
    let text = |name| {
        asked
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if let Some(tags) = text(header::IF_NONE_MATCH) {
        let mut tags = tags
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"));
        return tags.any(|known| known == tag || known == "*");
    }
    let date =
        text(header::IF_MODIFIED_SINCE).and_then(|date| httpdate::parse_http_date(date).ok());
    // Dates have whole seconds.
    date.is_some_and(|date| modified < date + std::time::Duration::from_secs(1))
}

/// Returns the first and last byte of the range that is asked for; fails if there is none of its
/// bytes. Several ranges count as none, and so does one of another version of the file.
fn range(asked: &HeaderMap, tag: &str, date: &str, length: u64) -> Option<Result<(u64, u64), ()>> {
    let text = asked.get(header::RANGE)?.to_str().ok()?;
    if asked
        .get(header::IF_RANGE)
        .is_some_and(|known| known != tag && known != date)
    {
        return None;
    }
    let parsed = parse_range_header(text).ok()?;
    match parsed.validate(length) {
        Ok(ranges) if ranges.len() == 1 => Some(Ok((*ranges[0].start(), *ranges[0].end()))),
        Ok(_) => None,
        Err(_) => Some(Err(())),
    }
}

/// Returns the status for an error of the system.
fn status(error: &io::Error) -> StatusCode {
    match error.kind() {
        io::ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StatusCode::NOT_FOUND,
        io::ErrorKind::InvalidInput => StatusCode::NOT_FOUND,
        _ if error.raw_os_error() == Some(libc::ENAMETOOLONG) => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
