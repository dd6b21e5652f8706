//! What Twisted does, as tables of `(name, script, trace)`, each with one runner.

mod deferred;
mod lists;
mod making;
mod script;
mod timeouts;
