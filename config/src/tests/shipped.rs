//! The files we ship load.
use std::path::Path;

#[test]
fn examples_load() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ingress-mtls.toml");
    let (config, _) = super::load_path(&path).unwrap_or_else(|errors| panic!("{errors}"));
    eprintln!("{config:#?}");
}
