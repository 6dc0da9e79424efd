//! What is refused, what is read, and that what is written reads back.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [START, &[command, family], &length, body].concat()
}

fn client(source: &str, destination: &str) -> Origin {
    Origin::Client(Addresses::new(
        source.parse().unwrap(),
        destination.parse().unwrap(),
    ))
}

#[test]
fn what_is_no_header_is_seen_with_its_first_wrong_byte() {
    let hello = &b"\x16\x03\x01\x02\x00"[..];
    for bytes in [
        hello,
        b"G",
        b"PROXX",
        b"proxy ",
        b"\r\n\r\n\0\r\nQUIX",
        b"\n",
    ] {
        assert_eq!(parse(bytes), Err(ProxyError::NoHeader), "{bytes:?}");
    }
}

#[test]
fn a_line_that_breaks_the_grammar_is_refused() {
    for line in [
        "TCP4 1.2.3.4 1.2.3.5 1",
        "TCP4 1.2.3.4 1.2.3.5 1 2 3",
        "TCP4 1.2.3.4 1.2.3.5 1 2 ",
        "TCP4  1.2.3.4 1.2.3.5 1 2",
        "TCP4 01.2.3.4 1.2.3.5 1 2",
        "TCP4 1.2.3.4 1.2.3.5 01 2",
        "TCP4 1.2.3.4 1.2.3.5 +1 2",
        "TCP4 1.2.3.4 1.2.3.5 1 65536",
        "TCP4 ::1 ::1 1 2",
        "TCP6 1.2.3.4 1.2.3.5 1 2",
        "TCP6 fe80::1%lo ::1 1 2",
        "UDP4 1.2.3.4 1.2.3.5 1 2",
        "tcp4 1.2.3.4 1.2.3.5 1 2",
        "TCP4 1.2.3.4 1.2.3.5 1\n2",
        "",
    ] {
        let bytes = format!("PROXY {line}\r\n");
        assert_eq!(parse(bytes.as_bytes()), Err(ProxyError::Line), "{line:?}");
    }
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat();
    assert_eq!(endless.len(), 107);
    assert_eq!(parse(&endless), Err(ProxyError::TooLong));
}

#[test]
fn a_binary_header_that_breaks_the_format_is_refused() {
    let addresses = [0; 12];
    let crc = |value: &[u8]| {
        [
            &addresses[..],
            &[3, 0, u8::try_from(value.len()).unwrap()],
            value,
        ]
        .concat()
    };
    for (bytes, error) in [
        (v2(0x11, 0x11, &addresses), ProxyError::Command),
        (v2(0x22, 0x11, &addresses), ProxyError::Command),
        (v2(0x21, 0x13, &addresses), ProxyError::Family),
        (v2(0x21, 0x41, &addresses), ProxyError::Family),
        (v2(0x21, 0x11, &addresses[1..]), ProxyError::Addresses),
        (v2(0x21, 0x21, &addresses), ProxyError::Addresses),
        (v2(0x21, 0x11, &[0; 14]), ProxyError::Tlv),
        (
            v2(0x21, 0x11, &[&addresses[..], &[1, 0, 9, 0]].concat()),
            ProxyError::Tlv,
        ),
        (v2(0x21, 0x11, &crc(&[0; 4])), ProxyError::Checksum),
        (v2(0x21, 0x11, &crc(&[0; 3])), ProxyError::Checksum),
        (v2(0x21, 0x11, &[0; MAX]), ProxyError::TooLong),
    ] {
        assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
    }
}

#[test]
fn a_second_checksum_is_refused_though_the_first_holds() {
    let mut bytes = v2(0x21, 0x00, &[3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 1, 2, 3, 4]);
    let sum = crc32c::crc32c(&[&bytes]).to_be_bytes();
    bytes[19..23].copy_from_slice(&sum);
    assert_eq!(parse(&bytes), Err(ProxyError::Checksum));
}

