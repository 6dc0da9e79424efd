//! Many streams of one HTTP/3 connection, and bodies of any size in both directions.

use bytes::Bytes;
use http::Method;
use portcullis_bench::echo::Echo;

use crate::harness::{Client, Gateway};

#[tokio::test]
async fn a_hundred_requests_at_once_are_answered() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    let link = Client::new().over_h3().h3(gateway.address()).await.unwrap();
    let asked: Vec<_> = (0..100)
        .map(|number| {
            let link = link.clone();
            tokio::spawn(async move { link.get(&format!("/{number}")).await })
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_body_larger_than_every_window_comes_back_whole() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    let link = Client::new().over_h3().h3(gateway.address()).await.unwrap();
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    let request = link.request(Method::POST, "/echo-body");
    let answer = link.send(request, Bytes::from(body.clone())).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body == body);
}
