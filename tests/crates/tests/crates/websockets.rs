//! `async-tungstenite`: WebSockets over a connection.

use async_tungstenite::tungstenite::Message;
use async_tungstenite::{accept_async, client_async};
use futures::StreamExt;

use crate::HERE;

on_both! {
    async fn a_websocket_echoes_messages_and_closes(reactor) {
        let port = reactor.serve(HERE, async |conn| {
            let mut socket = accept_async(conn).await?;
            while let Some(message) = socket.next().await {
                let message = message?;
                if message.is_text() || message.is_binary() {
                    socket.send(message).await?;
                }
            }
            Ok(())
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let (mut socket, response) = client_async("ws://localhost/", conn).await?;
        assert_eq!(response.status(), 101);
        let long = Message::binary(vec![7; 1_000_000]);
        for message in [Message::text("hello"), long] {
            socket.send(message.clone()).await?;
            let answer = socket.next().await.expect("an answer")?;
            assert!(answer == message);
        }
        socket.close(None).await?;
        while socket.next().await.is_some() {}
        drop(socket);
        port.stop().await?;
    }
}
