//! Many bytes, in records of every size.
//!
//! `TORSADE_TLS_VOLUME` sets the number of bytes each way. Default: 1 MB.

use std::env;
use std::io::{Read, Write};

use crate::certs::{here, pair};
use crate::peer::Peer;
use torsade::{Failure, Reactor};

fn volume() -> usize {
    let set = env::var("TORSADE_TLS_VOLUME");
    set.map_or(1_000_000, |text| text.parse().unwrap())
}

/// Sends bytes in records of these sizes in turn, and receives them back.
async fn there_and_back(
    reactor: &Reactor,
    versions: &[&'static rustls::SupportedProtocolVersion],
    sizes: &[usize],
    volume: usize,
) -> Result<(), Failure> {
    let port = reactor.serve(here().tls(pair().0), async |mut conn| {
        let mut buffer = vec![0; 20_000];
        loop {
            match conn.read(&mut buffer).await? {
                0 => return Ok(()),
                count => conn.write_all(&buffer[..count]).await?,
            }
        }
    })?;
    let conn = reactor.connect_stream(port.local_addr()).await?;
    let mut peer = Peer::client(conn, versions)?;
    peer.shake().await?;
    peer.tls.set_buffer_limit(None);
    let block: Vec<u8> = (0..251).collect::<Vec<u8>>().repeat(82);
    let (mut sent, mut received) = (0, 0);
    let mut sizes = sizes.iter().copied().cycle();
    let mut buffer = vec![0; 20_000];
    while sent < volume {
        let mut batch = 0;
        while batch < 16 * 1024 && sent < volume {
            let size = sizes.next().unwrap().min(volume - sent);
            // Each call makes a record.
            peer.tls.writer().write_all(&block[sent % 251..][..size])?;
            sent += size;
            batch += size;
        }
        peer.flush().await?;
        while received < sent {
            match peer.tls.reader().read(&mut buffer) {
                Ok(count) if count > 0 => {
                    assert!(
                        buffer[..count] == block[received % 251..][..count],
                        "{received}"
                    );
                    received += count;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    assert!(peer.receive().await?, "the end after {received} bytes");
                }
                other => panic!("{other:?} after {received} bytes"),
            }
        }
    }
    peer.tls.send_close_notify();
    peer.flush().await?;
    while peer.receive().await? {}
    assert_eq!(received, volume);
    port.stop().await
}

on_both! {
    async fn bytes_in_records_of_every_size_come_back_as_they_are(reactor) {
        let mut sizes: Vec<usize> = (0..=14).map(|power| 1 << power).collect();
        sizes.extend([16 * 1024 - 1, 3, 777, 16 * 1024]);
        for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
            there_and_back(&reactor, versions, &sizes, volume()).await?;
        }
    }

    async fn bytes_in_records_of_one_byte_come_back_as_they_are(reactor) {
        there_and_back(&reactor, &[&rustls::version::TLS13], &[1], volume() / 100).await?;
    }
}
