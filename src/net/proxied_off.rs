//! Replaces `proxied` without the feature `proxy-protocol`: options without values.

use std::panic::Location;

use crate::net::streams::accept::Acceptor;

#[derive(Clone, Debug)]
pub(super) enum ProxyOptions {}

pub(super) enum Proxied {}

impl Proxied {
    pub(super) fn before(
        _acceptor: Box<dyn Acceptor>,
        options: ProxyOptions,
        _location: &'static Location<'static>,
    ) -> Box<dyn Acceptor> {
        match options {}
    }
}
