//! Large amounts: a hundred megabytes to a slow reader, and thousands of connections.

use std::cell::Cell;
use std::rc::Rc;

use support::{HERE, Log, Spy, until};
use torsade::net::ListenOptions;
use torsade::{Connection, Failure, Reactor, yield_now};

/// Reads to the end, a little at a time, with many turns between; returns the number of bytes.
async fn read_slowly(conn: &mut Connection) -> Result<(usize, bool), Failure> {
    let (mut count, mut is_right) = (0, true);
    let mut buf = vec![0; 48 * 1024];
    let right = right(buf.len() + 251);
    loop {
        for _ in 0..3 {
            yield_now().await;
        }
        match conn.read(&mut buf).await? {
            0 => return Ok((count, is_right)),
            more => {
                is_right &= buf[..more] == right[count % 251..][..more];
                count += more;
            }
        }
    }
}

/// The expected bytes.
fn right(count: usize) -> Vec<u8> {
    let round: Vec<u8> = (0..251).map(byte).collect();
    let mut all = round.repeat(count / 251 + 1);
    all.truncate(count);
    all
}

fn byte(n: usize) -> u8 {
    (n % 251) as u8
}

/// Returns the number of open descriptors.
#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[cfg(not(target_os = "linux"))]
fn descriptors() -> usize {
    0
}

const MUCH: usize = 100_000_000;

on_both! {
    async fn a_hundred_megabytes_written_before_the_end_all_arrive_at_a_slow_reader(reactor) {
        let log = Log::new();
        let seen = log.clone();
        let all: Vec<u8> = right(MUCH);
        let port = reactor.listen(HERE, move |_| {
            let all = all.clone();
            Spy::new(&seen).on_made(move |transport| {
                transport.write(&all);
                transport.lose_connection();
            })
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(read_slowly(&mut conn).await?, (MUCH, true));
        until(|| log.has("lost done")).await;
        assert_eq!(log.take(), ["made", "lost done"]);
        port.stop().await?;
    }

    async fn an_abort_with_queued_bytes_is_reported_once(reactor) {
        let log = Log::new();
        let seen = log.clone();
        let port = reactor.listen(HERE, move |_| {
            Spy::new(&seen).on_data(|transport, _| {
                transport.write(vec![1; MUCH / 10]);
                transport.abort_connection();
                transport.abort_connection();
                transport.lose_connection();
            })
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"go").await?;
        let read = read_slowly(&mut conn).await;
        assert!(read.map_or(true, |(count, _)| count < MUCH / 10));
        until(|| log.has("lost aborted")).await;
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(log.take(), ["made", "data go", "lost aborted"]);
        port.stop().await?;
    }

    async fn twenty_thousand_resets_leave_nothing_behind(reactor) {
        const ALL: usize = 20_000;
        const AT_ONCE: usize = 20;
        let (made, lost) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (count, end) = (made.clone(), lost.clone());
        let options = ListenOptions::new().backlog(1024);
        let port = reactor.listen((HERE, &options), move |_| {
            count.set(count.get() + 1);
            let end = end.clone();
            Spy::new(&Log::new()).on_lost(move |_| end.set(end.get() + 1))
        })?;
        let before = descriptors();
        for _ in 0..ALL / AT_ONCE {
            knock(&reactor, &port, AT_ONCE).await?;
        }
        while lost.get() < made.get() {
            yield_now().await;
        }
        // Connections that were reset before they were accepted were never made.
        assert!(made.get() <= ALL && lost.get() == made.get());
        // Other tests have open descriptors too.
        assert!(descriptors() < before + 1_000, "{} and then {}", before, descriptors());
        // The port still works.
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.transport().lose_write();
        assert_eq!(conn.read(&mut [0; 8]).await?, 0);
        drop(conn);
        port.stop().await?;
    }
}

/// This many clients connect at once, send a word, and reset.
async fn knock(reactor: &Reactor, port: &torsade::Port, count: usize) -> Result<(), Failure> {
    let all = (0..count).map(|_| reactor.connect_stream(port.local_addr()));
    for conn in torsade::defer::gather(all).await? {
        conn.transport().write("hello");
        conn.transport().abort_connection();
    }
    Ok(())
}
