//! A flood of signals, all of them on the loop's own thread while it moves megabytes: none of those
//! is lost.
#![cfg(unix)]
#![allow(unsafe_code, reason = "a signal is sent to one thread")]

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::alone;
use crate::support::{HERE, MS, Spy};
use rustix::pipe::pipe;
use torsade::{Clock, Failure, Reactor, Signal, spawn};

/// Signals that another thread sends to this one until it is dropped.
struct Flood {
    is_finished: Arc<AtomicBool>,
    sender: JoinHandle<u32>,
    start: Instant,
}

impl Flood {
    fn begin(signals: [Signal; 2]) -> Self {
        // SAFETY: the call takes nothing and only returns a number.
        let target = unsafe { libc::pthread_self() };
        let is_finished = Arc::new(AtomicBool::new(false));
        let (over, start) = (is_finished.clone(), Instant::now());
        let sender = thread::spawn(move || {
            let mut sent = 0;
            while !over.load(Ordering::SeqCst) {
                while f64::from(sent) < start.elapsed().as_secs_f64() * PER_SECOND {
                    let signal = signals[sent as usize % 2].number();
                    // SAFETY: the thread lives: it joins this one, and has a handler for the
                    // signal.
                    assert_eq!(unsafe { libc::pthread_kill(target, signal) }, 0);
                    sent += 1;
                }
                thread::park_timeout(Duration::from_micros(100));
            }
            sent
        });
        Self {
            is_finished,
            sender,
            start,
        }
    }

    /// How many there were, in how long.
    fn end(self) -> (u32, f64) {
        self.is_finished.store(true, Ordering::SeqCst);
        let sent = self.sender.join().unwrap();
        (sent, self.start.elapsed().as_secs_f64())
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
        while flood.start.elapsed() < LONG {
            bytes += echo(&reactor, &port).await?;
            // Timers and threads are interrupted as well.
            reactor.sleep(MS).await?;
            let read = reactor.spawn_blocking(|| Ok(std::fs::read(file!())?.len()));
            assert!(read.await? > 0);
            ticks += 1;
        }
        let (sent, seconds) = flood.end();
        let rate = f64::from(sent) / seconds;
        println!("{sent} signals in {seconds:.1} s, {} told, {bytes} bytes, {ticks} rounds", observed.get());
        assert!(rate > PER_SECOND * 0.9, "{rate} signals a second are no flood");
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
    let writer = thread::spawn(move || {
        thread::park_timeout(MS * 50);
        there.write_all(b"!").unwrap();
    });
    let mut byte = [0];
    // The standard library does not retry by itself.
    assert_eq!(here.read(&mut byte).unwrap(), 1);
    writer.join().unwrap();
    let (sent, _) = flood.end();
    assert!(sent > 100, "{sent} signals are no flood");
    drop(signals);
}

const PER_SECOND: f64 = 10_000.0;
const LONG: Duration = Duration::from_millis(1200);
const BLOCK: usize = 64 * 1024 - 7;
const BLOCKS: usize = 32;
