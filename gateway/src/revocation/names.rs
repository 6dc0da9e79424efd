//! Distribution points and the names in them: in certificates (where their status is told) and in lists (for
//! which certificates they speak).

use super::der::{self, Malformed, Reader, constructed, context};

/// A set of revocation reasons: bit N is ReasonFlags bit N of RFC 5280, section 4.2.1.13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reasons(u16);

impl Reasons {
    pub(super) const NONE: Reasons = Reasons(0);
    /// Bits 1 to 8; bit 0 is unused.
    pub(super) const ALL: Reasons = Reasons(0b1_1111_1110);

    fn read(content: &[u8]) -> Result<Self, Malformed> {
        der::named_bits(content, "reason flags").map(|bits| Reasons(bits & Self::ALL.0))
    }

    pub(super) fn and(self, other: Self) -> Self {
        Reasons(self.0 & other.0)
    }

    pub(super) fn or(self, other: Self) -> Self {
        Reasons(self.0 | other.0)
    }
}

/// The name of a distribution point.
#[derive(Debug, Clone, Copy)]
pub(super) enum PointName<'a> {
    /// GeneralNames: the content of the SEQUENCE.
    Full(&'a [u8]),
    /// Relative to the issuer of the list. Nobody writes it; it matches nothing.
    Relative,
}

impl<'a> PointName<'a> {
    fn read(mut reader: Reader<'a>) -> Result<Self, Malformed> {
        let value = reader.any()?;
        reader.end()?;
        match value.tag {
            tag if tag == constructed(0) => {
                let mut names = Reader::new(value.content, "general names");
                if names.is_at_end() {
                    return names.malformed();
                }
                while !names.is_at_end() {
                    names.any()?;
                }
                Ok(PointName::Full(value.content))
            }
            tag if tag == constructed(1) => Ok(PointName::Relative),
            _ => reader.malformed(),
        }
    }

    /// The general names, tag and length included.
    pub(super) fn names(self) -> impl Iterator<Item = &'a [u8]> {
        let mut reader = match self {
            PointName::Full(names) => Reader::new(names, "general names"),
            PointName::Relative => Reader::new(&[], "general names"),
        };
        std::iter::from_fn(move || reader.any().ok().map(|value| value.raw))
    }

    fn meets(self, other: PointName<'_>) -> bool {
        self.names()
            .any(|name| other.names().any(|also| also == name))
    }
}

/// One distribution point of a certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point<'a> {
    pub(super) name: Option<PointName<'a>>,
    reasons: Reasons,
    /// GeneralNames of another signer of the list.
    issuer: Option<&'a [u8]>,
}

/// Reads `CRLDistributionPoints`, which is `FreshestCRL` as well.
pub(super) fn read_points(content: &[u8]) -> Result<Vec<Point<'_>>, Malformed> {
    let mut outer = Reader::new(content, "CRL distribution points");
    let mut list = outer.inside(der::SEQUENCE)?;
    outer.end()?;
    let mut points = Vec::new();
    while !list.is_at_end() {
        let mut reader = list.inside(der::SEQUENCE)?;
        let name = reader.optional_inside(constructed(0))?;
        let reasons = reader.optional(context(1))?;
        let issuer = reader.optional(constructed(2))?;
        reader.end()?;
        points.push(Point {
            name: name.map(PointName::read).transpose()?,
            reasons: reasons.map_or(Ok(Reasons::ALL), Reasons::read)?,
            issuer,
        });
    }
    Ok(points)
}

/// The `http://` addresses of distribution points.
pub(super) fn http_addresses<'a>(points: &[Point<'a>]) -> impl Iterator<Item = &'a str> {
    points
        .iter()
        .filter_map(|point| point.name)
        .flat_map(PointName::names)
        .filter_map(http_address)
}

/// A uniformResourceIdentifier that begins with `http://`.
pub(super) fn http_address(name: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(name, "general name");
    let text = std::str::from_utf8(reader.value(context(6)).ok()?).ok()?;
    let scheme = text.get(..7)?;
    scheme.eq_ignore_ascii_case("http://").then_some(text)
}

/// For which certificates a list speaks: the issuing distribution point of RFC 5280, section 5.2.5.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    name: Option<PointName<'a>>,
    reasons: Reasons,
    users_only: bool,
    cas_only: bool,
    /// Its serial numbers are not those of certificates of keys at all.
    pub(super) attributes_only: bool,
    pub(super) indirect: bool,
}

