//! The fields of `tls:` and `ssl:` in an endpoint's text.

use std::path::Path;

use crate::failure::Failure;
use crate::net::endpoint::EndpointFields;
use crate::tls::{ClientConfig, Identities, Identity, Roots, ServerConfig};

/// Reads a server's identities: from the fields `privateKey`, `certKey` and `extraCertChain`, or
/// from a directory, where `dir` names one.
pub(in crate::net) fn server(
    fields: &mut EndpointFields<'_>,
    dir: Option<&str>,
) -> Result<ServerConfig, Failure> {
    if let Some(dir) = dir {
        let identities = Identities::new();
        identities.set_from_dir(dir)?;
        return Ok(ServerConfig::new(identities));
    }
    let key = fields
        .take("privateKey")
        .unwrap_or_else(|| "server.pem".into());
    let identity = identity(fields, &key)?;
    Ok(ServerConfig::new(identity))
}

/// Reads how a client speaks TLS, from `trustRoots` or `caCertsDir`, `hostname`, and `certificate`
/// or `certKey` with `privateKey`.
pub(in crate::net) fn client(fields: &mut EndpointFields<'_>) -> Result<ClientConfig, Failure> {
    let mut config = ClientConfig::new();
    if let Some(path) = fields
        .take("trustRoots")
        .or_else(|| fields.take("caCertsDir"))
    {
        let roots = Roots::empty();
        config = config.roots(match Path::new(&path).is_dir() {
            true => roots.pem_dir(path)?,
            false => roots.pem_file(path)?,
        });
    }
    if let Some(name) = fields.take("hostname") {
        config = config.server_name(name);
    }
    if let Some(key) = fields.take("privateKey") {
        config = config.identity(identity(fields, &key)?);
    } else if let Some(path) = fields
        .take("certificate")
        .or_else(|| fields.take("certKey"))
    {
        config = config.identity(Identity::from_pem_files(&path, &path)?);
    }
    Ok(config)
}

/// Reads the certificates that belong to a key: by default they are in the same file.
fn identity(fields: &mut EndpointFields<'_>, key: &str) -> Result<Identity, Failure> {
    let certificate = fields
        .take("certificate")
        .or_else(|| fields.take("certKey"));
    let certificate = certificate.unwrap_or_else(|| key.into());
    let chain = fields.take("extraCertChain");
    Identity::from_pem_files_with(
        certificate.as_ref(),
        chain.as_deref().map(Path::new),
        key.as_ref(),
    )
}
