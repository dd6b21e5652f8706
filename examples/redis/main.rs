//! A client of Redis with pipelining, messages, a pool and reconnecting, and a small shell for it.
//!
//! Run `cargo run --example redis ADDR [WORD...]`: with words it sends them as one command, else
//! each line of the standard input; `subscribe CHANNEL` waits for messages. Prints the replies as
//! `redis-cli` does, and reconnects when the server was away.

#[allow(dead_code, reason = "the shell needs only a part of the client")]
mod client;
#[allow(dead_code, reason = "the shell needs one connection only")]
mod pool;
mod resp;

use std::env;
use std::time::Duration;

use torsade::net::{Backoff, Stdio};
use torsade::prelude::*;
use torsade::services::{ClientService, Service};

use crate::client::{Commands, Redis, RedisError};

/// Carries out a command and prints the reply. A command that was not sent is sent again as soon as
/// there is a connection.
async fn run(service: &ClientService<Redis>, words: &[&str]) -> Result<(), Failure> {
    loop {
        let redis = service.when_connected_within(5).await?;
        if let ["subscribe", channel] = words {
            println!("subscribed: {}", redis.subscribe(channel).await?);
            loop {
                let message = redis.next_message().await?;
                println!("{channel}: {}", message.payload.escape_ascii());
            }
        }
        match redis.command(words).await {
            Ok(reply) => println!("{reply}"),
            Err(failure) => match failure.downcast_ref() {
                Some(RedisError::NotSent) => continue,
                Some(RedisError::Refused(text)) => println!("(error) {text}"),
                _ => println!("(error) {failure}"),
            },
        }
        return Ok(());
    }
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some((address, words)) = words.split_first() else {
        eprintln!("usage: redis ADDR [WORD...]");
        std::process::exit(2);
    };
    torsade::run(async |reactor| {
        let service = ClientService::new(&reactor, address.as_str(), Redis::new)?
            .backoff(Backoff::new().initial(Duration::from_millis(50)))
            .prepare(|redis: Handle<Redis>| redis.greet(None, 0));
        service.start()?;
        if words.is_empty() {
            let mut input = Stdio::new().open(&reactor)?;
            while let Some(line) = input.read_line(1 << 20).await? {
                let line = String::from_utf8_lossy(&line);
                let words: Vec<&str> = line.split_whitespace().collect();
                if !words.is_empty() {
                    run(&service, &words).await?;
                }
            }
        } else {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            run(&service, &words).await?;
        }
        service.stop().await
    })
}
