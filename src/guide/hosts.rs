//! Hosts: a reactor inside the loop of another library.
//!
//! A program may have a loop already: a window's, a game's, tokio's. The reactor is then that
//! loop's guest, on the same thread. [`Reactor::start`](crate::Reactor::start) begins the run, and
//! states the rules; the host then
//!
//! 1. waits until the reactor's descriptor ([`AsFd`](std::os::fd::AsFd)) is readable, or for
//!    [`Reactor::poll_timeout`](crate::Reactor::poll_timeout), whichever is shorter;
//! 2. calls [`Reactor::run_until_current`](crate::Reactor::run_until_current), and
//!    [`do_iteration(Some(Duration::ZERO))`](crate::Reactor::do_iteration);
//! 3. repeats both until [`Reactor::has_ended`](crate::Reactor::has_ended).
//!
//! The host's code may call the reactor between two turns: a request makes the descriptor readable.
//!
//! | host | how it waits | example |
//! |---|---|---|
//! | tokio | an `AsyncFd` of the descriptor, in a `timeout` | [`tokio_host`](crate::guide::examples#tokio_host) |
//! | calloop | a `Generic` source of the reactor, and the timeout of `dispatch` | [`calloop_host`](crate::guide::examples#calloop_host) |
//! | poll(2) | one more entry of the list | [`poll_host`](crate::guide::examples#poll_host) |
//! | glib, GTK | `unix_fd_add_local`, and a timer | below |
//!
//! # glib
//!
//! glib has no timeout for a wait that can be set from outside, so the next deadline is a source of
//! its own, which is made anew after each turn. (Not tested here: `glib` 0.20.)
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
