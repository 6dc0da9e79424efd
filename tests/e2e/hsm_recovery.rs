//! A token that goes away and comes back: standing connections notice nothing, and the first handshake that
//! succeeds comes within a second after the cause is gone, without a restart of the gateway.

pub(crate) mod cause;

use portcullis_bench::echo::Echo;
use serde_json::Value;
use tokio::process::Command;

use crate::harness::tools::run;
use crate::harness::{Clients, Gateway, SHIM, assert_quick, first_handshake, until};
use cause::{Cause, Notice, Stage};

#[tokio::test]
async fn a_killed_p11_kit_server_is_forgotten_within_a_second_of_its_return() {
    goes_and_returns(Cause::ServerKilled).await;
}

#[tokio::test]
async fn a_token_folder_that_vanished_serves_within_a_second_of_its_return() {
    goes_and_returns(Cause::FolderVanished).await;
}

#[tokio::test]
async fn a_signer_whose_module_aborts_serves_within_a_second_of_the_last_abort() {
    goes_and_returns(Cause::ModuleAborts).await;
}

#[tokio::test]
async fn calls_that_hang_for_ever_are_forgotten_within_a_second_of_their_end() {
    goes_and_returns(Cause::CallsHang).await;
}

#[tokio::test]
async fn hanging_calls_of_a_signer_are_forgotten_within_a_second_of_their_end() {
    goes_and_returns(Cause::SignerHangs).await;
}

#[tokio::test]
async fn nobody_notices_that_all_sessions_were_closed() {
    goes_and_returns(Cause::SessionsClosed).await;
}

#[tokio::test]
async fn nobody_notices_that_one_signature_in_a_hundred_fails() {
    goes_and_returns(Cause::OneInAHundredFails).await;
}

/// One token alone, through an outage.
async fn goes_and_returns(cause: Cause) {
    let Some(mut stage) = Stage::set(cause).await else {
        return;
    };
    let echo = Echo::start().await.unwrap();
    let gateway = stage.gateway("main").upstream(&echo).allow("anyone");
    let gateway = gateway.spawn().await;
    let clients = Clients::come(&gateway).await;
    stage.begin().await;
    match stage.cause().notice() {
        Notice::Refusals => {
            told_that_it_is_down(&gateway).await;
            clients.more_handshakes(10).await;
            assert!(clients.refused() > 0, "an outage refuses handshakes");
        }
        Notice::Nothing => stage.felt(&gateway).await,
    }
    stage.end().await;
    let took = first_handshake(&gateway).await;
    assert_quick(&format!("{cause:?}, from its end to a handshake"), took);
    until("it says that it is ready", async || {
        let (_, body) = gateway.probe("/readyz").await;
        body.contains("\"status\":\"ready\"").then_some(())
    })
    .await;
    clients.more_handshakes(50).await;
    let seen = clients.leave().await;
    assert!(seen.answers > 30, "{seen:?}");
    if stage.cause().notice() == Notice::Nothing {
        assert_eq!((seen.refused, &seen.why), (0, &None), "{seen:?}");
    }
}

/// Probes and `portcullis hsm status` tell state and cause, and load balancers keep the gateway.
pub(crate) async fn told_that_it_is_down(gateway: &Gateway) {
    let body = until("the outage is told", async || {
        let (status, body) = gateway.probe("/readyz").await;
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let hsm = &body["hsm"][0];
        // So long that the pauses between the tries to bring it back are the longest.
        let long = hsm["since_seconds"].as_u64() >= Some(1);
        (hsm["state"] == "away" && long).then_some(body)
    })
    .await;
    assert_eq!(body["status"], "degraded", "{body}");
    let cause = body["hsm"][0]["cause"].as_str().unwrap();
    assert!(!cause.is_empty(), "{body}");
    let mut command = Command::new(SHIM);
    let url = format!("http://{}", gateway.admin());
    command.args(["hsm", "status", "--url", &url]);
    let said = run(command, "").await;
    assert_eq!(said.status.code(), Some(4), "{said:?}");
    assert!(said.stdout.contains("away"), "{said:?}");
}
