//! Client certificates that must be refused, one for each reason, and the odd ones that must not.

use rcgen::{CertificateParams, Issuer};

use super::{Ca, Client, KeyKind, Leaf, Usage, Validity, openssl};

/// DNS names of [`Flaw::ManyNames`].
const MANY: usize = 3_000;

/// Intermediates of [`Flaw::TenDeep`].
const DEEP: usize = 10;

/// What is wrong with a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// It ended yesterday.
    Expired,
    /// It begins tomorrow.
    NotYetValid,
    /// It is for servers only.
    WrongUsage,
    /// Its CA is nobody's.
    UnknownCa,
    /// Its CA has the name of the right one and another key.
    ForgedCa,
    /// Its issuer signed with SHA-1. Needs the `openssl` program.
    Sha1,
    /// Its key is RSA with 1,024 bits. Needs the `openssl` program.
    Rsa1024,
    /// It is its own issuer.
    SelfSigned,
    /// It was issued by a client certificate.
    IssuedByLeaf,
    /// It is a CA's own.
    IsCa,
    /// A CA above it allowed no CA below itself.
    PathLength,
    /// Its CA may not certify this DNS name.
    NameConstraint,
    /// Its CA may certify only such URIs as it has, in a form of constraint that few verifiers decide.
    UriConstraint,
    /// There are ten intermediates between it and the root.
    TenDeep,
    /// It has 3,000 names: too much for a handshake message of the gateway.
    ManyNames,
}

impl Flaw {
    /// Every flaw.
    pub const ALL: [Self; 15] = [
        Self::Expired,
        Self::NotYetValid,
        Self::WrongUsage,
        Self::UnknownCa,
        Self::ForgedCa,
        Self::Sha1,
        Self::Rsa1024,
        Self::SelfSigned,
        Self::IssuedByLeaf,
        Self::IsCa,
        Self::PathLength,
        Self::NameConstraint,
        Self::UriConstraint,
        Self::TenDeep,
        Self::ManyNames,
    ];

    /// `client` issued by `ca` with this flaw and no other. `ca_name` is the name `ca` was made with.
    pub fn forge(self, client: &Client, ca: &Ca, ca_name: &str) -> anyhow::Result<Leaf> {
        let client = client.clone();
        match self {
            Self::Expired => client.validity(Validity::Expired).issued_by(ca),
            Self::NotYetValid => client.validity(Validity::NotYet).issued_by(ca),
            Self::WrongUsage => client.usage(Usage::ServerOnly).issued_by(ca),
            Self::UnknownCa => client.issued_by(&Ca::root("Portcullis nobody")?),
            Self::ForgedCa => client.issued_by(&Ca::root(ca_name)?),
            Self::Sha1 => openssl::signed_with_sha1(&client, ca),
            Self::Rsa1024 => openssl::with_rsa_1024(&client, ca),
            Self::SelfSigned => self_signed(&client),
            Self::IssuedByLeaf => issued_by_leaf(&client, ca),
            Self::IsCa => Ok(ca.intermediate("Portcullis itself")?.as_leaf()),
            Self::PathLength => {
                let last = ca.intermediate_with_path_length("Portcullis last", 0)?;
                client.issued_by(&last.intermediate("Portcullis beyond")?)
            }
            Self::NameConstraint => {
                let bound = ca.intermediate_for_domain("Portcullis bound", "allowed.example")?;
                client.dns("client.elsewhere.example")?.issued_by(&bound)
            }
            Self::UriConstraint => {
                let bound =
                    ca.intermediate_for_uri_host("Portcullis workloads", "allowed.example")?;
                client
                    .uri("spiffe://allowed.example/orders")?
                    .issued_by(&bound)
            }
            Self::TenDeep => {
                let mut deep = ca.intermediate("Portcullis 1")?;
                for level in 2..=DEEP {
                    deep = deep.intermediate(&format!("Portcullis {level}"))?;
                }
                client.issued_by(&deep)
            }
            Self::ManyNames => (0..MANY)
                .try_fold(client, |client, at| {
                    client.dns(&format!("name-{at}.many.example"))
                })?
                .issued_by(ca),
        }
    }
}

fn self_signed(client: &Client) -> anyhow::Result<Leaf> {
    let key = client.generate_key()?;
    let certificate = client.params().self_signed(&key)?;
    Ok(Leaf {
        chain: vec![certificate.pem()],
        key: key.serialize_pem(),
    })
}

fn issued_by_leaf(client: &Client, ca: &Ca) -> anyhow::Result<Leaf> {
    let middle = Client::new("middle");
    let (middle_params, middle_key): (CertificateParams, _) =
        (middle.params(), middle.generate_key()?);
    let middle_pem = ca.sign(&middle_params, &middle_key)?.pem();
    let issuer = Issuer::new(middle_params, middle_key);
    let key = client.clone().key(KeyKind::P256).generate_key()?;
    let leaf = client.params().signed_by(&key, &issuer)?;
    let chain = [vec![leaf.pem(), middle_pem], ca.intermediates()].concat();
    Ok(Leaf {
        chain,
        key: key.serialize_pem(),
    })
}
