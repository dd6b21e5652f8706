//! Figures: speed and memory, beside other runtimes.
//!
//! All figures are of November 2026: Linux x86-64, a shared virtual machine with two processors,
//! Rust 1.95, tokio 1.54 on one thread. The commands on this page, run in `benches/rivals`, measure
//! them again.
//!
//! In the tables, *protocol / async* is torsade with a protocol and with an async handler; rows
//! with one figure for torsade use no connection. *Bare* (in the chart: raw) is a loop around
//! `epoll_wait`, `recv` and `send` without a runtime. Rows whose names do not say it all:
//!
//! * *100 of 10,100 connections*: 100 connections send, the others are idle.
//! * *pipelined 16 deep*: a client sends 16 lines at once.
//! * *yield*: a task yields to the loop again and again.
//! * *ping-pong by wakers*: two tasks wake each other; *by queues*: they pass a value through two
//!   queues of the runtime.
//! * *from a thread by a channel*: another thread sends through the unbounded channel of `futures`;
//!   *by calls*: it has a closure called on the loop's thread.
//! * *reset one of 100,000 sleeps*: the deadline of a sleep is moved.
//!
//! # Instructions
//!
//! User-mode instructions for one operation, counted by callgrind
//! (`cargo run --release -- instructions`). The kernel's instructions, which are most of an echo,
//! are not counted. `benches/rivals/counts.txt` records the counts of the hot paths; `.ci/run`
//! fails when one of them has grown by more than 3 %.
//!
//! | operation | torsade: protocol / async | tokio | smol | bare |
//! |---|--:|--:|--:|--:|
//! | echo, 64 bytes, 1 connection | 1,132 / 1,525 | 1,652 | 3,368 | 151 |
//! | echo, 64 bytes, 64 connections | 420 / 718 | 992 | 1,461 | 131 |
//! | echo, 64 bytes, 1,000 connections | 390 / 700 | 951 | 1,338 | 126 |
//! | echo, 100 of 10,100 connections | 361 / 757 | 1,017 | 1,460 | 150 |
//! | lines, pipelined 16 deep, 64 connections | 255 / 390 | 243 | 553 | 138 |
//! | lines with a codec, as a stream and a sink | 521 / 788 | 755 | | 138 |
//! | connect, one message, close | 6,366 / 14,326 | 15,380 | 15,511 | 391 |
//! | echo, 64 KiB, 8 connections | 1,110 / 1,044 | 1,271 | 1,872 | 135 |
//! | TLS: connect, handshake, a byte each way, close | 1,264,699 / 1,270,368 | 1,266,073 | | |
//! | TLS: echo, 64 bytes, 32 connections | 5,492 / 5,760 | 6,088 | | |
//! | TLS: send 256 MiB, 64 KiB at a time | 241,615 / 241,576 | 239,392 | | |
//! | TLS: receive 256 MiB | 308,376 / 307,733 | 309,465 | | |
//! | yield | 223 | 1,026 | 549 | |
//! | spawn 100 tasks and await them | 576 | 1,643 | 991 | |
//! | spawn 1,000 tasks and await them | 757 | 1,633 | 1,159 | |
//! | ping-pong by wakers | 292 | 339 | 612 | |
//! | ping-pong by queues | 936 | 621 | 2,013 | |
//! | from a thread by a channel | 406 | 406 | 406 | |
//! | reset one of 100,000 sleeps | 102 | 277 | 2,147 | |
//! | from a thread by calls | 175 | 507 | | |
//!
//! # CPU time
//!
//! CPU time of the loop's thread for one operation, divided by tokio's: below 1 is faster than
//! tokio. The figures are medians of one run of five rounds (fifteen in TLS), in which the runtimes
//! take turns (`cargo run --release -- --chart FILE`). Where the kernel does most of the work, the
//! ratios are close to 1, and a difference of 0.1 is noise. The server and its clients run on
//! different processors. Where one side only sends, both run on one: on two, it would be chance
//! which of them the kernel's work for a packet is counted for.
//!
//! | work | protocol / async | smol | bare |
//! |---|--:|--:|--:|
//! | echo, 64 bytes, 1 connection | 0.99 / 1.00 | 0.74 | 0.91 |
//! | echo, 64 bytes, 64 connections | 1.00 / 1.02 | 1.34 | 0.98 |
//! | echo, 64 bytes, 1,000 connections | 0.95 / 1.02 | 1.29 | 0.94 |
//! | echo, 100 of 10,100 connections | 1.00 / 1.03 | 1.32 | 0.98 |
//! | lines, pipelined 16 deep, 64 connections | 1.00 / 1.07 | 1.54 | 0.97 |
//! | lines with a codec, as a stream and a sink | 0.82 / 0.85 | | 0.69 |
//! | connect, one message, close | 0.96 / 0.99 | 1.16 | 0.93 |
//! | echo, 64 KiB, 8 connections | 0.94 / 0.97 | 1.16 | 0.96 |
//! | TLS: connect, handshake, a byte each way, close | 0.99 / 1.00 | | |
//! | TLS: echo, 64 bytes, 32 connections | 0.98 / 1.01 | | |
//! | TLS: send 256 MiB, 64 KiB at a time | 1.00 / 0.98 | | |
//! | TLS: receive 256 MiB | 0.97 / 0.95 | | |
//! | yield | 0.18 | 0.41 | |
//! | spawn 100 tasks and await them | 0.40 | 1.21 | |
//! | spawn 1,000 tasks and await them | 0.42 | 1.15 | |
//! | ping-pong by wakers | 1.05 | 2.19 | |
//! | ping-pong by queues | 1.01 | 8.61 | |
//! | from a thread by a channel | 1.09 | 1.23 | |
//! | from a thread by calls | 0.52 | | |
//! | reset one of 100,000 sleeps | 0.37 | 1.19 | |
//! | 1,000,000 timers in a second | 0.56 | | |
//!
//! For the echo on 64 connections Twisted takes 5.5, asyncio 7.4 and uvloop 1.5 times tokio's time.
//! Of a million timers in a second, half fire more than 59 µs after their deadline; with tokio,
//! whose timers have a resolution of a millisecond, half fire more than 14 ms late.
//!
//! # HTTP
//!
//! The server's CPU time for one request on 64 connections, divided by that of hyper on tokio
//! (`cargo run --release -- http`); in the last row, the client's. A megabyte is nearly all the
//! kernel's work, and its ratio varies most.
//!
//! | request, and the program that makes it | × hyper on tokio |
//! |---|--:|
//! | a greeting, by `wrk` | 0.97 |
//! | a greeting over HTTP/2, by `h2load` | 0.98 |
//! | 1 MB, by `h2load` | 0.99 |
//! | a greeting by the agent's pool, beside hyper-util's client | 0.98 |
//!
//! Serving a file of 1 MB by `sendfile` takes a fifth of the time that reading the file and writing
//! its bytes takes.
//!
//! # Memory
//!
//! An idle connection takes 159 bytes with a protocol and 297 with an async handler, without the
//! size of the protocol or of the handler's future (`cargo bench --bench idle` in the crate's
//! folder). An async echo that keeps no buffer while it waits takes 377 bytes, future included.
//!
//! An idle connection in TLS takes 3.6 kB with a protocol and 3.9 kB with an async handler, most of
//! it the state of rustls; with tokio-rustls it takes 10.4 kB (`cargo bench --bench idle_tls`).
//!
//! # System calls
//!
//! An echoed message takes three system calls on one connection. On 64 connections it takes two,
//! because one wait serves many messages. tokio and the bare loop need as many.
