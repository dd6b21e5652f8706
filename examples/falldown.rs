//! A callback that panics: the loop goes on, and so does the next callback.
//!
//! Run `cargo run --example falldown`. Prints `Starting the reactor.`, then, on standard error, the
//! panic `I fall down.` with its location, and last `But I get up again.`

use torsade::Failure;

fn fall_down() {
    panic!("I fall down.");
}

fn main() -> Result<(), Failure> {
    println!("Starting the reactor.");
    torsade::run(async |reactor| {
        reactor.call_soon(fall_down);
        let again = reactor.clone();
        reactor.call_soon(move || {
            println!("But I get up again.");
            let _ = again.stop();
        });
        reactor.stopped().await
    })
}
