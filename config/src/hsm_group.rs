//! `[hsm_group.NAME]`: tokens that hold the same keys and stand in for each other.
//!
//! A token is in one group at most, so the group of a key is never a matter of order.
use std::collections::HashMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Names, Span};
use crate::value::{DurationText, duration_text, quoted};
use crate::{Hsm, Located};

/// Tokens with the same keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmGroup {
    /// NAME of the table.
    pub name: String,
    /// Indices into [`crate::Config::hsms`], 2 to 16, each once, as written.
    pub members: Vec<usize>,
    /// After this long another member is asked too; `None` is never. Shorter than every member's deadline.
    pub hedge: Option<Duration>,
}

/// `[hsm_group.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHsmGroup {
    /// Names of 2 to 16 `[hsm.NAME]` that hold the same keys. Required.
    members: Option<Vec<Located<String>>>,
    /// When a signature takes longer than this, another member is asked too; or `off`.
    hedge: Option<Located<DurationText>>,
}

/// A group, and what keys want to know of it even when it has mistakes.
pub(crate) struct CheckedGroup {
    pub(crate) group: HsmGroup,
    /// Whether each of its members is known.
    pub(crate) whole: bool,
}

/// More tokens than anybody keeps in step.
const MEMBERS_MAX: usize = 16;

impl RawHsmGroup {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        name: &Located<String>,
        table: &Span,
        tokens: (&Names, &[Option<Hsm>]),
    ) -> CheckedGroup {
        let (names, hsms) = tokens;
        let written = check.required(table, "members", self.members);
        let mut whole = written.is_some() && !check.lost_key(table, "members");
        let written = written.unwrap_or_default();
        check.distinct(&written, "this token");
        if whole && !(2..=MEMBERS_MAX).contains(&written.len()) {
            check.error(table, format!("a group has 2 to {MEMBERS_MAX} members"));
        }
        let mut members = Vec::new();
        for member in &written {
            match names.index(check, member) {
                Some(index) if !members.contains(&index) => members.push(index),
                Some(_) => {}
                None => whole = false,
            }
        }
        let place = self.hedge.as_ref().map(|text| text.span.clone());
        let millisecond = Duration::from_millis(1);
        let hedge = check.duration_or_off(self.hedge, None, millisecond..=3_600_000 * millisecond);
        if let (Some(hedge), Some(place)) = (hedge, place) {
            let mut known = members.iter().filter_map(|at| hsms.get(*at)?.as_ref());
            if let Some(member) = known.find(|member| member.deadline <= hedge) {
                let (name, deadline) = (quoted(&member.name), duration_text(member.deadline));
                check
                    .error(
                        &place,
                        "`hedge` is not shorter than the deadline of a member",
                    )
                    .help(format!(
                        "{name} gives up after {deadline}: nobody would be asked in time"
                    ));
            }
        }
        let name = name.value.clone();
        CheckedGroup {
            group: HsmGroup {
                name,
                members,
                hedge,
            },
            whole,
        }
    }
}

/// A token and a group never share a name, and a token has one group.
pub(crate) fn distinct_groups(
    check: &mut Check<'_>,
    tokens: &Names,
    names: &Names,
    groups: &[CheckedGroup],
) {
    for name in names.iter() {
        if let Some(token) = tokens.iter().find(|token| token.value == name.value) {
            let message = format!("{} is the name of a token already", quoted(&name.value));
            check
                .error(&name.span, message)
                .help("`hsm = \"NAME\"` of a certificate names a token or a group: choose another name")
                .related(&token.span, "the token");
        }
    }
    let mut seen = HashMap::new();
    for (name, checked) in names.iter().zip(groups) {
        for member in &checked.group.members {
            if let Some(first) = seen.insert(*member, &name.span) {
                let message = format!("{} is in two groups", quoted(tokens.get(*member)));
                check
                    .error(&name.span, message)
                    .help("a token can be in one group only")
                    .related(first, "the other group");
            }
        }
    }
}
