//! What is left of root's power.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use crate::jail::{JailError, step};

/// To own files as the guest's processes do, and to act for each of its users. What would let the process
/// out of its root is not among them: `DAC_READ_SEARCH` opens any file of a file system by its handle.
const NEEDED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::MKNOD);

/// Keeps those and gives up all others, for good.
pub(crate) fn drop_all_but_needed() -> Result<(), JailError> {
    for capability in CapabilitySet::all().difference(NEEDED).iter() {
        match remove_capability_from_bounding_set(capability) {
            // The kernel may not know it.
            Ok(()) | Err(Errno::INVAL) => {}
            result => step("bound capabilities", result)?,
        }
    }
    step("drop ambient capabilities", clear_ambient_capability_set())?;
    let kept = CapabilitySets {
        effective: NEEDED,
        permitted: NEEDED,
        inheritable: CapabilitySet::empty(),
    };
    step("drop capabilities", set_capabilities(None, kept))
}
