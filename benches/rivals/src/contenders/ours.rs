//! torsade.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::channel::mpsc;
use torsade::clock::Sleep;
use torsade::net::ListenOptions;
use torsade::protocols::{FrameProtocol, LineCodec, LineProtocol, Lines};
use torsade::{Clock, Connection, Context, DeferredQueue, Failure, Protocol, Reactor};

use super::{Busy, FAR, SLEEPS, announce, scrambled};
use crate::measure::Error;
use crate::rows::Work;

pub(super) struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

pub fn serve_protocol(work: Work) -> Result<(), Error> {
    let options = ListenOptions::new().backlog(1024);
    torsade::run(async |reactor| {
        let port = match work {
            Work::Lines {
                has_codec: true, ..
            } => reactor.listen(("127.0.0.1:0", &options), |_peer| EchoFrames(codec()))?,
            Work::Lines { .. } => {
                reactor.listen(("127.0.0.1:0", &options), |_peer| Lines::new(EchoLines))?
            }
            _ => reactor.listen(("127.0.0.1:0", &options), |_peer| Echo)?,
        };
        announce(port.local_addr().inet().expect("an IP address"));
        std::future::pending().await
    })?;
    Ok(())
}

pub fn serve_async(work: Work) -> Result<(), Error> {
    let options = ListenOptions::new().backlog(1024);
    torsade::run(async |reactor| {
        let port = match work {
            Work::Lines {
                has_codec: true, ..
            } => reactor.serve(("127.0.0.1:0", &options), echo_frames)?,
            Work::Lines { .. } => reactor.serve(("127.0.0.1:0", &options), echo_lines)?,
            Work::Echo { size, .. } if size > 4096 => {
                reactor.serve(("127.0.0.1:0", &options), echo::<{ 64 * 1024 }>)?
            }
            _ => reactor.serve(("127.0.0.1:0", &options), echo::<4096>)?,
        };
        announce(port.local_addr().inet().expect("an IP address"));
        std::future::pending().await
    })?;
    Ok(())
}

struct EchoLines;

impl LineProtocol for EchoLines {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        cx.send_line(line);
    }
}

pub(super) async fn echo<const SIZE: usize>(mut conn: Connection) -> Result<(), Failure> {
    let mut buf = [0; SIZE];
    loop {
        match conn.read(&mut buf).await? {
            0 => return Ok(()),
            n => conn.write_all(&buf[..n]).await?,
        }
    }
}

async fn echo_lines(mut conn: Connection) -> Result<(), Failure> {
    let mut line = Vec::new();
    while conn.read_line_into(4096, &mut line).await? {
        conn.send_line(&line).await?;
    }
    Ok(())
}

fn codec() -> LineCodec {
    LineCodec::delimited(&b"\n"[..])
}

struct EchoFrames(LineCodec);

impl FrameProtocol for EchoFrames {
    type Codec = LineCodec;

    fn codec(&mut self) -> &mut LineCodec {
        &mut self.0
    }

    fn frame_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        if self.send(cx, line).is_err() {
            cx.lose_connection();
        }
    }
}

async fn echo_frames(conn: Connection) -> Result<(), Failure> {
    let mut lines = conn.framed(codec());
    while let Some(line) = lines.next().await {
        lines.send(line?).await?;
    }
    Ok(())
}

pub fn run(work: Work, count: usize) -> Result<f64, Error> {
    let reactor = Reactor::new()?;
    let each = reactor.run_until(async {
        match work {
            Work::Yield => in_a_task(yields(count)).await,
            Work::Spawn(batch) => in_a_task(spawns(count, batch)).await,
            Work::Wake => in_a_task(wakes(count)).await,
            Work::Queue => in_a_task(queues(count)).await,
            Work::Channel => in_a_task(channel(count)).await,
            Work::Remote => remote(&reactor, count).await,
            Work::Reset => in_a_task(resets(reactor.clone(), count)).await,
            Work::Timers => timers(&reactor, count).await,
            Work::Late => late(&reactor, count).await,
            work => unreachable!("{work:?} has a server"),
        }
    })?;
    Ok(each)
}

async fn in_a_task(work: impl Future<Output = f64> + 'static) -> f64 {
    torsade::spawn(work).await.expect("the task does not panic")
}

