//! What is asked: as it goes over the control socket, and checked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};

use crate::snapshot::normalize_host;

/// A question as it is sent. What is left out is what a plain client would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// The client's certificates, PEM, its own first; `None` is a client without one.
    pub chain: Option<String>,
    /// The server name (SNI); `"none"` is a client that sends none.
    pub server_name: Option<String>,
    /// Name of the listener.
    pub listener: Option<String>,
    /// Where the connection comes from.
    pub from: Option<IpAddr>,
    /// When, seconds since the Unix epoch; default is now.
    pub at: Option<u64>,
    /// The request; `None` asks about the handshake alone.
    pub request: Option<AskedRequest>,
}

/// A request as it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AskedRequest {
    /// Host; default is the server name.
    pub host: Option<String>,
    /// Method; default is GET.
    pub method: Option<String>,
    /// Path; default is `/`.
    pub path: Option<String>,
    /// Header fields, name and value.
    pub headers: Vec<(String, String)>,
}

/// A question that can be answered.
#[derive(Debug)]
pub struct Question {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) server_name: ServerName,
    pub(super) listener: Option<String>,
    pub(super) from: IpAddr,
    pub(super) at: UnixTime,
    pub(super) request: Option<Request>,
}

/// The server name of the ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServerName {
    /// As it is sent.
    Named(String),
    /// None is sent.
    Absent,
    /// It was not said what is sent.
    Unsaid,
}

/// The request of a question.
#[derive(Debug)]
pub(super) struct Request {
    /// Lower case, without port and trailing dot.
    pub(super) host: Option<String>,
    pub(super) method: Method,
    /// Without its query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
}

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionError {
    /// The chain is no PEM.
    Chain(String),
    /// It is no method.
    Method(String),
    /// It cannot stand in a header.
    Header(String),
    /// No https listener has the name; those there are.
    Listener(Option<String>, Vec<String>),
    /// Nothing says which host is meant.
    Host,
}

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(why) => write!(f, "the certificate cannot be read: {why}; give PEM"),
            Self::Method(text) => write!(f, "`{text}` is no method"),
            Self::Header(text) => {
                write!(f, "`{text}` is no header field; write it as 'name: value'")
            }
            Self::Listener(None, _) => f.write_str("there is no https listener"),
            Self::Listener(Some(name), known) => write!(
                f,
                "no https listener is called `{name}`; there are {}",
                known.join(", ")
            ),
            Self::Host => f.write_str("say which host the request is for (--host)"),
        }
    }
}

impl std::error::Error for QuestionError {}

impl Asked {
    /// The question, asked `now` unless it says when.
    ///
    /// # Errors
    /// Something in it cannot be read.
    pub fn check(self, now: UnixTime) -> Result<Question, QuestionError> {
        let chain = self
            .chain
            .map_or(Ok(Vec::new()), |pem| certificates(&pem))?;
        let server_name = match self.server_name {
            None => ServerName::Unsaid,
            Some(name) if name == "none" => ServerName::Absent,
            Some(name) => ServerName::Named(name),
        };
        let at = self.at.map(std::time::Duration::from_secs);
        Ok(Question {
            chain,
            server_name,
            listener: self.listener,
            from: self.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            at: at.map_or(now, UnixTime::since_unix_epoch),
            request: self.request.map(AskedRequest::check).transpose()?,
        })
    }
}

impl AskedRequest {
    fn check(self) -> Result<Request, QuestionError> {
        let method = self.method.unwrap_or_else(|| "GET".to_owned());
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let wrong = || QuestionError::Header(format!("{name}: {value}"));
            let parsed = HeaderName::try_from(&name).map_err(|_| wrong())?;
            let value = HeaderValue::try_from(&value).map_err(|_| wrong())?;
            headers.append(parsed, value);
        }
        let path = self.path.unwrap_or_else(|| "/".to_owned());
        Ok(Request {
            host: self.host.map(|host| normalize_host(&host).into_owned()),
            method: Method::from_bytes(method.as_bytes())
                .map_err(|_| QuestionError::Method(method))?,
            path: path.split('?').next().unwrap_or_default().to_owned(),
            headers,
        })
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, QuestionError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(chain) if chain.is_empty() => Err(QuestionError::Chain("there is none".to_owned())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(QuestionError::Chain(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(5))
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_it_is() {
        let chain = Asked {
            chain: Some("no PEM".to_owned()),
            ..Asked::default()
        };
        assert!(matches!(chain.check(now()), Err(QuestionError::Chain(_))));
        let request = |request: AskedRequest| Asked {
            request: Some(request),
            ..Asked::default()
        };
        let method = request(AskedRequest {
            method: Some("GE T".to_owned()),
            ..AskedRequest::default()
        });
        assert!(matches!(method.check(now()), Err(QuestionError::Method(_))));
        let header = request(AskedRequest {
            headers: vec![("a b".to_owned(), String::new())],
            ..AskedRequest::default()
        });
        assert!(matches!(header.check(now()), Err(QuestionError::Header(_))));
    }

    #[test]
    fn what_is_left_out_is_what_a_plain_client_does() {
        let asked = Asked {
            request: Some(AskedRequest {
                host: Some("API.Example.com.".to_owned()),
                path: Some("/a?b=c".to_owned()),
                ..AskedRequest::default()
            }),
            ..Asked::default()
        };
        let question = asked.check(now()).unwrap();
        let request = question.request.unwrap();
        assert_eq!(request.host.as_deref(), Some("api.example.com"));
        assert_eq!((request.method, &*request.path), (Method::GET, "/a"));
        assert!(question.chain.is_empty() && question.server_name == ServerName::Unsaid);
        assert_eq!((question.at, question.from.is_loopback()), (now(), true));
    }
}
