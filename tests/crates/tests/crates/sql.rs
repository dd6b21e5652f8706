//! Databases: `tokio-postgres` over a connection of the reactor's, `sqlx` with a tokio runtime
//! beside it.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use sqlx::Row;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio_postgres::NoTls;
use torsade::clock::TimedOut;
use torsade::process::{Child, Command};
use torsade::{Clock, Failure, Reactor, fail, spawn, testing};

use crate::{SECOND, examples};

/// A PostgreSQL server on a UNIX socket in a separate folder.
struct Postgres {
    folder: TempDir,
    server: Child,
}

/// Returns the path of a program of PostgreSQL, which Debian keeps in a folder for each version.
fn program(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let mut files = folders.into_iter().map(|folder| folder.join(name));
    files
        .find(|file| file.exists())
        .ok_or_else(|| fail!("`{name}` is not installed"))
}

impl Postgres {
    async fn start(reactor: &Reactor) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let own = |command: Command| command.current_dir(folder.path());
        // PostgreSQL refuses to run as root.
        let id = async |what: &str| -> Result<u32, Failure> {
            let output = Command::new("id")
                .args([what, "postgres"])
                .output(reactor)
                .await?;
            Ok(String::from_utf8(output.out)?.trim().parse()?)
        };
        let is_root = Command::new("id").arg("-u").output(reactor).await?.out == b"0\n";
        let ids = match is_root {
            true => Some((id("-u").await?, id("-g").await?)),
            false => None,
        };
        if let Some((user, group)) = ids {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let as_user = |command: Command| match ids {
            Some((user, group)) => own(command).uid(user).gid(group).groups([]),
            None => own(command),
        };
        let data = folder.path().join("data");
        let made = Command::new(program("initdb")?)
            .args(["--auth=trust", "--no-sync", "--username=torsade", "-D"])
            .arg(&data);
        let made = as_user(made).output(reactor).await?;
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.err).into_owned();
            return Err(fail!("initdb: {why}"));
        }
        let server = Command::new(program("postgres")?)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"])
            .arg(format!(
                "unix_socket_directories={}",
                folder.path().display()
            ))
            .arg("-D")
            .arg(&data);
        let server = as_user(server).kill_on_drop(true).spawn(reactor)?;
        Ok(Self { folder, server })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    async fn stop(self) -> Result<(), Failure> {
        // A fast shutdown.
        self.server.signal_process(torsade::Signal::INT)?;
        self.server.status().await?;
        Ok(())
    }
}

/// Connects through the reactor; the driver is a task of it.
async fn client(reactor: &Reactor, socket: &Path) -> Result<tokio_postgres::Client, Failure> {
    let mut config = tokio_postgres::Config::new();
    config.user("torsade").dbname("postgres");
    let connects = async {
        loop {
            // While the server starts, it is not there, or refuses.
            let conn = reactor.connect_stream(format!("unix:{}", socket.display()));
            if let Ok(conn) = conn.await
                && let Ok(both) = config.connect_raw(conn, NoTls).await
            {
                return both;
            }
            drop(reactor.sleep(SECOND / 50).await);
        }
    };
    let (client, driver) = reactor.timeout(30 * SECOND, connects).await?;
    spawn(async move { Ok::<(), Failure>(driver.await?) }).detach();
    Ok(client)
}

#[test]
fn postgres_answers_on_a_connection_of_the_reactor_and_through_sqlx() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let postgres = Postgres::start(&reactor).await?;
        let client = client(&reactor, &postgres.socket()).await?;
        client
            .batch_execute("create table people (name text, age int)")
            .await?;
        let insert = client.prepare("insert into people values ($1, $2)").await?;
        for (name, age) in [("anna", 30), ("otto", 40)] {
            assert_eq!(client.execute(&insert, &[&name, &age]).await?, 1);
        }
        // Pipelined: both are sent before the first is answered.
        let (oldest, count) = futures::future::try_join(
            client.query_one("select name from people order by age desc limit 1", &[]),
            client.query_one("select count(*) from people", &[]),
        )
        .await?;
        assert_eq!(oldest.get::<_, String>(0), "otto");
        assert_eq!(count.get::<_, i64>(0), 2);
        let slow = client.batch_execute("select pg_sleep(3600)");
        let cancel = client.cancel_token();
        let late = reactor.timeout(SECOND / 20, slow).await;
        assert!(late.is_err_and(|failure| failure.is::<TimedOut>()));
        let conn = reactor
            .connect_stream(format!("unix:{}", postgres.socket().display()))
            .await?;
        cancel.cancel_query_raw(conn, NoTls).await?;
        assert_eq!(client.query_one("select 1", &[]).await?.get::<_, i32>(0), 1);
        drop(client);

        torsade::tokio::enter(&reactor)?;
        let folder = postgres.folder.path().display();
        let url = format!("postgres:///postgres?host={folder}&user=torsade");
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect(&url)
            .await?;
        let names: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                spawn(async move {
                    let rows = sqlx::query("select name from people where age >= $1 order by age")
                        .bind(30)
                        .fetch_all(&pool)
                        .await?;
                    rows.iter()
                        .map(|row| row.try_get::<String, _>(0))
                        .collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        for names in names {
            assert_eq!(names.await??, ["anna", "otto"]);
        }
        let mut begun = pool.begin().await?;
        sqlx::query("delete from people")
            .execute(&mut *begun)
            .await?;
        // Dropped: what it has done is undone.
        drop(begun);
        let count = sqlx::query("select count(*) from people")
            .fetch_one(&pool)
            .await?;
        assert_eq!(count.try_get::<i64, _>(0)?, 2);
        // The pool waits for the server before it uses that connection again, or closes it.
        let slow = sqlx::query("select pg_sleep(0.5)").execute(&pool);
        let late = reactor.timeout(SECOND / 20, slow).await;
        assert!(late.is_err_and(|failure| failure.is::<TimedOut>()));
        pool.close().await;

        for (name, visitors) in [("anna", "anna\n"), ("otto", "otto\nanna\n")] {
            let example = Command::new(examples::path("postgres")?);
            let output = example.args([&url, name]).output(&reactor).await?;
            assert_eq!(String::from_utf8(output.out)?, visitors);
        }
        postgres.stop().await
    });
}
