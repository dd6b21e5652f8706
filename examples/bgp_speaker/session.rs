//! The I/O of one peer: a task that feeds a [`Peer`] with what its connections, its timers and the
//! operator bring, one input after the other, and carries out its actions.
//!
//! Each connection has its own task, which reads messages and puts them into the queue of
//! inputs. The queue is short, so a peer that sends fast waits. Inputs of a connection that was
//! closed meanwhile are known by its number, and dropped. Timers are deadlines in a table: one that
//! was cleared cannot expire.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::{AbortHandle, Either, abortable, select};
use torsade::DeferredQueue;
use torsade::net::{Backoff, ConnectOptions};
use torsade::prelude::*;

use super::codec::{self, Frames, IPV4_UNICAST};
use super::machine::{Action, Cause, Config, Event, Session, State, Timer};
use super::message::{Attributes, Message, Notification, Prefix, Segment, Terms, Update};
use super::peer::{Actions, Peer, Side};

/// The routes of this speaker, with the next hop where it is not the speaker itself.
pub(super) type Routes = BTreeMap<Prefix, Option<Ipv4Addr>>;

/// What happens to a peer.
pub(super) enum Input {
    /// The peer has connected.
    Incoming(Connection),
    /// The connection of this number is made.
    Connected(u64, Transport),
    Frame(u64, Result<Vec<u8>, Notification>),
    Closed(u64),
    Command(Command),
    Stop,
}

/// A command of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Announce(Prefix, Option<Ipv4Addr>),
    Withdraw(Prefix),
    /// Ask the peer for its routes again.
    Refresh,
    Status,
}

/// A report about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The state has changed, or was asked for.
    State(State, Option<Session>),
    Ended(Cause),
    Announced(Prefix, Rc<Attributes>),
    Withdrawn(Prefix),
    /// The networks of a faulty UPDATE are withdrawn.
    TreatedAsWithdrawn(Notification),
    /// All routes of the peer have arrived.
    EndOfRoutes,
    Keepalive,
}

/// Receives the reports about a peer.
pub(super) type Notes = Rc<dyn Fn(Ipv4Addr, Note)>;

struct Link {
    number: u64,
    connecting: AbortHandle,
    transport: Option<Transport>,
}

/// See the file's header.
pub(super) struct PeerTask {
    reactor: Reactor,
    address: SocketAddrV4,
    /// The address from which connections are made.
    from: Option<Ipv4Addr>,
    config: Config,
    peer: Peer,
    inputs: DeferredQueue<Input>,
    links: BTreeMap<Side, Link>,
    timers: BTreeMap<(Side, Timer), Instant>,
    routes: Routes,
    received: BTreeMap<Prefix, Rc<Attributes>>,
    established: Option<Side>,
    shown: State,
    notes: Notes,
    /// The number of connections so far, and of those whose tasks run.
    made: u64,
    open: usize,
}

impl PeerTask {
    pub(super) fn new(
        reactor: &Reactor,
        address: SocketAddrV4,
        from: Option<Ipv4Addr>,
        config: Config,
        routes: Routes,
        notes: Notes,
    ) -> Self {
        Self {
            reactor: reactor.clone(),
            address,
            from,
            peer: Peer::new(config.clone()),
            config,
            inputs: DeferredQueue::with_limits(16, None),
            links: BTreeMap::new(),
            timers: BTreeMap::new(),
            routes,
            received: BTreeMap::new(),
            established: None,
            shown: State::Idle,
            notes,
            made: 0,
            open: 0,
        }
    }

    pub(super) fn inputs(&self) -> DeferredQueue<Input> {
        self.inputs.clone()
    }

