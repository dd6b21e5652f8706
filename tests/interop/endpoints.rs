//! The text of endpoints, read by Twisted (`twisted_endpoints.py`) and by torsade: the same text is
//! the same endpoint with the same defaults, except for a list with reasons. Without Twisted the
//! test says so and passes.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use support::foreign::{say, script, twisted};
use torsade::net::{ClientEndpoint, ServerEndpoint, quote};

/// Text that both read in the same way, or both refuse.
const SERVERS: &[&str] = &[
    "tcp:80",
    "tcp:port=80",
    "tcp:80:interface=127.0.0.1",
    "tcp:interface=127.0.0.1:80",
    "tcp:interface=127.0.0.1:port=80",
    r"tcp:80:interface=\:\:1",
    r"tcp:80:interface=127\.0.0\.1",
    "tcp:+80",
    "tcp:0",
    "tcp:65535",
    "tcp:80:backlog=7",
    "tcp:80:backlog=0",
    "tcp6:80",
    "tcp6:port=80:backlog=9",
    r"tcp6:80:interface=\:\:1",
    "unix:/run/chat",
    "unix:address=/run/chat",
    "unix:/run/chat:mode=660",
    "unix:/run/chat:mode=0600",
    "unix:/run/chat:mode=660:backlog=7:lockfile=0",
    "unix:lockfile=1:/run/chat",
    r"unix:/run/a\:b",
    r"unix:/run/a\=b",
    r"unix:/run/a\\b",
    "unix:address=/run/a=b",
    "unix:address=/run/a=b=c:mode=600",
    r"unix:addres\s=/run/chat",
    "unix:/run/with a space",
    "stdio:",
    "systemd:domain=INET:index=0",
    "systemd:domain=INET6:name=admin",
    "systemd:index=1:domain=UNIX",
    "haproxy:tcp:80",
    "haproxy:tcp:80:interface=127.0.0.1:backlog=7",
    "haproxy:unix:/run/chat:mode=600",
    "HAProxy:tcp6:80",
    // Refused.
    "",
    ":",
    "80",
    "tcp",
    "tcp:",
    "tcp:http",
    "tcp:80.5",
    "tcp:80:colour=blue",
    "tcp:80:port=81",
    "tcp:80:backlog=many",
    r"tcp:80\",
    "tcp:backlog=7",
    "unix",
    "unix:mode=600",
    "unix:/run/a=b",
    "unix:/run/chat:mode=888",
    "unix:/run/chat:mode=rw",
    "unix:/run/chat:lockfile=yes",
    "tcp:80:interface=:7",
    "systemd:domain=INET",
    "systemd:domain=INET:index=0:name=web",
    "systemd:domain=INET:index=web",
    "systemd:domain=MOON:index=0",
    "udp:80",
    "haproxy:",
    "haproxy:80",
    "ssl:443:privateKey=/nonexistent",
    "example.org:80",
];

const CLIENTS: &[&str] = &[
    "tcp:example.org:80",
    "tcp:host=example.org:port=80",
    "tcp:port=80:host=example.org",
    "tcp:example.org:port=80",
    "tcp:host=example.org:80",
    "tcp:80:host=example.org",
    "TCP:example.org:80",
    "Tcp:example.org:80",
    r"tcp:\:\:1:80",
    r"tcp:host=fe80\:\:1:port=80",
    "tcp:example.org:80:timeout=5",
    "tcp:example.org:80:bindAddress=10.0.0.2",
    "tcp:timeout=5:example.org:80:bindAddress=10.0.0.2",
    "unix:/run/chat",
    "unix:path=/run/chat",
    "unix:/run/chat:timeout=5",
    "unix:/run/chat:timeout=5:lockfile=1",
    "UNIX:/run/chat:lockfile=0",
    r"unix:/run/a\:b\\c",
    "unix:path=/run/a=b",
    // Refused.
    "",
    "tcp",
    "tcp:",
    "tcp:example.org",
    "tcp:host=example.org",
    "tcp:port=80",
    "tcp:example.org:http",
    "tcp:example.org:80:81",
    "tcp:example.org:80:timeout=soon",
    "tcp:example.org:80:timeout=1.5",
    "tcp:example.org:80:colour=blue",
    "udp:example.org:80",
    "unix:/run/chat:mode=600",
    "unix:/run/chat:lockfile=yes",
    "haproxy:tcp:example.org:80",
    r"tcp:example.org:80\",
];

