//! The engine of each spider: it has its scheduler and the downloader fetch the pages that the
//! spider asks for, and calls the spider with them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::{FutureExt, LocalBoxFuture, Shared};
use futures::stream::{FuturesUnordered, StreamExt};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use robotstxt::DefaultMatcher;
use torsade::http::header::USER_AGENT;
use torsade::http::{self, Agent, Body, Bytes, StatusCode, Uri};
use torsade::locks::DeferredSemaphore;
use torsade::{Clock, Deferred, Failure, Reactor, defer};

use super::spider::{Output, Request, Response, Spider};

pub(crate) struct Settings {
    /// Requests at a time, in all and to each host.
    pub(crate) at_once: usize,
    pub(crate) per_host: usize,
    /// The time between two requests to a host.
    pub(crate) delay: Duration,
    pub(crate) max_depth: u32,
}

const ROBOT: &str = "torsade-crawler";
const MAX_RETRIES: u32 = 2;
const MAX_BYTES: u64 = 1024 * 1024;

/// What a crawl has done.
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) pages: u32,
    pub(crate) bytes: u64,
    pub(crate) retries: u32,
    /// Pages that `robots.txt` does not allow.
    pub(crate) refused: u32,
    /// The failed requests by their errors.
    pub(crate) errors: BTreeMap<String, u32>,
    /// The sum of the times of all requests, and the time of the crawl.
    pub(crate) fetching: Duration,
    pub(crate) took: Duration,
}

/// Runs spiders, over one pool of connections.
pub(crate) struct CrawlerProcess {
    downloader: Rc<Downloader>,
    bars: MultiProgress,
    crawls: Vec<Deferred<(String, Stats)>>,
}

impl CrawlerProcess {
    pub(crate) fn new(reactor: Reactor, settings: Settings) -> Self {
        let agent = Agent::new();
        Self {
            downloader: Rc::new(Downloader {
                reactor,
                agent,
                settings,
            }),
            bars: MultiProgress::new(),
            crawls: Vec::new(),
        }
    }

    /// Starts a spider.
    pub(crate) fn crawl<S: Spider>(&mut self, mut spider: S) {
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} pages {elapsed}");
        let bar = ProgressBar::new(0).with_style(style.expect("the template is valid"));
        let bar = self.bars.add(bar.with_prefix(spider.name()));
        let downloader = self.downloader.clone();
        self.crawls.push(Deferred::from_future(async move {
            let scheduler = Scheduler::new(downloader)?;
            run(&mut spider, &scheduler, &bar).await;
            Ok((spider.name(), scheduler.stats.take()))
        }));
    }

    /// Waits for the end of all spiders.
    pub(crate) async fn join(self) -> Result<Vec<(String, Stats)>, Failure> {
        defer::gather(self.crawls).await
    }
}

/// The engine.
async fn run<S: Spider>(spider: &mut S, scheduler: &Scheduler, bar: &ProgressBar) {
    let clock = &scheduler.downloader.reactor;
    let (start, mut requests) = (clock.now(), spider.start());
    let mut fetching = FuturesUnordered::new();
    loop {
        let new = requests.drain(..).filter(|it| scheduler.admits(it));
        fetching.extend(new.map(|request| scheduler.fetch(request)));
        bar.set_length(bar.position() + fetching.len() as u64);
        let Some(fetched) = fetching.next().await else {
            break;
        };
        bar.inc(1);
        let Some((request, page)) = fetched else {
            continue;
        };
        for output in (request.callback)(spider, &page) {
            match output {
                Output::Item(item) => spider.found(item),
                Output::Request(request) => requests.push(request),
            }
        }
    }
    scheduler.stats.borrow_mut().took = clock.now() - start;
    bar.finish_and_clear();
}

/// Decides which requests are sent, and when.
struct Scheduler {
    downloader: Rc<Downloader>,
    stats: RefCell<Stats>,
    /// The filter of duplicates.
    seen: RefCell<HashSet<Uri>>,
    turns: DeferredSemaphore,
    hosts: RefCell<BTreeMap<String, Rc<Host>>>,
}

