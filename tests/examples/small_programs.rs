//! Small complete programs, as users write them.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::num::ParseIntError;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use torsade::clock::TimedOut;
use torsade::protocols::{LineProtocol, Lines};
use torsade::testing::{self, Wire};
use torsade::{
    Clock, Connection, Context, Deferred, Failure, Group, Protocol, Reactor, Resolver, VirtualClock,
};

const HERE: &str = "127.0.0.1:0";
const SECOND: Duration = Duration::from_secs(1);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, cx: &mut Context<'_, Self>, data: &[u8]) {
        cx.write(data);
    }
}

async fn echo(mut conn: Connection) -> Result<(), Failure> {
    let mut buf = [0; 4096];
    loop {
        match conn.read(&mut buf).await? {
            0 => return Ok(()),
            n => conn.write_all(&buf[..n]).await?,
        }
    }
}

#[test]
fn echo_servers_of_every_kind_serve_the_same_client() {
    testing::run(async |reactor| {
        let ports = [
            reactor.listen(HERE, |_peer| Echo)?,
            reactor.listen(HERE, |peer| peer.ip()?.is_loopback().then_some(Echo))?,
            reactor.serve(HERE, echo)?,
            reactor.serve(HERE, async |mut conn| {
                while let Some(line) = conn.read_line(80).await? {
                    conn.write_all(&line).await?;
                }
                Ok(())
            })?,
        ];
        for port in ports {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(b"ping\n").await?;
            let mut answer = [0; 4];
            conn.read_exact(&mut answer).await?;
            assert_eq!(&answer, b"ping");
            drop(conn);
            port.stop().await?;
        }
        Ok(())
    });
}

#[test]
fn a_deferred_is_awaited_with_a_time_limit() {
    testing::run(async |reactor| {
        reactor.sleep(ms(10)).await?;
        let (answer, resolver) = Deferred::<u32>::pair();
        let said = match answer.timeout(ms(20), &reactor).await {
            Ok(n) => format!("got {n}"),
            Err(f) => format!("too slow: {}", f.trap::<TimedOut>()?),
        };
        assert_eq!(said, "too slow: timed out after 20ms");
        drop(resolver);
        Ok(())
    });
}

#[derive(Default)]
struct Waiters(Vec<Resolver<u32>>);

impl Waiters {
    fn wait(&mut self) -> Deferred<u32> {
        let (deferred, resolver) = Deferred::pair();
        self.0.push(resolver);
        deferred
    }

    fn arrive(&mut self, n: u32) {
        for resolver in self.0.drain(..) {
            resolver.callback(n);
        }
    }
}

#[test]
fn many_tasks_wait_for_one_event() {
    let mut waiters = Waiters::default();
    let sum = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let sum = sum.clone();
        waiters.wait().add_callback(move |n| sum.set(sum.get() + n));
    }
    waiters.arrive(7);
    assert_eq!(sum.get(), 21);
}

#[test]
fn a_chain_uses_every_return_type_of_a_callback() {
    fn fetch(_reactor: &Reactor, page: u32) -> Deferred<String> {
        Deferred::succeed("x".repeat(page as usize))
    }
    async fn decode(body: String) -> Result<String, Failure> {
        torsade::yield_now().await;
        Ok(body + "!")
    }
    testing::run(async |reactor| {
        for (word, expected) in [("3", "4 characters"), ("three", "1 characters")] {
            let reactor = reactor.clone();
            let (line, resolver) = Deferred::pair();
            Deferred::succeed(word)
                .add_callback(|word| Ok(word.parse::<u32>()?))
                .add_errback(|failure| {
                    failure.trap::<ParseIntError>()?;
                    Ok(0)
                })
                .add_callback(move |page| fetch(&reactor, page))
                .add_callback(async |body| {
                    let text = decode(body).await?;
                    Ok(text.len())
                })
                .map(|len| format!("{len} characters"))
                .add_callbacks(
                    |line| resolver.callback(line),
                    |failure| println!("gave up: {failure}"),
                );
            assert_eq!(line.await?, expected);
        }
        Ok(())
    });
}

#[test]
fn timers_are_postponed_and_cancelled() {
    testing::run(async |reactor| {
        let said = Rc::new(RefCell::new(Vec::new()));
        let say = |word: &'static str| {
            let said = said.clone();
            move || said.borrow_mut().push(word)
        };
        reactor.call_later(ms(10), say("tick"));
        let late = reactor.call_later(ms(5), say("late"));
        late.reset_at(reactor.now() + ms(30));
        let never = reactor.call_later(ms(25), say("never"));
        assert!(never.cancel());
        reactor.sleep(ms(40)).await?;
        assert_eq!(*said.borrow(), ["tick", "late"]);
        Ok(())
    });
}

