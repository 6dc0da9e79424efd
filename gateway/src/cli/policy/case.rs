//! The file of expected decisions: `[[case]]`, read strictly, each mistake with its line.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_config::attribute_oid;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use toml::Spanned;

use crate::identity::{Attribute, ClientIdentity, Identity};

/// One expected decision, ready to be asked.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) subject: Subject,
    pub(super) host: String,
    pub(super) method: String,
    /// Without its query.
    pub(super) path: String,
    pub(super) from: IpAddr,
    pub(super) headers: HeaderMap,
    pub(super) expect: Expected,
    pub(super) rule: Option<String>,
}

/// Who asks.
#[derive(Debug)]
pub(super) struct Subject(pub(super) ClientIdentity);

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Expected {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    case: Vec<Spanned<RawCase>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: Option<String>,
    /// Who asks: `"nobody"`, or names of a certificate.
    #[serde(rename = "as")]
    subject: toml::Value,
    host: String,
    #[serde(default = "get")]
    method: String,
    path: String,
    from: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, OneOrMany>,
    expect: Expected,
    rule: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// The names of a certificate that is supposed to be verified, or a file with one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSubject {
    cert: Option<String>,
    spiffe: Option<String>,
    uri: Option<OneOrMany>,
    dns: Option<OneOrMany>,
    common_name: Option<String>,
    #[serde(default)]
    subject: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    issuer: BTreeMap<String, OneOrMany>,
    policies: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// Reads the file; else every mistake in it.
pub(super) fn read(file: &Path) -> Result<Vec<Case>, Vec<String>> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| vec![format!("{name}: {error}")])?;
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    let raw: RawFile = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        vec![format!("{name}:{}: {}", line(at), error.message())]
    })?;
    if raw.case.is_empty() {
        return Err(vec![format!("{name}: there is no [[case]]")]);
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let (mut cases, mut problems) = (Vec::new(), Vec::new());
    for (number, raw) in raw.case.into_iter().enumerate() {
        let line = line(raw.span().start);
        match case(raw.into_inner(), (number + 1, line), folder) {
            Ok(case) => cases.push(case),
            Err(problem) => problems.push(format!("{name}:{line}: {problem}")),
        }
    }
    if problems.is_empty() {
        Ok(cases)
    } else {
        Err(problems)
    }
}

fn case(raw: RawCase, (number, line): (usize, usize), folder: &Path) -> Result<Case, String> {
    let from = match raw.from {
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(text) => text
            .parse()
            .map_err(|_| format!("`from` is one address, and `{text}` is none"))?,
    };
    let mut headers = HeaderMap::new();
    for (name, values) in raw.headers {
        let parsed = HeaderName::try_from(&name)
            .map_err(|_| format!("`{name}` is no name of a header field"))?;
        for value in values.into_vec() {
            let value = HeaderValue::try_from(value)
                .map_err(|_| format!("the value of `{name}` cannot stand in a header"))?;
            headers.append(parsed.clone(), value);
        }
    }
    let path = raw.path.split('?').next().unwrap_or_default().to_owned();
    if http::Method::from_bytes(raw.method.as_bytes()).is_err() {
        return Err(format!("`{}` is no method", raw.method));
    }
    let host = raw.host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
    Ok(Case {
        name: raw.name.unwrap_or_else(|| format!("case {number}")),
        line,
        subject: Subject(subject(raw.subject, folder)?),
        host,
        method: raw.method,
        path,
        from,
        headers,
        expect: raw.expect,
        rule: raw.rule,
    })
}

fn subject(raw: toml::Value, folder: &Path) -> Result<ClientIdentity, String> {
    let raw: RawSubject = match raw {
        toml::Value::String(word) if word == "nobody" => return Ok(ClientIdentity::Absent),
        toml::Value::Table(table) => table
            .try_into()
            .map_err(|error: toml::de::Error| format!("`as`: {}", error.message()))?,
        _ => {
            return Err(
                "`as` is \"nobody\" or a table, as in { spiffe = \"spiffe://...\" }".to_owned(),
            );
        }
    };
    if let Some(cert) = &raw.cert {
        let lists = [&raw.uri, &raw.dns, &raw.policies]
            .iter()
            .any(|list| list.is_some());
        let texts = raw.spiffe.is_some() || raw.common_name.is_some();
        if lists || texts || !raw.subject.is_empty() || !raw.issuer.is_empty() {
            return Err("`cert` stands alone: the names are in the certificate".to_owned());
        }
        let path = folder.join(cert);
        let leaf = CertificateDer::from_pem_file(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let identity = Identity::read(&leaf)
            .map_err(|_| format!("{}: this is no certificate", path.display()))?;
        return Ok(ClientIdentity::Verified(Arc::new(identity)));
    }
    supposed(raw).map(|identity| ClientIdentity::Verified(Arc::new(identity)))
}

/// The identity a certificate with these names would have.
fn supposed(raw: RawSubject) -> Result<Identity, String> {
    if raw.spiffe.is_some() && raw.uri.is_some() {
        return Err("a certificate with `spiffe` has no other `uri`".to_owned());
    }
    let mut uris = raw.uri.map(OneOrMany::into_vec).unwrap_or_default();
    uris.extend(raw.spiffe);
    let spiffe = match uris.as_slice() {
        [uri] if uri.starts_with("spiffe://") => Some(uri.clone()),
        _ => None,
    };
    let mut subject_attributes = attributes(raw.subject)?;
    let oid_of_cn = attribute_oid("CN").unwrap_or_default();
    if let Some(name) = &raw.common_name {
        subject_attributes.push(Attribute {
            oid: oid_of_cn.to_owned(),
            value: name.clone(),
        });
    }
    let common_name = subject_attributes
        .iter()
        .rfind(|attribute| attribute.oid == oid_of_cn)
        .map(|attribute| attribute.value.clone());
    let dns = raw.dns.map(OneOrMany::into_vec).unwrap_or_default();
    Ok(Identity {
        spiffe,
        uris,
        dns: dns.iter().map(|name| name.to_ascii_lowercase()).collect(),
        common_name,
        subject_attributes,
        issuer_attributes: attributes(raw.issuer)?,
        policies: raw.policies.map(OneOrMany::into_vec).unwrap_or_default(),
        ..Identity::default()
    })
}

fn attributes(raw: BTreeMap<String, OneOrMany>) -> Result<Vec<Attribute>, String> {
    let mut attributes = Vec::new();
    for (name, values) in raw {
        let dotted = name.contains('.').then_some(name.as_str());
        let oid = attribute_oid(&name)
            .or(dotted)
            .ok_or_else(|| format!("no attribute is called `{name}`"))?;
        attributes.extend(values.into_vec().into_iter().map(|value| Attribute {
            oid: oid.to_owned(),
            value,
        }));
    }
    Ok(attributes)
}
