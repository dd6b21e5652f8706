//! Endpoints that a program defines: accepted wherever an endpoint is, and named in text.

use std::cell::Cell;
use std::rc::Rc;
use torsade::net::ProxyOptions;

use futures::StreamExt;
use support::{ENDPOINT_TYPES, HERE, Log, MS, Spy, expect_reports, some_turns, until};
use torsade::clock::TimedOut;
use torsade::net::{
    ClientEndpoint, ClientFactory, ConnectOptions, Connector, EndpointError, Incoming,
    ListenOptions, ServerEndpoint, StreamClientEndpoint, StreamServerEndpoint,
};
use torsade::services::{ClientService, Service};
use torsade::transport::{ConnectionError, Limits};
use torsade::{Address, Cancelled, Connection, Deferred, Factory, Failure, Port, Reactor};

/// An endpoint that sends a word before everything else.
#[derive(Clone)]
struct Knocks {
    to: Address,
    word: &'static str,
}

impl StreamClientEndpoint for Knocks {
    fn connect(&self, reactor: &Reactor, options: &ConnectOptions) -> Deferred<Connection> {
        let connecting = reactor.connect_stream((&self.to, options));
        let line = format!("{}\n", self.word);
        Deferred::from_future(async move {
            let mut conn = connecting.await?;
            conn.write_all(line.as_bytes()).await?;
            // The bytes after this line belong to the next handler.
            conn.read_line(80).await?;
            Ok(conn)
        })
    }
}