    /// Runs until it is stopped, and until its connections are closed then.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let actions = self.peer.start();
        self.perform(actions);
        loop {
            let due = self.timers.iter().map(|(timer, at)| (*at, *timer)).min();
            if let Some((at, (side, timer))) = due
                && at <= self.reactor.now()
            {
                self.timers.remove(&(side, timer));
                self.handle(side, Event::Expired(timer));
                continue;
            }
            let expiry = match due {
                Some((at, _)) => Either::Left(self.reactor.sleep_until(at)),
                None => Either::Right(pending()),
            };
            match select(self.inputs.get(), expiry).await {
                Either::Left((input, _)) => match input? {
                    Input::Stop => break,
                    input => self.input(input),
                },
                Either::Right(_) => {}
            }
        }
        let actions = self.peer.stop(&Notification::cease(2, "stopped"));
        self.perform(actions);
        while self.open > 0 {
            match self.inputs.get().await? {
                Input::Closed(_) => self.open -= 1,
                Input::Connected(_, transport) => transport.abort_connection(),
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&self, note: Note) {
        (self.notes)(*self.address.ip(), note);
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Incoming(conn) => {
                // Refused while the machine is Idle, or has a connection.
                if self.peer.machine(Side::In).is_waiting() {
                    self.add_link(Side::In, async { Ok(conn) });
                }
            }
            Input::Connected(number, transport) => {
                if let Some((side, link)) = self.link(number) {
                    link.transport = Some(transport);
                    self.handle(side, Event::Connected);
                } else {
                    transport.abort_connection();
                }
            }
            Input::Frame(number, frame) => {
                if let Some((side, _)) = self.link(number) {
                    let terms = self.terms(side);
                    let message = frame.and_then(|frame| codec::decode(&frame, terms));
                    self.handle(side, Event::Received(message));
                }
            }
            Input::Closed(number) => {
                self.open -= 1;
                if let Some((side, _)) = self.link(number) {
                    self.handle(side, Event::Disconnected);
                }
            }
            Input::Command(command) => self.command(command),
            Input::Stop => {}
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Announce(prefix, next_hop) => {
                self.routes.insert(prefix, next_hop);
                self.announce(&[prefix]);
            }
            Command::Withdraw(prefix) => {
                if self.routes.remove(&prefix).is_some()
                    && let Some(side) = self.established
                {
                    for message in codec::withdraw(&[prefix]) {
                        self.send(side, &message);
                    }
                }
            }
            Command::Refresh => {
                let (afi, safi) = IPV4_UNICAST;
                if let Some(side) = self.established {
                    self.send(side, &Message::Refresh { afi, safi });
                }
            }
            Command::Status => self.show(),
        }
    }

    fn link(&mut self, number: u64) -> Option<(Side, &mut Link)> {
        let mut links = self.links.iter_mut();
        let (side, link) = links.find(|(_, link)| link.number == number)?;
        Some((*side, link))
    }

    fn session(&self, side: Side) -> Option<&Session> {
        self.peer.machine(side).session()
    }

    fn terms(&self, side: Side) -> Terms {
        self.session(side)
            .map_or(Terms::BEFORE_OPEN, |session| session.terms)
    }

    fn handle(&mut self, side: Side, event: Event) {
        let is_keepalive = event == Event::Received(Ok(Message::Keepalive));
        let actions = self.peer.handle(side, event);
        self.perform(actions);
        if is_keepalive && self.established == Some(side) {
            self.note(Note::Keepalive);
        }
    }

    fn perform(&mut self, actions: Actions) {
        for (side, action) in actions {
            match action {
                Action::Connect => {
                    let mut options = ConnectOptions::new().timeout(self.config.connect_retry);
                    if let Some(from) = self.from {
                        options = options.bind((from, 0));
                    }
                    let connecting = self.reactor.connect_stream((self.address, options));
                    self.add_link(side, connecting);
                }
                Action::Send(message) => self.send(side, &message),
                Action::Close => {
                    if let Some(link) = self.links.remove(&side) {
                        link.connecting.abort();
                        if let Some(transport) = link.transport {
                            transport.lose_connection_within(Duration::from_secs(2));
                        }
                    }
                }
                Action::Set(timer, delay) => {
                    let delay = match timer {
                        Timer::Hold | Timer::DelayOpen => delay,
                        _ => self.jittered(delay),
                    };
                    self.timers
                        .insert((side, timer), self.reactor.now() + delay);
                }
                Action::Clear(timer) => {
                    self.timers.remove(&(side, timer));
                }
                Action::Up(_) => {
                    self.established = Some(side);
                    self.send_routes();
                }
                Action::SendRoutes => self.send_routes(),
                Action::Deliver(update) => self.receive(update),
                Action::Down(cause) => {
                    if self.established.take_if(|up| *up == side).is_some() {
                        for prefix in std::mem::take(&mut self.received).into_keys() {
                            self.note(Note::Withdrawn(prefix));
                        }
                    }
                    if cause != Cause::Dropped {
                        self.note(Note::Ended(cause));
                    }
                }
            }
        }
        if self.peer.state() != self.shown {
            self.show();
        }
    }

    /// Shortens a time by up to a quarter, so that speakers do not act together (RFC 4271, 10).
    fn jittered(&self, time: Duration) -> Duration {
        let backoff = Backoff::new().initial(time * 3 / 4).jitter(time / 4);
        backoff.max_delay(time).delay(1, &self.reactor)
    }

