//! Timers: scheduling, postponing and cancelling calls.
//!
//! Run `cargo run --example timers`. Prints `tick 1`, `tick 2`, `late`, and never `never`.

use std::time::Duration;

use torsade::{Clock, Failure};

fn main() -> Result<(), Failure> {
    let ms = Duration::from_millis;
    torsade::run(async |reactor| {
        reactor.call_later(ms(10), || println!("tick 1"));
        reactor.call_later(ms(20), || println!("tick 2"));

        let late = reactor.call_later(ms(5), || println!("late"));
        late.reset_at(reactor.now() + ms(30));

        let never = reactor.call_later(ms(25), || println!("never"));
        assert!(never.cancel());
        assert!(!never.is_pending());

        reactor.sleep(ms(40)).await?;
        assert!(!late.is_pending());
        Ok(())
    })
}
