//! `flume`, `async-channel`, `async-lock` and tokio's `sync`: channels and locks between tasks, and
//! between a thread and tasks.

use std::sync::Arc;
use std::thread;

use futures::StreamExt;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use torsade::{Clock, Failure, spawn, yield_now};

const MS: Duration = Duration::from_millis(1);

on_both! {
    async fn tokios_channels_and_select_need_no_runtime(reactor) {
        let (news, mut heard) = broadcast::channel(4);
        let (items, mut queue) = mpsc::channel(1);
        let (last, mut done) = oneshot::channel();
        let token = CancellationToken::new();
        let (clock, stop) = (reactor.clone(), token.clone());
        let sender = spawn(async move {
            clock.sleep(5 * MS).await?;
            news.send(1)?;
            items.send(2).await?;
            items.send(3).await?;
            last.send(4).expect("the receiver is there");
            clock.sleep(MS).await?;
            stop.cancel();
            Ok::<(), Failure>(())
        });
        let (mut got, mut is_done) = (Vec::new(), false);
        loop {
            tokio::select! {
                Ok(item) = heard.recv() => got.push(item),
                Some(item) = queue.recv() => got.push(item),
                item = &mut done, if !is_done => {
                    is_done = true;
                    got.push(item?);
                }
                () = token.cancelled() => break,
            }
        }
        sender.await??;
        got.sort_unstable();
        assert_eq!(got, [1, 2, 3, 4]);
    }

    async fn a_task_tracker_of_tokio_util_waits_for_its_tasks(reactor) {
        let tracker = TaskTracker::new();
        let start = reactor.now();
        for n in 1..4 {
            let sleep = reactor.sleep(n * 5 * MS);
            spawn(tracker.track_future(sleep)).detach();
        }
        tracker.close();
        tracker.wait().await;
        assert!(reactor.now() - start >= 15 * MS);
    }

    async fn flume_wakes_a_task_from_a_thread_and_a_thread_from_a_task(_reactor) {
        let (to_thread, from_task) = flume::bounded(2);
        let (to_task, from_thread) = flume::bounded(2);
        let thread = thread::spawn(move || {
            for n in from_task.iter() {
                to_task.send(n * 2).expect("the task is there");
            }
        });
        let sends = spawn(async move {
            for n in 0..100_u32 {
                to_thread.send_async(n).await.expect("the thread is there");
            }
        });
        let doubled: Vec<u32> = from_thread.into_stream().collect().await;
        assert_eq!(doubled, (0..100).map(|n| n * 2).collect::<Vec<_>>());
        sends.await?;
        thread.join().expect("it does not panic");
    }

    async fn async_channel_holds_a_sender_back_and_shares_the_work(_reactor) {
        let (sender, receiver) = async_channel::bounded(1);
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let receiver = receiver.clone();
                spawn(async move {
                    let mut sum = 0;
                    while let Ok(n) = receiver.recv().await {
                        sum += n;
                        yield_now().await;
                    }
                    sum
                })
            })
            .collect();
        for n in 1..=100 {
            sender.send(n).await?;
        }
        sender.close();
        let mut sum = 0;
        for worker in workers {
            sum += worker.await?;
        }
        assert_eq!(sum, 5050);
        drop(receiver);
    }

    async fn async_lock_is_shared_by_a_thread_and_tasks(_reactor) {
        let lock = Arc::new(async_lock::Mutex::new(0));
        let there = lock.clone();
        let thread = thread::spawn(move || {
            for _ in 0..1000 {
                *there.lock_blocking() += 1;
            }
        });
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let lock = lock.clone();
                spawn(async move {
                    for _ in 0..1000 {
                        let mut count = lock.lock().await;
                        yield_now().await;
                        *count += 1;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        thread.join().expect("it does not panic");
        assert_eq!(*lock.lock().await, 4000);
    }
}
