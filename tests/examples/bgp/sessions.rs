//! Speakers in memory, under virtual time: with each other, and with scripted peers.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use torsade::net::ConnectOptions;
use torsade::protocols::Framed;
use torsade::testing::{self, NetworkFaults, Random, each_seed};
use torsade::{Clock, Connection, Failure, Reactor};

use super::codec::{Frames, decode};
use super::machine::{Cause, State};
use super::session::{Command, Note};
use super::speaker::{Settings, Speaker};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A speaker, and what it has told.
struct Observed {
    speaker: Speaker,
    notes: Rc<RefCell<Vec<Note>>>,
}

impl Observed {
    fn start(reactor: &Reactor, words: &str) -> Result<Self, Failure> {
        let words = words.split_whitespace().map(String::from);
        let settings = Settings::parse(words).map_err(Failure::new)?;
        let notes = Rc::new(RefCell::new(Vec::new()));
        let log = notes.clone();
        let note = Rc::new(move |_peer: Ipv4Addr, note| log.borrow_mut().push(note));
        let speaker = Speaker::start(reactor, settings, note)?;
        Ok(Self { speaker, notes })
    }

    fn state(&self) -> State {
        let notes = self.notes.borrow();
        let states = notes.iter().rev();
        let mut states = states.filter_map(|note| match note {
            Note::State(state, _) => Some(*state),
            _ => None,
        });
        states.next().unwrap_or(State::Idle)
    }

    /// Waits at most a minute.
    async fn until(&self, reactor: &Reactor, cond: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        for _ in 0..6000 {
            if cond(self) {
                return Ok(());
            }
            reactor.sleep(SECOND / 100).await?;
        }
        Err(Failure::new(format!(
            "did not happen: {:?}",
            self.notes.borrow()
        )))
    }

    async fn until_state(&self, reactor: &Reactor, state: State) -> Result<(), Failure> {
        self.until(reactor, |me| me.state() == state).await
    }

    fn has(&self, wanted: &Note) -> bool {
        self.notes.borrow().contains(wanted)
    }

    fn routes(&self) -> Vec<String> {
        let mut routes: Vec<String> = Vec::new();
        for note in self.notes.borrow().iter() {
            match note {
                Note::Announced(prefix, _) => routes.push(prefix.to_string()),
                Note::Withdrawn(prefix) => routes.retain(|other| *other != prefix.to_string()),
                _ => {}
            }
        }
        routes.sort();
        routes
    }

    fn ends(&self) -> Vec<Cause> {
        let notes = self.notes.borrow();
        let ends = notes.iter().filter_map(|note| match note {
            Note::Ended(cause) if *cause != Cause::Unreachable => Some(cause.clone()),
            _ => None,
        });
        ends.collect()
    }

    async fn command(&self, line: &str) -> Result<(), Failure> {
        self.speaker
            .command(&line.parse::<Command>().unwrap())
            .await
    }
}

const ONE: &str = "--as 65001 --id 1.1.1.1 --listen 127.0.0.1:1790 --peer 127.0.0.2:1790 --hold 9
    --route 10.1.0.0/16";
const TWO: &str = "--as 65002 --id 2.2.2.2 --listen 127.0.0.2:1790 --peer 127.0.0.1:1790 --hold 90
    --route 10.2.0.0/16 --route 10.2.9.0/24,next-hop=10.2.0.1";

