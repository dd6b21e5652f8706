//! Deferreds against a model: random programs, run by both, whose traces must be equal.
//!
//! A program ([`program`]) makes Deferreds in a few slots and uses them in every way: callbacks
//! that return other Deferreds, fire, cancel, pause, poll and drop them, cancellers that do the
//! same, futures that await them. Two sides run it: [`world`] with Deferreds, [`model`] with plain
//! lists. Each logs what happens in order, and after each step which Deferreds are settled and how
//! many values, failures and closures exist: what lives too long, or too short, is detected as
//! well.
//!
//! The random numbers are seeded. A program that fails is made as small as possible and printed
//! with its seed.
//!
//! | variable            | does                                                                    |
//! |---------------------|-------------------------------------------------------------------------|
//! | `TORSADE_SEEDS=N`   | runs the seeds below N, not below 5 000; with `--nocapture` it counts   |
//! | `TORSADE_SEED=N`    | runs that one alone, and prints it and the model's trace                |
//!
//! Each kind of event ([`reached`]) must have happened often enough, or the test fails. Programs in
//! which a future awaits what waits for that future are skipped: the Deferreds cannot detect that,
//! and cancelling has no end.
//!
//! `TORSADE_SEEDS=1000000 cargo test --release --test deferred against_model`

mod model;
mod program;
mod reached;
mod trace;
mod world;

use std::env;

use torsade::Reactor;

use self::model::Model;
use self::program::{Rng, SLOTS, Step, smaller, write_down};
use self::reached::{Reached, Way};
use self::trace::Event;

#[test]
fn deferreds_behave_like_the_model() {
    let only = number("TORSADE_SEED");
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None => 0..number("TORSADE_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let reactor = Reactor::in_memory().unwrap();
    reactor.on_report(world::note_report);
    let reached = reactor.run_until(async {
        let mut reached = Reached::default();
        for seed in seeds {
            let program = Rng::new(seed).program();
            if only.is_some() {
                let model = Model::play(&program);
                println!("{}{:#?}", write_down(&program), model.trace);
            }
            if is_wrong(&program, &mut reached).await {
                report(seed, program).await;
            }
        }
        reached
    });
    let reached = reached.unwrap();
    let seldom = reached.below(count / 1000);
    if env::var_os("TORSADE_SEEDS").is_some() {
        println!("{:?}", reached.below(u64::MAX));
    }
    assert!(count < SEEDS || seldom.is_empty(), "seldom: {seldom:?}");
}

/// Returns whether the two sides differ.
async fn is_wrong(program: &[Step], reached: &mut Reached) -> bool {
    let program = with_end(program);
    let model = Model::play(&program);
    reached.add(&model.reached);
    if model.is_absurd {
        reached.note(Way::Absurd);
        return false;
    }
    let trace = world::play(&program, model.turns.iter().copied()).await;
    trace != model.trace
}

/// Makes the program as small as possible, and describes the difference.
async fn report(seed: u64, mut program: Vec<Step>) -> ! {
    let mut reached = Reached::default();
    'smaller: loop {
        for smaller in smaller(&program) {
            if is_wrong(&smaller, &mut reached).await {
                program = smaller;
                continue 'smaller;
            }
        }
        break;
    }
    let ended = with_end(&program);
    let model = Model::play(&ended);
    let trace = world::play(&ended, model.turns.iter().copied()).await;
    let same = trace.iter().zip(&model.trace);
    let same = same.take_while(|(one, other)| one == other).count();
    let steps = model.trace[..same].iter();
    let step = steps
        .filter(|event| matches!(event, Event::Stands(..)))
        .count();
    let write = |trace: &[Event]| -> String {
        let some = trace.iter().take(12);
        some.map(|event| format!("    {event:?}\n")).collect()
    };
    panic!(
        "seed {seed} goes wrong, in step {}:\n{}both say\n{}then the model\n{}and the Deferreds\n{}",
        step + 1,
        write_down(&program),
        write(&model.trace[same.saturating_sub(12)..same]),
        write(&model.trace[same..]),
        write(&trace[same..]),
    );
}

/// In the end all pauses are undone, and all resolvers and Deferreds dropped.
fn with_end(program: &[Step]) -> Vec<Step> {
    let mut program = program.to_vec();
    for slot in 0..SLOTS {
        program.extend([Step::Turn, Step::Look(slot)]);
        program.extend(vec![Step::Unpause(slot); 6]);
        program.push(Step::Lose(slot));
        program.push(Step::Drop(slot));
    }
    program.push(Step::Turn);
    program
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().expect(name))
}

/// The number of programs by default.
const SEEDS: u64 = 5_000;
