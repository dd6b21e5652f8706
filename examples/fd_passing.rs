//! A server passes its listening socket to a new process and exits; no client is refused meanwhile.
//!
//! A UNIX socket connects the two processes. Over it the old process sends the listening socket to
//! the new one, which adopts it and confirms; only then does the old process stop. Both share the
//! same queue of clients.
//!
//! Run `cargo run --example fd_passing`. Prints `before: served by the old process`, `the new
//! process is ready`, `after: served by the new process`.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::prelude::*;

/// Listens with an open socket, and tells each client which process serves it.
fn serve(
    reactor: &Reactor,
    listener: impl Into<OwnedFd>,
    who: &'static str,
) -> Result<Port, Failure> {
    reactor.serve(ServerEndpoint::adopt(listener), async move |mut conn| {
        conn.write_all(format!("served by the {who} process\n").as_bytes())
            .await?;
        Ok(())
    })
}

async fn ask(reactor: &Reactor, address: &Address) -> Result<String, Failure> {
    let mut conn = reactor.connect_stream(address).await?;
    let line = conn.read_line(100).await?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&line).into_owned())
}

async fn old(reactor: Reactor) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = serve(&reactor, listener.try_clone()?, "old")?;
    let address = port.local_addr();
    println!("before: {}", ask(&reactor, &address).await?);

    let (ours, theirs) = UnixStream::pair()?;
    let mut heir = Command::new(env::current_exe()?)
        .arg("new")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    let mut to_heir = reactor.connect_stream(ClientEndpoint::adopt(ours)).await?;
    to_heir.send_descriptor(listener)?;
    to_heir.write_all(b"here it is\n").await?;
    to_heir.read_line(100).await?;
    println!("the new process is ready");

    port.stop().await?;
    println!("after: {}", ask(&reactor, &address).await?);
    to_heir.close().await?;
    heir.wait()?;
    Ok(())
}

async fn new(reactor: Reactor) -> Result<(), Failure> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let mut from_old = reactor.connect_stream(ClientEndpoint::adopt(stdin)).await?;
    let Some(listener) = from_old.recv_descriptor().await? else {
        return Err(Failure::new("no socket was given"));
    };
    from_old.read_line(100).await?;
    let port = serve(&reactor, listener, "new")?;
    from_old.write_all(b"thank you\n").await?;
    // Until the old process has exited.
    from_old.read_line(100).await?;
    port.stop().await
}

fn main() -> Result<(), Failure> {
    match env::args().nth(1).as_deref() {
        Some("new") => torsade::run(new),
        _ => torsade::run(old),
    }
}
