//! The settings of a client: [`Settings`].

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::Text;

/// The identity and the behaviour of a client. A value can be cloned for each connection.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use torsade::protocols::irc::Settings;
///
/// let settings = Settings::new("logbot")
///     .realname("a log bot")
///     .line_rate(5, Duration::from_secs(2))
///     .version("logbot 1.0");
/// ```
#[derive(Clone)]
pub struct Settings {
    pub(super) nick: Text,
    pub(super) username: Option<Text>,
    pub(super) realname: Option<Text>,
    pub(super) password: Option<Text>,
    pub(super) sasl: Option<(Text, Text)>,
    pub(super) capabilities: Vec<String>,
    pub(super) fallback_nick: Text,
    pub(super) collided: Rc<dyn Fn(&Text) -> Text>,
    pub(super) line_rate: Option<(u32, Duration)>,
    pub(super) queue_limit: usize,
    pub(super) heartbeat: Option<Duration>,
    pub(super) pong_limit: Duration,
    pub(super) registration_limit: Duration,
    pub(super) version: Option<Text>,
    pub(super) finger: Option<Text>,
    pub(super) source: Option<Text>,
    pub(super) user_info: Option<Text>,
    pub(super) time: Option<Rc<dyn Fn() -> String>>,
}

impl Settings {
    /// Creates settings with this nickname and defaults for all the rest.
    pub fn new(nick: impl Into<Text>) -> Self {
        Self {
            nick: nick.into(),
            username: None,
            realname: None,
            password: None,
            sasl: None,
            capabilities: Vec::new(),
            fallback_nick: "defaultnick".into(),
            collided: Rc::new(with_underscore),
            line_rate: None,
            queue_limit: 1000,
            heartbeat: Some(Duration::from_secs(120)),
            pong_limit: Duration::from_secs(60),
            registration_limit: Duration::from_secs(60),
            version: None,
            finger: None,
            source: None,
            user_info: None,
            time: None,
        }
    }

    /// Sets the user's name on its host. Default: the nickname.
    #[must_use]
    pub fn username(mut self, username: impl Into<Text>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Sets the user's real name. Default: the nickname.
    #[must_use]
    pub fn realname(mut self, realname: impl Into<Text>) -> Self {
        self.realname = Some(realname.into());
        self
    }

    /// Sets the password of the server (`PASS`). Default: none.
    #[must_use]
    pub fn password(mut self, password: impl Into<Text>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Makes the client authenticate by SASL with the mechanism `PLAIN`. Default: no
    /// authentication. A client that cannot authenticate does not sign on: it fails with
    /// [`IrcError::SaslFailed`](super::IrcError::SaslFailed).
    ///
    /// `PLAIN` does not encrypt the password, so the connection should be in TLS.
    #[must_use]
    pub fn sasl_plain(mut self, account: impl Into<Text>, password: impl Into<Text>) -> Self {
        self.sasl = Some((account.into(), password.into()));
        self
    }

    /// Requests a capability of IRCv3, such as `server-time`, if the server offers it.
    #[must_use]
    pub fn capability(mut self, name: impl Into<String>) -> Self {
        self.capabilities.push(name.into());
        self
    }

    /// Sets the nickname that is tried when the server regards the first one as invalid. Default:
    /// `defaultnick`.
    #[doc(alias = "erroneousNickFallback")]
    #[must_use]
    pub fn fallback_nick(mut self, nick: impl Into<Text>) -> Self {
        self.fallback_nick = nick.into();
        self
    }

    /// Sets the function that returns another nickname for one that is in use. Default: the same
    /// with `_` after it. When ten other nicknames are in use too, the registration fails with
    /// [`IrcError::NickRefused`](super::IrcError::NickRefused).
    #[doc(alias = "alterCollidedNick")]
    #[must_use]
    pub fn alter_collided_nick(mut self, f: impl Fn(&Text) -> Text + 'static) -> Self {
        self.collided = Rc::new(f);
        self
    }

    /// Limits the rate of sent lines: at most `burst` lines at once, zero counts as one, and then
    /// one line in each period. Answers to `PING`, the registration and `QUIT` are not delayed.
    /// Default: no limit.
    #[doc(alias = "lineRate")]
    #[must_use]
    pub fn line_rate(mut self, burst: u32, period: Duration) -> Self {
        self.line_rate = Some((burst, period));
        self
    }

    /// Sets how many lines may wait to be sent before commands fail with
    /// [`IrcError::QueueFull`](super::IrcError::QueueFull). Default: 1000.
    #[must_use]
    pub fn queue_limit(mut self, lines: usize) -> Self {
        self.queue_limit = lines;
        self
    }

    /// Sets how long after signing on, or after the last answer, the client sends a `PING`; `None`
    /// means never. Default: 120 seconds.
    #[doc(alias = "heartbeatInterval")]
    #[must_use]
    pub fn heartbeat(mut self, interval: Option<Duration>) -> Self {
        self.heartbeat = interval;
        self
    }

    /// Sets how long the answer to a `PING` may take before the client aborts the connection.
    /// Default: 60 seconds.
    #[must_use]
    pub fn pong_limit(mut self, limit: Duration) -> Self {
        self.pong_limit = limit;
        self
    }

    /// Sets how long the registration may take before the client aborts the connection. Default: 60
    /// seconds.
    #[must_use]
    pub fn registration_limit(mut self, limit: Duration) -> Self {
        self.registration_limit = limit;
        self
    }

    /// Sets the answer to the CTCP query `VERSION`. Default: the query becomes an
    /// [`Event::CtcpQuery`](super::Event::CtcpQuery).
    #[doc(alias("versionName", "versionNum", "versionEnv"))]
    #[must_use]
    pub fn version(mut self, text: impl Into<Text>) -> Self {
        self.version = Some(text.into());
        self
    }

    /// Sets the answer to the CTCP query `FINGER`. Default: the query becomes an
    /// [`Event::CtcpQuery`](super::Event::CtcpQuery).
    #[doc(alias = "fingerReply")]
    #[must_use]
    pub fn finger(mut self, text: impl Into<Text>) -> Self {
        self.finger = Some(text.into());
        self
    }

    /// Sets the answer to the CTCP query `SOURCE`: where the program can be found. Default: the
    /// query becomes an [`Event::CtcpQuery`](super::Event::CtcpQuery).
    #[doc(alias = "sourceURL")]
    #[must_use]
    pub fn source(mut self, text: impl Into<Text>) -> Self {
        self.source = Some(text.into());
        self
    }

    /// Sets the answer to the CTCP query `USERINFO`. Default: the query becomes an
    /// [`Event::CtcpQuery`](super::Event::CtcpQuery).
    #[doc(alias = "userinfo")]
    #[must_use]
    pub fn user_info(mut self, text: impl Into<Text>) -> Self {
        self.user_info = Some(text.into());
        self
    }

    /// Sets the function that returns the answer to the CTCP query `TIME`. Default: the query
    /// becomes an [`Event::CtcpQuery`](super::Event::CtcpQuery).
    #[must_use]
    pub fn time(mut self, f: impl Fn() -> String + 'static) -> Self {
        self.time = Some(Rc::new(f));
        self
    }
}

/// Returns the nickname with `_` after it.
pub(super) fn with_underscore(nick: &Text) -> Text {
    [nick, &b"_"[..]].concat().into()
}

impl fmt::Debug for Settings {
    /// Shows no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("nick", &self.nick)
            .field("has_password", &self.password.is_some())
            .field("has_sasl", &self.sasl.is_some())
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}
