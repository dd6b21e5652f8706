//! The state of each peer and the time of its last KEEPALIVE in an SQLite file. SQLite blocks, so a
//! thread writes, one row after the other.

use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, params};
use torsade::DeferredQueue;
use torsade::prelude::{Failure, Reactor, Task, spawn};

/// Rows to write, until `None`.
type Rows = DeferredQueue<Option<(Ipv4Addr, Change, u64)>>;

/// What is written about a peer.
#[derive(Clone, Debug)]
pub(super) enum Change {
    State(String),
    Keepalive,
}

/// The file. Dropping it without [`Store::close`] loses what is not written yet.
pub(super) struct Store {
    rows: Rows,
    task: Task<Result<(), Failure>>,
}

/// What other code writes with.
#[derive(Clone)]
pub(super) struct Writer(Rows);

impl Writer {
    /// Writes a change at the present time, soon.
    pub(super) fn write(&self, peer: Ipv4Addr, change: Change) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = time.map_or(0, |time| time.as_secs());
        // The queue has no limit, so it is never full.
        let _ = self.0.put(Some((peer, change, seconds)));
    }
}

impl Store {
    /// Opens the file, and makes it if there is none.
    pub(super) async fn open(reactor: &Reactor, path: &str) -> Result<Self, Failure> {
        let path = path.to_string();
        let mut file = reactor
            .spawn_blocking(move || {
                let file = Connection::open(path)?;
                file.execute_batch(
                    "CREATE TABLE IF NOT EXISTS peers (address TEXT PRIMARY KEY,
                         state TEXT NOT NULL DEFAULT 'Idle', since INTEGER, keepalive INTEGER)",
                )?;
                Ok(file)
            })
            .await?;
        let rows = Rows::new();
        let (queue, reactor) = (rows.clone(), reactor.clone());
        let task = spawn(async move {
            while let Some((peer, change, time)) = queue.get().await? {
                file = reactor
                    .spawn_blocking(move || write(&file, peer, &change, time).map(|()| file))
                    .await?;
            }
            Ok(())
        });
        Ok(Self { rows, task })
    }

    pub(super) fn writer(&self) -> Writer {
        Writer(self.rows.clone())
    }

    /// Waits until all is written.
    pub(super) async fn close(self) -> Result<(), Failure> {
        self.rows.put_when_room(None).await?;
        self.task.await?
    }
}

fn write(file: &Connection, peer: Ipv4Addr, change: &Change, time: u64) -> Result<(), Failure> {
    let (peer, time) = (peer.to_string(), i64::try_from(time)?);
    match change {
        Change::State(state) => file.execute(
            "INSERT INTO peers (address, state, since) VALUES (?1, ?2, ?3)
                 ON CONFLICT (address) DO UPDATE SET state = ?2, since = ?3",
            params![peer, state, time],
        ),
        Change::Keepalive => file.execute(
            "INSERT INTO peers (address, keepalive) VALUES (?1, ?2)
                 ON CONFLICT (address) DO UPDATE SET keepalive = ?2",
            params![peer, time],
        ),
    }?;
    Ok(())
}
