//! Requests pages: all at once, and stops when all are there.
//!
//! Run `cargo run --example get_page -- http://example.org/ https://example.com/`.
//! Prints for each URL how many bytes its page has, or why there is none.

use torsade::defer::DeferredList;
use torsade::{Failure, http};

fn main() -> Result<(), Failure> {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    torsade::run(async |_reactor| {
        let pages = urls.into_iter().map(|url| {
            http::get_page(&url).add_both(move |page| match page {
                Ok(page) => println!("{url}: {} bytes", page.len()),
                Err(failure) => println!("{url}: {failure:#}"),
            })
        });
        DeferredList::new(pages).all().await?;
        Ok(())
    })
}
