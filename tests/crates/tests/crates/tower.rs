//! `tower`: services and layers around what the reactor does.

use std::cell::Cell;
use std::rc::Rc;

use torsade::task::SendWrapper;
use torsade::{Clock, Failure, Reactor, spawn, testing};
use tower::buffer::Buffer;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::SECOND;

on_both! {
    async fn a_limit_holds_back_calls_of_a_service_that_is_not_send(reactor) {
        let (running, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (counts, max, clock) = (running.clone(), most.clone(), reactor.clone());
        let service = service_fn(move |n: u32| {
            let (running, most, clock) = (counts.clone(), max.clone(), clock.clone());
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                clock.sleep(SECOND / 1000).await?;
                running.set(running.get() - 1);
                Ok::<_, Failure>(n * 2)
            }
        });
        let service = ServiceBuilder::new().concurrency_limit(3).service(service);
        let calls: Vec<_> = (0..20)
            .map(|n| {
                let service = service.clone();
                spawn(async move { service.oneshot(n).await })
            })
            .collect();
        for (n, call) in (0..).zip(calls) {
            assert_eq!(call.await??, n * 2);
        }
        assert_eq!(most.get(), 3);
    }

    async fn the_worker_of_a_buffer_is_a_task_of_the_reactor(reactor) {
        // A buffer asks for `Send`.
        let clock = SendWrapper::new(reactor.clone());
        let service = service_fn(move |n: u32| {
            let clock = clock.clone();
            SendWrapper::new(async move {
                clock.sleep(SECOND / 1000).await?;
                Ok::<_, tower::BoxError>(n + 1)
            })
        });
        let (mut buffer, worker) = Buffer::pair(service, 4);
        let working = spawn(worker);
        for n in 0..10 {
            let answer = buffer.ready().await?.call(n).await?;
            assert_eq!(answer, n + 1);
        }
        drop(buffer);
        working.await?;
    }
}

#[test]
fn a_timeout_layer_uses_the_clock_of_tokio() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        torsade::tokio::enter(&reactor)?;
        let endless = service_fn(|(): ()| std::future::pending::<Result<(), Failure>>());
        let service = ServiceBuilder::new().timeout(SECOND / 100).service(endless);
        let error = service.oneshot(()).await.unwrap_err();
        assert!(error.is::<tower::timeout::error::Elapsed>());
        Ok(())
    });
}
