//! Pulling, listing and removing images, and what is in them.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::runtime::{Runtime, container_config, spec};
use k8s_cri::v1::{
    ImageFsInfoRequest, ImageStatusRequest, ListImagesRequest, PullImageRequest, RemoveImageRequest,
};

const PATIENCE: Duration = Duration::from_secs(10);
const LAYERED: &str = "gcr.io/bulkhead/layered:latest";

under_every_handler!(layers_lie_over_each_other_as_they_should);

async fn layers_lie_over_each_other_as_they_should(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut config = container_config("c", &["sleep", "1000"]);
    config.image = Some(spec(LAYERED));
    let mut container = pod.start(&config).await?;
    assert_eq!(container.output(&["ls", "/data"]).await?, "kept\n");
    assert_eq!(container.output(&["ls", "/opaque"]).await?, "above\n");
    let owner = container
        .output(&["stat", "-c", "%u:%g %a", "/data/kept", "/data"])
        .await?;
    assert_eq!(owner, "3000000:3000001 640\n0:0 1777\n");
    assert_eq!(container.output(&["pwd"]).await?, "/data\n");
    pod.clear().await
}

#[tokio::test]
async fn a_pulled_image_is_listed_under_the_name_asked_for() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let name = "gcr.io/k8s-staging-cri-tools/test-image-latest";
    let id = runtime.pull(name).await?;
    let request = ImageStatusRequest {
        image: Some(spec(name)),
        verbose: false,
    };
    let image = runtime
        .images
        .image_status(request)
        .await?
        .into_inner()
        .image
        .context("image")?;
    assert_eq!(image.id, id);
    assert_eq!(image.repo_tags, [format!("{name}:latest")]);
    assert!(
        image
            .repo_digests
            .iter()
            .all(|d| d.starts_with(&format!("{name}@sha256:")))
    );
    assert!(image.size > 0);

    let by_digest = image.repo_digests[0].clone();
    assert_eq!(
        runtime.pull(&by_digest).await?,
        id,
        "the same image by its digest"
    );

    let info = runtime
        .images
        .image_fs_info(ImageFsInfoRequest {})
        .await?
        .into_inner();
    let usage = info.image_filesystems.first().context("a file system")?;
    assert!(usage.used_bytes.as_ref().is_some_and(|b| b.value > 0));
    let mountpoint = &usage.fs_id.as_ref().context("fs_id")?.mountpoint;
    assert!(std::fs::exists(mountpoint)?, "{mountpoint}");

    for _ in 0..2 {
        let remove = RemoveImageRequest {
            image: Some(spec(&id)),
        };
        runtime.images.remove_image(remove).await?;
    }
    let list = runtime
        .images
        .list_images(ListImagesRequest::default())
        .await?
        .into_inner();
    assert!(list.images.iter().all(|i| i.id != id));
    Ok(())
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named_with_its_registry() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let image = spec("registry.k8s.io/no/such/image:1");
    let request = PullImageRequest {
        image: Some(image),
        ..Default::default()
    };
    let status = runtime
        .images
        .pull_image(request)
        .await
        .expect_err("refused");
    let said = status.message();
    assert!(
        said.contains("no/such/image") && said.contains("404"),
        "{status:?}"
    );
    Ok(())
}
