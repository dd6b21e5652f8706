//! smol: its local executor and reactor on one thread.

use std::cell::Cell;
use std::future::poll_fn;
use std::hint::black_box;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_io::Timer;
use futures::StreamExt;
use futures::channel::mpsc;
use smol::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use smol::net::{TcpListener, TcpStream};
use smol::{LocalExecutor, future};

use super::{Busy, FAR, SLEEPS, announce, scrambled};
use crate::measure::Error;
use crate::rows::Work;

pub fn serve(work: Work) -> Result<(), Error> {
    let executor = LocalExecutor::new();
    async_io::block_on(executor.run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match work {
                Work::Lines { .. } => executor.spawn(echo_lines(stream)).detach(),
                Work::Echo { size, .. } if size > 4096 => {
                    executor.spawn(echo::<{ 64 * 1024 }>(stream)).detach();
                }
                _ => executor.spawn(echo::<4096>(stream)).detach(),
            }
        }
    }))
}

async fn echo<const SIZE: usize>(mut stream: TcpStream) {
    let mut buf = [0; SIZE];
    while let Ok(n @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..n]).await.is_err() {
            return;
        }
    }
}

async fn echo_lines(stream: TcpStream) {
    let mut reader = BufReader::new(stream.clone());
    let mut writer = BufWriter::new(stream);
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

pub fn run(work: Work, count: usize) -> Result<f64, Error> {
    let executor = LocalExecutor::new();
    let each = async_io::block_on(executor.run(async {
        match work {
            Work::Yield => executor.spawn(yields(count)).await,
            Work::Spawn(batch) => spawns(&executor, count, batch).await,
            Work::Wake => wakes(&executor, count).await,
            Work::Queue => queues(&executor, count).await,
            Work::Channel => executor.spawn(channel(count)).await,
            Work::Reset => executor.spawn(resets(count)).await,
            work => unreachable!("{work:?} is not among its rows"),
        }
    }));
    Ok(each)
}

async fn yields(count: usize) -> f64 {
    let busy = Busy::start();
    for _ in 0..count {
        future::yield_now().await;
    }
    busy.each(count)
}

async fn spawns(executor: &LocalExecutor<'_>, count: usize, batch: usize) -> f64 {
    let busy = Busy::start();
    for _ in 0..count / batch {
        let tasks: Vec<_> = (0..batch)
            .map(|n| executor.spawn(async move { n }))
            .collect();
        for task in tasks {
            black_box(task.await);
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

async fn wakes(executor: &LocalExecutor<'_>, count: usize) -> f64 {
    let busy = Busy::start();
    let token = Rc::new(Token::default());
    let other = executor.spawn(pass(token.clone(), 1, count / 2));
    executor.spawn(pass(token, 0, count / 2)).await;
    other.await;
    busy.each(count)
}

async fn queues(executor: &LocalExecutor<'_>, count: usize) -> f64 {
    let busy = Busy::start();
    let ((there, input), (output, back)) = (async_channel::unbounded(), async_channel::unbounded());
    let other = executor.spawn(async move {
        while let Ok(n) = input.recv().await {
            output.send(n).await.expect("the receiver is there");
        }
    });
    for n in 0..count / 2 {
        there.send(n).await.expect("the receiver is there");
        let _ = black_box(back.recv().await);
    }
    drop(other);
    busy.each(count)
}

async fn channel(count: usize) -> f64 {
    let (sender, mut receiver) = mpsc::unbounded();
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

async fn resets(count: usize) -> f64 {
    let mut sleeps: Vec<Timer> = (0..SLEEPS).map(|_| Timer::after(FAR)).collect();
    let mut poll = |number: usize, cx: &mut Context<'_>| {
        let sleep = &mut sleeps[number];
        sleep.set_at(Instant::now() + FAR);
        assert!(std::pin::Pin::new(sleep).poll(cx).is_pending());
    };
    poll_fn(|cx| {
        (0..SLEEPS).for_each(|number| poll(number, cx));
        Poll::Ready(())
    })
    .await;
    let busy = Busy::start();
    poll_fn(|cx| {
        (0..count).for_each(|number| poll(scrambled(number), cx));
        Poll::Ready(())
    })
    .await;
    busy.each(count)
}
