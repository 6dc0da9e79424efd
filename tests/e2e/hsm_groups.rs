//! A group of two tokens with the same key: whatever happens to one, no handshake fails, and when it is
//! back within a second it signs again.

use std::time::Instant;

use portcullis_bench::echo::Echo;

use crate::harness::{Clients, Gateway, Signer, assert_quick, until};
use crate::hsm_recovery::cause::{Cause, Stage};
use crate::hsm_recovery::told_that_it_is_down;

#[tokio::test]
async fn no_handshake_fails_while_the_p11_kit_server_of_one_member_is_killed() {
    one_member_goes_and_returns(Cause::ServerKilled).await;
}

#[tokio::test]
async fn no_handshake_fails_while_the_folder_of_one_member_is_gone() {
    one_member_goes_and_returns(Cause::FolderVanished).await;
}

#[tokio::test]
async fn no_handshake_fails_while_the_signer_of_one_member_aborts() {
    one_member_goes_and_returns(Cause::ModuleAborts).await;
}

#[tokio::test]
async fn no_handshake_fails_while_the_calls_of_one_member_hang() {
    one_member_goes_and_returns(Cause::CallsHang).await;
}

#[tokio::test]
async fn no_handshake_fails_while_the_signer_of_one_member_hangs() {
    one_member_goes_and_returns(Cause::SignerHangs).await;
}

#[tokio::test]
async fn no_handshake_fails_while_the_sessions_of_one_member_are_closed() {
    one_member_goes_and_returns(Cause::SessionsClosed).await;
}

#[tokio::test]
async fn no_handshake_fails_while_one_signature_in_a_hundred_of_one_member_fails() {
    one_member_goes_and_returns(Cause::OneInAHundredFails).await;
}

async fn one_member_goes_and_returns(cause: Cause) {
    let Some(mut stage) = Stage::set(cause).await else {
        return;
    };
    let twin = stage.vault().twin().await;
    let spare = Signer::start(&twin).await;
    let echo = Echo::start().await.unwrap();
    let gateway = stage.gateway("pair").upstream(&echo).allow("anyone");
    let gateway = gateway
        .extra_toml(&spare.hsm("spare", "sessions = 2\ndeadline = '2s'"))
        .extra_toml("[hsm_group.pair]\nmembers = ['main', 'spare']")
        .spawn()
        .await;
    let clients = Clients::come(&gateway).await;
    let before = signatures(&gateway, "spare").await;
    stage.begin().await;
    match cause {
        Cause::SessionsClosed | Cause::OneInAHundredFails => stage.felt(&gateway).await,
        _ => {
            told_that_it_is_down(&gateway).await;
            clients.more_handshakes(20).await;
            let after = signatures(&gateway, "spare").await;
            assert!(after >= before + 10.0, "{before} to {after}");
        }
    }
    stage.end().await;
    let returned = Instant::now();
    let before = signatures(&gateway, "main").await;
    until("traffic returns", async || {
        (signatures(&gateway, "main").await > before).then_some(())
    })
    .await;
    assert_quick(
        &format!("{cause:?}, from its end to a signature of the member"),
        returned.elapsed(),
    );
    clients.more_handshakes(50).await;
    let seen = clients.leave().await;
    assert!(seen.answers > 30 && seen.handshakes > 50, "{seen:?}");
    assert_eq!((seen.refused, &seen.why), (0, &None), "{seen:?}");
}

async fn signatures(gateway: &Gateway, hsm: &str) -> f64 {
    let name = format!("portcullis_hsm_signatures_total{{hsm=\"{hsm}\"}}");
    gateway.metric(&name).await
}
