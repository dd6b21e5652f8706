//! The other end of a `Deferred`: create some, keep their resolvers, and fire them when there is a
//! result.
//!
//! Run `cargo run --example fire_deferred`. Prints `boarding`, `Ada saw the train to Crewe`, `Ben
//! saw the train to Crewe`, `all told`, `Cyd gave up: cancelled`, and `Dot hears: the
//! Deferred was abandoned: its resolver was dropped without firing`.

use torsade::{Deferred, Failure, Resolver};

/// The resolvers of all who wait for the next train.
#[derive(Default)]
struct Platform(Vec<Resolver<&'static str>>);

impl Platform {
    fn wait(&mut self) -> Deferred<&'static str> {
        let (train, resolver) = Deferred::pair();
        self.0.push(resolver);
        train
    }

    /// Firing consumes the resolver, so a Deferred cannot fire twice. Firing is a call: the
    /// callbacks have run when it returns.
    fn arrive(&mut self, bound_for: &'static str) {
        for resolver in self.0.drain(..) {
            resolver.callback(bound_for);
        }
    }
}

fn main() -> Result<(), Failure> {
    torsade::run(async |_reactor| {
        let mut platform = Platform::default();
        for name in ["Ada", "Ben"] {
            let seen = move |bound_for: &str| println!("{name} saw the train to {bound_for}");
            drop(platform.wait().add_callback(seen)); // it runs all the same
        }
        println!("boarding");
        platform.arrive("Crewe");
        println!("all told");

        let cyd = platform.wait();
        cyd.cancel();
        drop(cyd.add_callbacks(|_| (), |failure| println!("Cyd gave up: {failure}")));

        // Dropping a resolver fails its Deferred, so nothing waits forever.
        let dot = platform.wait();
        drop(platform);
        if let Err(failure) = dot.await {
            println!("Dot hears: {failure}");
        }
        Ok(())
    })
}
