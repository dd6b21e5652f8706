//! The examples do what their headers say. Those that end by themselves print it; the servers are
//! tested over real sockets.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::{fs, thread};

#[cfg(target_os = "linux")]
use support::program::PATIENCE;
use support::program::{Client, Program};

/// Runs an example that ends by itself, and compares its output with its header.
#[track_caller]
fn check(name: &str, words: &[&str]) {
    let (lines, _) = Program::example(name, words).end();
    assert_eq!(lines, promised(name), "what {name} prints");
}

#[test]
fn await_deferred_prints_what_it_says() {
    check("await_deferred", &[]);
}

#[test]
fn fire_deferred_prints_what_it_says() {
    check("fire_deferred", &[]);
}

#[test]
fn callback_chain_prints_what_it_says() {
    check("callback_chain", &[]);
}

#[test]
fn timers_prints_what_it_says() {
    check("timers", &[]);
}

#[test]
fn looping_prints_what_it_says() {
    check("looping", &[]);
}

#[test]
fn gather_prints_what_it_says() {
    check("gather", &[]);
}

#[test]
fn scopes_prints_what_it_says() {
    check("scopes", &[]);
}

#[test]
fn why_prints_the_tree() {
    let (lines, _) = Program::example("why", &[]).end();
    let text = lines.join("\n");
    let start = lines.iter().position(|line| line.contains("`writer`"));
    let tree: Vec<_> = lines[start.unwrap_or_else(|| panic!("{text}"))..]
        .iter()
        .map(|line| line.trim_start().trim_start_matches("└─ "))
        .collect();
    let expected = [
        "task `writer`, waits (made at ",
        "Deferred, pending (made at examples/why.rs:",
        "lock, held by task `reader` since examples/why.rs:",
        "task `reader`, waits (made at ",
        "Deferred, pending (made at examples/why.rs:",
        "lock, held by task `writer` since examples/why.rs:",
        "task `writer`, which waits for all of these: a deadlock",
    ];
    for (line, begins) in tree.iter().zip(expected) {
        assert!(line.starts_with(begins), "{text}");
    }
    assert_eq!(
        tree.iter().filter(|line| !line.is_empty()).count(),
        7,
        "{text}"
    );
}

#[test]
fn connect_prints_what_it_says() {
    check("connect", &[]);
}

#[test]
fn socks_prints_what_it_says() {
    check("socks", &[]);
}

#[cfg(target_os = "linux")]
#[test]
fn fd_passing_prints_what_it_says() {
    check("fd_passing", &[]);
}

#[test]
fn greeter_prints_what_it_says() {
    check("greeter", &[]);
}

#[test]
fn reconnect_prints_what_it_says() {
    let (lines, _) = Program::example("reconnect", &[]).end();
    let [first, last] = &promised("reconnect")[..] else {
        panic!("two lines are quoted");
    };
    let nth = |nth| first.replace("1st", nth);
    assert_eq!(lines, [nth("1st"), nth("2nd"), nth("3rd"), last.clone()]);
}

#[cfg(unix)]
#[test]
fn signals_prints_what_it_says() {
    check("signals", &[]);
}

#[test]
fn threads_prints_what_it_says() {
    check("threads", &[]);
}

#[test]
fn primes_prints_what_it_says() {
    check("primes", &[]);
}

#[test]
fn multicast_prints_what_it_says() {
    let (lines, _) = Program::example("multicast", &[]).end();
    // The callbacks of Ada and Ben may run in either order.
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(lines), sorted(promised("multicast")));
}

#[test]
fn the_datagram_echo_server_echoes() {
    let server = Program::example("udp_echo", &["127.0.0.1:0"]);
    let address = server.address();
    let (lines, _) = Program::example("udp_echo", &["ask", &address, "one", "two", "three"]).end();
    assert_eq!(lines, ["one", "two", "three"]);
}

#[cfg(unix)]
#[test]
fn wc_prints_every_hook_and_its_counts() {
    let (lines, _) = Program::example("wc", &[]).end();
    let said = promised("wc");
    assert_eq!(lines[0], said[0]);
    assert_eq!(lines.last(), said.last());
    // The pipes and the exit have no order.
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(lines), sorted(said));
}

#[cfg(target_os = "linux")]
#[test]
fn pty_prints_what_it_says() {
    check("pty", &[]);
}

