//! HTTP/3 on paths that change under a connection, or lose what is sent over them.

use std::net::{Ipv4Addr, UdpSocket};

use bytes::Bytes;
use http::Method;
use portcullis_bench::echo::Echo;

use crate::harness::{Client, Gateway, Lossy};

#[tokio::test]
async fn a_client_keeps_its_connection_when_its_port_changes_twenty_times() {
    let echo = Echo::start().await.unwrap();
    // Two workers: the kernel gives most new ports to the wrong one.
    let gateway = Gateway::with_h3(&echo).spawn().await;
    let link = Client::new().over_h3().h3(gateway.address()).await.unwrap();
    for round in 0..20 {
        let fresh = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        link.endpoint.rebind(fresh).unwrap();
        let answer = link.get(&format!("/{round}")).await;
        assert_eq!(answer.unwrap().status, 200, "{round}");
        assert!(link.quic.close_reason().is_none());
    }
}

#[tokio::test]
async fn a_path_that_loses_and_reorders_costs_time_and_no_answers() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::with_h3(&echo).spawn().await;
    for seed in [1, 2, 3] {
        let path = Lossy::to(gateway.address(), seed).await;
        let link = Client::new().over_h3().h3(path.address()).await.unwrap();
        for round in 0..20 {
            let answer = link.get(&format!("/{seed}/{round}")).await.unwrap();
            assert_eq!(answer.status, 200);
        }
        let body = Bytes::from(vec![7; 300_000]);
        let request = link.request(Method::POST, "/upload");
        assert_eq!(link.send(request, body).await.unwrap().status, 200);
        assert!(path.lost() > 0, "a path that loses nothing proves nothing");
    }
}
