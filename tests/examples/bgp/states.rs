//! The state machine, and the pair of machines of a peer, without I/O.

use std::collections::BTreeSet;
use std::time::Duration;

use torsade::testing::Random;

use super::machine::{Action, Cause, Config, Event, Machine, State, Timer};
use super::peer::{Actions, Peer, Side};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config {
        asn: 65001,
        id: [1; 4].into(),
        peer_as: Some(65002),
        hold: 90,
        connect_retry: SECOND * 30,
        delay_open: Duration::ZERO,
        idle_hold: SECOND,
    }
}

fn peers_open() -> Open {
    Open {
        asn: 65002,
        hold: 9,
        id: [2; 4].into(),
        has_four_octets: true,
        has_refresh: true,
        families: vec![(1, 1)],
    }
}

fn got(message: Message) -> Event {
    Event::Received(Ok(message))
}

fn got_open() -> Event {
    got(Message::Open(peers_open()))
}

/// A machine in a state, by the shortest way.
fn machine_in(state: State, config: Config) -> Machine {
    let mut machine = Machine::new(config);
    let way: &[Event] = match state {
        State::Idle => &[],
        State::Connect => &[Event::Start],
        State::Active => &[Event::StartPassive],
        State::OpenSent => &[Event::Start, Event::Connected],
        State::OpenConfirm => &[Event::Start, Event::Connected, got_open()],
        State::Established => &[
            Event::Start,
            Event::Connected,
            got_open(),
            got(Message::Keepalive),
        ],
    };
    for event in way {
        machine.handle(event.clone());
    }
    assert_eq!(machine.state(), state);
    machine
}

const STATES: [State; 6] = [
    State::Idle,
    State::Connect,
    State::Active,
    State::OpenSent,
    State::OpenConfirm,
    State::Established,
];

/// The notification that a machine sends, if any.
fn sent(actions: &[Action]) -> Option<Notification> {
    actions.iter().find_map(|action| match action {
        Action::Send(Message::Notification(error)) => Some(error.clone()),
        _ => None,
    })
}

#[test]
fn each_event_leads_from_each_state_to_the_state_of_the_table() {
    use State::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
    use Timer::{ConnectRetry, DelayOpen, Hold, Keepalive};
    let error = || Notification::new(3, 1, []);
    // Rows: an event and the next states, from Idle, Connect, Active, OpenSent, OpenConfirm,
    // Established.
    let table: Vec<(Event, [State; 6])> = vec![
        (
            Event::Start,
            [Connect, Connect, Active, OpenSent, OpenConfirm, Established],
        ),
        (
            Event::StartPassive,
            [Active, Connect, Active, OpenSent, OpenConfirm, Established],
        ),
        (Event::Stop(Notification::cease(2, "")), [Idle; 6]),
        (Event::Collision, [Idle; 6]),
        (
            Event::Connected,
            [Idle, OpenSent, OpenSent, OpenSent, OpenConfirm, Established],
        ),
        (
            Event::Disconnected,
            [Idle, Idle, Active, Active, Idle, Idle],
        ),
        (
            Event::Expired(ConnectRetry),
            [Idle, Connect, Connect, OpenSent, OpenConfirm, Established],
        ),
        (
            Event::Expired(Hold),
            [Idle, Connect, Active, Idle, Idle, Idle],
        ),
        (
            Event::Expired(Keepalive),
            [Idle, Connect, Active, OpenSent, OpenConfirm, Established],
        ),
        (
            Event::Expired(DelayOpen),
            [Idle, OpenSent, OpenSent, OpenSent, OpenConfirm, Established],
        ),
        (got_open(), [Idle, Idle, Idle, OpenConfirm, Idle, Idle]),
        (
            got(Message::Keepalive),
            [Idle, Idle, Idle, Idle, Established, Established],
        ),
        (
            got(Message::Update(Update::default())),
            [Idle, Idle, Idle, Idle, Idle, Established],
        ),
        (
            got(Message::Refresh { afi: 1, safi: 1 }),
            [Idle, Idle, Idle, Idle, Idle, Established],
        ),
        (got(Message::Notification(error())), [Idle; 6]),
        (Event::Received(Err(error())), [Idle; 6]),
    ];
    for (event, next) in table {
        for (state, next) in STATES.into_iter().zip(next) {
            let mut machine = machine_in(state, config());
            let actions = machine.handle(event.clone());
            assert_eq!(machine.state(), next, "{event:?} in {state:?}");
            // Invariant 1, and nothing at all in Idle.
            let is_down = matches!(actions.last(), Some(Action::Down(_)));
            assert_eq!(is_down, state != Idle && next == Idle, "{actions:?}");
            if state == Idle && next == Idle {
                assert_eq!(actions, []);
            }
        }
    }
}