#[cfg(unix)]
#[test]
fn shell_prints_what_it_says() {
    let (mut lines, _) = Program::example("shell", &[]).end();
    assert_eq!(lines, promised("shell"));
    (lines, _) = Program::example("shell", &["echo $((6 * 7))"]).end();
    assert_eq!(lines, ["out: 42", "it ended with exit status: 0"]);
}

#[cfg(target_os = "linux")]
#[test]
fn gpg_decrypts_with_the_right_passphrase() {
    let Some(gpg) = support::foreign::need("gpg") else {
        return;
    };
    let folder = support::folder::Folder::create();
    let (home, file) = (folder.path("home"), folder.path("secret"));
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(&file, "the tower clock is five minutes slow\n").unwrap();
    let made = std::process::Command::new(gpg)
        .args(["--batch", "--quiet", "--pinentry-mode", "loopback"])
        .args(["--passphrase", "sesame", "--symmetric"])
        .arg(&file)
        .env("GNUPGHOME", &home)
        .status()
        .unwrap();
    assert!(made.success());
    let file = file.with_extension("gpg");
    let decrypt = |passphrase| {
        let mut command = std::process::Command::new(support::program::example_path("gpg_decrypt"));
        command.arg(&file).arg(passphrase).env("GNUPGHOME", &home);
        Program::start(&mut command).end_somehow(PATIENCE)
    };
    let (status, lines, observed) = decrypt("sesame");
    assert!(status.success(), "{observed}");
    assert_eq!(lines, ["the tower clock is five minutes slow"]);
    assert!(observed.contains("gpg: DECRYPTION_OKAY\n"), "{observed}");
    let (status, lines, observed) = decrypt("open");
    assert!(!status.success() && lines.is_empty(), "{lines:?}");
    assert!(observed.contains("gpg: DECRYPTION_FAILED\n"), "{observed}");
}

#[cfg(unix)]
#[test]
fn hosts_print_what_they_say() {
    for host in ["tokio_host", "calloop_host", "poll_host"] {
        check(host, &[]);
    }
}

#[test]
fn testing_prints_what_it_says() {
    check("testing", &[]);
}

#[test]
fn countdown_prints_what_it_says() {
    check("countdown", &["5", "0.01"]);
    let (lines, _) = Program::example("countdown", &["1", "0"]).end();
    assert_eq!(lines, ["Start!", "1 ...", "Stop!"]);
}

#[test]
fn falldown_continues_after_the_panic() {
    let (lines, errors) = Program::example("falldown", &[]).end();
    let promised = promised("falldown");
    assert_eq!(lines, [&*promised[0], &*promised[2]]);
    assert!(errors.contains(&promised[1]), "{errors}");
}

#[test]
fn both_echo_servers_echo() {
    for name in ["echo_protocol", "echo_async"] {
        let server = Program::example(name, &["127.0.0.1:0"]);
        let address = server.address();
        let mut clients = [Client::new(&address), Client::new(&address)];
        for client in &mut clients {
            client.say("hello");
        }
        for client in &mut clients {
            client.hears("hello");
        }
        let [mut one, mut other] = clients;
        one.leave();
        other.say("still there?");
        other.hears("still there?");
        other.leave();
    }
}

#[test]
fn a_megabyte_is_echoed_completely() {
    for name in ["echo_protocol", "echo_async"] {
        let server = Program::example(name, &["127.0.0.1:0"]);
        let client = Client::new(&server.address());
        let sent: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
        let (mut half, copy) = (client.stream.try_clone().unwrap(), sent.clone());
        let writer = thread::spawn(move || half.write_all(&copy));
        let mut received = vec![0; sent.len()];
        client.read_exact(&mut received);
        writer.join().unwrap().unwrap();
        assert!(received == sent, "{name} mixed the bytes up");
    }
}

#[test]
fn members_of_the_chat_talk_to_each_other() {
    let server = Program::example("chat", &["127.0.0.1:0"]);
    let address = server.address();

    let mut ada = Client::new(&address);
    ada.hears("What is your name?");
    ada.say("Ada");
    ada.hears("Welcome, Ada!");

    let mut ben = Client::new(&address);
    ben.hears("What is your name?");
    ben.say("Ada");
    ben.hears("Name taken, please choose another.");
    ben.say("Ben");
    ben.hears("Welcome, Ben!");
    ada.hears("Ben has joined");

    let mut cyd = Client::new(&address);
    cyd.hears("What is your name?");
    ada.say("hello");
    ben.hears("<Ada> hello");
    cyd.say("");
    cyd.hears("What is your name?"); // and not what was said before it had one
    cyd.say("Cyd");
    cyd.hears("Welcome, Cyd!");
    ada.hears("Cyd has joined"); // and not its own words
    ben.hears("Cyd has joined");

    ben.leave();
    ada.hears("Ben has left");
    cyd.hears("Ben has left");

    let mut other_ben = Client::new(&address);
    other_ben.hears("What is your name?");
    other_ben.say("Ben");
    other_ben.hears("Welcome, Ben!");
    cyd.hears("Ben has joined");
    other_ben.say("back again");
    cyd.hears("<Ben> back again");
}

