//! Paths: the functions that run for a byte, a timer, a Deferred, work on a thread and a child
//! process.
//!
//! This page is for readers of the source, or of a profile; most of the functions are private.
//! [`reactor`](crate::reactor#one-turn) describes the steps of a turn; each table here follows one
//! thing, from the first function to the last. The files are in `src/`. A test checks that each
//! function is in the file that the table names.
//!
//! # A received byte, to a protocol
//!
//! | function | file | what it does |
//! |---|---|---|
//! | `Reactor::io` | `reactor/turn.rs` | waits for events, unless other work is ready |
//! | `Epoll::wait` | `driver/poller/epoll.rs` | calls the kernel, and converts its answer to events |
//! | `Inner::dispatch_ready` | `reactor/share.rs` | dispatches the events, as many as the step's limits allow |
//! | `Conn::ready` | `transport/engine.rs` | checks one word of flags for anything unusual |
//! | `OnStream::readable` | `protocol/connected.rs` | borrows the loop's read buffer |
//! | `ConnCore::read` | `transport/link.rs` | calls `recv` once |
//! | `deliver` | `protocol/connected.rs` | prepends the bytes kept from earlier reads, if there are any |
//! | `visit` | `protocol/slot.rs` | takes the protocol out, calls it, and puts it back |
//! | `Protocol::input_received` | `protocol/mod.rs` | is the user's code, or calls `data_received` |
//! | `Conn::settle` | `transport/engine.rs` | acts on what the user's code has requested |
//!
//! # A received byte, to async code
//!
//! | function | file | what it does |
//! |---|---|---|
//! | `Conn::ready` | `transport/engine.rs` | as above |
//! | `Awaited::readable` | `stream/awaited.rs` | records that data has arrived, and wakes the reading task |
//! | `schedule` | `task/current_executor.rs` | puts the task into the loop's queue |
//! | `Executor::run_batches` | `task/executor.rs` | runs the tasks that are ready, in batches |
//! | `Root::poll` | `task/root.rs` | polls the user's future, and catches a panic |
//! | `poll_socket` | `stream/reader.rs` | reads into the user's buffer, or waits |
//! | `ConnCore::read` | `transport/link.rs` | calls `recv` once |
//!
//! # A sent byte
//!
//! | function | file | what it does |
//! |---|---|---|
//! | `Transport::write` | `transport/mod.rs` | is called by a protocol; async code calls `poll_write` |
//! | `poll_write` | `stream/writer.rs` | accepts as many bytes as fit into the queue, or waits |
//! | `ConnCore::write` | `transport/link.rs` | queues the bytes, and requests a flush unless the loop is in this connection |
//! | `Inner::attend_all` | `reactor/share.rs` | handles the requests, before the loop waits |
//! | `Conn::settle` | `transport/engine.rs` | runs once after each event and once before the wait |
//! | `ConnCore::flush` | `transport/link.rs` | calls `send` once for all queued bytes |
//!
//! # A timer
//!
//! | function | file | what it does |
//! |---|---|---|
//! | `Clock::call_later` | `clock/mod.rs` | counts the delay from now |
//! | `Timers::request` | `clock/timers.rs` | gives the timer a slot in the table and a key |
//! | `Table::absorb` | `clock/table.rs` | moves the new timers into the heap, once a turn |
//! | `Inner::pass_time` | `reactor/turn.rs` | reads the clock and fires what is due |
//! | `Timers::fire_due_and_hold_limits` | `clock/timers.rs` | takes one timer after the other out of the heap; time limits wait until I/O was polled |
//! | `contain` | `report.rs` | runs the call, and catches a panic |
//!
//! # A Deferred
//!
//! | function | file | what it does |
//! |---|---|---|
//! | `Deferred::pair` | `defer/mod.rs` | makes the two ends |
//! | `Deferred::add_callback` | `defer/mod.rs` | appends a step |
//! | `CallbackQueue::push` | `defer/callback_queue.rs` | stores the step, in one block of memory with the others |
//! | `Resolver::callback` | `defer/mod.rs` | fires the Deferred with a value |
//! | `Core::fire` | `defer/core.rs` | gives the result to the steps, or stores it and wakes the task that awaits it |
//! | `advance` | `defer/core/work.rs` | continues with one core after the other, so that depth needs no stack |
//! | `CallbackQueue::run` | `defer/callback_queue.rs` | runs the steps until one returns a Deferred that is not settled |
//! | `Core::hand_over` | `defer/core.rs` | gives the result to its consumer: another core, or a task |
//! | `Deferred::poll` | `defer/poll.rs` | polls the Deferred for a task that awaits it |
//!
//! # Work on a thread
//!
//! | function | file | what it does |
//! |---|---|---|
//! | `Reactor::spawn_blocking` | `reactor/threads.rs` | makes the Deferred, and the sender of its result |
//! | `Pool::submit` | `threads/pool.rs` | queues the work, and wakes an idle thread or starts one, up to the limit |
//! | `Pool::work` | `threads/pool.rs` | loops in each thread of the pool |
//! | `AwaitedWork::run` | `task/waiting.rs` | runs the work, during which virtual time stands still |
//! | `Inbox::push_call` | `task/inbox.rs` | sends the result, and wakes the loop unless it was notified before |
//! | `Executor::collect` | `task/executor.rs` | receives the result, in the first step of a turn |
//! | `Awaited::complete` | `reactor/threads.rs` | fires the Deferred |
//!
//! # A child process
//!
//! | function | file | what it does |
//! |---|---|---|
//! | `Command::spawn_protocol` | `process/running.rs` | makes the handle, and the slot for its protocol |
//! | `Running::start` | `process/running.rs` | registers the process with the loop |
//! | `Body::launch` | `process/body.rs` | makes the pipes |
//! | `begin` | `driver/children/fork.rs` | forks |
//! | `child` | `driver/children/fork.rs` | runs in the child until the new program starts, and allocates nothing |
//! | `Running::begin` | `process/running.rs` | calls `connection_made` |
//! | `OnPipe::readable` | `process/running.rs` | delivers the child's output like data of any connection |
//! | `Running::ready` | `process/running.rs` | handles the descriptor that signals the end of the process |
//! | `Running::wait` | `process/running.rs` | collects the exit status, and calls the protocol |
//! | `Running::end_if_over` | `process/running.rs` | calls `process_ended` when the pipes are closed as well |
