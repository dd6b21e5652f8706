//! Architecture: the modules, what each is for, and what was tested where.
//!
//! # Rules
//!
//! 1. **Handles are inert.** `write`, `lose_connection`, `call_later` and `post` record a request;
//!    user code runs from the loop's turn. Firing or cancelling a [`Deferred`](crate::Deferred) is
//!    the one exception: it is a call.
//! 2. **No borrow, lock or table entry is held while user code runs.** Dropping a user's value
//!    counts as running user code.
//! 3. **Bytes, sockets and clocks meet in one module.** Protocol logic is a value that is given
//!    bytes and returns actions; it does no I/O and reads no clock, so its tests are exact.
//! 4. **Dependencies point down.** A module uses modules below it; `tests/tidy.rs` lists the order
//!    and checks it.
//! 5. **Module docs are the contract**: states, transitions, numbered invariants. Code and tests
//!    cite the numbers.
//!
//! # Modules, from the bottom
//!
//! | module | purpose |
//! |---|---|
//! | `failure` | the error type that travels through callbacks and `?`, and remembers the line that made it |
//! | `address`, `signal` | addresses of every kind; signals by name and number |
//! | `sync`, `spans`, `context` *(private)* | primitives that `loom` can replace; the spans of `tracing`; the one thread-local value |
//! | `slots`, `index`, `bytes`, `framing`, `queue` *(private)* | tables with generations, write queues, decoders, the ready queue |
//! | `tls` | configurations, certificates, and the protocol of TLS without I/O |
//! | `debug` *(private)*, `report` | debug mode and watchdog; where panics and unhandled failures are delivered |
//! | `task` | the executor on `async-task`: `spawn`, `Task`, task-locals, the inbox of other threads |
//! | `defer` | `Deferred`, `Resolver`, callback queues, `DeferredList` |
//! | `clock` | the timer heap, `DelayedCall`, sleeps, time limits, `VirtualClock` |
//! | `locks` | lock, semaphore, queue, event, watched value, lock file |
//! | `repeat` | `LoopingCall`, intervals, cooperative iterators |
//! | `scope` | structured concurrency: scopes, join sets, shields |
//! | `driver` *(private)* | the calls that the loop makes to an operating system, and the same in memory |
//! | `threads` | the thread pool and its cancel tokens |
//! | `reactor` | the loop: turns, startup and shutdown, watched descriptors, other threads |
//! | `signals` | signals as Deferreds and streams |
//! | `transport` | the engine that moves every connection's bytes, and the handle to it |
//! | `protocol` | `Protocol`, `Context`, `Handle`, `Factory` |
//! | `stream` | `Connection` for async code, over the same engine |
//! | `process` | child processes, their pipes and terminals |
//! | `net` | endpoints, listening, connecting, datagrams, names, standard input and output |
//! | `protocols` | messages instead of bytes: lines, netstrings, frames with a length field |
//! | `services` | parts of a program that start and stop in order |
//! | `hyper`, `tokio` | the reactor as hyper's runtime; a tokio runtime beside the reactor |
//! | `http` | HTTP clients and servers, over hyper |
//! | `testing` | `Wire`, `testing::run`, faults, fake processes |
//!
//! Methods of [`Reactor`](crate::Reactor) live in the module that does the work: `reactor` is low
//! and small, and `net/streams/listen.rs` adds `listen`. [Paths](super::paths) lists the functions
//! that a byte, a timer, a Deferred, a thread's job and a child process pass.
//!
//! # One implementation
//!
//! TCP, UNIX and in-memory connections, pipes and terminals share one transport; protocols and
//! async streams are two kinds of handler on it. TLS is a socket around another one
//! (`driver/tls_socket.rs`): what is above it does not know of it. Everything that is registered
//! with the loop shares one frame (`reactor::Registration`): key, interest, requests for attention,
//! removal.
//!
//! # Dependencies
//!
//! | crate | purpose |
//! |---|---|
//! | `async-task` | a task in one allocation, with a waker that other threads may use |
//! | `concurrent-queue` | the work of thread pools |
//! | `dns-lookup` | `getaddrinfo` with its error code |
//! | `futures` | the I/O and stream traits |
//! | `libc`, `rustix`, `rustix-openpty`, `socket2`, `windows-sys` | system calls and socket options |
//! | `memchr` | searching for the end of a line |
//! | `parking` | threads that wait: `block_on`, idle threads of a pool |
//! | `pin-project-lite` | pinned fields without unsafe code |
//! | `polling` | kqueue, event ports, IOCP; the fallback on Linux |
//! | `slab` | tables with stable keys |
//! | `tracing` | logs |
//! | `rustls`, `rustls-native-certs`, `webpki-roots` | TLS and the authorities, only with `tls` |
//! | `hyper`, `tokio`, `send_wrapper` | their traits and runtime, only with the features for them |
//! | `anyhow`, `eyre` | only with the features of these names |
//!
//! `unsafe` is denied, and allowed in the files that `tests/tidy.rs` names: the layout of callbacks
//! in a Deferred, the loop's queues, small calls from other threads, tasks that stay on their
//! thread, the socket that a connection lends, and in `driver` the socket options, descriptors,
//! signals and the first steps of a child for which no safe function exists.
//!
//! # What was tested where
//!
//! | system | what |
//! |---|---|
//! | Linux, x86-64, epoll | all of `cargo test` |
//! | the same, poll(2) | `TORSADE_POLLER=poll cargo test`; in CI the network, process and reactor tests |
//! | the same, other programs | socat, curl, Python, HAProxy, systemd's socket activation, Twisted by TCP, UNIX and UDP; tmux, shells, gpg as children; each system call of five conversations made to fail by strace |
//! | Linux, aarch64, by qemu | processes and closing TCP connections; before the last changes |
//! | Windows, x86-64, by Wine 8 | TCP, UDP, timers, threads, signals, but for about a dozen tests; before the last changes |
//! | macOS, FreeBSD, NetBSD, Android, illumos | the library compiles |
//! | OpenBSD | does not compile: `rustix` cannot wait for a child there without taking its status |
//!
//! What threads share is explored by `loom`:
//! `cargo test --manifest-path tests/loom/Cargo.toml --target-dir target/loom model::`.
//!
//! Longer runs: `TORSADE_LONG=1 cargo test --release --test interop`,
//! `TORSADE_DEEP=1000000 cargo test --release --test deferred whatever_stands`,
//! `TORSADE_CHILDREN=1000 cargo test --release --test processes many_children`,
//! `TORSADE_THREAD_CALLS=1000000 cargo test --release --test tasks calls_of_eight`.
