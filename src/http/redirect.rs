//! Whether and how a redirect is followed.

use std::rc::Rc;

use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Uri, header};

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
    /// Changes the request into the one that follows the response, after `count` redirects. Returns
    /// whether the response is a redirect that is followed; if so, `body` is what is still sent.
    pub(super) fn follow(
        &self,
        response: &Response<Body>,
        count: usize,
        request: &mut Parts,
        body: &mut Option<Body>,
    ) -> Result<bool, HttpError> {
        let location = response.headers().get(header::LOCATION);
        let Some(location) = location.filter(|_| self.most > 0) else {
            return Ok(false);
        };
        let becomes_get = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => request.method == Method::POST,
            StatusCode::SEE_OTHER => request.method != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(false),
        };
        let problem = |problem: String| HttpError::Redirect {
            url: request.uri.to_string(),
            problem,
        };
        let target = join(&request.uri, location.as_bytes());
        let target = target.map_err(|error| problem(format!("{location:?} is no URL: {error}")))?;
        let to = Origin::of(&target, Versions::Any).map_err(|error| problem(error.to_string()))?;
        if !(self.is_followed)(&request.uri, &target) {
            return Ok(false);
        }
        if count >= self.most {
            return Err(problem(format!("there were {count} before")));
        }
        if becomes_get {
            *body = Some(Body::empty());
        } else if body.is_none() {
            return Err(problem(
                "the request's body cannot be sent again".to_owned(),
            ));
        }
        let headers = &mut request.headers;
        if becomes_get {
            request.method = Method::GET;
            remove(headers, &OF_BODY);
        }
        if Origin::of(&request.uri, Versions::Any).ok() != Some(to) {
            remove(headers, &OF_ORIGIN);
        }
        request.uri = target;
        Ok(true)
    }
}

fn remove(headers: &mut HeaderMap, names: &[header::HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

/// The headers that describe a request's body.
const OF_BODY: [header::HeaderName; 6] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
];

/// The headers that are for one server only.
const OF_ORIGIN: [header::HeaderName; 4] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::PROXY_AUTHORIZATION,
];