async fn yields(count: usize) -> f64 {
    let busy = Busy::start();
    for _ in 0..count {
        torsade::yield_now().await;
    }
    busy.each(count)
}

async fn spawns(count: usize, batch: usize) -> f64 {
    let busy = Busy::start();
    for _ in 0..count / batch {
        let tasks: Vec<_> = (0..batch)
            .map(|n| torsade::spawn(async move { n }))
            .collect();
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
        poll_fn(|cx: &mut TaskContext<'_>| {
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
    let other = torsade::spawn(pass(token.clone(), 1, count / 2));
    torsade::spawn(pass(token, 0, count / 2))
        .await
        .expect("the task does not panic");
    other.await.expect("the task does not panic");
    busy.each(count)
}

async fn queues(count: usize) -> f64 {
    let busy = Busy::start();
    let (there, back) = (DeferredQueue::new(), DeferredQueue::new());
    let (input, output) = (there.clone(), back.clone());
    torsade::spawn(async move {
        while let Ok(n) = input.get().await {
            output.put(n).expect("the queue has no limit");
        }
    })
    .detach();
    for n in 0..count / 2 {
        there.put(n).expect("the queue has no limit");
        black_box(back.get().await.expect("the other task answers"));
    }
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

async fn remote(reactor: &Reactor, count: usize) -> f64 {
    let (remote, busy) = (reactor.remote(), Busy::start());
    let (done, resolver) = torsade::Deferred::pair();
    let resolver = Rc::new(RefCell::new(Some(resolver)));
    RESOLVER.set(Some(resolver));
    let thread = std::thread::spawn(move || {
        for n in 1..=count {
            let call = move || {
                if n == count {
                    let resolver = RESOLVER.take().expect("it was put there");
                    let resolver = resolver.take().expect("it is fired once");
                    resolver.callback(());
                }
                black_box(n);
            };
            remote.call(call).expect("the reactor runs");
        }
    });
    done.await.expect("it is fired");
    thread.join().expect("the thread does not panic");
    busy.each(count)
}

type LastCall = Rc<RefCell<Option<torsade::Resolver<()>>>>;

thread_local! {
    /// The resolver that the last call from the other thread fires.
    static RESOLVER: Cell<Option<LastCall>> = const { Cell::new(None) };
}

async fn resets(reactor: Reactor, count: usize) -> f64 {
    let mut sleeps: Vec<Pin<Box<Sleep>>> =
        (0..SLEEPS).map(|_| Box::pin(reactor.sleep(FAR))).collect();
    poll_fn(|cx| {
        for sleep in &mut sleeps {
            assert!(sleep.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    torsade::yield_now().await;
    let busy = Busy::start();
    poll_fn(|cx| {
        for n in 0..count {
            let sleep = &mut sleeps[scrambled(n)];
            sleep.reset(Instant::now() + FAR);
            assert!(sleep.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    busy.each(count)
}

async fn timers(reactor: &Reactor, count: usize) -> f64 {
    let busy = Busy::start();
    let start = reactor.now() + Duration::from_secs(1);
    let step = Duration::from_secs(1) / count as u32;
    let fired = Rc::new(Cell::new(0));
    for n in 0..count {
        let fired = fired.clone();
        reactor.call_at(start + step * n as u32, move || fired.set(fired.get() + 1));
    }
    reactor
        .sleep_until(start + Duration::from_secs(1))
        .await
        .expect("the reactor runs");
    assert_eq!(fired.get(), count);
    busy.each(count)
}

/// Returns the median lateness of the timers.
async fn late(reactor: &Reactor, count: usize) -> f64 {
    let start = reactor.now() + Duration::from_secs(1);
    let step = Duration::from_secs(1) / count as u32;
    let seen = Rc::new(RefCell::new(Vec::with_capacity(count)));
    for n in 0..count {
        let (seen, deadline) = (seen.clone(), start + step * n as u32);
        reactor.call_at(deadline, move || seen.borrow_mut().push(deadline.elapsed()));
    }
    reactor
        .sleep_until(start + Duration::from_secs(1))
        .await
        .expect("the reactor runs");
    super::median(seen.take(), count)
}
