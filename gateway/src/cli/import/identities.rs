//! Principals, namespaces and service accounts as sets of SPIFFE IDs.
//!
//! Istio reads a namespace out of a SPIFFE ID of any trust domain. Ours are those of the mesh; an identity of
//! another trust domain is in every namespace where something is denied, and in none where it is allowed.

use super::convert::{Converter, Ours};
use super::who::{Bound, IdPattern, Translated, Who, is_id, principal};

impl Converter<'_> {
    /// Narrows every rule to the clients of one field.
    pub(super) fn identities(
        &mut self,
        all: Vec<Ours>,
        place: (&str, usize),
        texts: &[String],
    ) -> Vec<Ours> {
        let (bound, except) = (self.bound, self.bound.other());
        let alternatives = match place.0 {
            "principals" => {
                vec![Who::of(
                    self.list(place, texts, |text| principal(text, bound)),
                )]
            }
            "notPrincipals" => {
                vec![Who::but(
                    self.list(place, texts, |text| principal(text, except)),
                )]
            }
            field => {
                let negative = field.starts_with("not");
                let bound = if negative { except } else { bound };
                let (domains, namespace) = (self.domains, self.namespace);
                let ids = self.list(place, texts, |text| {
                    let path = match field {
                        "namespaces" | "notNamespaces" => {
                            (!text.contains('/')).then(|| format!("ns/{text}"))
                        }
                        _ => account(text, namespace),
                    };
                    in_mesh(path.as_deref(), text, domains, bound)
                });
                self.in_every_domain(ids, negative)
            }
        };
        let mut narrowed = Vec::new();
        for rule in all {
            for who in alternatives.iter().filter_map(|who| rule.who.and(who)) {
                narrowed.push(Ours {
                    who,
                    ..rule.clone()
                });
            }
        }
        narrowed
    }

    /// Identities of the mesh as clients, with those of other trust domains on the safe side.
    fn in_every_domain(&self, ids: Vec<IdPattern>, negative: bool) -> Vec<Who> {
        let mesh = || {
            let domains = self.domains.iter();
            domains
                .map(|domain| IdPattern::Below(format!("spiffe://{domain}")))
                .collect()
        };
        match (negative, self.bound) {
            (false, Bound::AtMost) => vec![Who::of(ids)],
            (true, Bound::AtLeast) => vec![Who::but(ids)],
            (false, Bound::AtLeast) => {
                let strangers = Who {
                    include: Some(vec![IdPattern::Any]),
                    exclude: mesh(),
                };
                vec![Who::of(ids), strangers]
            }
            (true, Bound::AtMost) => {
                let members = Who {
                    include: Some(mesh()),
                    exclude: ids,
                };
                vec![Who::but(vec![IdPattern::Any]), members]
            }
        }
    }
}

/// `NAMESPACE/ACCOUNT`, or an account of the policy's namespace, as the path of an identity.
fn account(text: &str, namespace: &str) -> Option<String> {
    let (namespace, account) = text.split_once('/').unwrap_or((namespace, text));
    (!account.contains('/')).then(|| format!("ns/{namespace}/sa/{account}"))
}

/// The identities with this path, or below it, in the trust domains of the mesh.
fn in_mesh(
    path: Option<&str>,
    text: &str,
    domains: &[String],
    bound: Bound,
) -> Translated<IdPattern> {
    if text == "*" {
        return Translated::exact(IdPattern::Any);
    }
    let whole = |path: &str| path.contains("/sa/");
    match path.filter(|path| is_id(&format!("x/{path}"))) {
        Some(path) => {
            let id = |domain: &String| match whole(path) {
                true => IdPattern::Exact(format!("spiffe://{domain}/{path}")),
                false => IdPattern::Below(format!("spiffe://{domain}/{path}")),
            };
            Translated {
                patterns: domains.iter().map(id).collect(),
                exact: true,
            }
        }
        None if bound == Bound::AtLeast => Translated::lost(Some(IdPattern::Any)),
        None => Translated::lost(None),
    }
}
