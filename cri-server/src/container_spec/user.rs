//! Who a container's first process runs as: CRI's word first, then the image's.

use cri_api::v1::{Int64Value, LinuxContainerSecurityContext, SupplementalGroupsPolicy};
use sandbox::User;
use sandbox::spec::Principal;

use crate::error::{Error, Result};

/// The user of a container whose image says `image_user` (`user[:group]`, either by name or number).
pub(super) fn user(security: &LinuxContainerSecurityContext, image_user: &str) -> Result<User> {
    let (user, group) = match asked_for(security)? {
        Some(user) => (Some(user), None),
        None => from_image(image_user)?,
    };
    let group = match &security.run_as_group {
        Some(gid) if security.run_as_user.is_none() && security.run_as_username.is_empty() => {
            return Err(Error::invalid(format!(
                "run_as_group = {} is given without run_as_user",
                gid.value
            )));
        }
        Some(gid) => Some(Principal::Id(id("run_as_group", gid.value)?)),
        None => group,
    };
    let supplemental_groups = security.supplemental_groups.iter();
    Ok(User {
        user,
        group,
        supplemental_groups: supplemental_groups
            .map(|gid| id("supplemental_groups", *gid))
            .collect::<Result<_>>()?,
        strict_groups: security.supplemental_groups_policy() == SupplementalGroupsPolicy::Strict,
    })
}

fn asked_for(security: &LinuxContainerSecurityContext) -> Result<Option<Principal>> {
    match (&security.run_as_user, security.run_as_username.as_str()) {
        (Some(Int64Value { value }), _) => Ok(Some(Principal::Id(id("run_as_user", *value)?))),
        (None, "") => Ok(None),
        (None, name) => principal(name).map(Some),
    }
}

fn from_image(user: &str) -> Result<(Option<Principal>, Option<Principal>)> {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let named = |name: &str| (!name.is_empty()).then(|| principal(name)).transpose();
    Ok((named(user)?, named(group)?))
}

/// All digits is a number; a number that no id can be is a mistake, never a name.
fn principal(name: &str) -> Result<Principal> {
    if !name.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Principal::Name(name.to_string()));
    }
    match name.parse() {
        Ok(id) if id != u32::MAX => Ok(Principal::Id(id)),
        _ => Err(Error::invalid(format!(
            "user or group {name} is too large a number"
        ))),
    }
}

/// (uid_t)-1 means "no change" to the kernel, so nobody can have it.
fn id(field: &str, value: i64) -> Result<u32> {
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Error::invalid(format!("{field} = {value} is not an id"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security() -> LinuxContainerSecurityContext {
        LinuxContainerSecurityContext::default()
    }

    fn by_id(uid: i64) -> LinuxContainerSecurityContext {
        LinuxContainerSecurityContext {
            run_as_user: Some(Int64Value { value: uid }),
            ..security()
        }
    }

    #[track_caller]
    fn check(
        security: &LinuxContainerSecurityContext,
        image: &str,
        expected: (Option<Principal>, Option<Principal>),
    ) {
        let user = user(security, image).unwrap();
        assert_eq!((user.user, user.group), expected);
    }

    fn name(name: &str) -> Option<Principal> {
        Some(Principal::Name(name.into()))
    }

    #[test]
    fn the_image_decides_where_the_pod_does_not() {
        check(&security(), "", (None, None));
        check(&security(), "1002", (Some(Principal::Id(1002)), None));
        check(
            &security(),
            "www-data:1004",
            (name("www-data"), Some(Principal::Id(1004))),
        );
        check(
            &security(),
            "1003:staff",
            (Some(Principal::Id(1003)), name("staff")),
        );
    }

    #[test]
    fn the_pods_user_takes_the_place_of_the_images_user_and_group() {
        check(
            &by_id(1000),
            "www-data:1004",
            (Some(Principal::Id(1000)), None),
        );
        let by_name = LinuxContainerSecurityContext {
            run_as_username: "nobody".into(),
            run_as_group: Some(Int64Value { value: 5 }),
            ..security()
        };
        check(&by_name, "0:0", (name("nobody"), Some(Principal::Id(5))));
    }

    #[test]
    fn a_group_without_a_user_is_refused() {
        let group = LinuxContainerSecurityContext {
            run_as_group: Some(Int64Value { value: 5 }),
            ..security()
        };
        assert!(user(&group, "1000").is_err());
    }

    #[test]
    fn numbers_that_no_id_can_be_are_refused() {
        for image in [
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "0:4294967296",
        ] {
            assert!(user(&security(), image).is_err(), "{image}");
        }
        assert!(user(&by_id(-1), "").is_err());
        assert!(user(&by_id(1 << 32), "").is_err());
    }
}