#[test]
fn each_fault_has_its_notification() {
    let with = |change: fn(&mut Open)| {
        let mut open = peers_open();
        change(&mut open);
        got(Message::Open(open))
    };
    let keepalive = || got(Message::Keepalive);
    let routes = || got(Message::Update(Update::default()));
    let refresh = || got(Message::Refresh { afi: 1, safi: 1 });
    use State::{Established, OpenConfirm, OpenSent};
    let capability: &[u8] = &[1, 4, 0, 1, 0, 1];
    for (state, event, code, subcode, data) in [
        (OpenSent, with(|open| open.asn = 65003), 2, 2, &[][..]),
        (OpenSent, with(|open| open.asn = 0), 2, 2, &[]),
        (OpenSent, with(|open| open.id = [0; 4].into()), 2, 3, &[]),
        (OpenSent, with(|open| open.hold = 1), 2, 6, &[]),
        (OpenSent, with(|open| open.hold = 2), 2, 6, &[]),
        (
            OpenSent,
            with(|open| open.families = vec![(2, 1)]),
            2,
            7,
            capability,
        ),
        (OpenSent, Event::Expired(Timer::Hold), 4, 0, &[]),
        (OpenConfirm, Event::Expired(Timer::Hold), 4, 0, &[]),
        (Established, Event::Expired(Timer::Hold), 4, 0, &[]),
        (OpenSent, keepalive(), 5, 1, &[4]),
        (OpenSent, routes(), 5, 1, &[2]),
        (OpenSent, refresh(), 5, 1, &[5]),
        (OpenConfirm, got_open(), 5, 2, &[1]),
        (OpenConfirm, routes(), 5, 2, &[2]),
        (OpenConfirm, refresh(), 5, 2, &[5]),
        (Established, got_open(), 5, 3, &[1]),
        (OpenSent, Event::Collision, 6, 7, &[]),
        (OpenConfirm, Event::Collision, 6, 7, &[]),
        (
            Established,
            Event::Stop(Notification::new(6, 2, [])),
            6,
            2,
            &[],
        ),
        (
            Established,
            Event::Received(Err(Notification::new(3, 9, [1]))),
            3,
            9,
            &[1],
        ),
    ] {
        let actions = machine_in(state, config()).handle(event.clone());
        let expected = Notification::new(code, subcode, data);
        assert_eq!(sent(&actions), Some(expected), "{event:?} in {state:?}");
    }
    // The peer of the same AS has another identifier.
    let mut inner = config();
    (inner.peer_as, inner.asn, inner.id) = (None, 65002, [2; 4].into());
    let actions = machine_in(OpenSent, inner).handle(got_open());
    assert_eq!(sent(&actions), Some(Notification::new(2, 3, [])));
    // A notification is not answered.
    for state in STATES {
        let error = Message::Notification(Notification::new(3, 1, []));
        assert_eq!(sent(&machine_in(state, config()).handle(got(error))), None);
    }
}

