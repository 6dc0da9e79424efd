//! Mistakes in tokens, groups, signers, chains in tokens and key policies; then what is understood.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use super::refusals::{help, refused, refused_with};
use super::{GOOD, good, load, told};
use crate::{
    ChainSource, Config, HsmRef, HsmSource, Isolation, KeyPolicy, QueueBound, Sessions,
    TokenSelector,
};

/// Two tokens with one label in two modules, and what else is written.
fn pair(more: &str) -> String {
    format!(
        "{GOOD}[hsm.spare]\nmodule = \"/lib/other.so\"\ntoken = \"edge\"\n\
         [hsm_group.pair]\nmembers = [\"main\", \"spare\"]\n{more}"
    )
}

fn place_of_key(text: &str) -> Option<HsmRef> {
    good(text).sites[0].certificates[0].hsm
}

#[test]
fn numbers_that_may_be_measured_are_numbers_or_auto() {
    refused(
        "token =",
        "sessions = \"atuo\"\ntoken =",
        "4:12 `atuo` is no number",
    );
    let advice = help("token =", "queue = \"many\"\ntoken =");
    assert_eq!(advice, "write a number, or \"auto\"");
    refused(
        "token =",
        "sessions = 1025\ntoken =",
        "4:12 must be between 1 and 1024",
    );
    refused(
        "token =",
        "queue = 0\ntoken =",
        "4:9 must be between 1 and 1048576",
    );
    let typed = "4:12 expected a string or an integer, found `true` or `false`";
    refused("token =", "sessions = true\ntoken =", typed);
}

#[test]
fn patience_with_a_token_is_bounded() {
    let bounds = [
        ("hang_timeout = \"9ms\"", "4:16 must be between 10ms and 1h"),
        (
            "hang_timeout = \"off\"",
            "4:16 `off` is no duration: a duration is written like \"500ms\", \"5s\", \"1m30s\", \"2h\" or \"30d\"",
        ),
        ("max_hung = 0", "4:12 must be between 1 and 1024"),
        ("idle_check = \"0s\"", "4:14 must be between 10ms and 1d"),
        (
            "idle_check = 10",
            "4:14 expected a string, found an integer",
        ),
        ("recovery = \"49ms\"", "4:12 must be between 50ms and 1m"),
        ("recovery = \"2m\"", "4:12 must be between 50ms and 1m"),
        (
            "login_at_count_low = \"yes\"",
            "4:22 expected `true` or `false`, found a string",
        ),
        (
            "isolation = \"container\"",
            "4:13 unknown value `container`",
        ),
    ];
    for (line, error) in bounds {
        refused("token =", &format!("{line}\ntoken ="), error);
    }
}

#[test]
fn a_pin_that_can_be_read_once_keeps_the_module_in_the_gateway() {
    let written = "pin = \"env:PIN\"";
    for pin in ["prompt", "fd:3"] {
        let once = format!("pin = \"{pin}\"");
        let error = "6:13 a signer process that is started again could not read this PIN again";
        refused(written, &format!("{once}\nisolation = \"process\""), error);
        let config = good(&GOOD.replacen(written, &once, 1));
        let module = config.hsms[0].module().expect("a module");
        assert_eq!(module.isolation, Isolation::None);
    }
}

#[test]
fn a_signer_stands_instead_of_what_it_does_itself() {
    let signer = "[hsm.s]\nsigner = \"s.sock\"\n";
    let named = GOOD.replace("object=api", "token=edge;object=api");
    for (key, line) in [
        ("module", "module = \"/lib/p11.so\""),
        ("pin", "pin = \"prompt\""),
        ("isolation", "isolation = \"none\""),
        ("login_at_count_low", "login_at_count_low = false"),
    ] {
        let told = told(&format!("{named}{signer}token = \"x\"\n{line}\n"));
        let column = key.len() + 4;
        let error = format!("27:{column} `{key}` and `signer` exclude each other");
        assert_eq!(told, [error], "{line}");
    }
    let empty = told(&format!("{named}[hsm.s]\nsigner = \"\"\ntoken = \"x\"\n"));
    assert_eq!(empty, ["25:10 this path is empty"]);
    // Its absence is not a second mistake.
    let lost = told(&format!("{named}[hsm.s]\nsigner = 3\ntoken = \"x\"\n"));
    assert_eq!(lost, ["25:10 expected a string, found an integer"]);
    let neither = told(&GOOD.replace("module = \"/lib/p11.so\"\n", ""));
    assert_eq!(neither, ["2:1 `module` is missing"]);
}

