//! Answers that come piece by piece, and requests for a part of one: passed on as they are.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use portcullis_bench::echo::Echo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::harness::{Client, Gateway, within};

const EVENTS: usize = 20;

/// A service that sends an event only when it is told to.
async fn events(mut told: mpsc::UnboundedReceiver<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        tcp.write_all(head.as_bytes()).await.unwrap();
        while told.recv().await.is_some() {
            tcp.write_all(b"9\r\ndata: x\n\n\r\n").await.unwrap();
        }
        tcp.write_all(b"0\r\n\r\n").await.unwrap();
    });
    format!("http://{address}")
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    for client in [Client::new(), Client::new().h2()] {
        let (tell, told) = mpsc::unbounded_channel();
        let gateway = Gateway::builder()
            .upstream_at("echo", &events(told).await, "")
            .allow("anyone")
            .spawn()
            .await;
        let mut connection = client.connect(gateway.address()).await.unwrap();
        let request = Request::get("/events").body(Full::<Bytes>::default());
        let mut body = connection
            .begin(request.unwrap())
            .await
            .unwrap()
            .into_body();
        for _ in 0..EVENTS {
            // The next is sent only when the one before has arrived.
            tell.send(()).unwrap();
            let mut event = Vec::new();
            while event.len() < 9 {
                let frame = within("an event", body.frame()).await.unwrap().unwrap();
                event.extend(frame.into_data().unwrap());
            }
            assert_eq!(event, b"data: x\n\n");
        }
        drop(tell);
        let rest = within("the end", body.collect()).await.unwrap();
        assert!(rest.to_bytes().is_empty());
    }
}

#[tokio::test]
async fn range_and_its_conditions_are_not_touched() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    for client in [Client::new(), Client::new().h2()] {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        let request = Request::get("/file")
            .header("range", "bytes=0-9, 20-")
            .header("if-range", "\"tag\"");
        let request = request.body(Full::default()).unwrap();
        let answer = connection.send(request).await.unwrap();
        assert_eq!(answer.upstream_saw("range"), ["bytes=0-9, 20-"]);
        assert_eq!(answer.upstream_saw("if-range"), ["\"tag\""]);
    }
}
