//! An address to listen at, of the transport that a test runs over.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use torsade::net::{ServerEndpoint, ToServerEndpoint};
use torsade::{Address, Failure, Reactor, testing};

/// Any free address: of TCP, or in [`over_unix`] of a UNIX socket.
#[derive(Clone, Copy)]
pub struct Anywhere;

impl ToServerEndpoint for Anywhere {
    fn into_server_endpoint(self, _reactor: &Reactor) -> Result<ServerEndpoint, Failure> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !IS_UNIX.get() {
            return ServerEndpoint::parse(super::HERE);
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("torsade anywhere {} {count}", std::process::id());
        Ok(ServerEndpoint::new(Address::from_abstract(name)))
    }
}

/// Runs a test in which [`Anywhere`] is the address of a UNIX socket.
#[track_caller]
pub fn over_unix(reactor: Reactor, test: impl AsyncFnOnce(Reactor) -> Result<(), Failure>) {
    /// The thread may run other tests.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            IS_UNIX.set(false);
        }
    }
    IS_UNIX.set(true);
    let _reset = Reset;
    testing::run_on(reactor, test);
}

thread_local! {
    static IS_UNIX: Cell<bool> = const { Cell::new(false) };
}
