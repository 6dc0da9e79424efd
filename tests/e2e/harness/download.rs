//! A download that goes on until something ends it: read in steps, so that it does not fill the machine.

use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::{Connection, within};

/// Between two pieces.
const PACE: Duration = Duration::from_millis(20);

/// An answer that is still coming, read by a task of its own.
#[derive(Debug)]
pub(crate) struct Download(JoinHandle<Result<usize, String>>);

impl Connection {
    /// Asks for so many bytes and begins to read them.
    pub(crate) async fn download(&mut self, bytes: u64) -> Download {
        let request = Request::get(format!("/bytes/{bytes}"));
        let request = request.body(Full::default()).unwrap();
        let response = self.begin(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Download(tokio::spawn(read(response.into_body())))
    }
}

impl Download {
    /// Whether it is still coming.
    pub(crate) fn goes_on(&self) -> bool {
        !self.0.is_finished()
    }

    /// Waits for its end: how many bytes came, or why no more did.
    pub(crate) async fn end(self) -> Result<usize, String> {
        within("the end of a download", self.0).await.unwrap()
    }
}

async fn read(mut body: Incoming) -> Result<usize, String> {
    let (mut count, mut pace) = (0, interval(PACE));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("{error:?}"))?;
        count += frame.data_ref().map_or(0, |data| data.len());
        pace.tick().await;
    }
    Ok(count)
}
