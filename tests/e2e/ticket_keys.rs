//! What `portcullis tickets` says and does to a running gateway, and what `/metrics` shows of resumption.

use portcullis_bench::echo::Echo;
use serde_json::Value;
use tokio::process::Command;

use crate::harness::tools::run;
use crate::harness::{Client, Gateway, SHIM, Token, until};

async fn gateway(echo: &Echo, mode: &str) -> Gateway {
    Gateway::builder()
        .upstream(echo)
        .allow("anyone")
        .extra_toml(&format!("[resumption]\nmode = '{mode}'\n"))
        .spawn()
        .await
}

/// Whether a request to a path of its own came over a resumed session.
async fn resumes(gateway: &Gateway, client: &Client, path: &str) -> bool {
    assert_eq!(client.get(gateway, path).await.unwrap().status, 200);
    let line = gateway
        .wait_for_access(|line| line["url.path"] == path)
        .await;
    line["tls.resumed"] == true
}

async fn status(gateway: &Gateway) -> Value {
    let said = gateway.ask(&["tickets", "status", "--json"]).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[tokio::test]
async fn a_rotation_keeps_every_session_and_a_revocation_none() {
    let echo = Echo::start().await.unwrap();
    for mode in ["tickets", "stateful", "both"] {
        let gateway = gateway(&echo, mode).await;
        let clients = [Client::new().tls12(), Client::new().tls13()];
        for client in &clients {
            assert!(!resumes(&gateway, client, "/first").await);
        }
        let before = status(&gateway).await;
        gateway.ask(&["tickets", "rotate"]).await;
        let after = status(&gateway).await;
        assert_ne!(after["seals"]["id"], before["seals"]["id"]);
        for (at, client) in clients.iter().enumerate() {
            let path = format!("/{mode}/rotated/{at}");
            assert!(resumes(&gateway, client, &path).await, "{path}");
        }
        gateway.ask(&["tickets", "rotate", "--revoke"]).await;
        let revoked = status(&gateway).await;
        let ids = |status: &Value| -> Vec<Value> {
            let opens = status["opens"].as_array().unwrap();
            opens.iter().map(|key| key["id"].clone()).collect()
        };
        assert!(!ids(&revoked).iter().any(|id| ids(&after).contains(id)));
        for (at, client) in clients.iter().enumerate() {
            for round in 0..2 {
                let path = format!("/{mode}/revoked/{at}/{round}");
                let resumed = resumes(&gateway, client, &path).await;
                assert_eq!(resumed, round > 0, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn what_became_of_sessions_is_counted_and_told() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "both").await;
    let client = Client::new().tls13();
    assert!(!resumes(&gateway, &client, "/a").await);
    assert!(resumes(&gateway, &client, "/b").await);
    gateway.ask(&["tickets", "rotate", "--revoke"]).await;
    assert!(!resumes(&gateway, &client, "/c").await);
    let told = status(&gateway).await;
    let issued = gateway.metric("portcullis_tickets_issued_total").await;
    assert!(issued >= 5.0, "{issued}");
    assert_eq!(told["issued"].as_f64(), Some(issued));
    let declined = "portcullis_resumption_declined_total{reason=\"unknown_key\"}";
    assert_eq!(gateway.metric(declined).await, 1.0);
    assert_eq!(told["declined"]["unknown_key"], 1);
    let up = "portcullis_ticket_source_up{source=\"random\"}";
    assert_eq!(gateway.metric(up).await, 1.0);
    assert!(gateway.metric("portcullis_ticket_keys").await >= 1.0);
    let age = gateway.metric("portcullis_ticket_key_age_seconds").await;
    assert!((0.0..3600.0).contains(&age), "{age}");
    let people = gateway.ask(&["tickets", "status"]).await;
    for line in ["source      random", "declined    1 unknown_key", "seals"] {
        assert!(people.contains(line), "{people}");
    }
}

#[tokio::test]
async fn kept_sessions_are_counted_until_they_are_used_or_revoked() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo, "stateful").await;
    let client = Client::new().tls12();
    assert!(!resumes(&gateway, &client, "/a").await);
    assert_eq!(gateway.metric("portcullis_sessions").await, 1.0);
    assert!(gateway.metric("portcullis_sessions_bytes").await > 200.0);
    assert!(resumes(&gateway, &client, "/b").await);
    assert_eq!(gateway.metric("portcullis_sessions_hits_total").await, 1.0);
    gateway.ask(&["tickets", "rotate", "--revoke"]).await;
    assert_eq!(gateway.metric("portcullis_sessions").await, 0.0);
    assert_eq!(
        gateway.metric("portcullis_sessions_evicted_total").await,
        0.0
    );
}

#[tokio::test]
async fn a_generation_that_is_raised_in_the_token_reaches_the_whole_fleet() {
    let echo = Echo::start().await.unwrap();
    Token::shared().hsm("keygen --token e2e --kind secret --label raised");
    let fleet = || {
        Gateway::builder()
            .token(Token::shared())
            .upstream(&echo)
            .allow("anyone")
            .extra_toml("[tickets]\nkeys = { hsm = 'pkcs11:token=e2e;object=raised' }\n")
            .spawn()
    };
    let (here, there) = (fleet().await, fleet().await);
    let (sealed, kept) = (Client::new().tls13(), Client::new().tls12());
    assert!(!resumes(&here, &sealed, "/sealed").await);
    assert!(!resumes(&there, &kept, "/kept").await);

    let said = here.tickets(&["rotate"]).await;
    assert!(said.status.success(), "{said:?}");
    assert!(said.stdout.contains("generation 1"), "{said:?}");
    assert!(resumes(&there, &sealed, "/sealed/rotated").await);
    assert!(resumes(&there, &kept, "/kept/rotated").await);

    let said = here.tickets(&["rotate", "--revoke"]).await;
    assert!(said.status.success(), "{said:?}");
    assert!(!resumes(&here, &sealed, "/sealed/revoked").await);
    let reached = async || (status(&there).await["accepted_from"] == 2).then_some(());
    until("the other gateway looks at its token", reached).await;
    assert!(!resumes(&there, &kept, "/kept/revoked").await);
    // What the first one gave out since then counts everywhere.
    assert!(resumes(&there, &sealed, "/sealed/again").await);
}

#[tokio::test]
async fn a_rotation_that_names_only_a_socket_does_not_pass_over_the_token() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .token(Token::shared())
        .upstream(&echo)
        .allow("anyone")
        .extra_toml("[tickets]\nkeys = { hsm = 'pkcs11:token=e2e;object=ticket-root' }\n")
        .spawn()
        .await;
    let mut command = Command::new(SHIM);
    command.args(["tickets", "rotate", "--socket", "admin.sock"]);
    command.args(["--config", "none.toml"]);
    command.current_dir(gateway.folder());
    let said = run(command, "").await;
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    assert_eq!(status(&gateway).await["generation"], 0);
}
