//! Lists and answers over plain http/1.1: one request on one connection, bounded in size.
//!
//! What comes back is proven by its signature, not by where it came from (RFC 5280, section 8). The caller
//! bounds the time.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::error::Problem;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 3;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// GET.
    List,
    /// POST of an OCSP request.
    Status(Bytes),
}

/// Asks an `http://` address; at most `max_size` bytes of answer.
pub(super) async fn fetch(address: &str, ask: &Ask, max_size: u64) -> Result<Vec<u8>, Problem> {
    let mut uri = parse(address)?;
    for _ in 0..=REDIRECTS_MAX {
        let answer = once(&uri, ask, max_size).await?;
        match answer {
            Answer::Content(bytes) => return Ok(bytes),
            Answer::Elsewhere(location) => uri = resolve(&uri, &location)?,
        }
    }
    Err(failed("too many redirects"))
}

enum Answer {
    Content(Vec<u8>),
    Elsewhere(String),
}

async fn once(uri: &Uri, ask: &Ask, max_size: u64) -> Result<Answer, Problem> {
    let tcp = connect(uri).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.map_err(failed)?;
    // Ends with this function, whatever the peer does.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender
        .send_request(request(uri, ask)?)
        .await
        .map_err(failed)?;
    let status = response.status();
    let location = response.headers().get(LOCATION);
    if let (true, Some(location)) = (status.is_redirection(), location) {
        let location = location.to_str().map_err(failed)?;
        return Ok(Answer::Elsewhere(location.to_owned()));
    }
    if status != StatusCode::OK {
        return Err(Problem::Fetch(format!("the server answered {status}")));
    }
    let bound = usize::try_from(max_size).unwrap_or(usize::MAX);
    let body = Limited::new(response.into_body(), bound);
    match body.collect().await {
        Ok(body) => Ok(Answer::Content(body.to_bytes().into())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::TooLarge(max_size))
        }
        Err(error) => Err(failed(error)),
    }
}

async fn connect(uri: &Uri) -> Result<TcpStream, Problem> {
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(80);
    let mut last = failed("the host has no address");
    for address in lookup_host((host, port)).await.map_err(failed)? {
        match TcpStream::connect(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = failed(error),
        }
    }
    Err(last)
}

fn request(uri: &Uri, ask: &Ask) -> Result<Request<Full<Bytes>>, Problem> {
    let (method, body) = match ask {
        Ask::List => (Method::GET, Bytes::new()),
        Ask::Status(request) => (Method::POST, request.clone()),
    };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, authority)
        .header(USER_AGENT, HeaderValue::from_static("portcullis"))
        .body(Full::new(body))
        .map_err(failed)?;
    if let Ask::Status(_) = ask {
        let headers = request.headers_mut();
        let (asked, wanted) = ("application/ocsp-request", "application/ocsp-response");
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(asked));
        headers.insert(ACCEPT, HeaderValue::from_static(wanted));
    }
    Ok(request)
}

fn parse(address: &str) -> Result<Uri, Problem> {
    let uri: Uri = address.parse().map_err(failed)?;
    let plain = uri.scheme_str() == Some("http") && uri.host().is_some_and(|it| !it.is_empty());
    let user = uri.authority().is_some_and(|it| it.as_str().contains('@'));
    if plain && !user {
        Ok(uri)
    } else {
        Err(failed("only http:// addresses are fetched"))
    }
}

fn resolve(from: &Uri, location: &str) -> Result<Uri, Problem> {
    if !location.starts_with('/') || location.starts_with("//") {
        return parse(location);
    }
    let authority = from.authority().map_or("", |authority| authority.as_str());
    parse(&format!("http://{authority}{location}"))
}

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::Fetch(error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Serves these answers, one a connection; returns the address and, in the end, what was asked.
    async fn serve(answers: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut bytes = vec![0; 4096];
                let length = tcp.read(&mut bytes).await.unwrap();
                asked.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
                tcp.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (address, served)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
    }

    #[tokio::test]
    async fn what_is_too_large_or_not_200_is_refused() {
        let (address, _served) = serve(vec![
            answer("404 Not Found", "", "no"),
            answer("200 OK", "", "0123456789"),
            answer("302 Found", "location: https://elsewhere/\r\n", ""),
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_owned(),
        ])
        .await;
        for word in ["404", "larger than 9", "only http://", "error"] {
            let error = fetch(&address, &Ask::List, 9)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(fetch("http://127.0.0.1:1/", &Ask::List, 9).await.is_err());
        assert!(
            fetch("http://user@127.0.0.1/", &Ask::List, 9)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn redirects_are_followed_three_times() {
        let again = || answer("302 Found", "location: /again\r\n", "");
        let content = answer("200 OK", "", "list");
        let (address, _served) = serve(vec![again(), again(), again(), content]).await;
        let found = fetch(&address, &Ask::List, 9).await.unwrap();
        assert_eq!(found, b"list");
        let (address, _served) = serve(vec![again(), again(), again(), again()]).await;
        assert!(fetch(&address, &Ask::List, 9).await.is_err());
    }

    #[tokio::test]
    async fn a_status_is_asked_with_post() {
        let (address, served) = serve(vec![answer("200 OK", "", "yes")]).await;
        let ask = Ask::Status(Bytes::from_static(b"question"));
        let path = format!("{address}/ocsp?x=1");
        assert_eq!(fetch(&path, &ask, 9).await.unwrap(), b"yes");
        let asked = served.await.unwrap().concat();
        assert!(asked.starts_with("POST /ocsp?x=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("content-type: application/ocsp-request"));
    }
}
