//! From the server name to what the client has shown.

use portcullis_config::{ClientCertMode, HostPattern};

use super::bundle::{self, Shown as Seen};
use super::question::{Question, QuestionError, ServerName};
use super::report::{Story, Verdict};
use crate::identity::Identity;
use crate::reason::Reason;
use crate::snapshot::{ListenerView, NameTable, Rules, SiteRules, normalize_host};
use crate::tls::alert_of;
use crate::trust::{Demand, Refused, Shown};

/// A handshake that succeeds.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    pub(super) names: &'a NameTable,
    /// Index of the site.
    pub(super) site: usize,
    pub(super) rules: &'a SiteRules,
    pub(super) shown: Shown,
    /// As it was sent.
    pub(super) server_name: Option<String>,
}

/// What comes of a handshake.
pub(super) type Outcome<'a> = Result<Connection<'a>, Reason>;

/// Tells the handshake. What comes back is the connection, or why there is none.
pub(super) fn tell<'a>(
    story: &mut Story<'_>,
    rules: &'a Rules,
    question: &Question,
) -> Result<Outcome<'a>, QuestionError> {
    story.section("handshake");
    let (server_name, why) = server_name(rules, question);
    let (listener, names) = listener(rules, question, server_name.as_deref())?;
    let asked = server_name.as_deref().unwrap_or("(none)");
    let site = match names.site_for_client(server_name.as_deref()) {
        Ok(site) => site,
        Err(reason) => {
            let place = &listener.settings.bind.span;
            let detail = format!("{asked}{why}: no site of the listener {}", listener.name);
            story.fail("server name", (reason, &detail), place);
            return Ok(Err(reason));
        }
    };
    let rules = &rules.sites[site];
    let place = rules.settings.hosts.first().map(|host| &host.span);
    let place = place.cloned().unwrap_or_default();
    let detail = format!(
        "{asked}{why}: site {}, listener {}",
        rules.name, listener.name
    );
    story.pass("server name", detail, &place);
    Ok(certificate(story, rules, question).map(|shown| Connection {
        names,
        site,
        rules,
        shown,
        server_name,
    }))
}

/// How a handshake that is refused ends.
pub(super) fn refused(reason: Reason) -> Verdict {
    let alert = format!("{:?}", alert_of(reason));
    let mut words = String::new();
    for letter in alert.chars() {
        let begins = letter.is_ascii_uppercase() && !words.is_empty();
        if begins && !words.ends_with(|last: char| last.is_ascii_uppercase()) {
            words.push('_');
        }
        words.push(letter);
    }
    // The RFC's spelling.
    let words = words
        .to_ascii_lowercase()
        .replace("recognised", "recognized");
    let more = match reason {
        Reason::ClientCertMissing => " (in TLS 1.2 handshake_failure)",
        _ => "",
    };
    Verdict::refused(reason, format!("the TLS alert {words}{more}"))
}

/// The name that is sent, and why it is taken for that.
pub(super) fn server_name(rules: &Rules, question: &Question) -> (Option<String>, &'static str) {
    match &question.server_name {
        ServerName::Named(name) => return (Some(name.clone()), ""),
        ServerName::Absent => return (None, ""),
        ServerName::Unsaid => {}
    }
    let request = question.request.as_ref();
    if let Some(host) = request.and_then(|request| request.host.clone()) {
        return (Some(host), " (the host of the request)");
    }
    if let [only] = &rules.sites[..]
        && let Some(host) = first_host(only)
    {
        return (Some(host), " (of the only site)");
    }
    (None, "")
}

/// The first host of a site that is one name.
pub(super) fn first_host(site: &SiteRules) -> Option<String> {
    site.settings
        .hosts
        .iter()
        .find_map(|host| match &host.value {
            HostPattern::Exact(name) => Some(name.clone()),
            HostPattern::Wildcard(_) | HostPattern::Any => None,
        })
}

