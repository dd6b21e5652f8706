//! Whether and how a redirect is followed.

use std::rc::Rc;

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};

use super::url::{Origin, Versions, join};
use super::{Body, HttpError};

/// Which redirects are followed.
#[derive(Clone)]
pub(super) struct Redirects {
    /// The most in a row.
    pub(super) most: usize,
    /// Is given the URL that redirects and its target.
    pub(super) is_followed: Rc<Follows>,
}

type Follows = dyn Fn(&Uri, &Uri) -> bool;

impl Redirects {
    /// Changes the request into the one that follows the response, after `count` redirects; `again`
    /// is its body once more. Returns whether the response is a redirect that is followed.
    pub(super) fn follow(
        &self,
        response: &Response<Body>,
        count: usize,
        request: &mut Request<Body>,
        again: Option<Body>,
    ) -> Result<bool, HttpError> {
        let location = response.headers().get(header::LOCATION);
        let Some(location) = location.filter(|_| self.most > 0) else {
            return Ok(false);
        };
        let becomes_get = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *request.method() == Method::POST,
            StatusCode::SEE_OTHER => *request.method() != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(false),
        };
        let problem = |problem: String| HttpError::Redirect {
            url: request.uri().to_string(),
            problem,
        };
        let target = join(request.uri(), location.as_bytes());
        let target = target.map_err(|error| problem(format!("{location:?} is no URL: {error}")))?;
        let to = Origin::of(&target, Versions::Any).map_err(|error| problem(error.to_string()))?;
        if !(self.is_followed)(request.uri(), &target) {
            return Ok(false);
        }
        if count >= self.most {
            return Err(problem(format!("there were {count} before")));
        }
        let again = if becomes_get {
            Some(Body::empty())
        } else {
            again
        };
        let body = again.ok_or_else(|| "the request's body cannot be sent again".to_owned());
        let body = body.map_err(problem)?;
        *request.body_mut() = body;
        if becomes_get {
            *request.method_mut() = Method::GET;
            remove(request.headers_mut(), OF_BODY);
        }
        if Origin::of(request.uri(), Versions::Any).ok() != Some(to) {
            remove(request.headers_mut(), OF_ORIGIN);
        }
        *request.uri_mut() = target;
        Ok(true)
    }
}

fn remove(headers: &mut HeaderMap, names: &str) {
    for name in names.split(' ') {
        headers.remove(name);
    }
}

/// The headers that describe a request's body.
const OF_BODY: &str = "content-encoding content-language content-length content-location \
                       content-type transfer-encoding";

/// The headers that are for one server only.
const OF_ORIGIN: &str = "authorization cookie host proxy-authorization";
