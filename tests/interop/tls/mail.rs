//! STARTTLS: `openssl s_client` and Exim deliver mail to our server, and our client to Exim. (Exim
//! has GnuTLS in it.)

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use super::certs::{Dir, here};
use super::{config, connect, end, file, files, free, have_openssl, limited, roots, text};
use support::foreign::need;
use support::{Log, until};
use torsade::net::ClientEndpoint;
use torsade::process::{Child, Command};
use torsade::protocols::{LineProtocol, Lines};
use torsade::tls::{ClientConfig, ServerConfig};
use torsade::{Context, Failure, Port, Reactor, testing};

/// A mail server that notes what it receives, and whether that came in TLS.
struct Server {
    tls: ServerConfig,
    log: Log,
    is_text: bool,
}

impl LineProtocol for Server {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.write(b"220 localhost ESMTP\r\n");
    }

    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let is_secure = cx.tls().is_some();
        let line = String::from_utf8_lossy(line);
        self.log.note(format!("{is_secure} {line}"));
        if self.is_text {
            if line == "." {
                self.is_text = false;
                cx.write(b"250 ok\r\n");
            }
            return;
        }
        match line.split(' ').next() {
            Some("EHLO") => cx.write(b"250-localhost\r\n250 STARTTLS\r\n"),
            Some("STARTTLS") => {
                cx.write(b"220 go ahead\r\n");
                drop(cx.start_tls_server(&self.tls));
            }
            Some("DATA") => {
                self.is_text = true;
                cx.write(b"354 go on\r\n");
            }
            Some("QUIT") => {
                cx.write(b"221 bye\r\n");
                cx.lose_connection();
            }
            _ => cx.write(b"250 ok\r\n"),
        }
    }
}

fn serve(reactor: &Reactor, log: &Log) -> Result<Port, Failure> {
    let (log, tls) = (log.clone(), config("rsa"));
    reactor.listen(here(), move |_| {
        Lines::new(Server {
            tls: tls.clone(),
            log: log.clone(),
            is_text: false,
        })
    })
}

#[test]
fn openssl_starts_tls_at_our_mail_server() {
    if !have_openssl() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&[]);
        let log = Log::new();
        let port = serve(&reactor, &log)?;
        for version in ["-tls1_2", "-tls1_3"] {
            let command = limited("openssl")
                .args(["s_client", "-connect", &port.local_addr().to_string()])
                .args(["-CAfile", &file(&dir, "ca.pem"), "-verify_return_error"])
                .args([
                    "-quiet",
                    "-starttls",
                    "smtp",
                    "-name",
                    "here",
                    version,
                    "-crlf",
                ]);
            let output = command.input("NOOP\nQUIT\n").output(&reactor).await?;
            let said = text(&output);
            assert!(output.status.success(), "{said}");
            assert!(
                said.contains("250 ok") && said.contains("221 bye"),
                "{said}"
            );
            let all = [
                "false EHLO here",
                "false STARTTLS",
                "true NOOP",
                "true QUIT",
            ];
            assert_eq!(log.take(), all);
        }
        port.stop().await
    });
}

/// A client that sends a mail in TLS.
struct Client {
    tls: ClientConfig,
    steps: std::vec::IntoIter<&'static str>,
    log: Log,
}

impl LineProtocol for Client {
    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        if line.get(3..4) == Some("-") {
            return;
        }
        self.log.note(&line[..3]);
        if !line.starts_with(['2', '3']) {
            return cx.abort_connection();
        }
        match self.steps.next() {
            Some("start") => {
                drop(cx.start_tls(&self.tls));
                cx.write(b"EHLO here\r\n");
            }
            Some(step) => cx.write(format!("{step}\r\n").as_bytes()),
            None => cx.lose_connection(),
        }
    }
}

/// Starts Exim as a server that takes mail in TLS only, and passes it on to a port in TLS only.
fn exim(reactor: &Reactor, dir: &Dir, at: SocketAddr, next: u16) -> Result<Child, Failure> {
    let spool = file(dir, "spool");
    fs::create_dir_all(&spool)?;
    // Exim runs as another user.
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o777))?;
    let (pem, ca) = (file(dir, "rsa.pem"), file(dir, "ca.pem"));
    let conf = format!(
        "primary_hostname = localhost\ndaemon_smtp_ports = {}\nlocal_interfaces = {}\n\
         spool_directory = {spool}\nlog_file_path = {spool}/log_%s\nkeep_environment =\n\
         tls_advertise_hosts = *\ntls_certificate = {pem}\ntls_privatekey = {pem}\n\
         acl_smtp_rcpt = rcpt\nacl_smtp_data = accept\nbegin acl\n\
         rcpt:\n deny condition = ${{if eq{{$tls_in_cipher}}{{}}}}\n accept\n\
         begin routers\nnext:\n driver = manualroute\n route_list = * localhost byname\n \
         self = send\n transport = out\n\
         begin transports\nout:\n driver = smtp\n port = {next}\n allow_localhost\n \
         hosts_require_tls = *\n tls_verify_certificates = {ca}\n tls_verify_hosts = *\n \
         tls_verify_cert_hostnames = *\n",
        at.port(),
        at.ip(),
    );
    dir.write("exim.conf", &conf);
    let path = file(dir, "exim.conf");
    Command::new("exim4")
        .args(["-bdf", "-C", &path])
        .spawn(reactor)
}

#[test]
fn our_client_gives_a_mail_to_exim_which_gives_it_to_our_server_all_in_tls() {
    if !have_openssl() || need("exim4").is_none() {
        return;
    }
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let dir = files(&["rsa"]);
        let received = Log::new();
        let port = serve(&reactor, &received)?;
        let at = free();
        let exim = exim(&reactor, &dir, at, port.local_addr().port().unwrap())?;
        drop(connect(&reactor, &at.to_string()).await?);
        let steps = vec![
            "EHLO here",
            "STARTTLS",
            "start",
            "MAIL FROM:<alice@example.org>",
            "RCPT TO:<bob@example.org>",
            "DATA",
            "Subject: strands\r\n\r\nThree of them.\r\n.",
            "QUIT",
        ];
        let log = Log::new();
        let client = Lines::new(Client {
            tls: ClientConfig::new().roots(roots()).server_name("localhost"),
            steps: steps.into_iter(),
            log: log.clone(),
        });
        reactor
            .connect(ClientEndpoint::parse(&at.to_string())?, client)
            .await?;
        until(|| log.all().len() >= 9).await;
        let replies = [
            "220", "250", "220", "250", "250", "250", "354", "250", "221",
        ];
        assert_eq!(log.take(), replies);
        until(|| received.all().iter().any(|line| line.contains("QUIT"))).await;
        let lines = received.take();
        let start = lines
            .iter()
            .position(|line| line == "false STARTTLS")
            .unwrap();
        for line in [
            "true MAIL FROM:<alice@example.org>",
            "true RCPT TO:<bob@example.org>",
            "true Subject: strands",
            "true Three of them.",
            "true .",
        ] {
            let found = lines.iter().position(|other| other.starts_with(line));
            assert!(found.is_some_and(|at| at > start), "{line:?}: {lines:#?}");
        }
        end(exim).await?;
        port.stop().await
    });
}
