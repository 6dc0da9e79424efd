//! PKCS#11 URIs (RFC 7512): the name of a token, an object, or both.
//!
//! Parsing is strict: an unknown character, a bad escape or a repeated attribute is an error, never a
//! guess. A `pin-value` attribute is refused, so a URI never holds a secret and may be logged. `Display`
//! writes the canonical form: attributes in the order of the RFC, `id` escaped byte by byte.

mod parse;

use std::collections::BTreeMap;
use std::fmt;

pub use parse::UriError;

/// A parsed PKCS#11 URI; two URIs that mean the same are equal (RFC 7512 section 2.6).
///
/// ```
/// use portcullis_hsm::uri::Pkcs11Uri;
/// let uri: Pkcs11Uri = "pkcs11:object=site%20key;token=edge?module-name=softhsm2".parse().unwrap();
/// assert_eq!(uri.object(), Some("site key"));
/// assert_eq!(uri.to_string(), "pkcs11:token=edge;object=site%20key?module-name=softhsm2");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Pkcs11Uri {
    text: BTreeMap<Attribute, String>,
    id: Option<Vec<u8>>,
    object_type: Option<ObjectType>,
    slot_id: Option<u64>,
    vendor_path: BTreeMap<String, String>,
    // RFC 7512 section 2.3 allows vendor attributes to repeat in the query, so order and number are kept.
    vendor_query: Vec<(String, String)>,
}

/// The `type` attribute: the class of object that is meant (RFC 7512 section 2.3, `CKA_CLASS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectType {
    /// `public`, `CKO_PUBLIC_KEY`.
    Public,
    /// `private`, `CKO_PRIVATE_KEY`.
    Private,
    /// `cert`, `CKO_CERTIFICATE`.
    Certificate,
    /// `secret-key`, `CKO_SECRET_KEY`.
    SecretKey,
    /// `data`, `CKO_DATA`.
    Data,
}

/// The defined attributes whose name is told, in canonical order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Attribute {
    Token,
    Manufacturer,
    Serial,
    Model,
    LibraryManufacturer,
    LibraryDescription,
    LibraryVersion,
    SlotManufacturer,
    SlotDescription,
    SlotId,
    Object,
    Type,
    Id,
    PinSource,
    ModuleName,
    ModulePath,
}

impl Pkcs11Uri {
    /// `token`: the label of the token (`CK_TOKEN_INFO.label`).
    pub fn token(&self) -> Option<&str> {
        self.value(Attribute::Token)
    }

    /// `serial`: the serial number of the token (`CK_TOKEN_INFO.serialNumber`).
    pub fn serial(&self) -> Option<&str> {
        self.value(Attribute::Serial)
    }

    /// `manufacturer`: who made the token (`CK_TOKEN_INFO.manufacturerID`).
    pub fn manufacturer(&self) -> Option<&str> {
        self.value(Attribute::Manufacturer)
    }

    /// `model`: the model of the token (`CK_TOKEN_INFO.model`).
    pub fn model(&self) -> Option<&str> {
        self.value(Attribute::Model)
    }

    /// `object`: the label of the object (`CKA_LABEL`).
    pub fn object(&self) -> Option<&str> {
        self.value(Attribute::Object)
    }

    /// `id`: the identifier of the object (`CKA_ID`), as bytes.
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// `type`: the class of the object (`CKA_CLASS`).
    pub fn object_type(&self) -> Option<ObjectType> {
        self.object_type
    }

    /// `slot-id`: the slot (`CK_SLOT_ID`). Slot ids move; prefer the label or the serial.
    pub fn slot_id(&self) -> Option<u64> {
        self.slot_id
    }

    /// `slot-description` (`CK_SLOT_INFO.slotDescription`).
    pub fn slot_description(&self) -> Option<&str> {
        self.value(Attribute::SlotDescription)
    }

    /// `slot-manufacturer` (`CK_SLOT_INFO.manufacturerID`).
    pub fn slot_manufacturer(&self) -> Option<&str> {
        self.value(Attribute::SlotManufacturer)
    }

    /// `library-description` (`CK_INFO.libraryDescription`).
    pub fn library_description(&self) -> Option<&str> {
        self.value(Attribute::LibraryDescription)
    }

    /// `library-manufacturer` (`CK_INFO.manufacturerID`).
    pub fn library_manufacturer(&self) -> Option<&str> {
        self.value(Attribute::LibraryManufacturer)
    }

    /// `library-version` (`CK_INFO.libraryVersion`), as `major` or `major.minor`.
    pub fn library_version(&self) -> Option<&str> {
        self.value(Attribute::LibraryVersion)
    }

    /// `module-path`: the PKCS#11 library as a path (RFC 7512 section 2.4).
    pub fn module_path(&self) -> Option<&str> {
        self.value(Attribute::ModulePath)
    }

    /// `module-name`: the PKCS#11 library by name, without prefix and suffix (RFC 7512 section 2.4).
    pub fn module_name(&self) -> Option<&str> {
        self.value(Attribute::ModuleName)
    }

    /// `pin-source`: where the PIN is found, never the PIN (RFC 7512 section 2.4).
    pub fn pin_source(&self) -> Option<&str> {
        self.value(Attribute::PinSource)
    }

