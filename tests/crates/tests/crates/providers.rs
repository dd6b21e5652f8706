//! The second provider of torsade's cryptography, which everything else is tested without: it takes
//! a minute to build.

use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::tls::{ClientConfig, Identity, Provider, Roots, ServerConfig, TlsError};

use crate::HERE;

on_both! {
    async fn both_providers_of_cryptography_understand_each_other(reactor) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        for (server, client) in [
            (Provider::AwsLcRs, Provider::AwsLcRs),
            (Provider::AwsLcRs, Provider::Ring),
            (Provider::Ring, Provider::AwsLcRs),
        ] {
            let identity = Identity::from_pem(format!("{certificate}{key}"))?;
            let server = ServerConfig::new(identity).provider(server);
            let endpoint = ServerEndpoint::parse(HERE)?.tls(server);
            let port = reactor.serve(endpoint, async |mut conn| {
                let line = conn.read_line(80).await?;
                Ok(conn.write_all(&line.unwrap_or_default()).await?)
            })?;
            let roots = Roots::empty().pem(&certificate)?;
            let client = ClientConfig::new().roots(roots).provider(client);
            let endpoint = ClientEndpoint::new(port.local_addr());
            let endpoint = endpoint.tls(client.server_name("localhost"));
            let mut conn = reactor.connect_stream(endpoint).await?;
            conn.write_all(b"hello\n").await?;
            let mut received = Vec::new();
            conn.read_to_end(&mut received).await?;
            assert_eq!(received, b"hello");
            drop(conn);
            port.stop().await?;
        }
    }

    async fn a_key_needs_a_provider_that_supports_it(reactor) {
        let identity = Identity::from_pem(P521)?;
        let server = ServerConfig::new(identity.clone());
        let endpoint = ServerEndpoint::parse(HERE)?;
        let serve = |server| {
            reactor.serve(endpoint.clone().tls(server), async |mut conn| {
                Ok(conn.write_all(b"hello").await?)
            })
        };
        let failure = serve(server.clone()).unwrap_err();
        assert!(failure.find::<TlsError>().is_some(), "{failure:#}");
        let port = serve(server.provider(Provider::AwsLcRs))?;
        for provider in [Provider::Ring, Provider::AwsLcRs] {
            let client = ClientConfig::new().roots(Roots::empty().pem(P521)?);
            let client = client.server_name("localhost");
            let endpoint = |client| ClientEndpoint::new(port.local_addr()).tls(client);
            let with_key = client.clone().provider(provider).identity(identity.clone());
            let connected = reactor.connect_stream(endpoint(with_key)).await;
            assert_eq!(connected.is_ok(), provider == Provider::AwsLcRs);
            let Ok(mut conn) = connected else { continue };
            let mut received = Vec::new();
            conn.read_to_end(&mut received).await?;
            assert_eq!(received, b"hello");
        }
        port.stop().await?;
    }
}

/// A certificate for `localhost` with a key of ECDSA P-521, which *ring* does not support.
const P521: &str = "\
-----BEGIN CERTIFICATE-----
MIIBkzCB9aADAgECAgEBMAoGCCqGSM49BAMEMAAwIBcNMDAwMTAxMDAwMDAwWhgP
MjEwMDAxMDEwMDAwMDBaMAAwgZswEAYHKoZIzj0CAQYFK4EEACMDgYYABABohu9r
9JJdBsFxGYZ3/osf11DoVlYSp8HqYf2it/hfZmJTGao20TqljlkHt7V2c02nlXDy
TCjRQ/pmAIcceqGdbwCyfLpIcQ5DSO8fsyDwZZq1tz73z4Pb8CpNVvV+htajOG6S
YSY4ZXVsyHZwHb0o5aepO7lrZfyEkpx0joteMoHtUqMbMBkwFwYDVR0RAQH/BA0w
C4IJbG9jYWxob3N0MAoGCCqGSM49BAMEA4GMADCBiAJCAYOUYXotoW0zepWmxueT
D/Fvx2j9/LNpxnuVGPRTrGkrcGe3xHKKPgCzSEfJHpO9ooZHVFvYQQX4mM6u+Ixq
dDaGAkIB2KtUwg6kslK98Ll3E6ZHLwdMuraeM50AW5TiuGDmRTu5yd5F00gn5I/a
0syNhVlYzHljgVLd+cLYcS5SLxnD5z8=
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAUGrgNaqWNEvDXEjG
YQS9SBiJ/zyjqJPB4VdWzATrfeWr72O0cZ19y8mP1QFW1OeLq4r3/4KVO9LUWzSn
gsO5jvyhgYkDgYYABABohu9r9JJdBsFxGYZ3/osf11DoVlYSp8HqYf2it/hfZmJT
Gao20TqljlkHt7V2c02nlXDyTCjRQ/pmAIcceqGdbwCyfLpIcQ5DSO8fsyDwZZq1
tz73z4Pb8CpNVvV+htajOG6SYSY4ZXVsyHZwHb0o5aepO7lrZfyEkpx0joteMoHt
Ug==
-----END PRIVATE KEY-----
";