    fn show(&mut self) {
        self.shown = self.peer.state();
        let session = self.established.and_then(|side| self.session(side));
        self.note(Note::State(self.shown, session.cloned()));
    }

    fn add_link(
        &mut self,
        side: Side,
        connecting: impl Future<Output = Result<Connection, Failure>> + 'static,
    ) {
        self.made += 1;
        self.open += 1;
        let (connecting, abort) = abortable(connecting);
        let link = Link {
            number: self.made,
            connecting: abort,
            transport: None,
        };
        let (inputs, number) = (self.inputs.clone(), self.made);
        self.links.insert(side, link);
        spawn(async move {
            if let Ok(Ok(conn)) = connecting.await {
                read(conn, &inputs, number).await?;
            }
            inputs.put_when_room(Input::Closed(number)).await
        })
        .detach();
    }

    fn send(&self, side: Side, message: &Message) {
        let link = self.links.get(&side);
        if let Some(transport) = link.and_then(|link| link.transport.as_ref()) {
            let mut bytes = Vec::new();
            codec::encode(message, self.terms(side), &mut bytes);
            transport.write(bytes);
        }
    }

    fn send_routes(&mut self) {
        let networks: Vec<_> = self.routes.keys().copied().collect();
        self.announce(&networks);
        if let Some(side) = self.established {
            // The end of the routes (RFC 4724).
            self.send(side, &Message::Update(Update::default()));
        }
    }

    /// Announces networks, those with the same next hop together.
    fn announce(&self, networks: &[Prefix]) {
        let Some(side) = self.established else {
            return;
        };
        let own = self.links.get(&side).and_then(|link| {
            let address = link.transport.as_ref()?.local_addr().ok()?.ip()?;
            match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            }
        });
        let terms = self.terms(side);
        let path = match terms.is_internal {
            true => Vec::new(),
            false => vec![Segment {
                is_set: false,
                numbers: vec![self.config.asn],
            }],
        };
        let mut by_next_hop: BTreeMap<Ipv4Addr, Vec<Prefix>> = BTreeMap::new();
        for network in networks {
            let next_hop = self.routes.get(network).copied().flatten();
            let next_hop = next_hop.or(own).unwrap_or(self.config.id);
            by_next_hop.entry(next_hop).or_default().push(*network);
        }
        for (next_hop, networks) in by_next_hop {
            let attributes = Attributes {
                path: path.clone(),
                next_hop: Some(next_hop),
                local_pref: terms.is_internal.then_some(100),
                ..Attributes::default()
            };
            for message in codec::announce(&networks, &attributes) {
                self.send(side, &message);
            }
        }
    }

    fn receive(&mut self, update: Update) {
        if update.is_end() {
            self.note(Note::EndOfRoutes);
        }
        if let Some(error) = update.error {
            self.note(Note::TreatedAsWithdrawn(error));
        }
        for prefix in update.withdrawn {
            if self.received.remove(&prefix).is_some() {
                self.note(Note::Withdrawn(prefix));
            }
        }
        let attributes = Rc::new(update.attributes);
        let mut numbers = attributes.path.iter().flat_map(|segment| &segment.numbers);
        let is_loop = numbers.any(|asn| *asn == self.config.asn);
        for prefix in update.announced {
            // A route through this system is not used; it replaces an earlier one all the same.
            if is_loop {
                if self.received.remove(&prefix).is_some() {
                    self.note(Note::Withdrawn(prefix));
                }
                continue;
            }
            let new = self.received.insert(prefix, attributes.clone());
            if new.as_ref() != Some(&attributes) {
                self.note(Note::Announced(prefix, attributes.clone()));
            }
        }
    }
}

/// Puts the messages of a connection into the queue until it ends.
async fn read(conn: Connection, inputs: &DeferredQueue<Input>, number: u64) -> Result<(), Failure> {
    let connected = Input::Connected(number, conn.transport());
    inputs.put_when_room(connected).await?;
    let mut frames = conn.framed(Frames::new());
    while let Some(frame) = frames.next().await {
        let frame = match frame {
            Ok(frame) => Ok(frame),
            Err(error) => match error.downcast::<Notification>() {
                Ok(error) => Err(error),
                Err(_) => return Ok(()),
            },
        };
        let is_over = frame.is_err();
        inputs.put_when_room(Input::Frame(number, frame)).await?;
        if is_over {
            // What follows is no message. The NOTIFICATION is still to be sent.
            let (mut conn, mut rest) = (frames.into_inner(), [0; 4096]);
            while !matches!(conn.read(&mut rest).await, Ok(0) | Err(_)) {}
            return Ok(());
        }
    }
    Ok(())
}