#[test]
fn groups_have_members_that_are_there_once() {
    let group = |members: &str| format!("[hsm_group.g]\nmembers = {members}\n");
    refused_with("[hsm_group.g]\n", "24:1 `members` is missing");
    refused_with(&group("[]"), "24:1 a group has 2 to 16 members");
    refused_with(&group("[\"main\"]"), "24:1 a group has 2 to 16 members");
    refused_with(&group("\"main\""), "25:11 expected a list, found a string");
    refused_with(
        &group("[\"main\", \"mian\"]"),
        "25:20 no hsm is called `mian`",
    );
    let twice = told(&format!("{GOOD}{}", group("[\"main\", \"main\"]")));
    assert_eq!(twice, ["25:20 this token is listed twice"]);
    let many: Vec<_> = (0..17).map(|at| format!("\"t{at}\"")).collect();
    let tokens: String = (0..17)
        .map(|at| format!("[hsm.t{at}]\nmodule = \"m\"\ntoken = \"edge\"\n"))
        .collect();
    let too_many = format!("{GOOD}{tokens}{}", group(&format!("[{}]", many.join(", "))))
        .replace("object=api\"", "object=api\", hsm = \"main\"");
    assert_eq!(told(&too_many), ["75:1 a group has 2 to 16 members"]);
}

#[test]
fn a_token_has_one_group_and_its_name_alone() {
    let again = told(&pair(
        "[hsm_group.other]\nmembers = [\"spare\", \"main\"]\n",
    ));
    let expected = [
        "29:12 `spare` is in two groups",
        "29:12 `main` is in two groups",
    ];
    assert_eq!(again, expected);
    let name = told(&pair("").replace("hsm_group.pair", "hsm_group.main"));
    assert_eq!(name, ["27:12 `main` is the name of a token already"]);
}

#[test]
fn a_hedge_is_shorter_than_the_patience_of_the_members() {
    for text in ["hedge = \"2s\"\n", "hedge = \"1h\"\n"] {
        let errors = load(&pair(text)).expect_err("refused");
        let error = &errors.errors()[0];
        assert_eq!(errors.errors().len(), 1);
        assert_eq!(
            error.message(),
            "`hedge` is not shorter than the deadline of a member"
        );
        assert!(
            error
                .help()
                .is_some_and(|help| help.contains("`main` gives up after 2s"))
        );
    }
    assert_eq!(
        told(&pair("hedge = \"0s\"\n")),
        ["29:9 must be between 1ms and 1h"]
    );
    let config = good(&pair("hedge = \"1s999ms\"\n"));
    assert_eq!(
        config.hsm_groups[0].hedge,
        Some(Duration::from_millis(1999))
    );
}

#[test]
fn a_key_of_a_group_can_be_in_every_member() {
    let apart = pair("").replace(
        "[hsm.spare]\nmodule = \"/lib/other.so\"\ntoken = \"edge\"",
        "[hsm.spare]\nmodule = \"/lib/other.so\"\ntoken = \"vault\"",
    );
    assert_eq!(told(&apart), [""; 0]);
    let one = apart.replace("object=api", "token=vault;object=api");
    let some = "the key names the token of some members of the group `pair` only";
    assert_eq!(told(&one), [format!("14:42 {some}")]);
    let errors = load(&one).expect_err("refused");
    assert!(
        errors.errors()[0]
            .help()
            .is_some_and(|help| help.starts_with("`main` cannot have it"))
    );
    let by_name = one.replace("object=api\"", "object=api\", hsm = \"pair\"");
    assert_eq!(told(&by_name), [format!("14:81 {some}")]);
    let neither = by_name.replace("token=vault", "token=elsewhere");
    let expected = "14:85 the key names another token than the group `pair`";
    assert_eq!(told(&neither), [expected]);
    // One member alone, when that is said.
    let alone = one.replace("object=api\"", "object=api\", hsm = \"spare\"");
    assert_eq!(place_of_key(&alone), Some(HsmRef::Token(1)));
}

#[test]
fn a_key_that_fits_a_group_and_a_token_beside_it_is_in_none() {
    let third = "[hsm.third]\nmodule = \"m\"\ntoken = \"edge\"\n";
    let errors = load(&pair(third)).expect_err("refused");
    assert_eq!(errors.errors().len(), 1);
    assert_eq!(
        errors.errors()[0].message(),
        "this key can be in several tokens"
    );
    assert_eq!(
        errors.errors()[0].help(),
        Some("add `hsm = \"NAME\"` with one of `pair`, `third`")
    );
    let named = pair(third).replace("object=api\"", "object=api\", hsm = \"pair\"");
    assert_eq!(place_of_key(&named), Some(HsmRef::Group(0)));
    let wrong = pair("").replace("object=api\"", "object=api\", hsm = \"pear\"");
    let errors = load(&wrong).expect_err("refused");
    assert_eq!(errors.errors()[0].help(), Some("did you mean `pair`?"));
    // A group that could not be read is one mistake, and its key no other.
    let broken = pair("").replace("\"spare\"]", "\"spaer\"]");
    assert_eq!(told(&broken), ["28:20 no hsm is called `spaer`"]);
}

