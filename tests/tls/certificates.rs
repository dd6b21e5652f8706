//! Certificates: which are accepted, which are not and why, and those of clients.

use std::cell::RefCell;
use std::rc::Rc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa};
use rustls::pki_types::pem::PemObject;

use crate::certs::{Authority, Dir, authority, here, pair, tls_error, to};
use support::{some_turns, until};
use torsade::tls::{
    CertificateProblem, ClientAuth, ClientConfig, Identities, Identity, Roots, ServerConfig,
    TlsError,
};
use torsade::{Failure, Reactor};

/// Connects to a server with this certificate; returns the problem that the client has with it.
async fn problem_with(
    reactor: &Reactor,
    pem: &str,
    client: ClientConfig,
) -> Result<Option<CertificateProblem>, Failure> {
    let server = ServerConfig::new(Identity::from_pem(pem)?);
    let port = reactor.serve(here().tls(server), async |_conn| Ok(()))?;
    let connected = reactor.connect_stream(to(&port).tls(client)).await;
    let problem = match connected {
        Ok(_) => None,
        Err(failure) => match tls_error(&failure) {
            TlsError::Certificate { problem } => Some(problem.clone()),
            other => panic!("{other}"),
        },
    };
    until(|| port.connections() == 0).await;
    port.stop().await?;
    Ok(problem)
}

fn issued(change: impl FnOnce(&mut CertificateParams)) -> String {
    authority().issue("localhost", change)
}

