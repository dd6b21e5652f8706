//! Work in other threads, and other threads that call functions on the loop's thread.
//!
//! Run `cargo run --example threads`. Prints `the sum is 4999950000`, `called off: timed out after
//! 50ms`, `on the loop's thread: true`, `a thread has waited for 42`.

use std::rc::Rc;
use std::thread;
use std::time::Duration;

use torsade::{Failure, threads::CancelToken};

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        // Blocking or long work runs on a thread of the reactor's pool; the loop goes on meanwhile.
        let sum = reactor.spawn_blocking(|| Ok((0..100_000_u64).sum::<u64>()));
        println!("the sum is {}", sum.await?);

        // Endless work checks whether it was cancelled.
        let endless = reactor.spawn_blocking::<()>(|| {
            let token = CancelToken::current();
            loop {
                token.check()?;
                thread::yield_now();
            }
        });
        if let Err(failure) = endless.timeout(Duration::from_millis(50), &reactor).await {
            println!("called off: {failure}");
        }

        // Conversely, any thread can call a function on the loop's thread and wait for the result.
        let (home, remote) = (thread::current().id(), reactor.remote());
        let there = thread::spawn(move || {
            remote.call(move || {
                println!("on the loop's thread: {}", thread::current().id() == home);
            })?;
            let task = remote.spawn(|| async {
                let only_here = Rc::new(40);
                torsade::yield_now().await;
                *only_here + 2
            })?;
            let answer = task.join()?;
            println!("a thread has waited for {answer}");
            Ok::<_, Failure>(())
        });
        reactor
            .spawn_blocking(move || there.join().expect("it does not panic"))
            .await
    })
}
