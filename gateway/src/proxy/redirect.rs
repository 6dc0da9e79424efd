//! A plain HTTP listener that only points to https (RFC 9110, section 15.4.9).

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::authority::RequestHost;
use super::headers::prepare_response;
use super::worker::{Worker, head_limits};
use crate::http1::{ConnectionHeader, Framing, HeadScan, RequestHead, encode};
use crate::reason::Reason;
use crate::telemetry::RefusalRecord;

/// Answers one request with 308 to the same URL under https and closes.
pub async fn serve(
    mut tcp: TcpStream,
    peer: SocketAddr,
    (listener, port): (&str, u16),
    worker: Rc<Worker>,
) {
    let snapshot = worker.snapshot();
    let limit = snapshot.timeouts.header;
    let served = timeout(limit, answer(&mut tcp, port, &worker)).await;
    let reason = match served {
        Ok(None) => return,
        Ok(Some(reason)) => reason,
        Err(_) => Reason::RequestTimeout,
    };
    worker.refuse(&RefusalRecord::of_connection(reason, peer, listener));
}

async fn answer(tcp: &mut TcpStream, port: u16, worker: &Worker) -> Option<Reason> {
    let limits = head_limits(&worker.snapshot());
    let (mut read, mut scan) = (BytesMut::new(), HeadScan::default());
    let parsed = loop {
        match scan.request(&mut read, &limits) {
            Ok(Some(head)) => break Ok(head),
            Ok(None) => {}
            Err(error) => break Err(error),
        }
        match tcp.read_buf(&mut read).await {
            Ok(0) | Err(_) => return None, // It left without having asked.
            Ok(_) => {}
        }
    };
    let mut headers = HeaderMap::new();
    prepare_response(&mut headers);
    let (status, reason) = match parsed.map(|head| location(&head, port)) {
        Ok(Some(location)) => {
            headers.insert(header::LOCATION, location);
            (StatusCode::PERMANENT_REDIRECT, None)
        }
        Ok(None) => (StatusCode::BAD_REQUEST, Some(Reason::RequestMalformed)),
        Err(error) => (error.status(), Some(Reason::RequestMalformed)),
    };
    let mut write = BytesMut::new();
    let ends = (ConnectionHeader::Close, Version::HTTP_11);
    encode::response_head(&mut write, status, &headers, Framing::Length(0), ends);
    // A client that does not read its redirect loses nothing else.
    let _ = tcp.write_all(&write).await;
    let _ = tcp.shutdown().await;
    reason
}

fn location(head: &RequestHead, port: u16) -> Option<HeaderValue> {
    let host = RequestHost::of(&head.parts)?;
    let name = if host.name.contains(':') {
        format!("[{}]", host.name)
    } else {
        host.name.to_string()
    };
    let port = if port == 443 {
        String::new()
    } else {
        format!(":{port}")
    };
    let target = head
        .parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let target = if target.starts_with('/') { target } else { "/" };
    HeaderValue::try_from(format!("https://{name}{port}{target}")).ok()
}

#[cfg(test)]
mod tests {
    use crate::http1::{HeadLimits, parse_request};

    use super::*;

    fn redirect(request: &str, port: u16) -> Option<String> {
        let limits = HeadLimits {
            bytes: 4096,
            headers: 32,
            target: 1024,
        };
        let head = parse_request(&mut request.as_bytes().into(), &limits)
            .unwrap()
            .unwrap();
        location(&head, port).map(|location| location.to_str().unwrap().to_owned())
    }

    #[test]
    fn path_and_query_are_kept_and_the_port_is_ours() {
        let url = redirect("GET /a?b=c HTTP/1.1\r\nHost: example.com:80\r\n\r\n", 443);
        assert_eq!(url.as_deref(), Some("https://example.com/a?b=c"));
        let url = redirect("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", 8443);
        assert_eq!(url.as_deref(), Some("https://[::1]:8443/"));
    }
}