/// An endpoint that accepts peers that send its word, and answers it.
struct Guarded(&'static str);

impl StreamServerEndpoint for Guarded {
    fn listen(
        &self,
        reactor: &Reactor,
        options: &ListenOptions,
        incoming: Incoming,
    ) -> Result<Port, Failure> {
        let word = self.0;
        reactor.serve((HERE, options), async move |mut conn| {
            if conn.read_line(80).await?.as_deref() == Some(word.as_bytes()) {
                // In one piece with the handler's first bytes.
                conn.write_all(b"enter\n").await?;
                incoming.accept(conn);
            }
            Ok(())
        })
    }
}

/// An endpoint that accepts every peer at once, and counts them.
struct Straight(Rc<Cell<u32>>);

impl StreamServerEndpoint for Straight {
    fn listen(
        &self,
        reactor: &Reactor,
        _options: &ListenOptions,
        incoming: Incoming,
    ) -> Result<Port, Failure> {
        let count = self.0.clone();
        reactor.serve(HERE, move |conn| {
            count.set(count.get() + 1);
            incoming.accept(conn);
            std::future::ready(Ok(()))
        })
    }
}

fn greeting(port: &Port) -> Knocks {
    Knocks {
        to: port.local_addr(),
        word: "friend",
    }
}

/// A factory of spies that records the calls for its port.
struct Spies(Log);

impl Factory for Spies {
    type Protocol = Spy;

    fn build_protocol(&mut self, _peer: Address) -> Option<Spy> {
        Some(Spy::named(&self.0, "spy").on_data(|cx, data| cx.write(data)))
    }

    fn started(&mut self) {
        self.0.note("started");
    }

    fn stopped(&mut self) {
        self.0.note("stopped");
    }
}

impl ClientFactory for Spies {
    type Protocol = Spy;

    fn build_protocol(&mut self, _peer: Address) -> Option<Spy> {
        Some(Spy::named(&self.0, "client"))
    }

    fn connection_failed(&mut self, _connector: &Connector, reason: Failure) {
        self.0.note(format!("failed: {reason}"));
    }
}

on_both! {
    async fn custom_endpoints_are_accepted_wherever_endpoints_are(reactor) {
        let log = Log::new();
        let ports = [
            reactor.listen_factory(Guarded("friend"), Spies(log.clone()))?,
            reactor.listen(ServerEndpoint::custom(Guarded("friend")), |_| Spy::echo())?,
            reactor.serve(Guarded("friend"), async |mut conn| {
                let line = conn.read_line(80).await?.unwrap_or_default();
                Ok(conn.write_all(&line).await?)
            })?,
        ];
        for port in &ports {
            let mut stream = reactor.connect_stream(greeting(port)).await?;
            stream.write_all(b"hello\n").await?;
            let mut said = [0; 5];
            stream.read_exact(&mut said).await?;
            assert_eq!(&said, b"hello");
            drop(stream);

            let client = Log::new();
            let handle = reactor.connect(greeting(port), Spy::new(&client)).await?;
            handle.transport().unwrap().write("hello\n");
            until(|| client.all().iter().any(|note| note.starts_with("data hello"))).await;
            handle.transport().unwrap().lose_connection();

            let clients = Log::new();
            Connector::start(&reactor, greeting(port), Spies(clients.clone()))?;
            until(|| clients.has("client made")).await;
            until(|| port.connections() > 0).await;
            port.stop().await?;
            assert!(!port.is_listening());
            assert_eq!(port.lose_connections(MS * 5000).await?, 0);
            until(|| clients.all().iter().any(|note| note.starts_with("client lost"))).await;
        }
        assert_eq!((log.count("started"), log.count("stopped")), (1, 1));
    }

    async fn a_listener_returns_the_connections_one_by_one(reactor) {
        let mut listener = reactor.bind(Guarded("friend"))?;
        let port = listener.port().clone();
        let one = reactor.connect_stream(greeting(&port)).await?;
        // One connection waits already, so no other is accepted.
        let two = reactor.connect_stream(greeting(&port));
        some_turns().await;
        assert_eq!(port.connections(), 0);
        let server = listener.accept().await?;
        assert_eq!(server.peer(), one.local_addr()?);
        some_turns().await;
        assert_eq!(port.connections(), 1);
        let server = listener.next().await.unwrap()?;
        assert_eq!(server.peer(), two.await?.local_addr()?);
        port.stop().await?;
        assert!(listener.next().await.is_none());
    }

    async fn without_a_request_few_connections_are_accepted(reactor) {
        let accepted = Rc::new(Cell::new(0));
        let mut listener = reactor.bind(Straight(accepted.clone()))?;
        let mut conns = Vec::new();
        for _ in 0..100 {
            conns.push(reactor.connect_stream(listener.local_addr()).await?);
            some_turns().await;
        }
        assert_eq!(accepted.get(), 1);
        // The listener's own pause is independent.
        listener.port().pause_accepting();
        listener.port().resume_accepting();
        some_turns().await;
        assert_eq!(accepted.get(), 1);
        for _ in 0..100 {
            listener.accept().await?;
        }
        assert_eq!(accepted.get(), 100);
        listener.port().stop().await?;
    }

    async fn when_a_port_is_full_connections_wait_in_the_systems_queue(reactor) {
        let accepted = Rc::new(Cell::new(0));
        let port = reactor.listen(Straight(accepted.clone()), |_| Spy::echo())?;
        port.set_max_connections(2);
        let mut conns = Vec::new();
        for _ in 0..50 {
            conns.push(reactor.connect_stream(port.local_addr()).await?);
            some_turns().await;
        }
        assert_eq!((port.connections(), accepted.get()), (2, 3));
        conns.truncate(0);
        until(|| accepted.get() == 50 && port.connections() == 0).await;
        port.stop().await?;
    }

    async fn a_failed_write_is_the_reason_of_the_loss_for_the_next_handler_too(reactor) {
        struct Fails(Rc<Cell<u32>>);
        impl StreamServerEndpoint for Fails {
            fn listen(&self, reactor: &Reactor, options: &ListenOptions, incoming: Incoming) -> Result<Port, Failure> {
                let handed = self.0.clone();
                reactor.serve((HERE, options), move |mut conn: Connection| {
                    let (incoming, handed) = (incoming.clone(), handed.clone());
                    async move {
                        while conn.write_all(b"lost").await.is_ok() {
                            torsade::yield_now().await;
                        }
                        incoming.accept(conn);
                        handed.set(handed.get() + 1);
                        Ok(())
                    }
                })
            }
        }
        let (log, handed) = (Log::new(), Rc::new(Cell::new(0)));
        let port = reactor.listen_factory(Fails(handed.clone()), Spies(log.clone()))?;
        let conn = reactor.connect_stream(port.local_addr()).await?;
        some_turns().await;
        conn.transport().abort_connection();
        until(|| handed.get() == 1).await;
        until(|| log.all().iter().any(|note| note.starts_with("spy lost"))).await;
        let notes = log.all();
        assert!(notes.last().unwrap().starts_with("spy lost broken"), "{notes:?}");
        port.stop().await?;
    }

    async fn bytes_queued_on_a_dropped_connection_are_reported(reactor) {
        struct Greets;
        impl StreamServerEndpoint for Greets {
            fn listen(&self, reactor: &Reactor, options: &ListenOptions, incoming: Incoming) -> Result<Port, Failure> {
                reactor.serve((HERE, options), move |conn: Connection| {
                    let incoming = incoming.clone();
                    async move {
                        conn.transport().write(vec![7; 8 << 20]);
                        incoming.accept(conn);
                        Ok(())
                    }
                })
            }
        }
        let reports = expect_reports(&reactor);
        let port = reactor.listen(Greets, |_| None::<Spy>)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        until(|| !reports.borrow().is_empty()).await;
        let loss = reports.borrow()[0].failure().clone();
        let Some(ConnectionError::NotSent { bytes, peer, .. }) = loss.downcast_ref() else {
            panic!("{loss:?}");
        };
        assert_eq!(*peer, conn.local_addr()?);
        assert!(*bytes > 0 && *bytes <= 8 << 20, "{loss:?}");
        let end = conn.read_to_end(&mut Vec::new()).await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(reports.borrow().len(), 1);
        port.stop().await?;
    }

    async fn a_client_service_uses_a_custom_endpoint(reactor) {
        let port = reactor.listen(Guarded("friend"), |_| Spy::echo())?;
        let log = Log::new();
        let seen = log.clone();
        let service = ClientService::new(&reactor, greeting(&port), move || Spy::new(&seen))?;
        service.start()?;
        service.when_connected().await?.transport().unwrap().abort_connection();
        torsade::testing::wait_until(&reactor, MS * 20_000, || log.count("made") >= 2).await?;
        service.stop().await?;
        port.stop().await?;
    }

    async fn the_options_of_the_call_are_passed_on(reactor) {
        let limits = Limits { high: 1000, ..Limits::default() };
        let log = Log::new();
        let seen = log.clone();
        let options = ListenOptions::new().limits(limits);
        let port = reactor.serve((Guarded("friend"), &options), async move |conn| {
            seen.note(conn.transport().limits().high);
            Ok(())
        })?;
        let options = ConnectOptions::new().limits(limits).bind(([127, 0, 0, 9], 0));
        let conn = reactor.connect_stream((greeting(&port), &options)).await?;
        assert_eq!(conn.transport().limits().high, 1000);
        assert_eq!(conn.local_addr()?.ip().unwrap().to_string(), "127.0.0.9");
        until(|| log.has("1000")).await;
        drop(conn);
        port.stop().await?;
    }

    async fn nothing_happens_inside_the_call_and_cancelling_is_passed_on(reactor) {
        struct Never(Rc<Cell<u32>>, Log);
        impl StreamClientEndpoint for Never {
            fn connect(&self, _: &Reactor, _: &ConnectOptions) -> Deferred<Connection> {
                self.0.set(self.0.get() + 1);
                let log = self.1.clone();
                let (deferred, resolver) = Deferred::pair();
                deferred.on_cancel(move || {
                    log.note("cancelled");
                    resolver.errback(Cancelled);
                })
            }
        }
        let (calls, log) = (Rc::new(Cell::new(0)), Log::new());
        let connecting = reactor.connect_stream(Never(calls.clone(), log.clone()));
        assert_eq!(calls.get(), 0);
        some_turns().await;
        assert_eq!(calls.get(), 1);
        connecting.cancel();
        assert!(connecting.await.unwrap_err().is::<Cancelled>());
        assert_eq!(log.take(), ["cancelled"]);

        let options = ConnectOptions::new().overall_timeout(MS * 20);
        let late = reactor.connect((Never(calls.clone(), log.clone()), &options), Spy::echo()).await;
        let failure = late.unwrap_err();
        assert!(failure.is::<TimedOut>(), "{failure:?}");
        assert_eq!(failure.location().file(), file!());
        assert_eq!(log.take(), ["cancelled"]);
    }

    async fn a_panic_of_an_endpoint_is_the_failure_of_the_call(reactor) {
        struct Panics;
        impl StreamClientEndpoint for Panics {
            fn connect(&self, _: &Reactor, _: &ConnectOptions) -> Deferred<Connection> {
                panic!("oh")
            }
        }
        impl StreamServerEndpoint for Panics {
            fn listen(&self, _: &Reactor, _: &ListenOptions, _: Incoming) -> Result<Port, Failure> {
                panic!("oh")
            }
        }
        assert!(reactor.connect_stream(Panics).await.unwrap_err().is_panic());
        assert!(reactor.listen(Panics, |_| Spy::echo()).unwrap_err().is_panic());
    }

    async fn an_endpoint_without_another_port_can_be_stopped(reactor) {
        struct Once(Cell<Option<Connection>>, Log);
        impl StreamServerEndpoint for Once {
            fn listen(&self, _: &Reactor, _: &ListenOptions, incoming: Incoming) -> Result<Port, Failure> {
                let log = self.1.clone();
                let kept = incoming.clone();
                let port = incoming.port(Address::Unnamed, move || {
                    log.note("stop");
                    drop(kept);
                    Deferred::succeed(())
                });
                incoming.accept(self.0.take().unwrap());
                Ok(port)
            }
        }
        let (client, server, inner) = support::ends(&reactor, HERE).await?;
        let log = Log::new();
        let port = reactor.listen_factory(Once(Cell::new(Some(server)), log.clone()), Spies(log.clone()))?;
        until(|| log.has("spy made")).await;
        assert!(port.is_listening());
        assert_eq!((port.local_addr(), port.connections()), (Address::Unnamed, 1));
        let closed = port.closed();
        assert!(!closed.is_settled());
        port.stop().await?;
        closed.await?;
        port.stop().await?;
        assert!(!port.is_listening());
        drop(client);
        until(|| port.connections() == 0).await;
        assert_eq!(log.take(), ["started", "spy made", "stop", "stopped", "spy eof", "spy lost done"]);
        inner.stop().await?;
    }

    async fn a_proxys_header_is_read_first(reactor) {
        let port = reactor.serve(ServerEndpoint::custom(Guarded("friend")).proxied(ProxyOptions::new()), async |mut conn| {
            let hello = format!("{} {:?}\n", conn.peer(), conn.read_line(80).await?.map(|line| line.len()));
            Ok(conn.write_all(hello.as_bytes()).await?)
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"friend\nPROXY TCP4 192.0.2.7 192.0.2.1 50001 80\r\nhello\n").await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"enter"[..]));
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"192.0.2.7:50001 Some(5)"[..]));
        drop(conn);
        port.stop().await?;
    }

    async fn bytes_read_ahead_reach_the_protocol(reactor) {
        /// An endpoint that reads a line of any length before it passes the connection on.
        struct Patient;
        impl StreamServerEndpoint for Patient {
            fn listen(&self, reactor: &Reactor, options: &ListenOptions, incoming: Incoming) -> Result<Port, Failure> {
                reactor.serve((HERE, options), async move |mut conn| {
                    conn.read_line(65_536).await?;
                    incoming.accept(conn);
                    Ok(())
                })
            }
        }
        let port = reactor.serve(Patient, async |mut conn| {
            let mut rest = Vec::new();
            conn.read_to_end(&mut rest).await?;
            conn.write_all(rest.len().to_string().as_bytes()).await?;
            Ok(())
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(&[&[b'x'; 20_000][..], b"\n", &[b'y'; 12_000]].concat()).await?;
        conn.close().await?;
        let mut answer = Vec::new();
        conn.read_to_end(&mut answer).await?;
        assert_eq!(answer, b"12000");
        port.stop().await?;
    }

    async fn text_of_a_registered_type_is_parsed(reactor) {
        let port = reactor.listen(Guarded("friend"), |_| Spy::echo())?;
        let to = port.local_addr();
        ClientEndpoint::register(&reactor, "Knock", move |fields| {
            let word = fields.required("word")?;
            let word = if word == "friend" { "friend" } else { return Err(fields.error("it is no word")) };
            Ok(ClientEndpoint::custom(Knocks { to: to.clone(), word }))
        });
        ServerEndpoint::register(&reactor, "guard", |fields| {
            fields.required("word")?;
            Ok(ServerEndpoint::custom(Guarded("friend")))
        });
        drop(reactor.connect_stream("knock:friend").await?);
        drop(reactor.connect_stream("KNOCK:word=friend").await?);
        for (text, said) in [
            ("knock:", "\"knock:\" is not an endpoint: at byte 6: the word is missing"),
            ("knock:enemy", "\"knock:enemy\" is not an endpoint: at byte 0: it is no word"),
            ("knock:friend:2", "\"knock:friend:2\" is not an endpoint: at byte 13: unexpected field \"2\""),
        ] {
            let failure = reactor.connect_stream(text).await.unwrap_err();
            assert_eq!(failure.trap::<EndpointError>()?.to_string(), said);
        }
        let guarded = reactor.serve("haproxy:guard:friend:trust=10.0.0.0/8", async |_conn| Ok(()))?;
        guarded.stop().await?;
        for (failure, or) in [
            (reactor.connect_stream("nock:a:b").await.unwrap_err(), "or a registered type: knock"),
            (reactor.serve("nock:a:b", async |_conn| Ok(())).unwrap_err(), "or a registered type: guard"),
            (
                ClientEndpoint::parse("knock:a:b").unwrap_err(),
                "or a type registered with `ClientEndpoint::register` if a reactor reads the text",
            ),
            (
                ServerEndpoint::parse("guard:a:b").unwrap_err(),
                "or a type registered with `ServerEndpoint::register` if a reactor reads the text",
            ),
        ] {
            let said = failure.to_string();
            assert!(said.ends_with(&format!("one of {ENDPOINT_TYPES}, {or}")), "{said}");
        }
        // The name is not known without the reactor.
        assert!(ClientEndpoint::parse("knock:friend").is_err());
        port.stop().await?;
    }
}

#[test]
fn an_unknown_name_points_to_registering_where_no_name_is_registered() {
    torsade::testing::run(async |reactor| {
        let failure = reactor.connect_stream("nock:a:b").await.unwrap_err();
        let said = failure.to_string();
        assert!(
            said.ends_with(", or a type registered with `ClientEndpoint::register`"),
            "{said}"
        );
        Ok(())
    });
}

#[test]
fn a_built_in_name_cannot_be_registered() {
    for name in ["tcp", "UNIX", "haproxy", "", "a b"] {
        let reactor = Reactor::in_memory().unwrap();
        let registered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ClientEndpoint::register(&reactor, name, |_| {
                Ok(ClientEndpoint::new(([127, 0, 0, 1], 1)))
            });
        }));
        assert!(registered.is_err(), "{name:?}");
    }
}
