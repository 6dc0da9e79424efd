//! How many clients may be inside: the next one is turned away at once, and comes in when another has left.

use portcullis_bench::echo::Echo;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::harness::{Client, Gateway, until, within};

async fn gateway(echo: &Echo, limits: &str) -> Gateway {
    Gateway::builder()
        .extra_toml(&format!("[limits]\n{limits}"))
        .upstream(echo)
        .allow("anyone")
        .spawn()
        .await
}

/// Connects and says nothing.
async fn silent(gateway: &Gateway) -> TcpStream {
    TcpStream::connect(gateway.address()).await.unwrap()
}

/// A client that gets in as soon as there is room.
async fn wait_for_room(gateway: &Gateway) {
    until("there is room", async || {
        let answer = Client::new().get(gateway, "/").await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// Waits until this many handshakes wait for their clients.
async fn wait_for_handshakes(gateway: &Gateway, count: f64) {
    until("handshakes are open", async || {
        let open = gateway.metric("portcullis_handshakes_open").await;
        (open == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_at_once() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "connections = 2").await;
    let mut first = Client::new().connect(gateway.address()).await.unwrap();
    let second = Client::new().connect(gateway.address()).await.unwrap();
    let mut third = silent(&gateway).await;
    let port = third.local_addr().unwrap().port();
    let read = within("a close", third.read(&mut [0])).await;
    assert_eq!(read.unwrap_or(0), 0, "a close or a reset, not a byte");
    assert_eq!(gateway.refusal_of(port).await["reason"], "CONNECTION_LIMIT");
    assert_eq!(
        first.get("/").await.unwrap().status,
        200,
        "who is inside is served"
    );
    drop(second);
    wait_for_room(&gateway).await;
}

#[tokio::test]
async fn a_handshake_over_the_limit_is_closed_at_once() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "handshakes = 2").await;
    let mut inside = Client::new().connect(gateway.address()).await.unwrap();
    // An answer tells that the gateway, too, is done with its handshake.
    assert_eq!(inside.get("/").await.unwrap().status, 200);
    let waiting = [silent(&gateway).await, silent(&gateway).await];
    wait_for_handshakes(&gateway, 2.0).await;
    let refused = Client::new().get(&gateway, "/").await.unwrap_err();
    assert_eq!(
        gateway.refusal_of(refused.port).await["reason"],
        "HANDSHAKE_LIMIT"
    );
    assert_eq!(
        inside.get("/").await.unwrap().status,
        200,
        "it is no handshake any more"
    );
    drop(waiting);
    wait_for_room(&gateway).await;
}

#[tokio::test]
async fn a_reload_moves_the_limits() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "handshakes = 1").await;
    let _waiting = silent(&gateway).await;
    wait_for_handshakes(&gateway, 1.0).await;
    Client::new().get(&gateway, "/").await.unwrap_err();
    gateway.rewrite_config(|toml| toml.replace("handshakes = 1", "handshakes = 2"));
    gateway.reload().await.unwrap();
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
}
