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
//! | echo, 64 bytes, 1 connection | 1,122 / 1,547 | 1,652 | 3,365 | 151 |
//! | echo, 64 bytes, 64 connections | 392 / 755 | 990 | 1,451 | 130 |
//! | echo, 64 bytes, 1,000 connections | 356 / 712 | 965 | 1,229 | 126 |
//! | echo, 100 of 10,100 connections | 1,622 / 812 | 2,662 | 1,810 | 175 |
//! | lines, pipelined 16 deep, 64 connections | 278 / 352 | 243 | 569 | 138 |
//! | lines with a codec, as a stream and a sink | 558 / 825 | 755 | | 138 |
//! | connect, one message, close | 6,196 / 13,910 | 15,196 | 17,027 | 391 |
//! | echo, 64 KiB, 8 connections | 1,091 / 1,036 | 1,298 | 2,037 | 136 |
//! | TLS: connect, handshake, a byte each way, close | 1,265,151 / 1,275,078 | 1,265,532 | | |
//! | TLS: echo, 64 bytes, 32 connections | 5,655 / 6,035 | 6,064 | | |
//! | TLS: send 256 MiB, 64 KiB at a time | 241,544 / 241,481 | 239,454 | | |
//! | TLS: receive 256 MiB | 308,461 / 308,023 | 309,466 | | |
//! | yield | 218 | 1,026 | 549 | |
//! | spawn 100 tasks and await them | 564 | 1,643 | 991 | |
//! | spawn 1,000 tasks and await them | 747 | 1,633 | 1,162 | |
//! | ping-pong by wakers | 287 | 339 | 612 | |
//! | ping-pong by queues | 932 | 621 | 2,013 | |
//! | from a thread by a channel | 267 | 310 | 355 | |
//! | reset one of 100,000 sleeps | 102 | 277 | 2,144 | |
//! | from a thread by calls | 364 | 408 | | |
//!
//! # CPU time
//!
//! CPU time of the loop's thread for one operation, as a ratio to tokio's: medians of the turns of
//! five rounds, in one run (`cargo run --release -- --chart FILE`). Where the kernel does most of
//! the work all are close together, and a tenth is noise.
//!
//! | work | protocol / async | smol | bare |
//! |---|--:|--:|--:|
//! | echo, 64 bytes, 1 connection | 0.92 / 1.00 | 0.79 | 0.96 |
//! | echo, 64 bytes, 64 connections | 0.99 / 1.01 | 1.40 | 0.97 |
//! | echo, 64 bytes, 1,000 connections | 0.93 / 0.99 | 1.29 | 0.92 |
//! | echo, 100 of 10,100 connections | 0.99 / 1.02 | 1.39 | 0.94 |
//! | lines, pipelined 16 deep, 64 connections | 1.05 / 1.07 | 1.50 | 0.92 |
//! | lines with a codec, as a stream and a sink | 0.86 / 0.93 | | 0.73 |
//! | connect, one message, close | 1.00 / 1.03 | 1.20 | 0.92 |
//! | echo, 64 KiB, 8 connections | 0.97 / 1.02 | 1.16 | 0.98 |
//! | TLS: connect, handshake, a byte each way, close | 1.04 / 1.08 | | |
//! | TLS: echo, 64 bytes, 32 connections | 0.98 / 1.01 | | |
//! | TLS: send 256 MiB, 64 KiB at a time | 0.85 / 0.83 | | |
//! | TLS: receive 256 MiB | 1.29 / 1.24 | | |
//! | yield | 0.16 | 0.42 | |
//! | spawn 100 tasks and await them | 0.47 | 1.17 | |
//! | spawn 1,000 tasks and await them | 0.50 | 1.12 | |
//! | ping-pong by wakers | 0.98 | 2.17 | |
//! | ping-pong by queues | 0.99 | 8.20 | |
//! | from a thread by a channel | 1.07 | 1.29 | |
//! | from a thread by calls | 0.42 | | |
//! | reset one of 100,000 sleeps | 0.62 | 1.75 | |
//! | 1,000,000 timers in a second | 0.73 | | |
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
