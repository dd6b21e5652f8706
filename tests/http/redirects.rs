//! Redirects: which are followed, and what the request is then.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use torsade::Failure;
use torsade::http::{self, Agent, Body, HttpError, Method, Request, Response, StatusCode, Uri};

use crate::peers;
use support::HERE;

/// What a server has seen.
type Seen = Rc<RefCell<Vec<String>>>;

/// A server that redirects as the path says: `/STATUS/LOCATION`, with `!` for `/` in the location.
fn server() -> Result<(http::HttpPort, String, Seen), Failure> {
    let seen = Seen::default();
    let note = seen.clone();
    let port = http::serve(HERE, async move |request: Request<Body>| {
        let (head, body) = request.into_parts();
        let body = body.read(1000).await?;
        let mut line = format!("{} {}", head.method, head.uri);
        for name in ["authorization", "cookie", "content-type", "x-other"] {
            if let Some(value) = head.headers.get(name) {
                line += &format!(" {name}={}", value.to_str()?);
            }
        }
        note.borrow_mut()
            .push(line + " " + std::str::from_utf8(&body)?);
        let path = head.uri.path().trim_start_matches('/').to_owned();
        let mut response = Response::new(Body::from("body"));
        if let Some((status, location)) = path.split_once('/') {
            *response.status_mut() = status.parse()?;
            let location = location.replace('!', "/");
            if !location.is_empty() {
                let location = http::HeaderValue::from_str(&location)?;
                response.headers_mut().insert("location", location);
            }
        }
        Ok(response)
    })?;
    let url = format!("http://{}", port.local_addr());
    Ok((port, url, seen))
}

async fn send(
    agent: &Agent,
    method: Method,
    url: String,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let request = Request::builder().method(method).uri(url);
    let request = request.header("authorization", "secret");
    let request = request.header("cookie", "too");
    let request = request.header("content-type", "text");
    agent
        .request(request.header("x-other", "1").body(body)?)
        .await
}

async fn stop(port: http::HttpPort, agent: Agent) -> Result<(), Failure> {
    drop(agent);
    port.stop(Duration::ZERO).await?;
    Ok(())
}

