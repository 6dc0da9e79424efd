//! What a process that holds secrets gives up before it has any.

use std::fmt;

use landlock::{AccessFs, Ruleset, RulesetAttr, RulesetStatus};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// How far a process could be confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confined {
    /// It cannot start programs any more, nor gain rights by one.
    NoPrograms,
    /// The kernel has no Landlock: it cannot gain rights, and that is all.
    NoNewRights,
}

/// No core dumps, no debugger and no reading of its memory by other processes of the same user
/// (`PR_SET_DUMPABLE`). For every process that holds a PIN, session keys or a login.
///
/// # Errors
/// What the kernel said.
pub fn harden() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    Ok(())
}

/// Also gives up starting programs (Landlock, `LANDLOCK_ACCESS_FS_EXECUTE`) and gaining rights
/// (`PR_SET_NO_NEW_PRIVS`). A PKCS#11 library opens devices, sockets and files that nobody knows beforehand,
/// so those stay; loading libraries is not starting programs. Call it on the first thread, before others.
///
/// # Errors
/// What the kernel said, if it knows Landlock.
pub fn confine() -> std::io::Result<Confined> {
    harden()?;
    rustix::thread::set_no_new_privs(true)?;
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::Execute)
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(std::io::Error::other)?;
    Ok(match ruleset.ruleset {
        RulesetStatus::NotEnforced => Confined::NoNewRights,
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Confined::NoPrograms,
    })
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Confined::NoPrograms => "it cannot start programs",
            Confined::NoNewRights => "it can start programs, for the kernel has no Landlock",
        })
    }
}
