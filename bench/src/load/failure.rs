//! How a unit fails, and the kind it is counted as.

use std::io;

use rustls::{AlertDescription, Error};

/// Why a unit came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection: refused, unreachable, no port left.
    Connect,
    /// Not within the time allowed.
    Timeout,
    /// The server broke the connection off.
    Reset,
    /// The server ended the connection where more was due.
    Eof,
    /// TLS: an alert of the server, or what the client found wrong.
    Tls(Error),
    /// The server speaks another protocol than was asked for.
    Protocol,
    /// An answer that is none, or breaks off, or breaks a rule of the protocol.
    Http,
    /// An answer that says no.
    Status(u16),
    /// It was to start before the end, but every connection was busy.
    Late,
    /// Nothing came until the end.
    Unanswered,
    /// An idle connection that was closed.
    Gone,
}

impl Failure {
    /// What went wrong in a call to the socket of an open connection.
    pub(super) fn of_io(error: &io::Error) -> Self {
        if let Some(tls) = error
            .get_ref()
            .and_then(|held| held.downcast_ref::<Error>())
        {
            return Self::Tls(tls.clone());
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Eof,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Reset,
        }
    }

    /// What it is counted as.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Connect => "connect".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::Eof => "eof".to_owned(),
            Self::Tls(error) => tls_kind(error),
            Self::Protocol => "protocol".to_owned(),
            Self::Http => "http".to_owned(),
            Self::Status(status) => format!("status:{status}"),
            Self::Late => "late".to_owned(),
            Self::Unanswered => "unanswered".to_owned(),
            Self::Gone => "gone".to_owned(),
        }
    }
}

fn tls_kind(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => format!("alert:{}", alert_name(*alert)),
        Error::InvalidCertificate(why) => {
            // With the facts it comes with, there were as many kinds as certificates.
            let why = format!("{why:?}");
            let word = why.split([' ', '(', '{']).next().unwrap_or_default();
            format!("certificate:{word}")
        }
        _ => "tls".to_owned(),
    }
}

/// As RFC 8446 writes it, such as `certificate_required`.
fn alert_name(alert: AlertDescription) -> String {
    let camel = format!("{alert:?}");
    let mut name = String::with_capacity(camel.len() + 4);
    let mut last_was_small = false;
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && last_was_small {
            name.push('_');
        }
        last_was_small = letter.is_ascii_lowercase();
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn alerts_are_called_as_in_the_rfc() {
        for (alert, name) in [
            (
                AlertDescription::CertificateRequired,
                "certificate_required",
            ),
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::HandshakeFailure, "handshake_failure"),
            (AlertDescription::BadRecordMac, "bad_record_mac"),
        ] {
            assert_eq!(
                Failure::Tls(Error::AlertReceived(alert)).kind(),
                format!("alert:{name}")
            );
        }
    }

    #[test]
    fn a_distrusted_certificate_is_one_kind_whatever_its_facts() {
        let wrong = CertificateError::NotValidForName;
        assert_eq!(
            Failure::Tls(wrong.into()).kind(),
            "certificate:NotValidForName"
        );
        let error = io::Error::other(Error::from(CertificateError::UnknownIssuer));
        assert_eq!(Failure::of_io(&error).kind(), "certificate:UnknownIssuer");
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(Failure::of_io(&reset).kind(), "reset");
    }
}
