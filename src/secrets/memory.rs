//! What keeps decrypted values in this process alone.

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
};

/// Sees to it that this process leaves no core file and can be read by no other process of its
/// user. Where it may lock as much memory as it likes, as root may, nothing of it is written to
/// swap either. To be called before anything is decrypted; a second call changes nothing.
///
/// # Errors
/// The system's, when other processes cannot be kept out.
pub fn seal() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    if may_lock_everything() {
        // Only what is used: locking all that is reserved would fill the memory.
        let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
        // A machine without swap has nothing to lock out of; docs/secrets.md says what holds.
        mlockall(flags).ok();
    }
    Ok(())
}

/// A limit that a later allocation could meet would end the process there.
fn may_lock_everything() -> bool {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    getrlimit(Resource::Memlock) == unlimited || setrlimit(Resource::Memlock, unlimited).is_ok()
}
