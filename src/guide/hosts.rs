//! Hosts: a reactor inside the loop of another library.
//!
//! A program may already have an event loop: of a GUI, a game, tokio. That loop, the *host*, can
//! drive the reactor, its *guest*, on the same thread.
//! [`Reactor::start`](crate::Reactor::start), which has all of the rules, begins the run. The host
//! then repeats these steps until [`Reactor::has_ended`](crate::Reactor::has_ended) returns `true`:
//!
//! 1. It waits until the reactor's descriptor ([`AsFd`](std::os::fd::AsFd)) is readable, for at
//!    most [`Reactor::poll_timeout`](crate::Reactor::poll_timeout).
//! 2. It calls [`Reactor::run_until_current`](crate::Reactor::run_until_current), and then
//!    [`do_iteration(Some(Duration::ZERO))`](crate::Reactor::do_iteration). Together they are one
//!    turn of the reactor.
//!
//! [`Reactor::finish`](crate::Reactor::finish) ends a run that has not ended yet.
//!
//! The host's code may call methods of the reactor between two turns; such a call, for example
//! `write` or `spawn`, makes the descriptor readable.
//!
//! | host | how the host waits | example |
//! |---|---|---|
//! | tokio | on an `AsyncFd` of the descriptor, in a `timeout` | [`tokio_host`](crate::guide::examples#tokio_host) |
//! | calloop | on a `Generic` source of the reactor, with the timeout of `dispatch` | [`calloop_host`](crate::guide::examples#calloop_host) |
//! | poll(2) | with one more entry in its list of descriptors | [`poll_host`](crate::guide::examples#poll_host) |
//! | glib, GTK | with `unix_fd_add_local`, and a timer | below |
//!
//! # glib
//!
//! A program cannot set the timeout with which glib waits. So a timer of glib stands for the
//! reactor's next deadline, and is replaced after each turn. (`glib` 0.20; this example is not
//! tested.)
//!
//! ```text
//! use std::cell::RefCell;
//! use std::os::fd::{AsFd, AsRawFd};
//! use std::rc::Rc;
//! use glib::{ControlFlow, IOCondition, SourceId};
//!
//! /// Turns the reactor, and arranges the next turn.
//! fn turn(reactor: &Reactor, main_loop: &glib::MainLoop, timer: &Rc<RefCell<Option<SourceId>>>) {
//!     if let Some(before) = timer.take() {
//!         before.remove();
//!     }
//!     reactor.run_until_current();
//!     reactor.do_iteration(Some(Duration::ZERO));
//!     if reactor.has_ended() {
//!         return main_loop.quit();
//!     }
//!     if let Some(timeout) = reactor.poll_timeout() {
//!         let (reactor, main_loop, own) = (reactor.clone(), main_loop.clone(), timer.clone());
//!         // Rounded up: glib counts milliseconds, and a timer that comes early has nothing to do.
//!         let timeout = timeout + Duration::from_micros(999);
//!         let next = glib::timeout_add_local_once(timeout, move || {
//!             own.take(); // a source that has run must not be removed
//!             turn(&reactor, &main_loop, &own);
//!         });
//!         *timer.borrow_mut() = Some(next);
//!     }
//! }
//!
//! let timer = Rc::new(RefCell::new(None));
//! reactor.start()?;
//! turn(&reactor, &main_loop, &timer);
//! let descriptor = reactor.as_fd().as_raw_fd();
//! let (guest, own) = (reactor.clone(), main_loop.clone());
//! glib::unix_fd_add_local(descriptor, IOCondition::IN, move |_, _| {
//!     turn(&guest, &own, &timer);
//!     ControlFlow::Continue
//! });
//! main_loop.run();
//! reactor.finish()?;
//! ```
