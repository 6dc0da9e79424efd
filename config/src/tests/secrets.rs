//! A PIN that was written into the file is never told, whatever else is wrong.

use super::{GOOD, load};

const PIN: &str = "PIN7391x";

/// A configuration with a literal PIN in `line`.
fn with_pin(line: &str) -> String {
    GOOD.replace("pin = \"env:PIN\"", line)
}

fn assert_hidden(text: &str) {
    let Err(errors) = load(text) else { return };
    for shown in [errors.to_string(), errors.render(true)] {
        // Half of it would be told too much as well.
        assert!(!shown.contains("7391"), "{shown}\n--- of ---\n{text}");
    }
    assert!(
        errors
            .errors()
            .iter()
            .all(|error| !format!("{error:?}").contains("7391"))
    );
}

#[test]
fn literal_pins_are_refused_and_not_told() {
    let lines = [
        "pin = \"PIN7391x\"",
        "pin = 'PIN7391x'",
        "pin = 7391",
        "pin = [\"PIN7391x\"]",
        "PIN = \"PIN7391x\"",
        "pin = { value = \"PIN7391x\" }",
        "pin = \"${NOPE:-PIN7391x}\"",
        "pni = \"PIN7391x\"",
        "pin = \"\"\"\nPIN7391x\"\"\"",
        "pin = \"PIN7391x",
        "pin \"PIN7391x\"",
        "pin = PIN7391x",
        "pin = '''\nPIN7391x\n",
        "user-pin = \"PIN7391x\"",
        "code = \"PIN7391x\"",
        "pin = \"fiel:PIN7391x\"",
        "pin = \"fd:7391x\"",
        "pin = \"env:7391-x\"",
        "\"pin\" = \"PIN7391x\"",
        "pin.value = \"PIN7391x\"",
    ];
    for line in lines {
        let text = with_pin(line);
        assert!(load(&text).is_err(), "{line}");
        assert_hidden(&text);
    }
}

#[test]
fn a_pin_out_of_a_variable_is_not_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("portcullis.toml");
    std::fs::write(&path, with_pin("pin = \"${PIN}\"")).expect("written");
    let env = |name: &str| (name == "PIN").then(|| PIN.to_owned());
    let errors = crate::Config::load_with(&path, &env).expect_err("refused");
    assert!(!format!("{errors}{errors:?}").contains("7391"), "{errors}");
}

#[test]
fn pins_in_uris_are_not_told() {
    assert_hidden(&GOOD.replace("pkcs11:object=api", "pkcs11:object=api?pin-value=7391"));
    assert_hidden(&GOOD.replace("pkcs11:object=api\"", "pkcs11:object=api?pin-value=7391"));
}

#[test]
fn neighbours_of_a_pin_do_not_tell_it() {
    let inline = "[hsm]\nmain = { pin = \"PIN7391x\", module = \"/lib/p11.so\", slt = 1 }\n";
    let head = GOOD.find("[[listener]]").expect("a listener");
    assert_hidden(&format!("{inline}{}", &GOOD[head..]));
}

/// Every single slip of the finger: a character lost, doubled into a special one, or everything behind it lost.
#[test]
fn no_slip_of_the_finger_tells_the_pin() {
    let text = with_pin("pin = \"PIN7391x\"");
    let pin_at = text.find("7391").expect("the PIN");
    let end = text.find("[[site]]").expect("a site");
    for at in 1..end {
        // Inside the digits the PIN would be another one.
        if (pin_at..pin_at + 4).contains(&at) {
            continue;
        }
        let (before, after) = text.split_at(at);
        assert_hidden(&format!("{before}{}", &after[1..]));
        assert_hidden(before);
        for slip in [
            "\"", "'", "[", "]", "=", "\n", "#", "{", "}", ",", ".", "\\", "\"\"\"", " ",
        ] {
            assert_hidden(&format!("{before}{slip}{after}"));
        }
    }
}
