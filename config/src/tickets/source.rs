//! `tickets.keys`: where ticket keys come from.
//!
//! The configuration names a secret, never holds one.
use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use portcullis_hsm::uri::{ObjectType, Pkcs11Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::certificate::pkcs11;
use crate::check::{Check, Names, Span};
use crate::hsm_ref::{Tokens, Wanted};
use crate::schema::one_or_many;
use crate::value::quoted;
use crate::{HsmRef, Located};

/// Where ticket keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketKeySource {
    /// Each process makes its own and loses them at its end.
    Random,
    /// Derived in a token from a secret that cannot leave it; the newest first, never empty. Tickets are sealed
    /// under the first and opened under all.
    Hsm(Vec<TokenSecret>),
    /// A watched file of secrets.
    File(Located<PathBuf>),
    /// Made by one gateway of the fleet and read by all.
    Redis {
        /// Index into [`crate::Config::redis`].
        store: usize,
        /// What the keys are wrapped with there.
        wrap: WrapSource,
    },
}

/// What ticket keys are wrapped with before they go to Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrapSource {
    /// `file:PATH`: a file with a secret.
    File(Located<PathBuf>),
    /// `pkcs11:...`: a secret in a token.
    Token(TokenSecret),
}

/// A secret key in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSecret {
    /// Which object. Its type is absent or `secret-key`, its label is there.
    pub uri: Located<Pkcs11Uri>,
    /// Where it is.
    pub hsm: HsmRef,
}

/// `keys` as written: a word or a table.
#[derive(Debug)]
pub(crate) enum RawTicketKeys {
    Word(String),
    Table(RawKeyTable),
}

/// `keys = { ... }` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawKeyTable {
    /// Secret key in a token that ticket keys are derived from: `pkcs11:...`. While it is replaced two, the new
    /// one first.
    #[schemars(schema_with = "one_or_many::<String>")]
    hsm: Option<Vec<Located<String>>>,
    /// File with ticket keys, watched.
    file: Option<Located<String>>,
    /// Name of the `[redis.NAME]` through which a fleet shares its keys.
    redis: Option<Located<String>>,
    /// What keys in Redis are wrapped with: `file:PATH` or `pkcs11:...`. Required with `redis`.
    wrap: Option<Located<String>>,
    /// Name of the `[hsm.NAME]` or `[hsm_group.NAME]` the secret is in. Needed only when its URI fits several.
    via: Option<Located<String>>,
}

/// Roots at once: a second replacement may begin before the tickets of the first are gone.
const ROOTS_MAX: usize = 4;

impl RawTicketKeys {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        place: &Span,
        (tokens, redis): (&Tokens<'_>, &Names),
    ) -> Option<TicketKeySource> {
        let table = match self {
            RawTicketKeys::Word(word) if word == "random" => return Some(TicketKeySource::Random),
            RawTicketKeys::Word(word) => {
                check
                    .error(place, format!("unknown value {}", quoted(&word)))
                    .help("write \"random\", or a table: `{ hsm = \"pkcs11:...\" }`, `{ file = \"PATH\" }` or `{ redis = \"NAME\", wrap = \"file:PATH\" }`");
                return None;
            }
            RawTicketKeys::Table(table) => table,
        };
        table.one_source(check, place)?;
        table.only_what_does_something(check);
        if let Some(roots) = table.hsm {
            let roots = hsm_roots(check, place, (roots, table.via), tokens)?;
            return Some(TicketKeySource::Hsm(roots));
        }
        if let Some(name) = table.redis {
            let store = redis.index(check, &name);
            let wrap = check.required(place, "wrap", table.wrap)?;
            let wrap = wrap_source(check, &wrap, table.via, tokens)?;
            return Some(TicketKeySource::Redis {
                store: store?,
                wrap,
            });
        }
        let file = table.file.map(|file| check.path(&file));
        file.map(TicketKeySource::File)
    }
}

impl RawKeyTable {
    /// `None` after a mistake.
    fn one_source(&self, check: &mut Check<'_>, place: &Span) -> Option<()> {
        let hsm = self.hsm.as_ref().map(|roots| {
            let first = roots.first();
            first.map_or(place, |root| &root.span)
        });
        let others = [&self.file, &self.redis].into_iter().flatten();
        let mut given = hsm.into_iter().chain(others.map(|text| &text.span));
        let Some(first) = given.next() else {
            let lost = ["hsm", "file", "redis"];
            if !lost.iter().any(|key| check.lost_key(place, key)) {
                check
                    .error(place, "this names no source of ticket keys")
                    .help("write one of `hsm`, `file` and `redis`, or `keys = \"random\"`");
            }
            return None;
        };
        if let Some(second) = given.next() {
            let message =
                "ticket keys come from one of `hsm`, `file` and `redis`, not from several";
            check
                .error(second, message)
                .related(first, "chosen here already");
            return None;
        }
        Some(())
    }

