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
//! | echo, 64 bytes, 1 connection | 1,123 / 1,550 | 1,652 | 3,378 | 148 |
//! | echo, 64 bytes, 64 connections | 386 / 792 | 992 | 1,457 | 128 |
//! | echo, 64 bytes, 1,000 connections | 379 / 739 | 953 | 1,309 | 126 |
//! | lines, pipelined 16 deep, 64 connections | 315 / 565 | 243 | 550 | 135 |
//! | connect, one message, close | 5,286 / 12,777 | 15,117 | 14,110 | 384 |
//! | yield | 308 | 1,026 | 549 | |
//! | spawn 100 tasks and await them | 883 | 1,643 | 991 | |
//! | spawn 1,000 tasks and await them | 883 | 1,633 | 1,159 | |
//! | ping-pong by wakers | 377 | 339 | 612 | |
//! | ping-pong by queues | 1,206 | 621 | 2,013 | |
//! | reset one of 100,000 sleeps | 111 | 277 | 2,154 | |
//! | from a thread by calls | 580 | 510 | | |
//!
//! # CPU time
//!
//! CPU time of the loop's thread for one operation, as a ratio to tokio's: medians of five rounds
//! in which all take turns, in one run (`cargo run --release -- --chart FILE`). Where the kernel
//! does most of the work all are close together, and a tenth is noise.
//!
//! | work | protocol / async | smol | bare |
//! |---|--:|--:|--:|
//! | echo, 64 bytes, 1 connection | 0.99 / 0.98 | 1.30 | 0.93 |
//! | echo, 64 bytes, 64 connections | 0.93 / 0.99 | 1.35 | 0.91 |
//! | echo, 64 bytes, 1,000 connections | 1.04 / 1.01 | 1.55 | 1.03 |
//! | echo, 100 of 10,100 connections | 0.88 / 0.71 | 1.38 | 0.86 |
//! | lines, pipelined 16 deep, 64 connections | 0.93 / 1.13 | 1.41 | 0.83 |
//! | connect, one message, close | 0.87 / 0.90 | 1.21 | 0.83 |
//! | echo, 64 KiB, 8 connections | 0.90 / 0.99 | 1.10 | 0.86 |
//! | yield | 0.14 | 0.36 | |
//! | spawn 100 tasks and await them | 0.53 | 1.04 | |
//! | spawn 1,000 tasks and await them | 0.48 | 1.00 | |
//! | ping-pong by wakers | 1.02 | 2.56 | |
//! | ping-pong by queues | 1.43 | 7.95 | |
//! | from a thread by a channel | 1.00 | 1.00 | |
//! | from a thread by calls | 0.72 | | |
//! | reset one of 100,000 sleeps | 1.11 | 1.49 | |
//! | 1,000,000 timers in a second | 0.41 | | |
//!
//! For the echo on 64 connections Twisted takes 5.5, asyncio 7.7 and uvloop 1.5 times tokio's time.
//! Of a million timers in a second, half are later than 29 µs; with tokio, whose wheel counts
//! milliseconds, than 2 ms.
//!
//! # Memory
//!
//! An idle connection takes 167 bytes with a protocol and 330 with an async handler, beside what
//! these hold themselves (`cargo bench --bench idle`). An async echo that keeps no buffer while it
//! waits takes 410 bytes in all.
//!
//! An idle connection in TLS takes 3.6 kB with a protocol and 3.9 kB with an async handler, most of
//! it rustls's own state; with tokio-rustls it takes 10.4 kB (`cargo bench --bench idle_tls` in
//! `benches/rivals`).
//!
//! # System calls
//!
//! An echoed message takes three system calls on one connection, and two each on 64, as with tokio
//! and with the bare loop.
