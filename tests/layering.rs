//! The house stands: imports between the rooms of the gateway point down, keys stay in their crate, and
//! ARCHITECTURE.md tells the same.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it relies on does not hold"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Ground first. A room imports only from floors below its own; rooms of one floor do not know each other.
const FLOORS: [&[&str]; 17] = [
    &["reason"],
    &[
        "identity",
        "path",
        "drain",
        "limit",
        "patience",
        "turns",
        "http1",
        "balance",
        "proxy_protocol",
    ],
    &["policy", "route", "telemetry", "identity_fields"],
    &["certificates", "jws", "fleet"],
    &["revocation", "ticket_keys", "rates"],
    &["trust"],
    &["upstream"],
    &["tls"],
    &["quic"],
    &["snapshot"],
    &["explain"],
    &["proxy"],
    &["admin"],
    &["connection"],
    &["listener"],
    &["server"],
    &["cli"],
];

/// Rooms that are plain functions (ARCHITECTURE, invariant 4), and what they must not name.
const PLAIN: [&str; 9] = [
    "policy",
    "route",
    "identity",
    "identity_fields",
    "path",
    "http1",
    "balance",
    "explain",
    "proxy_protocol",
];
const NOT_PLAIN: [&str; 6] = [
    "async ",
    ".await",
    "tokio",
    "Instant::now",
    "SystemTime",
    "std::net::Tcp",
];

/// Our crates, and which of them each may depend on. Tests and benches may know everybody.
const CRATES: [(&str, &[&str]); 3] = [
    ("config", &["portcullis-hsm"]),
    ("hsm", &[]),
    ("gateway", &["portcullis-config", "portcullis-hsm"]),
];

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Every Rust file below `folder`, with its path from there.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().to_owned(), text));
            }
        }
    }
    found
}

/// The room a file of the gateway belongs to; none for `lib.rs` and `main.rs`.
fn room_of(path: &Path) -> Option<String> {
    let first = path.iter().next().unwrap().to_str().unwrap();
    let room = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(room, "lib" | "main")).then(|| room.to_owned())
}

/// How many modules deep a file is: 1 for `tls/mod.rs`, 2 for `tls/acceptor.rs`.
fn depth_of(path: &Path) -> usize {
    let parts = path.iter().count();
    if path.ends_with("mod.rs") {
        parts - 1
    } else {
        parts
    }
}

/// The text without comments.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms that code of a module this deep names, by way of `crate::` or of as many `super::`.
fn imports(code: &str, depth: usize) -> BTreeSet<String> {
    let climb = "super::".repeat(depth);
    let roots = code.split("crate::").skip(1);
    // From a test module at the end of the file it is one more `super`, which `split` cuts off as well.
    let climbs = code.split(climb.as_str()).skip(1);
    let from_root = roots.flat_map(names_at);
    let from_climb = climbs
        .flat_map(names_at)
        .filter(|name| floor_of(name).is_some());
    from_root.chain(from_climb).collect()
}

