//! A `Deferred` is a future: await one, wait for several at once, set a time limit.
//!
//! Run `cargo run --example await_deferred`. Prints `slept`, `6 times 7 is 42`, `both: 1 and 4`,
//! and `too slow: timed out after 20ms`.

use std::time::Duration;

use torsade::clock::TimedOut;
use torsade::{Clock, Deferred, Failure, Reactor};

/// Multiplies slowly. Cancelling the Deferred, or dropping its future, stops the work.
fn multiply(reactor: &Reactor, a: u32, b: u32, takes: Duration) -> Deferred<u32> {
    let hard_work = reactor.sleep(takes);
    Deferred::from_future(async move {
        hard_work.await?;
        Ok(a * b)
    })
}

fn main() -> Result<(), Failure> {
    let ms = Duration::from_millis;
    torsade::run(async |reactor| {
        reactor.sleep(ms(10)).await?;
        println!("slept");

        println!("6 times 7 is {}", multiply(&reactor, 6, 7, ms(10)).await?);

        // Both run before the first is awaited.
        let one = multiply(&reactor, 1, 1, ms(10));
        let four = multiply(&reactor, 2, 2, ms(10));
        println!("both: {} and {}", one.await?, four.await?);

        let slow = multiply(&reactor, 1_000, 1_000, Duration::from_secs(3_600));
        match slow.timeout(ms(20), &reactor).await {
            Ok(product) => println!("got {product}"),
            // Any other failure is returned to the caller.
            Err(failure) => println!("too slow: {}", failure.trap::<TimedOut>()?),
        }
        Ok(())
    })
}