    /// A vendor attribute of the path.
    pub fn vendor_path(&self, name: &str) -> Option<&str> {
        self.vendor_path.get(name).map(String::as_str)
    }

    /// The values of a vendor attribute of the query, which may repeat.
    pub fn vendor_query<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.vendor_query.iter().filter(move |(n, _)| n == name);
        named.map(|(_, value)| value.as_str())
    }

    /// This URI with the `token` label set.
    #[must_use]
    pub fn with_token_label(self, label: &str) -> Self {
        self.with(Attribute::Token, label)
    }

    /// This URI with the `serial` number set.
    #[must_use]
    pub fn with_serial(self, serial: &str) -> Self {
        self.with(Attribute::Serial, serial)
    }

    /// This URI with the `object` label set.
    #[must_use]
    pub fn with_object(self, label: &str) -> Self {
        self.with(Attribute::Object, label)
    }

    /// This URI with the `module-path` set.
    #[must_use]
    pub fn with_module_path(self, path: &str) -> Self {
        self.with(Attribute::ModulePath, path)
    }

    /// This URI with the `id` set.
    #[must_use]
    pub fn with_id(mut self, id: &[u8]) -> Self {
        self.id = Some(id.to_vec());
        self
    }

    /// This URI with the object `type` set.
    #[must_use]
    pub fn with_object_type(mut self, object_type: ObjectType) -> Self {
        self.object_type = Some(object_type);
        self
    }

    /// This URI with the `slot-id` set.
    #[must_use]
    pub fn with_slot_id(mut self, slot_id: u64) -> Self {
        self.slot_id = Some(slot_id);
        self
    }

    fn with(mut self, attribute: Attribute, value: &str) -> Self {
        self.text.insert(attribute, value.to_owned());
        self
    }

    fn value(&self, attribute: Attribute) -> Option<&str> {
        self.text.get(&attribute).map(String::as_str)
    }
}

impl fmt::Display for Pkcs11Uri {
    /// The canonical form (RFC 7512 section 2.3); parsing it gives an equal URI.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let mut separator = "";
        for attribute in Attribute::PATH {
            let value = match attribute {
                Attribute::Id => self.id.as_deref().map(escape_all),
                Attribute::Type => self.object_type.map(|t| t.as_str().to_owned()),
                Attribute::SlotId => self.slot_id.map(|id| id.to_string()),
                text => self.value(text).map(|v| escape(v, parse::is_path_char)),
            };
            if let Some(value) = value {
                write!(f, "{separator}{}={value}", attribute.name())?;
                separator = ";";
            }
        }
        for (name, value) in &self.vendor_path {
            write!(
                f,
                "{separator}{name}={}",
                escape(value, parse::is_path_char)
            )?;
            separator = ";";
        }
        separator = "?";
        for attribute in Attribute::QUERY {
            if let Some(value) = self.value(attribute) {
                let value = escape(value, parse::is_query_char);
                write!(f, "{separator}{}={value}", attribute.name())?;
                separator = "&";
            }
        }
        for (name, value) in &self.vendor_query {
            write!(
                f,
                "{separator}{name}={}",
                escape(value, parse::is_query_char)
            )?;
            separator = "&";
        }
        Ok(())
    }
}

impl ObjectType {
    /// The word of the `type` attribute (RFC 7512 section 2.3).
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectType::Public => "public",
            ObjectType::Private => "private",
            ObjectType::Certificate => "cert",
            ObjectType::SecretKey => "secret-key",
            ObjectType::Data => "data",
        }
    }
}

impl Attribute {
    const PATH: [Attribute; 13] = [
        Attribute::Token,
        Attribute::Manufacturer,
        Attribute::Serial,
        Attribute::Model,
        Attribute::LibraryManufacturer,
        Attribute::LibraryDescription,
        Attribute::LibraryVersion,
        Attribute::SlotManufacturer,
        Attribute::SlotDescription,
        Attribute::SlotId,
        Attribute::Object,
        Attribute::Type,
        Attribute::Id,
    ];
    const QUERY: [Attribute; 3] = [
        Attribute::PinSource,
        Attribute::ModuleName,
        Attribute::ModulePath,
    ];

    fn name(self) -> &'static str {
        match self {
            Attribute::Token => "token",
            Attribute::Manufacturer => "manufacturer",
            Attribute::Serial => "serial",
            Attribute::Model => "model",
            Attribute::LibraryManufacturer => "library-manufacturer",
            Attribute::LibraryDescription => "library-description",
            Attribute::LibraryVersion => "library-version",
            Attribute::SlotManufacturer => "slot-manufacturer",
            Attribute::SlotDescription => "slot-description",
            Attribute::SlotId => "slot-id",
            Attribute::Object => "object",
            Attribute::Type => "type",
            Attribute::Id => "id",
            Attribute::PinSource => "pin-source",
            Attribute::ModuleName => "module-name",
            Attribute::ModulePath => "module-path",
        }
    }
}

fn escape(value: &str, plain: fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// RFC 7512 section 2.3: the whole of `id` SHOULD be escaped, for it is not text.
fn escape_all(id: &[u8]) -> String {
    id.iter().map(|byte| format!("%{byte:02X}")).collect()
}
