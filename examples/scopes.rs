//! Structured concurrency: child tasks that borrow, a failure that ends the others, a deadline, and
//! a child that must finish.
//!
//! Run `cargo run --example scopes`. Prints `3 pages, 30 words`, then `the journal is closed`, then
//! `gave up: page 2 is torn`, then `gave up: timed out after 20ms`.

use std::cell::Cell;
use std::time::Duration;

use torsade::scope::{ScopeBuilder, scope};
use torsade::{Clock, Failure, Reactor};

const MS: Duration = Duration::from_millis(1);

/// Reads a page, which takes a while. The second page may be torn.
async fn read(reactor: &Reactor, page: u32, torn: bool) -> Result<u32, Failure> {
    reactor.sleep(MS * page).await?;
    match page {
        2 if torn => Err(Failure::new("page 2 is torn")),
        _ => Ok(10),
    }
}

/// Reads three pages at once. All three tasks borrow the sums of this function.
async fn count(reactor: &Reactor, torn: bool) -> Result<(u32, u32), Failure> {
    let (pages, words) = (Cell::new(0), Cell::new(0));
    scope(async |s| {
        for page in 1..=3 {
            let (pages, words) = (&pages, &words);
            s.spawn(async move {
                let more = read(reactor, page, torn).await?;
                words.set(words.get() + more);
                pages.set(pages.get() + 1);
                Ok(())
            });
        }
        if torn {
            // The scope waits for a shielded task even if another task fails.
            s.spawn_shielded(async {
                reactor.sleep(MS * 10).await?;
                println!("the journal is closed");
                Ok(())
            });
        }
        Ok(())
    })
    .await?;
    Ok((pages.get(), words.get()))
}

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let (pages, words) = count(&reactor, false).await?;
        println!("{pages} pages, {words} words");

        if let Err(failure) = count(&reactor, true).await {
            println!("gave up: {failure}");
        }

        let late = ScopeBuilder::new()
            .deadline(&reactor, MS * 20)
            .run(async |s| {
                s.spawn(std::future::pending::<Result<(), Failure>>());
                Ok(())
            })
            .await;
        if let Err(failure) = late {
            println!("gave up: {failure}");
        }
        Ok(())
    })
}