/// Text that is read differently on purpose: the text, Twisted's result, ours, and the reason.
const DIFFERENT_SERVERS: &[(&str, &str, &str, &str)] = &[
    (
        "127.0.0.1:80",
        "error",
        "127.0.0.1:80 backlog=50",
        "an address is an endpoint",
    ),
    (
        "[::1]:80",
        "error",
        "[::1]:80 backlog=50",
        "an address is an endpoint",
    ),
    (
        "TCP:80",
        "error",
        "0.0.0.0:80 backlog=50",
        "types are read in either case, as clients' are",
    ),
    (
        "UNIX:/run/chat",
        "error",
        "unix:/run/chat mode=666 backlog=50 lock=1",
        "types are read in either case",
    ),
    (
        "tcp:80:127.0.0.1",
        "127.0.0.1:80 backlog=50",
        "error",
        "only what must be there goes without its name",
    ),
    ("stdio:1", "stdio:", "error", "nothing is passed over"),
    (
        "tcp:80:interface=localhost",
        "localhost:80 backlog=50",
        "127.0.0.1:80 or [::1]:80 backlog=50",
        "localhost is this host by either family",
    ),
    (
        "tcp:80:interface=nowhere",
        "nowhere:80 backlog=50",
        "error",
        "what cannot be listened at is refused when it is read",
    ),
    (
        "tcp:65536",
        "0.0.0.0:65536 backlog=50",
        "error",
        "what cannot be listened at is refused when it is read",
    ),
    (
        "tcp:-1",
        "0.0.0.0:-1 backlog=50",
        "error",
        "what cannot be listened at is refused when it is read",
    ),
    (
        "tcp: 80",
        "0.0.0.0:80 backlog=50",
        "error",
        "numbers are digits",
    ),
    (
        "tcp:8_0",
        "0.0.0.0:80 backlog=50",
        "error",
        "numbers are digits",
    ),
    (
        "tcp:80:backlog=1:backlog=2",
        "0.0.0.0:80 backlog=2",
        "error",
        "nothing is passed over",
    ),
    (
        "unix:",
        "unix: mode=666 backlog=50 lock=1",
        "error",
        "a path is not empty",
    ),
    (
        "unix:@chat",
        "unix:@chat mode=666 backlog=50 lock=1",
        "unix:@chat mode=666 backlog=50 lock=1",
        "here it is a name outside the file system, which has no lock",
    ),
    (
        "unix:path=/run/chat",
        "error",
        "unix:/run/chat mode=666 backlog=50 lock=1",
        "it is called as with clients",
    ),
    (
        "unix:/run/chat:mode=1777",
        "unix:/run/chat mode=1777 backlog=50 lock=1",
        "error",
        "a mode is of nine bits",
    ),
    (
        "unix:/run/chat:mode=0o600",
        "unix:/run/chat mode=600 backlog=50 lock=1",
        "error",
        "a mode is of octal digits",
    ),
    (
        "unix:/run/chat:lockfile=2",
        "unix:/run/chat mode=666 backlog=50 lock=1",
        "error",
        "yes and no are 1 and 0",
    ),
    (
        "stdio",
        "stdio:",
        "error",
        "a type is followed by a colon; a bare word may be a slip",
    ),
    (
        "systemd:index=0",
        "error",
        "given 3 any",
        "the family may be left out",
    ),
    (
        "systemd:domain=AF_INET:index=0",
        "error",
        "given 3 INET",
        "the family by its full name",
    ),
    (
        "systemd:domain=INET:index=7",
        "error",
        "given 10 INET",
        "what was given is looked for when it is listened with",
    ),
    (
        "systemd:domain=INET:name=nobody",
        "error",
        "given nobody INET",
        "what was given is looked for when it is listened with",
    ),
    (
        "fd:3",
        "error",
        "given 3 any",
        "Twisted's is made in code, not in text",
    ),
    (
        "haproxy:127.0.0.1:80",
        "error",
        "haproxy:127.0.0.1:80 backlog=50",
        "an address is an endpoint",
    ),
    (
        "haproxy:tcp:80:trust=127.0.0.1",
        "error",
        "haproxy:0.0.0.0:80 backlog=50",
        "the trusted peers can be named",
    ),
];

const DIFFERENT_CLIENTS: &[(&str, &str, &str, &str)] = &[
    (
        "example.org:80",
        "error",
        "example.org:80 timeout=30 bind=none",
        "an address is an endpoint",
    ),
    (
        "[::1]:80",
        "error",
        "[::1]:80 timeout=30 bind=none",
        "an address is an endpoint",
    ),
    (
        "tcp:example.org:65536",
        "example.org:65536 timeout=30 bind=none",
        "error",
        "there is no such port",
    ),
    (
        "tcp:example.org:-1",
        "example.org:-1 timeout=30 bind=none",
        "error",
        "there is no such port",
    ),
    (
        "tcp::80",
        ":80 timeout=30 bind=none",
        "error",
        "a host is not empty",
    ),
    (
        "tcp:example.org:80:timeout=-1",
        "example.org:80 timeout=-1 bind=none",
        "error",
        "no time is less than none",
    ),
    (
        "tcp:example.org:80:bindAddress=home",
        "example.org:80 timeout=30 bind=home",
        "error",
        "our own address is not looked up",
    ),
    (
        "unix:",
        "unix: timeout=30 lock=0",
        "error",
        "a path is not empty",
    ),
    (
        "unix:address=/run/chat",
        "error",
        "unix:/run/chat timeout=30 lock=0",
        "it is called as with servers",
    ),
];

