//! Work in other threads, and other threads that have something done by the loop.
//!
//! Run `cargo run --example threads`. Prints `the sum is 4999950000`, `a panic there is a failure here: oh`,
//! `called off: the work was cancelled`, `on the loop's thread: true`, `a thread has waited for 42`.

use std::rc::Rc;
use std::thread;

use torsade::{Cancelled, Failure};

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        // What blocks or takes long goes to a thread of the reactor's pool; the loop goes on meanwhile.
        let sum = reactor.defer_to_thread(|| Ok((0..100_000_u64).sum::<u64>()));
        println!("the sum is {}", sum.await?);

        let failure = reactor.defer_to_thread::<()>(|| std::panic::resume_unwind(Box::new("oh")));
        if let Err(failure) = failure.await {
            let panic = failure.to_string();
            println!(
                "a panic there is a failure here: {}",
                panic.trim_start_matches("panicked: ")
            );
        }

        // Work that may take for ever looks whether anybody still waits for it.
        let endless = reactor.defer_to_thread_with(|token| {
            loop {
                token.check()?;
                thread::yield_now();
            }
        });
        let endless: torsade::Deferred<()> = endless;
        endless.cancel();
        if endless
            .await
            .is_err_and(|failure| failure.is::<Cancelled>())
        {
            println!("called off: the work was cancelled");
        }

        // The other way round: any thread may have something done here, and wait for it.
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
            .defer_to_thread(move || there.join().expect("it does not panic"))
            .await
    })
}
