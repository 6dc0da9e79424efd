//! What one may do about an error: ask again, take another session, wait for the device, or nothing.

use cryptoki::error::RvError;
use serde::{Deserialize, Serialize};

use super::HsmError;

/// The classes of errors, from the mildest to the one that only an operator can mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// It may work the next time, or on another member of the group.
    Retry,
    /// The session, its login or its object handles are lost; a fresh session may work.
    Session,
    /// The device or the way to it is lost; it must come back first.
    Device,
    /// The request, the key or the PIN is wrong; asking again changes nothing.
    Configuration,
}

impl HsmError {
    /// What one may do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            HsmError::Call { code, .. } => of_code(code),
            HsmError::Signer { class, .. } => *class,
            HsmError::QueueFull { .. } | HsmError::Deadline { .. } | HsmError::Hung { .. } => {
                ErrorClass::Retry
            }
            HsmError::KeyGone { .. } => ErrorClass::Session,
            // A token that is not there looks like one whose name is wrong; only time can tell.
            HsmError::TokenSelection { .. }
            | HsmError::Away { .. }
            | HsmError::GroupAway { .. }
            | HsmError::SignerLost { .. }
            | HsmError::Closed { .. }
            | HsmError::Interface(_)
            | HsmError::SignatureMalformed
            | HsmError::ProofFailed { .. }
            | HsmError::Thread(_) => ErrorClass::Device,
            HsmError::Uri(_)
            | HsmError::PinUnreadable { .. }
            | HsmError::ModuleUnloadable { .. }
            | HsmError::PinMissing { .. }
            | HsmError::PinWrong { .. }
            | HsmError::PinTriesLow { .. }
            | HsmError::PinUnusable { .. }
            | HsmError::KeySelection { .. }
            | HsmError::ObjectSelection { .. }
            | HsmError::KeyStays { .. }
            | HsmError::MechanismMissing { .. }
            | HsmError::KeyExtractable { .. }
            | HsmError::GroupKeysDiffer { .. }
            | HsmError::KeyUnsupported { .. }
            | HsmError::SoftwareKey { .. }
            | HsmError::CertificateUnreadable(_)
            | HsmError::CertificateMismatch { .. }
            | HsmError::Generate(_) => ErrorClass::Configuration,
        }
    }
}

/// Return values by what is lost (PKCS#11 3.1 section 5.1). What is not listed, and what vendors define,
/// is taken for a fault of the device: those are looked at again and again until they are gone.
fn of_code(code: &RvError) -> ErrorClass {
    use RvError as R;
    match code {
        R::HostMemory
        | R::DeviceMemory
        | R::FunctionCanceled
        | R::Cancel
        | R::CantLock
        | R::SessionCount => ErrorClass::Retry,
        R::SessionHandleInvalid
        | R::SessionClosed
        | R::UserNotLoggedIn
        | R::KeyHandleInvalid
        | R::ObjectHandleInvalid
        | R::OperationActive
        | R::OperationNotInitialized => ErrorClass::Session,
        R::MechanismInvalid
        | R::MechanismParamInvalid
        | R::KeyFunctionNotPermitted
        | R::KeyTypeInconsistent
        | R::KeySizeRange
        | R::DataInvalid
        | R::DataLenRange
        | R::ArgumentsBad
        | R::AttributeTypeInvalid
        | R::AttributeValueInvalid
        | R::AttributeReadOnly
        | R::AttributeSensitive
        | R::TemplateIncomplete
        | R::TemplateInconsistent
        | R::FunctionNotSupported
        | R::CurveNotSupported
        | R::ActionProhibited
        | R::KeyUnextractable
        | R::KeyNotWrappable
        | R::TokenWriteProtected
        | R::PinExpired
        | R::PinIncorrect
        | R::PinInvalid
        | R::PinLenRange
        | R::PinLocked
        | R::UserPinNotInitialized
        | R::UserTypeInvalid => ErrorClass::Configuration,
        _ => ErrorClass::Device,
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::{Error, RvError};

    use super::{ErrorClass, HsmError};

    #[test]
    fn a_pin_that_was_refused_is_never_a_reason_to_try_again() {
        for code in [
            RvError::PinIncorrect,
            RvError::PinLocked,
            RvError::PinInvalid,
        ] {
            let error = HsmError::from(Error::Pkcs11(code, Function::Login));
            assert_eq!(error.class(), ErrorClass::Configuration);
        }
    }

    #[test]
    fn what_a_vendor_defines_is_a_fault_of_the_device() {
        for code in [
            RvError::VendorDefined(0x8000_0001),
            RvError::DeviceRemoved,
            RvError::TokenNotPresent,
            RvError::CryptokiNotInitialized,
            RvError::GeneralError,
        ] {
            let error = HsmError::from(Error::Pkcs11(code, Function::Sign));
            assert_eq!(error.class(), ErrorClass::Device);
        }
    }
}