#[test]
fn two_speakers_find_each_other_whoever_is_first_and_exchange_routes() {
    let mut collisions = 0;
    each_seed(30, NetworkFaults::lossless, async |reactor, seed| {
        let one = Observed::start(&reactor, ONE)?;
        // At the same time, both connect, and one connection is given up; later, one connects.
        let mut random = Random::new(seed);
        reactor
            .sleep(random.time(&(Duration::ZERO..=SECOND / 50)))
            .await?;
        let two = Observed::start(&reactor, TWO)?;
        for speaker in [&one, &two] {
            let wanted = 1 + usize::from(std::ptr::eq(speaker, &one));
            speaker
                .until(&reactor, |me| {
                    me.state() == State::Established && me.routes().len() == wanted
                })
                .await?;
        }
        assert_eq!(one.routes(), ["10.2.0.0/16", "10.2.9.0/24"]);
        assert_eq!(two.routes(), ["10.1.0.0/16"]);
        let attributes = |path: u32, next_hop: [u8; 4]| {
            Rc::new(Attributes {
                path: vec![sequence(&[path])],
                next_hop: Some(next_hop.into()),
                ..Attributes::default()
            })
        };
        let route =
            |text, path, next_hop| Note::Announced(prefix(text), attributes(path, next_hop));
        assert!(one.has(&route("10.2.9.0/24", 65002, [10, 2, 0, 1])));
        assert!(two.has(&route("10.1.0.0/16", 65001, [127, 0, 0, 1])));
        // Keepalives hold the session for longer than its hold time.
        let ends = (one.ends().len(), two.ends().len());
        let collision = Cause::Sent(Notification::cease(7, ""));
        let mut both = one.ends().into_iter().chain(two.ends());
        collisions += usize::from(both.any(|cause| cause == collision));
        reactor.sleep(SECOND * 100).await?;
        assert_eq!((one.ends().len(), two.ends().len()), ends);
        two.command("withdraw 10.2.0.0/16").await?;
        two.command("announce 10.2.7.0/24").await?;
        one.until(&reactor, |me| me.routes() == ["10.2.7.0/24", "10.2.9.0/24"])
            .await?;
        two.speaker.stop().await?;
        one.until(&reactor, |me| me.routes().is_empty()).await?;
        let last = one.ends().pop();
        assert_eq!(
            last,
            Some(Cause::Received(Notification::cease(2, "stopped")))
        );
        one.speaker.stop().await
    });
    // Some seeds have one, others none; a chosen seed may be either.
    let is_chosen = ["TORSADE_SEED", "TORSADE_SEEDS"].map(|name| std::env::var_os(name).is_some());
    assert!(
        is_chosen != [false; 2] || (3..30).contains(&collisions),
        "{collisions} of 30"
    );
}

#[test]
fn a_session_that_was_lost_is_made_again() {
    testing::run(async |reactor| {
        let one = Observed::start(&reactor, ONE)?;
        for round in 1..=3 {
            let two = Observed::start(&reactor, TWO)?;
            one.until(&reactor, |me| me.routes().len() == 2).await?;
            two.speaker.stop().await?;
            one.until(&reactor, |me| me.routes().is_empty()).await?;
            let ended = Cause::Received(Notification::cease(2, "stopped"));
            let ends = one.ends().into_iter().filter(|cause| *cause == ended);
            assert_eq!(ends.count(), round);
        }
        one.speaker.stop().await
    });
}

#[test]
fn a_speaker_has_sessions_with_several_peers() {
    testing::run(async |reactor| {
        let one = Observed::start(&reactor, &format!("{ONE} --peer 127.0.0.3:1790"))?;
        let two = Observed::start(&reactor, TWO)?;
        let three = TWO.replace("127.0.0.2:1790", "127.0.0.3:1790");
        let three = three
            .replace("10.2.", "10.3.")
            .replace("2.2.2.2", "3.3.3.3");
        // This one is of the same system.
        let three = Observed::start(&reactor, &three.replace("65002", "65001"))?;
        one.until(&reactor, |me| me.routes().len() == 4).await?;
        let inner = Attributes {
            next_hop: Some([127, 0, 0, 3].into()),
            local_pref: Some(100),
            ..Attributes::default()
        };
        assert!(one.has(&Note::Announced(prefix("10.3.0.0/16"), Rc::new(inner))));
        two.until(&reactor, |me| me.routes() == ["10.1.0.0/16"])
            .await?;
        three
            .until(&reactor, |me| me.routes() == ["10.1.0.0/16"])
            .await?;
        two.speaker.stop().await?;
        one.until(&reactor, |me| me.routes() == ["10.3.0.0/16", "10.3.9.0/24"])
            .await?;
        one.speaker.stop().await?;
        three.speaker.stop().await
    });
}

/// A scripted peer, which has connected.
struct Script {
    frames: Framed<Frames>,
}

impl Script {
    async fn connect(reactor: &Reactor) -> Result<Self, Failure> {
        let options = ConnectOptions::new().bind(([127, 0, 0, 2], 0));
        let conn = reactor.connect_stream(("127.0.0.1:1790", options)).await?;
        let frames = conn.framed(Frames::new());
        Ok(Self { frames })
    }

