//! Counts primes in threads, while a server on the loop's thread reports the progress.
//!
//! Run `cargo run --release --example primes [LIMIT]`. Prints `before: 0 of 8 parts`, `meanwhile it
//! answers`, `after: 8 of 8 parts`, `primes below 200000: 17984`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use torsade::{Connection, Failure, defer::gather, threads::CancelToken};

const PARTS: u64 = 8;

/// Counts the primes from `from` to below `to`.
fn count(from: u64, to: u64, token: &CancelToken) -> Result<u64, Failure> {
    let mut found = 0;
    for n in from.max(2)..to {
        token.check()?;
        let has_divisor = (2..).take_while(|d| d * d <= n).any(|d| n % d == 0);
        found += u64::from(!has_divisor);
    }
    Ok(found)
}

async fn ask(conn: &mut Connection) -> Result<String, Failure> {
    conn.write_all(b"how far?\n").await?;
    let line = conn.read_line(80).await?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn main() -> Result<(), Failure> {
    let limit: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(200_000), |text| text.parse())?;
    torsade::run(async move |reactor| {
        let done = Arc::new(AtomicU64::new(0));
        let parts = done.clone();
        let port = reactor.serve("127.0.0.1:0", async move |mut conn| {
            while conn.read_line(80).await?.is_some() {
                let so_far = parts.load(Ordering::SeqCst);
                conn.write_all(format!("{so_far} of {PARTS} parts\n").as_bytes())
                    .await?;
            }
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        println!("before: {}", ask(&mut conn).await?);

        let parts = (0..PARTS).map(|part| {
            let (from, to) = (limit * part / PARTS, limit * (part + 1) / PARTS);
            let done = done.clone();
            reactor.spawn_blocking(move || {
                let token = CancelToken::current();
                let found = count(from, to, &token)?;
                done.fetch_add(1, Ordering::SeqCst);
                Ok(found)
            })
        });
        let primes = gather(parts.collect::<Vec<_>>());
        match ask(&mut conn).await? == format!("{PARTS} of {PARTS} parts") {
            false => println!("meanwhile it answers"),
            true => println!("it answered when all was done"),
        }

        let primes: u64 = primes.await?.into_iter().sum();
        println!("after: {}", ask(&mut conn).await?);
        println!("primes below {limit}: {primes}");
        Ok(())
    })
}
