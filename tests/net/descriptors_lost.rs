//! Descriptors that arrive when the process has reached its limit; none of them leaks. Runs in its
//! own process, whose limit is lowered and whose descriptors are counted.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use torsade::net::ClientEndpoint;

use rustix::process::{Resource, getrlimit, setrlimit};
use support::folder::Folder;
use support::passing::send_together;
use support::{Log, Spy, own, until};
use torsade::net::ListenOptions;
use torsade::{Reactor, testing};

/// Returns the number of open descriptors.
fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_descriptor_over_the_limit_closes_its_connection_only_and_nothing_leaks() {
    own::alone(
        "a_descriptor_over_the_limit_closes_its_connection_only_and_nothing_leaks",
        lose_some,
    );
}

fn lose_some() {
    // The first reactor of a process opens descriptors that all reactors share.
    testing::run_on(Reactor::new().unwrap(), async |_reactor| Ok(()));
    let before = open();
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (log, lost) = (Log::new(), Rc::new(std::cell::RefCell::new(String::new())));
        let (ours, theirs) = UnixStream::pair()?;
        let (others, mine) = UnixStream::pair()?;
        let said = lost.clone();
        let spy = Spy::new(&log).on_lost(move |reason| {
            let error = reason.find::<std::io::Error>().unwrap();
            *said.borrow_mut() = error.to_string();
        });
        reactor.connect(ClientEndpoint::adopt(ours), spy).await?;
        reactor
            .connect(ClientEndpoint::adopt(others), Spy::echo())
            .await?;
        let given: Vec<OwnedFd> = (0..10)
            .map(|_| File::open("/dev/null").unwrap().into())
            .collect();
        let limits = getrlimit(Resource::Nofile);
        let few = rustix::process::Rlimit {
            current: Some(open() as u64 + 3),
            ..limits
        };
        send_together(&theirs, b"xyz", &given);
        setrlimit(Resource::Nofile, few).unwrap();
        until(|| log.all().len() == 2).await;
        setrlimit(Resource::Nofile, limits).unwrap();
        assert_eq!(log.take(), ["made", "lost broken Other"]);
        assert_eq!(
            *lost.borrow(),
            "received descriptors were lost: this process can open no more"
        );
        let mut mine = reactor.connect_stream(ClientEndpoint::adopt(mine)).await?;
        mine.write_all(b"still there").await?;
        mine.read_exact(&mut [0; 11]).await?;
        drop(mine);
        Ok(())
    });

    // All ways in which descriptors arrive and are closed.
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        let options = ListenOptions::new().lock_file(true);
        for round in 0..50 {
            let port = reactor.serve((folder.socket(), &options), async move |mut conn| {
                if round % 2 == 0 {
                    conn.recv_descriptor().await?;
                }
                Ok(())
            })?;
            let mut conn = reactor.connect_stream(folder.socket()).await?;
            for _ in 0..20 {
                conn.send_descriptor(File::open("/dev/null")?)?;
            }
            conn.write_all(if round % 3 == 0 { b"x" } else { &[b'x'; 20] })
                .await?;
            if round % 5 == 0 {
                conn.transport().abort_connection();
            }
            drop(conn);
            port.stop().await?;
        }
        until(|| support::alive(&reactor).is_empty()).await;
        Ok(())
    });
    // Another thread may have a descriptor open for a moment; a leak would grow with each
    // descriptor passed.
    let now = open();
    assert!(now <= before + 1, "{now} open, {before} before");
}
