//! What a crawl is made of: spiders, requests with their callbacks, and pages.

use html5gum::{Token, Tokenizer};
use torsade::http::{self, Bytes, Uri};

/// A spider knows where a crawl begins, and what to make of its pages.
pub(crate) trait Spider: Sized + 'static {
    fn name(&self) -> String;
    fn start(&mut self) -> Vec<Request<Self>>;
    /// Called with each item that a callback has yielded.
    fn found(&mut self, item: String);
}

/// What reads a page: it yields items and new requests.
pub(crate) type Callback<S> = fn(&mut S, &Response) -> Vec<Output<S>>;

pub(crate) enum Output<S> {
    Item(String),
    Request(Request<S>),
}

/// A page that is to be fetched.
pub(crate) struct Request<S> {
    pub(crate) url: Uri,
    pub(crate) callback: Callback<S>,
    /// The number of links from the start.
    pub(crate) depth: u32,
}

/// A page that has been fetched.
pub(crate) struct Response {
    pub(crate) url: Uri,
    pub(crate) depth: u32,
    pub(crate) body: Bytes,
}

impl<S> Request<S> {
    pub(crate) fn new(url: Uri, callback: Callback<S>) -> Self {
        Self {
            url,
            callback,
            depth: 0,
        }
    }
}

impl Response {
    /// Returns requests of the pages that this one links to.
    pub(crate) fn follow<S>(&self, callback: Callback<S>) -> impl Iterator<Item = Request<S>> {
        let tokens = Tokenizer::new(&self.body[..]).flatten();
        tokens.filter_map(move |token| {
            let Token::StartTag(tag) = token else {
                return None;
            };
            let target = tag
                .attributes
                .get(&b"href"[..])
                .filter(|_| *tag.name == b"a")?;
            let url = http::resolve_url(&self.url, &target[..]).ok()?;
            let depth = self.depth + 1;
            Some(Request {
                depth,
                ..Request::new(url, callback)
            })
        })
    }

    /// Returns the text of the title.
    pub(crate) fn title(&self) -> Option<String> {
        let mut tokens = Tokenizer::new(&self.body[..]).flatten();
        tokens.find(|token| matches!(token, Token::StartTag(tag) if *tag.name == b"title"))?;
        match tokens.next()? {
            Token::String(text) => Some(String::from_utf8_lossy(&text).trim().to_owned()),
            _ => None,
        }
    }
}