#[test]
fn the_same_text_is_the_same_endpoint() {
    let Some(twisted) = twisted() else { return };
    let mut child = Command::new(twisted)
        .arg(script("twisted_endpoints.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let quoted: Vec<String> = ["a:b", "a=b", r"a\b", r"\:=\\", "=", "é"]
        .into_iter()
        .map(|path| format!("unix:{}:lockfile=0", quote(&format!("/run/{path}"))))
        .collect();
    let servers = SERVERS
        .iter()
        .copied()
        .chain(quoted.iter().map(|text| &**text));
    let all: Vec<(bool, &str, Option<[&str; 2]>)> = servers
        .map(|text| (true, text, None))
        .chain(CLIENTS.iter().map(|text| (false, *text, None)))
        .chain(
            DIFFERENT_SERVERS
                .iter()
                .map(|(text, one, other, _)| (true, *text, Some([*one, *other]))),
        )
        .chain(
            DIFFERENT_CLIENTS
                .iter()
                .map(|(text, one, other, _)| (false, *text, Some([*one, *other]))),
        )
        .collect();
    let lines: String = all
        .iter()
        .map(|(server, text, _)| format!("{} {text}\n", if *server { "server" } else { "client" }))
        .collect();
    let mut input = child.stdin.take().unwrap();
    let writing = thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), all.len(), "{said}");
    let mut wrong = Vec::new();
    for (theirs, (is_server, text, expected)) in said.lines().zip(&all) {
        let theirs = theirs.strip_prefix("error ").map_or(theirs, |_| "error");
        let ours = if *is_server {
            server(text)
        } else {
            client(text)
        };
        let [one, other] = expected.unwrap_or([theirs, theirs]);
        if (theirs, &*ours) != (one, other) {
            wrong.push(format!("{text:?}: Twisted: {theirs}; we: {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    say(&format!(
        "{} texts were read by Twisted and by us",
        all.len()
    ));
}

fn server(text: &str) -> String {
    let Ok(endpoint) = ServerEndpoint::parse(text) else {
        return "error".into();
    };
    let (shown, inside) = (endpoint.to_string(), format!("{endpoint:?}"));
    let (proxy, shown) = match shown.strip_prefix("haproxy:") {
        Some(rest) => ("haproxy:", rest),
        None => ("", &*shown),
    };
    let said = match shown.split_once(':') {
        Some(("unix", path)) => {
            let mode: u32 = field(&inside, "mode").map_or(0o666, |mode| mode.parse().unwrap());
            let lock = u8::from(field(&inside, "lock_file") != Some("false"));
            let backlog = backlog(&inside);
            format!(
                "unix:{} mode={mode:o} backlog={backlog} lock={lock}",
                bare(path)
            )
        }
        Some(("stdio", _)) => "stdio:".into(),
        Some(("systemd" | "fd", which)) => given(which),
        _ => format!("{shown} backlog={}", backlog(&inside)),
    };
    format!("{proxy}{said}")
}

/// Returns the backlog. Our default is 1,024 on purpose, Twisted's is 50.
fn backlog(inside: &str) -> &str {
    field(inside, "backlog").unwrap_or("50")
}

fn client(text: &str) -> String {
    let Ok(endpoint) = ClientEndpoint::parse(text) else {
        return "error".into();
    };
    let (shown, inside) = (endpoint.to_string(), format!("{endpoint:?}"));
    let timeout = field(&inside, "timeout").map_or("30", |set| set.strip_suffix('s').unwrap());
    match shown.strip_prefix("unix:") {
        Some(path) => {
            let lock = u8::from(field(&inside, "lock_file") == Some("true"));
            format!("unix:{} timeout={timeout} lock={lock}", bare(path))
        }
        None => {
            let bind = field(&inside, "bind");
            let bind = bind.map_or("none", |own| own.split_once(':').unwrap().0);
            format!("{shown} timeout={timeout} bind={bind}")
        }
    }
}

/// Returns the value of a field in the debug text.
fn field<'a>(inside: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = inside.split_once(&format!(" {name}: ")).unwrap();
    rest.strip_prefix("Some(")?.split([',', ' ', ')']).next()
}

/// Removes the quotes of a path.
fn bare(path: &str) -> String {
    let (mut bare, mut chars) = (String::new(), path.chars());
    while let Some(char) = chars.next() {
        bare.extend(if char == '\\' {
            chars.next()
        } else {
            Some(char)
        });
    }
    bare
}

/// Names the descriptor, of two that are called `web` and `admin`.
fn given(which: &str) -> String {
    let (which, family) = which.split_once(":domain=").unwrap_or((which, "any"));
    let number = match which.split_once('=') {
        Some(("index", index)) => (index.parse::<u32>().unwrap() + 3).to_string(),
        Some((_, "web")) => "3".into(),
        Some((_, "admin")) => "4".into(),
        Some((_, name)) => name.into(),
        None => which.into(),
    };
    format!("given {number} {family}")
}
