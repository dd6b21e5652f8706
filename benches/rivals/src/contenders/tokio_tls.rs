//! tokio-rustls on tokio's current-thread runtime.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::announce;
use super::tokio::runtime;
use crate::rows::Tls;
use crate::tls::{self, BLOCK, Error, block};

type Stream = TlsStream<TcpStream>;

pub fn serve(work: Tls) -> Result<(), Error> {
    let acceptor = TlsAcceptor::from(tls::server()?);
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let accepted = timeout(HANDSHAKE, acceptor.accept(stream));
            tokio::spawn(async move {
                let stream = accepted.await??;
                match work {
                    Tls::Handshake | Tls::Echo(_) => echo(stream).await,
                    Tls::Send => send(stream).await,
                    Tls::Receive => receive(stream).await,
                }
            });
        }
    })
}

async fn echo(mut stream: Stream) -> io::Result<()> {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf).await? {
            0 => return stream.shutdown().await,
            n => stream.write_all(&buf[..n]).await?,
        }
        stream.flush().await?;
    }
}

async fn send(mut stream: Stream) -> io::Result<()> {
    loop {
        for number in 0..stream.read_u64_le().await? as usize {
            stream.write_all(block(number)).await?;
        }
        stream.flush().await?;
    }
}

async fn receive(mut stream: Stream) -> io::Result<()> {
    let mut buf = [0; BLOCK];
    loop {
        let mut left = stream.read_u64_le().await? as usize * BLOCK;
        while left > 0 {
            match stream.read(&mut buf).await? {
                0 => return Ok(()),
                n => left -= n,
            }
        }
        stream.write_all(b"x").await?;
        stream.flush().await?;
    }
}

/// The time limit of a handshake, which torsade has by default: without one, peers that stop in it
/// hold a server's memory.
const HANDSHAKE: Duration = Duration::from_secs(10);