struct Host {
    turns: DeferredSemaphore,
    /// When the next request may be sent.
    next: Cell<Instant>,
    /// The text of `robots.txt`.
    robots: Shared<LocalBoxFuture<'static, String>>,
}

impl Scheduler {
    fn new(downloader: Rc<Downloader>) -> Result<Self, Failure> {
        Ok(Self {
            turns: DeferredSemaphore::new(downloader.settings.at_once)?,
            downloader,
            stats: RefCell::default(),
            seen: RefCell::default(),
            hosts: RefCell::default(),
        })
    }

    /// Returns whether the page of a request was not requested before and is not too deep.
    fn admits<S>(&self, request: &Request<S>) -> bool {
        let is_deep = request.depth > self.downloader.settings.max_depth;
        !is_deep && self.seen.borrow_mut().insert(request.url.clone())
    }

    fn host(&self, url: &Uri) -> Result<Rc<Host>, Failure> {
        let name = url.authority().map(ToString::to_string).unwrap_or_default();
        if let Some(host) = self.hosts.borrow().get(&name) {
            return Ok(host.clone());
        }
        let (loader, url) = (self.downloader.clone(), url.clone());
        let host = Rc::new(Host {
            turns: DeferredSemaphore::new(loader.settings.per_host)?,
            next: Cell::new(loader.reactor.now()),
            robots: async move { loader.robots(&url).await.unwrap_or_default() }
                .boxed_local()
                .shared(),
        });
        self.hosts.borrow_mut().insert(name, host.clone());
        Ok(host)
    }

    /// Fetches the page of a request when its turn has come.
    async fn fetch<S>(&self, request: Request<S>) -> Option<(Request<S>, Response)> {
        let (host, loader) = (self.host(&request.url).ok()?, &self.downloader);
        let robots = host.robots.clone().await;
        let url = request.url.to_string();
        if !DefaultMatcher::default().one_agent_allowed_by_robots(&robots, ROBOT, &url) {
            self.stats.borrow_mut().refused += 1;
            return None;
        }
        let mut retries = 0;
        loop {
            let _turn = host.turns.acquire().await.ok()?;
            let _turn_in_all = self.turns.acquire().await.ok()?;
            let start = host.next.get().max(loader.reactor.now());
            host.next.set(start + loader.settings.delay);
            loader.reactor.sleep_until(start).await.ok()?;
            let page = loader.page(&request.url, request.depth).await;
            let mut stats = self.stats.borrow_mut();
            stats.fetching += loader.reactor.now() - start;
            match page {
                Ok(page) => {
                    stats.pages += 1;
                    stats.bytes += page.body.len() as u64;
                    return Some((request, page));
                }
                // An error of the client stays one.
                Err(problem) if problem.starts_with('4') || retries == MAX_RETRIES => {
                    *stats.errors.entry(problem).or_default() += 1;
                    return None;
                }
                Err(_) => (stats.retries, retries) = (stats.retries + 1, retries + 1),
            }
        }
    }
}

/// Fetches pages for all engines.
struct Downloader {
    reactor: Reactor,
    agent: Agent,
    settings: Settings,
}

impl Downloader {
    /// Fetches a page. Fails with the status or the error in words.
    async fn page(&self, url: &Uri, depth: u32) -> Result<Response, String> {
        let (url, page) = (url.clone(), self.fetch(url).await);
        match page.map_err(|failure| format!("{failure:#}"))? {
            (status, body) if status.is_success() => Ok(Response { url, depth, body }),
            (status, _) => Err(status.to_string()),
        }
    }

    async fn fetch(&self, url: &Uri) -> Result<(StatusCode, Bytes), Failure> {
        let request = http::Request::get(url).header(USER_AGENT, ROBOT);
        let response = self.agent.request(request.body(Body::empty())?).await?;
        let status = response.status();
        Ok((status, response.into_body().read(MAX_BYTES).await?))
    }

    /// Fetches the rules for robots of the site that a page belongs to.
    async fn robots(&self, page: &Uri) -> Option<String> {
        let url = http::resolve_url(page, "/robots.txt").ok()?;
        let page = self.page(&url, 0).await.ok()?;
        Some(String::from_utf8_lossy(&page.body).into_owned())
    }
}
