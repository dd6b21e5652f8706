//! A guest book in PostgreSQL, through sqlx: its pool runs in tasks of the reactor, beside a timer
//! and under a time limit of the reactor.
//!
//! Run `cargo run --manifest-path tests/crates/Cargo.toml --example postgres URL NAME`, with a URL
//! as `postgres://user:password@host/database`. Prints the last visitors, the newest first.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::{PgPool, PgPoolOptions};
use torsade::prelude::*;

async fn visit(pool: &PgPool, name: &str) -> Result<Vec<String>, sqlx::Error> {
    let table = "create table if not exists visits (number serial primary key, name text)";
    sqlx::query(table).execute(pool).await?;
    let mut begun = pool.begin().await?;
    let insert = sqlx::query("insert into visits (name) values ($1)");
    insert.bind(name).execute(&mut *begun).await?;
    let last = sqlx::query("select name from visits order by number desc limit 5");
    let rows = last.fetch_all(&mut *begun).await?;
    begun.commit().await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let (Some(url), Some(name)) = (words.next(), words.next()) else {
        return Err(Failure::new("the URL of a database, and a name"));
    };
    torsade::run(async |reactor| {
        // sqlx asks for a tokio runtime: it has one beside the reactor from now on.
        torsade::tokio::enter(&reactor)?;
        let waits = reactor.call_later(Duration::from_secs(1), || eprintln!("it takes long"));
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(&url)?;
        let limit = Duration::from_secs(30);
        let visitors = reactor.timeout(limit, visit(&pool, &name)).await??;
        waits.cancel();
        for name in visitors {
            println!("{name}");
        }
        pool.close().await;
        Ok(())
    })
}
