//! Descriptors that a reactor watches.
#![cfg(unix)]

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;
use torsade::reactor::Interest;

use crate::pipe::Pipe;
use support::program::PATIENCE;
use support::{HERE, Log, MS, Spy, expect_reports, some_turns, until};
use torsade::Reactor;
use torsade::reactor::AnyWatch;

#[test]
fn descriptors_are_read_and_written_and_end_by_an_error() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let log = Log::new();
        let (reader, mut writer) = UnixStream::pair()?;
        let watch = reactor.watch(
            Pipe {
                end: reader,
                log: log.clone(),
                then: |_, end: &mut UnixStream| match end.read(&mut [0; 8])? {
                    0 => Err(io::Error::other("the end")),
                    _ => Ok(()),
                },
            },
            Interest::Read,
        )?;
        assert!(watch.is_watched());
        writer.write_all(b"x")?;
        until(|| log.has("read")).await;
        some_turns().await;
        assert_eq!(log.take(), ["read"]);
        watch.remove_reader();
        writer.write_all(b"y")?;
        some_turns().await;
        assert!(log.is_empty());
        watch.add_reader();
        until(|| log.has("read")).await;
        drop(writer);
        until(|| log.has("lost the end")).await;
        assert_eq!(log.take(), ["read", "read", "lost the end"]);
        assert!(!watch.is_watched() && watch.remove().is_none());

        // Writing, until the hook has had enough; then it is taken back.
        let (_reader, writer) = UnixStream::pair()?;
        let watch = reactor.watch(
            Pipe {
                end: writer,
                log: log.clone(),
                then: |watch, _: &mut UnixStream| {
                    watch.remove_writer();
                    Ok(())
                },
            },
            Interest::Write,
        )?;
        until(|| log.has("write")).await;
        some_turns().await;
        assert_eq!(log.take(), ["write"]);
        assert!(watch.remove().is_some() && watch.remove().is_none());
        assert!(log.is_empty());

        // It may remove itself inside its own hook, and is dropped then.
        let (_reader, writer) = UnixStream::pair()?;
        let watch = reactor.watch(
            Pipe {
                end: writer,
                log: log.clone(),
                then: |watch, _: &mut UnixStream| {
                    assert!(watch.remove().is_none());
                    Ok(())
                },
            },
            Interest::Write,
        )?;
        until(|| !watch.is_watched()).await;
        assert_eq!(log.take(), ["write"]);

        // A panic ends it.
        let reports = expect_reports(&reactor);
        let (_reader, writer) = UnixStream::pair()?;
        reactor.watch(
            Pipe {
                end: writer,
                log: log.clone(),
                then: |_, _: &mut UnixStream| panic!("oh"),
            },
            Interest::Write,
        )?;
        until(|| log.has("lost panicked: oh")).await;
        assert_eq!(reports.borrow().len(), 1);
        Ok(())
    });
}

#[test]
fn reading_goes_before_writing_and_an_error_of_it_keeps_writing_away() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let log = Log::new();
        let (one, two) = UnixStream::pair()?;
        (&two).write_all(b"x")?;
        let watch = reactor.watch(
            Pipe {
                end: one,
                log: log.clone(),
                then: |_, _| Ok(()),
            },
            Interest::Read,
        )?;
        watch.add_writer();
        until(|| log.all().len() >= 4).await;
        assert_eq!(log.take()[..4], ["read", "write", "read", "write"]);
        let mut pipe = watch.remove().unwrap();
        pipe.then = |_, _| Err(io::Error::other("no"));
        log.take();
        reactor.watch(pipe, Interest::Read)?.add_writer();
        until(|| log.has("lost no")).await;
        assert_eq!(log.take(), ["read", "lost no"]);
        Ok(())
    });
}

