//! A crawler in the shape of the tutorials: spiders, and for each an engine with a scheduler and a
//! downloader. It obeys `robots.txt`, stays on the sites it begins with, and fetches each page
//! once.
//!
//! Run `cargo run --example crawler [-c AT_ONCE] [-d DEPTH] [-w MILLISECONDS] URL...` (default:
//! five requests at a time, ten links deep, no wait between requests to a host). There is one
//! spider for each URL. Prints `URL: TITLE` for each page, a progress bar on a terminal, and at the
//! end a table of the spiders: pages, bytes, errors and times.

mod engine;
mod spider;

use std::env;
use std::time::Duration;

use torsade::Failure;
use torsade::http::Uri;

use self::engine::{CrawlerProcess, Settings};
use self::spider::{Output, Request, Response, Spider};

/// Follows the links to pages of one site, and finds the titles.
struct Site {
    start: Uri,
}

impl Spider for Site {
    fn name(&self) -> String {
        self.start.to_string()
    }

    fn start(&mut self) -> Vec<Request<Self>> {
        vec![Request::new(self.start.clone(), Self::parse)]
    }

    fn found(&mut self, item: String) {
        println!("{item}");
    }
}

impl Site {
    fn parse(&mut self, page: &Response) -> Vec<Output<Self>> {
        let title = page.title().unwrap_or_default();
        let mut found = vec![Output::Item(format!("{}: {title}", page.url))];
        let links = page.follow(Self::parse);
        let links = links.filter(|link| link.url.authority() == self.start.authority());
        found.extend(links.map(Output::Request));
        found
    }
}

fn main() -> Result<(), Failure> {
    let (mut at_once, mut max_depth, mut delay) = (5, 10, 0);
    let mut urls: Vec<Uri> = Vec::new();
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        match &word[..] {
            "-c" => at_once = value().parse()?,
            "-d" => max_depth = value().parse()?,
            "-w" => delay = value().parse()?,
            url => urls.push(url.parse()?),
        }
    }
    let settings = Settings {
        at_once,
        per_host: at_once,
        delay: Duration::from_millis(delay),
        max_depth,
    };
    torsade::run(async |reactor| {
        let mut process = CrawlerProcess::new(reactor, settings);
        urls.into_iter()
            .for_each(|start| process.crawl(Site { start }));
        let all = process.join().await?;
        println!("   pages      bytes  errors retries refused  seconds  ms/page  spider");
        for (spider, stats) in all {
            let (seconds, errors) = (stats.took.as_secs_f64(), stats.errors.values().sum::<u32>());
            let each = stats.fetching.as_secs_f64() * 1000.0 / f64::from(stats.pages.max(1));
            print!("{:>8} {:>10} {errors:>7}", stats.pages, stats.bytes);
            print!(" {:>7} {:>7}", stats.retries, stats.refused);
            println!(" {seconds:>8.2} {each:>8.2}  {spider}");
            for (problem, count) in stats.errors {
                println!("{count:>27} × {problem}");
            }
        }
        Ok(())
    })
}
