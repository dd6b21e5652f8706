//! Endpoints as text: parsing, printing, and the errors of invalid text.

use support::{ENDPOINT_TYPES, HERE};
use torsade::Address;
use torsade::net::{
    ClientEndpoint, ConnectOptions, EndpointError, ListenOptions, ServerEndpoint, quote,
};
use torsade::testing::Random;
use torsade::transport::Limits;

/// Returns whether this system has endpoints of this type. Descriptors exist on Unix only.
fn is_known(text: &str) -> bool {
    let text = text.strip_prefix("haproxy:").unwrap_or(text);
    let is_descriptor = ["systemd:", "fd:", "stdio:"].map(|kind| text.starts_with(kind));
    cfg!(unix) || !is_descriptor.contains(&true)
}

#[test]
fn text_to_listen_at_is_read_as_an_address_or_a_description() {
    for (text, read) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
        ("localhost:80", "127.0.0.1:80 or [::1]:80"),
        ("tcp:80", "0.0.0.0:80"),
        ("TCP:80", "0.0.0.0:80"),
        ("tcp:port=80", "0.0.0.0:80"),
        ("tcp:80:interface=127.0.0.1", "127.0.0.1:80"),
        ("tcp:interface=127.0.0.1:80", "127.0.0.1:80"),
        (r"tcp:80:interface=\:\:1", "[::1]:80"),
        ("tcp:80:backlog=7", "0.0.0.0:80"),
        ("tcp6:80", "[::]:80"),
        (r"tcp6:80:interface=\:\:1", "[::1]:80"),
        ("unix:/run/chat", "unix:/run/chat"),
        (
            "unix:/run/chat:mode=660:backlog=7:lockfile=0",
            "unix:/run/chat",
        ),
        ("unix:address=/run/chat", "unix:/run/chat"),
        (r"unix:a\:b\=c", r"unix:a\:b\=c"),
        ("unix:@chat", "unix:@chat"),
        ("unix:path=@chat", "unix:path=@chat"),
        ("unix:path-hex=2f610A", "unix:path-hex=2f610a"),
        ("unix:path-hex=2f61", "unix:/a"),
        ("unix:abstract-hex=00ff", "unix:abstract-hex=00ff"),
        ("systemd:domain=INET:index=0", "systemd:index=0:domain=INET"),
        ("systemd:name=web", "systemd:name=web"),
        ("fd:3", "fd:3"),
        ("fd:3:domain=UNIX", "fd:3:domain=UNIX"),
        ("haproxy:tcp:80", "haproxy:0.0.0.0:80"),
        ("HAProxy:127.0.0.1:80", "haproxy:127.0.0.1:80"),
        ("haproxy:[::1]:80", "haproxy:[::1]:80"),
        (
            "haproxy:tcp6:80:trust=10.0.0.0/8,127.0.0.1:backlog=7",
            "haproxy:[::]:80",
        ),
        (
            r"haproxy:unix:/run/chat:mode=600:headertimeout=3:trust=fd00\:\:/8",
            "haproxy:unix:/run/chat",
        ),
        ("haproxy:fd:3", "haproxy:fd:3"),
    ] {
        if !is_known(text) {
            continue;
        }
        assert_eq!(
            ServerEndpoint::parse(text).unwrap().to_string(),
            read,
            "{text}"
        );
    }
}

#[test]
fn text_to_connect_to_is_read_as_a_host_or_a_description() {
    for (text, read) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
        ("[fe80::1%3]:80", "[fe80::1%3]:80"),
        ("example.org:80", "example.org:80"),
        ("tcp:tcp:80", "tcp:80"),
        ("tcp:example.org:80", "example.org:80"),
        ("tcp:host=example.org:port=80", "example.org:80"),
        ("tcp:port=80:host=example.org", "example.org:80"),
        ("tcp:port=80:example.org", "example.org:80"),
        ("tcp:host=example.org:80", "example.org:80"),
        ("tcp:80:host=example.org", "example.org:80"),
        (r"tcp:\:\:1:80", "[::1]:80"),
        (
            "tcp:10.0.0.1:80:timeout=5:bindAddress=10.0.0.2",
            "10.0.0.1:80",
        ),
        ("unix:/run/chat:timeout=5:lockfile=1", "unix:/run/chat"),
        ("unix:@chat", "unix:@chat"),
    ] {
        assert_eq!(
            ClientEndpoint::parse(text).unwrap().to_string(),
            read,
            "{text}"
        );
    }
}

