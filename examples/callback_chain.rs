//! A chain of callbacks with an errback in the middle: what a callback may return, and which
//! errback receives a failure.
//!
//! Run `cargo run --example callback_chain`. Prints `1: 22 characters`, `one: 20 characters` (the
//! word is not a number, so page 0 is fetched), and `9: gave up: there is no page 9`.

use std::num::ParseIntError;
use std::time::Duration;

use torsade::{Clock, Deferred, Failure, Reactor};

/// Fetches a page, which takes a while.
fn fetch(reactor: &Reactor, page: usize) -> Deferred<&'static [u8]> {
    let (found, resolver) = Deferred::pair();
    reactor.call_later(Duration::from_millis(10), move || match PAGES.get(page) {
        Some(body) => resolver.callback(*body),
        None => resolver.errback(Failure::new(format!("there is no page {page}"))),
    });
    found
}

fn show(reactor: &Reactor, word: &'static str) -> Deferred<()> {
    let reactor = reactor.clone();
    Deferred::succeed(word)
        .add_callback(|word| Ok(word.parse::<usize>()?)) // a result; `?` takes any error
        .add_errback(|failure| {
            failure.trap::<ParseIntError>()?; // others go on down the chain
            Ok(0)
        })
        .add_callback(move |page| fetch(&reactor, page)) // a Deferred: the chain waits
        .add_callback(async |body| {
            torsade::yield_now().await; // an async block: it is run, the chain waits
            Ok(std::str::from_utf8(body)?)
        })
        .map(str::len) // a plain value
        .add_callbacks(
            move |length| println!("{word}: {length} characters"), // nothing
            move |failure| println!("{word}: gave up: {failure}"),
        )
}

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        for word in ["1", "one", "9"] {
            show(&reactor, word).await?;
        }
        Ok(())
    })
}

const PAGES: [&[u8]; 2] = [b"Table of contents: 1", b"It was a quiet morning"];
