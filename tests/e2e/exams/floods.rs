//! Floods over HTTP/2 with the machine to themselves: nobody else may wait much longer for them.

use std::time::Duration;

use crate::h2_floods::examine;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_keep_nobody_waiting() {
    examine(Duration::from_millis(5)).await;
}
