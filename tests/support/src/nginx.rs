//! nginx, on a port of this computer.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use torsade::process::{Child, Command};
use torsade::{Clock, Failure, Reactor};

use crate::folder::Folder;
use crate::foreign::need;

/// An nginx that runs. It is killed when this is dropped.
pub struct Nginx {
    /// Where it listens.
    pub address: String,
    _child: Child,
    _folder: Folder,
}

impl Nginx {
    /// Starts it, if it is installed, with a server of files. `more` are directives of the server.
    pub async fn start(
        reactor: &Reactor,
        root: &Path,
        more: &str,
    ) -> Result<Option<Self>, Failure> {
        let Some(program) = need("nginx") else {
            return Ok(None);
        };
        // The system gives this port to no other socket so soon.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let folder = Folder::create();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = temporary
            .iter()
            .map(|kind| format!("{kind}_temp_path {};\n", folder.path(kind).display()))
            .collect();
        let config = format!(
            "daemon off; master_process off; pid {pid}; error_log stderr; events {{}}
            http {{ {temporary} access_log off; types {{ text/html html; }}
            server {{ listen {address}; root {root}; {more} }} }}",
            pid = folder.path("pid").display(),
            root = root.display(),
        );
        let path = folder.path("nginx.conf");
        fs::write(&path, config)?;
        let command = Command::new(program).arg("-c").arg(path);
        let child = command.kill_on_drop(true).spawn(reactor)?;
        while reactor.connect_stream(&address).await.is_err() {
            assert!(child.pid().is_some(), "nginx has ended");
            reactor.sleep(Duration::from_millis(10)).await?;
        }
        Ok(Some(Self {
            address,
            _child: child,
            _folder: folder,
        }))
    }
}
