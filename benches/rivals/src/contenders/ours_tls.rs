//! torsade's servers in TLS.

use torsade::net::ServerEndpoint;
use torsade::tls::{Identity, ServerConfig};
use torsade::{Connection, Context, Failure, Port, Protocol, Reactor};

use super::announce;
use super::ours::{self, Echo};
use crate::rows::Tls;
use crate::tls::{BLOCK, Error, PEM, block};

fn serve(
    listen: impl AsyncFnOnce(&Reactor, ServerEndpoint) -> Result<Port, Failure>,
) -> Result<(), Error> {
    let config = ServerConfig::new(Identity::from_pem(PEM)?).tickets(false);
    let endpoint = ServerEndpoint::parse("127.0.0.1:0")?.tls(config);
    torsade::run(async |reactor| {
        let port = listen(&reactor, endpoint).await?;
        announce(port.local_addr().inet().expect("an IP address"));
        std::future::pending().await
    })?;
    Ok(())
}

pub fn serve_protocol(work: Tls) -> Result<(), Error> {
    serve(async |reactor, endpoint| match work {
        Tls::Handshake | Tls::Echo(_) => reactor.listen(endpoint, |_peer| Echo),
        Tls::Send => reactor.listen(endpoint, |_peer| Sends(0)),
        Tls::Receive => reactor.listen(endpoint, |_peer| Receives(0)),
    })
}

pub fn serve_async(work: Tls) -> Result<(), Error> {
    serve(async |reactor, endpoint| match work {
        Tls::Handshake | Tls::Echo(_) => reactor.serve(endpoint, ours::echo::<4096>),
        Tls::Send => reactor.serve(endpoint, send),
        Tls::Receive => reactor.serve(endpoint, receive),
    })
}

/// Sends as many blocks as are asked for: so many are left.
struct Sends(usize);

impl Sends {
    fn go_on(&mut self, cx: &Context<'_, Self>) {
        while self.0 > 0 && !cx.is_full() {
            cx.write(block(self.0));
            self.0 -= 1;
        }
    }
}

impl Protocol for Sends {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        self.0 = count(data.try_into().expect("a number, in one record"));
        self.go_on(cx);
    }

    fn write_ready(&mut self, cx: &mut Context<'_, Self>) {
        self.go_on(cx);
    }
}

/// Receives as many blocks as are announced: so many bytes are left.
struct Receives(usize);

impl Protocol for Receives {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, mut data: &[u8]) {
        if self.0 == 0 {
            let (number, rest) = data.split_first_chunk().expect("a number, in one record");
            (self.0, data) = (count(*number) * BLOCK, rest);
        }
        self.0 -= data.len();
        if self.0 == 0 {
            cx.write(b"x");
        }
    }
}

async fn send(mut conn: Connection) -> Result<(), Failure> {
    loop {
        let mut number = [0; 8];
        conn.read_exact(&mut number).await?;
        for number in 0..count(number) {
            conn.write_all(block(number)).await?;
        }
    }
}

async fn receive(mut conn: Connection) -> Result<(), Failure> {
    let mut buf = [0; BLOCK];
    loop {
        let mut number = [0; 8];
        conn.read_exact(&mut number).await?;
        let mut left = count(number) * BLOCK;
        while left > 0 {
            match conn.read(&mut buf).await? {
                0 => return Ok(()),
                n => left -= n,
            }
        }
        conn.write_all(b"x").await?;
    }
}

fn count(number: [u8; 8]) -> usize {
    u64::from_le_bytes(number) as usize
}
