//! `modules`: the PKCS#11 libraries of this machine, as p11-kit registers them and where vendors put them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::Report;
use super::arguments::quote;
use super::probe::{Answer, Probed, Probing};

/// Libraries by file name, with what they are for. Nothing in this list is loaded unless it is there.
const KNOWN: [(&str, &str); 11] = [
    ("libsofthsm2.so", "SoftHSM"),
    ("libCryptoki2_64.so", "Thales Luna"),
    ("libcknfast.so", "Entrust nShield"),
    ("libcloudhsm_pkcs11.so", "AWS CloudHSM"),
    ("yubihsm_pkcs11.so", "YubiHSM"),
    ("libtpm2_pkcs11.so", "TPM 2.0"),
    ("libkmsp11.so", "Google Cloud KMS"),
    ("libopencryptoki.so", "openCryptoki"),
    ("p11-kit-client.so", "p11-kit remote"),
    ("libsoftokn3.so", "NSS"),
    ("opensc-pkcs11.so", "OpenSC"),
];

/// Where they are, beside the folders of the system's own libraries.
const FOLDERS: [&str; 8] = [
    "usr/lib/softhsm",
    "usr/local/lib/softhsm",
    "usr/safenet/lunaclient/lib",
    "opt/nfast/toolkits/pkcs11",
    "opt/cloudhsm/lib",
    "opt/kmsp11",
    "usr/lib/opencryptoki",
    "usr/local/lib",
];

/// Proxies of all the others, and stores of trust anchors: they hold no keys.
const NOT_TOKENS: [&str; 2] = ["p11-kit-proxy", "p11-kit-trust"];

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Modules {}

/// A library, and who told of it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    source: String,
}

impl Modules {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let found = find(Path::new("/"), home.as_deref());
        // All at once: a module that hangs costs its limit once.
        let probes: Vec<_> = found
            .iter()
            .map(|found| Probing::start(&found.path))
            .collect();
        let probed: Vec<_> = probes.into_iter().map(Probing::finish).collect();
        let (mut text, mut values) = (String::new(), Vec::new());
        if found.is_empty() {
            text.push_str("no PKCS#11 library was found");
        }
        for (found, probed) in found.iter().zip(&probed) {
            describe(&mut text, found, probed);
            values.push(value(found, probed));
        }
        let report = Report::new(text, json!({ "modules": values }));
        if found.is_empty() {
            return Ok(report.next("install one (apt install softhsm2), or name it with --module"));
        }
        let first = |wanted: fn(&Answer) -> bool| {
            let mut pairs = found.iter().zip(&probed);
            let pair = pairs.find(|(_, probed)| probed.as_ref().is_ok_and(wanted))?;
            Some(quote(&pair.0.path.display().to_string()))
        };
        let used = first(|answer| !answer.tokens.is_empty());
        let free = first(|answer| answer.free_slots > 0);
        Ok(match (used, free) {
            (Some(module), _) => report.next(format!("portcullis hsm list --module {module}")),
            (None, Some(module)) => report.next(format!(
                "portcullis hsm init --module {module} --label NAME"
            )),
            (None, None) => report.next("make a token with the tools of its vendor"),
        })
    }
}

fn describe(text: &mut String, found: &Found, probed: &Probed) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}  ({})", found.path.display(), found.source);
    match probed {
        Ok(answer) => {
            for token in &answer.tokens {
                let uri = token["uri"].as_str().unwrap_or_default();
                let _ = writeln!(text, "    {uri}  slot {}", token["slot"]);
            }
            let (tokens, free) = (answer.tokens.len(), answer.free_slots);
            let _ = writeln!(text, "    {tokens} tokens, {free} free slots");
        }
        Err(reason) => {
            let _ = writeln!(text, "    unusable: {reason}");
        }
    }
}

fn value(found: &Found, probed: &Probed) -> Value {
    json!({
        "path": found.path,
        "source": found.source,
        "tokens": probed.as_ref().ok().map(|answer| &answer.tokens),
        "free_slots": probed.as_ref().ok().map(|answer| answer.free_slots),
        "error": probed.as_ref().err(),
    })
}

