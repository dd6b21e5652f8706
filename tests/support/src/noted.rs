//! A protocol for processes that notes its hooks.

use std::process::ExitStatus;

use torsade::process::{Process, ProcessProtocol};
use torsade::{Context, Failure};

use crate::Log;

type Cx<'a> = Context<'a, Noted, Process>;
type Hook<A> = Option<Box<dyn FnMut(&Process, A)>>;

/// Records its hooks, and calls the functions that the test set.
pub struct Noted {
    log: Log,
    made: Hook<()>,
    data: Hook<(i32, Vec<u8>)>,
    closed: Hook<i32>,
    exited: Hook<()>,
    ready: Hook<i32>,
    is_quiet: bool,
}

impl Noted {
    pub fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            made: None,
            data: None,
            closed: None,
            exited: None,
            ready: None,
            is_quiet: false,
        }
    }

    /// Does not record received bytes.
    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    pub fn on_made(mut self, mut hook: impl FnMut(&Process) + 'static) -> Self {
        self.made = Some(Box::new(move |process, ()| hook(process)));
        self
    }

    pub fn on_data(mut self, mut hook: impl FnMut(&Process, i32, &[u8]) + 'static) -> Self {
        self.data = Some(Box::new(move |process, (fd, data)| {
            hook(process, fd, &data)
        }));
        self
    }

    pub fn on_closed(mut self, hook: impl FnMut(&Process, i32) + 'static) -> Self {
        self.closed = Some(Box::new(hook));
        self
    }

    pub fn on_exited(mut self, mut hook: impl FnMut(&Process) + 'static) -> Self {
        self.exited = Some(Box::new(move |process, ()| hook(process)));
        self
    }

    pub fn on_ready(mut self, hook: impl FnMut(&Process, i32) + 'static) -> Self {
        self.ready = Some(Box::new(hook));
        self
    }
}

/// Describes how a process ended, in a word or two.
pub fn describe_exit(ended: &Result<ExitStatus, Failure>) -> String {
    use std::os::unix::process::ExitStatusExt;

    match ended {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap()),
        },
        Err(failure) => format!("{failure}"),
    }
}

impl ProcessProtocol for Noted {
    fn connection_made(&mut self, cx: &mut Cx<'_>) {
        self.log.note("made");
        if let Some(hook) = &mut self.made {
            hook(cx, ());
        }
    }

    fn child_data_received(&mut self, cx: &mut Cx<'_>, fd: i32, data: &[u8]) {
        assert!(!data.is_empty(), "data is never empty");
        if !self.is_quiet {
            self.log
                .note(format_args!("{fd} says {}", data.escape_ascii()));
        }
        if let Some(hook) = &mut self.data {
            hook(cx, (fd, data.to_vec()));
        }
    }

    fn child_connection_lost(&mut self, cx: &mut Cx<'_>, fd: i32) {
        self.log.note(format_args!("{fd} closed"));
        if let Some(hook) = &mut self.closed {
            hook(cx, fd);
        }
    }

    fn write_ready(&mut self, cx: &mut Cx<'_>, fd: i32) {
        self.log.note(format_args!("{fd} ready"));
        if let Some(hook) = &mut self.ready {
            hook(cx, fd);
        }
    }

    fn process_exited(&mut self, cx: &mut Cx<'_>, exited: Result<ExitStatus, Failure>) {
        self.log
            .note(format_args!("exited with {}", describe_exit(&exited)));
        if let Some(hook) = &mut self.exited {
            hook(cx, ());
        }
    }

    fn process_ended(&mut self, ended: Result<ExitStatus, Failure>) {
        self.log
            .note(format_args!("ended with {}", describe_exit(&ended)));
    }
}