    /// Connects, and has a session.
    async fn establish(reactor: &Reactor, open: &[u8]) -> Result<Self, Failure> {
        let mut peer = Self::connect(reactor).await?;
        peer.send(open).await?;
        assert!(matches!(peer.next().await?, Some(Message::Open(_))));
        assert_eq!(peer.next().await?, Some(Message::Keepalive));
        peer.send(&frame(4, &[])).await?;
        Ok(peer)
    }

    fn conn(&mut self) -> &mut Connection {
        self.frames.get_mut()
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.conn().write_all(bytes).await?)
    }

    async fn next(&mut self) -> Result<Option<Message>, Failure> {
        match self.frames.next().await {
            Some(frame) => Ok(Some(decode(&frame?, WIDE)?)),
            None => Ok(None),
        }
    }

    /// Waits for the NOTIFICATION, after which the connection ends.
    async fn notification(&mut self) -> Result<Notification, Failure> {
        while let Some(message) = self.next().await? {
            if let Message::Notification(error) = message {
                assert_eq!(self.next().await?, None);
                return Ok(error);
            }
        }
        Err(Failure::new("the connection ended without one"))
    }
}

/// A speaker whose peer does not listen, so the peer must connect.
const WAITS: &str = "--as 65001 --id 1.1.1.1 --listen 127.0.0.1:1790 --peer 127.0.0.2:9,as=65002
    --hold 9 --route 10.1.0.0/16";

#[test]
fn keepalives_come_after_three_quarters_to_the_whole_of_their_time() {
    testing::run(async |reactor| {
        let one = Observed::start(&reactor, WAITS)?;
        let mut peer = Script::establish(&reactor, &good_open()).await?;
        let (mut last, mut times) = (None, Vec::new());
        while times.len() < 20 {
            if peer.next().await? == Some(Message::Keepalive) {
                let now = reactor.now();
                times.extend(last.replace(now).map(|last| (now - last).as_millis()));
                peer.send(&frame(4, &[])).await?;
            }
        }
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(*least >= 2240 && *most <= 3010, "{times:?}");
        assert!(most - least > 200, "{times:?}");
        drop(peer);
        one.speaker.stop().await
    });
}

#[test]
fn a_peer_that_falls_silent_is_noticed_within_the_hold_time() {
    testing::run(async |reactor| {
        let one = Observed::start(&reactor, WAITS)?;
        let mut peer = Script::establish(&reactor, &good_open()).await?;
        peer.send(&update(&[], &[ORIGIN, PATH, NEXT_HOP], NETWORK))
            .await?;
        one.until(&reactor, |me| me.routes() == ["10.7.0.0/16"])
            .await?;
        let start = reactor.now();
        let mut keepalives = 0;
        let error = loop {
            match peer.next().await? {
                Some(Message::Keepalive) => keepalives += 1,
                Some(Message::Notification(error)) => break error,
                Some(_) => {}
                None => panic!("no notification"),
            }
        };
        assert_eq!(error, Notification::new(4, 0, []));
        let passed = (reactor.now() - start).as_millis();
        assert!((8900..=9100).contains(&passed), "{passed} ms");
        assert!(
            (2..=3).contains(&keepalives),
            "one every three seconds, or earlier"
        );
        one.until(&reactor, |me| me.routes().is_empty()).await?;
        assert_eq!(one.ends(), [Cause::Sent(error)]);
        drop(peer);
        one.speaker.stop().await
    });
}

#[test]
fn a_peer_that_says_nothing_at_all_is_given_four_minutes() {
    testing::run(async |reactor| {
        let one = Observed::start(&reactor, WAITS)?;
        let mut peer = Script::connect(&reactor).await?;
        let start = reactor.now();
        let error = peer.notification().await?;
        assert_eq!(error, Notification::new(4, 0, []));
        assert_eq!((reactor.now() - start).as_secs(), 240);
        drop(peer);
        one.speaker.stop().await
    });
}

