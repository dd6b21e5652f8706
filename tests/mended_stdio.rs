//! Two descriptors as a connection, and what is sent or given by its number: what went wrong once.
#![cfg(target_os = "linux")]

mod support;

use std::fs::File;
use std::os::fd::OwnedFd;
use torsade::net::ClientEndpoint;
use torsade::net::ProxyOptions;
use torsade::net::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{Log, Spy, how, until};
use torsade::net::{BadEndpoint, ServerEndpoint};
use torsade::{Reactor, testing};

/// What stands for a shell: the other side of a pseudo-terminal whose controlling side is given.
fn terminal() -> (OwnedFd, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap());
    (master, slave.unwrap())
}

/// To open such a side anew makes another one, with nobody there.
#[test]
fn the_controlling_side_of_a_terminal_is_itself() {
    use std::io::{Read, Write};

    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (master, mut slave) = terminal();
        let log = Log::new();
        let spy = Spy::new(&log).on_data(|cx, _| cx.write("answer\n"));
        Stdio::of(master.try_clone()?, master).connect(&reactor, spy)?;
        slave.write_all(b"hello")?;
        until(|| log.has("data hello")).await;
        let heard = reactor.spawn_blocking(move || {
            let mut buf = [0; 7];
            slave.read_exact(&mut buf)?;
            Ok(buf)
        });
        assert_eq!(&heard.await?, b"answer\n");
        Ok(())
    });
}

#[test]
fn who_was_never_told_of_a_connection_is_not_told_of_its_end() {
    let log = Log::new();
    let reactor = Reactor::new().unwrap();
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let spy = Spy::new(&log).on_lost({
        let log = log.clone();
        move |reason| log.note(format_args!("ended {}", how(reason)))
    });
    let handle = Stdio::of(one, other).connect(&reactor, spy).unwrap();
    drop(reactor);
    assert!(!handle.is_connected());
    assert!(log.is_empty(), "{:?}", log.all());
}

/// The loop ends with what was asked for in it.
#[test]
fn who_was_never_adopted_is_closed_and_said_to_be_abandoned() {
    use std::io::Read;

    let reactor = Reactor::new().unwrap();
    let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
    let adopted = reactor.connect(ClientEndpoint::adopt(one), Spy::echo());
    drop(reactor);
    assert!(adopted.is_settled());
    other.set_nonblocking(true).unwrap();
    assert_eq!(other.read(&mut [0]).unwrap(), 0);
    let told = Log::new();
    let log = told.clone();
    drop(
        adopted
            .map(drop)
            .add_errback(move |failure| log.note(failure)),
    );
    assert_eq!(told.take().len(), 1);
}

#[test]
fn no_proxy_connects_to_standard_input() {
    let failure = ServerEndpoint::parse("haproxy:stdio:").unwrap_err();
    failure.trap::<BadEndpoint>().unwrap();
    let reactor = Reactor::new().unwrap();
    let endpoint = ServerEndpoint::parse("stdio:")
        .unwrap()
        .proxied(ProxyOptions::new());
    let failure = reactor.listen(endpoint, |_| Spy::echo()).unwrap_err();
    assert_eq!(failure.location().file(), file!());
    failure.trap::<BadEndpoint>().unwrap();
}
