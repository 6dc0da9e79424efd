//! Paths: what is accepted has one reading, whatever a stack behind the gateway decodes, folds or cuts off.

use portcullis::path::CanonicalPath;

/// Parses the input as the path of a request.
pub fn check(data: &[u8]) {
    let Ok(sent) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(path) = CanonicalPath::parse(sent) else {
        return;
    };
    let text = path.as_str();
    assert_eq!(path.is_rewritten(), sent.contains('%'));
    let again = CanonicalPath::parse(text).expect("canonical");
    assert_eq!(again.as_str(), text);
    assert!(text == "*" || text.starts_with('/'));
    assert!(text == "*" || path.is_below(""));
    // One more decoder, two more: no separator and no dot segment comes to light.
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..3 {
        assert!(!bytes.windows(2).any(|pair| pair == b"//"));
        assert!(
            !bytes
                .iter()
                .any(|byte| matches!(byte, b'\\' | b';' | 0..=0x1f | 0x7f))
        );
        let mut segments = bytes.split(|byte| *byte == b'/');
        assert!(!segments.any(|segment| matches!(segment, b"." | b"..")));
        let next = decoded(&bytes);
        let slashes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'/').count();
        assert_eq!(slashes(&next), slashes(&bytes));
        bytes = next;
    }
    // What somebody decoded that counts bytes and not characters.
    assert!(!String::from_utf8_lossy(&bytes).contains("/../"));
}

/// Percent-decoding as a careless stack does it.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}