/// The listener that is named; else the first that has a site for the name; else the first.
pub(super) fn listener<'a>(
    rules: &'a Rules,
    question: &Question,
    server_name: Option<&str>,
) -> Result<(&'a ListenerView, &'a NameTable), QuestionError> {
    let all = rules.listeners.iter();
    let https: Vec<_> = all
        .filter_map(|listener| Some((listener, listener.names.as_ref()?)))
        .collect();
    let known = || https.iter().map(|(it, _)| it.name.to_string()).collect();
    let found = match &question.listener {
        Some(name) => https.iter().find(|(listener, _)| *listener.name == **name),
        None => https
            .iter()
            .find(|(_, names)| {
                let name = server_name.map(normalize_host);
                let passed = name.and_then(|name| names.passthrough_of(&name));
                passed.is_some() || names.site_for_client(server_name).is_ok()
            })
            .or(https.first()),
    };
    let none = || QuestionError::Listener(question.listener.clone(), known());
    found.copied().ok_or_else(none)
}

/// The client's certificate, as the handshake of the site sees it.
fn certificate(
    story: &mut Story<'_>,
    site: &SiteRules,
    question: &Question,
) -> Result<Shown, Reason> {
    let demand = &site.handshake;
    let name = "client certificate";
    let place = match site.settings.client_cert.span.clone() {
        written if !written.is_empty() => written,
        _ => site
            .settings
            .hosts
            .first()
            .map_or(0..0, |host| host.span.clone()),
    };
    if demand.mode() == ClientCertMode::Ignore {
        let detail = match question.chain.is_empty() {
            true => "ignore: none is asked for",
            false => "ignore: none is asked for, so the client does not send this one",
        };
        story.not_asked(name, detail, &place);
        return Ok(Shown::default());
    }
    if question.chain.is_empty() {
        if demand.mode() == ClientCertMode::Require {
            story.fail(name, (Reason::ClientCertMissing, ""), &place);
            return Err(Reason::ClientCertMissing);
        }
        let detail = format!("{}: none is shown, which is served", demand.mode().as_str());
        story.pass(name, detail, &place);
        return Ok(Shown::default());
    }
    let whose = match demand.mode() == site.demands[0].mode() {
        true => "",
        false => " (because of a route)",
    };
    story.pass(name, asks(demand) + whose, &place);
    let leaf = question
        .chain
        .first()
        .and_then(|leaf| Identity::read(leaf).ok());
    let accounted = demand.account(&question.chain, question.at);
    let seen = Seen {
        chain: &question.chain,
        leaf: leaf.as_ref(),
        at: question.at,
    };
    tell_bundles(story, demand, &accounted.bundles, seen);
    story.section("every bundle");
    let shown = accounted
        .verdict
        .and_then(|proof| Shown::new(question.chain.clone(), proof));
    tell_deny_list(story, demand, shown.as_ref().err());
    shown.map_err(|why| why.reason)
}

/// The mode and the bundles.
pub(super) fn asks(demand: &Demand) -> String {
    let names: Vec<_> = demand.bundles().iter().map(|it| &**it.name()).collect();
    match demand.mode().verifies() {
        true => format!("{}, trust {}", demand.mode().as_str(), names.join(", ")),
        false => format!("{}: the chain is not looked at", demand.mode().as_str()),
    }
}

/// Each bundle that is asked, and that the others are not.
pub(super) fn tell_bundles(
    story: &mut Story<'_>,
    demand: &Demand,
    accounts: &[crate::trust::Account],
    seen: Seen<'_>,
) {
    if !demand.mode().verifies() {
        return;
    }
    for (at, asked) in demand.bundles().iter().enumerate() {
        match accounts.get(at) {
            Some(account) => bundle::tell(story, asked, account, seen),
            None => {
                story.section(format!("trust bundle {}", asked.name()));
                let detail = "another bundle believes the chain already";
                story.not_asked("all checks", detail, &asked.settings().span);
            }
        }
    }
}

/// What the deny list says, where it was asked. A refusal of a check without bundle is told here, too.
pub(super) fn tell_deny_list(story: &mut Story<'_>, demand: &Demand, refused: Option<&Refused>) {
    let name = "deny list";
    match refused {
        Some(why) if why.reason == Reason::ClientCertDenied => {
            story.fail(name, (why.reason, &why.detail), &(0..0));
        }
        Some(why) if !demand.mode().verifies() => {
            story.fail(
                "certificate can be read",
                (why.reason, &why.detail),
                &(0..0),
            );
            story.not_reached(name);
        }
        Some(_) => story.not_reached(name),
        None if demand.deny().is_empty() => story.not_asked(name, "empty", &(0..0)),
        None => {
            let detail = format!("none of {} entries is about it", demand.deny().len());
            story.pass(name, detail, &(0..0));
        }
    }
}
