//! Connections for async code: reading, writing, halves, lines, cancelling.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::Poll;

use futures::StreamExt;
use futures::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, Cursor};
use support::{Anywhere, Log, MS, Spy, ends, poll_once, some_turns, until};
use torsade::protocols::FrameError;
use torsade::{Clock, yield_now};

on_transports! {
    async fn bytes_of_the_peer_are_read_although_writing_has_failed(reactor) {
        let (kept, said) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(false)));
        let (keep, says) = (kept.clone(), said.clone());
        let port = reactor.serve(Anywhere, async move |mut conn| {
            // It has received enough, answers, and closes.
            conn.read_exact(&mut [0; 1000]).await?;
            conn.write_all(b"too much").await?;
            says.set(true);
            keep.set(Some(conn));
            Ok(())
        })?;
        let mut client = reactor.connect_stream(port.local_addr()).await?;
        client.write_all(&[b'x'; 1000]).await?;
        until(|| said.get()).await;
        some_turns().await;
        if let Some(conn) = kept.take() {
            conn.transport().abort_connection();
        }
        let mut fails = async || loop {
            if let Err(error) = client.write_all(&[b'x'; 100_000]).await {
                return error.kind();
            }
        };
        let kind = fails().await;
        assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind:?}");
        let mut heard = [0; 8];
        client.read_exact(&mut heard).await?;
        assert_eq!(&heard, b"too much");
        // And then it is over, one way or the other.
        let _ = client.read(&mut [0; 8]).await;
        assert!(client.write_all(b"x").await.is_err());
        drop(client);
        port.stop().await?;
    }

    async fn written_bytes_are_read_in_order(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        for n in 0..100_u8 {
            client.write_all(&[n]).await?;
        }
        let mut buf = [0; 100];
        server.read_exact(&mut buf).await?;
        assert!(buf.iter().copied().eq(0..100));
        drop((client, server));
        port.stop().await?;
    }

    async fn reading_without_a_buffer_shows_each_byte_once(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        client.write_all(b"line\nrest").await?;
        assert_eq!(server.read_line(80).await?.as_deref(), Some(&b"line"[..]));
        let mut rest = Vec::new();
        while rest.len() < 4 {
            rest.extend(server.read_with(<[u8]>::to_vec).await?);
        }
        assert_eq!(rest, b"rest");
        {
            let mut given_up = std::pin::pin!(server.read_with(|_| panic!("it was given up")));
            assert!(poll_once(&mut given_up).await.is_pending());
        }
        client.write_all(&[b'x'; 100_000]).await?;
        let mut count = 0;
        while count < 100_000 {
            let came = server.read_with(|bytes| {
                assert!(bytes.iter().all(|byte| *byte == b'x'));
                bytes.len()
            });
            let came = came.await?;
            assert!((1..=65_536).contains(&came));
            count += came;
        }
        assert_eq!(count, 100_000);
        drop(client);
        assert_eq!(server.read_with(<[u8]>::len).await?, 0);
        port.stop().await?;
    }

    async fn reading_returns_the_available_bytes_and_none_at_the_end(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        assert_eq!(server.read(&mut []).await?, 0);
        client.write_all(b"abc").await?;
        let mut buf = [0; 10];
        assert_eq!(server.read(&mut buf).await?, 3);
        drop(client);
        assert_eq!(server.read(&mut buf).await?, 0);
        assert_eq!(server.read(&mut buf).await?, 0);
        server.read_exact(&mut []).await?;
        assert_eq!(server.read_exact(&mut [0]).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        drop(server);
        port.stop().await?;
    }

    async fn a_buffer_that_is_filled_exactly_leaves_the_rest_for_the_next_read(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        client.write_all(b"abcdefg").await?;
        some_turns().await;
        let mut buf = [0; 3];
        for want in [&b"abc"[..], b"def", b"g"] {
            let count = server.read(&mut buf).await?;
            assert_eq!(&buf[..count], want);
            some_turns().await;
        }
        client.write_all(b"h").await?;
        assert_eq!(server.read(&mut buf).await?, 1);
        drop((client, server));
        port.stop().await?;
    }

    async fn unread_bytes_wait_and_later_ones_are_reported(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        let mut all = Vec::new();
        for n in 0..5_u8 {
            client.write_all(&[n]).await?;
            some_turns().await;
            client.write_all(&[n]).await?;
            some_turns().await;
            let mut buf = [0; 10];
            let count = server.read(&mut buf).await?;
            all.extend_from_slice(&buf[..count]);
        }
        assert_eq!(all, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        drop((client, server));
        port.stop().await?;
    }

    async fn after_lose_connection_reading_ends_and_writing_fails(reactor) {
        let (mut client, server, port) = ends(&reactor, Anywhere).await?;
        client.transport().lose_connection();
        assert_eq!(client.read(&mut [0]).await?, 0);
        assert_eq!(client.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        drop((client, server));
        port.stop().await?;
    }

    async fn a_reader_that_waits_is_woken_by_the_end(reactor) {
        let (mut client, server, port) = ends(&reactor, Anywhere).await?;
        let transport = client.transport();
        let reading = torsade::spawn(async move { client.read(&mut [0]).await });
        some_turns().await;
        transport.lose_connection();
        assert_eq!(reading.await??, 0);
        drop(server);
        port.stop().await?;
    }

    async fn close_sends_the_end_of_file_and_reading_continues(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        client.write_all(b"request").await?;
        client.close().await?;
        client.close().await?;
        assert_eq!(client.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut all = Vec::new();
        server.read_to_end(&mut all).await?;
        assert_eq!(all, b"request");
        server.write_all(b"reply").await?;
        drop(server);
        all.clear();
        client.read_to_end(&mut all).await?;
        assert_eq!(all, b"reply");
        drop(client);
        port.stop().await?;
    }

    async fn vectored_writes_accept_as_much_as_fits(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        let pieces = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cd")];
        assert_eq!(client.write_vectored(&pieces).await?, 4);
        assert_eq!(client.write_vectored(&[]).await?, 0);
        let big = vec![1; 50_000];
        let pieces = [IoSlice::new(b"x"), IoSlice::new(&big), IoSlice::new(&big)];
        let taken = client.write_vectored(&pieces).await?;
        assert!(taken <= 64 << 10 && taken > 50_000, "{taken}");
        drop(client);
        let mut all = Vec::new();
        server.read_to_end(&mut all).await?;
        assert_eq!(&all[..5], b"abcdx");
        assert_eq!(all.len(), 4 + taken);
        drop(server);
        port.stop().await?;
    }

    async fn halves_work_at_the_same_time(reactor) {
        let (client, mut server, port) = ends(&reactor, Anywhere).await?;
        let (mut reader, mut writer) = client.split();
        let writing = torsade::spawn(async move {
            for n in 0..200_u8 {
                writer.write_all(&vec![n; 10_000]).await?;
            }
            Ok::<_, std::io::Error>(())
        });
        let echoing = torsade::spawn(async move {
            let mut buf = vec![0; 7_000];
            loop {
                match server.read(&mut buf).await? {
                    0 => return Ok::<_, std::io::Error>(()),
                    count => server.write_all(&buf[..count]).await?,
                }
            }
        });
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await?;
        assert_eq!(all.len(), 2_000_000);
        assert!(all.chunks(10_000).enumerate().all(|(n, chunk)| chunk.iter().all(|b| *b == n as u8)));
        writing.await??;
        echoing.await??;
        drop(reader);
        port.stop().await?;
    }

    async fn bytes_that_were_read_ahead_go_with_the_reading_half(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        client.write_all(b"line one\nrest").await?;
        assert_eq!(server.read_line(80).await?.unwrap(), b"line one");
        let (mut reader, writer) = server.split();
        let mut buf = [0; 4];
        reader.read_exact(&mut buf).await?;
        assert_eq!(&buf, b"rest");
        drop((reader, writer, client));
        port.stop().await?;
    }

    async fn dropping_the_writing_half_sends_the_end_of_file(reactor) {
        let (client, mut server, port) = ends(&reactor, Anywhere).await?;
        let (mut reader, mut writer) = client.split();
        writer.write_all(b"last").await?;
        drop(writer);
        let mut all = Vec::new();
        server.read_to_end(&mut all).await?;
        assert_eq!(all, b"last");
        server.write_all(b"still").await?;
        let mut buf = [0; 5];
        reader.read_exact(&mut buf).await?;
        let transport = reader.transport();
        assert!(transport.is_connected());
        drop(reader);
        until(|| !transport.is_connected()).await;
        drop(server);
        port.stop().await?;
    }

    async fn dropping_the_reading_half_leaves_the_writing_half_open(reactor) {
        let (client, mut server, port) = ends(&reactor, Anywhere).await?;
        let (reader, mut writer) = client.split();
        drop(reader);
        server.write_all(b"unread").await?;
        some_turns().await;
        writer.write_all(b"x").await?;
        server.read_exact(&mut [0]).await?;
        drop(writer);
        assert_eq!(server.read(&mut [0]).await.unwrap_or(0), 0);
        drop(server);
        port.stop().await?;
    }

    async fn lines_end_with_either_end_and_at_the_end_of_file(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        client.write_all(b"one\r\ntwo\n\n\r\nlast").await?;
        drop(client);
        let mut lines = Vec::new();
        while let Some(line) = server.read_line(usize::MAX).await? {
            lines.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(lines, ["one", "two", "", "", "last"]);
        drop(server);
        port.stop().await?;
    }

    async fn lines_are_read_into_memory_that_is_used_again(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        client.write_all(b"a longer one\n\nshort\r\nmuch too long for it\nlast").await?;
        drop(client);
        let mut line = Vec::new();
        assert!(server.read_line_into(12, &mut line).await?);
        assert_eq!(line, b"a longer one");
        let memory = line.as_ptr();
        assert!(server.read_line_into(12, &mut line).await? && line.is_empty());
        assert!(server.read_line_into(12, &mut line).await?);
        assert_eq!((line.as_slice(), line.as_ptr()), (&b"short"[..], memory));
        let error = server.read_line_into(12, &mut line).await.unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidData && line.is_empty());
        assert!(server.read_line_into(12, &mut line).await? && line == b"last");
        assert!(!server.read_line_into(12, &mut line).await? && line.is_empty());
        drop(server);
        port.stop().await?;
    }

    async fn only_the_task_that_waits_for_bytes_is_woken_by_them(reactor) {
        let (mut client, server, port) = ends(&reactor, Anywhere).await?;
        let polls = Rc::new(Cell::new(0));
        let seen = polls.clone();
        let given = Rc::new(Cell::new(None));
        let give = given.clone();
        let first = reactor.spawn(async move {
            let mut server = server;
            server.read_exact(&mut [0]).await?;
            give.set(Some(server));
            // Never ready; counts how often the task is polled.
            std::future::poll_fn(|_| {
                seen.set(seen.get() + 1);
                Poll::<()>::Pending
            })
            .await;
            Ok::<_, torsade::Failure>(())
        });
        client.write_all(b"1").await?;
        some_turns().await;
        let mut server = given.take().expect("the first task has read its byte");
        let second = reactor.spawn(async move {
            let mut two = [0; 2];
            server.read_exact(&mut two).await?;
            Ok::<_, torsade::Failure>((two, server))
        });
        for byte in [b"2", b"3"] {
            some_turns().await;
            client.write_all(byte).await?;
        }
        let (two, server) = second.await??;
        assert_eq!((&two, polls.get()), (b"23", 1));
        first.cancel();
        drop((client, server));
        port.stop().await?;
    }

    async fn a_line_is_no_longer_than_its_limit(reactor) {
        for (sent, fits) in [("12345\n", true), ("12345\r\n", true), ("123456\n", false), ("1234567890", false)] {
            let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
            client.write_all(sent.as_bytes()).await?;
            match server.read_line(5).await {
                Ok(line) => assert!(fits && line.unwrap() == b"12345", "{sent:?}"),
                Err(error) => assert!(!fits && error.kind() == ErrorKind::InvalidData, "{sent:?}"),
            }
            drop((client, server));
            port.stop().await?;
        }
    }

    async fn reading_a_line_that_is_given_up_at_each_byte_loses_nothing(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        let text = b"one\r\n\ntwo, which is longer\nrest";
        let mut lines = Vec::new();
        for byte in text {
            client.write_all(&[*byte]).await?;
            some_turns().await;
            // Polled once, and dropped.
            let line = match poll_once(&mut Box::pin(server.read_line(80))).await {
                Poll::Ready(line) => line?.unwrap(),
                Poll::Pending => continue,
            };
            lines.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(lines, ["one", "", "two, which is longer"]);
        let mut rest = [0; 4];
        server.read_exact(&mut rest).await?;
        assert_eq!(&rest, b"rest");
        drop((client, server));
        port.stop().await?;
    }

    async fn a_line_may_be_longer_than_the_read_ahead_limit(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        let long = vec![b'l'; 300_000];
        let sent = long.clone();
        let writing = reactor.spawn(async move {
            client.write_all(b"short\n").await?;
            client.send_line(&sent).await?;
            client.write_all(b"rest").await?;
            Ok::<_, torsade::Failure>(client)
        });
        assert_eq!(server.read_line(300_000).await?.unwrap(), b"short");
        assert!(server.read_line(300_000).await?.unwrap() == long);
        let client = writing.await??;
        drop(client);
        assert_eq!(server.read_line(300_000).await?.unwrap(), b"rest");
        assert_eq!(server.read_line(300_000).await?, None);
        drop(server);
        port.stop().await?;
    }

    async fn a_stream_of_lines_continues_after_one_that_is_too_long(reactor) {
        let (mut client, server, port) = ends(&reactor, Anywhere).await?;
        let (mut reader, mut writer) = server.split();
        let mut lines = reader.read_lines(5);
        client.write_all(b"one\n123456").await?;
        assert_eq!(lines.next().await.unwrap()?, b"one");
        let error = lines.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let inner = error.get_ref().and_then(|error| error.downcast_ref::<FrameError>());
        assert_eq!(inner, Some(&FrameError::LineTooLong { limit: 5 }));
        client.write_all(b"789\r\ntwo\nlast").await?;
        assert_eq!(lines.next().await.unwrap()?, b"two");
        // The stream borrows the reading half only.
        writer.send_line("answer").await?;
        assert_eq!(client.read_line(80).await?.unwrap(), b"answer");
        client.close().await?;
        assert_eq!(lines.next().await.unwrap()?, b"last");
        assert!(lines.next().await.is_none() && lines.next().await.is_none());
        drop((client, reader, writer));
        port.stop().await?;
    }

    async fn a_read_that_is_dropped_while_it_waits_loses_nothing(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        for n in 0..50_u8 {
            let mut buf = [0; 4];
            {
                let mut read = Box::pin(server.read(&mut buf));
                assert!(poll_once(&mut read).await.is_pending());
                client.write_all(&[n]).await?;
                for _ in 0..n % 4 {
                    yield_now().await;
                }
            }
            assert_eq!(server.read(&mut buf).await?, 1);
            assert_eq!(buf[0], n);
        }
        drop((client, server));
        port.stop().await?;
    }

    async fn a_connection_may_move_from_one_task_to_another(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        {
            let mut buf = [0];
            let mut read = Box::pin(server.read(&mut buf));
            assert!(poll_once(&mut read).await.is_pending());
        }
        let reading = torsade::spawn(async move {
            let mut buf = [0];
            server.read_exact(&mut buf).await.map(|()| (buf, server))
        });
        some_turns().await;
        client.write_all(b"x").await?;
        let (buf, server) = reading.await??;
        assert_eq!(&buf, b"x");
        drop((client, server));
        port.stop().await?;
    }

    async fn a_connection_implements_the_futures_traits(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        futures::io::copy(Cursor::new(b"a,b,c".to_vec()), &mut client).await?;
        AsyncWriteExt::close(&mut client).await?;
        let mut field = Vec::new();
        AsyncBufReadExt::read_until(&mut server, b',', &mut field).await?;
        assert_eq!(field, b"a,");
        let mut rest = String::new();
        AsyncReadExt::read_to_string(&mut server, &mut rest).await?;
        assert_eq!(rest, "b,c");
        drop((client, server));
        port.stop().await?;
    }

    async fn a_paused_stream_is_not_read(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        server.transport().pause_producing();
        client.write_all(b"x").await?;
        some_turns().await;
        let transport = server.transport();
        let mut buf = [0; 4];
        {
            let mut read = Box::pin(server.read(&mut buf));
            assert!(poll_once(&mut read).await.is_pending());
            some_turns().await;
            assert!(poll_once(&mut read).await.is_pending());
            transport.resume_producing();
            assert_eq!(read.await?, 1);
        }
        drop((client, server));
        port.stop().await?;
    }

    async fn a_handler_that_is_cancelled_ends_its_connection(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        let task = torsade::spawn(async move { server.read(&mut [0]).await });
        some_turns().await;
        task.cancel().await;
        assert_eq!(client.read(&mut [0]).await?, 0);
        drop(client);
        port.stop().await?;
    }

    async fn big_writes_and_small_ones_keep_their_order(reactor) {
        let (mut client, mut server, port) = ends(&reactor, Anywhere).await?;
        let writing = torsade::spawn(async move {
            for n in 0..60_u8 {
                let size = [1, 20_000, 3, 70_000, 16 * 1024, 0][usize::from(n) % 6];
                client.write_all(&vec![n; size]).await?;
            }
            Ok::<_, std::io::Error>(())
        });
        let mut all = Vec::new();
        server.read_to_end(&mut all).await?;
        assert!(all.is_sorted());
        assert_eq!(all.len(), 10 * (1 + 20_000 + 3 + 70_000 + 16 * 1024));
        writing.await??;
        drop(server);
        port.stop().await?;
    }

    async fn a_spy_and_a_stream_understand_each_other(reactor) {
        let port = reactor.listen(Anywhere, |_| Spy::echo())?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        for _ in 0..10 {
            conn.write_all(b"ping").await?;
            conn.read_exact(&mut [0; 4]).await?;
        }
        let waiting: Poll<_> = poll_once(&mut Box::pin(conn.read(&mut [0]))).await;
        assert!(waiting.is_pending());
        reactor.sleep(MS).await?;
        drop(conn);
        port.stop().await?;
    }

    async fn the_writes_of_one_hook_are_sent_together_when_it_returns(reactor) {
        let (log, sent) = (Log::new(), Rc::new(Cell::new(None)));
        let slot = sent.clone();
        let port = reactor.listen(Anywhere, move |_| {
            let slot = slot.clone();
            Spy::new(&Log::new()).on_made(move |cx| {
                cx.write("");
                cx.write("one, ");
                cx.write_sequence(["two", "", ", "]);
                cx.write_sequence([""; 0]);
                cx.write(vec![]);
                cx.write("three");
                slot.set(Some(cx.queued()));
            })
        })?;
        let handle = reactor.connect(port.local_addr(), Spy::new(&log)).await?;
        until(|| log.all().len() == 2).await;
        assert_eq!(log.take(), ["made", "data one, two, three"]);
        assert_eq!(sent.get(), Some(15), "nothing was sent inside the calls");
        handle.transport().unwrap().lose_connection();
        until(|| !log.is_empty()).await;
        port.stop().await?;
    }

    async fn no_more_than_64_kib_are_delivered_at_once(reactor) {
        let (most, total) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (largest, sum) = (most.clone(), total.clone());
        let port = reactor.listen(Anywhere, move |_| {
            let (largest, sum) = (largest.clone(), sum.clone());
            Spy::new(&Log::new()).on_data(move |_, data| {
                largest.set(data.len().max(largest.get()));
                sum.set(sum.get() + data.len());
            })
        })?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        conn.transport().write(vec![b'x'; 1 << 20]);
        until(|| total.get() == 1 << 20).await;
        assert!(most.get() <= 64 * 1024, "{} bytes at once", most.get());
        drop(conn);
        port.stop().await?;
    }

    async fn what_a_peer_has_sent_that_is_gone_is_delivered_before_the_error_of_a_write(reactor) {
        let (log, kept) = (Log::new(), Rc::new(RefCell::new(None)));
        let (to, slot) = (log.clone(), kept.clone());
        let port = reactor.listen(Anywhere, move |_| {
            let slot = slot.clone();
            Spy::new(&to).on_made(move |cx| {
                cx.pause_producing();
                slot.replace(Some(cx.clone()));
            })
        })?;
        let mut client = reactor.connect_stream(port.local_addr()).await?;
        client.write_all(b"last").await?;
        drop(client);
        until(|| kept.borrow().is_some()).await;
        some_turns().await;
        let server = kept.take().unwrap();
        server.write(b"answer");
        server.resume_producing();
        until(|| port.connections() == 0).await;
        let all = log.take();
        assert_eq!(all[..2], ["made", "data last"]);
        // Over TCP the write succeeds.
        assert!(all.ends_with(&["eof".into(), "lost done".into()]) || all[2..] == ["lost broken BrokenPipe"], "{all:?}");
        port.stop().await?;
    }
}

/// Resets, which UNIX sockets do not have.
mod tcp {
    use super::*;
    use support::HERE;

    on_all! {
        async fn a_reset_is_an_error_with_its_number(reactor) {
            let (client, mut server, port) = ends(&reactor, HERE).await?;
            client.transport().abort_connection();
            let error = server.read(&mut [0]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            #[cfg(unix)]
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
            assert!(server.write(b"x").await.is_err());
            let mut client = client;
            assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
            assert_eq!(client.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
            drop((client, server));
            port.stop().await?;
        }

        async fn a_stream_of_lines_ends_when_the_connection_breaks(reactor) {
            let (client, mut server, port) = ends(&reactor, HERE).await?;
            client.transport().abort_connection();
            let mut lines = server.read_lines(80);
            let error = lines.next().await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert!(lines.next().await.is_none());
            drop((client, server));
            port.stop().await?;
        }
    }
}
