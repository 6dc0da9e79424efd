//! Flow control (section 6.9): what the gateway may send, and what it may be told.

use portcullis_bench::echo::Echo;

use super::Fate::{Connection, Stream};
use super::{Case, FLOW_CONTROL, PROTOCOL, case, hold};
use crate::harness::Gateway;
use crate::harness::frames::{DATA, Frames, get, settings, window_update};

const MOST: u32 = (1 << 31) - 1;

#[tokio::test]
async fn windows_that_cannot_be_are_errors() {
    let waiting = |then: Vec<u8>| [get(1, "/slow/3000"), then].concat();
    let cases: Vec<Case> = vec![
        case(
            "6.9/1 nothing more for the connection",
            window_update(0, 0),
            Connection(PROTOCOL),
        ),
        case(
            "6.9/2 nothing more for a stream",
            waiting(window_update(1, 0)),
            Stream(1, PROTOCOL),
        ),
        case(
            "6.9.1/2 too much for the connection",
            [window_update(0, MOST), window_update(0, MOST)].concat(),
            Connection(FLOW_CONTROL),
        ),
        case(
            "6.9.1/3 too much for a stream",
            waiting([window_update(1, MOST), window_update(1, MOST)].concat()),
            Stream(1, FLOW_CONTROL),
        ),
        case(
            "6.9.2/3 an initial window of 2^31",
            settings(&[(4, 1 << 31)]),
            Connection(FLOW_CONTROL),
        ),
        case(
            "an initial window that makes a stream's too large",
            waiting([window_update(1, MOST - 65_535), settings(&[(4, 65_536)])].concat()),
            Connection(FLOW_CONTROL),
        ),
    ];
    hold("6.9", cases).await;
}

/// The bytes of the next DATA frame.
async fn piece(client: &mut Frames) -> usize {
    let data = client.until("DATA", |frame| frame.kind == DATA).await;
    data.payload.len()
}

#[tokio::test]
async fn the_gateway_sends_no_more_than_it_may() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    // 6.9.1/1: a window of one byte.
    let mut client = Frames::open(&gateway, &[(4, 1)]).await;
    client.send(get(1, "/bytes/3")).await.unwrap();
    assert_eq!(piece(&mut client).await, 1);
    // 6.9.2/1: it grows with the setting, also that of a stream in progress.
    client.send(settings(&[(4, 2)])).await.unwrap();
    assert_eq!(piece(&mut client).await, 1);
    client.send(window_update(1, 9)).await.unwrap();
    assert_eq!(piece(&mut client).await, 1);
    // 6.9.2/2: a window can be less than nothing.
    let mut client = Frames::open(&gateway, &[(4, 3)]).await;
    client.send(get(1, "/bytes/9")).await.unwrap();
    assert_eq!(piece(&mut client).await, 3);
    client
        .send([settings(&[(4, 2)]), window_update(1, 2)].concat())
        .await
        .unwrap();
    assert_eq!(piece(&mut client).await, 1);
}
