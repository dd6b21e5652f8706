//! A deadlock, and the dump that explains it: two tasks take two locks in opposite order.
//!
//! Run `cargo run --example why`. Prints `stuck; this is why:` and a tree: the task `writer` waits,
//! at the line that requested the second lock, for a lock that the task `reader` has held since the
//! line before; `reader` waits for a lock that `writer` holds, which the tree calls `a deadlock`.
//! (SIGUSR1 prints this tree for any program: see `dumps_on_signal`.)

use std::time::Duration;

use torsade::{Clock, DeferredLock, Failure, Reactor};

/// Takes two locks, one after the other.
async fn work(reactor: Reactor, first: DeferredLock, second: DeferredLock) -> Result<(), Failure> {
    let _first = first.acquire().await?;
    reactor.sleep(Duration::from_millis(1)).await?;
    let _second = second.acquire().await?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let reactor = Reactor::builder().debug(true).build()?;
    reactor.run_until(async {
        let (pen, page) = (DeferredLock::default(), DeferredLock::default());
        let writer = work(reactor.clone(), pen.clone(), page.clone());
        let reader = work(reactor.clone(), page, pen);
        let tasks = [
            reactor.spawn_named("writer", writer),
            reactor.spawn_named("reader", reader),
        ];
        reactor.sleep(Duration::from_millis(20)).await?;
        if tasks.iter().all(|task| !task.is_finished()) {
            println!("stuck; this is why:\n{}", reactor.dump());
        }
        for task in tasks {
            drop(task.cancel());
        }
        Ok(())
    })?
}
