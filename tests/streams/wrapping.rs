//! Wrappers: a protocol inside one notices nothing, and a wrapper decides what it gets.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use support::{Anywhere, Log, Spy, how, until};
use torsade::protocol::Input;
use torsade::protocols::{
    InnerProtocol, LineProtocol, Lines, ProtocolWrapper, Wrapped, WrappingFactory,
};
use torsade::testing::Wire;
use torsade::{Address, Clock, Context, Deferred, Factory, Failure, Handle, Protocol};

const MS: Duration = Duration::from_millis(1);

/// Changes nothing.
struct Plain;

impl ProtocolWrapper for Plain {}

/// Notes the hooks that pass.
struct Noting(Log, &'static str);

impl ProtocolWrapper for Noting {
    fn connection_made<P: Protocol>(&mut self, inner: &mut InnerProtocol<'_, Self, P>) {
        self.0.note(format_args!("{} made", self.1));
        inner.connection_made();
    }
    fn input_received<P: Protocol>(
        &mut self,
        inner: &mut InnerProtocol<'_, Self, P>,
        input: &mut Input<'_>,
    ) {
        let bytes = input.peek().escape_ascii();
        self.0.note(format_args!("{} input {bytes}", self.1));
        inner.input_received(input);
    }
    fn eof_received<P: Protocol>(&mut self, inner: &mut InnerProtocol<'_, Self, P>) {
        self.0.note(format_args!("{} eof", self.1));
        inner.eof_received();
    }
    fn connection_lost<P: Protocol>(&mut self, protocol: &mut P, reason: Failure) {
        self.0
            .note(format_args!("{} lost {}", self.1, how(&reason)));
        protocol.connection_lost(reason);
    }
}

/// Uses everything that a protocol can use, and notes what comes of it.
struct Uses(Log, Option<Handle<Self>>);

impl LineProtocol for Uses {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        self.0.note("made");
        self.1 = Some(cx.handle());
        cx.call_later(5 * MS, |me, cx| {
            me.0.note("timer");
            cx.send_line("tick");
        });
        let (later, resolver) = Deferred::pair();
        cx.when(later, |me, _, number: Result<u32, Failure>| {
            me.0.note(format_args!("result {}", number.unwrap()));
        });
        cx.reactor()
            .call_later(7 * MS, move || resolver.callback(7));
    }
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        self.0.note(line.escape_ascii());
        match line {
            b"post" => self.1.as_ref().unwrap().post(|me, cx| {
                me.0.note("posted");
                cx.send_line("from a handle");
            }),
            b"half" => cx.lose_write(),
            b"pause" => {
                cx.pause_producing();
                cx.call_later(MS, |_, cx| cx.resume_producing());
            }
            b"become" => cx.become_protocol(Spy::named(&self.0, "next"), b""),
            line => cx.send_line(line),
        }
    }
    fn eof_received(&mut self, cx: &mut Context<'_, Self>) {
        self.0.note("eof");
        cx.lose_connection();
    }
    fn write_closed(&mut self, _cx: &mut Context<'_, Self>) {
        self.0.note("write closed");
    }
    fn connection_lost(&mut self, reason: Failure) {
        self.0.note(format_args!("lost {}", how(&reason)));
    }
}

/// Runs a script; returns what the protocol noted, and what the peer received.
fn run<P: Protocol>(
    script: &[&str],
    build: impl FnOnce(Lines<Uses>) -> P,
) -> (Vec<String>, Vec<u8>) {
    let log = Log::new();
    let mut wire = Wire::new(build(Lines::new(Uses(log.clone(), None))));
    for piece in script {
        wire.send(piece);
        wire.advance(2 * MS);
    }
    wire.advance(20 * MS);
    wire.send_eof();
    wire.advance(20 * MS);
    (log.take(), wire.take_received())
}

#[test]
fn a_wrapped_protocol_notices_nothing() {
    let scripts: [&[&str]; 5] = [
        &["one\ntw", "o\n", "post\n"],
        &["pause\nnext\n", "more\n"],
        &["half\nlast\n"],
        &["one\nbecome\nrest", " of it"],
        &[],
    ];
    for script in scripts {
        let plain = run(script, |protocol| protocol);
        assert!(
            plain
                .0
                .iter()
                .any(|note| note.starts_with("lost") || note.starts_with("next lost"))
        );
        assert_eq!(run(script, |protocol| Wrapped::new(Plain, protocol)), plain);
        let twice = |protocol| Wrapped::new(Plain, Wrapped::new(Plain, protocol));
        assert_eq!(run(script, twice), plain);
    }
}