#[test]
fn a_chain_in_a_token_is_in_that_of_its_key() {
    let chain = "chain = \"api.pem\"";
    refused(
        chain,
        "chain = \"pkcs11:object=a;object=b\"",
        "14:25 this is no PKCS#11 URI: attribute `object` is given twice",
    );
    refused(
        chain,
        "chain = \"pkcs11:object=api;type=private\"",
        "14:25 this URI names something else than a certificate",
    );
    refused(
        chain,
        "chain = \"pkcs11:object=api?pin-source=file:x\"",
        "14:25 `pin-source` does nothing here",
    );
    refused(
        chain,
        "chain = \"pkcs11:token=other;object=api\"",
        "14:25 the chain names another token than this hsm",
    );
    let software = GOOD
        .replace("api.pem", "pkcs11:object=api")
        .replace("\"pkcs11:object=api\" }", "\"file:k\" }");
    let software = format!("{software}[keys]\nsoftware = [\"file:k\"]\n");
    assert_eq!(
        told(&software),
        ["14:25 the chain is in a token, but the key is a file"]
    );
}

#[test]
fn a_site_can_refuse_keys_that_were_allowed() {
    refused(
        "hosts = [",
        "key_policy = \"made\"\nhosts = [",
        "13:14 unknown value `made`",
    );
    let software = GOOD.replace("pkcs11:object=api", "file:k") + "[keys]\nsoftware = \"file:k\"\n";
    let software = software.replace("\"file:k\"\n", "[\"file:k\"]\n");
    assert_eq!(told(&software), [""; 0]);
    for policy in ["imported", "generated"] {
        let strict = software.replace(
            "hosts = [",
            &format!("key_policy = \"{policy}\"\nhosts = ["),
        );
        let expected = "15:42 this `key_policy` refuses software keys";
        assert_eq!(told(&strict), [expected]);
    }
    assert!(KeyPolicy::Any < KeyPolicy::Imported && KeyPolicy::Imported < KeyPolicy::Generated);
}

#[test]
fn the_state_directory_is_a_path() {
    refused(
        "[hsm.main]",
        "state_dir = \"\"\n[hsm.main]",
        "2:13 this path is empty",
    );
    assert_eq!(good(GOOD).state_dir, None);
    let config = good(&format!("state_dir = \"/var/x/./y\"\n{GOOD}"));
    assert_eq!(config.state_dir.as_deref(), Some(Path::new("/var/x/y")));
}

#[test]
fn a_token_without_numbers_is_measured() {
    let hsm = &good(GOOD).hsms[0];
    assert_eq!(
        (hsm.sessions, hsm.queue),
        (Sessions::Auto, QueueBound::Auto)
    );
    assert_eq!(
        (hsm.hang_timeout, hsm.max_hung.get()),
        (Duration::from_secs(1), 16)
    );
    assert_eq!(hsm.idle_check, Some(Duration::from_secs(10)));
    assert_eq!(hsm.recovery, Duration::from_millis(500));
    let module = hsm.module().expect("a module");
    assert_eq!(
        (module.isolation, module.login_at_count_low),
        (Isolation::Process, false)
    );
    let lines = "sessions = 7\nqueue = 9\nidle_check = \"off\"\nisolation = \"none\"\ntoken =";
    let hsm = &good(&GOOD.replacen("token =", lines, 1)).hsms[0];
    let count = |number| NonZeroUsize::new(number).expect("not zero");
    assert_eq!(hsm.sessions, Sessions::Count(count(7)));
    assert_eq!(hsm.queue, QueueBound::Count(count(9)));
    assert_eq!(hsm.idle_check, None);
    assert_eq!(
        hsm.module().map(|module| module.isolation),
        Some(Isolation::None)
    );
}

#[test]
fn signers_groups_and_chains_in_tokens_are_understood() {
    let text =
        pair("[hsm.far]\nsigner = \"/run/s\"\nserial = \"7\"\n[hsm.near]\nsigner = \"/run/t\"\n")
            .replace("\"api.pem\"", "\"pkcs11:token=edge;object=api\"")
            .replace("key = \"pkcs11:object", "key = \"pkcs11:token=edge;object");
    let Config {
        hsms,
        hsm_groups,
        sites,
        ..
    } = good(&text);
    assert_eq!(
        (hsm_groups[0].members.as_slice(), hsm_groups[0].hedge),
        (&[0, 1][..], None)
    );
    let HsmSource::Signer(far) = &hsms[2].source else {
        panic!("no signer");
    };
    assert_eq!(far.socket.value, Path::new("/run/s"));
    let token = far.token.as_ref().map(|token| &token.value);
    assert_eq!(token, Some(&TokenSelector::Serial("7".to_owned())));
    assert_eq!((hsms[3].token(), hsms[3].module()), (None, None));
    let certificate = &sites[0].certificates[0];
    assert_eq!(certificate.hsm, Some(HsmRef::Group(0)));
    assert!(
        matches!(&certificate.chain.value, ChainSource::Token(uri) if uri.object() == Some("api"))
    );
}
