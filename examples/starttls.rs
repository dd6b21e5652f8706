//! A small mail server that begins TLS when its client asks for it, and a client that does: the
//! protocol as callbacks, the client as async code.
//!
//! Run `cargo run --example starttls [ADDR]`: with an address it only serves there, for example
//! `127.0.0.1:2525`, and `openssl s_client -starttls smtp -connect 127.0.0.1:2525` is its client.
//! Without arguments a client in the same program connects to it. Prints `listening on ADDR`, the
//! lines that the client gets, and, for each mail, `mail from ADDRESS in TLS` or `in the clear`.

use std::env;
use std::error::Error;

use torsade::prelude::*;
use torsade::protocols::{LineProtocol, Lines};
use torsade::tls::{ClientConfig, Identity, Roots, ServerConfig};

/// One client's conversation (RFC 5321, and RFC 3207 for STARTTLS).
struct Smtp {
    tls: ServerConfig,
}

impl LineProtocol for Smtp {
    fn connection_made(&mut self, cx: &mut Context<'_, Self>) {
        cx.write(b"220 localhost ESMTP\r\n");
    }

    fn line_received(&mut self, cx: &mut Context<'_, Self>, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let is_secure = cx.tls().is_some();
        let (command, rest) = line.split_once([' ', ':']).unwrap_or((&*line, ""));
        match command.to_ascii_uppercase().as_str() {
            "EHLO" if is_secure => cx.write(b"250 localhost\r\n"),
            "EHLO" => cx.write(b"250-localhost\r\n250 STARTTLS\r\n"),
            "STARTTLS" if is_secure => cx.write(b"503 TLS is active\r\n"),
            "STARTTLS" => {
                // This line is the last one in the clear. If bytes have come behind the command,
                // the connection ends: they are not from the client, or not only.
                cx.write(b"220 go ahead\r\n");
                drop(cx.start_tls_server(&self.tls));
            }
            "MAIL" => {
                let how = if is_secure { "in TLS" } else { "in the clear" };
                println!("mail {} {how}", rest.to_ascii_lowercase().replace(':', " "));
                cx.write(b"250 ok\r\n");
            }
            "QUIT" => {
                cx.write(b"221 bye\r\n");
                cx.lose_connection();
            }
            _ => cx.write(b"502 not implemented\r\n"),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let identity = Identity::from_pem(made.cert.pem() + &made.signing_key.serialize_pem())?;
    let server = ServerConfig::new(identity);
    let client = ClientConfig::new().roots(Roots::empty().pem(made.cert.pem())?);
    let address = env::args().nth(1);
    torsade::run(async |reactor| {
        let is_server = address.is_some();
        let address = address.unwrap_or_else(|| "127.0.0.1:0".into());
        let port = reactor.listen(address, move |_peer| {
            Lines::new(Smtp {
                tls: server.clone(),
            })
        })?;
        println!("listening on {}", port.local_addr());
        if is_server {
            return reactor.stopped().await;
        }
        let mut conn = reactor.connect_stream(port.local_addr()).await?;
        reply(&mut conn).await?;
        say(&mut conn, "EHLO here").await?;
        say(&mut conn, "STARTTLS").await?;
        conn.start_tls(&client.server_name("localhost")).await?;
        for command in ["EHLO here", "MAIL FROM:<alice@example.org>", "QUIT"] {
            say(&mut conn, command).await?;
        }
        drop(conn);
        port.stop().await
    })?;
    Ok(())
}

/// Sends a command, and prints the reply.
async fn say(conn: &mut Connection, command: &str) -> Result<(), Failure> {
    conn.write_all(format!("{command}\r\n").as_bytes()).await?;
    reply(conn).await
}

/// Prints the lines of a reply; the last one has no hyphen after its number.
async fn reply(conn: &mut Connection) -> Result<(), Failure> {
    while let Some(line) = conn.read_line(512).await? {
        println!("{}", String::from_utf8_lossy(&line));
        if line.get(3) != Some(&b'-') {
            break;
        }
    }
    Ok(())
}