/// Bytes that a peer sends, before or after the session is established, and the answer.
fn faults() -> Vec<(bool, Vec<u8>, Notification)> {
    let mut all: Vec<_> = fatal_faults()
        .into_iter()
        .map(|(bytes, error)| (true, bytes, error))
        .collect();
    let with =
        |subcode, data: &[u8], open: Vec<u8>| (false, open, Notification::new(2, subcode, data));
    all.extend([
        with(1, &[0, 4], open(3, 65002, 9, [2; 4], &[])),
        with(2, &[], open(4, 65009, 9, [2; 4], &[])),
        with(3, &[], open(4, 65002, 9, [0; 4], &[])),
        with(4, &[], open(4, 65002, 9, [2; 4], &[1, 0])),
        with(6, &[], open(4, 65002, 2, [2; 4], &[])),
        with(
            7,
            &[1, 4, 0, 1, 0, 1],
            open(4, 65002, 9, [2; 4], &[2, 6, 1, 4, 0, 2, 0, 1]),
        ),
        (false, frame(4, &[]), Notification::new(5, 1, [4])),
        (
            false,
            b"SSH-2.0-x\r\n".to_vec(),
            Notification::new(1, 1, []),
        ),
        (true, good_open(), Notification::new(5, 3, [1])),
        (
            false,
            [good_open(), update(&[], &[], &[])].concat(),
            Notification::new(5, 2, [2]),
        ),
    ]);
    all
}

#[test]
fn each_fault_is_answered_by_its_notification_however_the_bytes_are_cut() {
    for (number, (is_later, bytes, expected)) in faults().into_iter().enumerate() {
        each_seed(4, NetworkFaults::lossless, async |reactor, seed| {
            let one = Observed::start(&reactor, WAITS)?;
            let mut peer = match is_later {
                true => Script::establish(&reactor, &good_open()).await?,
                false => Script::connect(&reactor).await?,
            };
            let mut random = Random::new(seed * 1000 + number as u64);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let size = if seed == 1 { 1 } else { 1 + random.below(40) };
                let (piece, left) = rest.split_at(size.min(rest.len()));
                rest = left;
                // It may have seen enough.
                if peer.send(piece).await.is_err() {
                    break;
                }
                reactor.sleep(Duration::from_millis(1)).await?;
            }
            let error = peer.notification().await?;
            assert_eq!(error, expected, "{}", bytes.escape_ascii());
            drop(peer);
            one.until_state(&reactor, State::Idle).await.ok();
            assert_eq!(one.ends(), [Cause::Sent(expected.clone())]);
            one.speaker.stop().await
        });
    }
}

#[test]
fn a_faulty_attribute_withdraws_its_networks_and_the_session_goes_on() {
    for (attributes, _, expected) in lesser_faults()
        .into_iter()
        .filter(|(_, terms, _)| *terms == WIDE)
    {
        testing::run(async |reactor| {
            let one = Observed::start(&reactor, WAITS)?;
            let mut peer = Script::establish(&reactor, &good_open()).await?;
            peer.send(&update(&[], &[ORIGIN, PATH, NEXT_HOP], NETWORK))
                .await?;
            peer.send(&update(&[], &[ORIGIN, PATH, NEXT_HOP], &[8, 11]))
                .await?;
            one.until(&reactor, |me| me.routes().len() == 2).await?;
            let attributes: Vec<_> = attributes.iter().map(Vec::as_slice).collect();
            peer.send(&update(&[], &attributes, NETWORK)).await?;
            one.until(&reactor, |me| me.routes() == ["11.0.0.0/8"])
                .await?;
            assert!(one.has(&Note::TreatedAsWithdrawn(expected)));
            assert_eq!(one.state(), State::Established);
            one.speaker.stop().await?;
            assert_eq!(
                peer.notification().await?,
                Notification::cease(2, "stopped")
            );
            Ok(())
        });
    }
}

