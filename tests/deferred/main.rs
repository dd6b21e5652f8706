//! Deferreds: chains, awaiting, lists, Twisted's rules as tables, a model, and depth without a
//! stack.

#[macro_use]
extern crate support;

mod against_model;
mod await_rules;
mod chains;
mod conformance;
mod deferred_list;
mod no_stack;