#[test]
fn the_watched_descriptors_are_listed_and_removed_together() {
    let reactor = Reactor::new().unwrap();
    let port = reactor.listen(HERE, |_| Spy::echo()).unwrap();
    let log = Log::new();
    let others = RefCell::new(Vec::new());
    let pipe = || {
        let (end, other) = UnixStream::pair().unwrap();
        others.borrow_mut().push(other);
        Pipe {
            end,
            log: log.clone(),
            then: |_, _: &mut UnixStream| Ok(()),
        }
    };
    let (reads, writes) = (pipe(), pipe());
    let line = line!() + 1;
    let reading = reactor.watch(reads, Interest::Read).unwrap();
    let writing = reactor.watch(writes, Interest::Write).unwrap();
    let lines = |watches: Vec<AnyWatch>| -> Vec<u32> {
        let line = |watch: &AnyWatch| watch.location().unwrap().line();
        watches.iter().map(line).collect()
    };
    assert_eq!(
        lines(
            reactor
                .watches()
                .into_iter()
                .filter(AnyWatch::is_reading)
                .collect::<Vec<_>>()
        ),
        [line]
    );
    assert_eq!(
        lines(
            reactor
                .watches()
                .into_iter()
                .filter(AnyWatch::is_writing)
                .collect::<Vec<_>>()
        ),
        [line + 1]
    );
    reading.add_writer();
    assert_eq!(
        lines(
            reactor
                .watches()
                .into_iter()
                .filter(AnyWatch::is_writing)
                .collect::<Vec<_>>()
        )
        .len(),
        2
    );
    let all = reactor
        .watches()
        .into_iter()
        .filter(AnyWatch::is_reading)
        .collect::<Vec<_>>();
    all[0].remove_writer();
    assert_eq!(
        lines(
            reactor
                .watches()
                .into_iter()
                .filter(AnyWatch::is_writing)
                .collect::<Vec<_>>()
        ),
        [line + 1]
    );
    all[0].remove_reader();
    assert!(
        reactor
            .watches()
            .into_iter()
            .filter(AnyWatch::is_reading)
            .collect::<Vec<_>>()
            .is_empty()
            && reading.is_watched()
    );

    // A request through the list takes effect in the loop.
    all[0].add_reader();
    reactor.iterate(MS);
    (&others.borrow()[0]).write_all(b"x").unwrap();
    reactor.iterate(MS);
    assert!(log.has("read"));
    log.take();

    // One whose hook removes all of them is dropped when the hook returns.
    let mut hook = pipe();
    hook.then = |_, _| {
        let reactor = Reactor::current().unwrap();
        let removed = reactor
            .watches()
            .iter()
            .filter_map(AnyWatch::remove)
            .collect::<Vec<_>>();
        assert_eq!(removed.len(), 2);
        assert!(removed[0].is::<Pipe<UnixStream>>());
        Ok(())
    };
    reading.remove_reader();
    writing.remove_writer();
    let hooked = reactor.watch(hook, Interest::Write).unwrap();
    reactor.iterate(MS);
    assert_eq!(log.take(), ["write"], "connection_lost is not called");
    for watch in [&reading, &writing, &hooked] {
        assert!(!watch.is_watched() && watch.remove().is_none());
    }
    assert!(!all[0].is_watched() && all[0].remove().is_none() && all[0].location().is_none());
    assert!(
        reactor
            .watches()
            .iter()
            .filter_map(AnyWatch::remove)
            .collect::<Vec<_>>()
            .is_empty()
    );
    // The reactor's own sources stay.
    let client = std::net::TcpStream::connect(port.local_addr().inet().unwrap()).unwrap();
    (&client).write_all(b"ping").unwrap();
    client.set_nonblocking(true).unwrap();
    let patience = Instant::now() + PATIENCE;
    while !matches!((&client).read(&mut [0; 8]), Ok(4)) {
        assert!(Instant::now() < patience);
        reactor.iterate(MS);
    }
}

#[test]
fn a_descriptor_that_cannot_be_watched_is_refused() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let pipe = |end| Pipe {
            end,
            log: Log::new(),
            then: |_, _| Ok(()),
        };
        let file = std::fs::File::open("/proc/self/exe")?;
        let error = reactor.watch(pipe(file), Interest::Read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        Ok(())
    });
    torsade::testing::run(async |reactor| {
        let (reader, _writer) = UnixStream::pair()?;
        let pipe = Pipe {
            end: reader,
            log: Log::new(),
            then: |_, _: &mut UnixStream| Ok(()),
        };
        let error = reactor.watch(pipe, Interest::Read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        Ok(())
    });
}
