//! The IRC client: messages, registration, hooks and events, commands, and hostile servers.

#[macro_use]
extern crate support;

mod commands;
mod events;
mod hostile;
mod messages;
mod noting;
mod registration;
