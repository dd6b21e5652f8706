//! Descriptors that a reactor watches, and a reactor that is watched as a descriptor.
#![cfg(unix)]

mod support;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use support::{HERE, Log, MS, Spy, expect_reports, some_turns, until};
use torsade::{Clock, Descriptor, Failure, Reactor, Watch};

#[test]
fn a_foreign_loop_can_drive_it_by_its_descriptor() {
    let reactor = Reactor::new().unwrap();
    let log = Log::new();
    let port = reactor.listen(HERE, |_| Spy::echo()).unwrap();
    let to = log.clone();
    let spy = Spy::new(&log)
        .on_made(|cx| cx.write("ping"))
        .on_data(move |cx, _| {
            to.note("pong");
            cx.lose_connection();
        });
    drop(reactor.connect(port.local_addr(), spy));
    let to = log.clone();
    reactor.call_later(MS * 2, move || to.note("timer"));
    let remote = reactor.remote();
    let thread = std::thread::spawn(move || {
        std::thread::park_timeout(MS * 5);
        remote.call(|| REMOTE.with(|log| log.borrow().as_ref().unwrap().note("remote")))
    });
    REMOTE.with(|slot| drop(slot.replace(Some(log.clone()))));
    let patience = Instant::now() + MS * 5000;
    let mut turns = 0;
    while !(log.has("remote") && log.has("lost done") && log.has("timer")) {
        assert!(Instant::now() < patience, "{:?}", log.all());
        let timeout = reactor.poll_timeout().unwrap_or(MS * 1000);
        let timeout = rustix::event::Timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos() as _,
        };
        let mut fds = [rustix::event::PollFd::new(
            &reactor,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut fds, Some(&timeout)).unwrap();
        reactor.run_until_current();
        reactor.do_iteration(Some(Duration::ZERO));
        turns += 1;
    }
    thread.join().unwrap().unwrap();
    assert!(log.has("pong"));
    assert!(turns < 100, "{turns} turns");
    REMOTE.with(|slot| drop(slot.take()));
}

/// One end of a pipe that notes what happens to it.
struct Pipe<E: AsFd + 'static> {
    end: E,
    log: Log,
    then: fn(&Watch<Self>, &mut E) -> io::Result<()>,
}

impl<E: AsFd + 'static> AsFd for Pipe<E> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

impl<E: AsFd + 'static> Descriptor for Pipe<E> {
    fn do_read(&mut self, watch: &Watch<Self>) -> io::Result<()> {
        self.log.note("read");
        (self.then)(watch, &mut self.end)
    }

    fn do_write(&mut self, watch: &Watch<Self>) -> io::Result<()> {
        self.log.note("write");
        (self.then)(watch, &mut self.end)
    }

    fn connection_lost(&mut self, reason: &Failure) {
        self.log.note(format_args!("lost {reason}"));
    }
}

#[test]
fn descriptors_are_read_and_written_and_end_by_an_error() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let log = Log::new();
        let (reader, mut writer) = UnixStream::pair()?;
        let watch = reactor.add_reader(Pipe {
            end: reader,
            log: log.clone(),
            then: |_, end: &mut UnixStream| match end.read(&mut [0; 8])? {
                0 => Err(io::Error::other("the end")),
                _ => Ok(()),
            },
        })?;
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
        let watch = reactor.add_writer(Pipe {
            end: writer,
            log: log.clone(),
            then: |watch, _: &mut UnixStream| {
                watch.remove_writer();
                Ok(())
            },
        })?;
        until(|| log.has("write")).await;
        some_turns().await;
        assert_eq!(log.take(), ["write"]);
        assert!(watch.remove().is_some() && watch.remove().is_none());
        assert!(log.is_empty());

        // It may remove itself inside its own hook, and is dropped then.
        let (_reader, writer) = UnixStream::pair()?;
        let watch = reactor.add_writer(Pipe {
            end: writer,
            log: log.clone(),
            then: |watch, _: &mut UnixStream| {
                assert!(watch.remove().is_none());
                Ok(())
            },
        })?;
        until(|| !watch.is_watched()).await;
        assert_eq!(log.take(), ["write"]);

        // A panic ends it.
        let reports = expect_reports(&reactor);
        let (_reader, writer) = UnixStream::pair()?;
        reactor.add_writer(Pipe {
            end: writer,
            log: log.clone(),
            then: |_, _: &mut UnixStream| panic!("oh"),
        })?;
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
        let watch = reactor.add_reader(Pipe {
            end: one,
            log: log.clone(),
            then: |_, _| Ok(()),
        })?;
        watch.add_writer();
        until(|| log.all().len() >= 4).await;
        assert_eq!(log.take()[..4], ["read", "write", "read", "write"]);
        let mut pipe = watch.remove().unwrap();
        pipe.then = |_, _| Err(io::Error::other("no"));
        log.take();
        reactor.add_reader(pipe)?.add_writer();
        until(|| log.has("lost no")).await;
        assert_eq!(log.take(), ["read", "lost no"]);
        Ok(())
    });
}

#[test]
fn what_cannot_be_watched_is_refused() {
    torsade::testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let pipe = |end| Pipe {
            end,
            log: Log::new(),
            then: |_, _| Ok(()),
        };
        let file = std::fs::File::open("/proc/self/exe")?;
        let error = reactor.add_reader(pipe(file)).unwrap_err();
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
        let error = reactor.add_reader(pipe).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        Ok(())
    });
}

thread_local! {
    static REMOTE: RefCell<Option<Log>> = const { RefCell::new(None) };
}
