//! What the guide's page `http` leaves to other crates: its text is that of these tests.

use std::collections::BTreeMap;
use std::time::Duration;

use async_compression::futures::bufread::GzipEncoder;
use futures::{AsyncReadExt, TryStreamExt};
use torsade::http::{self, Agent, Body, IntoResponse, Request, Response};
use torsade::{Failure, testing};
use url::Url;

type Answer = BTreeMap<String, String>;

/// Sets a cookie, sends a page compressed, and returns a form as JSON.
async fn answer(request: Request<Body>) -> Result<Response<Body>, Failure> {
    match request.uri().path() {
        "/cookie" => {
            let response = Response::builder().header("set-cookie", "name=joe");
            Ok(response.body(Body::empty())?)
        }
        "/page" => {
            assert_eq!(request.headers()["accept-encoding"], "gzip");
            let mut page = Vec::new();
            GzipEncoder::new(&b"hello"[..])
                .read_to_end(&mut page)
                .await?;
            Ok(page.into_response())
        }
        _ => {
            let body = request.into_body().read(1000).await?;
            let form: Answer = serde_urlencoded::from_bytes(&body)?;
            Ok(serde_json::to_string(&form)?.into_response())
        }
    }
}

/// Calls `test` with an agent and the URL of a path of the server.
fn with_server(path: &str, test: impl AsyncFnOnce(Agent, Url) -> Result<(), Failure>) {
    testing::run(async |_reactor| {
        let port = http::serve("127.0.0.1:0", answer)?;
        let url = format!("http://{}{path}", port.local_addr());
        test(Agent::new(), url.parse()?).await?;
        port.stop(Duration::ZERO).await?;
        Ok(())
    });
}

async fn cookies(agent: Agent, url: Url) -> Result<(), Failure> {
    let mut store = cookie_store::CookieStore::default();
    let cookies = store.get_request_values(&url);
    let cookies = cookies.map(|(name, value)| format!("{name}={value}"));
    let cookies = cookies.collect::<Vec<_>>().join("; ");
    let request = Request::get(url.as_str()).header("cookie", cookies);
    let response = agent.request(request.body(())?).await?;
    for cookie in response.headers().get_all("set-cookie") {
        let _ = store.parse(cookie.to_str()?, &url);
    }

    let kept: Vec<_> = store.get_request_values(&url).collect();
    assert_eq!(kept, [("name", "joe")]);
    Ok(())
}

async fn compression(agent: Agent, url: Url) -> Result<(), Failure> {
    let (url, mut page) = (url.as_str(), Vec::new());
    let request = Request::get(url).header("accept-encoding", "gzip");
    let body = agent.request(request.body(())?).await?.into_body();
    let pieces = body.map_err(|failure| std::io::Error::other(failure.into_error()));
    let reader = pieces.into_async_read();
    let mut decoder = async_compression::futures::bufread::GzipDecoder::new(reader);
    decoder.read_to_end(&mut page).await?;

    assert_eq!(page, b"hello");
    Ok(())
}

async fn forms(agent: Agent, url: Url) -> Result<(), Failure> {
    let (url, form) = (url.as_str(), [("name", "joe")]);
    let kind = "application/x-www-form-urlencoded";
    let request = Request::post(url).header("content-type", kind);
    let request = request.body(serde_urlencoded::to_string(&form)?)?;
    let body = agent.request(request).await?.into_body();
    let answer: Answer = serde_json::from_slice(&body.read(1 << 20).await?)?;

    assert_eq!(answer["name"], "joe");
    Ok(())
}

#[test]
fn cookies_are_kept() {
    with_server("/cookie", cookies);
}

#[test]
fn a_compressed_page_is_read() {
    with_server("/page", compression);
}

#[test]
fn a_form_is_sent_and_json_is_read() {
    with_server("/form", forms);
}

#[test]
fn the_guide_has_the_text_of_these_tests() {
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let tests = trimmed(include_str!("guide.rs"));
    let guide = include_str!("../../../../src/guide/http.rs").replace("//! ", "");
    let texts = guide.split("```text\n").skip(1);
    let texts: Vec<_> = texts.filter_map(|text| text.split("```").next()).collect();
    assert_eq!(texts.len(), 3);
    for text in texts {
        assert!(tests.contains(&trimmed(text)), "{text}");
    }
}