#[test]
fn errors_name_the_position_of_unknown_text() {
    for (text, at, problem) in [
        ("", 0, "expected a host and a port, separated by a colon"),
        ("80", 2, "expected a host and a port, separated by a colon"),
        (":80", 0, "the host is missing"),
        (
            "127.0.0.1:http",
            10,
            "the port must be a number up to 65535, not \"http\"",
        ),
        (
            "127.0.0.1:65536",
            10,
            "the port must be a number up to 65535, not \"65536\"",
        ),
        (
            "127.0.0.1:-1",
            10,
            "the port must be a number up to 65535, not \"-1\"",
        ),
        (
            "example.org:80",
            0,
            "\"example.org\" is not an IP address, and host names are not looked up here",
        ),
        (
            "udp:80:80",
            0,
            "expected a host and a port, or an endpoint whose type is one of {types}, or a type registered with `ServerEndpoint::register` if a reactor reads the text",
        ),
        ("tcp:", 4, "the port is empty"),
        ("tcp:interface=::1", 15, "the port is empty"),
        (
            "tcp:80:interface=nowhere",
            7,
            "\"nowhere\" is not an IP address, and host names are not looked up here",
        ),
        (
            "tcp:80:backlog=many",
            7,
            "the backlog must be a number, not \"many\"",
        ),
        (
            "tcp:80:colour=blue",
            7,
            "unknown or repeated field \"colour\"",
        ),
        (
            "tcp:80:backlog=1:backlog=2",
            17,
            "unknown or repeated field \"backlog\"",
        ),
        ("tcp:80:81", 7, "unexpected field \"81\""),
        (r"tcp:80\", 6, "the text ends with a backslash"),
        ("unix:", 5, "the path is empty"),
        ("unix:mode=600", 13, "the path is missing"),
        (
            "unix:a:mode=888",
            7,
            "the mode must be an octal number up to 777, not \"888\"",
        ),
        (
            "unix:a:mode=1777",
            7,
            "the mode must be an octal number up to 777, not \"1777\"",
        ),
        (
            "unix:a:mode=+77",
            7,
            "the mode must be an octal number up to 777, not \"+77\"",
        ),
        (
            "unix:a:lockfile=yes",
            7,
            "the lockfile must be 0 or 1, not \"yes\"",
        ),
        (
            "unix:abstract-hex=0",
            5,
            "expected pairs of hexadecimal digits, not \"0\"",
        ),
        ("unix:path-hex=", 5, "the path is empty"),
        (
            "unix:path-hex=+1é",
            5,
            "expected pairs of hexadecimal digits, not \"+1é\"",
        ),
        ("unix:a=b", 8, "the path is missing"),
        (
            "systemd:domain=INET",
            19,
            "expected either an index or a name",
        ),
        (
            "systemd:index=0:name=web",
            24,
            "expected either an index or a name",
        ),
        (
            "systemd:index=0:domain=inet",
            16,
            "the domain must be INET, INET6 or UNIX, not \"inet\"",
        ),
        ("fd:x", 3, "the descriptor must be a number, not \"x\""),
        ("fd:-1", 3, "the descriptor must be a number, not \"-1\""),
        (
            "haproxy:",
            8,
            "expected a host and a port, separated by a colon",
        ),
        (
            "haproxy:80",
            10,
            "expected a host and a port, separated by a colon",
        ),
        (
            "haproxy:haproxy:tcp:80",
            8,
            "expected a host and a port, or an endpoint whose type is one of {types}, or a type registered with `ServerEndpoint::register` if a reactor reads the text",
        ),
        ("haproxy:tcp:", 12, "the port is empty"),
        (
            "haproxy:tcp:80:trust=10/8",
            15,
            "\"10/8\" is not an IP address or a network such as 10.0.0.0/8",
        ),
        (
            "haproxy:tcp:80:trust=",
            15,
            "\"\" is not an IP address or a network such as 10.0.0.0/8",
        ),
        (
            "haproxy:tcp:80:headertimeout=soon",
            15,
            "the headertimeout must be a number, not \"soon\"",
        ),
        (
            "tcp:80:trust=127.0.0.1",
            7,
            "unknown or repeated field \"trust\"",
        ),
    ] {
        if !is_known(text) {
            continue;
        }
        let problem = problem.replace("{types}", ENDPOINT_TYPES);
        let failure = ServerEndpoint::parse(text).unwrap_err();
        let position =
            expect_error!(failure, EndpointError::Endpoint { position, .. } => *position);
        let whole = format!("{text:?} is not an endpoint: at byte {at}: {problem}");
        assert_eq!((failure.to_string(), position), (whole, at));
    }
    for (text, at, problem) in [
        ("tcp:example.org", 15, "the port is missing"),
        ("tcp:80:interface=::1", 18, "the port is empty"),
        (
            "tcp:h:80:bindAddress=home",
            9,
            "\"home\" is not an IP address, and host names are not looked up here",
        ),
        (
            "tcp:h:80:timeout=-1",
            9,
            "the timeout must be a number, not \"-1\"",
        ),
        (
            "tcp6:h:80",
            0,
            "\"tcp6\" is a type for listening; to connect, use \"tcp\"",
        ),
        (
            "fd:3",
            0,
            "inherited sockets are for listening, not for connecting",
        ),
        ("unix:a:mode=600", 7, "unknown or repeated field \"mode\""),
    ] {
        if !is_known(text) {
            continue;
        }
        let failure = ClientEndpoint::parse(text).unwrap_err();
        let whole = format!("{text:?} is not an endpoint: at byte {at}: {problem}");
        assert_eq!(failure.to_string(), whole);
    }
}

#[test]
fn quoted_text_is_one_field() {
    for name in ["", "a:b", r"a\b", r"\:", "=", "a=b", "é:ü", r"\\::"] {
        for field in ["host=", ""] {
            let text = format!("tcp:{field}{}x:port=80", quote(name));
            let read = ClientEndpoint::parse(&text).unwrap().to_string();
            assert_eq!(read, format!("{name}x:80"));
        }
    }
}

/// Any text is an endpoint, or an error with a position in the text.
#[test]
fn no_text_does_harm() {
    const PIECES: [&str; 32] = [
        "tcp",
        "tcp6",
        "unix",
        "systemd",
        "fd",
        "haproxy",
        ":",
        ":",
        ":",
        "=",
        "\\",
        "@",
        "/",
        ",",
        "[",
        "]",
        "::1",
        "127.0.0.1",
        "80",
        "65536",
        "-1",
        "interface=",
        "backlog=",
        "trust=",
        "headertimeout=",
        "path-hex=",
        "mode=",
        "index=",
        "é",
        "\0",
        "\u{feff}",
        "timeout=",
    ];
    let mut random = Random::new(5);
    let mut read = 0;
    for _ in 0..30_000 {
        let count = random.below(9);
        let begins = random.pick(&["", "tcp:80", "unix:/a", "haproxy:tcp:", "haproxy:"]);
        let rest = (0..count).map(|_| PIECES[random.below(PIECES.len())]);
        let text: String = std::iter::once(begins).chain(rest).collect();
        for endpoint in [
            ServerEndpoint::parse(&text).map(|endpoint| endpoint.to_string()),
            ClientEndpoint::parse(&text).map(|endpoint| endpoint.to_string()),
        ] {
            match endpoint {
                Ok(said) => {
                    assert!(!said.is_empty(), "{text:?}");
                    read += 1;
                }
                Err(failure) => {
                    let (whole, position) = expect_error!(failure, EndpointError::Endpoint { text, position, .. } => (text, *position));
                    assert!(text.is_char_boundary(position), "{failure}");
                    assert_eq!(*whole, text);
                }
            }
        }
    }
    assert!(read > 300, "{read}");
}

#[test]
fn an_address_is_read_as_it_prints_itself() {
    let mut addresses: Vec<Address> = vec![
        ([127, 0, 0, 1], 80).into(),
        "[::1]:80".parse::<std::net::SocketAddr>().unwrap().into(),
        "[fe80::1%7]:0"
            .parse::<std::net::SocketAddr>()
            .unwrap()
            .into(),
        Address::from_path("/run/chat"),
        Address::from_path("@no name"),
        Address::from_path(r"a:b=c\d"),
        Address::from_path("path=x"),
        Address::from_abstract("name"),
        Address::from_abstract("@:="),
        Address::from_abstract(vec![0, 255, 10]),
        Address::from_abstract(vec![]),
        Address::Unnamed,
    ];
    let mut random = Random::new(7);
    for _ in 0..3000 {
        let length = 1 + random.below(8);
        let bytes: Vec<u8> = (0..length)
            .map(|_| random.pick(b"a:=\\@/%\n\xff "))
            .collect();
        addresses.push(Address::from_abstract(bytes.clone()));
        if let Ok(text) = String::from_utf8(bytes) {
            addresses.push(Address::from_path(text));
        }
    }
    for address in addresses {
        let text = address.to_string();
        assert_eq!(text.parse::<Address>().unwrap(), address, "{text}");
    }
}

#[test]
fn invalid_addresses_are_explained() {
    for (text, problem) in [
        (
            "",
            "expected an IP address and a port, or `unix:` and a path",
        ),
        (
            "localhost:80",
            "expected an IP address and a port, or `unix:` and a path",
        ),
        (
            "127.0.0.1",
            "expected an IP address and a port, or `unix:` and a path",
        ),
        (
            "::1:80",
            "expected an IP address and a port, or `unix:` and a path",
        ),
        (
            "[fe80::1%nosuch]:80",
            "expected an IP address and a port, or `unix:` and a path",
        ),
        (
            "[::1]:+80",
            "expected an IP address and a port, or `unix:` and a path",
        ),
        ("unix:", "the path is empty"),
        ("unix:path-hex=", "the path is empty"),
        ("unix:path-hex=4", "expected pairs of hexadecimal digits"),
        (
            "unix:mode=660",
            "expected the field `path`, `path-hex` or `abstract-hex`",
        ),
        (
            "unix:/a:mode=660",
            "in the name of a UNIX socket, a colon and a backslash must be escaped with a backslash",
        ),
    ] {
        let bad = text.parse::<Address>().unwrap_err();
        assert_eq!(
            bad.to_string(),
            format!("{text:?} is not an address: {problem}")
        );
        assert!(matches!(bad, EndpointError::Address { text: whole, .. } if whole == text));
    }
}

/// Valid descriptions with a few bytes changed.
#[test]
fn damaged_descriptions_do_no_harm() {
    let good = [
        "tcp:80:interface=127.0.0.1:backlog=7",
        r"haproxy:tcp6:80:trust=10.0.0.0/8,fd00\:\:/8:headertimeout=3",
        "unix:path-hex=2f610A:mode=660:lockfile=0",
        "systemd:domain=INET:index=0",
        "tcp:host=example.org:port=80:timeout=5:bindAddress=10.0.0.2",
    ];
    let mut random = Random::new(6);
    for _ in 0..30_000 {
        let mut chars: Vec<char> = random.pick(&good).chars().collect();
        for _ in 0..=random.below(3) {
            let at = random.below(chars.len());
            chars[at] = char::from_u32(random.below(0x180) as u32).unwrap_or('x');
        }
        let text: String = chars.into_iter().collect();
        for failure in [
            ServerEndpoint::parse(&text).err(),
            ClientEndpoint::parse(&text).err(),
        ]
        .into_iter()
        .flatten()
        {
            let position =
                expect_error!(failure, EndpointError::Endpoint { position, .. } => *position);
            assert!(text.is_char_boundary(position), "{failure}");
        }
    }
}

on_both! {
    async fn a_failure_to_parse_text_has_the_callers_location(reactor) {
        let failure = reactor.listen("nowhere:80", |_| support::Spy::echo()).unwrap_err();
        assert!(matches!(failure.trap()?, EndpointError::Endpoint { .. }));
        assert_eq!(failure.location().file(), file!());
        let failure = reactor.connect_stream("nowhere").await.unwrap_err();
        assert!(matches!(failure.trap()?, EndpointError::Endpoint { .. }));
        assert_eq!(failure.location().file(), file!());
    }

    async fn descriptions_work_for_listening_and_connecting(reactor) {
        let port = reactor.serve("tcp:0:interface=127.0.0.1", async |mut conn| {
            conn.write_all(b"hello\n").await?;
            Ok(())
        })?;
        let text = format!("tcp:host=127.0.0.1:port={}:timeout=5", port.local_addr().port().unwrap());
        let mut conn = reactor.connect_stream(text).await?;
        assert_eq!(conn.read_line(80).await?.as_deref(), Some(&b"hello"[..]));
        drop(conn);
        port.stop().await?;
    }

    async fn the_options_of_an_endpoint_precede_those_of_the_call(reactor) {
        let port = reactor.listen(HERE, |_| support::Spy::echo())?;
        let from = ClientEndpoint::parse(&format!("tcp:127.0.0.1:{}:bindAddress=127.0.0.9", port.local_addr().port().unwrap()))?;
        let conn = reactor.connect_stream(from).await?;
        assert_eq!(conn.local_addr()?.ip().unwrap().to_string(), "127.0.0.9");
        drop(conn);
        port.stop().await?;
    }

    async fn the_options_of_a_call_that_listens_hold_for_an_endpoint_value(reactor) {
        let text = "tcp:0:interface=127.0.0.1";
        let endpoints = [ServerEndpoint::new(([127, 0, 0, 1], 0)), ServerEndpoint::parse(text)?];
        for endpoint in endpoints {
            let options = ListenOptions::new().limits(high(1000));
            let (log, seen) = (support::Log::new(), support::Log::new());
            let (made, served) = (log.clone(), seen.clone());
            let ports = [
                reactor.listen((&endpoint, &options), move |_| {
                    let made = made.clone();
                    support::Spy::echo().on_made(move |cx| made.note(cx.limits().high))
                })?,
                reactor.serve((&endpoint, &options), async move |conn| {
                    served.note(conn.transport().limits().high);
                    Ok(())
                })?,
            ];
            for port in ports {
                drop(reactor.connect_stream(port.local_addr()).await?);
                port.stop().await?;
            }
            support::until(|| !seen.is_empty() && !log.is_empty()).await;
            assert_eq!((log.take(), seen.take()), (vec!["1000".into()], vec!["1000".into()]));
        }
    }

    async fn the_options_of_a_call_that_connects_hold_for_an_endpoint_value(reactor) {
        let port = reactor.listen(HERE, |_| support::Spy::echo())?;
        let text = format!("tcp:{}", port.local_addr());
        let endpoints = [ClientEndpoint::new(port.local_addr()), ClientEndpoint::parse(&text)?];
        for endpoint in endpoints {
            let options = ConnectOptions::new().limits(high(1000)).bind(([127, 0, 0, 9], 0));
            let conn = reactor.connect_stream((&endpoint, &options)).await?;
            assert_eq!(conn.transport().limits().high, 1000);
            assert_eq!(conn.local_addr()?.ip().unwrap().to_string(), "127.0.0.9");
            let handle = reactor.connect((endpoint, &options), support::Spy::echo()).await?;
            let transport = handle.transport().unwrap();
            assert_eq!(transport.limits().high, 1000);
            transport.lose_connection();
        }
        port.stop().await?;
    }

    async fn each_option_of_an_endpoint_takes_precedence_separately(reactor) {
        let port = reactor.listen(HERE, |_| support::Spy::echo())?;
        let number = port.local_addr().port().unwrap();
        let text = format!("tcp:127.0.0.1:{number}:bindAddress=127.0.0.9");
        let of_its_own = ConnectOptions::new().limits(high(2000));
        let call = ConnectOptions::new().limits(high(1000)).bind(([127, 0, 0, 8], 0));
        for (endpoint, limit, from) in [
            (ClientEndpoint::parse(&text)?, 1000, "127.0.0.9"),
            (ClientEndpoint::parse(&text)?.options(of_its_own.clone()), 2000, "127.0.0.9"),
            (ClientEndpoint::new(port.local_addr()).options(of_its_own), 2000, "127.0.0.8"),
        ] {
            let conn = reactor.connect_stream((endpoint, &call)).await?;
            assert_eq!(conn.transport().limits().high, limit);
            assert_eq!(conn.local_addr()?.ip().unwrap().to_string(), from);
        }
        port.stop().await?;
    }
}

fn high(high: usize) -> Limits {
    Limits {
        high,
        ..Limits::default()
    }
}
