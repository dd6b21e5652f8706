//! The guide: how to write programs with this crate, page by page.
//!
//! Every program on these pages is compiled and run with the tests. Begin with
//! [a first server](first_server); the [glossary] explains the words.
//!
//! How to do things:
//!
//! * [A first server](first_server), as a protocol and as an async function
//! * [Protocols](protocols): codecs, frames, wrappers and policies
//! * [A protocol and its tests](testing_protocols), without a network
//! * [Cancelling and time limits](cancelling)
//! * [Back-pressure](back_pressure)
//! * [TLS](tls): certificates, STARTTLS, and tests of both
//! * [HTTP](http): pages, agents, limits, and what other crates do
//! * [Errors](errors): `Failure` and `?`, and how to match on the cause
//! * [Threads and processes](threads_and_processes): work that must not hold up the loop
//! * [Debugging](debugging): how to find out why a program is stuck or slow
//! * [Deploying](deploying): signals, sockets from systemd, a graceful stop
//! * [Crates](crates): which other crates run on torsade, and how
//!
//! For readers who know another runtime:
//!
//! * [From Twisted](from_twisted) and [From tokio](from_tokio): what differs, and which name here
//!   corresponds to which name there
//! * [Deferreds for those who know futures](deferreds)
//! * [Futures for those who know Deferreds](futures)
//!
//! Reference pages:
//!
//! * [Glossary](glossary): the terms that this crate defines
//! * [Limits](limits): what is limited, by how much, and what happens at the limit
//! * [Stability](stability): what is promised, and what is not
//! * [Architecture](architecture): the modules, the dependencies, and what was tested where
//! * [Hosts](hosts): a reactor inside the loop of tokio, calloop, glib, or a program's own
//! * [Pollers](pollers): how a reactor waits, which way to choose, and what each costs
//! * [Figures](figures): speed and memory, beside other runtimes
//! * [Paths](paths): the functions that run for a byte, a timer, a Deferred, work on a thread and a
//!   child process
//! * [Examples](examples): the example programs in full

pub mod architecture;
pub mod back_pressure;
pub mod cancelling;
pub mod crates;
pub mod debugging;
pub mod deferreds;
pub mod deploying;
pub mod errors;
pub mod examples;
pub mod figures;
pub mod first_server;
pub mod from_tokio;
pub mod from_twisted;
pub mod futures;
pub mod glossary;
pub mod hosts;
#[cfg(feature = "http")]
pub mod http;
pub mod limits;
pub mod paths;
pub mod pollers;
pub mod protocols;
pub mod stability;
pub mod testing_protocols;
pub mod threads_and_processes;
#[cfg(feature = "tls")]
pub mod tls;
