//! PROXY headers: read or refused, whatever comes; what was read can be told on and reads the same.

use portcullis::proxy_protocol::{MAX, Origin, Ssl, parse, write_v1, write_v2};

/// Reads the input as the beginning of a connection.
pub fn check(data: &[u8]) {
    let Ok(Some((header, length))) = parse(data) else {
        return;
    };
    assert!(length <= data.len() && length <= MAX);
    // Byte by byte it is the same, and no earlier end is seen: nobody reads too far.
    for end in 0..length {
        assert_eq!(parse(&data[..end]), Ok(None));
    }
    for fact in &header.tlvs {
        if let Ok(Some(ssl)) = Ssl::read(&fact.value) {
            let told = ssl.to_tlv().expect("it was shorter than a TLV");
            assert_eq!(Ssl::read(&told.value), Ok(Some(ssl)));
        }
    }
    let mut line = Vec::new();
    write_v1(&header.origin, &mut line);
    let (again, _) = parse(&line).expect("a line").expect("whole");
    match header.origin {
        Origin::Local => assert_eq!(again.origin, Origin::Unknown),
        origin => assert_eq!(again.origin, origin),
    }
    let mut bytes = Vec::new();
    // With its checksum a header of nearly 4 KiB does not fit.
    if write_v2(&header.origin, &header.tlvs, &mut bytes).is_ok() {
        assert_eq!(parse(&bytes), Ok(Some((header, bytes.len()))));
    }
}
