//! The descriptors that came with a request.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use vmm_api::machine_spec::FdIndex;

/// Descriptors, by the position that the request knows them by.
#[derive(Debug)]
pub struct Files(Vec<OwnedFd>);

/// A field of the request names a descriptor that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("{field}: descriptor {index} was not sent")]
    Missing {
        /// The field.
        field: &'static str,
        /// What it says.
        index: FdIndex,
    },
    /// There can't be one more.
    #[error("{field}: duplicate its descriptor")]
    Duplicate {
        /// The field.
        field: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl From<Vec<OwnedFd>> for Files {
    fn from(files: Vec<OwnedFd>) -> Self {
        Self(files)
    }
}

impl Files {
    /// The descriptor that `field` calls `index`. Several fields may name the same.
    pub fn fd(&self, field: &'static str, index: FdIndex) -> Result<OwnedFd, FileError> {
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        let file = self.0.get(position);
        let file = file.ok_or(FileError::Missing { field, index })?;
        file.try_clone()
            .map_err(|source| FileError::Duplicate { field, source })
    }

    /// The same, as a file.
    pub fn file(&self, field: &'static str, index: FdIndex) -> Result<File, FileError> {
        self.fd(field, index).map(File::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_descriptor_is_told_by_its_field() {
        let files = Files::from(vec![OwnedFd::from(tempfile::tempfile().unwrap())]);
        files.file("kernel", 0).unwrap();
        files.file("initramfs", 0).unwrap();
        let error = files.file("console", 1).unwrap_err();
        assert_eq!(error.to_string(), "console: descriptor 1 was not sent");
    }
}
