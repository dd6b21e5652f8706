//! Whole pages: [`get_page`] and [`download_page`].

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, Uri};
use http_body::Body as _;

use super::bodies::status_error;
use super::{Agent, Body, HttpError, Phase};
use crate::defer::{Deferred, DeferredError};
use crate::failure::Failure;
use crate::reactor::Reactor;

/// Requests a page. The Deferred fires with its bytes, 16 MiB at most.
///
/// Redirects are followed, and the limits are those of [`Agent::new`]. The connection is shared
/// with the other pages that are requested at the same time, and then closed; an [`Agent`] keeps
/// connections, and has settings.
///
/// # Cancel safety
///
/// Cancelling the Deferred closes the connection.
///
/// # Errors
///
/// Fails with an [`HttpError`]; with [`HttpError::Status`], which has the response's status,
/// headers and body, unless the status is one of success.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::http;
///
/// torsade::testing::run(async |_reactor| {
///     let port = http::serve("127.0.0.1:0", async |_request| Ok("<h1>hello</h1>"))?;
///     let page = http::get_page(format!("http://{}/", port.local_addr())).await?;
///     assert_eq!(page, "<h1>hello</h1>");
///     port.stop(Duration::ZERO).await?;
///     Ok(())
/// });
/// ```
#[doc(alias = "getPage")]
#[track_caller]
pub fn get_page(url: impl Display) -> Deferred<Bytes> {
    match page_agent() {
        Ok(agent) => agent.get_page(url),
        Err(error) => Deferred::fail(error),
    }
}

/// Requests a page and writes it to a file, of any size; otherwise like [`get_page`].
///
/// `progress` is called with the number of bytes that were written, and of all if that is known.
/// The bytes are written by a thread, to a new file beside `path`, which is renamed at the end. It
/// is removed if anything fails, and when the Deferred is cancelled; then a file at `path` stays as
/// it is.
///
/// # Errors
///
/// As for [`get_page`], and when the file cannot be written.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), torsade::Failure> {
/// torsade::run(async |_reactor| {
///     let url = "https://example.org/image.iso";
///     torsade::http::download_page(url, "image.iso", |bytes, of| {
///         println!("{bytes} of {}", of.unwrap_or(bytes));
///     })
///     .await
/// })
/// # }
/// ```
#[doc(alias("downloadPage", "HTTPDownloader", "wget"))]
#[track_caller]
pub fn download_page(
    url: impl Display,
    path: impl AsRef<Path>,
    progress: impl FnMut(u64, Option<u64>) + 'static,
) -> Deferred<()> {
    match page_agent() {
        Ok(agent) => agent.download_page(url, path, progress),
        Err(error) => Deferred::fail(error),
    }
}

impl Agent {
    /// Requests a page, like [`get_page`].
    ///
    /// # Errors
    ///
    /// As for [`get_page`].
    #[doc(alias = "getPage")]
    #[track_caller]
    pub fn get_page(&self, url: impl Display) -> Deferred<Bytes> {
        let (url, most) = (url.to_string(), self.0.config.max_page);
        let response = self.get(&url);
        Deferred::from_future(async move {
            let (url, body) = page(&url, response.await?, most).await?;
            let bytes = body.read(most).await;
            bytes.map_err(|cause| HttpError::failed(Phase::Reading, &url, cause))
        })
    }

    /// Requests a page and writes it to a file, like [`download_page`].
    ///
    /// # Errors
    ///
    /// As for [`download_page`].
    #[doc(alias = "downloadPage")]
    #[track_caller]
    pub fn download_page(
        &self,
        url: impl Display,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(u64, Option<u64>) + 'static,
    ) -> Deferred<()> {
        let (url, path) = (url.to_string(), path.as_ref().to_owned());
        let (response, most) = (self.get(&url), self.0.config.max_page);
        Deferred::from_future(async move {
            let (_, mut body) = page(&url, response.await?, most).await?;
            let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
            let (mut written, all) = (0, body.size_hint().exact());
            let part = Part::create(&path)?;
            while let Some(piece) = body.chunk().await? {
                written += piece.len() as u64;
                let file = part.file.clone();
                let write = move || Ok((&*file).write_all(&piece)?);
                reactor.spawn_blocking(write).await?;
                progress(written, all);
            }
            Ok(fs::rename(&part.path, path)?)
        })
    }
}

/// The agent of the functions.
struct PageAgent(Agent);

fn page_agent() -> Result<Agent, DeferredError> {
    let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
    if let Some(agent) = reactor.inner().extension::<PageAgent>() {
        return Ok(agent.0.clone());
    }
    let agent = Agent::new().idle_timeout(Duration::ZERO);
    let stored = Rc::new(PageAgent(agent.clone()));
    reactor.inner().insert_extension(stored);
    Ok(agent)
}

/// Returns the body of a page and its URL after redirects. Fails unless the status is one of
/// success.
async fn page(url: &str, response: Response<Body>, most: u64) -> Result<(Uri, Body), Failure> {
    let redirected = response.extensions().get::<Uri>().cloned();
    let url = redirected.map_or_else(|| super::url::parse(url), Ok)?;
    match response.status().is_success() {
        true => Ok((url, response.into_body())),
        false => Err(status_error(&url, response, most).await),
    }
}

/// A file that is removed unless it was renamed.
struct Part {
    path: PathBuf,
    file: Arc<File>,
}

impl Part {
    /// Creates a file beside another one.
    fn create(path: &Path) -> io::Result<Self> {
        let mut number = 0;
        loop {
            let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
            name.push(format!(".part{number}"));
            let path = path.with_file_name(name);
            match File::create_new(&path) {
                Ok(file) => {
                    let file = Arc::new(file);
                    return Ok(Self { path, file });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing is there after it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}
