//! Architecture: the modules, what each is for, and what was tested where.
//!
//! # Rules
//!
//! 1. **[Handles](super::glossary#handle) are inert.** `write`, `lose_connection`, `call_later` and
//!    `post` record a request; user code runs in a turn of the loop. The one exception: firing or
//!    cancelling a [`Deferred`](crate::Deferred) runs its callbacks before it returns.
//! 2. **No borrow, lock or table entry is held while user code runs**, or while a user's value is
//!    dropped, which may run user code.
//! 3. **Protocol logic does no I/O.** A codec is a value that gets bytes and returns frames or
//!    bytes; it reads no socket and no clock, so its tests are exact.
//! 4. **Dependencies point down.** A module uses only modules below it; `tests/tidy.rs` lists the
//!    order and checks it.
//! 5. **Module docs are the contract**: states, transitions, numbered invariants. Code and tests
//!    cite the numbers.
//!
//! # Modules, from the bottom
//!
//! Modules marked *(private)* are not part of the API.
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
//! Methods of [`Reactor`](crate::Reactor) are defined in the module that does the work:
//! `net/streams/listen.rs`, for instance, adds `listen`. [Paths](super::paths) lists the functions
//! that run for a byte, a timer, a Deferred, work on a thread and a child process.
//!
//! # One implementation
//!
//! TCP, UNIX and in-memory connections, pipes and terminals share one transport; protocols and
//! async streams are two kinds of handler on it. TLS is a socket around another socket
//! (`driver/tls_socket.rs`); the layers above use it like any socket. All I/O sources (connections,
//! ports, processes, watched descriptors) share one type, `reactor::Registration`, for their key,
//! their interest, their requests to be called, and their removal.
//!
//! # Dependencies
//!
//! | crate | purpose |
//! |---|---|
//! | `async-task` | tasks in one allocation, with wakers that other threads may use |
//! | `concurrent-queue` | the queue of work of a thread pool |
//! | `dns-lookup` | `getaddrinfo` with its error code |
//! | `futures` | the I/O and stream traits |
//! | `libc`, `rustix`, `rustix-openpty`, `socket2`, `windows-sys` | system calls and socket options |
//! | `memchr` | searching for the end of a line |
//! | `parking` | threads that wait: `block_on`, idle threads of a pool |
//! | `pin-project-lite` | pinned fields without unsafe code |
//! | `polling` | kqueue, event ports, IOCP; registration with epoll |
//! | `slab` | tables with stable keys |
//! | `tracing` | logs |
//! | `rustls`, `rustls-native-certs`, `webpki-roots` | TLS and certificate authorities, only with the feature `tls` |
//! | `bytes`, `h2`, `http`, `http-body`, `http-range-header`, `httpdate`, `iri-string`, `mime_guess`, `percent-encoding`, `tower-service` | HTTP, only with the feature `http` |
//! | `hyper`, `tokio`, `send_wrapper` | their traits and runtimes, only with the features that use them |
//! | `anyhow`, `eyre` | conversions of errors, only with the features of these names |
//!
//! `unsafe` is allowed only in the files that `tests/tidy.rs` names: for the layout of callbacks in
//! a Deferred, the loop's queues, small calls from other threads, tasks that stay on their thread,
//! the socket that a connection lends, and in `driver` for socket options, descriptors, signals and
//! the start of a child process, where no safe function exists.
//!
//! # What was tested where
//!
//! | system | what |
//! |---|---|
//! | Linux, x86-64, epoll | all of `cargo test` |
//! | the same, poll(2) | `TORSADE_POLLER=poll cargo test`; in CI the network, process and reactor tests |
//! | the same, other programs | socat, curl, Python, HAProxy, systemd's socket activation, Twisted by TCP, UNIX and UDP; tmux, shells, gpg as children; each system call of five conversations made to fail by strace |
//! | Linux, aarch64, by qemu | processes and closing TCP connections; not this version |
//! | Windows, x86-64, by Wine 8 | TCP, UDP, timers, threads, signals, all but about a dozen tests; not this version |
//! | macOS, FreeBSD, NetBSD, Android, illumos | the library compiles |
//! | OpenBSD | does not compile: `rustix` cannot wait for a child there without taking its status |
//!
//! The code that threads share is checked by `loom`, in all interleavings or up to a stated number
//! of preemptions:
//! `cargo test --manifest-path tests/loom/Cargo.toml --target-dir target/loom model::`.
//!
//! Larger runs of some tests: `TORSADE_LONG=1 cargo test --release --test interop`,
//! `TORSADE_DEEP=1000000 cargo test --release --test deferred whatever_stands`,
//! `TORSADE_CHILDREN=1000 cargo test --release --test processes many_children`,
//! `TORSADE_THREAD_CALLS=1000000 cargo test --release --test tasks calls_of_eight`.
