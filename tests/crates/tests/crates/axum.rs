//! `axum`: a router served by hyper, on the reactor's connections.

use std::cell::Cell;
use std::rc::Rc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::service::TowerToHyperService;
use torsade::hyper::Timer;
use torsade::task::SendWrapper;
use torsade::{Clock, Failure, Reactor};

use crate::{HERE, SECOND};

/// The state of the handlers. It is not `Send`, and need not be.
type Visits = SendWrapper<Rc<Cell<u32>>>;

/// Waits on the reactor, in a future that is not `Send`.
fn count(State(visits): State<Visits>) -> SendWrapper<impl Future<Output = String>> {
    SendWrapper::new(async move {
        let reactor = Reactor::current().expect("it runs in a task");
        reactor.sleep(SECOND / 100).await.expect("the reactor runs");
        visits.set(visits.get() + 1);
        format!("visit {}", visits.get())
    })
}

async fn get_text(
    sender: &mut SendRequest<Empty<Bytes>>,
    path: &str,
) -> Result<(StatusCode, String), Failure> {
    let request = Request::get(path).header("host", "localhost");
    let response = sender.send_request(request.body(Empty::new())?).await?;
    let (status, body) = (response.status(), response.into_body());
    let bytes = body.collect().await?.to_bytes();
    Ok((status, String::from_utf8(bytes.to_vec())?))
}

on_both! {
    async fn a_router_answers_and_its_handlers_need_not_be_send(reactor) {
        let double = async |Path(n): Path<u32>| Json(vec![n, n * 2]);
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/double/{n}", get(double))
            .route("/count", get(count))
            .with_state(SendWrapper::new(Rc::default()));
        let service = TowerToHyperService::new(router);
        let port = reactor.serve(HERE, async move |conn| {
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(Timer);
            Ok(server.serve_connection(conn, service.clone()).await?)
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let (mut sender, conn) = http1::handshake(conn).await?;
        let running = torsade::spawn(conn);
        let mut check = async |path: &str, status: u16, text: &str| {
            let answer = get_text(&mut sender, path).await?;
            assert_eq!(answer, (StatusCode::from_u16(status)?, text.to_owned()));
            Ok::<_, Failure>(())
        };
        check("/", 200, "hello").await?;
        check("/double/21", 200, "[21,42]").await?;
        check("/count", 200, "visit 1").await?;
        check("/count", 200, "visit 2").await?;
        check("/nothing", 404, "").await?;
        drop(sender);
        running.await??;
        port.stop().await?;
    }
}
