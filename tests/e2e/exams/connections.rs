//! Thousands of connections that wait.

use portcullis_bench::echo::Echo;

use super::{memory, tell};
use crate::harness::{Client, Gateway};

const CONNECTIONS: u64 = 5_000;
/// What an idle keep-alive connection may cost at most.
const BOUND_KIB: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_idle_tls_connections_are_cheap() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    // One of each kind first, so that what is made once is not counted.
    for _ in 0..20 {
        Client::new().get(&gateway, "/").await.unwrap();
    }
    let before = memory(&gateway, "VmRSS");
    let client = Client::new();
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        assert_eq!(connection.get("/status/204").await.unwrap().status, 204);
        open.push(connection);
    }
    let each = memory(&gateway, "VmRSS").saturating_sub(before) * 1024 / CONNECTIONS;
    tell(&format!(
        "{CONNECTIONS} idle TLS connections: {each} bytes each"
    ));
    assert!(each < BOUND_KIB * 1024, "{each} bytes");
    for connection in open.iter_mut().step_by(500) {
        assert_eq!(
            connection.get("/status/204").await.unwrap().status,
            204,
            "still alive"
        );
    }
}
