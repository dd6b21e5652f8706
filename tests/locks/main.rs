//! Locks, semaphores, queues and events: waiters, use without a loop, a model, files, debug mode.

#[macro_use]
extern crate support;

mod against_model;
mod debug;
mod filesystem;
mod no_loop;
mod waiters;