#[test]
fn timers_run_as_agreed() {
    let mut machine = machine_in(State::OpenSent, config());
    let actions = machine.handle(got_open());
    for action in [
        Action::Send(Message::Keepalive),
        Action::Set(Timer::Hold, SECOND * 9),
        Action::Set(Timer::Keepalive, SECOND * 3),
    ] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    let actions = machine.handle(got(Message::Keepalive));
    assert_eq!(actions[0], Action::Set(Timer::Hold, SECOND * 9));
    assert!(matches!(actions[1], Action::Up(_)));
    let actions = machine.handle(got(Message::Update(Update::default())));
    assert_eq!(actions[0], Action::Set(Timer::Hold, SECOND * 9));
    // Without a hold time there are no keepalives.
    let mut machine = machine_in(State::OpenSent, config());
    let open = Open {
        hold: 0,
        ..peers_open()
    };
    let actions = machine.handle(got(Message::Open(open)));
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Set(..)))
    );
}

#[test]
fn an_open_is_delayed_until_the_peers_open_or_the_delay_is_over() {
    let mut delayed = config();
    delayed.delay_open = SECOND * 5;
    for start in [Event::Start, Event::StartPassive] {
        let mut machine = Machine::new(delayed.clone());
        machine.handle(start.clone());
        let before = machine.state();
        let actions = machine.handle(Event::Connected);
        assert!(actions.contains(&Action::Set(Timer::DelayOpen, SECOND * 5)));
        assert_eq!(machine.state(), before);
        let mut other = machine.clone();
        other.handle(Event::Expired(Timer::DelayOpen));
        assert_eq!(other.state(), State::OpenSent);
        let mut other = machine.clone();
        other.handle(got_open());
        assert_eq!(other.state(), State::OpenConfirm);
        let mut other = machine.clone();
        other.handle(Event::Disconnected);
        assert_eq!(other.state(), State::Active);
        // It can be connected again.
        other.handle(Event::Connected);
        assert!(other.is_busy());
        let error = Notification::new(1, 1, []);
        assert_eq!(
            sent(&machine.handle(Event::Received(Err(error.clone())))),
            Some(error)
        );
    }
}

/// Both connections, each as far as the given states.
fn peer_with(config: Config, out: State, inward: State) -> Peer {
    let mut peer = Peer::new(config);
    peer.start();
    for (side, state) in [(Side::In, inward), (Side::Out, out)] {
        let way = [Event::Connected, got_open(), got(Message::Keepalive)];
        let count = match state {
            State::OpenSent => 1,
            State::OpenConfirm => 2,
            State::Established => 3,
            _ => 0,
        };
        for event in way.into_iter().take(count) {
            peer.handle(side, event);
        }
        assert_eq!(peer.machine(side).state(), state);
    }
    peer
}

fn is_down(actions: &Actions, side: Side) -> bool {
    let mut downs = actions.iter();
    downs.any(|(at, action)| *at == side && matches!(action, Action::Down(_)))
}

#[test]
fn of_two_connections_that_collide_the_higher_identifiers_stays() {
    use State::{Active, Established, Idle, OpenConfirm, OpenSent};
    for (id, asn, winner) in [
        ([1, 1, 1, 1], 65001, Side::In),
        ([3, 3, 3, 3], 65001, Side::Out),
        // Identifiers are compared as numbers, and of equal ones the systems' numbers.
        ([1, 255, 255, 255], 65001, Side::In),
        ([2, 2, 2, 2], 65001, Side::In),
        ([2, 2, 2, 2], 65003, Side::Out),
    ] {
        for first in [Side::Out, Side::In] {
            let mut config = config();
            (config.id, config.asn) = (id.into(), asn);
            let mut peer = match first {
                Side::Out => peer_with(config, OpenConfirm, OpenSent),
                Side::In => peer_with(config, OpenSent, OpenConfirm),
            };
            let second = if first == Side::Out {
                Side::In
            } else {
                Side::Out
            };
            let actions = peer.handle(second, got_open());
            let loser = if winner == Side::Out {
                Side::In
            } else {
                Side::Out
            };
            let cease = Message::Notification(Notification::cease(7, ""));
            assert!(
                actions.contains(&(loser, Action::Send(cease))),
                "{id:?} {first:?}"
            );
            assert!(is_down(&actions, loser) && !is_down(&actions, winner));
            assert_eq!(peer.machine(winner).state(), OpenConfirm);
            let waits = if loser == Side::In { Active } else { Idle };
            assert_eq!(peer.machine(loser).state(), waits);
            peer.handle(winner, got(Message::Keepalive));
            assert_eq!(peer.state(), Established);
        }
    }
    // An established session stays in any case.
    let mut peer = peer_with(config(), Established, OpenSent);
    let actions = peer.handle(Side::In, got_open());
    assert!(is_down(&actions, Side::In) && !is_down(&actions, Side::Out));
    // An OPEN that is not valid says nothing about the other connection.
    let mut peer = peer_with(config(), OpenSent, OpenConfirm);
    let open = Open {
        asn: 9,
        ..peers_open()
    };
    let actions = peer.handle(Side::Out, got(Message::Open(open)));
    assert!(is_down(&actions, Side::Out) && !is_down(&actions, Side::In));
}

