//! Glossary: the terms that this crate defines or takes from Twisted.
//!
//! # The reactor
//!
//! ## Reactor
//! The event loop of one thread with everything it owns: connections, timers, tasks and signals. A
//! [`Reactor`](crate::Reactor) is a cheap handle; clones are the same reactor.
//!
//! ## Turn
//! One pass of the loop: it takes in what other threads sent, fires the timers that are due, runs
//! tasks, sends what was written, waits, and handles the events. User code runs inside of a turn
//! only. [`Reactor::iterate`](crate::Reactor::iterate) makes one turn.
//!
//! ## Step
//! One of these parts of a turn. Each step has a limit, so that none keeps the others from their
//! work; see [limits](super::limits).
//!
//! ## Event
//! An *I/O event* says that a socket or descriptor is ready; the driver reports it, and the turn
//! handles it. A *system event* has a name (`startup`, `shutdown`, or one of the program's own),
//! and *triggers* run before, during and after it; see
//! [`Reactor::add_system_event_trigger`](crate::Reactor::add_system_event_trigger). The type
//! [`locks::Event`](crate::locks::Event) is neither: it is a flag that Deferreds wait for.
//!
//! ## Hook
//! A method that the reactor calls upon an event: of a protocol, a factory, a watched descriptor, a
//! process. Hooks run in a turn, one at a time, and never inside a method of a handle.
//!
//! ## Handler
//! The code that serves a connection: a protocol, or the async function given to
//! [`Reactor::serve`](crate::Reactor::serve).
//!
//! ## Batch
//! The tasks and calls that were ready when a round of the executor began. What becomes ready
//! during a batch waits for the next one; see [`task`](crate::task).
//!
//! ## Driver
//! The part of the reactor that talks to the world: sockets, time, processes, randomness. The
//! *machine driver* uses the operating system. The *memory driver*
//! ([`Reactor::in_memory`](crate::Reactor::in_memory)) replaces it by a network in memory, with
//! virtual time and faults on request; programs run unchanged on both.
//!
//! ## Poller
//! The system call by which the machine driver waits for events: epoll, kqueue or poll; see
//! [pollers](super::pollers).
//!
//! ## Clock
//! A source of time and of timers: a reactor, or a [`VirtualClock`](crate::VirtualClock) in tests;
//! see [`Clock`](crate::Clock).
//!
//! ## Delayed call
//! A closure that a clock calls once, at a later time. A [`DelayedCall`](crate::DelayedCall) is its
//! handle, which cancels or resets it; dropping the handle changes nothing.
//!
//! ## Virtual time
//! Time that moves only when nothing is left to do, or on request
//! ([`VirtualClock`](crate::VirtualClock)): an hour of timeouts passes in no time, and always in
//! the same order.
//!
//! ## Descriptor
//! A file descriptor of the operating system that the reactor watches for the program, with its
//! hooks; see [`Descriptor`](crate::Descriptor).
//!
//! ## Stop, stopped
//! To *stop* is to request an end, which may take time: `stop` returns at once, or returns a
//! Deferred that fires at the end. *Stopped* is what follows: the hook of that name is called when
//! the end is reached, as by [`Factory::stopped`](crate::Factory::stopped). For the reactor it is
//! the moment of the request: [`Reactor::stopped`](crate::Reactor::stopped) is ready when the stop
//! was requested, so that a program can still finish its work.
//!
//! ## Grace
//! The time that a stopping reactor gives to connections to send what is queued, and to threads to
//! finish; see [`Grace`](crate::reactor::Grace).
//!
//! ## Remote
//! The handle to a reactor that other threads use, the only one that can be sent to them; see
//! [`Remote`](crate::Remote).
//!
//! ## Report
//! The record of a panic or failure that was not handled, with the line of its origin; see
//! [`report`](crate::report).
//!
//! # The network
//!
//! ## Connection
//! A stream of bytes in both directions between this program and a peer. For async code it is a
//! [`Connection`](crate::Connection), which is read and written; a protocol reaches it through its
//! context.
//!
//! ## Transport
//! What carries the bytes of one connection: a socket, a pipe, a terminal, or a connection in
//! memory. Code writes to it and closes it with a [`Transport`](crate::Transport).
//!
//! ## Protocol
//! A type whose methods are called for the events of one connection: made, data received, lost. See
//! [`Protocol`](crate::Protocol).
//!
//! ## Frame
//! One message in a stream of bytes: a line, a netstring, a record with a length; see
//! [`FrameProtocol`](crate::protocols::FrameProtocol).
//!
//! ## Codec
//! A value that finds frames in bytes and writes them, and does no I/O; see
//! [`Decoder`](crate::protocols::Decoder) and [`Encoder`](crate::protocols::Encoder).
//!
//! ## Policy
//! A limit or an observer of a connection, which applies whatever serves it; see
//! [`Policy`](crate::transport::Policy).
//!
//! ## Factory
//! What makes the protocol of each new connection: a closure, or a [`Factory`](crate::Factory) that
//! the connections share.
//!
//! ## Context
//! The argument through which a protocol's methods reach their transport and reactor; see
//! [`Context`](crate::Context).
//!
//! ## Handle
//! A reference to the protocol of a connection, through which other code posts calls to it and
//! waits for its end; see [`Handle`](crate::Handle).
//!
//! ## Endpoint
//! A description of where to listen or connect, with all options, as a value or as text
//! (`tcp:80`); see [`ServerEndpoint`](crate::net::ServerEndpoint) and
//! [`ClientEndpoint`](crate::net::ClientEndpoint).
//!
//! ## Port
//! A listening socket that accepts connections, as the program sees it; see [`Port`](crate::Port).
//! (The number is called a port number.)
//!
//! ## Lose, abort
//! To *lose* a connection (Twisted's word) is to close it in good order: queued bytes are sent
//! first, as by [`Transport::lose_connection`](crate::Transport::lose_connection). To *abort* it is
//! to end it at once: queued bytes are dropped, and the peer sees a reset. `connection_lost` is
//! called in both cases, and when the connection breaks.
//!
//! ## High-water mark
//! The number of queued bytes from which on a transport counts as full: it stops reading from its
//! peer, and producers pause, until the queue is down to the *low-water mark*. See
//! [`Limits`](crate::transport::Limits).
//!
//! ## Producer
//! A source of bytes for a transport that can be paused and resumed, so that it produces only what
//! the peer accepts; see [`transport`](crate::transport).
//!
//! ## Consumer
//! The receiver of what a producer produces: a transport, or in case of a [Deferred](#deferred) the
//! code that gets its result.
//!
//! ## Linger
//! The time for which a closed socket is kept, without its protocol, so that the peer gets what was
//! sent last; see [limits](super::limits#connections).
//!
//! # Deferreds
//!
//! ## Deferred
//! A result that will be there later: a future that can also run callbacks. See
//! [`Deferred`](crate::Deferred).
//!
//! ## Resolver
//! The other end of a Deferred, which brings the result; see [`Resolver`](crate::Resolver).
//!
//! ## Firing
//! Bringing the result of a Deferred. Firing is a call: the callbacks that can run have run when it
//! returns.
//!
//! ## Callback
//! A function that is added to a Deferred for its value; an *errback* is one for its failure. The
//! callbacks of a Deferred are its *chain*: each gets what the one before has returned.
//!
//! ## Canceller
//! The function that is called when a Deferred is cancelled before it has fired; see
//! [`Deferred::on_cancel`](crate::Deferred::on_cancel).
//!
//! ## Abandoned
//! The state of a Deferred whose resolver was dropped without firing; it fails with
//! [`DeferredError::Abandoned`](crate::defer::DeferredError::Abandoned).
//!
//! ## Settled
//! The state of a Deferred whose result is there and can be taken.
//!
//! ## Failure
//! Any error, with the line where it was made; see [`Failure`](crate::Failure).
//!
//! ## Trace frame
//! One step in the trace of a failure, which debug mode records: a callback, a Deferred, an
//! `await`, a task. See [`TraceFrame`](crate::failure::TraceFrame).
//!
//! # Tasks and waiting
//!
//! ## Task
//! A future that runs by itself on the reactor; see [`spawn`](crate::spawn).
//!
//! ## Detach
//! To let a task continue without its handle, and without a receiver for its result; see
//! [`Task::detach`](crate::Task::detach). A handle that is dropped before it was ever polled
//! detaches its task, one that was polled cancels it.
//!
//! ## Cancel safety
//! What dropping the future of a method does, before the future is ready. Methods whose futures may
//! be dropped have a section of this name; "nothing is lost" means that another call continues as
//! if the first had not been made.
//!
//! ## Budget
//! The number of operations, and of bytes, that a task may do in a row before other tasks get their
//! turn; see [`task`](crate::task#budgets).
//!
//! ## Scope
//! A body and the children that it spawns, all of which have ended when the scope has; see
//! [`scope`](crate::scope).
//!
//! ## Lock guard
//! The value that holds a lock, a permit or a file lock, and releases it when it is dropped; see
//! [`LockGuard`](crate::locks::LockGuard).
//!
//! ## Offer
//! How a lock or a queue serves a waiting task: the task is woken, and takes what it waits for when
//! it is polled. If it is not polled, the next waiter gets the offer; see [`locks`](crate::locks).
//!
//! ## Slice
//! The time, or the number of steps, for which long work runs before the loop turns; see
//! [`Slice`](crate::repeat::Slice).
//!
//! ## Watchdog
//! The part of debug mode that reports code which blocks the loop; see
//! [`ReactorBuilder::watchdog`](crate::reactor::ReactorBuilder::watchdog).
