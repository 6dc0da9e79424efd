//! Certificate authorities, certificates and lists for the tests of this room.
//!
//! Lists are written here and not with rcgen, which knows neither deltas nor reasons nor scopes.

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, SerialNumber, SigningKey,
};
use rustls_pki_types::{CertificateDer, TrustAnchor};

use super::der::{self, constructed, context};

/// 2026-01-01, about when the tests take place.
pub(super) const NOW: i64 = 1_767_225_600;
pub(super) const HOUR: i64 = 3600;
pub(super) const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";

pub(super) struct Ca {
    pub(super) der: CertificateDer<'static>,
    pub(super) anchor: TrustAnchor<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = ca_params(name);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self::of(der, Issuer::new(params, key))
    }

    /// A CA below this one.
    pub(super) fn below(&self, name: &str, serial: u64) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params(name);
        params.serial_number = Some(SerialNumber::from(serial));
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self::of(der, Issuer::new(params, key))
    }

    fn of(der: CertificateDer<'static>, issuer: Issuer<'static, KeyPair>) -> Self {
        let anchor = webpki::anchor_from_trusted_cert(&der).unwrap().to_owned();
        Self {
            der,
            anchor,
            issuer,
        }
    }

    /// A certificate that names these distribution points.
    pub(super) fn leaf(&self, serial: u64, points: &[&str]) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        params.crl_distribution_points = points
            .iter()
            .map(|uri| CrlDistributionPoint {
                uris: vec![(*uri).to_owned()],
            })
            .collect();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        signed.der().to_vec()
    }

    /// A responder with a certificate of this CA, for the purposes given; and its certificate as the issuer of
    /// answers.
    pub(super) fn responder(&self, purposes: Vec<ExtendedKeyUsagePurpose>, end: i64) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "responder");
        params.extended_key_usages = purposes;
        params.not_after = time::OffsetDateTime::from_unix_timestamp(end).unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self::of(der, Issuer::new(params, key))
    }

    /// Certificate and key as PEM, for other programs.
    pub(super) fn pems(&self) -> (String, String) {
        let body = pem(&self.der);
        let text = String::from_utf8(body).unwrap();
        let key = self.issuer.key().serialize_pem();
        (text.replace("X509 CRL", "CERTIFICATE"), key)
    }

    /// The content of its SubjectPublicKeyInfo.
    pub(super) fn key(&self) -> &[u8] {
        self.anchor.subject_public_key_info.as_ref()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.issuer.key().sign(message).unwrap()
    }

    /// A list as rcgen makes it, current today.
    pub(super) fn rcgen_list(&self, serial: u64) -> Vec<u8> {
        let now = time::OffsetDateTime::now_utc();
        let params = rcgen::CertificateRevocationListParams {
            this_update: now - time::Duration::HOUR,
            next_update: now + time::Duration::HOUR,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![rcgen::RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: now,
                reason_code: Some(rcgen::RevocationReason::KeyCompromise),
                invalidity_date: Some(now),
            }],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    /// The list, signed.
    pub(super) fn list(&self, list: &ListParams) -> Vec<u8> {
        let tbs = list.tbs(self.anchor.subject.as_ref());
        let signature = self.sign(&tbs);
        let bits = der::wrap(der::BIT_STRING, &[&[0], &signature]);
        der::wrap(der::SEQUENCE, &[&tbs, ECDSA_SHA256, &bits])
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// What stands in a list.
#[derive(Debug, Clone)]
pub(super) struct ListParams {
    pub(super) number: u64,
    pub(super) base: Option<u64>,
    pub(super) this_update: i64,
    pub(super) next_update: Option<i64>,
    /// Serial number and reason.
    pub(super) entries: Vec<(u64, u8)>,
    pub(super) scope: ScopeParams,
    /// A critical extension nobody knows.
    pub(super) strange: bool,
    /// Where its deltas are.
    pub(super) freshest: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ScopeParams {
    pub(super) uri: Option<&'static str>,
    pub(super) users_only: bool,
    pub(super) cas_only: bool,
    /// ReasonFlags, the first named bit lowest.
    pub(super) reasons: Option<u16>,
    pub(super) indirect: bool,
}

impl Default for ListParams {
    fn default() -> Self {
        Self {
            number: 1,
            base: None,
            this_update: NOW - HOUR,
            next_update: Some(NOW + HOUR),
            entries: Vec::new(),
            scope: ScopeParams::default(),
            strange: false,
            freshest: None,
        }
    }
}

impl ListParams {
    fn tbs(&self, issuer: &[u8]) -> Vec<u8> {
        let entries: Vec<_> = self
            .entries
            .iter()
            .map(|(serial, reason)| entry(*serial, *reason, self.this_update))
            .collect();
        let entries = match entries.is_empty() {
            true => Vec::new(),
            false => der::wrap(der::SEQUENCE, &[&entries.concat()]),
        };
        let mut extensions = extension(&[0x55, 0x1d, 0x14], false, &integer(self.number));
        if let Some(base) = self.base {
            extensions.extend(extension(&[0x55, 0x1d, 0x1b], true, &integer(base)));
        }
        if self.scope != ScopeParams::default() {
            extensions.extend(extension(&[0x55, 0x1d, 0x1c], true, &self.scope.der()));
        }
        if let Some(uri) = &self.freshest {
            let name = der::wrap(constructed(0), &[&der::wrap(context(6), &[uri.as_bytes()])]);
            let point = der::wrap(der::SEQUENCE, &[&der::wrap(constructed(0), &[&name])]);
            let points = der::wrap(der::SEQUENCE, &[&point]);
            extensions.extend(extension(&[0x55, 0x1d, 0x2e], false, &points));
        }
        if self.strange {
            extensions.extend(extension(&[0x55, 0x1d, 0x7f], true, &integer(1)));
        }
        let parts: [&[u8]; 7] = [
            &integer(1),
            ECDSA_SHA256,
            &der::wrap(der::SEQUENCE, &[issuer]),
            &dated(self.this_update),
            &self.next_update.map(dated).unwrap_or_default(),
            &entries,
            &der::wrap(constructed(0), &[&der::wrap(der::SEQUENCE, &[&extensions])]),
        ];
        der::wrap(der::SEQUENCE, &parts)
    }
}

impl ScopeParams {
    fn der(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(uri) = self.uri {
            let name = der::wrap(constructed(0), &[&der::wrap(context(6), &[uri.as_bytes()])]);
            out.extend(der::wrap(constructed(0), &[&name]));
        }
        for (number, is_set) in [(1, self.users_only), (2, self.cas_only)] {
            if is_set {
                out.extend(der::wrap(context(number), &[&[0xff]]));
            }
        }
        if let Some(reasons) = self.reasons {
            let bytes = reasons.to_le_bytes().map(u8::reverse_bits);
            out.extend(der::wrap(context(3), &[&[0], &bytes]));
        }
        if self.indirect {
            out.extend(der::wrap(context(4), &[&[0xff]]));
        }
        der::wrap(der::SEQUENCE, &[&out])
    }
}

pub(super) fn integer(number: u64) -> Vec<u8> {
    let bytes = [&[0][..], &number.to_be_bytes()].concat();
    let leading = bytes
        .windows(2)
        .take_while(|pair| pair[0] == 0 && pair[1] < 0x80)
        .count();
    der::wrap(der::INTEGER, &[&bytes[leading..]])
}

pub(super) fn dated(seconds: i64) -> Vec<u8> {
    let time = x509_parser::time::ASN1Time::from_timestamp(seconds).unwrap();
    let time = time.to_datetime();
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    der::wrap(der::GENERALIZED_TIME, &[text.as_bytes()])
}

fn entry(serial: u64, reason: u8, since: i64) -> Vec<u8> {
    let code = der::wrap(der::ENUMERATED, &[&[reason]]);
    let extensions = match reason {
        0 => Vec::new(),
        _ => der::wrap(
            der::SEQUENCE,
            &[&extension(&[0x55, 0x1d, 0x15], false, &code)],
        ),
    };
    der::wrap(
        der::SEQUENCE,
        &[&integer(serial), &dated(since), &extensions],
    )
}

pub(super) fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { b"\x01\x01\xff" } else { b"" };
    let oid = der::wrap(der::OID, &[oid]);
    let content = der::wrap(der::OCTET_STRING, &[content]);
    der::wrap(der::SEQUENCE, &[&oid, critical, &content])
}

/// Lists, or what they are renamed to, as PEM.
pub(super) fn pem(der: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = b"-----BEGIN X509 CRL-----\n".to_vec();
    for (at, group) in der.chunks(3).enumerate() {
        let bytes = [0, 1, 2].map(|at| u32::from(group.get(at).copied().unwrap_or(0)));
        let bits = bytes[0] << 16 | bytes[1] << 8 | bytes[2];
        let digits = [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize]);
        out.extend(&digits[..=group.len()]);
        out.extend(&b"=="[..3 - group.len()]);
        if at % 16 == 15 {
            out.push(b'\n');
        }
    }
    out.extend(b"\n-----END X509 CRL-----\n");
    out
}
