//! A bot that logs a channel of IRC into a file, and stays connected.
//!
//! Run `cargo run --example irc_logbot ADDR CHANNEL FILE [NICK]`, for instance `127.0.0.1:6667
//! '#test' test.log`. Prints `connected to ADDR` and `joined CHANNEL`, each time. The bot answers
//! users who address it (`logbot: hello`) or whisper to it, and says goodbye when it is stopped by
//! Ctrl-C. The times in the log are UTC.

use std::cell::RefCell;
use std::env;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use torsade::net::Backoff;
use torsade::prelude::*;
use torsade::protocols::irc::{Irc, IrcClient, IrcError, IrcProtocol, Prefix, Settings, Text};
use torsade::services::{ClientService, Service};

/// The log, which outlives the connections.
#[derive(Clone)]
struct Log(Rc<RefCell<File>>);

impl Log {
    fn open(path: &str) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self(Rc::new(RefCell::new(file))))
    }

    fn note(&self, what: impl Display) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = now.unwrap_or_default().as_secs() % 86_400;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let line = format!("[{hour:02}:{minute:02}:{second:02}] {what}\n");
        if let Err(error) = self.0.borrow_mut().write_all(line.as_bytes()) {
            eprintln!("cannot write the log: {error}");
        }
    }
}

struct LogBot {
    channel: String,
    log: Log,
}

impl LogBot {
    /// Answers a message, if it asks for that.
    fn answer(
        &self,
        irc: &Irc<'_, Self>,
        user: &Prefix,
        target: &Text,
        text: &Text,
    ) -> Result<(), IrcError> {
        let nick = irc.nick();
        if irc.is_me(target) {
            let words = "It isn't nice to whisper! Play nice with the group.";
            irc.msg(&user.nick, words)?;
        } else if text.to_str().starts_with(&format!("{nick}:")) {
            let answer = format!("{}: I am a log bot", user.nick);
            irc.say(target, &answer)?;
            self.log.note(format_args!("<{nick}> {answer}"));
        }
        Ok(())
    }
}

impl IrcProtocol for LogBot {
    fn connection_made(&mut self, irc: &mut Irc<'_, Self>) {
        let peer = irc.context().peer();
        println!("connected to {peer}");
        self.log.note(format_args!("[connected to {peer}]"));
    }

    fn signed_on(&mut self, irc: &mut Irc<'_, Self>) {
        if let Err(error) = irc.join(&self.channel) {
            eprintln!("cannot join: {error}");
        }
    }

    fn joined(&mut self, _irc: &mut Irc<'_, Self>, channel: &Text) {
        println!("joined {channel}");
        self.log.note(format_args!("[I have joined {channel}]"));
    }

    fn privmsg(&mut self, irc: &mut Irc<'_, Self>, user: &Prefix, target: &Text, text: &Text) {
        self.log.note(format_args!("<{}> {text}", user.nick));
        if let Err(error) = self.answer(irc, user, target, text) {
            eprintln!("cannot answer {user}: {error}");
        }
    }

    fn action(&mut self, _irc: &mut Irc<'_, Self>, user: &Prefix, _target: &Text, text: &Text) {
        self.log.note(format_args!("* {} {text}", user.nick));
    }

    fn user_joined(&mut self, _irc: &mut Irc<'_, Self>, user: &Prefix, channel: &Text) {
        self.log
            .note(format_args!("{} has joined {channel}", user.nick));
    }

    fn user_left(
        &mut self,
        _irc: &mut Irc<'_, Self>,
        user: &Prefix,
        channel: &Text,
        _reason: &Text,
    ) {
        self.log
            .note(format_args!("{} has left {channel}", user.nick));
    }

    fn user_renamed(&mut self, _irc: &mut Irc<'_, Self>, user: &Prefix, nick: &Text) {
        self.log
            .note(format_args!("{} is now known as {nick}", user.nick));
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.note(format_args!("[disconnected: {reason}]"));
    }
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [address, channel, file, nick @ ..] = &words[..] else {
        return Err(Failure::new("usage: irc_logbot ADDR CHANNEL FILE [NICK]"));
    };
    let log = Log::open(file)?;
    let settings = Settings::new(nick.first().map_or("logbot", |nick| nick))
        .realname("a log bot")
        .version("irc_logbot, an example of torsade")
        .line_rate(5, Duration::from_secs(1));
    let (channel, bots_log) = (channel.clone(), log.clone());
    torsade::run(async |reactor| {
        let build = move || {
            let (channel, log) = (channel.clone(), bots_log.clone());
            IrcClient::new(LogBot { channel, log }, settings.clone())
        };
        let service = ClientService::new(&reactor, &address[..], build)?
            .backoff(Backoff::new().initial(Duration::from_millis(500)));
        service.start()?;
        reactor.stopped().await?;

        if let Ok(client) = service
            .when_connected()
            .timeout(Duration::ZERO, &reactor)
            .await
        {
            client
                .ask(|client, _cx| client.sender().quit("good bye"))
                .await??;
            client.closed().await?;
        }
        service.stop().await?;
        log.note("[stopped: good bye]");
        Ok(())
    })
}