/// Every library once, those that p11-kit registers first.
fn find(root: &Path, home: Option<&Path>) -> Vec<Found> {
    let libraries = library_folders(root);
    let mut candidates = Vec::new();
    let mut registries = vec![
        root.join("usr/share/p11-kit/modules"),
        root.join("etc/pkcs11/modules"),
    ];
    registries.extend(home.map(|home| home.join(".config/pkcs11/modules")));
    for registry in registries {
        registered(&registry, &libraries, &mut candidates);
    }
    let folders = FOLDERS.iter().map(|folder| root.join(folder));
    for folder in folders.chain(libraries) {
        for (file, name) in KNOWN {
            candidates.push((folder.join(file), format!("known path, {name}")));
        }
    }
    let mut seen = BTreeMap::new();
    let mut found = Vec::new();
    for (path, source) in candidates {
        // The same library has often several names.
        let Ok(real) = fs::canonicalize(&path) else {
            continue;
        };
        if seen.insert(real, ()).is_none() {
            found.push(Found { path, source });
        }
    }
    found
}

/// The libraries that the `*.module` files of a folder name, in the order of their names (pkcs11.conf(5)).
fn registered(registry: &Path, libraries: &[PathBuf], found: &mut Vec<(PathBuf, String)>) {
    let entries = fs::read_dir(registry).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        if file
            .extension()
            .is_none_or(|extension| extension != "module")
        {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap_or_default();
        let Some(module) = module_of(&text) else {
            continue;
        };
        if NOT_TOKENS.iter().any(|name| module.contains(name)) {
            continue;
        }
        let source = format!("p11-kit, {}", file.display());
        if Path::new(module).is_absolute() {
            found.push((module.into(), source));
        } else {
            let paths = libraries.iter().map(|folder| folder.join(module));
            found.extend(paths.map(|path| (path, source.clone())));
        }
    }
}

/// The value of the `module:` line.
fn module_of(text: &str) -> Option<&str> {
    let lines = text.lines().map(str::trim);
    let value = lines
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| line.strip_prefix("module")?.trim_start().strip_prefix(':'));
    value.map(str::trim).filter(|value| !value.is_empty())
}

/// Where a library without a path is looked for: folders for PKCS#11 first, of this architecture first.
fn library_folders(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("usr/lib")).into_iter().flatten();
    let mut bases: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("-linux-"))
        .collect();
    bases.sort();
    bases.extend(["usr/lib64", "usr/lib", "usr/local/lib"].map(|folder| root.join(folder)));
    let own = bases.iter().map(|base| base.join("pkcs11"));
    own.chain(bases.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{find, module_of};

    #[test]
    fn the_module_line_is_read_as_p11_kit_reads_it() {
        assert_eq!(module_of("# module: a\n module : b.so \n"), Some("b.so"));
        for text in ["", "module:", "modules: a.so", "remote: unix:path=/x"] {
            assert_eq!(module_of(text), None, "{text}");
        }
    }

    #[test]
    fn every_library_is_found_once_and_proxies_are_not() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in [
            "usr/share/p11-kit/modules",
            "usr/lib/x86_64-linux-gnu/pkcs11",
            "opt/cloudhsm/lib",
            "home/.config/pkcs11/modules",
        ] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for library in [
            "usr/lib/x86_64-linux-gnu/pkcs11/opensc-pkcs11.so",
            "usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-trust.so",
            "opt/cloudhsm/lib/libcloudhsm_pkcs11.so",
            "home/own.so",
        ] {
            fs::write(at(library), "").unwrap();
        }
        let registry = |name: &str, text: &str| fs::write(at(name), text).unwrap();
        registry(
            "usr/share/p11-kit/modules/a.module",
            "module: opensc-pkcs11.so\n",
        );
        registry(
            "usr/share/p11-kit/modules/b.module",
            "module: p11-kit-trust.so\n",
        );
        registry("usr/share/p11-kit/modules/c.module", "module: missing.so\n");
        registry("usr/share/p11-kit/modules/d.conf", "module: /own.so\n");
        let own = format!("module: {}\n", at("home/own.so").display());
        registry("home/.config/pkcs11/modules/own.module", &own);
        let found = find(root.path(), Some(&at("home")));
        let paths: Vec<_> = found.iter().map(|found| found.path.clone()).collect();
        assert_eq!(
            paths,
            [
                at("usr/lib/x86_64-linux-gnu/pkcs11/opensc-pkcs11.so"),
                at("home/own.so"),
                at("opt/cloudhsm/lib/libcloudhsm_pkcs11.so"),
            ]
        );
        assert!(found[0].source.contains("a.module"));
        assert!(found[2].source.contains("CloudHSM"));
    }
}
