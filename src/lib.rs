//! An event loop on one thread: reactor, Deferreds, protocols and transports, with async/await.
#![doc = ""]
// The targets of the README's links in the documentation; the first definition of a link counts.
#![doc = include_str!("guide/links.md")]
#![doc = include_str!("guide/pictures.md")]
#![doc = include_str!("../README.md")]
#![doc = "\n# Terms\n\nThe [glossary](guide::glossary) defines the terms of the crate.\n"]
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod bytes;
mod cells;
pub mod clock;
mod context;
mod debug;
pub mod defer;
mod driver;
pub mod failure;
mod framing;
pub mod guide;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
#[cfg(feature = "hyper")]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub mod hyper;
mod index;
pub mod locks;
pub mod net;
pub mod prelude;
#[cfg(unix)]
pub mod process;
pub mod protocol;
pub mod protocols;
mod queue;
pub mod reactor;
pub mod repeat;
#[doc(alias = "startLogging")]
pub mod report;
pub mod scope;
pub mod services;
mod settings;
mod signal;
pub mod signals;
mod slots;
mod spans;
pub mod stream;
mod sync;
pub mod task;
#[cfg(any(doc, feature = "testing"))]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
pub mod threads;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub mod tls;
#[cfg(feature = "tokio-rt")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio-rt")))]
pub mod tokio;
pub mod transport;

#[doc(alias("IAddress", "IPv4Address", "IPv6Address", "UNIXAddress", "PipeAddress"))]
pub use crate::address::Address;
pub use crate::clock::{Clock, DelayedCall, VirtualClock};
pub use crate::defer::{Deferred, Resolver};
pub use crate::failure::{Cancelled, Failure};
pub use crate::locks::{DeferredLock, DeferredQueue, DeferredSemaphore};
pub use crate::net::Port;
pub use crate::net::datagram::{DatagramPort, DatagramProtocol, UdpSocket};
pub use crate::protocol::{Context, Factory, Handle, Protocol};
#[cfg(unix)]
pub use crate::reactor::{Descriptor, Watch};
pub use crate::reactor::{OnPanic, Phase, Reactor, ReactorBuilder, Remote, run};
pub use crate::repeat::{Cooperator, Looping, LoopingCall, defer_later, interval};
#[doc(alias("signalProcess", "signum", "SignalKind", "Signals"))]
pub use crate::signal::Signal;
pub use crate::stream::Connection;
pub use crate::task::{Task, spawn, yield_now};
pub use crate::transport::{ConnectionError, Group, Transport};
