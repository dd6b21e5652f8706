//! Whole pages: [`get_page`] and [`download_page`].

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
    page_agent().get_page(url)
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
    page_agent().download_page(url, path, progress)
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
        let most = self.config.max_page;
        let page = page(url.to_string(), self.get(url), most);
        Deferred::from_future(async move {
            let (url, body) = page.await?;
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
        let (most, path) = (self.config.max_page, path.as_ref().to_owned());
        let page = page(url.to_string(), self.get(url), most);
        Deferred::from_future(async move {
            let (_, mut body) = page.await?;
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

/// Returns the agent of the functions.
fn page_agent() -> Agent {
    let new = || Agent::new().idle_timeout(Duration::ZERO);
    // Without a reactor, requests fail.
    let Some(reactor) = Reactor::current() else {
        return new();
    };
    let stored = reactor.inner().extension::<Agent>();
    let agent = stored.unwrap_or_else(|| {
        let agent = Rc::new(new());
        reactor.inner().insert_extension(agent.clone());
        agent
    });
    Agent::clone(&agent)
}

/// Returns the URL of a page, after redirects, and its body. Fails unless the status is one of
/// success.
async fn page(
    url: String,
    response: Deferred<Response<Body>>,
    most: u64,
) -> Result<(Uri, Body), Failure> {
    let response = response.await?;
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
    /// Creates a file beside another one, whose name no other file has.
    fn create(path: &Path) -> io::Result<Self> {
        for number in 0_u32.. {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".part{number}"));
            match File::create_new(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => {
                    let (path, file) = (name.into(), Arc::new(file?));
                    return Ok(Self { path, file });
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing is there after it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}
