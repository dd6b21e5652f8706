//! tokio's current-thread runtime.

use std::cell::Cell;
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc as futures_mpsc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, Sleep};
use tokio_util::codec::{Framed, LinesCodec};

use super::{Busy, FAR, SLEEPS, announce, scrambled};
use crate::measure::Error;
use crate::rows::Work;

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

pub fn serve(work: Work) -> Result<(), Error> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match work {
                Work::Lines {
                    has_codec: true, ..
                } => drop(tokio::spawn(echo_frames(stream))),
                Work::Lines { .. } => drop(tokio::spawn(echo_lines(stream))),
                Work::Echo { size, .. } if size > 4096 => {
                    drop(tokio::spawn(echo::<{ 64 * 1024 }>(stream)));
                }
                _ => drop(tokio::spawn(echo::<4096>(stream))),
            }
        }
    })
}

async fn echo<const SIZE: usize>(mut stream: TcpStream) {
    let mut buf = [0; SIZE];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
}

async fn echo_lines(mut stream: TcpStream) {
    let (reader, writer) = stream.split();
    let (mut reader, mut writer) = (BufReader::new(reader), BufWriter::new(writer));
    let mut line = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut line).await {
        if writer.write_all(&line).await.is_err() {
            return;
        }
        line.clear();
        if reader.buffer().is_empty() && writer.flush().await.is_err() {
            return;
        }
    }
}

/// `forward` flushes when no line is left.
async fn echo_frames(stream: TcpStream) {
    let (sink, stream) = Framed::new(stream, LinesCodec::new()).split();
    let _ = stream.forward(sink).await;
}

pub fn run(work: Work, count: usize) -> Result<f64, Error> {
    let runtime = runtime()?;
    let each = match work {
        Work::Yield => runtime.block_on(in_a_task(yields(count))),
        Work::Spawn(batch) => runtime.block_on(in_a_task(spawns(count, batch))),
        Work::Wake => LocalSet::new().block_on(&runtime, wakes(count)),
        Work::Queue => runtime.block_on(in_a_task(queues(count))),
        Work::Channel => runtime.block_on(in_a_task(channel(count))),
        Work::Remote => runtime.block_on(in_a_task(remote(count))),
        Work::Reset => runtime.block_on(in_a_task(resets(count))),
        Work::Timers => runtime.block_on(in_a_task(timers(count))),
        Work::Late => runtime.block_on(in_a_task(late(count))),
        work => return Err(format!("{work:?} has a server").into()),
    };
    Ok(each)
}

async fn in_a_task(work: impl Future<Output = f64> + Send + 'static) -> f64 {
    tokio::spawn(work).await.expect("the task does not panic")
}

async fn yields(count: usize) -> f64 {
    let busy = Busy::start();
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
    busy.each(count)
}

async fn spawns(count: usize, batch: usize) -> f64 {
    let busy = Busy::start();
    for _ in 0..count / batch {
        let tasks: Vec<_> = (0..batch).map(|n| tokio::spawn(async move { n })).collect();
        for task in tasks {
            black_box(task.await.expect("the task does not panic"));
        }
    }
    busy.each(count)
}

/// The task whose turn it is, and the waker of the other one.
#[derive(Default)]
struct Token {
    turn: Cell<usize>,
    waker: [Cell<Option<Waker>>; 2],
}

async fn pass(token: Rc<Token>, me: usize, count: usize) {
    for n in 0..count {
        poll_fn(|cx: &mut Context<'_>| {
            if token.turn.get() == 2 * n + me {
                return Poll::Ready(());
            }
            token.waker[me].set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        token.turn.set(token.turn.get() + 1);
        if let Some(waker) = token.waker[1 - me].take() {
            waker.wake();
        }
    }
}

async fn wakes(count: usize) -> f64 {
    let busy = Busy::start();
    let token = Rc::new(Token::default());
    let other = tokio::task::spawn_local(pass(token.clone(), 1, count / 2));
    tokio::task::spawn_local(pass(token, 0, count / 2))
        .await
        .expect("the task does not panic");
    other.await.expect("the task does not panic");
    busy.each(count)
}

async fn queues(count: usize) -> f64 {
    let busy = Busy::start();
    let ((there, mut input), (output, mut back)) =
        (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    tokio::spawn(async move {
        while let Some(n) = input.recv().await {
            output.send(n).expect("the receiver is there");
        }
    });
    for n in 0..count / 2 {
        there.send(n).expect("the receiver is there");
        black_box(back.recv().await);
    }
    busy.each(count)
}

async fn channel(count: usize) -> f64 {
    let (sender, mut receiver) = futures_mpsc::unbounded();
    let busy = Busy::start();
    let thread = std::thread::spawn(move || {
        for n in 0..count {
            sender.unbounded_send(n).expect("the receiver is there");
        }
    });
    while let Some(n) = receiver.next().await {
        black_box(n);
    }
    thread.join().expect("the thread does not panic");
    busy.each(count)
}

/// tokio has no calls from other threads: its own channel of closures is the closest.
async fn remote(count: usize) -> f64 {
    type Call = Box<dyn FnOnce() + Send>;
    let (sender, mut receiver) = mpsc::unbounded_channel::<Call>();
    let busy = Busy::start();
    let thread = std::thread::spawn(move || {
        for n in 0..count {
            let call: Call = Box::new(move || _ = black_box(n));
            assert!(sender.send(call).is_ok());
        }
    });
    while let Some(call) = receiver.recv().await {
        call();
    }
    thread.join().expect("the thread does not panic");
    busy.each(count)
}

async fn resets(count: usize) -> f64 {
    let mut sleeps: Vec<Pin<Box<Sleep>>> = (0..SLEEPS)
        .map(|_| Box::pin(tokio::time::sleep(FAR)))
        .collect();
    poll_fn(|cx| {
        for sleep in &mut sleeps {
            assert!(sleep.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    tokio::task::yield_now().await;
    let busy = Busy::start();
    for n in 0..count {
        // A task's budget allows 128 polls in a row.
        tokio::task::coop::unconstrained(poll_fn(|cx| {
            let sleep = &mut sleeps[scrambled(n)];
            sleep.as_mut().reset(Instant::now() + FAR);
            assert!(sleep.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        }))
        .await;
    }
    busy.each(count)
}

async fn timers(count: usize) -> f64 {
    let busy = Busy::start();
    let start = Instant::now() + Duration::from_secs(1);
    let step = Duration::from_secs(1) / count as u32;
    for n in 0..count {
        tokio::spawn(tokio::time::sleep_until(start + step * n as u32));
    }
    tokio::time::sleep_until(start + Duration::from_secs(1)).await;
    busy.each(count)
}

async fn late(count: usize) -> f64 {
    let start = Instant::now() + Duration::from_secs(1);
    let step = Duration::from_secs(1) / count as u32;
    let seen = Arc::new(Mutex::new(Vec::with_capacity(count)));
    for n in 0..count {
        let (seen, deadline) = (seen.clone(), start + step * n as u32);
        tokio::spawn(async move {
            tokio::time::sleep_until(deadline).await;
            seen.lock()
                .expect("no thread panics")
                .push(deadline.elapsed());
        });
    }
    // A timer may be late by a millisecond here.
    tokio::time::sleep_until(start + Duration::from_secs(2)).await;
    let seen = std::mem::take(&mut *seen.lock().expect("no thread panics"));
    super::median(seen, count)
}