#[test]
fn wrappers_see_each_hook_from_the_outside_in() {
    let log = Log::new();
    let protocol = Lines::new(Uses(log.clone(), None));
    let inner = Wrapped::new(Noting(log.clone(), "inner"), protocol);
    let mut wire = Wire::new(Wrapped::new(Noting(log.clone(), "outer"), inner));
    wire.send("one\n");
    wire.send_eof();
    let all = [
        "outer made",
        "inner made",
        "made",
        "outer input one\\n",
        "inner input one\\n",
        "one",
        "outer eof",
        "inner eof",
        "eof",
        "outer lost done",
        "inner lost done",
        "lost done",
    ];
    assert_eq!(log.all(), all);
}

#[test]
fn a_wrapper_may_keep_bytes_to_itself_and_call_itself_later() {
    /// Lets the bytes through that come after ten milliseconds.
    struct Late {
        is_open: bool,
    }
    impl ProtocolWrapper for Late {
        fn connection_made<P: Protocol>(&mut self, inner: &mut InnerProtocol<'_, Self, P>) {
            inner.context().call_later(10 * MS, |wrapped, cx| {
                wrapped.wrapper_mut().is_open = true;
                cx.send_line("open");
            });
            inner.connection_made();
        }
        fn input_received<P: Protocol>(
            &mut self,
            inner: &mut InnerProtocol<'_, Self, P>,
            input: &mut Input<'_>,
        ) {
            match self.is_open {
                true => inner.input_received(input),
                false => drop(input.take()),
            }
        }
    }
    let log = Log::new();
    let protocol = Lines::new(Uses(log.clone(), None));
    let mut wire = Wire::new(Wrapped::new(Late { is_open: false }, protocol));
    wire.send("early\n");
    wire.advance(10 * MS);
    wire.send("late\n");
    assert_eq!(log.all(), ["made", "timer", "result 7", "late"]);
    assert_eq!(wire.take_received(), b"tick\r\nopen\r\nlate\r\n");
    let count = wire.with_protocol(|wrapped, _| {
        wrapped.wrapper_mut().is_open = false;
        wrapped.get_mut().get_mut().0.all().len()
    });
    assert_eq!(count, 4);
    wire.send("later\n");
    assert_eq!(log.all().len(), 4);
}

on_transports! {
    async fn a_factory_wraps_each_protocol_and_opens_and_closes_as_before(reactor) {
        struct Makes(Log, Rc<Cell<u32>>);
        impl Factory for Makes {
            type Protocol = Spy;
            fn build_protocol(&mut self, _peer: Address) -> Option<Spy> {
                self.1.set(self.1.get() + 1);
                (self.1.get() < 3).then(|| Spy::named(&self.0, "inside"))
            }
            fn started(&mut self) {
                self.0.note("started");
            }
            fn stopped(&mut self) {
                self.0.note("stopped");
            }
        }
        let (log, count) = (Log::new(), Rc::default());
        let peers = Rc::new(RefCell::new(None));
        let (to, seen) = (log.clone(), peers.clone());
        let factory = WrappingFactory::new(Makes(log.clone(), count), move |peer| {
            seen.replace(Some(peer.clone()));
            Noting(to.clone(), "wrapper")
        });
        let port = reactor.listen_factory(Anywhere, factory)?;
        for _ in 0..2 {
            let mut conn = reactor.connect_stream(port.local_addr()).await?;
            conn.write_all(b"hello").await?;
            until(|| log.has("inside data hello")).await;
            assert_eq!(peers.take(), Some(conn.local_addr()?));
            drop(conn);
            until(|| log.has("inside lost done")).await;
            let all = log.take();
            assert_eq!(all[all.len() - 8..], [
                "wrapper made", "inside made", "wrapper input hello", "inside data hello",
                "wrapper eof", "inside eof", "wrapper lost done", "inside lost done",
            ]);
        }
        // The factory refuses the third.
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        assert_eq!(conn.read(&mut [0]).await.unwrap_or(0), 0);
        port.stop().await?;
        assert_eq!(log.take(), ["stopped"]);
    }
}
