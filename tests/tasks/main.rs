//! Tasks and the sources of their work: scopes, budgets, fairness, looping, time limits, threads.

#[macro_use]
extern crate support;

mod budgets;
mod fairness;
mod looping;
mod scopes;
mod thread_pools;
mod threads;
mod time_limits;
mod tokio;
