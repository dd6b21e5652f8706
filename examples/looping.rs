//! Repeated calls: on a grid, as ticks in async code, and long work in small steps while a ticker
//! ticks.
//!
//! Run `cargo run --example looping`. The time is virtual, so it ends at once. Prints `0 s: points:
//! 1`, `3 s: points: 3`, `6 s: points: 3`, `8.5 s: stopped`, `16.5 s: silence for 5 s`, `17 s: a
//! tick`, `19.5 s: a tick`, `22 s: a tick`, `24.5 s: the ticker`, `25.5 s: the ticker`, `26.5 s:
//! the ticker`, `26.75 s: the sum is 325`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use torsade::repeat::{MissedTicks, Slice};
use torsade::{Clock, Cooperator, Failure, LoopingCall, Reactor, defer_later, interval};

fn main() -> Result<(), Failure> {
    let reactor = Reactor::in_memory()?;
    reactor.run_until(show(&reactor))?
}

async fn show(reactor: &Reactor) -> Result<(), Failure> {
    let (clock, start) = (reactor.clone(), reactor.now());
    let say = move |what: &str| println!("{} s: {what}", (clock.now() - start).as_secs_f64());

    // Each call takes 2.5 s, so calls are made every third second; the argument counts the
    // intervals that a call stands for.
    let (tell, clock) = (say.clone(), reactor.clone());
    let slow = LoopingCall::with_count(move |n| {
        tell(&format!("points: {n}"));
        defer_later(&clock, SECOND * 5 / 2, || ())
    });
    let (looping, done) = slow.start(reactor, SECOND);
    reactor.sleep(SECOND * 7).await?;
    looping.stop();
    done.await?; // when the call that was under way has ended
    say("stopped");

    // A watchdog: each reset postpones it.
    let tell = say.clone();
    let silence = LoopingCall::new(move || tell("silence for 5 s"));
    let (watchdog, _) = silence.start_later(reactor, SECOND * 5);
    reactor.sleep(SECOND * 3).await?;
    watchdog.reset();
    reactor.sleep(SECOND * 11 / 2).await?;
    watchdog.stop();

    // Ticks for async code that is busy for longer than the interval.
    let mut ticks = interval(reactor, SECOND).missed_ticks(MissedTicks::Skip);
    for _ in 0..3 {
        ticks.tick().await?;
        say("a tick");
        reactor.sleep(SECOND * 5 / 2).await?;
    }

    // Long work in slices of ten steps, between which a ticker ticks.
    let tell = say.clone();
    let (ticker, _) = LoopingCall::new(move || tell("the ticker")).start(reactor, SECOND);
    let (rest, sum) = (SECOND * 3 / 4, Rc::new(Cell::new(0)));
    let slice = Slice {
        steps: 10,
        rest,
        ..Slice::default()
    };
    let adding = sum.clone();
    let work = (1..=25).map(move |n| adding.set(adding.get() + n));
    let task = Cooperator::with_slice(reactor, slice).cooperate(work);
    task.when_done().await?;
    ticker.stop();
    say(&format!("the sum is {}", sum.get()));
    Ok(())
}

const SECOND: Duration = Duration::from_secs(1);
