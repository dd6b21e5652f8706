//! The web server of the examples, asked by curl, Python, `h2load`, `wrk` and by hand; and the
//! reverse proxy before it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::folder::Folder;
use support::foreign::{httpx, need, python};
use support::program::Program;

const PATIENCE: Duration = Duration::from_secs(20);

/// The server of the examples with a separate folder.
struct Server {
    program: Program,
    address: String,
    folder: Folder,
}

impl Server {
    fn start() -> Self {
        let folder = Folder::create();
        fs::write(folder.path("ten.txt"), "0123456789").unwrap();
        fs::write(folder.path("big"), vec![b'x'; 5 << 20]).unwrap();
        let path = folder.path("").display().to_string();
        let program = Program::example("http_server", &["127.0.0.1:0", &path]);
        let address = program.line().replace("serving at ", "");
        Self {
            program,
            address: address.trim_end_matches('/').to_owned(),
            folder,
        }
    }

    /// Runs curl with these words, of which the last is a path. Returns what it prints.
    fn curl(&self, words: &[&str]) -> String {
        let (path, words) = words.split_last().unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20"]).args(words);
        let output = curl
            .arg(format!("{}{path}", self.address))
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "curl {words:?} {path}: {complaint}"
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sends bytes and returns all that comes back until the server closes.
    fn raw(&self, bytes: &str) -> String {
        let mut stream = TcpStream::connect(self.address.replace("http://", "")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Ends the server by SIGINT, as a user does.
    fn end(self) -> Vec<String> {
        self.program.interrupt();
        let (_, lines, _) = self.program.end_somehow(PATIENCE);
        lines
    }
}

#[test]
fn curl_gets_pages_by_each_version_and_keeps_its_connection() {
    if need("curl").is_none() {
        return;
    }
    let server = Server::start();
    for version in [
        "--http1.0",
        "--http1.1",
        "--http2",
        "--http2-prior-knowledge",
    ] {
        let code = [
            "-w",
            "%{http_version} %{num_connects}",
            version,
            "/hello/you",
        ];
        let text = server.curl(&code);
        let expected = match version {
            "--http1.0" => "1",
            "--http2-prior-knowledge" => "2",
            _ => "1.1",
        };
        assert!(text.starts_with("hello, you\n"), "{version}: {text}");
        assert!(text.contains(expected), "{version}: {text}");
    }
    let again = format!("{}/hello/again", server.address);
    let text = server.curl(&["-w", "%{num_connects}\n", &again, "/hello/you"]);
    assert_eq!(text, "hello, again\n1\nhello, you\n0\n");
    let log = server.end().join("\n");
    assert_eq!(log.matches("status=200").count(), 6, "{log}");
    assert!(
        log.contains("target=/hello/you") && log.contains("version=HTTP/2.0"),
        "{log}"
    );
}

#[test]
fn curl_uploads_with_a_length_in_chunks_and_after_100_continue() {
    if need("curl").is_none() {
        return;
    }
    let server = Server::start();
    let big = server.folder.path("big").display().to_string();
    let back = server.folder.path("back").display().to_string();
    for words in [
        &["-T", &big, "-o", &back, "/echo"][..],
        &[
            "-T",
            &big,
            "-H",
            "Transfer-Encoding: chunked",
            "-o",
            &back,
            "/echo",
        ],
        &["-T", &big, "--http2-prior-knowledge", "-o", &back, "/echo"],
        &[
            "--data-binary",
            &format!("@{big}"),
            "-H",
            "Expect: 100-continue",
            "-o",
            &back,
            "/echo",
        ],
    ] {
        server.curl(words);
        assert_eq!(
            fs::read(&back).unwrap(),
            fs::read(&big).unwrap(),
            "{words:?}"
        );
        fs::remove_file(&back).unwrap();
    }
    let text = server.curl(&[
        "-v",
        "--stderr",
        "-",
        "-d",
        "hello",
        "-H",
        "Expect: 100-continue",
        "/echo",
    ]);
    assert!(
        text.contains("HTTP/1.1 200 OK") && text.contains("\nhello"),
        "{text}"
    );
    server.end();
}

#[test]
fn curl_gets_files_parts_of_them_and_heads() {
    if need("curl").is_none() {
        return;
    }
    let server = Server::start();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(server.curl(&[version, "/ten.txt"]), "0123456789");
        assert_eq!(server.curl(&[version, "-r", "2-4", "/ten.txt"]), "234");
        assert_eq!(server.curl(&[version, "-r", "-2", "/ten.txt"]), "89");
        assert_eq!(server.curl(&[version, "/big"]).len(), 5 << 20);
        let head = server.curl(&[version, "-I", "/ten.txt"]);
        assert!(head.contains("content-length: 10"), "{head}");
        let code = server.curl(&[version, "--path-as-is", "-w", "%{http_code}", "/../secret"]);
        assert_eq!(code, "404");
    }
    server.end();
}

#[test]
fn requests_that_are_pipelined_are_answered_in_turn() {
    let server = Server::start();
    let requests: String = (0..50)
        .map(|number| format!("GET /hello/{number} HTTP/1.1\r\nHost: here\r\n\r\n"))
        .collect();
    let last = "GET /ten.txt HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    let answer = server.raw(&(requests + last));
    assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 51);
    let mut rest = &answer[..];
    for number in 0..50 {
        let (before, after) = rest.split_once(&format!("hello, {number}\n")).unwrap();
        assert_eq!(before.matches("hello, ").count(), 0);
        rest = after;
    }
    assert!(rest.ends_with("\r\n\r\n0123456789"));
    server.end();
}

#[test]
fn pythons_client_keeps_its_connection() {
    let Some(python) = python() else { return };
    let server = Server::start();
    let script = "
import http.client, sys
conn = http.client.HTTPConnection(sys.argv[1])
conn.request('GET', '/hello/python')
response = conn.getresponse()
assert (response.status, response.read()) == (200, b'hello, python\\n')
sock = conn.sock
conn.request('POST', '/echo', body=iter([b'one', b'two']), encode_chunked=True,
             headers={'Transfer-Encoding': 'chunked'})
response = conn.getresponse()
assert (response.status, response.read()) == (200, b'onetwo')
conn.request('HEAD', '/ten.txt')
response = conn.getresponse()
assert (response.getheader('content-length'), response.read()) == ('10', b'')
conn.request('GET', '/ten.txt', headers={'Range': 'bytes=3-5'})
response = conn.getresponse()
assert (response.status, response.read()) == (206, b'345')
assert conn.sock is sock
print('all')
";
    let address = server.address.replace("http://", "");
    run_python(&python.display().to_string(), script, &address);
    server.end();
}

#[test]
fn httpx_speaks_both_versions() {
    let Some(python) = httpx() else {
        return;
    };
    let server = Server::start();
    let script = "
import httpx, sys
for http1 in (True, False):
    with httpx.Client(base_url=sys.argv[1], http1=http1, http2=not http1) as client:
        response = client.get('/hello/httpx')
        assert (response.status_code, response.text) == (200, 'hello, httpx\\n')
        assert response.http_version == ('HTTP/1.1' if http1 else 'HTTP/2')
        echo = client.post('/echo', content=iter([b'one', b'two']))
        assert echo.content == b'onetwo'
        with client.stream('GET', '/big') as response:
            assert sum(map(len, response.iter_bytes())) == 5 << 20
        part = client.get('/ten.txt', headers={'range': 'bytes=-3'})
        assert (part.status_code, part.content) == (206, b'789')
        assert client.get('/none').status_code == 404
print('all')
";
    run_python(&python.display().to_string(), script, &server.address);
    server.end();
}

/// Runs a script that prints `all` at its end.
#[track_caller]
fn run_python(python: &str, script: &str, address: &str) {
    let output = Command::new(python).args(["-c", script, address]).output();
    let output = output.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"all\n", "{complaint}");
}

