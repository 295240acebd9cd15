//! What a container needs from the node: files of images, a place to write, volumes, devices, filters.

use std::path::PathBuf;
use std::sync::Arc;

use cri_api::v1::ContainerConfig;
use image_service::{Image, ImageId, Images};
use sandbox::spec::{Extent, ImageFiles, MountSource};
use sandbox::{ContainerId, ImageForm, Kind, Mount, Rootfs};

use crate::container_spec::{self, ContainerPlan, Found, LogPath, PlannedMount, PlannedSource};
use crate::containers::SavedContainer;
use crate::error::{Error, Result};
use crate::pods::Pod;
use crate::rollback::Rollback;
use crate::{CriServer, apparmor, host};

/// Gets all of it, and notes in the record which images it holds.
pub(super) async fn found(
    server: &Arc<CriServer>,
    pod: &Pod,
    plan: &ContainerPlan,
    saved: &mut SavedContainer,
    image: &Image,
    config: ContainerConfig,
    undo: &mut Rollback,
) -> Result<Found> {
    let form = server
        .handlers
        .get(&pod.record.get().handler)?
        .features()
        .image_form;
    let mounts = identify(server, plan.mounts.clone())?;
    saved.mounts = mounts.iter().map(|mount| mount.saved.clone()).collect();
    let node = look_at_node(server, plan, mounts.clone(), config).await?;

    let images = server.images.clone();
    let id = saved.id.clone();
    undo.on_failure("release the images", give_back(images, id, held(saved)));
    let rootfs = Rootfs {
        image: files(&server.images, &image.id, &saved.id, form).await?,
        writable_dir: make_writable(server, &saved.id, undo).await?,
        writable_limit_bytes: None,
    };
    let mut ready = Vec::new();
    for (mount, source) in in_order(mounts, node.sources) {
        let source = match (source, &mount.source) {
            (Some(path), _) => MountSource::Host(path),
            (None, source) => image_source(server, &mount, source, &saved.id, form).await?,
        };
        ready.push(Mount {
            destination: mount.saved.container_path.clone(),
            source,
            readonly: mount.saved.readonly,
            recursive_readonly: mount.saved.recursive_read_only,
            propagation: mount.propagation,
        });
    }
    Ok(Found {
        rootfs,
        mounts: ready,
        devices: node.devices,
        seccomp: node.seccomp,
        log_path: node.log_path,
    })
}

/// Ends what a container has of images.
pub(crate) async fn give_back(
    images: Images,
    holder: ContainerId,
    held: Vec<ImageId>,
) -> Result<()> {
    for image in held {
        images.release(&image, &holder.0).await?;
    }
    Ok(())
}

/// Ids of all images that a container holds.
pub(crate) fn held(saved: &SavedContainer) -> Vec<ImageId> {
    let mounted = saved
        .mounts
        .iter()
        .filter_map(|mount| Some(&mount.image.as_ref()?.id));
    let ids = std::iter::once(&saved.image.id).chain(mounted);
    // What does not read as an id was never held.
    ids.filter_map(|id| id.parse().ok()).collect()
}

/// What was found on the node, in the order of the mounts.
struct Node {
    sources: Vec<Option<PathBuf>>,
    devices: Vec<sandbox::Device>,
    seccomp: Option<Vec<u8>>,
    log_path: Option<PathBuf>,
}

/// Says which images the mounted ones are.
fn identify(server: &CriServer, mut mounts: Vec<PlannedMount>) -> Result<Vec<PlannedMount>> {
    for mount in &mut mounts {
        let Some(image) = &mut mount.saved.image else {
            continue;
        };
        let found = server.images.find(&image.name).ok_or_else(|| {
            let at = &mount.saved.container_path;
            let message = format!(
                "mount at {at:?}: ImageVolumeMountFailed: image {} is not on this node; pull it first",
                image.name
            );
            Error::new(Kind::NotFound, message)
        })?;
        image.id = found.id.to_string();
    }
    Ok(mounts)
}

/// Everything that may block, on a thread of its own.
async fn look_at_node(
    server: &Arc<CriServer>,
    plan: &ContainerPlan,
    mounts: Vec<PlannedMount>,
    config: ContainerConfig,
) -> Result<Node> {
    let (server, plan) = (server.clone(), plan.clone());
    host::blocking(move || {
        apparmor::check(plan.apparmor_profile())?;
        let source = |mount: &PlannedMount| match &mount.source {
            PlannedSource::Host(path) => container_spec::resolve(path).map(Some),
            PlannedSource::Image { .. } => Ok(None),
        };
        Ok(Node {
            sources: mounts.iter().map(source).collect::<Result<_>>()?,
            devices: container_spec::devices(&config)?,
            seccomp: server.seccomp.program(&plan.seccomp, plan.capabilities())?,
            log_path: plan.log.as_ref().map(log_path).transpose()?,
        })
    })
    .await
}

fn log_path(log: &LogPath) -> Result<PathBuf> {
    log.provide().map_err(|error| {
        let doing = format!("make the directory of log {}", log.path().display());
        Error::caused(Kind::Internal, doing, error)
    })
}

/// Deeper mounts later, each with its source.
fn in_order(
    mounts: Vec<PlannedMount>,
    sources: Vec<Option<PathBuf>>,
) -> Vec<(PlannedMount, Option<PathBuf>)> {
    let mut pairs: Vec<_> = mounts.into_iter().zip(sources).collect();
    pairs.sort_by_key(|(mount, _)| mount.depth());
    pairs
}

async fn image_source(
    server: &CriServer,
    mount: &PlannedMount,
    source: &PlannedSource,
    holder: &ContainerId,
    form: ImageForm,
) -> Result<MountSource> {
    let (PlannedSource::Image { sub_path, .. }, Some(image)) = (source, &mount.saved.image) else {
        return Err(Error::new(
            Kind::Internal,
            "a mount with neither path nor image",
        ));
    };
    let id = image.id.parse().map_err(|error| {
        Error::caused(Kind::Internal, format!("read image id {}", image.id), error)
    })?;
    Ok(MountSource::Image {
        files: files(&server.images, &id, holder, form).await?,
        sub_path: sub_path.clone(),
    })
}

/// The files of an image, in the form that the kind of sandbox wants; held until given back.
async fn files(
    images: &Images,
    image: &ImageId,
    holder: &ContainerId,
    form: ImageForm,
) -> Result<ImageFiles> {
    Ok(match form {
        ImageForm::Mounted => ImageFiles::Mounted(images.mount(image, &holder.0).await?),
        ImageForm::Extents => {
            let disk = images.disk(image, &holder.0).await?;
            let extents = disk.extents.into_iter().map(|piece| Extent {
                path: piece.path,
                offset: piece.offset,
                len: piece.len,
            });
            ImageFiles::Extents {
                key: disk.key,
                extents: extents.collect(),
            }
        }
    })
}

async fn make_writable(
    server: &CriServer,
    id: &ContainerId,
    undo: &mut Rollback,
) -> Result<PathBuf> {
    let directory = server.container_dir(id);
    let doomed = directory.clone();
    undo.on_failure("remove the writable layer", async move {
        host::remove_directory(&doomed).await
    });
    tokio::fs::create_dir_all(&directory)
        .await
        .map_err(|error| {
            Error::caused(
                Kind::Internal,
                format!("make {}", directory.display()),
                error,
            )
        })?;
    Ok(directory)
}
