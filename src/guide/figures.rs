//! Figures: speed and memory, beside other runtimes.
//!
//! All figures are of November 2026: Linux x86-64, a shared virtual machine with two processors,
//! Rust 1.95, tokio 1.54 on one thread. *Bare* is a loop around `epoll_wait`, `recv` and `send`.
//! `benches/rivals` measures them anew.
//!
//! # Instructions
//!
//! User instructions for one operation, counted by callgrind (`cargo run --release -- instructions`
//! in `benches/rivals`). What the kernel does is not counted, and is most of an echo. Those of the
//! hot paths are recorded in `benches/rivals/counts.txt`; `.ci/run` fails when one has grown by
//! more than 3 %.
//!
//! | operation | torsade: protocol / async | tokio | smol | bare |
//! |---|--:|--:|--:|--:|
//! | echo, 64 bytes, 1 connection | 1,132 / 1,526 | 1,652 | 3,363 | 151 |
//! | echo, 64 bytes, 64 connections | 411 / 751 | 993 | 1,446 | 131 |
//! | echo, 64 bytes, 1,000 connections | 393 / 730 | 972 | 1,383 | 125 |
//! | echo, 100 of 10,100 connections | 356 / 598 | 1,441 | 1,533 | 59 |
//! | lines, pipelined 16 deep, 64 connections | 252 / 392 | 243 | 547 | 138 |
//! | lines with a codec, as a stream and a sink | 522 / 787 | 755 | | 138 |
//! | connect, one message, close | 6,236 / 14,204 | 14,544 | 15,203 | 391 |
//! | echo, 64 KiB, 8 connections | 1,069 / 1,044 | 1,433 | 1,916 | 133 |
//! | TLS: connect, handshake, a byte each way, close | 1,265,128 / 1,270,391 | 1,265,608 | | |
//! | TLS: echo, 64 bytes, 32 connections | 5,735 / 6,003 | 6,066 | | |
//! | TLS: send 256 MiB, 64 KiB at a time | 241,604 / 241,660 | 239,395 | | |
//! | TLS: receive 256 MiB | 308,484 / 307,963 | 312,710 | | |
//! | yield | 220 | 1,026 | 543 | |
//! | spawn 100 tasks and await them | 573 | 1,643 | 991 | |
//! | spawn 1,000 tasks and await them | 752 | 1,633 | 1,163 | |
//! | ping-pong by wakers | 289 | 339 | 612 | |
//! | ping-pong by queues | 933 | 621 | 2,357 | |
//! | from a thread by a channel | 339 | 306 | 351 | |
//! | reset one of 100,000 sleeps | 102 | 277 | 2,144 | |
//! | from a thread by calls | 175 | 410 | | |
//!
//! # CPU time
//!
//! CPU time of the loop's thread for one operation, as a ratio to tokio's: medians of the turns of
//! five rounds, in one run (`cargo run --release -- --chart FILE`). Where the kernel does most of
//! the work all are close together, and a tenth is noise. A loop and its clients have a processor
//! each; where one side only sends, both share one, as on two the system's work for a packet falls
//! to the one or the other by chance.
//!
//! | work | protocol / async | smol | bare |
//! |---|--:|--:|--:|
//! | echo, 64 bytes, 1 connection | 1.00 / 1.01 | 0.80 | 0.93 |
//! | echo, 64 bytes, 64 connections | 0.97 / 1.03 | 1.39 | 0.95 |
//! | echo, 64 bytes, 1,000 connections | 0.93 / 1.00 | 1.37 | 0.92 |
//! | echo, 100 of 10,100 connections | 1.00 / 1.03 | 1.36 | 0.99 |
//! | lines, pipelined 16 deep, 64 connections | 1.00 / 1.12 | 1.64 | 0.98 |
//! | lines with a codec, as a stream and a sink | 0.78 / 0.84 | | 0.64 |
//! | connect, one message, close | 0.96 / 0.99 | 1.16 | 0.91 |
//! | echo, 64 KiB, 8 connections | 0.89 / 0.96 | 1.18 | 0.92 |
//! | TLS: connect, handshake, a byte each way, close | 0.96 / 0.97 | | |
//! | TLS: echo, 64 bytes, 32 connections | 0.97 / 0.98 | | |
//! | TLS: send 256 MiB, 64 KiB at a time | 1.02 / 1.04 | | |
//! | TLS: receive 256 MiB | 0.99 / 0.96 | | |
//! | yield | 0.17 | 0.41 | |
//! | spawn 100 tasks and await them | 0.39 | 1.20 | |
//! | spawn 1,000 tasks and await them | 0.38 | 1.15 | |
//! | ping-pong by wakers | 0.95 | 2.19 | |
//! | ping-pong by queues | 1.07 | 8.34 | |
//! | from a thread by a channel | 1.27 | 1.25 | |
//! | from a thread by calls | 0.41 | | |
//! | reset one of 100,000 sleeps | 0.59 | 1.66 | |
//! | 1,000,000 timers in a second | 0.49 | | |
//!
//! For the echo on 64 connections Twisted takes 5.5, asyncio 7.4 and uvloop 1.5 times tokio's time.
//! Of a million timers in a second, half are later than 59 µs; with tokio, whose wheel counts
//! milliseconds, than 14 ms.
//!
//! # HTTP
//!
//! CPU time for one request on 64 connections, as a ratio to hyper on tokio
//! (`cargo run --release -- http` in `benches/rivals`). A megabyte is nearly all the kernel's work,
//! and varies most.
//!
//! | request | × hyper on tokio |
//! |---|--:|
//! | a greeting, by `wrk` | 0.99 |
//! | a greeting over HTTP/2, by `h2load` | 0.99 |
//! | 1 MB, by `h2load` | 1.02 |
//! | a greeting by the agent's pool, beside hyper-util's client | 0.95 |
//!
//! A file of 1 MB takes a fifth of the time that it takes to read and write it.
//!
//! # Memory
//!
//! An idle connection takes 159 bytes with a protocol and 297 with an async handler, beside what
//! these hold themselves (`cargo bench --bench idle`). An async echo that keeps no buffer while it
//! waits takes 377 bytes in all.
//!
//! An idle connection in TLS takes 3.6 kB with a protocol and 3.9 kB with an async handler, most of
//! it rustls's own state; with tokio-rustls it takes 10.4 kB (`cargo bench --bench idle_tls` in
//! `benches/rivals`).
//!
//! # System calls
//!
//! An echoed message takes three system calls on one connection, and two each on 64, as with tokio
//! and with the bare loop.
