//! Signals: a graceful stop, listeners, and floods. A separate process, because signals and
//! handlers belong to the process and would affect every other test in it.

#[macro_use]
extern crate support;

mod flood;
mod graceful_stop;
mod listeners;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Signals belong to the process: tests that send some take turns.
pub(crate) struct Alone {
    _turn: MutexGuard<'static, ()>,
}

pub(crate) fn alone() -> Alone {
    static TURNS: Mutex<()> = Mutex::new(());
    Alone {
        _turn: TURNS.lock().unwrap_or_else(PoisonError::into_inner),
    }
}
