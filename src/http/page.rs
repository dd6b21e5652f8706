//! Whole pages: [`get_page`].

use std::fmt::Display;
use std::rc::Rc;

use bytes::Bytes;
use http::{Response, Uri};

use super::{Agent, Body, HttpError, Phase, url};
use crate::defer::{Deferred, DeferredError};
use crate::failure::Failure;
use crate::reactor::Reactor;

/// Requests a page; the Deferred fires with its bytes. At most 16 MiB are read.
///
/// Redirects are followed, and the time limits are those of [`Agent::new`]. The connection is
/// shared with the other pages that are requested at the same time, and then closed; an [`Agent`]
/// keeps connections, and has settings.
///
/// # Cancel safety
///
/// Cancelling the Deferred closes the connection.
///
/// # Errors
///
/// Fails with an [`HttpError`]: with [`HttpError::Status`], which has the response's status,
/// headers and body, unless the status is one of success.
///
/// # Examples
///
/// ```
/// use torsade::http;
///
/// torsade::testing::run(async |reactor| {
///     let port = reactor.serve("127.0.0.1:0", async |mut conn| {
///         while !conn.read_line(1000).await?.is_none_or(|line| line.is_empty()) {}
///         conn.write_all(b"HTTP/1.1 200 OK\r\n\r\n<h1>hello</h1>").await?;
///         Ok(())
///     })?;
///     let page = http::get_page(format!("http://{}/", port.local_addr())).await?;
///     assert_eq!(page, "<h1>hello</h1>");
///     port.stop().await
/// });
/// ```
#[doc(alias("getPage", "client.getPage"))]
#[track_caller]
pub fn get_page(url: impl Display) -> Deferred<Bytes> {
    let url = url.to_string();
    Deferred::from_future(async move {
        let uri = url::parse(&url)?;
        let response = page_agent()?.get(&uri).await?;
        let (url, response) = check(uri, response).await?;
        let body = response.into_body().read(PAGE).await;
        body.map_err(|cause| HttpError::failed(Phase::Reading, &url, cause))
    })
}

/// The most bytes of a page.
const PAGE: u64 = 16 * 1024 * 1024;

/// The agent of the functions without one.
struct PageAgent(Agent);

fn page_agent() -> Result<Agent, DeferredError> {
    let reactor = Reactor::current().ok_or(DeferredError::NoReactor)?;
    if let Some(agent) = reactor.inner().extension::<PageAgent>() {
        return Ok(agent.0.clone());
    }
    let agent = Agent::new().idle_timeout(std::time::Duration::ZERO);
    let stored = PageAgent(agent.clone());
    reactor.inner().insert_extension(Rc::new(stored));
    Ok(agent)
}

/// Fails unless the status is one of success. Returns the URL after redirects as well.
async fn check(uri: Uri, response: Response<Body>) -> Result<(Uri, Response<Body>), Failure> {
    let url = response.extensions().get().cloned().unwrap_or(uri);
    if response.status().is_success() {
        return Ok((url, response));
    }
    let (head, mut body) = response.into_parts();
    // What of it can be read is good enough.
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = body.chunk().await {
        let room = (PAGE as usize).saturating_sub(bytes.len());
        bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if room <= piece.len() {
            break;
        }
    }
    Err(HttpError::Status {
        url: url.to_string(),
        status: head.status,
        headers: Box::new(head.headers),
        body: bytes.into(),
    }
    .into())
}
