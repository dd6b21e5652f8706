//! The end of a run: tasks that wait for the stop, and `main`.

use support::{HERE, Log, MS, Spy};
use torsade::reactor::Stopped;
use torsade::{Clock, Failure, Phase, Reactor};

on_both_by_hand! {
    fn tasks_that_wait_for_the_stop_continue_before_the_shutdown_and_main_is_awaited(reactor) {
        let log = Log::new();
        for (phase, name) in [(Phase::Before, "before"), (Phase::During, "during")] {
            let to = log.clone();
            reactor.add_system_event_trigger(phase, "shutdown", move || to.note(name));
        }
        let (waiting, to) = (reactor.clone(), log.clone());
        reactor
            .spawn(async move {
                waiting.stopped().await.unwrap();
                to.note("a task");
                waiting.stopped().await.unwrap();
                to.note("at once");
            })
            .detach();
        let given_up = reactor.stopped();
        let stopper = reactor.clone();
        reactor.call_later(MS * 2, move || stopper.stop().unwrap());
        let done = reactor.run_until(async {
            drop(given_up);
            reactor.stopped().await.unwrap();
            log.note("main");
            reactor.sleep(MS * 5).await.unwrap();
            log.note("main is done");
            7
        });
        assert_eq!(done.unwrap(), 7);
        let all = ["a task", "at once", "main", "main is done", "before", "during"];
        assert_eq!(log.take(), all);
    }

    fn the_shutdown_waits_for_spawned_tasks_that_have_waited_for_the_stop(reactor) {
        let log = Log::new();
        let to = log.clone();
        reactor.add_system_event_trigger(Phase::Before, "shutdown", move || to.note("shutdown"));
        for name in ["one", "other"] {
            let (own, to) = (reactor.clone(), log.clone());
            let server = async move {
                let port = own.listen(HERE, |_| Spy::echo())?;
                own.stopped().await?;
                own.sleep(MS * 2).await?;
                port.stop().await?;
                to.note(name);
                Ok::<_, Failure>(())
            };
            reactor.spawn(server).detach();
        }
        // This one waits for something else, and is dropped.
        let (own, to) = (reactor.clone(), log.clone());
        reactor.spawn(async move {
            own.sleep(MS * 10_000).await.unwrap();
            to.note("not this one");
        }).detach();
        // After the first polls of the others.
        let stopper = reactor.clone();
        reactor.spawn(async move { stopper.stop().unwrap() }).detach();
        reactor.run().unwrap();
        assert_eq!(log.take(), ["one", "other", "shutdown"]);
    }

    fn main_that_returns_does_not_cut_short_the_tasks_that_wait_for_the_stop(reactor) {
        let log = Log::new();
        let (own, to) = (reactor.clone(), log.clone());
        let ended = reactor.run_until(async {
            let task = reactor.spawn(async move {
                own.stopped().await.unwrap();
                own.sleep(MS).await.unwrap();
                to.note("done");
            });
            task.detach();
            reactor.sleep(MS).await.unwrap();
            7
        });
        assert_eq!((ended.unwrap(), log.take()), (7, vec!["done".to_owned()]));
    }

    fn a_main_that_does_not_wait_for_the_stop_is_not_awaited(reactor) {
        let stopper = reactor.clone();
        reactor.call_later(MS, move || stopper.stop().unwrap());
        let failure = reactor.run_until(std::future::pending::<()>()).unwrap_err();
        failure.trap::<Stopped>().unwrap();
        assert!(torsade::task::block_on(reactor.stopped()).is_ok(), "it has ended");
    }

    fn main_that_stops_the_reactor_itself_and_waits_for_it_is_done_in_good_order(reactor) {
        let done = reactor.run_until(async {
            reactor.stop().unwrap();
            reactor.stopped().await.unwrap();
            reactor.sleep(MS).await.unwrap();
            "done"
        });
        assert_eq!(done.unwrap(), "done");
    }
}

#[test]
fn a_task_that_continues_after_the_stop_is_dropped_after_the_grace() {
    let reactor = Reactor::in_memory().unwrap();
    let (own, start) = (reactor.clone(), reactor.now());
    let task = reactor.spawn(async move {
        own.stopped().await.unwrap();
        loop {
            own.sleep(MS * 1000).await.unwrap();
        }
    });
    task.detach();
    let stopper = reactor.clone();
    reactor.call_soon(move || stopper.stop().unwrap());
    reactor.run().unwrap();
    assert_eq!(
        reactor.now() - start,
        torsade::reactor::Grace::default().total
    );
}
