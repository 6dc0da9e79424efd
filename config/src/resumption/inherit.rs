//! From what a site, its listeners and the top level say to what holds on the site.

use crate::check::{Check, Span};
use crate::value::{duration_text, quoted};
use crate::{Located, Resumption, TlsPolicy, TlsVersion};

use super::Layer;

/// A site whose resumption is put together.
pub(crate) struct Heir<'a> {
    pub(crate) name: &'a str,
    /// Its header.
    pub(crate) table: &'a Span,
    pub(crate) tls: &'a TlsPolicy,
    /// Name and layer of each of its listeners.
    pub(crate) listeners: Vec<(&'a str, &'a Layer)>,
}

/// What came of it.
pub(crate) struct Inherited {
    pub(crate) resumption: Resumption,
    /// Whether all that was written could be read.
    pub(crate) whole: bool,
}

impl Heir<'_> {
    /// The site's own keys and what it inherits; reports what does not go together.
    pub(crate) fn inherit(&self, check: &mut Check<'_>, own: Layer) -> Inherited {
        let own_store = own.store.as_ref().map(|store| store.span.clone());
        let whole = own.whole && self.listeners.iter().all(|(_, layer)| layer.whole);
        let all = Layer {
            mode: self.key(check, ("mode", own.mode), |layer| &layer.mode),
            tickets: self.key(check, ("tickets", own.tickets), |layer| &layer.tickets),
            lifetime: self.key(check, ("lifetime", own.lifetime), |layer| &layer.lifetime),
            max_lineage: self.key(check, ("max_lineage", own.max_lineage), |layer| {
                &layer.max_lineage
            }),
            early_data: self.key(check, ("early_data", own.early_data), |layer| {
                &layer.early_data
            }),
            store: self.key(check, ("early_data_store", own.store), |layer| &layer.store),
            whole,
        };
        let default = Resumption::default();
        let resumption = Resumption {
            mode: value(&all.mode).unwrap_or(default.mode),
            tickets: value(&all.tickets).unwrap_or(default.tickets),
            lifetime: value(&all.lifetime).unwrap_or(default.lifetime),
            max_lineage: value(&all.max_lineage).unwrap_or(default.max_lineage),
            early_data: value(&all.early_data).unwrap_or(default.early_data),
            store: value(&all.store).filter(|_| value(&all.early_data) > Some(0)),
        };
        if whole {
            self.lineage(check, &all, &resumption);
            self.early_data(check, &all, &resumption);
            if let (Some(span), 0) = (own_store, resumption.early_data) {
                let message = "`early_data_store` does nothing: this site takes no early data";
                check.error(&span, message);
            }
        }
        Inherited { resumption, whole }
    }

    /// One key: the site's own, else the one that all its listeners have.
    fn key<T: Copy + PartialEq>(
        &self,
        check: &mut Check<'_>,
        (name, own): (&str, Option<Located<T>>),
        of: impl Fn(&Layer) -> &Option<Located<T>>,
    ) -> Option<Located<T>> {
        if own.is_some() {
            return own;
        }
        let mut said = self.listeners.iter();
        let (first, layer) = said.next()?;
        let found = of(layer);
        if let Some((other, differing)) = said.find(|(_, other)| value(of(other)) != value(found)) {
            let (one, two) = (quoted(first), quoted(other));
            let message = format!(
                "the listeners {one} and {two} say different things about `resumption.{name}`"
            );
            let help =
                format!("give this site a `resumption.{name}` of its own, or make it two sites");
            let error = check.error(self.table, message).help(help);
            let place = [of(differing), found].into_iter().flatten();
            if let Some(place) = place.map(|value| &value.span).find(|span| !span.is_empty()) {
                error.related(place, "one of the listeners");
            }
        }
        found.clone()
    }

    fn lineage(&self, check: &mut Check<'_>, all: &Layer, resumption: &Resumption) {
        if resumption.lifetime <= resumption.max_lineage {
            return;
        }
        let message = format!(
            "a session of the site {} would live for {}, and the lineage it belongs to for {} only",
            quoted(self.name),
            duration_text(resumption.lifetime),
            duration_text(resumption.max_lineage)
        );
        check
            .error(self.place([&all.lifetime, &all.max_lineage]), message)
            .help("lower `lifetime`, or raise `max_lineage`, which counts from the full handshake");
    }

    /// Early data can be sent again by whoever saw it: only a session that is used up protects against that.
    fn early_data(&self, check: &mut Check<'_>, all: &Layer, resumption: &Resumption) {
        if resumption.early_data == 0 {
            return;
        }
        let place = self.place([&all.early_data]);
        let name = quoted(self.name);
        if !resumption.mode.remembers() {
            let mode = resumption.mode.as_str();
            let message = format!(
                "early data of the site {name} needs sessions that are used once, and its `mode` is `{mode}`"
            );
            check
                .error(place, message)
                .help("use `mode = \"both\"` or `\"stateful\"`, or `early_data = \"off\"`");
        }
        if !self.tls.versions.contains(&TlsVersion::Tls13) {
            let message = format!("early data needs TLS 1.3, which the site {name} does not have");
            check
                .error(place, message)
                .help("add \"1.3\" to its `tls.versions`, or give it `early_data = \"off\"`");
        }
    }

    /// Where the first of `keys` that was written at all is.
    fn place<'a, T>(&'a self, keys: impl IntoIterator<Item = &'a Option<Located<T>>>) -> &'a Span
    where
        T: 'a,
    {
        let written = keys.into_iter().flatten().map(|value| &value.span);
        let mut written = written.filter(|span| !span.is_empty());
        written.next().unwrap_or(self.table)
    }
}

fn value<T: Copy>(located: &Option<Located<T>>) -> Option<T> {
    located.as_ref().map(|located| located.value)
}
