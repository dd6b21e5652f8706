//! The page of `websocket_chat` in a real browser, which is driven by its DevTools protocol.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::{WebSocketStream, client_async};
use futures::StreamExt;
use serde_json::{Value, json};
use torsade::{Clock, Connection, Failure, Reactor, fail, testing};

use crate::examples::Example;

struct Browser {
    child: Child,
    socket: WebSocketStream<Connection>,
    calls: u32,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser without a window, if there is one.
    async fn start(reactor: &Reactor) -> Result<Option<Self>, Failure> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new("chromium");
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args(["--no-first-run", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stderr(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            return Ok(None);
        };
        let errors = child.stderr.take().ok_or_else(|| fail!("it has errors"))?;
        let mut lines = BufReader::new(errors).lines();
        let url = loop {
            let line = lines.next().ok_or_else(|| fail!("the browser ended"))??;
            if let Some(url) = line.strip_prefix("DevTools listening on ") {
                break url.to_owned();
            }
        };
        // It must not be stopped by a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = url.trim_start_matches("ws://").split('/').next();
        let conn = reactor.connect_stream(address.unwrap_or_default()).await?;
        let (socket, _) = client_async(url, conn).await?;
        Ok(Some(Self {
            child,
            socket,
            calls: 0,
            _profile: profile,
        }))
    }

    /// Calls a method, and returns its result.
    async fn call(&mut self, tab: &Value, method: &str, params: Value) -> Result<Value, Failure> {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({ "id": id, "method": method, "params": params });
        if !tab.is_null() {
            call["sessionId"] = tab.clone();
        }
        self.socket.send(Message::text(call.to_string())).await?;
        while let Some(message) = self.socket.next().await {
            let answer: Value = serde_json::from_str(message?.to_text()?)?;
            if answer["id"] == id {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(fail!("{method}: {error}")),
                };
            }
        }
        Err(fail!("the browser has gone"))
    }

    /// Opens a tab, and returns its session.
    async fn open(&mut self, url: &str) -> Result<Value, Failure> {
        let created = self.call(&Value::Null, "Target.createTarget", json!({ "url": url }));
        let target = created.await?["targetId"].clone();
        let params = json!({ "targetId": target, "flatten": true });
        let attached = self.call(&Value::Null, "Target.attachToTarget", params);
        Ok(attached.await?["sessionId"].clone())
    }

    /// Evaluates an expression in a tab, and waits for its promise.
    async fn evaluate(&mut self, tab: &Value, expression: &str) -> Result<Value, Failure> {
        let params = json!({ "expression": expression, "awaitPromise": true });
        let evaluated = self.call(tab, "Runtime.evaluate", params).await?;
        assert!(evaluated["exceptionDetails"].is_null(), "{evaluated}");
        Ok(evaluated["result"]["value"].clone())
    }

    /// Waits until the page of a tab shows the text.
    async fn shows(&mut self, tab: &Value, text: &str) -> Result<(), Failure> {
        let wait = format!(
            "new Promise(resolve => {{
                const look = () => document.body?.innerText.includes({})
                    ? resolve(true) : setTimeout(look, 10);
                look();
            }})",
            json!(text)
        );
        // A tab that is still loading forgets what it was asked.
        while self.evaluate(tab, &wait).await.is_err() {}
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_tabs_of_a_browser_talk_to_each_other() {
    testing::run_on(Reactor::new().unwrap(), async |reactor| {
        let Some(mut browser) = Browser::start(&reactor).await? else {
            println!("skipped: there is no chromium");
            return Ok(());
        };
        let talk = async {
            let (_example, line) = Example::start("websocket_chat", crate::HERE)?;
            let url = line.strip_prefix("listening on ").expect("an address");
            let one = browser.open(url).await?;
            browser.shows(&one, "guest 1 has come").await?;
            let other = browser.open(url).await?;
            browser.shows(&one, "guest 2 has come").await?;
            let say = "document.getElementById('text').value = 'good morning';
                document.getElementById('form').requestSubmit()";
            browser.evaluate(&one, say).await?;
            for tab in [&one, &other] {
                browser.shows(tab, "guest 1: good morning").await?;
            }
            browser
                .evaluate(&other, &say.replace("morning", "evening"))
                .await?;
            browser.shows(&one, "guest 2: good evening").await?;
            Ok(())
        };
        reactor.timeout(Duration::from_secs(50), talk).await?
    });
}
