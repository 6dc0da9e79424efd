//! One JSON object on one line, field by field, for the line that is written for every request.
//!
//! Promises: what is written is what serde would write, and nothing a client sends ends the line or a string; only
//! the road there is shorter. Names are given as they stand in the object, quotes and colon included, and are the
//! gateway's own.

/// An object that is being written behind whatever `out` holds.
pub(super) struct JsonLine<'a> {
    out: &'a mut Vec<u8>,
    opened: bool,
}

impl<'a> JsonLine<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, opened: false }
    }

    /// A string. `name` is `"name":`.
    pub(super) fn text(&mut self, name: &'static str, value: &str) -> &mut Self {
        push_text(self.name(name), value);
        self
    }

    /// A string that `put` writes, of signs that need no escape.
    pub(super) fn with(&mut self, name: &'static str, put: fn(&mut Vec<u8>)) -> &mut Self {
        let out = self.name(name);
        out.push(b'"');
        put(out);
        out.push(b'"');
        self
    }

    /// A string, where there is one.
    pub(super) fn some_text(&mut self, name: &'static str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// A list of strings, unless it is empty.
    pub(super) fn texts<'t>(
        &mut self,
        name: &'static str,
        values: impl IntoIterator<Item = &'t str>,
    ) -> &mut Self {
        let mut values = values.into_iter();
        if let Some(first) = values.next() {
            let out = self.name(name);
            out.push(b'[');
            push_text(out, first);
            for value in values {
                out.push(b',');
                push_text(out, value);
            }
            out.push(b']');
        }
        self
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &'static str, value: i128) -> &mut Self {
        push_number(self.name(name), value);
        self
    }

    /// A decimal number with three places.
    pub(super) fn thousandths(&mut self, name: &'static str, value: u128) -> &mut Self {
        let out = self.name(name);
        push_number(out, value / 1000);
        out.push(b'.');
        push_places(out, (value % 1000) as u32, 3);
        self
    }

    /// True or false.
    pub(super) fn flag(&mut self, name: &'static str, value: bool) -> &mut Self {
        let value: &[u8] = if value { b"true" } else { b"false" };
        self.name(name).extend_from_slice(value);
        self
    }

    /// Ends the object.
    pub(super) fn end(&mut self) {
        let end: &[u8] = if self.opened { b"}" } else { b"{}" };
        self.out.extend_from_slice(end);
    }

    fn name(&mut self, name: &'static str) -> &mut Vec<u8> {
        debug_assert!(name.starts_with('"') && name.ends_with("\":"), "{name}");
        self.out.push(if self.opened { b',' } else { b'{' });
        self.opened = true;
        self.out.extend_from_slice(name.as_bytes());
        self.out
    }
}

/// The last `places` digits of a number, zeros in front included.
pub(super) fn push_places(out: &mut Vec<u8>, mut number: u32, places: usize) {
    let start = out.len();
    out.resize(start + places, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
}

fn push_number(out: &mut Vec<u8>, number: impl serde::Serialize) {
    let _ = serde_json::to_writer(out, &number); // A Vec takes everything.
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    // Looked at to the end without a way out: that is a loop for vector instructions.
    let plain = |plain: bool, &byte: &u8| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\');
    if text.as_bytes().iter().fold(true, plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        let _ = serde_json::to_writer(out, text); // A Vec takes everything.
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_text_ends_its_string_or_the_line() {
        let mut out = Vec::new();
        JsonLine::new(&mut out)
            .text("\"a\":", "x\"},\n{\"b\":\\")
            .end();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 0);
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read, serde_json::json!({"a": "x\"},\n{\"b\":\\"}));
    }

    #[test]
    fn an_object_without_fields_is_an_object() {
        let mut out = Vec::new();
        JsonLine::new(&mut out)
            .some_text("\"a\":", None)
            .texts("\"b\":", [])
            .end();
        assert_eq!(out, b"{}");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(
            text in any::<String>(),
            list in proptest::collection::vec(any::<String>(), 0..4),
            number in any::<i64>(),
            thousandths in 0..u64::MAX / 2,
            flag in any::<bool>(),
        ) {
            let mut out = Vec::new();
            JsonLine::new(&mut out)
                .text("\"text\":", &text)
                .texts("\"list\":", list.iter().map(String::as_str))
                .number("\"number\":", number.into())
                .thousandths("\"thousandths\":", thousandths.into())
                .flag("\"flag\":", flag)
                .end();
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read["text"].as_str(), Some(&*text));
            let read_list = read.get("list").map_or(&[][..], |list| list.as_array().unwrap());
            let read_list: Vec<_> = read_list.iter().map(|text| text.as_str().unwrap()).collect();
            prop_assert_eq!(read_list, list);
            prop_assert_eq!(read["number"].as_i64(), Some(number));
            let decimal = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            let line = String::from_utf8(out).unwrap();
            let stands = line.contains(&format!("\"thousandths\":{decimal},"));
            prop_assert!(stands, "{}", line);
            prop_assert_eq!(read["flag"].as_bool(), Some(flag));
        }
    }
}
