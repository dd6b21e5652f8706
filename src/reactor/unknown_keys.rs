//! Events whose key belongs to no source.
//!
//! One such event is normal: an earlier event of the same wait removed its source. The same key in
//! a later wait is not normal: the kernel still watches a socket that was closed here, because a
//! forked process holds it too, and each wait would end at once. Then the poller is rebuilt without
//! the socket.

use std::cell::RefCell;

use super::Inner;
use crate::index::Index;
use crate::report::WarnOnce;

/// The keys of events without a source.
#[derive(Default)]
pub(super) struct UnknownKeys {
    /// The keys of the current wait.
    now: RefCell<Vec<usize>>,
    /// The keys of earlier waits.
    before: RefCell<Index>,
}

impl UnknownKeys {
    #[cold]
    #[inline(never)]
    pub(super) fn note(&self, key: usize) {
        self.now.borrow_mut().push(key);
    }

    /// Ends the record of a wait; returns whether a key of an earlier wait was reported again.
    fn has_repeated_key(&self) -> bool {
        let (mut now, mut before) = (self.now.borrow_mut(), self.before.borrow_mut());
        if now.is_empty() {
            *before = Index::default();
            return false;
        }
        let is_old = now.iter().any(|key| before.contains(*key as u128));
        for key in now.drain(..) {
            before.add(key as u128);
        }
        is_old
    }

    fn clear(&self) {
        self.before.take();
    }
}

impl Inner {
    /// Rebuilds the poller if it reports sources that had been removed before it was polled.
    pub(super) fn check_unknown_keys(&self) {
        if !self.unknown_keys.has_repeated_key() {
            return;
        }
        let is_live = |key| self.handlers.borrow().get(key).is_some();
        match self.driver.rebuild(is_live) {
            Ok(()) => self.unknown_keys.clear(),
            // Perhaps no descriptor is free: the next wait tries again.
            Err(error) => {
                if tracing::enabled!(target: "torsade::reactor", tracing::Level::WARN) {
                    tracing::warn!(target: "torsade::reactor", %error, "the poller could not be rebuilt");
                } else {
                    static WARNED: WarnOnce = WarnOnce::new();
                    WARNED.write(format_args!(
                        "the poller could not be rebuilt, so the loop does not sleep: {error} (reported once)"
                    ));
                }
            }
        }
    }
}

#[cfg(unix)]
impl Inner {
    /// Prepares for lending the poller's descriptor: once it is lent, the poller cannot be rebuilt.
    pub(super) fn prepare_to_lend(&self) {
        let is_live = |key| self.handlers.borrow().get(key).is_some();
        if let Err(error) = self.driver.prepare_to_lend(is_live) {
            tracing::warn!(target: "torsade::reactor", %error, "the poller could not be rebuilt");
        }
    }
}

#[cfg(all(test, target_os = "linux", not(torsade_loom)))]
mod tests {
    use std::cell::Cell;
    use std::os::fd::OwnedFd;
    use std::panic::Location;
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use crate::address::Address;
    use crate::driver::{Bind, Buffers, Event, Interest, Name, Socket, Source as _};
    use crate::failure::Failure;
    use crate::reactor::{Handler, Reactor, Registration, Tracked};

    /// A connection that only counts its events.
    struct Counted {
        registration: Registration,
        socket: Socket,
        count: Cell<usize>,
    }

    impl Handler for Counted {
        fn registration(&self) -> &Registration {
            &self.registration
        }

        fn ready(self: Rc<Self>, _reactor: &Reactor, _event: Event) {
            self.count.set(self.count.get() + 1);
        }

        fn attend(self: Rc<Self>, _reactor: &Reactor) {}
    }

    impl Tracked for Counted {
        fn lose(self: Rc<Self>, _reactor: Option<&Reactor>, _reason: &Failure) {}

        fn kind(&self) -> &'static str {
            "counted"
        }