#[test]
fn a_session_that_the_peer_has_begun_ends_the_attempts_to_connect() {
    let mut peer = peer_with(config(), State::Connect, State::OpenConfirm);
    let actions = peer.handle(Side::In, got(Message::Keepalive));
    assert!(actions.contains(&(Side::Out, Action::Close)));
    assert_eq!(peer.machine(Side::Out).state(), State::Idle);
    // When it ends, both start again.
    let actions = peer.handle(Side::In, Event::Disconnected);
    let idle = Action::Set(Timer::IdleHold, SECOND);
    assert!(actions.contains(&(Side::Out, idle)));
    let actions = peer.handle(Side::Out, Event::Expired(Timer::IdleHold));
    assert!(actions.contains(&(Side::Out, Action::Connect)));
    assert!(peer.machine(Side::In).is_waiting());
}

#[test]
fn a_peer_that_fails_again_and_again_waits_longer_each_time() {
    let mut peer = Peer::new(config());
    peer.start();
    let fail = |peer: &mut Peer| {
        for event in [Event::Connected, got_open(), got(Message::Keepalive)] {
            peer.handle(Side::Out, event);
        }
        let error = Notification::new(3, 1, []);
        let actions = peer.handle(Side::Out, Event::Received(Err(error)));
        // Its connections are refused meanwhile.
        assert_eq!(peer.machine(Side::In).state(), State::Idle);
        let delay = actions.iter().find_map(|(_, action)| match action {
            Action::Set(Timer::IdleHold, delay) => Some(delay.as_secs()),
            _ => None,
        });
        peer.handle(Side::Out, Event::Expired(Timer::IdleHold));
        delay.unwrap()
    };
    let delays: Vec<_> = (0..9).map(|_| fail(&mut peer)).collect();
    assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    // A session that lasts ends that.
    for event in [Event::Connected, got_open()] {
        peer.handle(Side::Out, event);
    }
    for _ in 0..4 {
        peer.handle(Side::Out, got(Message::Keepalive));
    }
    peer.handle(Side::Out, Event::Disconnected);
    peer.handle(Side::Out, Event::Expired(Timer::IdleHold));
    assert_eq!(fail(&mut peer), 1);
}

#[test]
fn a_stopped_peer_is_idle_and_stays_so() {
    for (out, inward) in [
        (State::Connect, State::Active),
        (State::OpenSent, State::OpenConfirm),
        (State::Established, State::OpenSent),
    ] {
        let mut peer = peer_with(config(), out, inward);
        let actions = peer.stop(&Notification::cease(2, ""));
        assert_eq!(peer.state(), State::Idle);
        let sets = actions
            .iter()
            .any(|(_, action)| matches!(action, Action::Set(..)));
        assert!(!sets, "{actions:?}");
        let ceases = actions.iter().filter(|(_, action)| {
            matches!(action, Action::Send(Message::Notification(error)) if error.code == 6)
        });
        let both = [out, inward];
        let busy = both.iter().filter(|state| **state >= State::OpenSent);
        assert_eq!(ceases.count(), busy.count());
    }
}