/// The names right behind a `::`: one, or each of a braced list.
fn names_at(text: &str) -> Vec<String> {
    let ident = |text: &str| -> String {
        let letters = text.trim_start().chars();
        letters
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(list) = text.strip_prefix('{') else {
        return vec![ident(text)];
    };
    let mut names = vec![ident(list)];
    let mut open = 1;
    for (at, c) in list.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            ',' if open == 1 => names.push(ident(&list[at + 1..])),
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn imports_between_rooms_point_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources(&house().join("gateway/src")) {
        let Some(room) = room_of(&path) else { continue };
        for import in imports(&code(&text), depth_of(&path)) {
            let below = floor_of(&import) < floor_of(&room);
            if import != room && !(below && floor_of(&import).is_some()) {
                wrong.push(format!("{}: {room} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "not downwards: {wrong:#?}");
}

#[test]
fn every_room_stands_on_a_floor_and_every_floor_is_inhabited() {
    let drawn: BTreeSet<String> = FLOORS.concat().into_iter().map(str::to_owned).collect();
    let files = sources(&house().join("gateway/src"));
    let built: BTreeSet<String> = files.iter().filter_map(|(path, _)| room_of(path)).collect();
    assert_eq!(drawn, built);
}

#[test]
fn architecture_draws_the_same_floors() {
    let text = fs::read_to_string(house().join("docs/ARCHITECTURE.md")).unwrap();
    let (_, table) = text.split_once("## The floors of the gateway").unwrap();
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let mut floors: Vec<BTreeSet<&str>> = rows
        .map(|row| {
            row.split('`')
                .filter(|word| floor_of(word).is_some())
                .collect()
        })
        .collect();
    floors.reverse();
    let ours: Vec<BTreeSet<&str>> = FLOORS
        .iter()
        .map(|rooms| rooms.iter().copied().collect())
        .collect();
    assert_eq!(floors, ours);
}

#[test]
fn plain_rooms_know_no_clock_no_socket_and_no_async() {
    for (path, text) in sources(&house().join("gateway/src")) {
        let room = room_of(&path).unwrap_or_default();
        if !PLAIN.contains(&room.as_str()) {
            continue;
        }
        let code = code(&text);
        for word in NOT_PLAIN {
            assert!(!code.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn only_the_hsm_crate_knows_pkcs11_and_crates_depend_downwards() {
    for (folder, allowed) in CRATES {
        let text = fs::read_to_string(house().join(folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        for kind in ["dependencies", "build-dependencies"] {
            let names = manifest.get(kind).and_then(|table| table.as_table());
            for name in names.into_iter().flat_map(|table| table.keys()) {
                let pkcs11 = name.starts_with("cryptoki");
                assert!(!pkcs11 || folder == "hsm", "{folder} depends on {name}");
                let ours = name.starts_with("portcullis");
                let down = allowed.contains(&name.as_str());
                assert!(!ours || down, "{folder} depends on {name}");
            }
        }
    }
}

#[test]
fn the_gateway_has_no_type_for_a_private_key() {
    for (path, text) in sources(&house().join("gateway/src")) {
        for word in [
            "PrivateKeyDer",
            "PrivatePkcs",
            "PrivateSec1",
            "KeyPair::from_",
        ] {
            let found = code(&text).contains(word);
            assert!(!found, "{}: {word}", path.display());
        }
    }
}

#[test]
fn files_with_unsafe_code_stand_in_security_md() {
    let security = fs::read_to_string(house().join("docs/SECURITY.md")).unwrap();
    for folder in [
        "config/src",
        "hsm/src",
        "gateway/src",
        "bench/src",
        "tests/fault-module/src",
    ] {
        for (path, text) in sources(&house().join(folder)) {
            let file = format!("{folder}/{}", path.display());
            // A file, or the whole crate it is in.
            let home = Path::new(folder).parent().unwrap().display();
            let names = [format!("`{file}`"), format!("`{home}`")];
            let listed = names.iter().any(|name| security.contains(name));
            let relaxed = code(&text).contains("unsafe_code");
            assert!(!relaxed || listed, "{file} is not in SECURITY.md");
        }
    }
}

#[test]
fn imports_are_read_in_every_form() {
    let found = |code: &str, depth| imports(code, depth).into_iter().collect::<Vec<_>>();
    assert_eq!(found("use crate::tls::{A, B};", 1), ["tls"]);
    assert_eq!(
        found("use crate::{\n  tls::{self, A},\n  policy,\n};", 1),
        ["policy", "tls"]
    );
    assert_eq!(found("let x = crate::proxy::y();", 2), ["proxy"]);
    assert_eq!(found("use super::policy::Permit;", 1), ["policy"]);
    assert_eq!(found("use super::http1::Head;", 2), [] as [&str; 0]);
    assert_eq!(found("use super::super::http1::Head;", 2), ["http1"]);
}
