//! The speaker: its settings, its peers, the port on which they connect, and the operator's
//! commands.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use torsade::DeferredQueue;
use torsade::prelude::*;

use super::codec;
use super::machine::Config;
use super::message::{Message, Notification, Prefix, Terms};
use super::session::{Command, Input, Notes, PeerTask, Routes};

pub(super) const USAGE: &str =
    "usage: bgp_speaker --as N --id A.B.C.D --peer ADDR[:PORT][,as=N] ...
    [--listen ADDR:PORT] [--route PREFIX[,next-hop=A]] ... [--db FILE] [--hold SECONDS]
    [--retry SECONDS] [--idle SECONDS] [--delay-open SECONDS]";

/// What is given on the command line.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) peers: Vec<(SocketAddrV4, Option<u32>)>,
    pub(super) listen: Option<SocketAddrV4>,
    pub(super) routes: Routes,
    pub(super) db: Option<String>,
}

/// A peer's task, until it is awaited.
type PeerRun = Task<Result<(), Failure>>;

/// See the file's header.
pub(super) struct Speaker {
    peers: Vec<(DeferredQueue<Input>, Cell<Option<PeerRun>>)>,
    port: Option<Port>,
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not valid: {text}"))
}

/// Reads `PREFIX[,next-hop=A]`.
fn parse_route(text: &str) -> Result<(Prefix, Option<Ipv4Addr>), String> {
    Ok(match text.split_once(",next-hop=") {
        Some((prefix, next_hop)) => (prefix.parse()?, Some(parse(next_hop)?)),
        None => (text.parse()?, None),
    })
}

/// Reads `ADDR[:PORT][,as=N]`.
fn parse_peer(text: &str) -> Result<(SocketAddrV4, Option<u32>), String> {
    let (address, asn) = match text.split_once(",as=") {
        Some((address, asn)) => (address, Some(parse(asn)?)),
        None => (text, None),
    };
    let address = match address.contains(':') {
        true => parse(address)?,
        false => SocketAddrV4::new(parse(address)?, 179),
    };
    Ok((address, asn))
}

impl Settings {
    pub(super) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            config: Config {
                asn: 0,
                id: Ipv4Addr::UNSPECIFIED,
                peer_as: None,
                hold: 90,
                connect_retry: Duration::from_secs(30),
                delay_open: Duration::ZERO,
                idle_hold: Duration::from_secs(1),
            },
            peers: Vec::new(),
            listen: None,
            routes: Routes::new(),
            db: None,
        };
        while let Some(word) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{word} needs a value"))?;
            let config = &mut settings.config;
            let seconds = || parse::<f32>(&value).map(Duration::from_secs_f32);
            match &word[..] {
                "--as" => config.asn = parse(&value)?,
                "--id" => config.id = parse(&value)?,
                "--peer" => settings.peers.push(parse_peer(&value)?),
                "--listen" => settings.listen = Some(parse(&value)?),
                "--route" => settings.routes.extend([parse_route(&value)?]),
                "--db" => settings.db = Some(value),
                "--hold" => config.hold = parse(&value)?,
                "--retry" => config.connect_retry = seconds()?,
                "--idle" => config.idle_hold = seconds()?,
                "--delay-open" => config.delay_open = seconds()?,
                _ => return Err(format!("no such option: {word}")),
            }
        }
        if settings.config.asn == 0 || settings.config.id.is_unspecified() {
            return Err("--as and --id are needed, and neither is 0".into());
        }
        if matches!(settings.config.hold, 1 | 2) {
            return Err("--hold is 0, or at least 3 seconds".into());
        }
        Ok(settings)
    }
}

impl std::str::FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["announce", route] => {
                let (prefix, next_hop) = parse_route(route)?;
                Ok(Self::Announce(prefix, next_hop))
            }
            ["withdraw", prefix] => Ok(Self::Withdraw(prefix.parse()?)),
            ["refresh"] => Ok(Self::Refresh),
            ["status"] => Ok(Self::Status),
            _ => Err(format!("no such command: {line}")),
        }
    }
}

impl Speaker {
    pub(super) fn start(
        reactor: &Reactor,
        settings: Settings,
        notes: Notes,
    ) -> Result<Self, Failure> {
        let from = settings.listen.map(|listen| *listen.ip());
        let from = from.filter(|from| !from.is_unspecified());
        let mut peers = Vec::new();
        let mut queues = Vec::new();
        for (address, peer_as) in settings.peers {
            let config = Config {
                peer_as,
                ..settings.config.clone()
            };
            let (routes, notes) = (settings.routes.clone(), notes.clone());
            let peer = PeerTask::new(reactor, address, from, config, routes, notes);
            queues.push((*address.ip(), peer.inputs()));
            peers.push(peer);
        }
        let queues = Rc::new(queues);
        let port = match settings.listen {
            None => None,
            Some(listen) => Some(reactor.serve(listen, async move |mut conn| {
                let peer = conn.peer().ip();
                match queues
                    .iter()
                    .find(|(address, _)| peer == Some((*address).into()))
                {
                    Some((_, inputs)) => inputs.put_when_room(Input::Incoming(conn)).await,
                    None => {
                        let refused = Message::Notification(Notification::cease(5, ""));
                        let mut bytes = Vec::new();
                        codec::encode(&refused, Terms::BEFORE_OPEN, &mut bytes);
                        Ok(conn.write_all(&bytes).await?)
                    }
                }
            })?),
        };
        let peers = peers.into_iter();
        let peers = peers
            .map(|peer| (peer.inputs(), Cell::new(Some(spawn(peer.run())))))
            .collect();
        Ok(Self { peers, port })
    }

    /// Returns the address at which peers connect.
    pub(super) fn local_addr(&self) -> Option<Address> {
        self.port.as_ref().map(Port::local_addr)
    }

    pub(super) async fn command(&self, command: &Command) -> Result<(), Failure> {
        for (inputs, _) in &self.peers {
            inputs.put_when_room(Input::Command(*command)).await?;
        }
        Ok(())
    }

    /// Ends all sessions with a NOTIFICATION.
    pub(super) async fn stop(&self) -> Result<(), Failure> {
        if let Some(port) = &self.port {
            port.stop().await?;
        }
        for (inputs, _) in &self.peers {
            inputs.put_when_room(Input::Stop).await?;
        }
        for task in self.peers.iter().filter_map(|(_, task)| task.take()) {
            task.await??;
        }
        Ok(())
    }
}