#[cfg(target_os = "linux")]
#[test]
fn the_chat_client_reads_a_pipe() {
    use std::process::{Command, Stdio};
    use support::program::example_path;

    let server = Program::example("chat", &["127.0.0.1:0"]);
    let address = server.address();
    let (input, typing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let mut typing = fs::File::from(typing);
    let mut command = Command::new(example_path("stdio_chat"));
    let guest = Program::start_with(command.arg(&address).stdin(Stdio::from(input)));
    drop(command);
    assert_eq!(guest.line(), "What is your name?");
    typing.write_all(b"Ada\n").unwrap();
    assert_eq!(guest.line(), "Welcome, Ada!");
    // Closing the input ends the client; then the server closes the connection.
    drop(typing);
    let (lines, _) = guest.end();
    assert_eq!(lines, ["* the server has left"]);
}

#[cfg(target_os = "linux")]
#[test]
fn members_of_the_unix_chat_are_identified_by_their_credentials() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;

    let folder = support::folder::Folder::create();
    let server = Program::example("unix_chat", &[&format!("{}:mode=600", folder.socket())]);
    assert_eq!(server.address(), folder.socket().to_string());
    assert_eq!(folder.files(), ["socket", "socket.lock"]);
    let join = || {
        let stream = UnixStream::connect(folder.path("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream)
    };
    let hears = |guest: &mut BufReader<UnixStream>, line: &str| {
        let mut heard = String::new();
        guest.read_line(&mut heard).expect(line);
        assert_eq!(heard.trim_end(), line);
    };
    let user = rustix::process::getuid().as_raw();
    let name = format!("user {user}, process {}", std::process::id());
    let mut one = join();
    hears(&mut one, &format!("Welcome, {name}!"));
    let mut other = join();
    hears(&mut other, &format!("Welcome, {name}!"));
    hears(&mut one, &format!("{name} has joined"));
    one.get_mut().write_all(b"hello\r\n").unwrap();
    hears(&mut other, &format!("<{name}> hello"));
    drop(other);
    hears(&mut one, &format!("{name} has left"));
    server.interrupt();
    server.end();
    assert!(folder.files().is_empty());
}

#[test]
fn the_poems_arrive_concurrently_and_the_table_shows_the_results() {
    let (lines, _) = Program::example("poetry", &[]).end();
    let end = lines.iter().position(String::is_empty).unwrap();
    let (shown, table) = (&lines[1..end], &lines[end + 1..]);
    assert!(lines[0].starts_with("torsade: "), "{}", lines[0]);
    assert!(
        table.iter().any(|line| line.starts_with("Next: ")),
        "{table:#?}"
    );

    let ends = [
        ("Hope", "12", "complete"),
        ("The Sick Rose", "8", "complete"),
        ("Who Has Seen the Wind?", "8", "complete"),
        ("Kubla Khan", "5", "reset"),
        ("The Listeners", "0", "refused"),
    ];
    for (title, count, how) in ends {
        let row = row_of(table, title);
        assert!(
            row.contains(&format!(" {count} ")) && row.contains(how),
            "{row}"
        );
    }
    // Concurrent: each poem had begun before any was complete.
    let begun: HashSet<_> = shown[..8]
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(begun.len(), 4, "{shown:#?}");
}

#[test]
fn a_given_poem_is_served_and_fetched() {
    let server = Program::example(
        "poetry",
        &["serve", "127.0.0.1:0", "examples/poems/rose.txt"],
    );
    let address = server.address();
    let (lines, _) = Program::example("poetry", &["get", &address, &address]).end();
    let whole = lines
        .iter()
        .filter(|line| line.ends_with("complete"))
        .count();
    assert_eq!(whole, 2, "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("The invisible worm,"))
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_server_stops_gracefully() {
    let server = Program::example("chat", &["127.0.0.1:0"]);
    let mut guest = Client::new(&server.address());
    guest.hears("What is your name?");
    server.interrupt();
    server.end();
}

/// Returns the texts in backticks after the word `Prints` in an example's header, except those
/// after the word `never`.
fn promised(name: &str) -> Vec<String> {
    let path = format!("{}/examples/{name}.rs", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let header: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .collect();
    let header = header.join(" ");
    let (_, prints) = header
        .split_once("Prints ")
        .expect("a header says what is printed");
    let parts: Vec<&str> = prints.split('`').collect();
    let said = parts
        .chunks_exact(2)
        .filter(|pair| !pair[0].ends_with("never "));
    said.map(|pair| pair[1].to_owned()).collect()
}

#[track_caller]
fn row_of<'a>(table: &'a [String], title: &str) -> &'a str {
    let row = table.iter().find(|line| line.contains(title));
    row.unwrap_or_else(|| panic!("{title} is not in the table: {table:#?}"))
}

/// Sends bytes to an example, closes that side, and returns the answer.
fn answer(name: &str, sent: &[u8]) -> Vec<u8> {
    let server = Program::example(name, &["127.0.0.1:0"]);
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.write_all(sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn the_echoes_of_frames_answer_frame_by_frame() {
    assert_eq!(
        answer("line_echo", b"one\ntwo\r\nquit\nmore\n"),
        b"one\r\ntwo\r\n"
    );
    assert_eq!(
        answer("netstring_echo", b"5:hello,0:,3:no!x"),
        b"5:hello,0:,"
    );
    let sent = b"\0\0\0\x05hello\0\0\0\0\xff\xff\xff\xffx";
    assert_eq!(answer("int32_echo", sent), b"\0\0\0\x05hello\0\0\0\0");
    assert_eq!(answer("own_codec", b"a40;a2;s;a1;s;"), b"42;43;");
    assert_eq!(answer("own_codec", b"a40;s;anything"), b"40;");
}

#[test]
fn an_echo_a_mail_server_and_a_web_server_in_tls_talk_to_themselves() {
    let (lines, _) = Program::example("tls_echo", &[]).end();
    assert!(lines[0].starts_with("listening on 127.0.0.1:"), "{lines:?}");
    assert!(lines[1].starts_with("Tls13, TLS13_"), "{lines:?}");
    assert_eq!(lines[2..], ["hello"]);

    let (lines, _) = Program::example("https_hello", &[]).end();
    assert!(
        lines[0].starts_with("serving at https://127.0.0.1:"),
        "{lines:?}"
    );
    assert_eq!(
        lines[1..],
        ["GET /page", "HTTP/2.0 200 OK", "hello from /page"]
    );

    let (lines, _) = Program::example("starttls", &[]).end();
    let mut lines = lines[1..].to_vec();
    // The server's line may come before or after the client's.
    let mail = lines.iter().position(|line| line.starts_with("mail"));
    assert_eq!(
        lines.remove(mail.unwrap()),
        "mail from <alice@example.org> in TLS"
    );
    let expected = [
        "220 localhost ESMTP",
        "250-localhost",
        "250 STARTTLS",
        "220 go ahead",
        "250 localhost",
        "250 ok",
        "221 bye",
    ];
    assert_eq!(lines, expected);
}

#[cfg(target_os = "linux")]
#[test]
fn many_clients_are_connected_and_answered() {
    let (lines, _) = Program::example("many_clients", &["500", "3"]).end();
    assert_eq!(lines[0], "500 clients in 1 pairs of processes");
    assert_eq!(
        lines.last().unwrap(),
        "500 clients were connected",
        "{lines:?}"
    );
    let is_answered =
        |line: &String| line.starts_with("connected 500 of 500") && !line.contains("answered 0,");
    assert!(lines.iter().any(is_answered), "{lines:?}");
}

#[test]
fn pages_are_requested_all_at_once_and_an_error_is_that_of_its_page() {
    let server = Program::example("http_server", &["127.0.0.1:0", "examples"]);
    let line = server.line();
    let url = line
        .strip_prefix("serving at ")
        .unwrap_or_else(|| panic!("{line}"));
    let (page, missing) = (format!("{url}hello/you"), format!("{url}missing"));
    let (mut lines, _) = Program::example("get_page", &[&page, &missing, "gopher://x/"]).end();
    lines.sort();
    let not_found = format!("{missing}: the status of {missing} is 404 Not Found");
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].starts_with("gopher://x/: cannot request"),
        "{lines:?}"
    );
    assert_eq!(lines[1..], [format!("{page}: 11 bytes"), not_found]);
}
