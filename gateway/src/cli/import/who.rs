//! Sets of identities: what `principals` and `namespaces` say, with intersections worked out.
//!
//! [`Bound`] is the promise of every translation: where a set cannot be said exactly, what allows says less and
//! what denies says more.

/// Which way a translation may err.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// At most what was written: for what is allowed, and for exceptions from a deny.
    AtMost,
    /// At least what was written: for what is denied, and for exceptions from an allow.
    AtLeast,
}

impl Bound {
    pub(super) fn other(self) -> Self {
        match self {
            Bound::AtMost => Bound::AtLeast,
            Bound::AtLeast => Bound::AtMost,
        }
    }
}

/// A set of SPIFFE IDs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum IdPattern {
    /// Every one.
    Any,
    /// Exactly this one.
    Exact(String),
    /// Everything below this one.
    Below(String),
}

impl IdPattern {
    /// As a pattern of `spiffe` of a role.
    pub(super) fn text(&self) -> String {
        match self {
            IdPattern::Any => "spiffe://**".to_owned(),
            IdPattern::Exact(id) => id.clone(),
            IdPattern::Below(parent) => format!("{parent}/**"),
        }
    }

    fn and(&self, other: &IdPattern) -> Option<IdPattern> {
        let inside = |id: &str, parent: &str| {
            id.strip_prefix(parent)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        match (self, other) {
            (IdPattern::Any, set) | (set, IdPattern::Any) => Some(set.clone()),
            (IdPattern::Exact(a), IdPattern::Exact(b)) => (a == b).then(|| self.clone()),
            (IdPattern::Exact(id), IdPattern::Below(parent))
            | (IdPattern::Below(parent), IdPattern::Exact(id)) => {
                inside(id, parent).then(|| IdPattern::Exact(id.clone()))
            }
            (IdPattern::Below(a), IdPattern::Below(b)) if a == b || inside(a, b) => {
                Some(self.clone())
            }
            (IdPattern::Below(a), IdPattern::Below(b)) => inside(b, a).then(|| other.clone()),
        }
    }
}

/// Some clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Who {
    /// Those with one of these identities; without it also those with none.
    pub(super) include: Option<Vec<IdPattern>>,
    /// But not those.
    pub(super) exclude: Vec<IdPattern>,
}

impl Who {
    pub(super) fn of(include: Vec<IdPattern>) -> Self {
        Self {
            include: Some(include),
            exclude: Vec::new(),
        }
    }

    pub(super) fn but(exclude: Vec<IdPattern>) -> Self {
        Self {
            include: None,
            exclude,
        }
    }

    /// Those in both; none where nobody is.
    pub(super) fn and(&self, other: &Who) -> Option<Who> {
        let include = match (&self.include, &other.include) {
            (None, include) | (include, None) => include.clone(),
            (Some(a), Some(b)) => {
                let pairs = a.iter().flat_map(|a| b.iter().filter_map(|b| a.and(b)));
                Some(pairs.collect())
            }
        };
        let mut exclude = self.exclude.clone();
        exclude.extend(other.exclude.iter().cloned());
        exclude.sort();
        exclude.dedup();
        let mut who = Who { include, exclude };
        if let Some(include) = &mut who.include {
            include.sort();
            include.dedup();
            // What is wholly excepted need not be named.
            let excepted = |id: &IdPattern| {
                who.exclude
                    .iter()
                    .any(|not| not.and(id).as_ref() == Some(id))
            };
            include.retain(|id| !excepted(id));
            if include.is_empty() {
                return None;
            }
        }
        Some(who)
    }
}

/// A `principals` entry, `cluster.local/ns/x/sa/y`. `None` is nothing (`AtMost`).
pub(super) fn principal(text: &str, bound: Bound) -> Translated<IdPattern> {
    if text == "*" {
        return Translated::exact(IdPattern::Any);
    }
    let id = |text: &str| format!("spiffe://{text}");
    let widest = || match bound {
        Bound::AtMost => Translated::lost(None),
        Bound::AtLeast => Translated::lost(Some(IdPattern::Any)),
    };
    if let Some(prefix) = text.strip_suffix('*') {
        return match prefix.strip_suffix('/') {
            Some(parent) if is_id(parent) => Translated::exact(IdPattern::Below(id(parent))),
            _ => match bound {
                Bound::AtMost if is_id(prefix) => {
                    Translated::lost(Some(IdPattern::Exact(id(prefix))))
                }
                Bound::AtLeast => match prefix.rsplit_once('/') {
                    Some((parent, _)) if is_id(parent) => {
                        Translated::lost(Some(IdPattern::Below(id(parent))))
                    }
                    _ => widest(),
                },
                Bound::AtMost => widest(),
            },
        };
    }
    if is_id(text) {
        return Translated::exact(IdPattern::Exact(id(text)));
    }
    widest()
}

/// Whether `spiffe://` in front of it makes a SPIFFE ID that a role takes.
pub(super) fn is_id(text: &str) -> bool {
    let (domain, path) = text.split_once('/').unwrap_or((text, "x"));
    is_domain(domain)
        && path.split('/').all(|segment| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
        })
}

/// Whether this is a trust domain.
pub(super) fn is_domain(text: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(plain)
}

/// What a pattern became, and whether it still says the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translated<T> {
    /// Empty for nothing at all.
    pub(super) patterns: Vec<T>,
    pub(super) exact: bool,
}

impl<T> Translated<T> {
    pub(super) fn exact(pattern: T) -> Self {
        Self {
            patterns: vec![pattern],
            exact: true,
        }
    }

    pub(super) fn lost(pattern: Option<T>) -> Self {
        Self {
            patterns: pattern.into_iter().collect(),
            exact: false,
        }
    }
}
