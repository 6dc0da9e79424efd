//! What is to be said about a connection that carries no HTTP, however it ends.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::identity::ClientIdentity;
use crate::policy::Permit;
use crate::proxy::admission::Stopped;
use crate::proxy::worker::Worker;
use crate::reason::Reason;
use crate::telemetry::RefusalRecord;
use crate::telemetry::access_log::ConnectionFacts;
use crate::telemetry::tcp_log::TcpRecord;
use crate::upstream::Target;

/// Writes the access log line of one connection on drop, and keeps its counters.
pub(super) struct Recorder {
    worker: Rc<Worker>,
    record: Box<TcpRecord>,
    start: Instant,
    /// Bytes in front of the client's own.
    header: u64,
}

impl Recorder {
    /// The connection has begun.
    pub(super) fn new(
        worker: &Rc<Worker>,
        facts: &Rc<ConnectionFacts>,
        server_name: Option<&str>,
    ) -> Self {
        let metrics = &worker.shared.metrics;
        metrics.tcp_connections.inc();
        metrics.tcp_connections_open.inc();
        let id = worker.ids.request_id();
        let id = id.to_str().unwrap_or_default();
        let mut record = Box::new(TcpRecord::new(Rc::clone(facts), id));
        record.host = server_name.map(Into::into);
        Self {
            worker: Rc::clone(worker),
            record,
            start: Instant::now(),
            header: 0,
        }
    }

    /// The protocol that was chosen.
    pub(super) fn negotiated(&mut self, alpn: Option<&[u8]>) {
        self.record.alpn = alpn.map(|alpn| String::from_utf8_lossy(alpn).into());
    }

    /// Whose connection it is to carry.
    pub(super) fn worker(&self) -> Rc<Worker> {
        Rc::clone(&self.worker)
    }

    /// What the connection goes by.
    pub(super) fn id(&self) -> &str {
        &self.record.id
    }

    /// It was decided.
    pub(super) fn note(&mut self, permit: &Permit, target: &Target) {
        self.record.rule = Some(Arc::clone(permit.rule()));
        self.record.shadows = permit.shadows().to_vec();
        for rule in permit.shadows() {
            self.worker.shared.metrics.shadow_denied(rule);
        }
        self.record.upstream = Some(Arc::clone(&target.name));
    }

    /// Who the client is to the site, which may have verified what the handshake did not.
    pub(super) fn identify(&mut self, identity: &ClientIdentity) {
        if let ClientIdentity::Unverified(_) = self.record.connection.identity {
            self.record.identity = Some(identity.clone());
        }
    }

    /// So many bytes stand in front of the client's own.
    pub(super) fn header(&mut self, bytes: usize) {
        self.header = bytes as u64;
    }

    /// So many bytes went up, and down, in all.
    pub(super) fn moved(&mut self, (up, down): (u64, u64)) {
        let up = up.saturating_sub(self.header);
        let record = &mut self.record;
        let [of_clients, of_upstreams] = &self.worker.shared.metrics.tcp_bytes;
        if up != record.client_bytes {
            of_clients.inc_by(up - record.client_bytes);
            record.client_bytes = up;
        }
        if down != record.server_bytes {
            of_upstreams.inc_by(down - record.server_bytes);
            record.server_bytes = down;
        }
    }

    /// Both sides have ended.
    pub(super) fn complete(&mut self) {
        self.record.complete = true;
    }

    /// Counts and logs why it does not go on.
    pub(super) fn refuse(&mut self, stopped: &Stopped) {
        self.record.reason = Some(stopped.reason);
        if stopped.rule.is_some() {
            self.record.rule.clone_from(&stopped.rule);
        }
        self.worker.refuse(&RefusalRecord {
            server_name: self.record.host.as_deref(),
            request_id: Some(&self.record.id),
            detail: Some(&*stopped.detail).filter(|detail| !detail.is_empty()),
            ..RefusalRecord::of_client(stopped.reason, &self.record.connection)
        });
    }

    /// Its client has to leave, which was logged with the reason.
    pub(super) fn dismissed(&mut self, reason: Option<Reason>) {
        self.record.reason = reason;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.record.duration = self.start.elapsed();
        self.worker.shared.metrics.tcp_connections_open.dec();
        self.worker.access.append(|lines| self.record.write(lines));
    }
}
