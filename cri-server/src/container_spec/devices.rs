//! Device nodes that a container may use beside the standard ones.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use cri_api::v1::{ContainerConfig, Device as CriDevice};
use sandbox::Device;

use crate::error::{Error, Kind, Result};

/// Most device nodes that a directory such as `/dev/snd` is taken apart into.
const MOST: usize = 256;

/// The devices of a container. Blocks on the node's file system.
pub(super) fn devices(config: &ContainerConfig) -> Result<Vec<Device>> {
    if let Some(cdi) = config.cdi_devices.first() {
        return Err(Error::new(
            Kind::Unsupported,
            format!("CDI device {:?}: CDI is not supported", cdi.name),
        ));
    }
    let mut devices = Vec::new();
    for device in &config.devices {
        let access = access(device)?;
        let path = if device.container_path.is_empty() {
            &device.host_path
        } else {
            &device.container_path
        };
        if !Path::new(path).is_absolute() || !Path::new(&device.host_path).is_absolute() {
            return Err(Error::invalid(format!(
                "device {path:?}: its paths are not absolute"
            )));
        }
        collect(
            Path::new(path),
            Path::new(&device.host_path),
            access,
            &mut devices,
        )?;
    }
    Ok(devices)
}

fn access(device: &CriDevice) -> Result<&str> {
    match device.permissions.as_str() {
        "" => Ok("rwm"),
        some if some.bytes().all(|b| b"rwm".contains(&b)) => Ok(some),
        other => Err(Error::invalid(format!(
            "device {:?}: permissions {other:?} are not letters of \"rwm\"",
            device.host_path
        ))),
    }
}

/// One device, or all in a directory.
fn collect(path: &Path, host: &Path, access: &str, into: &mut Vec<Device>) -> Result<()> {
    let failed = |error| {
        Error::caused(
            Kind::Invalid,
            format!("use device {}", host.display()),
            error,
        )
    };
    let host_path: PathBuf = host.canonicalize().map_err(failed)?;
    let kind = host_path.metadata().map_err(failed)?.file_type();
    if kind.is_dir() {
        for entry in host_path.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() || kind.is_char_device() || kind.is_block_device() {
                collect(&path.join(entry.file_name()), &entry.path(), access, into)?;
            }
        }
        return Ok(());
    }
    if !kind.is_char_device() && !kind.is_block_device() {
        return Err(Error::invalid(format!(
            "{} is not a device",
            host.display()
        )));
    }
    if into.len() == MOST {
        return Err(Error::invalid(format!(
            "more than {MOST} devices for one container"
        )));
    }
    into.push(Device {
        path: path.to_string_lossy().into_owned(),
        host_path,
        access: access.to_string(),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(host: &str, permissions: &str) -> ContainerConfig {
        ContainerConfig {
            devices: vec![CriDevice {
                host_path: host.into(),
                container_path: "/dev/x".into(),
                permissions: permissions.into(),
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_device_has_all_rights_unless_fewer_are_said() {
        let found = devices(&with("/dev/null", "")).unwrap();
        assert_eq!(
            (found[0].path.as_str(), found[0].access.as_str()),
            ("/dev/x", "rwm")
        );
        assert_eq!(devices(&with("/dev/null", "r")).unwrap()[0].access, "r");
    }

    #[test]
    fn what_is_no_device_is_refused() {
        assert!(devices(&with("/etc/passwd", "")).is_err());
        assert!(devices(&with("/dev/no-such-device", "")).is_err());
        assert!(devices(&with("/dev/null", "x")).is_err());
        assert!(devices(&with("null", "r")).is_err());
    }

    #[test]
    fn cdi_devices_are_refused_by_name() {
        let config = ContainerConfig {
            cdi_devices: vec![cri_api::v1::CdiDevice {
                name: "vendor.com/gpu=0".into(),
            }],
            ..Default::default()
        };
        let error = devices(&config).unwrap_err();
        assert!(error.to_string().contains("vendor.com/gpu=0"), "{error}");
    }
}
