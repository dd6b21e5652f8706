//! The IRC client: messages, registration, hooks and events, commands, and hostile servers.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod commands;
mod events;
mod hostile;
mod messages;
mod noting;
mod registration;