#[test]
fn wrk_and_h2load_have_every_request_answered() {
    if need("wrk").is_none() {
        return;
    }
    if need("h2load").is_none() {
        return;
    }
    let server = Server::start();
    let url = format!("{}/hello/load", server.address);
    let wrk = Command::new("wrk")
        .args(["-t1", "-c16", "-d1s", &url])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&wrk.stdout);
    assert!(
        text.contains("requests in") && !text.contains("Non-2xx"),
        "{text}"
    );
    assert!(!text.contains("Socket errors"), "{text}");
    for words in [&["--h1"][..], &["-m10"]] {
        let h2load = Command::new("h2load")
            .args(["-c16", "-n2000"])
            .args(words)
            .arg(&url)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&h2load.stdout);
        assert!(
            text.contains(" 2000 succeeded, 0 failed"),
            "{words:?}: {text}"
        );
    }
    server.end();
}

#[test]
fn a_reverse_proxy_passes_bodies_both_ways_also_in_tls() {
    if need("curl").is_none() {
        return;
    }
    if need("openssl").is_none() {
        return;
    }
    let server = Server::start();
    let (cert, key) = (
        server.folder.path("cert.pem"),
        server.folder.path("key.pem"),
    );
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args([
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-keyout", &key, "-out", &cert])
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let big = server.folder.path("big").display().to_string();
    let back = server.folder.path("back").display().to_string();
    for tls in [&[][..], &[&*cert, &*key]] {
        let words = [&["127.0.0.1:0", &*server.address], tls].concat();
        let program = Program::example("reverse_proxy", &words);
        let line = program.line().replace("serving at ", "");
        let scheme = if tls.is_empty() { "http" } else { "https" };
        let proxy = Server {
            program,
            address: format!("{scheme}://{line}"),
            folder: Folder::create(),
        };
        for version in ["--http1.1", "--http2"] {
            let words = [
                "--cacert",
                &*cert,
                version,
                "-w",
                " %{http_version}",
                "/hello/proxy",
            ];
            let text = proxy.curl(&words);
            assert!(text.starts_with("hello, proxy\n"), "{text}");
            let is_http2 = version == "--http2" && scheme == "https";
            assert!(
                text.ends_with(if is_http2 { " 2" } else { " 1.1" }),
                "{text}"
            );
            proxy.curl(&[
                "--cacert", &*cert, version, "-T", &*big, "-o", &*back, "/echo",
            ]);
            assert_eq!(fs::read(&back).unwrap(), fs::read(&big).unwrap());
            assert_eq!(
                proxy.curl(&["--cacert", &*cert, version, "-r", "1-2", "/ten.txt"]),
                "12"
            );
        }
        proxy.end();
    }
    server.end();
}
