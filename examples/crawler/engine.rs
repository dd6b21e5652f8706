//! The engine of each spider: it takes requests from the scheduler, has the downloader fetch them,
//! calls the spider with the pages, and schedules what the spider yields.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use robotstxt::DefaultMatcher;
use torsade::defer::gather;
use torsade::http::header::USER_AGENT;
use torsade::http::{self, Agent, Body, Bytes, StatusCode, Uri};
use torsade::{Clock, Deferred, Failure, Reactor};

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
    pub(crate) spider: String,
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
    crawls: Vec<Deferred<Stats>>,
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
    pub(crate) fn crawl<S: Spider>(&mut self, spider: S) {
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} pages {elapsed}");
        let bar = ProgressBar::new(0).with_style(style.expect("the template is valid"));
        let mut engine = Engine {
            downloader: Rc::clone(&self.downloader),
            bar: self.bars.add(bar.with_prefix(spider.name())),
            spider,
            stats: Stats::default(),
            seen: HashSet::new(),
            hosts: BTreeMap::new(),
            events: FuturesUnordered::new(),
            active: 0,
        };
        self.crawls.push(Deferred::from_future(async move {
            engine.run().await;
            Ok(engine.stats)
        }));
    }

    /// Waits for the end of all spiders.
    pub(crate) async fn join(self) -> Result<Vec<Stats>, Failure> {
        gather(self.crawls).await
    }
}

struct Engine<S: Spider> {
    downloader: Rc<Downloader>,
    bar: ProgressBar,
    spider: S,
    stats: Stats,
    /// The filter of duplicates.
    seen: HashSet<Uri>,
    /// The scheduler's queues.
    hosts: BTreeMap<String, Host<S>>,
    events: FuturesUnordered<LocalBoxFuture<'static, Event<S>>>,
    /// The number of requests under way.
    active: usize,
}

struct Host<S> {
    queue: VecDeque<Request<S>>,
    active: usize,
    /// The text of `robots.txt`, when it is known.
    robots: Option<String>,
    /// Whether the last request was sent only just now.
    is_resting: bool,
}

/// What the engine waits for.
enum Event<S> {
    Robots(String, String),
    Rested(String),
    Fetched(Request<S>, Duration, Result<Response, String>),
}

impl<S: Spider> Engine<S> {
    async fn run(&mut self) {
        let reactor = self.downloader.reactor.clone();
        let start = reactor.now();
        self.stats.spider = self.spider.name();
        for request in self.spider.start() {
            self.add(request);
        }
        loop {
            while let Some(request) = self.next() {
                self.fetch(request);
            }
            match self.events.next().await {
                Some(Event::Robots(host, text)) => self.host(&host).robots = Some(text),
                Some(Event::Rested(host)) => self.host(&host).is_resting = false,
                Some(Event::Fetched(request, time, result)) => self.fetched(request, time, result),
                None => break,
            }
            self.bar.set_length(self.seen.len() as u64);
        }
        self.stats.took = reactor.now() - start;
        self.bar.finish_and_clear();
    }

    fn host(&mut self, name: &str) -> &mut Host<S> {
        self.hosts.entry(name.into()).or_insert_with(|| Host {
            queue: VecDeque::new(),
            active: 0,
            robots: None,
            is_resting: false,
        })
    }

    /// Schedules a request, unless its page was requested before or is too deep.
    fn add(&mut self, request: Request<S>) {
        let max_depth = self.downloader.settings.max_depth;
        if request.depth > max_depth || !self.seen.insert(request.url.clone()) {
            return;
        }
        let name = request.host();
        if !self.hosts.contains_key(&name) {
            let (loader, url) = (Rc::clone(&self.downloader), request.url.clone());
            let name = name.clone();
            self.events.push(Box::pin(async move {
                Event::Robots(name, loader.robots(&url).await.unwrap_or_default())
            }));
        }
        self.host(&name).queue.push_back(request);
    }

    /// Takes the next request that may be sent now.
    fn next(&mut self) -> Option<Request<S>> {
        let settings = &self.downloader.settings;
        for host in self.hosts.values_mut() {
            let is_free = self.active < settings.at_once && host.active < settings.per_host;
            let Some(robots) = host.robots.as_ref().filter(|_| is_free && !host.is_resting) else {
                continue;
            };
            while let Some(request) = host.queue.pop_front() {
                let (mut rules, url) = (DefaultMatcher::default(), request.url.to_string());
                if rules.one_agent_allowed_by_robots(robots, ROBOT, &url) {
                    host.active += 1;
                    return Some(request);
                }
                self.stats.refused += 1;
                self.bar.inc(1);
            }
        }
        None
    }

    fn fetch(&mut self, request: Request<S>) {
        let (loader, name) = (Rc::clone(&self.downloader), request.host());
        self.active += 1;
        if !loader.settings.delay.is_zero() {
            self.host(&name).is_resting = true;
            let rest = loader.reactor.sleep(loader.settings.delay);
            self.events.push(Box::pin(async move {
                let _ = rest.await;
                Event::Rested(name)
            }));
        }
        self.events.push(Box::pin(async move {
            let start = loader.reactor.now();
            let result = loader.page(&request.url, request.depth).await;
            Event::Fetched(request, loader.reactor.now() - start, result)
        }));
    }

    fn fetched(&mut self, mut request: Request<S>, time: Duration, page: Result<Response, String>) {
        let host = request.host();
        self.active -= 1;
        self.host(&host).active -= 1;
        self.stats.fetching += time;
        match page {
            Ok(page) => {
                self.stats.pages += 1;
                self.stats.bytes += page.body.len() as u64;
                for output in (request.callback)(&mut self.spider, &page) {
                    match output {
                        Output::Item(item) => self.spider.found(item),
                        Output::Request(next) => self.add(next),
                    }
                }
            }
            // An error of the client stays one.
            Err(problem) if problem.starts_with('4') || request.retries == MAX_RETRIES => {
                *self.stats.errors.entry(problem).or_default() += 1;
            }
            Err(_) => {
                self.stats.retries += 1;
                request.retries += 1;
                return self.host(&host).queue.push_back(request);
            }
        }
        self.bar.inc(1);
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
        let url = http::resolve(page, "/robots.txt").ok()?;
        let page = self.page(&url, 0).await.ok()?;
        Some(String::from_utf8_lossy(&page.body).into_owned())
    }
}
