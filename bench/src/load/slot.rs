//! What one connection of the plan does with its turns: a new connection each time, or requests on one that stays.

use std::rc::Rc;
use std::time::Instant;

use rustls::HandshakeKind;

use super::connection::Connection;
use super::failure::Failure;
use super::http1::{self, Answer};
use super::worker::Worker;
use super::{Mode, Protocol, http2, http3};

/// A unit that was done.
#[derive(Debug)]
pub(super) struct Done {
    /// When it counts as done. What follows it, such as the farewell, belongs to it all the same.
    pub(super) at: Instant,
    /// For units that are, or begin with, a handshake.
    pub(super) handshake: Option<HandshakeKind>,
}

/// One of the connections of the plan, or one of the streams of such a connection.
#[derive(Debug)]
pub(super) enum Slot {
    Handshake,
    Request(Answer),
    Http1(Box<Kept>),
    Http2(Rc<http2::Link>),
    Http3(Rc<http3::Link>),
}

/// An HTTP/1.1 connection that stays.
#[derive(Debug, Default)]
pub(super) struct Kept {
    open: Option<(Connection, usize)>,
    answer: Answer,
}

impl Slot {
    /// Those of so many connections.
    pub(super) fn all(worker: &Worker, connections: usize) -> Vec<Self> {
        let plan = worker.plan();
        let streams = plan.streams;
        let one = |_| match (&plan.mode, plan.protocol) {
            (Mode::Keepalive | Mode::Bulk, Protocol::Http1) => vec![Self::Http1(Box::default())],
            (Mode::Keepalive | Mode::Bulk, Protocol::Http2) => {
                let link = Rc::new(http2::Link::default());
                (0..streams)
                    .map(|_| Self::Http2(Rc::clone(&link)))
                    .collect()
            }
            (Mode::Keepalive | Mode::Bulk, Protocol::Http3) => {
                let link = Rc::new(http3::Link::default());
                (0..streams)
                    .map(|_| Self::Http3(Rc::clone(&link)))
                    .collect()
            }
            (Mode::Request | Mode::Idle, _) => vec![Self::Request(Answer::default())],
            _ => vec![Self::Handshake],
        };
        (0..connections).flat_map(one).collect()
    }

    /// Opens what stays open. A failure is met again, and counted, with the first unit.
    pub(super) async fn prepare(&mut self, worker: &Worker) {
        let _ = match self {
            Self::Handshake | Self::Request(_) => Ok(()),
            Self::Http1(kept) => kept.open(worker).await.map(drop),
            Self::Http2(link) => link.open(worker).await.map(drop),
            Self::Http3(link) => link.open(worker).await.map(drop),
        };
    }

    /// One unit.
    pub(super) async fn unit(&mut self, worker: &Worker) -> Result<Done, Failure> {
        match self {
            Self::Handshake => {
                let (connection, _) = connect(worker).await?;
                let handshake = connection.handshake_kind();
                let at = Instant::now();
                connection.close().await?;
                return Ok(Done { at, handshake });
            }
            Self::Request(answer) => {
                let (connection, at) = request(worker, answer).await?;
                let handshake = connection.handshake_kind();
                connection.close().await?;
                return Ok(Done { at, handshake });
            }
            Self::Http1(kept) => kept.exchange(worker).await?,
            Self::Http2(link) => link.exchange(worker).await?,
            Self::Http3(link) => link.exchange(worker).await?,
        }
        Ok(Done {
            at: Instant::now(),
            handshake: None,
        })
    }
}

impl Kept {
    async fn open(&mut self, worker: &Worker) -> Result<&mut (Connection, usize), Failure> {
        let open = match self.open.take() {
            Some(open) => open,
            None => connect(worker).await?,
        };
        Ok(self.open.insert(open))
    }

    async fn exchange(&mut self, worker: &Worker) -> Result<(), Failure> {
        self.open(worker).await?;
        // Gone unless it comes back: also where this is given up at the deadline.
        let Some((mut connection, name)) = self.open.take() else {
            return Err(Failure::Eof);
        };
        let request = worker.request(name);
        let answer = &mut self.answer;
        let outcome = http1::exchange(&mut connection, request, answer, worker.bytes()).await;
        let usable = matches!(outcome, Ok(()) | Err(Failure::Status(_)));
        if usable && self.answer.keeps_alive() {
            self.open = Some((connection, name));
        }
        outcome
    }
}

/// A new connection after its handshake, and which of the plan's names it asked for.
pub(super) async fn connect(worker: &Worker) -> Result<(Connection, usize), Failure> {
    let hello = worker.clients().next();
    let name = hello.name_index;
    let tcp = worker.dialer().dial().await?;
    let mut connection = Connection::new(tcp, hello)?;
    connection.handshake().await?;
    Ok((connection, name))
}

/// A new connection after one request, and when the answer was there.
pub(super) async fn request(
    worker: &Worker,
    answer: &mut Answer,
) -> Result<(Connection, Instant), Failure> {
    let (mut connection, name) = connect(worker).await?;
    let request = worker.request(name);
    http1::exchange(&mut connection, request, answer, worker.bytes()).await?;
    Ok((connection, Instant::now()))
}
