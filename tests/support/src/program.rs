//! Other programs: started, read from, and ended; and a plain client for servers.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A program that runs. It is killed when this is dropped.
pub struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Program {
    /// Starts an example.
    pub fn example(name: &str, words: &[&str]) -> Self {
        Self::start(Command::new(example_path(name)).args(words))
    }

    /// Starts any program.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command.stdin(Stdio::null()))
    }

    /// Starts a program that reads the given input.
    pub fn start_with(command: &mut Command) -> Self {
        let path = PathBuf::from(command.get_program());
        let mut child = command
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; `cargo build --examples` makes the examples",
                    path.display()
                )
            });
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self {
            name: path.file_name().unwrap().to_string_lossy().into(),
            child,
            lines,
            errors: Some(errors),
        }
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the address of a server: the first thing that it prints.
    #[track_caller]
    pub fn address(&self) -> String {
        let line = self.line();
        let address = line.strip_prefix("listening on ");
        address
            .unwrap_or_else(|| panic!("{}: {line}", self.name))
            .into()
    }

    /// Returns its next line.
    #[track_caller]
    pub fn line(&self) -> String {
        let line = self.line_within(PATIENCE);
        line.unwrap_or_else(|| panic!("{} says nothing", self.name))
    }

    /// Returns its next line, if it comes in time.
    pub fn line_within(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Waits until it has ended, and returns its lines and its standard error.
    #[track_caller]
    pub fn end(self) -> (Vec<String>, String) {
        self.end_within(PATIENCE)
    }

    /// The same, with as much patience as is given.
    #[track_caller]
    pub fn end_within(self, patience: Duration) -> (Vec<String>, String) {
        let name = self.name.clone();
        let (status, lines, errors) = self.end_somehow(patience);
        assert!(status.success(), "{name}: {status}\n{lines:#?}\n{errors}");
        (lines, errors)
    }

    /// The same for a program that need not end well.
    #[track_caller]
    pub fn end_somehow(mut self, patience: Duration) -> (ExitStatus, Vec<String>, String) {
        let deadline = Instant::now() + patience;
        let mut lines = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} does not go on: {lines:#?}", self.name)
                }
            }
        }
        let errors = self.errors.take().unwrap().join().unwrap();
        (self.child.wait().unwrap(), lines, errors)
    }

    /// Interrupts it, as Ctrl-C does.
    #[track_caller]
    pub fn interrupt(&self) {
        let id = self.id().to_string();
        let status = Command::new("kill").args(["-INT", &id]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of `std::net`, that waits only so long.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    #[track_caller]
    pub fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    #[track_caller]
    pub fn say(&mut self, line: &str) {
        self.stream
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
    }

    #[track_caller]
    pub fn hears(&mut self, line: &str) {
        let mut heard = String::new();
        self.reader.read_line(&mut heard).expect(line);
        assert_eq!(heard.trim_end(), line);
    }

    pub fn read_exact(&self, buffer: &mut [u8]) {
        (&self.stream).read_exact(buffer).unwrap();
    }

    /// Says the end, and waits for the other side's.
    #[track_caller]
    pub fn leave(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

/// Where cargo puts an example: beside the tests.
pub fn example_path(name: &str) -> PathBuf {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    folder_above_this_program(2).join("examples").join(file)
}

/// The folder of all that cargo builds.
pub fn target_folder() -> PathBuf {
    folder_above_this_program(3)
}

/// A test lies in `deps` of its profile's folder, which lies in the target folder.
fn folder_above_this_program(levels: usize) -> PathBuf {
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(levels);
    folder.expect("a test lies in `deps`").to_owned()
}

/// Where a program is, if it is there.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut programs = env::split_paths(&path).map(|folder| folder.join(name));
    programs.find(|program| program.is_file())
}

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
