//! Many mistakes of all kinds in one file: every one is told, at its place, and no other.

use super::{GOOD, load, told};

#[test]
fn thirteen_mistakes_of_all_kinds_are_thirteen_errors() {
    let text = r#"worker = 2
[hsm.main]
module = "/lib/p11.so
slot = "0"
pin = "1234"
[[listener]]
bind = "0.0.0.0"
protocol = "htps"
[[site]]
hosts = ["api.example.com", "*.com"]
certificate = { chain = "api.pem", key = "pkcs11:object=api", hsm = "mian" }
upstream = "order"
[[rule]]
paths = ["/a/../b"]
[upstream.orders]
endpoint = "http://127.0.0.1:8080"
connect_timeout = "3"
[timeouts]
idle = 60
"#;
    let expected = [
        "1:1 unknown key `worker`",
        "3:22 invalid basic string, expected `\"`",
        "4:8 expected an integer, found a string",
        "5:7 this does not say where the PIN comes from (and is not shown here)",
        "7:8 `0.0.0.0` is no address with port",
        "8:12 unknown value `htps`",
        "10:29 `*.com` is no host: a wildcard needs two labels behind it, as in \"*.example.com\"",
        "11:69 no hsm is called `mian`",
        "12:12 no upstream is called `order`",
        "13:1 `roles` is missing",
        "14:10 a path has no `.` or `..` segments: requests are compared without them",
        "17:19 `3` is no duration: a duration is written like \"500ms\", \"5s\", \"1m30s\", \"2h\" or \"30d\"",
        "19:8 expected a string, found an integer",
    ];
    assert_eq!(told(text), expected);
}

/// Text that is no TOML, or hardly, is told as well as the rest: nothing panics, every error can be printed.
#[test]
fn garbage_is_told_and_never_panics() {
    for at in 0..=GOOD.len() {
        let (before, after) = GOOD.split_at(at);
        for garbage in [
            "\u{e9}",
            "\u{1f511}\n",
            "\r\n",
            "\0",
            "\t\u{feff}",
            "\u{202e}]]",
            "= [{",
        ] {
            if let Err(errors) = load(&format!("{before}{garbage}{after}")) {
                assert!(!errors.render(true).is_empty());
                assert!(errors.errors().iter().all(|error| error.line() <= Some(40)));
            }
        }
    }
}

#[test]
fn errors_beyond_a_hundred_are_counted_only() {
    let errors = load(&"[[rule]]\n".repeat(150)).expect_err("refused");
    let text = errors.to_string();
    assert_eq!(errors.errors().len(), 151);
    assert_eq!(text.matches("error: ").count(), 100);
    assert!(text.ends_with("151 errors in the configuration, the first 100 are shown"));
}

#[test]
fn numbers_where_units_are_needed_say_so() {
    let errors = load(&format!("{GOOD}[timeouts]\nidle = 60\n")).expect_err("refused");
    let help = errors.errors()[0].help();
    assert_eq!(
        help,
        Some("write it with its unit, as in \"5s\" or \"500ms\"")
    );
}
