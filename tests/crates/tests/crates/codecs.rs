//! `tokio-util`: codecs of frames.

use futures::{SinkExt, StreamExt};
use tokio_util::codec::{Framed, LinesCodec};

use crate::HERE;

on_both! {
    async fn lines_of_tokio_util_are_framed_on_a_connection(reactor) {
        let port = reactor.serve(HERE, async |conn| {
            let mut lines = Framed::new(conn, LinesCodec::new_with_max_length(80));
            while let Some(line) = lines.next().await {
                lines.send(line?.to_uppercase()).await?;
            }
            Ok(())
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        let mut lines = Framed::new(conn, LinesCodec::new());
        for n in 0..100 {
            lines.feed(format!("line {n}")).await?;
        }
        SinkExt::<String>::flush(&mut lines).await?;
        for n in 0..100 {
            let line = lines.next().await.expect("a line")?;
            assert_eq!(line, format!("LINE {n}"));
        }
        SinkExt::<String>::close(&mut lines).await?;
        assert!(lines.next().await.is_none());
        drop(lines);
        port.stop().await?;
    }
}
