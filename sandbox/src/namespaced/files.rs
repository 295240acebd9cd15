//! A container's files on the host: an overlay over the image's, and binds.

use std::path::Path;

use agent_api::v1;

use super::launch::path_text;
use crate::agent::Files;
use crate::spec::{ImageFiles, MountSource, Propagation};
use crate::{ContainerSpec, Error, Kind, Mount, Result};

/// What the agent mounts for `spec`. Makes the writable layer's directories.
pub(super) fn provide(spec: &ContainerSpec) -> Result<Files> {
    let writable = |name: &str| -> Result<String> {
        let dir = spec.rootfs.writable_dir.join(name);
        std::fs::create_dir_all(&dir)
            .map_err(|e| Error::io(format!("make {}", dir.display()), e))?;
        path_text(&dir)
    };
    let overlay = v1::OverlayRootfs {
        lower: path_text(mounted(&spec.rootfs.image)?)?,
        upper: writable("upper")?,
        work: writable("work")?,
    };
    Ok(Files {
        rootfs: v1::rootfs::Kind::Overlay(overlay),
        mounts: spec.mounts.iter().map(mount).collect::<Result<_>>()?,
        files: Vec::new(),
        readonly_paths: Vec::new(),
        log_path: match &spec.log_path {
            None => String::new(),
            Some(path) => path_text(path)?,
        },
        // The kubelet's file is mounted like any other.
        last_words_path: String::new(),
    })
}

fn mounted(files: &ImageFiles) -> Result<&Path> {
    match files {
        ImageFiles::Mounted(path) => Ok(path),
        ImageFiles::Extents { key, .. } => {
            let doing = format!("use image {key}: it is not mounted");
            Err(Error::new(Kind::Invalid, doing))
        }
    }
}

fn mount(mount: &Mount) -> Result<v1::Mount> {
    let (source, sub_path) = match &mount.source {
        MountSource::Host(path) => (path_text(path)?, String::new()),
        MountSource::Image { files, sub_path } => (path_text(mounted(files)?)?, sub_path.clone()),
    };
    Ok(v1::Mount {
        destination: mount.destination.clone(),
        source,
        r#type: "bind".to_owned(),
        readonly: mount.readonly,
        recursive_readonly: mount.recursive_readonly,
        propagation: propagation(mount.propagation).to_owned(),
        sub_path,
        ..v1::Mount::default()
    })
}

fn propagation(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: MountSource, wire: (&str, &str)) {
        let told = mount(&Mount {
            destination: "/data".into(),
            source,
            readonly: true,
            recursive_readonly: false,
            propagation: Propagation::HostToContainer,
        })
        .unwrap();
        assert_eq!((told.source.as_str(), told.sub_path.as_str()), wire);
        assert_eq!(
            (told.r#type.as_str(), told.propagation.as_str()),
            ("bind", "rslave")
        );
        assert!(told.readonly && !told.recursive_readonly);
    }

    #[test]
    fn a_path_of_the_node_and_a_path_in_an_image_are_both_binds() {
        check(MountSource::Host("/srv".into()), ("/srv", ""));
        let files = ImageFiles::Mounted("/run/images/1".into());
        let sub_path = "usr/share".to_owned();
        check(
            MountSource::Image { files, sub_path },
            ("/run/images/1", "usr/share"),
        );
    }

    #[test]
    fn an_image_that_is_not_mounted_is_refused() {
        let files = ImageFiles::Extents {
            key: "sha256:1".into(),
            extents: vec![],
        };
        assert_eq!(mounted(&files).unwrap_err().kind(), Kind::Invalid);
    }
}
