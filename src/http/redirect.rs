//! Whether and how a redirect is followed.

use http::{HeaderMap, Method, Request, Response, StatusCode, header};

use super::agent::Config;
use super::url::{Origin, join};
use super::{Body, HttpError};

impl Config {
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
        let Some(location) = location.filter(|_| self.redirects > 0) else {
            return Ok(false);
        };
        let becomes_get = match response.status() {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *request.method() == Method::POST,
            StatusCode::SEE_OTHER => *request.method() != Method::HEAD,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(false),
        };
        let url = request.uri().clone();
        let problem = |problem: String| HttpError::Redirect {
            url: url.to_string(),
            problem,
        };
        let target = join(&url, location.as_bytes());
        let target = target.map_err(|error| problem(format!("{location:?} is no URL: {error}")))?;
        let to = Origin::of(&target, None).map_err(|error| problem(error.to_string()))?;
        if !(self.redirect_if)(&url, &target) {
            return Ok(false);
        }
        if count >= self.redirects {
            return Err(problem(format!("there were {count} before")));
        }
        *request.body_mut() = match again {
            _ if becomes_get => Body::empty(),
            Some(body) => body,
            None => return Err(problem("the request's body cannot be sent again".into())),
        };
        if becomes_get {
            *request.method_mut() = Method::GET;
            remove(request.headers_mut(), OF_BODY);
        }
        if Origin::of(&url, None).ok() != Some(to) {
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
