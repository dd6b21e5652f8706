//! Static files: ranges, conditions, and paths that lead out of the directory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use torsade::http::{self, Body, Response};
use torsade::{Failure, Reactor};

use support::folder::Folder;

/// A directory beside which there is a secret.
fn folder() -> Folder {
    let folder = Folder::create();
    let root = folder.path("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(folder.path("secret"), "secret").unwrap();
    fs::write(root.join("ten.txt"), "0123456789").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("a b.css"), "css").unwrap();
    fs::write(root.join("sub/index.html"), "index").unwrap();
    fs::write(root.join("big"), vec![b'x'; 3 << 20]).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("ten.txt", root.join("in")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
    }
    folder
}

/// Requests with the lines of `head` and returns the head and body of the response.
async fn ask(
    reactor: &Reactor,
    root: &Path,
    request: &str,
    headers: &str,
) -> Result<(String, String), Failure> {
    let port = http::serve("127.0.0.1:0", http::files(root)?)?;
    let mut conn = reactor.connect_stream(port.local_addr()).await?;
    let request = format!("{request} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{headers}\r\n");
    conn.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).await?;
    drop(conn);
    port.stop(Duration::ZERO).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok((format!("{head}\r\n"), body.to_owned()))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    lines
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

on_both! {
    async fn a_file_is_sent_with_its_type_and_length(reactor) {
        let folder = folder();
        let root = folder.path("root");
        let (head, body) = ask(&reactor, &root, "GET /ten.txt", "").await?;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(header(&head, "content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(header(&head, "content-length"), Some("10"));
        assert_eq!(body, "0123456789");
        let (head, body) = ask(&reactor, &root, "HEAD /ten.txt", "").await?;
        assert_eq!(header(&head, "content-length"), Some("10"));
        assert_eq!(body, "");
        assert_eq!(ask(&reactor, &root, "GET /a%20b.css", "").await?.1, "css");
        assert_eq!(ask(&reactor, &root, "GET /in", "").await?.1, "0123456789");
        let (head, body) = ask(&reactor, &root, "GET /empty", "").await?;
        assert!(head.contains("200 OK") && body.is_empty(), "{head}");
        let (_, body) = ask(&reactor, &root, "GET /big", "").await?;
        assert!(body.len() == 3 << 20 && body.bytes().all(|byte| byte == b'x'));
        assert!(ask(&reactor, &root, "POST /ten.txt", "").await?.0.contains("405 Method"));
    }

    async fn a_directory_has_its_index(reactor) {
        let folder = folder();
        let root = folder.path("root");
        let (head, _) = ask(&reactor, &root, "GET /sub", "").await?;
        assert_eq!(header(&head, "location"), Some("/sub/"), "{head}");
        assert_eq!(ask(&reactor, &root, "GET /sub/", "").await?.1, "index");
        assert!(ask(&reactor, &root, "GET /", "").await?.0.contains(" 404 "));
    }

    async fn paths_out_of_the_directory_do_not_exist(reactor) {
        let folder = folder();
        let root = folder.path("root");
        for path in [
            "/../secret", "/%2e%2e/secret", "/sub/../../secret", "/sub/%2e%2e/%2e%2e/secret",
            "/..%2fsecret", "/%2e%2e%2fsecret", "//etc/passwd", "/out", "/up/secret", "/ten.txt%00",
            "/%00", "/%ff", "/ten.txt/", "/ten.txt/x", "/none", "/sub/../ten.txt", "/%2fetc/passwd",
        ] {
            let (head, body) = ask(&reactor, &root, &format!("GET {path}"), "").await?;
            assert!(head.contains(" 404 ") && body.is_empty(), "{path}: {head}{body}");
        }
    }

    async fn one_range_is_sent_alone(reactor) {
        let folder = folder();
        let root = folder.path("root");
        for (range, bytes, content_range) in [
            ("bytes=2-4", "234", "bytes 2-4/10"),
            ("bytes=7-", "789", "bytes 7-9/10"),
            ("bytes=-3", "789", "bytes 7-9/10"),
            ("bytes=0-0", "0", "bytes 0-0/10"),
            ("bytes=5-99", "56789", "bytes 5-9/10"),
        ] {
            let headers = format!("Range: {range}\r\n");
            let (head, body) = ask(&reactor, &root, "GET /ten.txt", &headers).await?;
            assert!(head.contains(" 206 "), "{range}: {head}");
            assert_eq!(header(&head, "content-range"), Some(content_range));
            assert_eq!(body, bytes);
        }
        let (head, body) = ask(&reactor, &root, "GET /ten.txt", "Range: bytes=10-\r\n").await?;
        assert!(head.contains(" 416 ") && body.is_empty(), "{head}");
        assert_eq!(header(&head, "content-range"), Some("bytes */10"));
        for range in ["bytes=0-1,3-4", "lines=1-2", "bytes=x"] {
            let headers = format!("Range: {range}\r\n");
            let (head, body) = ask(&reactor, &root, "GET /ten.txt", &headers).await?;
            assert!(head.contains(" 200 ") && body.len() == 10, "{range}: {head}");
        }
        let headers = "Range: bytes=1048576-2097151\r\n";
        assert_eq!(ask(&reactor, &root, "GET /big", headers).await?.1.len(), 1 << 20);
    }

    async fn a_file_that_the_client_has_is_not_sent_again(reactor) {
        let folder = folder();
        let root = folder.path("root");
        let (head, _) = ask(&reactor, &root, "GET /ten.txt", "").await?;
        let tag = header(&head, "etag").unwrap().to_owned();
        let date = header(&head, "last-modified").unwrap().to_owned();
        for headers in [
            format!("If-None-Match: {tag}\r\n"),
            format!("If-None-Match: \"other\", W/{tag}\r\n"),
            "If-None-Match: *\r\n".to_owned(),
            format!("If-Modified-Since: {date}\r\n"),
        ] {
            let (head, body) = ask(&reactor, &root, "GET /ten.txt", &headers).await?;
            assert!(head.contains(" 304 ") && body.is_empty(), "{headers}: {head}");
        }
        for headers in [
            "If-None-Match: \"other\"\r\n".to_owned(),
            format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {date}\r\n"),
            "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(),
            "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n".to_owned(),
        ] {
            let (head, _) = ask(&reactor, &root, "GET /ten.txt", &headers).await?;
            assert!(head.contains(" 200 "), "{headers}: {head}");
        }
        let headers = format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n");
        assert_eq!(ask(&reactor, &root, "GET /ten.txt", &headers).await?.1, "01");
    }

    async fn a_file_that_shrinks_breaks_the_response_off(reactor) {
        let folder = folder();
        let path = folder.path("root/big");
        let port = http::serve("127.0.0.1:0", async move |_request| {
            let body = Body::file(fs::File::open(&path)?)?;
            fs::OpenOptions::new().write(true).open(&path)?.set_len(1000)?;
            Ok(Response::new(body))
        })?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        conn.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await?;
        let mut answer = Vec::new();
        let error = conn.read_to_end(&mut answer).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        port.stop(Duration::ZERO).await?;
    }

    async fn files_are_sent_one_after_the_other_on_one_connection(reactor) {
        let folder = folder();
        let root = folder.path("root");
        let port = http::serve("127.0.0.1:0", http::files(&root)?)?;
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        for path in ["big", "ten.txt", "big", "empty", "ten.txt"] {
            conn.write_all(format!("GET /{path} HTTP/1.1\r\nHost: here\r\n").as_bytes()).await?;
            conn.write_all(b"Range: bytes=0-2097151\r\n\r\n").await?;
            let length = fs::metadata(root.join(path))?.len().min(2 << 20) as usize;
            while conn.read_line(1000).await?.is_some_and(|line| !line.is_empty()) {}
            let mut body = vec![0; length];
            conn.read_exact(&mut body).await?;
            let begins = if path == "big" { "xx" } else { &"01"[..length.min(2)] };
            assert_eq!(&body[..length.min(2)], begins.as_bytes());
        }
        drop(conn);
        port.stop(Duration::ZERO).await?;
    }
}
