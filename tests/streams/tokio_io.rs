//! tokio's traits of byte streams on connections, without its runtime.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use support::{Anywhere, ends, poll_once, some_turns};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy,
    copy_bidirectional,
};
use torsade::Failure;

on_transports! {
    async fn tokio_copies_between_halves_until_the_end_of_file(reactor) {
        let port = reactor.serve(Anywhere, async |conn| {
            let (mut reader, mut writer) = conn.split();
            let count = copy(&mut reader, &mut writer).await?;
            assert_eq!(count, 1_000_000);
            Ok(AsyncWriteExt::shutdown(&mut writer).await?)
        })?;
        let client = reactor.connect_stream(port.local_addr()).await?;
        let (mut reader, mut writer) = client.split();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let sending = sent.clone();
        let sends = torsade::spawn(async move {
            AsyncWriteExt::write_all(&mut writer, &sending).await?;
            AsyncWriteExt::shutdown(&mut writer).await?;
            Ok::<_, Failure>(writer)
        });
        let mut received = Vec::new();
        AsyncReadExt::read_to_end(&mut reader, &mut received).await?;
        assert!(received == sent);
        drop(sends.await??);
        port.stop().await?;
    }

    async fn tokio_copies_both_ways_between_two_connections(reactor) {
        let echo = reactor.serve(Anywhere, async |mut conn| {
            let (mut buf, mut count) = ([0; 100], 1);
            while count > 0 {
                count = conn.read(&mut buf).await?;
                conn.write_all(&buf[..count]).await?;
            }
            Ok(())
        })?;
        let address = echo.local_addr();
        let forwarder = reactor.clone();
        let proxy = reactor.serve(Anywhere, async move |mut conn| {
            let mut outward = forwarder.connect_stream(&address).await?;
            let both = copy_bidirectional(&mut conn, &mut outward).await?;
            assert_eq!(both, (5, 5));
            Ok(())
        })?;
        let mut client = reactor.connect_stream(proxy.local_addr()).await?;
        client.write_all(b"hello").await?;
        client.close().await?;
        let mut answer = String::new();
        AsyncReadExt::read_to_string(&mut client, &mut answer).await?;
        assert_eq!(answer, "hello");
        drop(client);
        proxy.stop().await?;
        echo.stop().await?;
    }

    async fn bytes_that_were_read_ahead_come_first_however_they_are_read(reactor) {
        let (mut near, mut far, port) = ends(&reactor, Anywhere).await?;
        far.write_all(b"one\ntwo\nthree").await?;
        assert_eq!(near.read_line(80).await?.as_deref(), Some(&b"one"[..]));
        let mut line = String::new();
        AsyncBufReadExt::read_line(&mut near, &mut line).await?;
        assert_eq!(line, "two\n");
        // A buffer that is not initialized, with less room than there are bytes.
        let mut memory = [MaybeUninit::uninit(); 4];
        let mut buf = ReadBuf::uninit(&mut memory);
        buf.put_slice(b">");
        assert!(read(&mut near, &mut buf)?.is_ready());
        assert_eq!(buf.filled(), b">thr");
        assert!(read(&mut near, &mut buf)?.is_ready(), "no room");
        assert_eq!(buf.filled(), b">thr");
        let mut memory = [MaybeUninit::uninit(); 100];
        let mut buf = ReadBuf::uninit(&mut memory);
        assert!(read(&mut near, &mut buf)?.is_ready());
        assert_eq!(buf.filled(), b"ee");
        assert!(read(&mut near, &mut buf)?.is_pending());
        far.write_all(b"!").await?;
        some_turns().await;
        assert!(read(&mut near, &mut buf)?.is_ready());
        assert_eq!(buf.filled(), b"ee!");
        assert_eq!(buf.initialized().len(), 3, "the rest was not cleared");
        far.close().await?;
        some_turns().await;
        assert!(read(&mut near, &mut buf)?.is_ready());
        assert_eq!(buf.filled(), b"ee!", "the end of file");
        drop((near, far));
        port.stop().await?;
    }

    async fn several_slices_are_written_at_once(reactor) {
        let (near, mut far, port) = ends(&reactor, Anywhere).await?;
        let (reader, mut writer) = near.split();
        assert!(AsyncWrite::is_write_vectored(&writer));
        let slices = [IoSlice::new(b"a"), IoSlice::new(b""), IoSlice::new(b"bc")];
        let count = AsyncWriteExt::write_vectored(&mut writer, &slices).await?;
        assert_eq!(count, 3);
        AsyncWriteExt::flush(&mut writer).await?;
        let mut bytes = [0; 3];
        far.read_exact(&mut bytes).await?;
        assert_eq!(&bytes, b"abc");
        drop((reader, writer, far));
        port.stop().await?;
    }

    async fn a_read_that_is_dropped_while_it_waits_loses_nothing(reactor) {
        let (mut near, mut far, port) = ends(&reactor, Anywhere).await?;
        let mut bytes = Vec::new();
        for _ in 0..3 {
            let mut reading = Box::pin(AsyncReadExt::read_buf(&mut near, &mut bytes));
            assert!(poll_once(&mut reading).await.is_pending());
        }
        far.write_all(b"hello").await?;
        some_turns().await;
        AsyncReadExt::read_buf(&mut near, &mut bytes).await?;
        assert_eq!(bytes, b"hello");
        drop((near, far));
        port.stop().await?;
    }
}

#[cfg(unix)]
#[test]
fn the_pipes_of_a_child_are_streams_of_tokio_too() {
    use torsade::process::Command;
    torsade::testing::run_on(torsade::Reactor::new().unwrap(), async |reactor| {
        let mut child = Command::new("cat").spawn(&reactor)?;
        let (mut stdin, mut stdout) = (child.take_stdin()?, child.take_stdout()?);
        AsyncWriteExt::write_all(&mut stdin, b"hello").await?;
        AsyncWriteExt::shutdown(&mut stdin).await?;
        let mut text = String::new();
        AsyncReadExt::read_to_string(&mut stdout, &mut text).await?;
        assert_eq!(text, "hello");
        drop((stdin, stdout));
        assert!(child.status().await?.success());
        Ok(())
    });
}

fn read(stream: &mut (impl AsyncRead + Unpin), buf: &mut ReadBuf<'_>) -> Result<Poll<()>, Failure> {
    let polled = Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), buf);
    Ok(match polled {
        Poll::Pending => Poll::Pending,
        Poll::Ready(result) => Poll::Ready(result?),
    })
}
