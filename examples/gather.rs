//! Many fetches, five at a time: a semaphore limits them, `gather` waits for all, and the progress
//! is shown.
//!
//! Run `cargo run --example gather`. Prints `4 of 12`, `8 of 12`, `12 of 12`, then `at most 5 at
//! once`, then `144 bytes in all`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use torsade::defer::gather;
use torsade::locks::DeferredSemaphore;
use torsade::{Clock, Deferred, Failure, Reactor};

const PAGES: usize = 12;

/// The state that all fetches share.
#[derive(Default)]
struct Progress {
    running: Cell<usize>,
    most: Cell<usize>,
    done: Cell<usize>,
}

impl Progress {
    fn begin(&self) {
        self.running.set(self.running.get() + 1);
        self.most.set(self.most.get().max(self.running.get()));
    }

    fn end(&self) {
        self.running.set(self.running.get() - 1);
        self.done.set(self.done.get() + 1);
        if self.done.get() % 4 == 0 {
            println!("{} of {PAGES}", self.done.get());
        }
    }
}

/// Fetches a page, once the semaphore grants a permit.
fn fetch(reactor: &Reactor, turns: &DeferredSemaphore, progress: &Rc<Progress>) -> Deferred<usize> {
    let (reactor, progress) = (reactor.clone(), progress.clone());
    turns.run(move || async move {
        progress.begin();
        reactor.sleep(Duration::from_millis(2)).await?;
        progress.end();
        Ok(12)
    })
}

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let turns = DeferredSemaphore::new(5)?;
        let progress = Rc::new(Progress::default());
        let fetches = (0..PAGES).map(|_| fetch(&reactor, &turns, &progress));
        let sizes = gather(fetches).await?;
        println!("at most {} at once", progress.most.get());
        println!("{} bytes in all", sizes.iter().sum::<usize>());
        Ok(())
    })
}