on_both! {
    async fn a_redirect_is_followed_to_where_it_leads(reactor) {
        let (port, url, seen) = server()?;
        let agent = Agent::new();
        let failure = agent.get(format!("{url}/a b")).await.unwrap_err();
        assert_failure!(failure, HttpError::Url { .. });
        for (path, target) in [
            ("/301/!there", "/there"),
            ("/307/!a!..!b", "/b"),
            ("/302/!301!!303!!there", "/there"),
            ("/308/..", "/"),
        ] {
            let response = agent.get(format!("{url}{path}")).await?;
            assert_eq!(response.status(), 200);
            let found: &Uri = response.extensions().get().unwrap();
            assert_eq!(found.to_string(), format!("{url}{target}"));
            assert_eq!(response.into_body().read(9).await?, "body");
            assert!(!seen.take().is_empty());
        }
        // What a URL must escape and the server has not.
        let answer = "HTTP/1.1 302 Found\r\nlocation: x y/\u{e4}|%?a[]=%41#z\r\ncontent-length: 0\r\n\r\n";
        let sloppy = peers::server(&reactor, async |line| match line.contains("%20") {
            true => peers::ok(&line),
            false => answer.to_owned(),
        })?;
        let page = agent.get_page(&sloppy.1).await?;
        assert_eq!(page, "GET /x%20y/%C3%A4%7C%25?a%5B%5D=%41 HTTP/1.1");
        stop(port, agent).await?;
        sloppy.0.stop().await?;
    }

    async fn the_status_decides_about_method_and_body(reactor) {
        let (port, url, seen) = server()?;
        let agent = Agent::new();
        let all = " authorization=secret cookie=too";
        for (status, method, expected) in [
            (301, Method::POST, format!("GET /end{all} x-other=1 ")),
            (302, Method::POST, format!("GET /end{all} x-other=1 ")),
            (303, Method::POST, format!("GET /end{all} x-other=1 ")),
            (303, Method::PUT, format!("GET /end{all} x-other=1 ")),
            (303, Method::HEAD, format!("HEAD /end{all} content-type=text x-other=1 ")),
            (301, Method::PUT, format!("PUT /end{all} content-type=text x-other=1 data")),
            (307, Method::POST, format!("POST /end{all} content-type=text x-other=1 data")),
            (308, Method::POST, format!("POST /end{all} content-type=text x-other=1 data")),
        ] {
            let body = if method == Method::HEAD { "" } else { "data" };
            let request = send(&agent, method, format!("{url}/{status}/!end"), body.into());
            assert_eq!(request.await?.status(), 200);
            assert_eq!(seen.take()[1], expected);
        }
        let (writer, body) = Body::channel();
        writer.write("data");
        writer.finish();
        let request = send(&agent, Method::POST, format!("{url}/307/!end"), body);
        let failure = request.await.unwrap_err();
        let problem = expect_error!(failure, HttpError::Redirect { problem, .. } => problem);
        assert!(problem.contains("cannot be sent again"), "{problem}");
        stop(port, agent).await?;
        let _ = reactor;
    }

    async fn credentials_are_for_one_server(reactor) {
        let (port, url, seen) = server()?;
        let (other, elsewhere, seen_there) = server()?;
        let agent = Agent::new();
        let location = format!("{elsewhere}/x").replace('/', "!");
        let request = send(&agent, Method::GET, format!("{url}/302/{location}"), Body::empty());
        assert_eq!(request.await?.status(), 200);
        assert!(seen.take()[0].contains("authorization=secret cookie=too"));
        assert_eq!(seen_there.take(), ["GET /x content-type=text x-other=1 "]);
        stop(port, agent.clone()).await?;
        stop(other, agent).await?;
        let _ = reactor;
    }

    async fn the_number_of_redirects_is_limited(reactor) {
        let (port, url, seen) = server()?;
        let agent = Agent::new().redirects(3);
        // A relative reference that leads to itself.
        let failure = agent.get(format!("{url}/302/302")).await;
        assert_failure!(failure.unwrap_err(), HttpError::Redirect { .. });
        assert_eq!(seen.take().len(), 4);
        let response = agent.redirects(0).get(format!("{url}/302/!end")).await?;
        assert_eq!(response.status(), StatusCode::FOUND);
        assert!(response.extensions().get::<Uri>().is_none());
        drop(response);
        port.stop(Duration::ZERO).await?;
        let _ = reactor;
    }

    async fn a_redirect_that_leads_nowhere_is_an_error_or_a_response(reactor) {
        let (port, url, _) = server()?;
        let agent = Agent::new();
        for (path, problem) in [
            ("/302/gopher:!!x", "neither http nor https"),
            ("/302/http:!![", "invalid URL"),
            ("/302/http:!!a:99999", "port"),
        ] {
            let failure = agent.get(format!("{url}{path}")).await.unwrap_err();
            assert_failure!(failure, HttpError::Redirect { .. });
            assert!(failure.to_string().contains(problem), "{failure}");
        }
        for path in ["/302/", "/304/!x", "/300/!x"] {
            let response = agent.get(format!("{url}{path}")).await?;
            assert!(response.status().is_redirection(), "{path}");
        }
        let same = agent.clone().redirect_if(|from, to| from.host() == to.host());
        assert_eq!(same.get(format!("{url}/302/!x")).await?.status(), 200);
        let response = same.get(format!("{url}/302/http:!!elsewhere")).await?;
        assert_eq!(response.status(), 302);
        // Nor is a target that cannot be requested an error when it is not followed.
        let never = agent.clone().redirect_if(|_, target| target.scheme_str() == Some("http"));
        let response = never.get(format!("{url}/302/gopher:!!x")).await?;
        assert_eq!(response.headers()["location"], "gopher://x");
        drop((response, same, never));
        stop(port, agent).await?;
        let _ = reactor;
    }
}
