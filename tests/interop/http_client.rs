//! The agent and foreign servers: Python's, and nginx over HTTP/1 and HTTP/2.
//!
//! A test whose program is missing says so and passes.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use torsade::http::{self, Agent, Bytes, HttpError, Request, header};
use torsade::net::ClientEndpoint;
use torsade::tls::{ClientConfig, Roots};
use torsade::{Clock, Failure, Reactor, defer};

use support::folder::Folder;
use support::foreign::{have, need, python};
use support::program::{PATIENCE, Program};
use support::{HERE, MS};

fn free() -> SocketAddr {
    TcpListener::bind(HERE).unwrap().local_addr().unwrap()
}

/// Requests a page as soon as the server listens.
async fn first(reactor: &Reactor, agent: &Agent, url: &str) -> Result<Bytes, Failure> {
    let patience = reactor.now() + PATIENCE;
    loop {
        match agent.get_page(url).await {
            Err(failure) if failure.is::<HttpError>() && reactor.now() < patience => {
                reactor.sleep(MS * 20).await?;
            }
            page => return page,
        }
    }
}

/// A file of a site.
fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|n| (n % 251) as u8).collect()
}

#[test]
fn pages_come_from_pythons_server() -> Result<(), Failure> {
    let Some(python) = python() else {
        return Ok(());
    };
    let folder = Folder::create();
    fs::write(folder.path("page.txt"), "hello")?;
    fs::write(folder.path("large"), large())?;
    fs::create_dir(folder.path("inner"))?;
    let address = free();
    let mut command = Command::new(python);
    command.args([
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        &address.port().to_string(),
    ]);
    let _program = Program::start(command.current_dir(folder.path(".")));
    torsade::run(async |reactor| {
        let (agent, url) = (Agent::new(), format!("http://{address}"));
        assert_eq!(
            first(&reactor, &agent, &format!("{url}/page.txt")).await?,
            "hello"
        );
        let pages = (0..20).map(|_| agent.get_page(format!("{url}/page.txt")));
        assert_eq!(defer::gather(pages).await?.len(), 20);
        assert!(agent.get_page(format!("{url}/large")).await? == large());
        // A redirect to `/inner/`.
        let response = agent.get(format!("{url}/inner")).await?;
        let found: &http::Uri = response.extensions().get().unwrap();
        assert_eq!(found.path(), "/inner/");
        let failure = http::get_page(format!("{url}/none")).await.unwrap_err();
        let error = failure.downcast_ref();
        assert!(matches!(error, Some(HttpError::Status { status, .. }) if *status == 404));
        // It knows no such method.
        let request = Request::put(format!("{url}/page.txt")).body("x".repeat(100_000))?;
        assert_eq!(agent.request(request).await?.status(), 501);
        let path = folder.path("copy");
        agent
            .download_page(format!("{url}/large"), &path, |_, _| ())
            .await?;
        assert!(fs::read(path)? == large());
        Ok(())
    })
}

/// Starts nginx, which serves a folder and, at `/up/`, echoes nothing; returns its ports: plain,
/// and in TLS.
fn nginx(folder: &Folder) -> (Program, SocketAddr, SocketAddr) {
    let (plain, secure) = (free(), free());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let root = folder.path(".");
    let root = root.display();
    let text = format!(
        "daemon off; pid {root}/pid; error_log {root}/error.log;
         events {{}}
         http {{
           access_log off; keepalive_requests 7; client_max_body_size 50k;
           client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
           uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
           server {{
             listen {plain}; listen unix:{root}/socket; listen {secure} ssl http2;
             ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
             root {root}; location /moved {{ return 302 /page.txt; }}
             location /version {{ return 200 $server_protocol; }}
             location /gone {{ return 307 http://{plain}/version; }}
           }}
         }}"
    );
    fs::write(folder.path("nginx.conf"), text).unwrap();
    let nginx = need("nginx").unwrap_or_else(|| Path::new("/usr/sbin/nginx").to_owned());
    let mut command = Command::new(nginx);
    command
        .arg("-c")
        .arg(folder.path("nginx.conf"))
        .arg("-p")
        .arg(folder.path("."));
    (Program::start(&mut command), plain, secure)
}

#[test]
fn pages_come_from_nginx_over_both_versions() -> Result<(), Failure> {
    if !have("nginx") {
        return Ok(());
    }
    let folder = Folder::create();
    fs::write(folder.path("page.txt"), "hello")?;
    fs::write(folder.path("large"), large())?;
    let (_program, plain, secure) = nginx(&folder);
    torsade::run(async |reactor| {
        let roots = Roots::empty().pem_file(folder.path("cert.pem"))?;
        let agent = Agent::new().tls(ClientConfig::new().roots(roots));
        let (http, https) = (
            format!("http://{plain}"),
            format!("https://localhost:{}", secure.port()),
        );
        assert_eq!(
            first(&reactor, &agent, &format!("{http}/version")).await?,
            "HTTP/1.1"
        );
        assert_eq!(
            agent.get_page(format!("{https}/version")).await?,
            "HTTP/2.0"
        );
        let old = agent.clone().http1_only();
        assert_eq!(old.get_page(format!("{https}/version")).await?, "HTTP/1.1");
        // It closes a connection after seven requests.
        for url in [&http, &https] {
            let pages = (0..100).map(|_| agent.get_page(format!("{url}/page.txt")));
            for page in defer::gather(pages).await? {
                assert_eq!(page, "hello");
            }
            assert!(agent.get_page(format!("{url}/large")).await? == large());
            assert_eq!(agent.get_page(format!("{url}/moved")).await?, "hello");
            let request = Request::head(format!("{url}/large")).body(())?;
            let response = agent.request(request).await?;
            assert_eq!(response.headers()[header::CONTENT_LENGTH], "3000000");
            let put = Request::post(format!("{url}/page.txt")).body("x".repeat(40_000))?;
            assert_eq!(agent.request(put).await?.status(), 405);
            let put = Request::post(format!("{url}/page.txt")).body("x".repeat(60_000))?;
            assert_eq!(agent.request(put).await?.status(), 413);
        }
        assert_eq!(agent.get_page(format!("{https}/gone")).await?, "HTTP/1.1");
        let socket = ClientEndpoint::parse(&format!("unix:{}", folder.path("socket").display()))?;
        let local = Agent::new().connect_to(socket);
        assert_eq!(local.get_page("http://any/page.txt").await?, "hello");
        Ok(())
    })
}