#[test]
fn routes_are_sent_again_when_the_peer_asks_for_them() {
    testing::run(async |reactor| {
        let one = Observed::start(&reactor, WAITS)?;
        let mut peer = Script::establish(&reactor, &good_open()).await?;
        for _ in 0..3 {
            let Some(Message::Update(routes)) = peer.next().await? else {
                panic!("no routes");
            };
            assert_eq!(routes.announced, [prefix("10.1.0.0/16")]);
            assert_eq!(peer.next().await?, Some(Message::Update(Update::default())));
            peer.send(&frame(5, &[0, 1, 0, 1])).await?;
            // Another family is none of its business.
            peer.send(&frame(5, &[0, 2, 0, 1])).await?;
        }
        peer.next().await?;
        peer.next().await?;
        one.command("refresh").await?;
        assert_eq!(
            peer.next().await?,
            Some(Message::Refresh { afi: 1, safi: 1 })
        );
        one.speaker.stop().await?;
        assert_eq!(
            peer.notification().await?,
            Notification::cease(2, "stopped")
        );
        Ok(())
    });
}

#[test]
fn a_path_through_this_system_is_not_used() {
    testing::run(async |reactor| {
        let one = Observed::start(&reactor, WAITS)?;
        let mut peer = Script::establish(&reactor, &good_open()).await?;
        peer.send(&update(&[], &[ORIGIN, PATH, NEXT_HOP], NETWORK))
            .await?;
        one.until(&reactor, |me| me.routes().len() == 1).await?;
        let own: &[u8] = &[0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xea, 0, 0, 0xfd, 0xe9];
        peer.send(&update(&[], &[ORIGIN, own, NEXT_HOP], NETWORK))
            .await?;
        one.until(&reactor, |me| me.routes().is_empty()).await?;
        assert_eq!(one.state(), State::Established);
        one.speaker.stop().await?;
        drop(peer);
        Ok(())
    });
}

#[test]
fn a_second_connection_of_the_peer_is_refused_and_a_strangers_too() {
    testing::run(async |reactor| {
        let one = Observed::start(&reactor, WAITS)?;
        let mut peer = Script::establish(&reactor, &good_open()).await?;
        one.until_state(&reactor, State::Established).await?;
        let mut second = Script::connect(&reactor).await?;
        assert_eq!(second.next().await.unwrap_or(None), None);
        let conn = reactor.connect_stream("127.0.0.1:1790").await?;
        let mut stranger = Script {
            frames: conn.framed(Frames::new()),
        };
        assert_eq!(stranger.notification().await?, Notification::cease(5, ""));
        assert_eq!(one.state(), State::Established);
        one.speaker.stop().await?;
        assert_eq!(
            peer.notification().await?,
            Notification::cease(2, "stopped")
        );
        Ok(())
    });
}

#[test]
fn a_peer_that_knows_two_octets_gets_a_path_that_it_understands() {
    testing::run(async |reactor| {
        let words = WAITS.replace("--as 65001", "--as 4200000001");
        let one = Observed::start(&reactor, &words)?;
        let short = open(4, 65002, 9, [2; 4], &[]);
        let mut peer = Script::establish(&reactor, &short).await?;
        let frame = peer.frames.next().await.unwrap()?;
        let Message::Update(routes) = decode(&frame, NARROW)? else {
            panic!("no routes");
        };
        assert_eq!(routes.attributes.path, [sequence(&[4_200_000_001])]);
        let trans = [2, 1, 0x5b, 0xa0];
        assert!(frame.windows(4).any(|bytes| bytes == trans));
        one.speaker.stop().await?;
        drop(peer);
        Ok(())
    });
}

#[test]
fn an_open_can_be_delayed() {
    testing::run(async |reactor| {
        let words = format!("{WAITS} --delay-open 5");
        let one = Observed::start(&reactor, &words)?;
        let mut peer = Script::connect(&reactor).await?;
        let start = reactor.now();
        assert!(matches!(peer.next().await?, Some(Message::Open(_))));
        assert_eq!((reactor.now() - start).as_secs(), 5);
        drop(peer);
        one.speaker.stop().await
    });
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for words in [
        "--id 1.1.1.1",
        "--as 1",
        "--as 0 --id 1.1.1.1",
        "--as 1 --id 1.1.1.1 --hold 2",
        "--as 1 --id 1.1.1.1 --peer nobody",
        "--as 1 --id 1.1.1.1 --route 10.0.0.0/33",
        "--as 1 --id 1.1.1.1 --route 10.0.0.0/8,next-hop=x",
        "--as 1 --id 1.1.1.1 --what 1",
        "--as",
    ] {
        let parsed = Settings::parse(words.split_whitespace().map(String::from));
        assert!(parsed.is_err(), "{words}");
    }
}