#[test]
fn any_sequence_of_events_keeps_the_invariants() {
    let mut random = Random::new(5);
    let messages = [
        got_open(),
        got(Message::Keepalive),
        got(Message::Update(Update::default())),
        got(Message::Refresh { afi: 1, safi: 1 }),
        got(Message::Notification(Notification::cease(4, ""))),
        Event::Received(Err(Notification::new(1, 1, []))),
    ];
    let mut sessions = 0;
    for round in 0..2000_u64 {
        let mut config = config();
        config.id = [1 + (round % 2 * 2) as u8; 4].into();
        if round % 3 == 0 {
            config.delay_open = SECOND;
        }
        let mut peer = Peer::new(config);
        let mut timers = BTreeSet::new();
        let mut linked = BTreeSet::new();
        let mut up = BTreeSet::new();
        let mut actions = peer.start();
        for _ in 0..60 {
            for (side, action) in actions {
                match action {
                    Action::Set(timer, _) => drop(timers.insert((side, timer))),
                    Action::Clear(timer) => drop(timers.remove(&(side, timer))),
                    Action::Connect => drop(linked.remove(&side)),
                    Action::Close => drop(linked.remove(&side)),
                    Action::Send(_) => assert!(linked.contains(&side)),
                    Action::Up(_) => {
                        sessions += 1;
                        assert!(up.insert(side));
                    }
                    Action::Deliver(_) | Action::SendRoutes => assert!(up.contains(&side)),
                    Action::Down(cause) => {
                        up.remove(&side);
                        assert!(!linked.contains(&side), "{cause:?}");
                    }
                }
            }
            assert!(up.len() <= 1, "two sessions");
            for side in [Side::Out, Side::In] {
                let state = peer.machine(side).state();
                assert_eq!(up.contains(&side), state == State::Established);
                let own = timers
                    .iter()
                    .filter(|(at, timer)| *at == side && *timer != Timer::IdleHold);
                if state == State::Idle {
                    assert_eq!(own.count(), 0, "a timer in Idle");
                }
            }
            // It never ends in silence: something is awaited.
            let waits = !timers.is_empty() || peer.machine(Side::In).is_waiting();
            assert!(waits || up.len() == 1 || !linked.is_empty());
            let side = random.pick(&[Side::Out, Side::In]);
            actions = match (random.below(4), linked.contains(&side)) {
                (0, _) if !timers.is_empty() => {
                    let all: Vec<_> = timers.iter().copied().collect();
                    let (side, timer) = random.pick(&all);
                    timers.remove(&(side, timer));
                    peer.handle(side, Event::Expired(timer))
                }
                (1..=2, true) => {
                    let index = [0, 0, 1, 1, 2, 3, 4, 5][random.below(8)];
                    peer.handle(side, messages[index].clone())
                }
                (3, true) if random.below(3) == 0 => {
                    linked.remove(&side);
                    peer.handle(side, Event::Disconnected)
                }
                (_, false) => {
                    let machine = peer.machine(side);
                    match side {
                        Side::In if machine.is_waiting() => {
                            linked.insert(side);
                            peer.handle(side, Event::Connected)
                        }
                        Side::Out if machine.state() == State::Connect => {
                            if random.below(4) == 0 {
                                peer.handle(side, Event::Disconnected)
                            } else {
                                linked.insert(side);
                                peer.handle(side, Event::Connected)
                            }
                        }
                        _ => Vec::new(),
                    }
                }
                _ => Vec::new(),
            };
        }
    }
    assert!(sessions > 300, "{sessions} sessions");
}

#[test]
fn why_a_session_has_ended_is_told_in_a_line() {
    for (cause, text) in [
        (
            Cause::Sent(Notification::new(4, 0, [])),
            "sent 4/0 hold timer expired",
        ),
        (
            Cause::Received(Notification::cease(2, "good\nnight")),
            "received 6/2 cease: shutdown \"good\\nnight\"",
        ),
        (
            Cause::Sent(Notification::new(3, 11, [1, 2])),
            "sent 3/11 UPDATE: AS_PATH (2 bytes of data)",
        ),
        (
            Cause::Received(Notification::new(77, 9, [])),
            "received 77/9 unknown",
        ),
        (Cause::Disconnected, "connection lost"),
        (Cause::Unreachable, "not reachable"),
    ] {
        assert_eq!(cause.to_string(), text);
    }
}