#[test]
fn what_is_not_over_tcp_has_no_client() {
    for (family, size) in [(0x00, 0), (0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
        let bytes = v2(0x21, family, &vec![7; size]);
        let (header, length) = parse(&bytes).unwrap().unwrap();
        assert_eq!((header.origin, length), (Origin::Unknown, bytes.len()));
    }
    let (header, _) = parse(b"PROXY UNKNOWN 1.2.3.4 anything\r\n")
        .unwrap()
        .unwrap();
    assert_eq!(header.origin, Origin::Unknown);
}

#[test]
fn a_local_connection_is_the_proxys_own_whatever_else_is_said() {
    for (family, body) in [(0x00, &[][..]), (0x11, &[9; 12]), (0x99, &[1, 2, 3])] {
        let (header, _) = parse(&v2(0x20, family, body)).unwrap().unwrap();
        let none = Vec::new();
        assert_eq!((header.origin, header.tlvs), (Origin::Local, none));
    }
}

#[test]
fn headers_of_others_are_read() {
    let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\nGET";
    let (header, length) = parse(line).unwrap().unwrap();
    assert_eq!(
        header.origin,
        client("[2001:db8::1]:56324", "[2001:db8::2]:443")
    );
    assert_eq!(&line[length..], b"GET");
    // As HAProxy 2.6 sends it with `send-proxy-v2 proxy-v2-options crc32c`, but for the ports.
    let body = [127, 0, 0, 1, 127, 0, 0, 1, 0, 80, 1, 187];
    let (header, length) = parse(&v2(0x21, 0x11, &body)).unwrap().unwrap();
    assert_eq!(header.origin, client("127.0.0.1:80", "127.0.0.1:443"));
    assert_eq!(length, 28);
}

#[test]
fn ends_of_two_families_are_told_in_one() {
    let origin = client("1.2.3.4:5", "[2001:db8::2]:443");
    let mut line = Vec::new();
    write_v1(&origin, &mut line);
    assert_eq!(line, b"PROXY TCP6 ::ffff:1.2.3.4 2001:db8::2 5 443\r\n");
    assert_eq!(parse(&line).unwrap().unwrap().0.origin, origin);
}

#[test]
fn what_does_not_fit_is_not_written() {
    let mut out = Vec::new();
    for size in [MAX, 70_000] {
        let tlvs = [Tlv::new(tlv::NOOP, vec![0; size])];
        assert_eq!(
            write_v2(&Origin::Unknown, &tlvs, &mut out),
            Err(ProxyError::TooLong)
        );
    }
    assert!(out.is_empty());
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

fn origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        1 => Just(Origin::Unknown),
        4 => (address(), address()).prop_map(|(a, b)| Origin::Client(Addresses::new(a, b))),
    ]
}

fn certificate() -> impl Strategy<Value = ssl::Certificate> {
    let shown = || prop_oneof![Just(ssl::Shown::Now), Just(ssl::Shown::Before)];
    prop_oneof![
        Just(ssl::Certificate::Absent),
        shown().prop_map(ssl::Certificate::Unverified),
        shown().prop_map(ssl::Certificate::Verified),
    ]
}

#[test]
fn what_is_cut_off_of_the_facts_of_tls_is_seen() {
    assert_eq!(Ssl::read(&[1, 0, 0, 0]), Err(ProxyError::Tlv));
    assert_eq!(
        Ssl::read(&[1, 0, 0, 0, 0, 0x21, 0, 9]),
        Err(ProxyError::Tlv)
    );
    assert_eq!(Ssl::read(&[0; 5]), Ok(None), "not over TLS");
}

fn tlvs() -> impl Strategy<Value = Vec<Tlv>> {
    let kind = any::<u8>().prop_filter("the writer's own", |kind| *kind != tlv::CRC32C);
    let value = proptest::collection::vec(any::<u8>(), 0..64);
    let tlv = (kind, value).prop_map(|(kind, value)| Tlv { kind, value });
    proptest::collection::vec(tlv, 0..6)
}

/// The whole is read as `header`, no beginning of it is, and what follows is not touched.
fn reads_back(mut bytes: Vec<u8>, header: &Header) -> Result<(), TestCaseError> {
    let length = bytes.len();
    for end in 0..length {
        prop_assert_eq!(parse(&bytes[..end]), Ok(None));
    }
    bytes.extend_from_slice(b"\x16\x03\x01");
    prop_assert_eq!(parse(&bytes), Ok(Some((header.clone(), length))));
    Ok(())
}

proptest! {
    #[test]
    fn a_line_reads_back(origin in origin()) {
        let mut bytes = Vec::new();
        write_v1(&origin, &mut bytes);
        reads_back(bytes, &Header { origin, tlvs: Vec::new() })?;
    }

    #[test]
    fn a_binary_header_reads_back(origin in origin(), tlvs in tlvs()) {
        let mut bytes = Vec::new();
        write_v2(&origin, &tlvs, &mut bytes).unwrap();
        reads_back(bytes, &Header { origin, tlvs })?;
    }

    #[test]
    fn the_facts_of_tls_read_back(certificate in certificate(), facts in tlvs()) {
        let ssl = Ssl { certificate, facts };
        let told = ssl.to_tlv().unwrap();
        prop_assert_eq!(told.kind, ssl::SSL);
        prop_assert_eq!(Ssl::read(&told.value), Ok(Some(ssl)));
    }

    #[test]
    fn a_changed_bit_of_an_address_is_seen(a in address(), b in address(), at in 0_usize..12 * 8, tlvs in tlvs()) {
        let mut bytes = Vec::new();
        let origin = Origin::Client(Addresses::new(a, b));
        write_v2(&origin, &tlvs, &mut bytes).unwrap();
        bytes[16 + at / 8] ^= 1 << (at % 8);
        prop_assert_eq!(parse(&bytes), Err(ProxyError::Checksum));
    }

    #[test]
    fn any_bytes_are_read_or_refused(start in 0_usize..3, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let start = [&b""[..], b"PROXY ", START][start];
        let bytes = [start, &rest].concat();
        if let Ok(Some((header, length))) = parse(&bytes) {
            prop_assert!(length <= bytes.len() && length <= MAX);
            let again = parse(&bytes[..length]);
            prop_assert_eq!(again, Ok(Some((header, length))));
        }
    }
}
