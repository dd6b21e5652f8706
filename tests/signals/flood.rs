//! A flood of signals, all of them on the loop's own thread while it moves megabytes: none of those
//! is lost.
#![cfg(unix)]
#![allow(unsafe_code, reason = "a signal is sent to one thread")]

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::alone;
use rustix::pipe::pipe;
use support::{HERE, MS, Spy};
use torsade::{Clock, Failure, Reactor, Signal, spawn};

/// Signals that another thread sends to this one until it is dropped.
struct Flood {
    is_finished: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    sender: JoinHandle<()>,
}

impl Flood {
    fn begin(signals: [Signal; 2]) -> Self {
        // SAFETY: the call takes nothing and only returns a number.
        let target = unsafe { libc::pthread_self() };
        let is_finished = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU32::new(0));
        let (over, count, start) = (is_finished.clone(), sent.clone(), Instant::now());
        let sender = thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let due = start.elapsed().as_secs_f64() * PER_SECOND;
                while f64::from(count.load(Ordering::SeqCst)) < due {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    let signal = signals[number as usize % 2].number();
                    // SAFETY: the thread lives: it joins this one, and has a handler for the
                    // signal.
                    assert_eq!(unsafe { libc::pthread_kill(target, signal) }, 0);
                }
                thread::park_timeout(Duration::from_micros(100));
            }
        });
        Self {
            is_finished,
            sent,
            sender,
        }
    }

    /// How many there were until now.
    fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Stops it, and returns how many there were.
    fn end(self) -> u32 {
        self.is_finished.store(true, Ordering::SeqCst);
        self.sender.join().unwrap();
        self.sent.load(Ordering::SeqCst)
    }
}

/// Sends a few megabytes there and back, and looks at each byte.
async fn echo(reactor: &Reactor, port: &torsade::Port) -> Result<usize, Failure> {
    let stream = reactor.connect_stream(port.local_addr()).await?;
    let (mut reader, mut writer) = stream.split();
    let writing = spawn(async move {
        let block: Vec<u8> = (0..BLOCK).map(|at| (at % 251) as u8).collect();
        for _ in 0..BLOCKS {
            writer.write_all(&block).await?;
        }
        writer.close().await?;
        Ok::<_, Failure>(())
    });
    let (mut count, mut buffer) = (0, vec![0; 50_000]);
    loop {
        let read = reader.read(&mut buffer).await?;
        for byte in &buffer[..read] {
            assert_eq!(usize::from(*byte), count % BLOCK % 251);
            count += 1;
        }
        if read == 0 {
            break;
        }
    }
    writing.await??;
    assert_eq!(count, BLOCK * BLOCKS);
    Ok(count)
}

on_both! {
    async fn ten_thousand_a_second_lose_no_byte(reactor) {
        let _alone = alone();
        let both = [Signal::USR1, Signal::WINCH];
        let mut signals = reactor.signals(both)?;
        let port = reactor.listen(HERE, |_| Spy::echo())?;
        let observed = Rc::new(Cell::new(0));
        let count = observed.clone();
        let listening = spawn(async move {
            while signals.next().await.is_some() {
                count.set(count.get() + 1);
            }
        });
        let flood = Flood::begin(both);
        let (mut bytes, mut ticks) = (0, 0);
        while flood.sent() < MANY {
            bytes += echo(&reactor, &port).await?;
            // Timers and threads are interrupted as well.
            reactor.sleep(MS).await?;
            let read = reactor.spawn_blocking(|| Ok(std::fs::read(file!())?.len()));
            assert!(read.await? > 0);
            ticks += 1;
        }
        let sent = flood.end();
        println!("{sent} signals, {} told, {bytes} bytes, {ticks} rounds", observed.get());
        assert!(bytes >= BLOCK * BLOCKS);
        assert!((2..=sent).contains(&observed.get()), "{} of {sent} were told", observed.get());
        listening.cancel().await;
        port.stop().await?;
    }
}

#[test]
fn a_blocking_call_continues_after_each_signal() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let both = [Signal::USR2, Signal::WINCH];
    let signals = reactor.signals(both).unwrap();
    let (here, there) = pipe().unwrap();
    let (mut here, mut there) = (File::from(here), File::from(there));
    let flood = Flood::begin(both);
    let sent = flood.sent.clone();
    let writer = thread::spawn(move || {
        while sent.load(Ordering::SeqCst) < 500 {
            thread::park_timeout(MS);
        }
        there.write_all(b"!").unwrap();
    });
    let mut byte = [0];
    // The standard library does not retry by itself.
    assert_eq!(here.read(&mut byte).unwrap(), 1);
    writer.join().unwrap();
    flood.end();
    drop(signals);
}

const PER_SECOND: f64 = 10_000.0;
const MANY: u32 = 6_000;
const BLOCK: usize = 64 * 1024 - 7;
const BLOCKS: usize = 32;