impl<'a> Scope<'a> {
    /// Of a list without the extension.
    pub(super) const EVERYTHING: Scope<'static> = Scope {
        name: None,
        reasons: Reasons::ALL,
        users_only: false,
        cas_only: false,
        attributes_only: false,
        indirect: false,
    };

    pub(super) fn read(content: &'a [u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(content, "issuing distribution point");
        let mut reader = outer.inside(der::SEQUENCE)?;
        outer.end()?;
        let name = reader.optional_inside(constructed(0))?;
        let users_only = reader.flag(context(1))?;
        let cas_only = reader.flag(context(2))?;
        let reasons = reader.optional(context(3))?;
        let indirect = reader.flag(context(4))?;
        let attributes_only = reader.flag(context(5))?;
        reader.end()?;
        Ok(Self {
            name: name.map(PointName::read).transpose()?,
            reasons: reasons.map_or(Ok(Reasons::ALL), Reasons::read)?,
            users_only,
            cas_only,
            attributes_only,
            indirect,
        })
    }

    /// For which reasons the list can say that a certificate of its issuer is not revoked: RFC 5280, section
    /// 6.3.3 (b) and (d), for direct lists. Besides the certificate's own points there is always the one
    /// with the issuer's name and all reasons (the section's last paragraph).
    pub(super) fn covers(&self, subject: &Subject<'_>) -> Reasons {
        let kind_fits = match subject.kind {
            Kind::User => !self.cas_only,
            Kind::Ca => !self.users_only,
        };
        if !kind_fits || self.attributes_only || self.indirect {
            return Reasons::NONE;
        }
        let Some(name) = self.name else {
            return self.reasons;
        };
        let issuer = der::wrap(constructed(4), &[subject.issuer]);
        let mut covered = Reasons::NONE;
        if name.names().any(|name| name == issuer) {
            covered = Reasons::ALL;
        }
        for point in subject.points {
            let direct = point.issuer.is_none_or(|named| named == issuer);
            if direct && point.name.is_some_and(|theirs| theirs.meets(name)) {
                covered = covered.or(point.reasons);
            }
        }
        self.reasons.and(covered)
    }
}

/// What a certificate may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Ca,
}

/// What scopes ask of a certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) kind: Kind,
    /// The issuer's name, tag and length included.
    pub(super) issuer: &'a [u8],
    pub(super) points: &'a [Point<'a>],
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &[u8] = b"\x30\x00";

    fn uri(text: &str) -> Vec<u8> {
        der::wrap(context(6), &[text.as_bytes()])
    }

    fn point_name(names: &[&[u8]]) -> Vec<u8> {
        der::wrap(constructed(0), &[&der::wrap(constructed(0), names)])
    }

    fn points(list: &[&[&[u8]]]) -> Vec<u8> {
        let each: Vec<_> = list
            .iter()
            .map(|parts| der::wrap(der::SEQUENCE, parts))
            .collect();
        let each: Vec<_> = each.iter().map(Vec::as_slice).collect();
        der::wrap(der::SEQUENCE, &each)
    }

    fn covers(scope: &[&[u8]], kind: Kind, points: &[u8]) -> Reasons {
        let scope = der::wrap(der::SEQUENCE, scope);
        let subject = Subject {
            kind,
            issuer: ISSUER,
            points: &read_points(points).unwrap(),
        };
        Scope::read(&scope).unwrap().covers(&subject)
    }

    #[test]
    fn a_list_of_another_distribution_point_covers_nothing() {
        let (here, there) = (uri("http://here/a"), uri("http://there/a"));
        let idp = point_name(&[&here]);
        let theirs = points(&[&[&point_name(&[&there])]]);
        assert_eq!(covers(&[&idp], Kind::User, &theirs), Reasons::NONE);
        assert_eq!(covers(&[&idp], Kind::User, &points(&[])), Reasons::NONE);
        let ours = points(&[&[&point_name(&[&there, &here])]]);
        assert_eq!(covers(&[&idp], Kind::User, &ours), Reasons::ALL);
        // Signed by somebody else, says the certificate.
        let other = der::wrap(constructed(2), &[&uri("http://x")]);
        let foreign = points(&[&[&point_name(&[&here]), &other]]);
        assert_eq!(covers(&[&idp], Kind::User, &foreign), Reasons::NONE);
        // A point with the issuer's own name is everybody's.
        let own = point_name(&[&der::wrap(constructed(4), &[ISSUER])]);
        assert_eq!(covers(&[&own], Kind::User, &theirs), Reasons::ALL);
    }

    #[test]
    fn kinds_and_reasons_narrow_a_list() {
        let none = points(&[]);
        let users: &[u8] = b"\x81\x01\xff";
        let cas: &[u8] = b"\x82\x01\xff";
        assert_eq!(covers(&[users], Kind::Ca, &none), Reasons::NONE);
        assert_eq!(covers(&[users], Kind::User, &none), Reasons::ALL);
        assert_eq!(covers(&[cas], Kind::User, &none), Reasons::NONE);
        let attributes: &[u8] = b"\x85\x01\xff";
        assert_eq!(covers(&[attributes], Kind::User, &none), Reasons::NONE);
        let some: &[u8] = b"\x83\x02\x06\x40";
        assert_eq!(covers(&[some], Kind::User, &none), Reasons(2));
        let (here, reasons) = (uri("http://here"), b"\x81\x02\x05\x60");
        let narrow = points(&[&[&point_name(&[&here]), reasons]]);
        let idp = point_name(&[&here]);
        assert_eq!(covers(&[&idp], Kind::User, &narrow), Reasons(6));
        assert_eq!(covers(&[&idp, some], Kind::User, &narrow), Reasons(2));
    }

    #[test]
    fn only_plain_http_is_fetched() {
        let ldap = uri("ldap://x/cn=y");
        let (upper, secure) = (uri("HTTP://a/b"), uri("https://a/b"));
        let list = points(&[&[&point_name(&[&ldap, &upper, &secure])]]);
        let list = read_points(&list).unwrap();
        assert_eq!(http_addresses(&list).collect::<Vec<_>>(), ["HTTP://a/b"]);
    }
}
