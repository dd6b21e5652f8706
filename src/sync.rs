//! The one door to what threads share, so that a model checker can stand behind it.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Arc, Mutex, OnceLock, PoisonError};
