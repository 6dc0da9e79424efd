//! The gateway's own words: access log and refusal log.

use serde_json::Value;

use super::{Gateway, until};

impl Gateway {
    /// The access log so far.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        self.lines("access.log")
    }

    /// The refusal log so far.
    pub(crate) fn refusals(&self) -> Vec<Value> {
        self.lines("refusals.log")
    }

    /// Waits for a line of the access log.
    pub(crate) async fn wait_for_access(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        until("a line of the access log", async || {
            self.access_log().into_iter().find(&wanted)
        })
        .await
    }

    /// Waits for a refusal with this reason code.
    pub(crate) async fn wait_for_refusal(&self, code: &str) -> Value {
        until(&format!("a refusal {code}"), async || {
            let mut refusals = self.refusals().into_iter();
            refusals.find(|line| line["reason"] == code)
        })
        .await
    }

    /// Waits for the refusal of the client that came from this port: several clients of a test do not mix.
    pub(crate) async fn refusal_of(&self, port: u16) -> Value {
        until(&format!("the refusal of port {port}"), async || {
            let mut refusals = self.refusals().into_iter();
            refusals.find(|line| line["client.port"] == port)
        })
        .await
    }

    /// The whole lines: the last one may be half written.
    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
