//! Making tokens, keys and self-signed certificates: what an operator does once, before serving.
//!
//! These calls run on the calling thread and have no deadline, for making an RSA key may take a real HSM
//! a minute. A token that is in use, or a name that is taken, is never overwritten.

mod certificate;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;

pub use certificate::selfsign;

use crate::error::HsmError;
use crate::key::{KeyInfo, KeyKind, curve, object};
use crate::module::Module;
use crate::pin::Pin;
use crate::token::{Token, TokenInfo};

/// SoftHSM corrupts its store when two threads make objects at once, and no token gains from it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Length of `CK_TOKEN_INFO.label`.
const MAX_LABEL_BYTES: usize = 32;

/// Where a token is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotChoice {
    /// The first slot whose token is not initialized.
    Free,
    /// This slot; its token must not be initialized.
    Id(u64),
}

/// Initializes a token and sets both PINs (`C_InitToken`, `C_InitPIN`). Its slot id may be another the
/// next time the module is loaded: use the label.
///
/// # Errors
/// When no such slot is free, when the label is taken or too long, or when a PKCS#11 call fails.
pub fn init_token(
    module: &Path,
    choice: SlotChoice,
    label: &str,
    so_pin: &Pin,
    user_pin: &Pin,
) -> Result<TokenInfo, HsmError> {
    if label.is_empty() || label.len() > MAX_LABEL_BYTES {
        return refuse(format!(
            "the label of a token has 1 to {MAX_LABEL_BYTES} bytes"
        ));
    }
    let module = Module::load(module)?;
    let slot = free_slot(&module, choice, label)?;
    let pkcs11 = module.pkcs11();
    pkcs11.init_token(slot, &so_pin.to_auth(), label)?;
    let session = pkcs11.open_rw_session(slot)?;
    session.login(UserType::So, Some(&so_pin.to_auth()))?;
    session.init_pin(&user_pin.to_auth())?;
    session.logout()?;
    Ok(TokenInfo::new(slot, &pkcs11.get_token_info(slot)?))
}

/// Makes a key pair in the token (`C_GenerateKeyPair`): sensitive, not extractable, for signing only.
/// Without an id, a random one is chosen. Blocks as long as the token needs.
///
/// # Errors
/// When label or id are taken, or when a PKCS#11 call fails.
pub fn keygen(
    token: &Token,
    kind: KeyKind,
    label: &str,
    id: Option<&[u8]>,
) -> Result<KeyInfo, HsmError> {
    if label.is_empty() {
        return refuse("a key needs a label".to_owned());
    }
    let id = match id {
        Some([]) => return refuse("the id of a key is not empty".to_owned()),
        Some(id) => id.to_vec(),
        None => random::<8>()?.to_vec(),
    };
    let source = token.source()?;
    let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let session = source.module.pkcs11().open_rw_session(source.slot)?;
    refuse_taken(&session, label, &id)?;
    let names = [
        Attribute::Token(true),
        Attribute::Label(label.into()),
        Attribute::Id(id),
    ];
    let make = |public_uses: &[Attribute]| {
        let (mechanism, public, private) = templates(kind);
        let public = [&public[..], public_uses, &names].concat();
        session.generate_key_pair(&mechanism, &public, &[&private[..], &names].concat())
    };
    let made = make(&PUBLIC_USES);
    // tpm2-pkcs11 has one bit for verifying and decrypting, and another for signing and encrypting, so
    // that no key of it fits both templates. Only what the private half may do is worth insisting on.
    let made = match made {
        Err(error) if refuses_template(&error) => make(&[]),
        made => made,
    };
    let (_, handle) = made?;
    object::KeyObject::read(&session, handle)?.info(&session, token.info())
}

/// What the public half may do. Anybody can do all of it elsewhere who has the public key.
const PUBLIC_USES: [Attribute; 3] = [
    Attribute::Verify(true),
    Attribute::Encrypt(false),
    Attribute::Wrap(false),
];

fn refuses_template(error: &Error) -> bool {
    let Error::Pkcs11(code, _) = error else {
        return false;
    };
    matches!(
        code,
        RvError::AttributeTypeInvalid
            | RvError::AttributeValueInvalid
            | RvError::TemplateInconsistent
            // What tpm2-pkcs11 says.
            | RvError::GeneralError
    )
}

/// Mechanism, public and private template of a kind of key, without what names it. Every other use of the
/// private half is refused by name, for tokens differ in what they allow by default.
fn templates(kind: KeyKind) -> (Mechanism<'static>, Vec<Attribute>, Vec<Attribute>) {
    let mut public = vec![Attribute::Private(false)];
    let private = vec![
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    let (curve, mechanism) = match kind {
        KeyKind::EcdsaP256 => (curve::P256, Mechanism::EccKeyPairGen),
        KeyKind::EcdsaP384 => (curve::P384, Mechanism::EccKeyPairGen),
        KeyKind::EcdsaP521 => (curve::P521, Mechanism::EccKeyPairGen),
        KeyKind::Ed25519 => (curve::ED25519, Mechanism::EccEdwardsKeyPairGen),
        KeyKind::Rsa { bits } => {
            public.push(Attribute::ModulusBits(u64::from(bits).into()));
            public.push(Attribute::PublicExponent(vec![1, 0, 1]));
            return (Mechanism::RsaPkcsKeyPairGen, public, private);
        }
    };
    public.push(Attribute::EcParams(curve.to_vec()));
    (mechanism, public, private)
}

/// Two keys of one name would make every URI of them ambiguous.
fn refuse_taken(session: &Session, label: &str, id: &[u8]) -> Result<(), HsmError> {
    for (what, name) in [
        ("label", Attribute::Label(label.into())),
        ("id", Attribute::Id(id.to_vec())),
    ] {
        let taken = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), name])?;
        if !taken.is_empty() {
            return refuse(format!(
                "the token has a private key of this {what} already; choose another"
            ));
        }
    }
    Ok(())
}

fn free_slot(module: &Module, choice: SlotChoice, label: &str) -> Result<Slot, HsmError> {
    let mut free = None;
    for slot in module.pkcs11().get_slots_with_token()? {
        let info = module.pkcs11().get_token_info(slot)?;
        if info.token_initialized() {
            if info.label() == label {
                return refuse(format!(
                    "there is a token `{label}` already; choose another label"
                ));
            }
            if choice == SlotChoice::Id(slot.id()) {
                return refuse(format!(
                    "slot {slot} holds the token `{}`; it is not erased",
                    info.label()
                ));
            }
        } else if free.is_none()
            && (choice == SlotChoice::Free || choice == SlotChoice::Id(slot.id()))
        {
            free = Some(slot);
        }
    }
    match free {
        Some(slot) => Ok(slot),
        None => {
            refuse("the module has no such slot with a token that is not initialized".to_owned())
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], HsmError> {
    let mut bytes = [0; N];
    match rand::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => refuse("the system has no random numbers".to_owned()),
    }
}

fn refuse<T>(reason: String) -> Result<T, HsmError> {
    Err(HsmError::Generate(reason))
}
