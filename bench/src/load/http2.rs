//! HTTP/2: one connection whose streams take turns, opened anew when it ends.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio_rustls::TlsConnector;

use super::Protocol;
use super::failure::Failure;
use super::shared::Shared;
use super::worker::Worker;

/// What the server may send before we acknowledge it: large, so that it waits for the network only.
const WINDOW: u32 = 8 * 1024 * 1024;

/// A connection that is shared by its streams.
#[derive(Debug, Default)]
pub(super) struct Link(Shared<Open>);

#[derive(Debug, Clone)]
struct Open {
    sender: SendRequest<Bytes>,
    request: Request<()>,
}

/// What became of a request.
enum Asked {
    /// Its answer's status.
    Answered(u16),
    /// The server ends the connection and did not look at it.
    NotTaken,
}

impl Link {
    /// Opens it where it is not.
    pub(super) async fn open(&self, worker: &Worker) -> Result<(), Failure> {
        self.get(worker).await.map(drop)
    }

    /// A request and its whole answer.
    pub(super) async fn exchange(&self, worker: &Worker) -> Result<(), Failure> {
        // A connection ends when it has had as many requests as the server likes; a fresh one takes the next.
        for _ in 0..2 {
            let (number, open) = self.get(worker).await?;
            match ask(open, worker).await {
                Ok(Asked::Answered(status)) if status >= 400 => {
                    return Err(Failure::Status(status));
                }
                Ok(Asked::Answered(_)) => return Ok(()),
                Ok(Asked::NotTaken) => self.0.forget(number),
                Err(failure) => {
                    self.0.forget(number);
                    return Err(failure);
                }
            }
        }
        Err(Failure::Http)
    }

    async fn get(&self, worker: &Worker) -> Result<(u64, Open), Failure> {
        self.0.get(async || connect(worker).await).await
    }
}

async fn connect(worker: &Worker) -> Result<Open, Failure> {
    let hello = worker.clients().next();
    let tcp = worker.dialer().dial().await?;
    let connector = TlsConnector::from(Arc::clone(&hello.config));
    let tls = connector.connect(hello.name, tcp).await;
    let tls = tls.map_err(|error| Failure::of_io(&error))?;
    if tls.get_ref().1.alpn_protocol() != Some(Protocol::Http2.alpn()) {
        return Err(Failure::Protocol);
    }
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW);
    builder.initial_connection_window_size(WINDOW);
    let handshake = builder.handshake::<_, Bytes>(tls).await;
    let (sender, connection) = handshake.map_err(failure)?;
    tokio::task::spawn_local(async move {
        // How it ends, the streams on it are told.
        let _ = connection.await;
    });
    Ok(Open {
        sender,
        request: worker.uri_request(hello.name_index),
    })
}

async fn ask(open: Open, worker: &Worker) -> Result<Asked, Failure> {
    let Open { sender, request } = open;
    let mut sender = match sender.ready().await {
        Ok(sender) => sender,
        Err(error) if ended_well(&error) => return Ok(Asked::NotTaken),
        Err(error) => return Err(failure(error)),
    };
    let (answer, _) = match sender.send_request(request, true) {
        Ok(sent) => sent,
        Err(error) if ended_well(&error) => return Ok(Asked::NotTaken),
        Err(error) => return Err(failure(error)),
    };
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(error) if ended_well(&error) => return Ok(Asked::NotTaken),
        Err(error) => return Err(failure(error)),
    };
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    while let Some(piece) = body.data().await {
        let length = piece.map_err(failure)?.len();
        worker.bytes().add(length);
        let released = body.flow_control().release_capacity(length);
        released.map_err(failure)?;
    }
    Ok(Asked::Answered(status))
}

/// The server says farewell (RFC 9113, section 6.8), or refused the stream before it looked at it.
fn ended_well(error: &h2::Error) -> bool {
    let farewell = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    farewell || error.reason() == Some(h2::Reason::REFUSED_STREAM)
}

fn failure(error: h2::Error) -> Failure {
    match error.get_io() {
        Some(io) => Failure::of_io(io),
        None => Failure::Http,
    }
}
