//! The second provider of torsade's cryptography, which everything else is tested without: it takes
//! a minute to build.

use torsade::net::{ClientEndpoint, ServerEndpoint};
use torsade::tls::{ClientConfig, Identity, Provider, Roots, ServerConfig};

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
}
