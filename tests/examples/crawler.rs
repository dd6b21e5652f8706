//! `crawler` on sites that a test serves, and on one that nginx serves.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::rc::Rc;
use std::time::Duration;

use torsade::http::{self, IntoResponse, Response, StatusCode};
use torsade::process::Command;
use torsade::{Failure, Reactor, testing};

use support::HERE;
use support::folder::Folder;
use support::nginx::Nginx;
use support::program::example_path;

const PAGES: u32 = 10_000;

/// A site in which each page links to ten others, and to some that are not pages.
#[derive(Default)]
struct Site {
    visits: RefCell<BTreeMap<String, u32>>,
    at_once: Cell<u32>,
    most_at_once: Cell<u32>,
}

impl Site {
    async fn answer(&self, path: &str) -> Result<Response<http::Body>, Failure> {
        let visits = {
            let mut visits = self.visits.borrow_mut();
            let count = visits.entry(path.into()).or_default();
            *count += 1;
            *count
        };
        self.at_once.set(self.at_once.get() + 1);
        self.most_at_once
            .set(self.most_at_once.get().max(self.at_once.get()));
        // So that requests can overlap.
        torsade::yield_now().await;
        self.at_once.set(self.at_once.get() - 1);
        if path == "/robots.txt" {
            return Ok("User-agent: *\nDisallow: /secret\n".into_response());
        }
        let Some(number) = path
            .strip_prefix("/page/")
            .and_then(|n| n.parse::<u32>().ok())
        else {
            return Ok((StatusCode::NOT_FOUND, "no such page").into_response());
        };
        if number % 1000 == 7 && visits == 1 {
            return Ok((StatusCode::SERVICE_UNAVAILABLE, "later").into_response());
        }
        let mut page = format!("<title>page {number}</title><a href='/page/0'>home</a>");
        for next in (number * 10 + 1..=number * 10 + 10).filter(|next| *next < PAGES) {
            write!(
                page,
                "<p><a class=x href=\"../page/{next}#part\">{next}</a>"
            )?;
        }
        if number == 3 {
            page += "<a href=/secret/plan>no</a><a href=/missing>gone</a><a href=mailto:me>me</a>";
        }
        Ok(page.into_response())
    }
}

#[test]
fn the_crawler_fetches_each_page_of_a_site_once_and_five_at_a_time() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let site = Rc::new(Site::default());
        let port = http::serve(HERE, {
            let site = site.clone();
            async move |request| site.answer(request.uri().path()).await
        })?;
        let url = format!("http://{}/page/0", port.local_addr());
        let output = Command::new(example_path("crawler"))
            .arg(&url)
            .output(&reactor)
            .await?;
        let text = String::from_utf8(output.out)?;
        assert!(text.contains(&format!("{url}: page 0\n")), "{text}");
        let lines = text.lines().filter(|line| line.contains(": page ")).count();
        assert_eq!(lines, PAGES as usize);

        let table: Vec<&str> = text.lines().rev().take(3).collect();
        assert!(
            table[0].trim_start().starts_with("1 × 404 Not Found"),
            "{table:?}"
        );
        let cells: Vec<&str> = table[1].split_whitespace().collect();
        assert_eq!(
            [cells[0], cells[2], cells[3], cells[4]],
            ["10000", "1", "10", "1"],
            "{table:?}"
        );
        assert_eq!(*cells.last().unwrap(), url);

        let visits = site.visits.take();
        assert_eq!(
            visits.len(),
            PAGES as usize + 2,
            "the pages, a missing one, robots.txt"
        );
        assert!(!visits.contains_key("/secret/plan"));
        let more: Vec<_> = visits.iter().filter(|(_, count)| **count != 1).collect();
        assert_eq!(more.len(), 10, "{more:?}");
        assert!(
            (2..=5).contains(&site.most_at_once.get()),
            "{}",
            site.most_at_once.get()
        );
        port.stop(Duration::ZERO).await?;
        Ok(())
    });
}

#[test]
fn the_crawler_fetches_a_site_of_nginx() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let folder = Folder::create();
        fs::create_dir(folder.path("more"))?;
        let links = "<a href=more/>more</a><a href=none.html>none</a>";
        fs::write(
            folder.path("index.html"),
            format!("<title>home</title>{links}"),
        )?;
        fs::write(
            folder.path("more/index.html"),
            "<title>more</title><a href=../>home</a>",
        )?;
        let Some(nginx) = Nginx::start(&reactor, &folder.path(""), "").await? else {
            return Ok(());
        };
        let url = format!("http://{}/", nginx.address);
        let output = Command::new(example_path("crawler"))
            .arg(&url)
            .output(&reactor)
            .await?;
        let text = String::from_utf8(output.out)?;
        let found: Vec<&str> = text.lines().take(2).collect();
        assert_eq!(
            found,
            [format!("{url}: home"), format!("{url}more/: more")],
            "{text}"
        );
        assert!(text.ends_with("1 × 404 Not Found\n"), "{text}");
        Ok(())
    });
}
