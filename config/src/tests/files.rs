//! Several files: includes, their bounds, where relative paths lead, variables.

use std::path::Path;

use super::{GOOD, good, lines_of, load, load_path, told};
use crate::Config;

/// A folder with these files, of which the first is loaded.
fn with_files<T>(files: &[(&str, String)], check: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("created");
        std::fs::write(path, text).expect("written");
    }
    check(&folder.path().join(files[0].0))
}

fn refused(files: &[(&str, String)]) -> Vec<String> {
    with_files(files, |path| {
        lines_of(&load_path(path).expect_err("refused"))
    })
}

fn main(include: &str) -> (&'static str, String) {
    ("main.toml", format!("include = [{include}]\n{GOOD}"))
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let errors = Config::load(Path::new("/nonexistent/portcullis.toml")).expect_err("refused");
    assert!(
        errors.to_string().contains("cannot read the configuration"),
        "{errors}"
    );
    let errors = Config::load(Path::new("/")).expect_err("refused");
    assert!(errors.to_string().contains("it is a directory"), "{errors}");
}

#[test]
fn a_missing_include_is_an_error_at_its_line_and_an_empty_pattern_is_none() {
    let told = refused(&[main("\"conf.d/*.toml\", \"more.toml\"")]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("1:29 cannot include"), "{told:?}");
    with_files(&[main("\"conf.d/*.toml\"")], |path| {
        load_path(path).map(drop)
    })
    .expect("loads");
}

#[test]
fn circles_and_depth_are_bounded() {
    let told = refused(&[main("\"main.toml\"")]);
    assert!(
        told[0].contains("included twice or in a circle"),
        "{told:?}"
    );
    let mut files = vec![main("\"0.toml\"")];
    let names: Vec<_> = (0..10).map(|depth| format!("{depth}.toml")).collect();
    for (depth, name) in names.iter().enumerate() {
        files.push((name, format!("include = [\"{}.toml\"]\n", depth + 1)));
    }
    let told = refused(&files);
    assert!(
        told.len() == 1 && told[0].contains("nested deeper than 8"),
        "{told:?}"
    );
}

#[test]
fn the_number_and_the_size_of_files_are_bounded() {
    let names: Vec<_> = (0..300).map(|number| format!("d/{number}.toml")).collect();
    let mut files = vec![main("\"d/*.toml\"")];
    files.extend(names.iter().map(|name| (name.as_str(), String::new())));
    let told = refused(&files);
    assert!(
        told.len() == 1 && told[0].contains("256 files at most"),
        "{told:?}"
    );
    let told = refused(&[main("\"a.toml\""), ("a.toml", "#".repeat((4 << 20) + 1))]);
    assert!(
        told.len() == 1 && told[0].contains("larger than 4 MiB"),
        "{told:?}"
    );
}

#[test]
fn one_name_in_two_files_names_both_places() {
    let again = "[upstream.orders]\nendpoint = \"http://a:1\"\n[limits]\nheaders = 10\n";
    let first = (
        "main.toml",
        format!("include = [\"a.toml\"]\n[limits]\nheaders = 20\n{GOOD}"),
    );
    with_files(&[first, ("a.toml", again.to_owned())], |path| {
        let errors = load_path(path).expect_err("refused");
        let told = [
            "1:11 `orders` is given twice",
            "4:1 `headers` is given twice",
        ];
        assert_eq!(lines_of(&errors), told);
        let text = errors.to_string();
        assert!(
            text.contains("a.toml:1:11") && text.contains("first here"),
            "{text}"
        );
        assert!(text.contains("main.toml:25:"), "{text}");
    });
}

#[test]
fn mistakes_in_all_files_are_told_main_file_first() {
    let one = (
        "a.toml",
        "[[rule]]\nrols = 1\n[limits]\nheaders = [\n".to_owned(),
    );
    let told = refused(&[
        (
            "main.toml",
            format!("include = \"a.toml\"\nworkers = \"x\"\n{GOOD}"),
        ),
        one,
    ]);
    let expected = [
        "2:11 expected an integer, found a string",
        "2:1 unknown key `rols`",
    ];
    assert_eq!(told[..2], expected, "{told:?}");
    assert!(told.len() == 3 && told[2].starts_with("4:"), "{told:?}");
}