on_both! {
    async fn a_certificate_is_accepted_or_its_problem_is_named(reactor) {
        use CertificateProblem as P;
        let (_, client) = pair();
        let year = |year| rcgen::date_time_ymd(year, 1, 1);
        let expired = issued(|params| {
            (params.not_before, params.not_after) = (year(2020), year(2021));
        });
        let early = issued(|params| {
            (params.not_before, params.not_after) = (year(2999), year(3000));
        });
        let for_clients = issued(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        let stranger = Authority::new().issue("localhost", |_| {});
        let wrong = |name: &str| P::WrongName {
            expected: "localhost".into(),
            presented: vec![format!("DnsName({name:?})")],
        };
        for (pem, problem) in [
            (issued(|_| {}), None),
            (expired, Some(P::Expired)),
            (early, Some(P::NotYetValid)),
            (stranger, Some(P::UnknownIssuer)),
            (authority().issue("example.org", |_| {}), Some(wrong("example.org"))),
            (authority().issue("*.localhost", |_| {}), Some(wrong("*.localhost"))),
        ] {
            assert_eq!(problem_with(&reactor, &pem, client.clone()).await?, problem);
        }
        let problem = problem_with(&reactor, &for_clients, client.clone()).await?;
        assert!(matches!(problem, Some(P::Other { .. })), "{problem:?}");
        // A name in the subject alone does not count (RFC 9110, section 4.3.4).
        let common = authority().issue("example.org", |params| {
            params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
        });
        assert!(problem_with(&reactor, &common, client.clone()).await?.is_some());
        // No intermediate certificate is missing when an authority stands behind another.
        let problem = problem_with(&reactor, &issued(|_| {}), client.clone().roots(Roots::webpki())).await?;
        assert_eq!(problem, Some(P::UnknownIssuer));
    }

    async fn names_are_compared_as_the_standard_says(reactor) {
        let client = ClientConfig::new().roots(authority().roots());
        for (certificate, name, is_accepted) in [
            ("a.example.org", "a.example.org", true),
            ("a.example.org", "A.Example.ORG", true),
            ("a.example.org", "a.example.org.", true),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "a.b.example.org", false),
            ("*.example.org", "example.org", false),
            ("a.example.org", "b.example.org", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("::1", "::1", true),
            ("::1", "[::1]", true),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", true),
        ] {
            let pem = authority().issue(certificate, |_| {});
            let client = client.clone().server_name(name);
            let problem = problem_with(&reactor, &pem, client).await?;
            assert_eq!(problem.is_none(), is_accepted, "{certificate} for {name}: {problem:?}");
        }
        let port = reactor.serve(here().tls(pair().0), async |_conn| Ok(()))?;
        for name in ["bücher.example", "", "a b", "*.example.org"] {
            let failure = reactor.connect_stream(to(&port).tls(client.clone().server_name(name))).await.unwrap_err();
            let expected = format!("{name:?} is not the name of a server");
            assert!(failure.to_string().ends_with(&expected), "{failure}");
        }
        port.stop().await?;
    }

    async fn a_pinned_key_is_required_besides_all_else(reactor) {
        let (_, client) = pair();
        let pem = issued(|_| {});
        let seen = Rc::new(RefCell::new(Vec::new()));
        let server = ServerConfig::new(Identity::from_pem(&pem)?);
        let port = reactor.serve(here().tls(server), async |_conn| Ok(()))?;
        let conn = reactor.connect_stream(to(&port).tls(client.clone())).await?;
        seen.replace(conn.transport().tls().unwrap().peer_certificates);
        drop(conn);
        port.stop().await?;
        let certificate = rustls::pki_types::CertificateDer::from(seen.borrow()[0].clone());
        let parsed = rustls::server::ParsedCertificate::try_from(&certificate).unwrap();
        let key = parsed.subject_public_key_info();
        let pin: [u8; 32] = sha256(&key);
        assert_eq!(problem_with(&reactor, &pem, client.clone().pin([0; 32]).pin(pin)).await?, None);
        let problem = problem_with(&reactor, &pem, client.clone().pin([0; 32])).await?;
        assert_eq!(problem, Some(CertificateProblem::NotPinned));
        // The pin alone is not enough.
        let other = client.roots(Authority::new().roots()).pin(pin);
        assert_eq!(problem_with(&reactor, &pem, other).await?, Some(CertificateProblem::UnknownIssuer));
    }

    async fn the_certificate_of_an_authority_is_not_accepted_for_a_server(reactor) {
        let (_, client) = pair();
        let pem = issued(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        let problem = problem_with(&reactor, &pem, client).await?.unwrap();
        let CertificateProblem::Other { problem } = problem else {
            panic!("{problem:?}");
        };
        assert_eq!(problem, "it is that of an authority (CA:TRUE), which is not accepted for a peer");
    }

    async fn a_pinned_key_counts_only_where_it_has_issued_the_certificate(reactor) {
        let pin = |pem: &str| {
            let certificate = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let parsed = rustls::server::ParsedCertificate::try_from(&certificate).unwrap();
            sha256(&parsed.subject_public_key_info())
        };
        let (other, pem) = (Authority::new(), issued(|_| {}));
        let client = pair().1.roots(authority().roots().pem(other.pem())?);
        // An issuer that the server sends along.
        let with_issuer = pem.clone() + &authority().pem();
        let pinned = client.clone().pin(pin(&authority().pem()));
        assert_eq!(problem_with(&reactor, &with_issuer, pinned.clone()).await?, None);
        // Certificates that are public, and have nothing to do with the one of the server.
        let stranger = other.issue("localhost", |_| {});
        for (added, pinned) in [(authority().pem(), pinned), (pem.clone(), client.clone().pin(pin(&pem)))] {
            let problem = problem_with(&reactor, &(stranger.clone() + &added), pinned).await?;
            assert_eq!(problem, Some(CertificateProblem::NotPinned));
        }
    }

    async fn clients_prove_themselves_where_they_have_to(reactor) {
        let (server, client) = pair();
        let roots = authority().roots();
        let known = client.clone().identity(authority().identity("alice"));
        let unknown = client.clone().identity(Authority::new().identity("mallory"));
        for (auth, accepted) in [
            (ClientAuth::None, [true, true, true]),
            (ClientAuth::Optional(roots.clone()), [true, true, false]),
            (ClientAuth::Required(roots.clone()), [false, true, false]),
        ] {
            let counts = Rc::new(RefCell::new(Vec::new()));
            let seen = counts.clone();
            let server = server.clone().client_auth(auth.clone());
            let port = reactor.serve(here().tls(server), async move |mut conn| {
                let tls = conn.transport().tls().unwrap();
                seen.borrow_mut().push(tls.peer_certificates.len());
                Ok(conn.write_all(b"x").await?)
            })?;
            let mut results = Vec::new();
            for client in [&client, &known, &unknown] {
                // In TLS 1.3 a client learns only after its handshake that it is refused.
                let result = match reactor.connect_stream(to(&port).tls(client.clone())).await {
                    Ok(mut conn) => conn.read_exact(&mut [0]).await.map_err(Failure::from),
                    Err(failure) => Err(failure),
                };
                results.push(result.is_ok());
            }
            assert_eq!(results, accepted, "{auth:?}");
            until(|| port.connections() == 0).await;
            let expected: &[usize] = match auth {
                ClientAuth::None => &[0, 0, 0],
                ClientAuth::Optional(_) => &[0, 1],
                _ => &[1],
            };
            assert_eq!(*counts.borrow(), expected);
            port.stop().await?;
        }
    }

    async fn a_refused_client_learns_why(reactor) {
        let (server, client) = pair();
        let auth = ClientAuth::Required(authority().roots());
        let port = reactor.serve(here().tls(server.client_auth(auth)), async |_conn| Ok(()))?;
        let mut conn = reactor.connect_stream(to(&port).tls(client)).await?;
        let error = conn.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        let reason = conn.transport().reason().unwrap();
        let alert = TlsError::Alert { alert: "it requires a certificate of this end".into() };
        assert_eq!(*tls_error(&reason), alert);
        drop(conn);
        some_turns().await;
        port.stop().await?;
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().unwrap().common.hash_provider;
    hash.hash(bytes).as_ref().try_into().unwrap()
}

#[test]
fn what_cannot_be_used_is_named() {
    let dir = Dir::new();
    let (one, two) = (issued(|_| {}), issued(|_| {}));
    let certificate = |pem: &str| pem[..pem.find("-----BEGIN PRIVATE").unwrap()].to_owned();
    let key = |pem: &str| pem[pem.find("-----BEGIN PRIVATE").unwrap()..].to_owned();
    dir.write("one.pem", &one);
    dir.write("empty/readme.txt", "");
    let problem = |result: Result<Identity, Failure>| result.unwrap_err().to_string();
    let path = dir.path();
    for (found, expected) in [
        (
            problem(Identity::from_pem(certificate(&one))),
            "the PEM text has no private key",
        ),
        (
            problem(Identity::from_pem(key(&one))),
            "the PEM text has no certificate",
        ),
        (
            problem(Identity::from_pem(certificate(&one) + &key(&two))),
            "keys may not be consistent",
        ),
        (
            problem(Identity::from_pem("-----BEGIN CERTIFICATE-----\n???")),
            "the PEM text",
        ),
        (
            problem(Identity::from_der([], Vec::new())),
            "there is no certificate",
        ),
        (
            problem(Identity::from_pem_files("/nowhere/c.pem", "k.pem")),
            "/nowhere/c.pem: No such file",
        ),
        (
            Roots::empty()
                .pem_dir(format!("{path}/empty"))
                .unwrap_err()
                .to_string(),
            "empty: no file's name ends in .pem",
        ),
        (
            Identities::new()
                .set_from_dir(format!("{path}/empty"))
                .unwrap_err()
                .to_string(),
            "empty: no file's name ends in .pem",
        ),
        (
            Roots::empty().pem("nothing").unwrap_err().to_string(),
            "the PEM text has no certificate",
        ),
    ] {
        assert!(
            found.starts_with("cannot use TLS as configured: "),
            "{found}"
        );
        assert!(found.contains(expected), "{found}");
    }
    Identities::new().set_from_dir(&path).unwrap();
    let roots = Roots::empty().pem_dir(&path).unwrap();
    assert!(format!("{roots:?}").contains('1'));
}
