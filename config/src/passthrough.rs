//! `[[passthrough]]`: server names whose connections are handed on as they come. TLS ends at the upstream.
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Span};
use crate::route::Carries;
use crate::schema::one_or_many;
use crate::site::{Surroundings, hosts_of, listeners_of};
use crate::{HostPattern, Located};

/// Connections that are handed on byte for byte.
#[derive(Debug, Clone)]
pub struct Passthrough {
    /// Server names, never empty.
    pub names: Vec<Located<HostPattern>>,
    /// Index into [`crate::Config::upstreams`], which speaks TCP.
    pub upstream: usize,
    /// Where its table was written.
    pub span: Range<usize>,
}

impl Passthrough {
    /// What it is called in logs: its first name.
    pub fn name(&self) -> String {
        let first = self.names.first();
        first.map_or_else(String::new, |name| name.value.text())
    }
}

/// `[[passthrough]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPassthrough {
    /// Server names (SNI): `db.example.com`, `*.example.com` (one label), `*` (every name). Required.
    #[schemars(schema_with = "one_or_many::<String>")]
    names: Option<Vec<Located<String>>>,
    /// Names of the listeners it is on. Default: all https listeners.
    #[schemars(schema_with = "one_or_many::<String>")]
    listeners: Option<Vec<Located<String>>>,
    /// Name of an `[upstream.NAME]` with `protocol = "tcp"`, or an address: `tcp://HOST:PORT`. Required.
    upstream: Option<Located<String>>,
}

/// A passthrough, and what others want to know of it even when it has mistakes.
pub(crate) struct CheckedPassthrough {
    pub(crate) names: Vec<Located<HostPattern>>,
    /// Whether each of its names could be read.
    pub(crate) names_are_known: bool,
    /// Indices of its listeners; `None` for a name that no https listener has.
    pub(crate) listeners: Vec<Option<usize>>,
    /// `None` where its upstream is not known.
    pub(crate) passthrough: Option<Passthrough>,
}

impl CheckedPassthrough {
    /// Those that were checked, without what others want to know.
    pub(crate) fn all(checked: Vec<Self>) -> Vec<Passthrough> {
        let passthroughs = checked.into_iter();
        passthroughs.filter_map(|it| it.passthrough).collect()
    }
}

impl RawPassthrough {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        table: &Span,
        around: &mut Surroundings<'_>,
    ) -> CheckedPassthrough {
        let written = self.names.as_ref().map(Vec::len);
        let names = hosts_of(check, (table, "names"), self.names);
        let names_are_known = written == Some(names.len()) && !check.lost_key(table, "names");
        let listeners = listeners_of(check, (table, "passthrough"), self.listeners, around);
        let upstream = check.required(table, "upstream", self.upstream);
        let upstream =
            upstream.and_then(|name| around.upstreams.index(check, &name, Carries::Connections));
        let passthrough = upstream.map(|upstream| Passthrough {
            names: names.clone(),
            upstream,
            span: table.clone(),
        });
        CheckedPassthrough {
            names,
            names_are_known,
            listeners,
            passthrough,
        }
    }
}