#[test]
fn another_thread_calls_the_loop() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let remote = reactor.remote();
        let caller = thread::spawn(move || {
            remote.call(|| {
                Reactor::current()
                    .expect("it runs here")
                    .stop()
                    .expect("it runs")
            })
        });
        caller.join().expect("it does not panic")?;
        pending().await
    })
}

#[derive(Default)]
struct Count {
    bytes: usize,
}

impl Protocol for Count {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.write("hello");
    }

    fn data_received(&mut self, _cx: &mut Context<'_, Self>, data: &[u8]) {
        self.bytes += data.len();
    }
}

#[test]
fn a_protocol_is_asked_through_its_handle() {
    testing::run(async |reactor| {
        let port = reactor.serve(HERE, echo)?;
        let count = reactor.connect(port.local_addr(), Count::default()).await?;
        while count.ask(|count, _cx| count.bytes).await? < 5 {
            reactor.sleep(ms(1)).await?;
        }
        count.post(|_count, cx| cx.lose_connection());
        port.stop().await
    });
}

#[test]
fn code_that_takes_a_clock_runs_on_a_virtual_clock() {
    fn remind(clock: &(impl Clock + Clone + 'static), said: &Rc<RefCell<Vec<u32>>>, n: u32) {
        let (again, said) = (clock.clone(), said.clone());
        clock.call_later(SECOND, move || {
            said.borrow_mut().push(n);
            remind(&again, &said, n + 1);
        });
    }
    let (clock, said) = (VirtualClock::new(), Rc::default());
    remind(&clock, &said, 1);
    clock.advance(SECOND * 3);
    assert_eq!(*said.borrow(), [1, 2, 3]);
    for call in clock.delayed_calls() {
        call.cancel();
    }
}

struct Guest {
    room: Group,
    name: Option<String>,
}

fn look_up(reactor: &Reactor, name: String) -> Deferred<String> {
    let reactor = reactor.clone();
    Deferred::from_future(async move {
        reactor.sleep(SECOND).await?;
        if name == "nobody" {
            Err(Failure::new("that is no name"))
        } else {
            Ok(name)
        }
    })
}

impl LineProtocol for Guest {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.write("who are you?\r\n");
        cx.call_later(SECOND * 30, |guest, cx| {
            if guest.name.is_none() {
                cx.lose_connection();
            }
        });
    }

    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        match &self.name {
            Some(name) => self.room.write_others(cx, format!("{name}: {line}\r\n")),
            None => {
                let checked = look_up(cx.reactor(), line.into_owned());
                cx.when(checked, |guest, cx, name| match name {
                    Ok(name) => {
                        guest.room.join(cx);
                        guest.name = Some(name);
                    }
                    Err(failure) => cx.write(format!("no: {failure}\r\n")),
                });
            }
        }
    }
}

#[test]
fn clients_are_checked_admitted_and_disconnected() {
    let mut guest = Wire::new(Lines::new(Guest {
        room: Group::default(),
        name: None,
    }));
    assert_eq!(guest.take_received(), b"who are you?\r\n");
    guest.send("nobody\r\n");
    guest.advance(SECOND);
    assert_eq!(guest.take_received(), b"no: that is no name\r\n");
    guest.advance(SECOND * 29);
    assert!(guest.is_closed());
}

#[test]
fn clients_talk_to_each_other() {
    testing::run(async |reactor| {
        let room = Group::default();
        let port = reactor.listen(HERE, move |_peer| {
            Lines::new(Guest {
                room: room.clone(),
                name: None,
            })
        })?;
        let mut guests = Vec::new();
        for name in ["ann", "bob"] {
            let mut guest = reactor.connect_stream(port.local_addr()).await?;
            guest.read_line(80).await?;
            guest.write_all(format!("{name}\n").as_bytes()).await?;
            guests.push(guest);
        }
        reactor.sleep(SECOND * 2).await?;
        guests[0].write_all(b"hello\n").await?;
        assert_eq!(
            guests[1].read_line(80).await?.as_deref(),
            Some(&b"ann: hello"[..])
        );
        drop(guests);
        port.stop().await
    });
}

#[test]
fn a_protocol_may_end_its_connection_at_once_on_a_wire() {
    struct Refuses;

    impl Protocol for Refuses {
        fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
            cx.write("not now\n");
            cx.lose_connection();
        }

        fn data_received(&mut self, _cx: &mut Context<'_, Self>, _data: &[u8]) {}
    }

    let mut wire = Wire::new(Refuses);
    assert_eq!(wire.take_received(), b"not now\n");
    assert!(wire.is_closed());
}
