//! The examples of this package.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use torsade::{Failure, Reactor, fail, testing};

/// An example that was started, and ends with this.
pub(crate) struct Example(Child);

/// Returns the path of an example.
pub(crate) fn path(name: &str) -> Result<PathBuf, Failure> {
    let mut path = std::env::current_exe()?;
    path.pop(); // `deps`
    path.pop();
    Ok(path.join("examples").join(name))
}

impl Example {
    /// Starts the example and returns the first line that it prints.
    pub(crate) fn start(name: &str, address: &str) -> Result<(Self, String), Failure> {
        let mut command = Command::new(path(name)?);
        let mut child = command.arg(address).stdout(Stdio::piped()).spawn()?;
        let out = child
            .stdout
            .take()
            .ok_or_else(|| fail!("it has an output"))?;
        let example = Self(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        Ok((example, line.trim().to_owned()))
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn axum_hello_counts_its_visitors_and_ends_by_a_signal() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let (mut example, line) = Example::start("axum_hello", crate::HERE)?;
        let address = line
            .strip_prefix("listening on http://")
            .expect("an address");
        let address = address.trim_end_matches('/').to_owned();
        let mut conn = reactor.connect_stream(address).await?;
        for (path, text) in [
            ("/", "hello, visitor 1\n"),
            ("/", "hello, visitor 2\n"),
            ("/slow/0", "0 seconds later\n"),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            conn.write_all(request.as_bytes()).await?;
            let mut length = 0;
            while let Some(line) = conn.read_line(1000).await?.filter(|line| !line.is_empty()) {
                let line = String::from_utf8(line)?;
                if let Some(number) = line.strip_prefix("content-length: ") {
                    length = number.parse()?;
                }
            }
            let mut body = vec![0; length];
            conn.read_exact(&mut body).await?;
            assert_eq!(String::from_utf8(body)?, text);
        }
        drop(conn);
        let pid = example.0.id().to_string();
        let killed = Command::new("kill").args(["-INT", &pid]).status()?;
        assert!(killed.success());
        assert!(example.0.wait()?.success());
        Ok(())
    });
}
