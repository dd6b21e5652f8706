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
//! | echo, 64 bytes, 1 connection | 1,139 / 1,566 | 1,652 | 240 | 151 |
//! | echo, 64 bytes, 64 connections | 394 / 752 | 985 | 1,436 | 130 |
//! | echo, 64 bytes, 1,000 connections | 376 / 726 | 966 | 1,370 | 126 |
//! | echo, 100 of 10,100 connections | 280 / 607 | 1,066 | 1,192 | 117 |
//! | lines, pipelined 16 deep, 64 connections | 291 / 353 | 243 | 551 | 138 |
//! | lines with a codec, as a stream and a sink | 558 / 826 | 755 | | 138 |
//! | connect, one message, close | 6,272 / 13,808 | 14,593 | 10,675 | 391 |
//! | echo, 64 KiB, 8 connections | 961 / 955 | 1,100 | 1,693 | 133 |
//! | TLS: connect, handshake, a byte each way, close | 1,264,352 / 1,273,193 | 1,263,642 | | |
//! | TLS: echo, 64 bytes, 32 connections | 5,657 / 6,013 | 6,064 | | |
//! | TLS: send 256 MiB, 64 KiB at a time | 241,530 / 241,600 | 239,312 | | |
//! | TLS: receive 256 MiB | 308,469 / 307,893 | 308,053 | | |
//! | yield | 251 | 1,026 | 553 | |
//! | spawn 100 tasks and await them | 584 | 1,643 | 991 | |
//! | spawn 1,000 tasks and await them | 764 | 1,633 | 1,156 | |
//! | ping-pong by wakers | 293 | 339 | 616 | |
//! | ping-pong by queues | 1,082 | 621 | 2,013 | |
//! | from a thread by a channel | 261 | 335 | 351 | |
//! | reset one of 100,000 sleeps | 102 | 277 | 2,152 | |
//! | from a thread by calls | 265 | 412 | | |
//!
//! # CPU time
//!
//! CPU time of the loop's thread for one operation, as a ratio to tokio's: medians of five rounds
//! in which all take turns, in one run (`cargo run --release -- --chart FILE`). Where the kernel
//! does most of the work all are close together, and a tenth is noise.
//!
//! | work | protocol / async | smol | bare |
//! |---|--:|--:|--:|
//! | echo, 64 bytes, 1 connection | 1.04 / 0.98 | 1.58 | 0.94 |
//! | echo, 64 bytes, 64 connections | 1.11 / 1.11 | 1.25 | 0.72 |
//! | echo, 64 bytes, 1,000 connections | 0.72 / 0.81 | 1.07 | 0.85 |
//! | echo, 100 of 10,100 connections | 0.99 / 1.29 | 1.23 | 1.14 |
//! | lines, pipelined 16 deep, 64 connections | 0.97 / 1.03 | 1.47 | 0.87 |
//! | lines with a codec, as a stream and a sink | 0.63 / 0.94 | | 0.55 |
//! | connect, one message, close | 0.88 / 0.92 | 1.21 | 1.11 |
//! | echo, 64 KiB, 8 connections | 1.03 / 0.98 | 1.09 | 1.00 |
//! | TLS: connect, handshake, a byte each way, close | 1.24 / 1.01 | | |
//! | TLS: echo, 64 bytes, 32 connections | 0.80 / 0.94 | | |
//! | TLS: send 256 MiB, 64 KiB at a time | 1.12 / 1.04 | | |
//! | TLS: receive 256 MiB | 0.99 / 1.00 | | |
//! | yield | 0.15 | 0.40 | |
//! | spawn 100 tasks and await them | 0.43 | 1.06 | |
//! | spawn 1,000 tasks and await them | 0.44 | 1.08 | |
//! | ping-pong by wakers | 1.12 | 2.55 | |
//! | ping-pong by queues | 1.09 | 8.67 | |
//! | from a thread by a channel | 1.11 | 0.93 | |
//! | from a thread by calls | 0.66 | | |
//! | reset one of 100,000 sleeps | 0.68 | 1.42 | |
//! | 1,000,000 timers in a second | 0.37 | | |
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
