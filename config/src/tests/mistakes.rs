//! Many mistakes of all kinds in one file: every one is told, at its place, and no other.

use super::told;

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