#[test]
fn lists_are_appended_tables_merged_and_paths_stay_with_their_file() {
    let more = "[[role]]\nname = \"b\"\ndns = \"b.c\"\n[upstream.other]\nendpoint = \"http://b:2\"\n\
        [keys]\nsoftware = [\"file:k.pem\"]\n[limits]\ntarget = 100\n[hsm.two]\nmodule = \"m.so\"\nslot = 3\n";
    let text = GOOD.replace("object=api", "token=edge;object=api");
    let first = format!("include = [\"d/*.toml\"]\n[limits]\nheaders = 20\n{text}");
    with_files(
        &[("main.toml", first), ("d/more.toml", more.to_owned())],
        |path| {
            let (config, sources) = load_path(path).unwrap_or_else(|errors| panic!("{errors}"));
            let names: Vec<_> = config.roles.iter().map(|role| role.name.as_str()).collect();
            assert_eq!(names, ["callers", "b"]);
            assert_eq!(
                (
                    config.upstreams.len(),
                    config.limits.headers,
                    config.limits.target
                ),
                (2, 20, 100)
            );
            let folder = path.parent().expect("a folder");
            assert_eq!(config.keys.software, [folder.join("d/k.pem")]);
            let module = &config.hsms[1].module().expect("a module").module;
            assert_eq!(module.value, folder.join("d/m.so"));
            assert_eq!(sources.paths().count(), 2);
            let error = sources.report(module.span.clone(), "no such file", None);
            assert_eq!((error.line(), error.column()), (Some(11), Some(10)));
            assert!(error.file().ends_with("d/more.toml"));
        },
    );
}

#[test]
fn a_missing_variable_is_an_error_at_its_place_and_nothing_else() {
    let text = GOOD.replace("api.example.com", "x${NOPE}.example.com");
    assert_eq!(
        told(&text),
        ["13:12 environment variable `NOPE` is not set"]
    );
    assert_eq!(
        told(&GOOD.replace("\"/lib/p11.so\"", "\"${NOPE}\"")).len(),
        1
    );
}

#[test]
fn variables_are_text_and_never_toml() {
    let text = GOOD.replace(
        "dns = [",
        "common_name = [\"${A}\", \"${B:-b}\", \"$${A}\"]\ndns = [",
    );
    assert_eq!(good(&text).roles[0].common_name, ["a value", "b", "${A}"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("portcullis.toml");
    std::fs::write(&path, GOOD.replace("\"edge\"", "\"${A}\"")).expect("written");
    let hostile = |name: &str| (name == "A").then(|| "x\"\nslot = 1\n[evil]\n".to_owned());
    let (config, _) =
        Config::load_with(&path, &hostile).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(format!("{:?}", config.hsms[0].token()).contains("[evil]"));
}

#[test]
fn values_know_their_place() {
    let (config, sources) = load(GOOD).unwrap_or_else(|errors| panic!("{errors}"));
    let place = |span: &std::ops::Range<usize>| {
        let error = sources.report(span.clone(), "here", None);
        (error.line(), error.column())
    };
    let certificate = &config.sites[0].certificates[0];
    assert_eq!(place(&certificate.chain.span), (Some(14), Some(25)));
    assert_eq!(place(&certificate.key.span), (Some(14), Some(42)));
    assert_eq!(
        place(&config.sites[0].client_cert.trust[0].anchors[0].span),
        (Some(9), Some(43))
    );
    assert_eq!(
        place(&config.upstreams[0].endpoints[0].span),
        (Some(23), Some(14))
    );
    assert_eq!(place(config.hsms[0].place()), (Some(4), Some(9)));
}

#[test]
fn the_source_map_can_be_shared() {
    fn shareable<T: Clone + Send + Sync + 'static>() {}
    shareable::<crate::SourceMap>();
    shareable::<crate::ConfigErrors>();
}
