//! Capability sets of a process, and the change of user that goes with them.

use agent_api::v1;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::stage1::spec::Identity;

/// Above the last capability that any kernel has.
const CAPABILITIES: u32 = 64;

/// Why a process could not become what it was to become.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// The bounding set.
    #[error("drop capability {0} from the bounding set")]
    Bounding(u32, #[source] Errno),
    /// User and groups.
    #[error("become user {uid}, group {gid}")]
    User {
        /// Wanted.
        uid: u32,
        /// Wanted.
        gid: u32,
        /// Why not.
        source: Errno,
    },
    /// The other sets.
    #[error("set capabilities")]
    Sets(#[source] Errno),
    /// The ambient set.
    #[error("add capability {0} to the ambient set")]
    Ambient(u32, #[source] Errno),
}

/// Takes on the identity and the capabilities, in the order in which the kernel lets us: what limits us
/// is dropped while we still may, what a change of user would take away is set after it.
pub(crate) fn take_on(
    identity: &Identity,
    capabilities: &v1::Capabilities,
) -> Result<(), CredentialsError> {
    drop_bounding(capabilities.bounding)?;
    let (uid, gid) = (identity.uid, identity.gid);
    switch_user(identity).map_err(|source| CredentialsError::User { uid, gid, source })?;
    set_capabilities(None, sets(capabilities)).map_err(CredentialsError::Sets)?;
    raise_ambient(capabilities.ambient)
}

/// Drops every capability, for processes that need none.
pub(crate) fn drop_all() -> Result<(), CredentialsError> {
    drop_bounding(0)?;
    set_capabilities(None, sets(&v1::Capabilities::default())).map_err(CredentialsError::Sets)
}

fn drop_bounding(keep: u64) -> Result<(), CredentialsError> {
    for capability in (0..CAPABILITIES).filter(|n| keep & (1 << n) == 0) {
        match remove_capability_from_bounding_set(single(capability)) {
            Ok(()) => {}
            // Above the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(CredentialsError::Bounding(capability, error)),
        }
    }
    Ok(())
}

fn switch_user(identity: &Identity) -> rustix::io::Result<()> {
    let groups: Vec<Gid> = identity
        .groups
        .iter()
        .map(|&gid| Gid::from_raw(gid))
        .collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    // Without this, leaving uid 0 would empty the permitted set before we could choose from it.
    set_keep_capabilities(true)?;
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_keep_capabilities(false)
}

/// The ambient set only takes what is permitted and inheritable, so it widens both.
fn sets(wanted: &v1::Capabilities) -> CapabilitySets {
    CapabilitySets {
        effective: set(wanted.effective | wanted.ambient),
        permitted: set(wanted.permitted | wanted.effective | wanted.ambient),
        inheritable: set(wanted.inheritable | wanted.ambient),
    }
}

fn raise_ambient(ambient: u64) -> Result<(), CredentialsError> {
    clear_ambient_capability_set().map_err(|error| CredentialsError::Ambient(0, error))?;
    for capability in (0..CAPABILITIES).filter(|n| ambient & (1 << n) != 0) {
        match configure_capability_in_ambient_set(single(capability), true) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(error) => return Err(CredentialsError::Ambient(capability, error)),
        }
    }
    Ok(())
}

fn single(capability: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << capability)
}

fn set(bits: u64) -> CapabilitySet {
    // The kernel leaves out what it does not know, so "all" means the same on every kernel.
    CapabilitySet::from_bits_retain(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ambient_set_widens_what_it_needs() {
        let wanted = v1::Capabilities {
            ambient: 1 << 10,
            effective: 1,
            ..Default::default()
        };
        let sets = sets(&wanted);
        assert_eq!(sets.permitted.bits(), 1 << 10 | 1);
        assert_eq!(sets.inheritable.bits(), 1 << 10);
        assert_eq!(sets.effective.bits(), 1 << 10 | 1);
    }
}
