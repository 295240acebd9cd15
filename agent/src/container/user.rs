//! Who a process runs as: names and numbers from the image's /etc/passwd and /etc/group.
//!
//! Both files come from an image, so they may hold anything: they are read up to a limit, lines that
//! make no sense are skipped, and numbers that don't fit are refused rather than wrapped round to root.

use std::fs::File;
use std::io::Read;

use agent_api::v1;
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::root::Root;
use crate::stage1::spec::Identity;

/// Most bytes that are read of either file.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Most groups a process may be in; far below the kernel's limit and above anything sensible.
const MAX_GROUPS: usize = 4096;

/// The largest id; the one above means "none" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;

/// Why nobody could be found to run as.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// One of the files can't be read.
    #[error("read {file} of the container")]
    Read {
        /// Path in the container.
        file: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A name that the image does not know.
    #[error("no user {0:?} in the container's /etc/passwd")]
    NoUser(String),
    /// A name that the image does not know.
    #[error("no group {0:?} in the container's /etc/group")]
    NoGroup(String),
    /// A number no user or group can have.
    #[error("user or group id {0} is out of range")]
    OutOfRange(String),
    /// More groups than a process may be in.
    #[error("more than {MAX_GROUPS} groups")]
    TooManyGroups,
}

/// Finds out who `user` is in the container whose root is `root`.
pub(crate) fn look_up(user: &v1::User, root: Root<'_>) -> Result<Identity, UserError> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    identify(user, &passwd, &group)
}

/// The same, from the content of the two files.
fn identify(user: &v1::User, passwd: &[u8], group: &[u8]) -> Result<Identity, UserError> {
    use v1::user::{Group as WantedGroup, User as WantedUser};

    let (uid, entry) = match &user.user {
        None => (0, users(passwd).find(|entry| entry.uid == 0)),
        Some(WantedUser::Uid(uid)) => (*uid, users(passwd).find(|entry| entry.uid == *uid)),
        Some(WantedUser::Name(name)) => {
            match users(passwd).find(|entry| entry.name == name.as_bytes()) {
                Some(entry) => (entry.uid, Some(entry)),
                // `USER 1000` of an image is a name by form and a number by meaning.
                None => (
                    number_of(name)?.ok_or_else(|| UserError::NoUser(name.clone()))?,
                    None,
                ),
            }
        }
    };
    let entry = entry.or_else(|| users(passwd).find(|entry| entry.uid == uid));
    let gid = match &user.group {
        None => entry.as_ref().map_or(0, |entry| entry.gid),
        Some(WantedGroup::Gid(gid)) => *gid,
        Some(WantedGroup::GroupName(name)) => {
            match groups(group).find(|g| g.name == name.as_bytes()) {
                Some(found) => found.gid,
                None => number_of(name)?.ok_or_else(|| UserError::NoGroup(name.clone()))?,
            }
        }
    };
    for id in [uid, gid].iter().chain(&user.supplemental_groups) {
        if *id > MAX_ID {
            return Err(UserError::OutOfRange(id.to_string()));
        }
    }
    let memberships = entry
        .as_ref()
        .filter(|_| !user.strict_groups)
        .map(|entry| entry.name);
    Ok(Identity {
        uid,
        gid,
        groups: all_groups(gid, user, memberships, group)?,
        home: entry
            .and_then(|entry| entry.home)
            .unwrap_or_else(|| "/".to_owned()),
    })
}

/// The primary group, those asked for, and those that the image gives `member`; each once.
fn all_groups(
    gid: u32,
    user: &v1::User,
    member: Option<&[u8]>,
    group: &[u8],
) -> Result<Vec<u32>, UserError> {
    let mut all = vec![gid];
    all.extend(&user.supplemental_groups);
    if let Some(member) = member {
        let given = groups(group)
            .filter(|group| group.has(member))
            .map(|group| group.gid);
        all.extend(given.take(MAX_GROUPS + 1));
    }
    all.sort_unstable();
    all.dedup();
    if all.len() > MAX_GROUPS {
        Err(UserError::TooManyGroups)
    } else {
        Ok(all)
    }
}

/// A name that is all digits is a number; one that does not fit is no user.
fn number_of(name: &str) -> Result<Option<u32>, UserError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match name.parse() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(UserError::OutOfRange(name.to_owned())),
    }
}

/// A line of /etc/passwd.
struct UserEntry<'b> {
    name: &'b [u8],
    uid: u32,
    gid: u32,
    home: Option<String>,
}

fn users(passwd: &[u8]) -> impl Iterator<Item = UserEntry<'_>> {
    passwd.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).and_then(|home| str::from_utf8(home).ok());
        let home = home
            .filter(|home| home.starts_with('/'))
            .map(ToOwned::to_owned);
        Some(UserEntry {
            name,
            uid,
            gid,
            home,
        })
    })
}

/// A line of /etc/group.
struct GroupEntry<'b> {
    name: &'b [u8],
    gid: u32,
    members: &'b [u8],
}

impl GroupEntry<'_> {
    fn has(&self, member: &[u8]) -> bool {
        self.members
            .split(|&byte| byte == b',')
            .any(|name| name == member)
    }
}

fn groups(group: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    group.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        let members = fields.next().unwrap_or_default();
        Some(GroupEntry { name, gid, members })
    })
}

fn id(field: &[u8]) -> Option<u32> {
    let id = str::from_utf8(field).ok()?.parse().ok()?;
    (id <= MAX_ID).then_some(id)
}

/// The beginning of a file of the image; empty if there is none, or it is no file.
fn read(root: Root<'_>, file: &'static str) -> Result<Vec<u8>, UserError> {
    // Not blocking, so that a FIFO in its place does not hold us up.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match root.open(file, flags) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NXIO | Errno::LOOP) => return Ok(Vec::new()),
        Err(error) => {
            return Err(UserError::Read {
                file,
                source: error.into(),
            });
        }
    };
    let stat = fstat(&fd).map_err(|error| UserError::Read {
        file,
        source: error.into(),
    })?;
    let mut content = Vec::new();
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        let read = File::from(fd).take(MAX_FILE).read_to_end(&mut content);
        read.map_err(|source| UserError::Read { file, source })?;
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
