//! What a program writes before it returns arrives.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use torsade::{Failure, Phase};

/// More than the system's buffers take.
const SIZE: usize = 8 << 20;

#[test]
fn the_last_words_of_main_arrive_although_there_are_many() -> Result<(), Failure> {
    let (address, reader) = listen()?;
    torsade::run(async |reactor| {
        let conn = reactor.connect_stream(address).await?;
        conn.transport().write(vec![7; SIZE]);
        Ok(())
    })?;
    assert_eq!(heard(reader)?, SIZE);
    Ok(())
}

#[test]
fn a_trigger_before_shutdown_may_say_goodbye() -> Result<(), Failure> {
    let (address, reader) = listen()?;
    torsade::run(async |reactor| {
        let conn = reactor.connect_stream(address).await?;
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move || {
            conn.transport().write(vec![7; SIZE]);
            conn.transport().lose_connection();
        });
        Ok(())
    })?;
    assert_eq!(heard(reader)?, SIZE);
    Ok(())
}

#[test]
fn a_peer_that_does_not_listen_holds_up_the_end_for_half_a_second_at_most() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    torsade::run(async |reactor| {
        let conn = reactor.connect_stream(address).await?;
        conn.transport().write(vec![7; SIZE]);
        Ok(())
    })?;
    // It came back, and the peer sees that not all arrived.
    let (mut stream, _) = listener.accept()?;
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    assert!(all.len() < SIZE);
    Ok(())
}

/// A peer in another thread that reads everything.
fn listen() -> io::Result<(SocketAddr, JoinHandle<io::Result<usize>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)
    });
    Ok((address, reader))
}

fn heard(reader: JoinHandle<io::Result<usize>>) -> Result<usize, Failure> {
    Ok(reader.join().expect("the reader does not panic")?)
}
