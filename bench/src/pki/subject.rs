//! Client certificates that are named by more than a common name.

use rcgen::DnType;

use super::{Ca, Client, Leaf};

/// An attribute of a subject that roles can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// `O`.
    Organization,
    /// `OU`.
    Unit,
}

impl Client {
    /// Makes a key and has it certified, with these attributes behind the common name, in their order.
    pub fn issued_with(&self, attributes: &[(Attribute, &str)], ca: &Ca) -> anyhow::Result<Leaf> {
        let key = self.generate_key()?;
        let mut params = self.params();
        for (attribute, value) in attributes {
            let kind = match attribute {
                Attribute::Organization => DnType::OrganizationName,
                Attribute::Unit => DnType::OrganizationalUnitName,
            };
            params.distinguished_name.push(kind, *value);
        }
        let leaf = ca.sign(&params, &key)?;
        Ok(Leaf {
            chain: [vec![leaf.pem()], ca.intermediates()].concat(),
            key: key.serialize_pem(),
        })
    }
}
