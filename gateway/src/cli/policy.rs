//! `portcullis policy test`: a table of expected decisions, for a pipeline.
//!
//! Asks the policy alone, as a request would: no token is opened, no socket, no clock.

mod case;

use std::path::{Path, PathBuf};

use portcullis_config::Config;

use self::case::{Case, Expected, Subject, read};
use super::{ConfigFile, Exit, colored, complain, say};
use crate::path::CanonicalPath;
use crate::policy::{Policy, RequestFacts, host_matches};

/// Ask the policy of a configuration.
#[derive(clap::Subcommand)]
pub(super) enum PolicyCommand {
    /// Compare a file of expected decisions with what the policy decides; ends with 4 where they differ.
    Test(Test),
}

#[derive(clap::Args)]
pub(super) struct Test {
    /// TOML with a `[[case]]` for each expected decision.
    cases: PathBuf,
    #[command(flatten)]
    file: ConfigFile,
}

impl PolicyCommand {
    pub(super) fn run(self) -> Exit {
        let PolicyCommand::Test(test) = self;
        let config = match Config::load(&test.file.config) {
            Ok((config, _)) => config,
            Err(errors) => return complain(errors.render(colored()), Exit::Config),
        };
        let cases = match checked(&test.cases, &config) {
            Ok(cases) => cases,
            Err(problems) => {
                for problem in problems {
                    complain(format_args!("error: {problem}"), Exit::Config);
                }
                return Exit::Config;
            }
        };
        let policy = Policy::new(&config);
        let mut failed = 0;
        for case in &cases {
            if let Some(difference) = differs(&policy, case) {
                failed += 1;
                let place = format!("{}:{}", test.cases.display(), case.line);
                say(format_args!("FAILED {} ({place}): {difference}", case.name));
            }
        }
        say(format_args!(
            "{} cases, {} as expected, {failed} not",
            cases.len(),
            cases.len() - failed
        ));
        if failed == 0 { Exit::Done } else { Exit::Live }
    }
}

/// The cases of a file, where each can be asked; else every reason why not.
fn checked(file: &Path, config: &Config) -> Result<Vec<Case>, Vec<String>> {
    let cases = read(file)?;
    let mut problems = Vec::new();
    let hosts = config.sites.iter().flat_map(|site| &site.hosts);
    for case in &cases {
        let place = format!("{}:{}", file.display(), case.line);
        let served = hosts
            .clone()
            .any(|pattern| host_matches(pattern, &case.host));
        if !served {
            problems.push(format!("{place}: no site has the host `{}`", case.host));
        }
        let known = |name: &String| config.rules.iter().any(|rule| rule.name == *name);
        if let Some(name) = case.rule.as_ref().filter(|name| !known(name)) {
            problems.push(format!("{place}: no rule is called `{name}`"));
        }
    }
    if problems.is_empty() {
        Ok(cases)
    } else {
        Err(problems)
    }
}

/// What was decided instead of what was expected.
fn differs(policy: &Policy, case: &Case) -> Option<String> {
    let (decided, rule, told) = decide(policy, case);
    let as_expected = decided == case.expect;
    let by_expected = case.rule.is_none() || case.rule.as_deref() == rule.as_deref();
    if as_expected && by_expected {
        return None;
    }
    let expected = match (case.expect, &case.rule) {
        (Expected::Allow, None) => "allow".to_owned(),
        (Expected::Deny, None) => "deny".to_owned(),
        (Expected::Allow, Some(rule)) => format!("allow by `{rule}`"),
        (Expected::Deny, Some(rule)) => format!("deny by `{rule}`"),
    };
    Some(format!("expected {expected}, but it is {told}"))
}

/// The decision, the rule that made it, and both in words.
fn decide(policy: &Policy, case: &Case) -> (Expected, Option<String>, String) {
    let Ok(path) = CanonicalPath::parse(&case.path) else {
        let told = "refused: the path has more than one reading (PATH_AMBIGUOUS)";
        return (Expected::Deny, None, told.to_owned());
    };
    let facts = RequestFacts {
        host: &case.host,
        method: &case.method,
        path: &path,
        source: case.from,
        headers: &case.headers,
    };
    let Subject(client) = &case.subject;
    let roles = policy.roles_of(client);
    let has = match policy.role_names(&roles).as_slice() {
        [] => "without any role".to_owned(),
        names => format!("with the roles {}", names.join(", ")),
    };
    match policy.decide(&roles, &facts) {
        Ok(permit) => {
            let rule = permit.rule().to_string();
            let told = format!("allowed by `{rule}` ({has})");
            (Expected::Allow, Some(rule), told)
        }
        Err(denied) => {
            let rule = denied.rule.map(|rule| rule.to_string());
            let told = match &rule {
                Some(rule) => format!("denied by `{rule}` ({has})"),
                None => format!("denied: no rule allows it ({has})"),
            };
            (Expected::Deny, rule, told)
        }
    }
}