        fn location(&self) -> &'static Location<'static> {
            Location::caller()
        }
    }

    fn watch(reactor: &Reactor, socket: Socket) -> (usize, Rc<Counted>) {
        let made = reactor.register(|registration| Counted {
            registration,
            socket,
            count: Cell::new(0),
        });
        let source = made.unwrap();
        let added = source
            .registration
            .add(reactor, &source.socket, Interest::Read);
        added.unwrap();
        (source.registration.key(), source)
    }

    /// Closes it as a connection is closed; returns the copy that a forked process would have.
    fn close(reactor: &Reactor, (key, source): (usize, Rc<Counted>)) -> OwnedFd {
        let Name::Machine(fd) = source.socket.name() else {
            panic!("it is a socket of the machine's");
        };
        let copy = fd.try_clone_to_owned().unwrap();
        let inner = reactor.inner();
        inner.driver().remove_closing(&source.socket).unwrap();
        inner.remove(key);
        copy
    }

    /// Returns a client and its server's end.
    fn pair(reactor: &Reactor) -> (Socket, Socket) {
        let driver = reactor.inner().driver();
        let here = Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = driver.listen(&here, &Bind::default()).unwrap();
        let to = listener.local_addr().unwrap();
        let client = driver.connect(&to, None, Buffers::default()).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        loop {
            match listener.accept() {
                Ok((server, _)) => return (client, server),
                Err(_) => assert!(Instant::now() < patience),
            }
        }
    }

    /// Returns whether the loop sleeps, after a few turns at most.
    fn sleeps(reactor: &Reactor) -> bool {
        let nap = Duration::from_millis(20);
        (0..5).any(|_| {
            let start = Instant::now();
            reactor.iterate(nap);
            start.elapsed() >= nap
        })
    }

    #[test]
    fn a_closed_socket_that_another_process_has_does_not_keep_the_loop_awake() {
        let reactor = Reactor::new().unwrap();
        let (_peer, server) = pair(&reactor);
        let (other_peer, other) = pair(&reactor);
        let (_, live) = watch(&reactor, other);
        let copy = close(&reactor, watch(&reactor, server));
        rustix::net::shutdown(&copy, rustix::net::Shutdown::Both).unwrap();
        assert!(sleeps(&reactor));
        // The rest is watched as before, and a wake ends a wait.
        assert_eq!(live.count.get(), 0);
        other_peer.write(b"x").unwrap();
        reactor.iterate(Duration::from_secs(20));
        assert_eq!(live.count.get(), 1);
        assert_eq!(live.socket.read(&mut [0]).unwrap(), 1);
        let (remote, start) = (reactor.remote(), Instant::now());
        std::thread::spawn(move || remote.call(|| ()).unwrap());
        reactor.iterate(Duration::from_secs(20));
        assert!(start.elapsed() < Duration::from_secs(10));
        let copies: Vec<_> = (0..3)
            .map(|_| {
                let (_, server) = pair(&reactor);
                close(&reactor, watch(&reactor, server))
            })
            .collect();
        assert!(sleeps(&reactor), "again, with several");
        drop(copies);
    }

    #[test]
    fn a_closed_socket_that_a_child_has_inherited_does_not_keep_the_loop_awake() {
        let reactor = Reactor::new().unwrap();
        let (_peer, server) = pair(&reactor);
        let watched = watch(&reactor, server);
        let Name::Machine(fd) = watched.1.socket.name() else {
            panic!("it is a socket of the machine's");
        };
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC).unwrap();
        let ours = close(&reactor, watched);
        rustix::net::shutdown(&ours, rustix::net::Shutdown::Both).unwrap();
        // From here on only the child has the socket.
        drop(ours);
        let slept = sleeps(&reactor);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(slept);
    }

    #[test]
    fn a_socket_closed_before_the_poller_is_lent_causes_no_events() {
        use std::os::fd::{AsFd, AsRawFd};
        let reactor = Reactor::new().unwrap();
        let (_peer, server) = pair(&reactor);
        let (other_peer, other) = pair(&reactor);
        let (_, live) = watch(&reactor, other);
        let copy = close(&reactor, watch(&reactor, server));
        rustix::net::shutdown(&copy, rustix::net::Shutdown::Both).unwrap();
        let number = reactor.as_fd().as_raw_fd();
        assert!(sleeps(&reactor));
        assert_eq!(reactor.as_fd().as_raw_fd(), number);
        assert_eq!(live.count.get(), 0);
        other_peer.write(b"x").unwrap();
        reactor.iterate(Duration::from_secs(20));
        assert_eq!(live.count.get(), 1);
        drop(copy);
    }

    #[test]
    fn a_lent_descriptor_stays_the_same_and_a_closed_socket_causes_no_events() {
        use std::os::fd::{AsFd, AsRawFd};
        let reactor = Reactor::new().unwrap();
        let number = reactor.as_fd().as_raw_fd();
        let (_peer, server) = pair(&reactor);
        let copy = close(&reactor, watch(&reactor, server));
        rustix::net::shutdown(&copy, rustix::net::Shutdown::Both).unwrap();
        let start = Instant::now();
        reactor.iterate(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(reactor.as_fd().as_raw_fd(), number);
    }
}
