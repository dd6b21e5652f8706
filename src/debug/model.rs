//! All interleavings of the watchdog's thread with the loop; see [`crate::sync`].

use std::sync::atomic::AtomicUsize;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::sync::explore;

/// Counts what is reported, and prints nothing.
struct Count(Arc<AtomicUsize>);

impl Subscriber for Count {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.target() == "torsade::watchdog"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn watchdog(limit: Duration) -> Rc<Watchdog> {
    Watchdog::new(limit, Rc::new(|_| {}))
}

#[test]
fn the_watching_thread_ends_with_its_guard() {
    explore("a watchdog's guard goes, twice", None, || {
        let dog = watchdog(Duration::MAX);
        let location = Location::caller();
        for _ in 0..2 {
            let guard = dog.start_thread();
            dog.monitor.note(Some((location, Instant::now())));
            dog.monitor.note(None);
            drop(guard);
        }
    });
}

#[test]
fn what_blocks_is_named_once() {
    explore("a watchdog looks at what blocks", None, || {
        let count = Arc::new(AtomicUsize::new(0));
        tracing::subscriber::with_default(Count(count.clone()), || {
            let dog = watchdog(Duration::ZERO);
            let long_ago = Instant::now().checked_sub(Duration::from_secs(1));
            let long_ago = long_ago.expect("the machine has been up for a second");
            dog.monitor.note(Some((Location::caller(), long_ago)));
            let guard = dog.start_thread();
            // Another call runs from here on, and blocks as well.
            let outer = dog.monitor.note(Some((Location::caller(), long_ago)));
            assert_eq!(outer.map(|(_, since)| since), Some(long_ago));
            drop(guard);
            let count = count.load(Ordering::Relaxed);
            assert!(count <= 2, "reported {count} times");
        });
    });
}
