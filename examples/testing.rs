//! Testing without waiting: a year of timers, and a connection without a socket.
//!
//! Run `cargo run --example testing`. Prints `a year went by: 12 reminders`, `silent for 9 s: still
//! connected`, and `silent for 10 s: told "bye" and hung up`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use torsade::testing::Wire;
use torsade::{Clock, Context, DelayedCall, Failure, Protocol, VirtualClock};

/// Takes any clock, so also one whose time is advanced by hand.
fn remind_monthly(clock: &(impl Clock + Clone + 'static), reminders: &Rc<Cell<u32>>) {
    let (again, count) = (clock.clone(), reminders.clone());
    clock.call_later(MONTH, move || {
        count.set(count.get() + 1);
        remind_monthly(&again, &count);
    });
}

/// Echoes, and closes the connection after ten seconds of silence.
#[derive(Default)]
struct Impatient {
    patience: Option<DelayedCall>,
}

impl Protocol for Impatient {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.patience = Some(cx.call_later(SECOND * 10, |_me, cx| {
            cx.write("bye");
            cx.lose_connection();
        }));
    }

    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
        if let Some(call) = &self.patience {
            call.reset(SECOND * 10);
        }
    }
}

fn main() -> Result<(), Failure> {
    let (clock, reminders) = (VirtualClock::new(), Rc::default());
    remind_monthly(&clock, &reminders);
    clock.pump([MONTH; 12]);
    println!("a year went by: {} reminders", reminders.get());

    let mut wire = Wire::new(Impatient::default());
    wire.advance(SECOND * 5);
    wire.send("hello");
    assert_eq!(wire.take_received(), b"hello");

    wire.advance(SECOND * 9);
    assert!(!wire.is_closed());
    println!("silent for 9 s: still connected");

    wire.advance(SECOND);
    assert!(wire.is_closed());
    let last = String::from_utf8(wire.take_received())?;
    println!("silent for 10 s: told {last:?} and hung up");
    Ok(())
}

const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
