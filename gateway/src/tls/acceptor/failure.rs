//! A handshake that comes to nothing: what the client is told, and how long it may take to hear it.

use std::io;
use std::time::Duration;

use portcullis_hsm::HsmError;
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::HandshakeRefused;
use crate::reason::Reason;
use crate::tls::refusal::{plaintext_alert, reason_of_hsm, refusal_of};
use crate::trust::Refused;

/// How long a refused client may take to read its alert before the socket is closed under it.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of a refused client that are read and thrown away meanwhile; a close with unread bytes would be a
/// reset that can overtake the alert. A TLS 1.3 client sends its first request, body and all, before it learns
/// that its certificate was refused.
const LINGER_BYTES: usize = 1024 * 1024;
/// A refusal on its way to the client.
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// Records to send before the close; may be empty.
    pub(super) alert: Vec<u8>,
    /// How long the client may take to read them.
    pub(super) linger: Duration,
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn bare(reason: Reason, detail: impl ToString) -> Self {
        Self {
            reason,
            alert: Vec::new(),
            linger: LINGER,
            detail: detail.to_string(),
        }
    }

    /// With an alert of ours.
    pub(super) fn told(reason: Reason, alert: AlertDescription, detail: impl ToString) -> Self {
        Self {
            alert: plaintext_alert(alert).to_vec(),
            ..Self::bare(reason, detail)
        }
    }

    /// The token would refuse. The client waits for our flight and has sent nothing behind its hello, so the
    /// alert needs no time to be read, and a flood holds no places.
    pub(super) fn admission(error: &HsmError) -> Self {
        Self {
            reason: reason_of_hsm(error),
            alert: plaintext_alert(AlertDescription::InternalError).to_vec(),
            linger: Duration::ZERO,
            detail: error.to_string(),
        }
    }

    pub(super) fn io(error: &io::Error) -> Self {
        Self::bare(Reason::HandshakeClosed, error)
    }

    /// From an error of rustls and what rustls wants to send. A failed signature leaves half a flight behind
    /// and no alert: the half is not sent, the alert is ours (RFC 8446, section 6.2: internal_error).
    pub(super) fn tls(error: &Error, queued: Vec<u8>) -> Self {
        let Refused { reason, detail } = refusal_of(error);
        let alert = match (reason, error) {
            (Reason::HsmUnavailable | Reason::HsmBusy, _) => {
                plaintext_alert(AlertDescription::InternalError).to_vec()
            }
            // Where no certificate fits rustls says access_denied, which is for policy.
            (_, Error::General(_)) => plaintext_alert(AlertDescription::HandshakeFailure).to_vec(),
            _ => queued,
        };
        Self {
            reason,
            alert,
            linger: LINGER,
            detail,
        }
    }
}

/// Tells the client, and closes.
pub(super) async fn refuse<S>(
    tcp: TcpStream,
    failure: Failure,
    site: Option<S>,
    server_name: Option<String>,
) -> HandshakeRefused<S> {
    if failure.linger.is_zero() {
        // An empty socket takes seven bytes at once; the close behind them is orderly.
        let _ = tcp.try_write(&failure.alert);
    } else if !failure.alert.is_empty() {
        // The refusal stands whether or not the client reads its alert.
        let by = Instant::now() + failure.linger;
        let _ = timeout_at(by, send_and_linger(tcp, &failure.alert)).await;
    }
    HandshakeRefused {
        reason: failure.reason,
        site,
        server_name,
        detail: failure.detail,
    }
}

/// Tells a client that has sent nothing but its ClientHello, and closes.
pub async fn turn_away(tcp: TcpStream, alert: AlertDescription) {
    let by = Instant::now() + LINGER;
    // The refusal stands whether or not the client reads its alert.
    let _ = timeout_at(by, send_and_linger(tcp, &plaintext_alert(alert))).await;
}

async fn send_and_linger(mut tcp: TcpStream, alert: &[u8]) -> io::Result<()> {
    tcp.write_all(alert).await?;
    tcp.shutdown().await?;
    let mut discarded = [0; 2048];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match tcp.read(&mut discarded).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}
