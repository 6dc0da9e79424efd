//! From the URI of a key, and perhaps a name, to the token or group it is in.
//!
//! A key that could be in two places is a mistake, and so is a key of a group that not all members can hold.
use portcullis_hsm::uri::Pkcs11Uri;

use crate::check::{Check, Names, Span};
use crate::hsm_group::CheckedGroup;
use crate::value::quoted;
use crate::{Hsm, Keys, Located, TokenSelector};

/// Where a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HsmRef {
    /// Index into [`crate::Config::hsms`].
    Token(usize),
    /// Index into [`crate::Config::hsm_groups`]: every member holds the key.
    Group(usize),
}

/// What certificates refer to.
pub(crate) struct Tokens<'a> {
    /// Names of the tokens, and behind them those of the groups.
    pub(crate) names: &'a Names,
    /// In the order of the names; `None` where the check failed.
    pub(crate) hsms: &'a [Option<Hsm>],
    pub(crate) groups: &'a [CheckedGroup],
    pub(crate) keys: &'a Keys,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(
        names: &'a Names,
        (hsms, groups): (&'a [Option<Hsm>], &'a [CheckedGroup]),
        keys: &'a Keys,
    ) -> Self {
        Self {
            names,
            hsms,
            groups,
            keys,
        }
    }
}

/// What is looked for in a token.
pub(crate) struct Wanted<'a> {
    pub(crate) uri: &'a Located<Pkcs11Uri>,
    /// What it is: `key`, `chain`, `secret`.
    pub(crate) what: &'a str,
    /// The configuration key that names its token: `hsm`, `via`.
    pub(crate) by: &'a str,
}

/// How well a token fits a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The URI names another token.
    No,
    /// Nothing is said against it.
    Maybe,
    /// The URI names it.
    Yes,
}

impl Tokens<'_> {
    /// The token or group that is called so.
    pub(crate) fn named(&self, check: &mut Check<'_>, name: &Located<String>) -> Option<HsmRef> {
        let index = self.names.index(check, name)?;
        Some(match index.checked_sub(self.hsms.len()) {
            None => HsmRef::Token(index),
            Some(group) => HsmRef::Group(group),
        })
    }

    /// Where it is: in the token or group that was named (with the place of the name), else in the one its URI
    /// fits.
    pub(crate) fn place_of(
        &self,
        check: &mut Check<'_>,
        wanted: &Wanted<'_>,
        named: Option<&(Option<HsmRef>, Span)>,
    ) -> Option<HsmRef> {
        let place = match named {
            Some((place, _)) => *place,
            None => self.resolve(check, wanted),
        }?;
        self.held(check, wanted, place, named.map(|(_, span)| span));
        Some(place)
    }

    /// The one token or group a URI without name can be in.
    fn resolve(&self, check: &mut Check<'_>, wanted: &Wanted<'_>) -> Option<HsmRef> {
        let Wanted { uri, what, by } = wanted;
        let span = &uri.span;
        let all = || 0..self.hsms.len();
        let fits = |wanted: Fit| all().filter(|at| self.fit(uri, *at) == wanted).collect();
        let mut tokens: Vec<usize> = fits(Fit::Yes);
        if tokens.is_empty() {
            tokens = fits(Fit::Maybe);
        }
        // Members of a group need not stand side by side.
        let mut places = Vec::new();
        for place in tokens.into_iter().map(|at| self.place(at)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        match places.as_slice() {
            [only] => return Some(*only),
            [] if check.lost_tables() => {}
            [] if self.hsms.is_empty() => {
                check
                    .error(
                        span,
                        format!("this {what} is in a token, but there is no `[hsm.NAME]`"),
                    )
                    .help("add one with `module`, `token` and `pin`");
            }
            [] => {
                let names: Vec<_> = all().map(|at| quoted(self.names.get(at))).collect();
                check
                    .error(span, format!("no hsm has the token this {what} names"))
                    .help(format!("there is {}", names.join(", ")));
            }
            // Whoever is missing in a group may be one of the several.
            _ if self.groups.iter().any(|group| !group.whole) => {}
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|place| quoted(self.name(*place)))
                    .collect();
                let mut help = format!("add `{by} = \"NAME\"` with one of {}", names.join(", "));
                if self.groups.is_empty() {
                    help += "; where they hold the same keys, make them an `[hsm_group.NAME]`";
                }
                check
                    .error(span, format!("this {what} can be in several tokens"))
                    .help(help);
            }
        }
        None
    }

    /// Reports a URI that not every token of `place` can hold; `named` is where the
    /// place was chosen by name.
    pub(crate) fn held(
        &self,
        check: &mut Check<'_>,
        wanted: &Wanted<'_>,
        place: HsmRef,
        named: Option<&Span>,
    ) {
        let Wanted { uri, what, by } = wanted;
        let members = match place {
            HsmRef::Token(at) => vec![at],
            HsmRef::Group(at) => self
                .groups
                .get(at)
                .map_or_else(Vec::new, |checked| checked.group.members.clone()),
        };
        let strangers = members.iter().filter(|at| self.fit(uri, **at) == Fit::No);
        let strangers: Vec<_> = strangers.map(|at| quoted(self.names.get(*at))).collect();
        if strangers.is_empty() {
            return;
        }
        let name = quoted(self.name(place));
        let span = named.unwrap_or(&uri.span);
        let error = match place {
            HsmRef::Token(_) => check.error(
                span,
                format!("the {what} names another token than this hsm"),
            ),
            HsmRef::Group(_) if strangers.len() == members.len() => {
                let message = format!("the {what} names another token than the group {name}");
                check.error(span, message)
            }
            HsmRef::Group(_) => {
                let message =
                    format!("the {what} names the token of some members of the group {name} only");
                check.error(span, message).help(format!(
                    "{} cannot have it: leave the token out of the URI (with `{by} = \"NAME\"` if it \
                     fits others too), or name one token as `{by}` to use it alone",
                    strangers.join(", ")
                ))
            }
        };
        if named.is_some() {
            error.related(&uri.span, format!("the {what}"));
        }
    }

    fn fit(&self, uri: &Pkcs11Uri, at: usize) -> Fit {
        let hsm = self.hsms.get(at).and_then(Option::as_ref);
        // A token that could not be read, or that a signer chooses, can be any.
        let named = match hsm.and_then(Hsm::token).map(|token| &token.value) {
            None => None,
            Some(TokenSelector::Slot(slot)) => uri.slot_id().map(|id| id == *slot),
            Some(TokenSelector::Label(label)) => uri.token().map(|token| token == label),
            Some(TokenSelector::Serial(serial)) => uri.serial().map(|named| named == serial),
        };
        match named {
            Some(true) => Fit::Yes,
            Some(false) => Fit::No,
            None => Fit::Maybe,
        }
    }

    /// A token stands for its group.
    fn place(&self, token: usize) -> HsmRef {
        let group = |checked: &CheckedGroup| checked.group.members.contains(&token);
        match self.groups.iter().position(group) {
            Some(group) => HsmRef::Group(group),
            None => HsmRef::Token(token),
        }
    }

    fn name(&self, place: HsmRef) -> &str {
        match place {
            HsmRef::Token(at) => self.names.get(at),
            HsmRef::Group(at) => self.names.get(self.hsms.len() + at),
        }
    }
}
