//! The gateway of the demo, as a child process.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::Settings;
use super::token::{Place, ServerKey};

/// From start to the first client.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Between two questions whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// From SIGTERM to its end: a little more than it may take to drain by default.
const END_WITHIN: Duration = Duration::from_secs(35);

/// A running gateway. It is killed if it is dropped before [`Gateway::stop`].
#[derive(Debug)]
pub(super) struct Gateway {
    child: Child,
}

impl Gateway {
    /// Starts it on the demo's configuration.
    pub(super) fn start(settings: &Settings, key: &ServerKey) -> anyhow::Result<Self> {
        let mut command = Command::new(&settings.program);
        command
            .args(["run", "--config"])
            .arg(settings.folder.join("portcullis.toml"));
        if let Place::Token { config, .. } = &key.place {
            command.env("SOFTHSM2_CONF", config);
        }
        // A group of its own: Ctrl-C reaches the demo alone, which then ends the gateway in order.
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn().context("start the gateway")?;
        Ok(Self { child })
    }

    /// Waits until it ended by itself, which it should not.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow!("the gateway ended by itself ({status}); see its words above"),
            Err(error) => anyhow!("wait for the gateway: {error}"),
        }
    }

    /// SIGTERM, and its end.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        // No pid any more means that it ended already.
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let Some(pid) = pid else {
            return Ok(());
        };
        kill_process(pid, Signal::TERM).context("tell the gateway to end")?;
        let status: ExitStatus = timeout(END_WITHIN, self.child.wait())
            .await
            .context("the gateway does not end; it is killed")??;
        ensure!(status.success(), "the gateway ended with {status}");
        Ok(())
    }
}

/// Waits until the probe says ready. The port of the clients is not tried: a connection without a
/// handshake would be the first refusal in the log.
pub(super) async fn wait_until_ready(settings: &Settings) -> anyhow::Result<()> {
    let ready = async {
        while !is_ready(settings).await.unwrap_or(false) {
            sleep(ASK_EVERY).await;
        }
    };
    let late = || {
        format!(
            "the gateway is not ready after {} s",
            READY_WITHIN.as_secs()
        )
    };
    timeout(READY_WITHIN, ready).await.with_context(late)
}

async fn is_ready(settings: &Settings) -> anyhow::Result<bool> {
    let probe = TcpStream::connect(settings.admin).await?;
    let (mut client, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(probe)).await?;
    let request = Request::builder()
        .uri("/readyz")
        .header("host", settings.admin.to_string())
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let asked = async move { client.send_request(request).await };
    let (response, _) = tokio::join!(asked, connection);
    Ok(response?.status() == StatusCode::OK)
}
