//! Passes a few verses to `wc`, and prints each event of the child process.
//!
//! Run `cargo run --example wc`. Prints `made`, then in order of arrival `input closed`, `wrote 6
//! 44 219`, `output closed`, `errors closed`, `exited with exit status: 0`, and last `ended: 6
//! lines, 44 words, 219 bytes`.

use torsade::process::{Command, ExitStatus, Process, ProcessProtocol};
use torsade::{Context, Failure};

const VERSES: &str = "\
The wheels within the tower clock
Turn round by round, and none will mock
The one small spring that lets them go:
It waits, it wakes, it waits; and so
A thousand things are done in time
By one who only keeps the chime.
";

#[derive(Default)]
struct Count {
    figures: String,
}

type Cx<'a> = Context<'a, Count, Process>;

impl ProcessProtocol for Count {
    fn connection_made(&mut self, cx: &mut Cx<'_>) {
        println!("made");
        cx.write(VERSES);
        cx.close_stdin();
    }

    fn out_received(&mut self, _cx: &mut Cx<'_>, data: &[u8]) {
        self.figures += &String::from_utf8_lossy(data);
        let words: Vec<_> = self.figures.split_whitespace().collect();
        println!("wrote {}", words.join(" "));
    }

    fn err_received(&mut self, _cx: &mut Cx<'_>, data: &[u8]) {
        println!("complained: {}", String::from_utf8_lossy(data));
    }

    fn in_connection_lost(&mut self, _cx: &mut Cx<'_>) {
        println!("input closed");
    }

    fn out_connection_lost(&mut self, _cx: &mut Cx<'_>) {
        println!("output closed");
    }

    fn err_connection_lost(&mut self, _cx: &mut Cx<'_>) {
        println!("errors closed");
    }

    fn process_exited(&mut self, _cx: &mut Cx<'_>, exited: Result<ExitStatus, Failure>) {
        match exited {
            Ok(status) => println!("exited with {status}"),
            Err(failure) => println!("exited: {failure}"),
        }
    }

    fn process_ended(&mut self, ended: Result<ExitStatus, Failure>) {
        if ended.is_err() {
            return;
        }
        let mut figures = self.figures.split_whitespace();
        let mut next = || figures.next().unwrap_or("?");
        let (lines, words, bytes) = (next(), next(), next());
        println!("ended: {lines} lines, {words} words, {bytes} bytes");
    }
}

fn main() -> Result<(), Failure> {
    torsade::run(async |reactor| {
        let wc = Command::new("wc").spawn_protocol(&reactor, Count::default())?;
        wc.closed().await?;
        Ok(())
    })
}