    fn only_what_does_something(&self, check: &mut Check<'_>) {
        if let (Some(wrap), None) = (&self.wrap, &self.redis) {
            check.error(
                &wrap.span,
                "`wrap` does nothing here: only keys in Redis are wrapped",
            );
        }
        let in_token = |text: &Located<String>| text.value.starts_with("pkcs11:");
        let wrapped = self.redis.is_some() && self.wrap.as_ref().is_none_or(in_token);
        if let (Some(via), None, false) = (&self.via, &self.hsm, wrapped) {
            check.error(
                &via.span,
                "`via` does nothing here: no secret is in a token",
            );
        }
    }
}

fn hsm_roots(
    check: &mut Check<'_>,
    place: &Span,
    (texts, via): (Vec<Located<String>>, Option<Located<String>>),
    tokens: &Tokens<'_>,
) -> Option<Vec<TokenSecret>> {
    if texts.is_empty() || texts.len() > ROOTS_MAX {
        check.error(
            place,
            format!("`hsm` has 1 to {ROOTS_MAX} secrets, the newest first"),
        );
        return None;
    }
    let via = via.map(|name| (tokens.named(check, &name), name.span));
    let mut uris = Vec::new();
    let mut roots = Vec::new();
    for text in &texts {
        let root = token_secret(check, text, via.as_ref(), tokens);
        uris.extend(root.as_ref().map(|root| root.uri.clone()));
        roots.push(root);
    }
    check.distinct(&uris, "this secret");
    roots.into_iter().collect()
}

fn wrap_source(
    check: &mut Check<'_>,
    text: &Located<String>,
    via: Option<Located<String>>,
    tokens: &Tokens<'_>,
) -> Option<WrapSource> {
    if let Some(path) = text.value.strip_prefix("file:") {
        return Some(WrapSource::File(check.path(&text.with(path.to_owned()))));
    }
    if text.value.starts_with("pkcs11:") {
        let via = via.map(|name| (tokens.named(check, &name), name.span));
        return token_secret(check, text, via.as_ref(), tokens).map(WrapSource::Token);
    }
    // What was written may be the secret.
    check
        .error(&text.span, "this does not say what keys are wrapped with")
        .help("write `file:PATH`, or `pkcs11:...` for a secret in a token");
    None
}

fn token_secret(
    check: &mut Check<'_>,
    text: &Located<String>,
    via: Option<&(Option<HsmRef>, Span)>,
    tokens: &Tokens<'_>,
) -> Option<TokenSecret> {
    if !text.value.starts_with("pkcs11:") {
        check
            .error(&text.span, "a secret in a token is written as `pkcs11:...`")
            .help("for example \"pkcs11:token=edge;object=ticket-root\"");
        return None;
    }
    let uri = text.with(pkcs11(check, text)?);
    if !matches!(uri.object_type(), None | Some(ObjectType::SecretKey)) {
        check
            .error(&uri.span, "this URI names something else than a secret key")
            .help("write `type=secret-key`, or leave the type out");
        return None;
    }
    if uri.object().is_none_or(str::is_empty) {
        check
            .error(&uri.span, "this URI names no object")
            .help("add the label of the secret, as in `object=ticket-root`; its generation is kept beside it under that name");
        return None;
    }
    let wanted = Wanted {
        uri: &uri,
        what: "secret",
        by: "via",
    };
    let hsm = tokens.place_of(check, &wanted, via)?;
    Some(TokenSecret { uri, hsm })
}

impl<'de> Deserialize<'de> for RawTicketKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrTable;
        impl<'de> Visitor<'de> for WordOrTable {
            type Value = RawTicketKeys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a table")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<RawTicketKeys, E> {
                Ok(RawTicketKeys::Word(word.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawTicketKeys, A::Error> {
                let table = RawKeyTable::deserialize(MapAccessDeserializer::new(map));
                table.map(RawTicketKeys::Table)
            }
        }
        // An untagged enum would lose the places.
        deserializer.deserialize_any(WordOrTable)
    }
}

/// The table, or a string.
impl JsonSchema for RawTicketKeys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TicketKeys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = RawKeyTable::json_schema(generator);
        schema.insert("type".to_owned(), serde_json::json!(["string", "object"]));
        schema
    }
}
