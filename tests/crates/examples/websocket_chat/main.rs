//! A chat in the browser: a page, and a WebSocket by which each tab sends to all.
//!
//! Run `cargo run --manifest-path tests/crates/Cargo.toml --example websocket_chat [ADDRESS]` and
//! open the printed address in two tabs. Prints `listening on http://ADDRESS/`. Ctrl-C ends it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::pin::pin;
use std::rc::Rc;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::server::create_response_with_body;
use async_tungstenite::tungstenite::protocol::{Message, Role};
use futures::StreamExt;
use futures::future::select;
use torsade::DeferredQueue;
use torsade::http::{self, Body, Request, Response, StatusCode};

use torsade::prelude::*;

/// The open tabs: a text that is put into a queue is sent to its tab.
#[derive(Clone, Default)]
struct Room(Rc<RefCell<BTreeMap<u32, DeferredQueue<String>>>>);

impl Room {
    fn say(&self, text: &str) {
        for queue in self.0.borrow().values() {
            // A tab that does not read misses what its queue has no room for.
            let _ = queue.put(text.to_owned());
        }
    }

    /// Passes messages between a tab and the others until the tab closes.
    async fn join(&self, conn: Connection) {
        let queue = DeferredQueue::with_limits(100, 1);
        let last = self.0.borrow().last_key_value().map(|(number, _)| *number);
        let number = last.unwrap_or(0) + 1;
        self.0.borrow_mut().insert(number, queue.clone());
        self.say(&format!("guest {number} has come"));

        let socket = WebSocketStream::from_raw_socket(conn, Role::Server, None).await;
        let (mut to, mut from) = socket.split();
        let send = pin!(async {
            let mut texts = queue.stream();
            while let Some(text) = texts.next().await {
                if to.send(Message::text(text)).await.is_err() {
                    break;
                }
            }
        });
        let receive = pin!(async {
            while let Some(Ok(message)) = from.next().await {
                if let Message::Text(text) = message {
                    self.say(&format!("guest {number}: {text}"));
                }
            }
        });
        select(send, receive).await;

        self.0.borrow_mut().remove(&number);
        self.say(&format!("guest {number} has gone"));
    }
}

async fn answer(room: &Room, mut request: Request<Body>) -> Result<Response<Body>, Failure> {
    match request.uri().path() {
        "/" => {
            let page = Response::builder().header("content-type", "text/html; charset=utf-8");
            Ok(page.body(include_str!("page.html").into())?)
        }
        "/chat" => {
            let response = create_response_with_body(&request, Body::empty)?;
            let (room, upgraded) = (room.clone(), http::upgrade(&mut request));
            spawn(async move {
                room.join(upgraded.await?).await;
                Ok::<(), Failure>(())
            })
            .detach();
            Ok(response)
        }
        _ => {
            let missing = Response::builder().status(StatusCode::NOT_FOUND);
            Ok(missing.body("there is no such page\n".into())?)
        }
    }
}

fn main() -> Result<(), Failure> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| String::from("127.0.0.1:8080"));
    torsade::run(async |reactor| {
        let room = Room::default();
        let port = http::serve(address, async move |request| answer(&room, request).await)?;
        println!("listening on http://{}/", port.local_addr());
        io::stdout().flush()?;
        reactor.stopped().await
    })
}
