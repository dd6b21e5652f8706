//! Signals: a graceful stop, listeners, and floods. A process of its own: signals and their
//! handlers are the process's, and whoever else is in it would be told and stopped.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod flood;
mod graceful_stop;
mod listeners;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Signals are the process': those who send some take turns.
pub(crate) struct Alone {
    _turn: MutexGuard<'static, ()>,
}

pub(crate) fn alone() -> Alone {
    static TURNS: Mutex<()> = Mutex::new(());
    Alone {
        _turn: TURNS.lock().unwrap_or_else(PoisonError::into_inner),
    }
}
