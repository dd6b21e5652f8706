//! Members of a multicast group, who all receive a question that one of them sends.
//!
//! Run `cargo run --example multicast`. Prints `Ada hears: who is there?`, `Ben hears: who is
//! there?`, `Cyd asked, and hears: Ada`, `Cyd asked, and hears: Ben`.

use std::net::Ipv4Addr;

use torsade::net::datagram::DatagramOptions;
use torsade::{Address, Context, DatagramPort, DatagramProtocol, Failure, Reactor, UdpSocket};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 7, 7, 7);

struct Member(&'static str);

impl DatagramProtocol for Member {
    fn datagram_received(
        &mut self,
        cx: &mut Context<'_, Self, DatagramPort>,
        data: &[u8],
        from: Address,
    ) {
        println!("{} hears: {}", self.0, String::from_utf8_lossy(data));
        if let Err(failure) = cx.write(self.0, from) {
            eprintln!("{} cannot answer: {failure}", self.0);
        }
    }
}

/// Joins on the loopback interface, so that no network is used.
async fn join(reactor: &Reactor, name: &'static str, number: u16) -> Result<u16, Failure> {
    let options = DatagramOptions::new().listen_multiple(true);
    let port = reactor.listen_datagram((("0.0.0.0", number), &options), Member(name))?;
    port.join_group_on(GROUP, Ipv4Addr::LOCALHOST).await?;
    Ok(port.local_addr().port().unwrap_or(number))
}

async fn hear(socket: &UdpSocket) -> Result<String, Failure> {
    let mut buf = [0; 100];
    let count = socket.recv(&mut buf).await?;
    Ok(String::from_utf8_lossy(&buf[..count]).into())
}

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let number = join(&reactor, "Ada", 0).await?;
        join(&reactor, "Ben", number).await?;
        let cyd = reactor.bind_datagram("127.0.0.1:0")?;
        cyd.port().set_outgoing_interface(Ipv4Addr::LOCALHOST)?;
        cyd.send_to(b"who is there?", (GROUP, number)).await?;
        let mut names = [hear(&cyd).await?, hear(&cyd).await?];
        names.sort();
        for name in names {
            println!("Cyd asked, and hears: {name}");
        }
        Ok(())
    })
}
