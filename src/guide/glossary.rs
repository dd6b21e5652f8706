//! Glossary: the terms that this crate defines or takes from Twisted.
//!
//! # The reactor
//!
//! ## Reactor
//! The event loop of one thread with everything it owns: connections, timers, tasks and signals. A
//! [`Reactor`](crate::Reactor) is a cheap handle; clones refer to the same reactor.
//!
//! ## Turn
//! One pass of the loop: it takes in calls from other threads, fires the timers that are due, runs
//! tasks, sends queued bytes, waits, and handles the events. User code runs only inside a turn.
//! [`Reactor::iterate`](crate::Reactor::iterate) makes one turn; see
//! [reactor](crate::reactor#one-turn).
//!
//! ## Step
//! One of the seven parts of a turn. The work of each step is limited, so that no step keeps the
//! others waiting; see [limits](super::limits).
//!
//! ## User code
//! Code of the program that the crate calls: hooks, callbacks, closures, tasks, and the destructors
//! of values that the program gave to the crate.
//!
//! ## Event
//! An *I/O event* says that a socket or descriptor is ready; the driver reports it, and the turn
//! handles it. A *system event* has a name (`startup`, `shutdown`, or a name that the program
//! chooses), and [triggers](#trigger) run before, during and after it. The type
//! [`locks::Event`](crate::locks::Event) is neither: it is a flag that Deferreds wait for.
//!
//! ## Trigger
//! A function that runs before, during or after a system event; see
//! [`Reactor::add_system_event_trigger`](crate::Reactor::add_system_event_trigger).
//!
//! ## Hook
//! A method or closure of the program that the crate calls upon an event: of a protocol, a factory,
//! a watched descriptor, a process. Hooks run in a turn, one at a time, and never inside a method
//! of a handle.
//!
//! ## Handler
//! The code that serves a connection: a protocol, or the async function given to
//! [`Reactor::serve`](crate::Reactor::serve). (The docs of [`reactor`](crate::reactor) also call
//! the object that owns one socket or descriptor a handler.)
//!
//! ## Batch
//! The tasks and calls that were ready when a round of the executor began. Tasks and calls that
//! become ready during a batch wait for the next one; see [`task`](crate::task).
//!
//! ## Driver
//! The part of the reactor that provides sockets, time, processes and randomness. The *machine
//! driver* uses the operating system. The *memory driver*
//! ([`Reactor::in_memory`](crate::Reactor::in_memory)) is a network in memory, with virtual time
//! and faults on request; programs run unchanged on both.
//!
//! ## Poller
//! The system call by which the machine driver waits for events, such as epoll or kqueue; see
//! [pollers](super::pollers).
//!
//! ## Clock
//! A source of time and of timers: a reactor, or a [`VirtualClock`](crate::VirtualClock) in tests;
//! see [`Clock`](crate::Clock).
//!
//! ## Delayed call
//! A closure that a clock calls once, at a later time. A [`DelayedCall`](crate::DelayedCall) is the
//! handle that cancels or resets it; dropping the handle does not cancel the call.
//!
//! ## Virtual time
//! Time that moves only when nothing is left to do (on the memory driver), or on request
//! ([`VirtualClock`](crate::VirtualClock)): a test of an hour of timeouts takes no real time, and
//! the timers always fire in the same order.
//!
//! ## Descriptor
//! A file descriptor of the operating system that the reactor watches for the program, with its
//! hooks; see [`Descriptor`](crate::Descriptor).
//!
//! ## Stop, stopped
//! To *stop* is to request an end, which may take time: `stop` returns at once, or returns a
//! Deferred that fires at the end. A hook named *stopped* is called when the end is reached, such
//! as [`Factory::stopped`](crate::Factory::stopped). The exception is
//! [`Reactor::stopped`](crate::Reactor::stopped): it is ready when the stop was requested, so that
//! a program can still finish its work.
//!
//! ## In good order
//! An end after which nothing is lost: queued bytes are sent first, hooks and triggers run, and no
//! reset is sent.
//!
//! ## Grace
//! The time that a stopping reactor gives to connections to send queued bytes, and to threads to
//! finish; see [`Grace`](crate::reactor::Grace).
//!
//! ## Remote
//! The handle to a reactor for other threads, the only handle to it that is `Send`; see
//! [`Remote`](crate::Remote).
//!
//! ## Report
//! The record of a panic or failure that was not handled, with the line of its origin; see
//! [`report`](crate::report).
//!
//! # The network
//!
//! ## Connection
//! A stream of bytes in both directions between this program and a peer. Async code reads and
//! writes a [`Connection`](crate::Connection); a protocol reaches its connection through its
//! context.
//!
//! ## Peer
//! The program, or the address, at the other end of a connection.
//!
//! ## Transport
//! The object that carries the bytes of one connection: a socket, a pipe, a terminal, or a
//! connection in memory. A [`Transport`](crate::Transport) is the handle by which code writes to
//! the connection and closes it.
//!
//! ## Protocol
//! A value whose methods (hooks) are called for the events of one connection: made, data received,
//! lost. See [`Protocol`](crate::Protocol).
//!
//! ## Frame
//! One message in a stream of bytes: a line, a netstring, a record with a length; see
//! [`FrameProtocol`](crate::protocols::FrameProtocol).
//!
//! ## Codec
//! A value that decodes bytes to frames and encodes frames to bytes, and does no I/O; see
//! [`Decoder`](crate::protocols::Decoder) and [`Encoder`](crate::protocols::Encoder).
//!
//! ## Policy
//! A limit or an observer of a connection, which applies to protocols and async code alike; see
//! [`Policy`](crate::transport::Policy).
//!
//! ## Factory
//! A closure or value that makes the protocol of each new connection of a port; see
//! [`Factory`](crate::Factory).
//!
//! ## Context
//! The argument through which a protocol's methods reach their transport and reactor; see
//! [`Context`](crate::Context).
//!
//! ## Handle
//! A value that refers to an object which the reactor owns, such as a transport, a port, a delayed
//! call or a task. Handles are *inert*: a method of a handle records a request, and the loop acts
//! on it. The type [`Handle`](crate::Handle) is the handle to the protocol of a connection, by
//! which other code posts calls to the protocol and waits for its end.
//!
//! ## Endpoint
//! A description of where to listen or connect, with all options, as a value or as text
//! (`tcp:80`); see [`ServerEndpoint`](crate::net::ServerEndpoint) and
//! [`ClientEndpoint`](crate::net::ClientEndpoint).
//!
//! ## Port
//! A listening socket that accepts connections; a [`Port`](crate::Port) is the handle to it. (The
//! number is called a port number.)
//!
//! ## Lose, abort
//! To *lose* a connection (Twisted's word) is to close it in good order: queued bytes are sent
//! first, as by [`Transport::lose_connection`](crate::Transport::lose_connection). To *abort* a
//! connection is to end it at once: queued bytes are dropped, and the peer sees a reset.
//! `connection_lost` is called in both cases, and when the connection breaks.
//!
//! ## High-water mark
//! The number of queued bytes at which a transport counts as full: it stops reading from its peer,
//! and producers pause, until the queue is down to the *low-water mark*. See
//! [`Limits`](crate::transport::Limits).
//!
//! ## Producer
//! A source of bytes for a transport that can be paused and resumed, so that it produces only as
//! many bytes as the peer accepts; see [`transport`](crate::transport).
//!
//! ## Consumer
//! The receiver of the bytes of a producer, such as a transport. The consumer of a
//! [Deferred](#deferred) is the code that gets its result: a callback, another Deferred or a task.
//!
//! ## Linger
//! The time for which a closed socket is kept open in the background, without its protocol, so that
//! the peer gets the bytes that were sent last; see [limits](super::limits#connections).
//!
//! # Deferreds
//!
//! ## Deferred
//! A result that will be there later: a future that can also run callbacks. See
//! [`Deferred`](crate::Deferred).
//!
//! ## Resolver
//! The other end of a Deferred, which sets the result; see [`Resolver`](crate::Resolver).
//!
//! ## Firing
//! To *fire* a Deferred is to set its result, a value or a failure. The callbacks that can run have
//! run when the call that fires returns.
//!
//! ## Callback
//! A function that is added to a Deferred for its value; an *errback* is one for its failure. The
//! callbacks and errbacks of a Deferred are its *chain*: each gets the result of the one before.
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
//! The state of a Deferred that has fired and whose callbacks have run: its result can be taken.
//!
//! ## Failure
//! The error type of the crate: it holds any error, and the line where the failure was made; see
//! [`Failure`](crate::Failure).
//!
//! ## Trace frame
//! One step in the trace of a failure, which debug mode records: a callback, a Deferred, an
//! `await`, a task. See [`TraceFrame`](crate::failure::TraceFrame).
//!
//! # Tasks and waiting
//!
//! ## Task
//! A future that the reactor polls until it is ready; see [`spawn`](crate::spawn).
//!
//! ## Detach
//! To let a task continue without its handle; its result is not received. See
//! [`Task::detach`](crate::Task::detach). Dropping a handle that was never polled detaches the
//! task; dropping a handle that was polled cancels it.
//!
//! ## Cancel safety
//! The effect of dropping the future of a method before the future is ready. Methods whose futures
//! may be dropped have a section of this name; "nothing is lost" means that another call continues
//! as if the first had not been made.
//!
//! ## Budget
//! The number of operations, and of bytes, that a task may process in a row before other tasks run;
//! see [`task`](crate::task#budgets).
//!
//! ## Scope
//! An async block (the *body*) and the child tasks that it spawns. The scope ends when all of them
//! have ended; see [`scope`](crate::scope).
//!
//! ## Lock guard
//! The value that holds a lock, a permit or a file lock, and releases it when it is dropped; see
//! [`LockGuard`](crate::locks::LockGuard).
//!
//! ## Offer
//! How a lock or a queue serves a waiting task: it wakes the task, which takes the lock or the item
//! when it is polled. If the task is not polled, the next waiter gets the offer; see
//! [`locks`](crate::locks).
//!
//! ## Slice
//! The time, or the number of steps, for which long cooperative work runs before other code of the
//! loop runs; see [`Slice`](crate::repeat::Slice).
//!
//! ## Watchdog
//! The part of debug mode that reports code which blocks the loop; see
//! [`ReactorBuilder::watchdog`](crate::reactor::ReactorBuilder::watchdog).
