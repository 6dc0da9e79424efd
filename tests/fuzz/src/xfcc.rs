//! `X-Forwarded-Client-Cert`: what is written reads back, and what is read can be written and appended to.

use portcullis::identity::Identity;
use portcullis::identity_fields::xfcc::{MAX, element, parse};
use portcullis_config::XfccDetail;
use rustls_pki_types::CertificateDer;

const ALL: [XfccDetail; 5] = [
    XfccDetail::Cert,
    XfccDetail::Chain,
    XfccDetail::Subject,
    XfccDetail::Uri,
    XfccDetail::Dns,
];

/// Reads the input as a value; then writes an element of its lines as names, and reads that.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(elements) = parse(&text) {
        assert!(text.len() <= MAX && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        assert!(elements.iter().all(|parts| !parts.is_empty()));
        let both = format!("{text},Hash=00");
        if both.len() <= MAX && elements.len() < 64 {
            let appended = parse(&both).expect("ours can follow");
            assert_eq!(appended[..elements.len()], elements[..]);
            assert_eq!(appended[elements.len()], [("Hash", "00".into())]);
        }
    }
    let mut lines = text.split('\n').map(str::to_owned);
    let (subject, by) = (lines.next().unwrap_or_default(), lines.next());
    let names: Vec<String> = lines.collect();
    let (uris, dns) = names.split_at(names.len() / 2);
    let identity = named(&subject, uris, dns);
    let chain = [
        CertificateDer::from(data.to_vec()),
        CertificateDer::from(vec![1]),
    ];
    let by: Vec<String> = by.into_iter().collect();
    read_back(&element(&identity, &chain, &by, &ALL), &identity, &by);
}

/// The element of an identity reads back as one element with its names.
pub fn read_back(text: &str, identity: &Identity, by: &[String]) {
    assert!(text.len() <= MAX);
    let elements = parse(text).expect("well-formed");
    assert_eq!(elements.len(), 1);
    let values = |key: &str| {
        let parts = elements[0].iter().filter(|(found, _)| *found == key);
        parts
            .map(|(_, value)| value.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(values("Hash"), [identity.sha256_hex()]);
    assert_same(&values("By"), by);
    if values("Subject").is_empty() {
        return; // Too long: the hash alone.
    }
    assert_same(&values("Subject"), std::slice::from_ref(&identity.subject));
    let none = [String::new()];
    let uris = Some(&*identity.uris).filter(|uris| !uris.is_empty());
    assert_same(&values("URI"), uris.unwrap_or(&none));
    assert_same(&values("DNS"), &identity.dns);
}

/// Equal, where nothing had to be percent-encoded.
fn assert_same(read: &[String], written: &[String]) {
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(written) {
        let plain = written.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        assert!(!plain || read == written, "{read:?} {written:?}");
    }
}

fn named(subject: &str, uris: &[String], dns: &[String]) -> Identity {
    Identity {
        uris: uris.to_vec(),
        dns: dns.to_vec(),
        subject: subject.to_owned(),
        sha256: [0xab; 32],
        ..Identity::default()
    }
}
