//! A pool of clients: at most so many connections, which wait in order, and none that is idle for
//! long.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use torsade::DeferredSemaphore;
use torsade::prelude::*;

use super::client::{Commands, Redis};

/// The pool. Clones share the connections.
#[derive(Clone)]
pub(super) struct Pool(Rc<Inner>);

struct Inner {
    reactor: Reactor,
    address: String,
    idle_limit: Duration,
    permits: DeferredSemaphore,
    /// The clients that are not in use, the one that was used last at the end.
    idle: RefCell<VecDeque<(Handle<Redis>, Instant)>>,
    made: Cell<usize>,
}

impl Pool {
    /// Makes a pool of at most `size` connections; one that was not used for `idle_limit` is closed
    /// when the pool is next used.
    pub(super) fn new(
        reactor: &Reactor,
        address: impl Into<String>,
        size: usize,
        idle_limit: Duration,
    ) -> Result<Self, Failure> {
        Ok(Self(Rc::new(Inner {
            reactor: reactor.clone(),
            address: address.into(),
            idle_limit,
            permits: DeferredSemaphore::new(size)?,
            idle: RefCell::default(),
            made: Cell::new(0),
        })))
    }

    /// Calls `f` with a client that has no other user meanwhile; waits for one if all are used. A
    /// client whose connection was lost, or whose use was cancelled, is not used again.
    pub(super) async fn with<R>(
        &self,
        f: impl AsyncFnOnce(&Handle<Redis>) -> R,
    ) -> Result<R, Failure> {
        let _permit = self.0.permits.acquire().await?;
        let client = match self.take_idle() {
            Some(client) => client,
            None => self.connect().await?,
        };
        let mut used = Used(Some(client));
        let result = f(used.client()).await;
        if let Some(client) = used.0.take().filter(Handle::is_connected) {
            self.0
                .idle
                .borrow_mut()
                .push_back((client, self.0.reactor.now()));
        }
        Ok(result)
    }

    /// Returns how many connections were made so far.
    pub(super) fn made(&self) -> usize {
        self.0.made.get()
    }

    fn take_idle(&self) -> Option<Handle<Redis>> {
        let now = self.0.reactor.now();
        loop {
            let (client, since) = self.0.idle.borrow_mut().pop_front()?;
            if now - since < self.0.idle_limit && client.is_connected() {
                // The others are younger. The one that was used last is most likely alive.
                let mut idle = self.0.idle.borrow_mut();
                let Some(last) = idle.pop_back() else {
                    return Some(client);
                };
                idle.push_front((client, since));
                return Some(last.0);
            }
            client.lose_connection();
        }
    }

    async fn connect(&self) -> Result<Handle<Redis>, Failure> {
        let client = self
            .0
            .reactor
            .connect(self.0.address.as_str(), Redis::new())
            .await?;
        self.0.made.set(self.0.made.get() + 1);
        client.greet(None, 0).await?;
        Ok(client)
    }
}

/// A client in use. If it is dropped within a use, replies may still come: it is closed.
struct Used(Option<Handle<Redis>>);

impl Used {
    fn client(&self) -> &Handle<Redis> {
        self.0.as_ref().expect("it is taken out at the end")
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            client.abort_connection();
        }
    }
}
