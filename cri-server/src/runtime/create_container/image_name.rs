//! What listings of containers say about the image.

use cri_api::v1::ImageSpec;
use image_service::Image;

use crate::containers::SavedImage;

/// The image of a container that was asked for as `spec`.
pub(super) fn saved(spec: Option<&ImageSpec>, image: &Image) -> SavedImage {
    let id = image.id.to_string();
    let first_tag = image.repo_tags.first();
    let first_digest = image.repo_digests.first();
    let asked = spec.map(|spec| spec.image.as_str()).unwrap_or_default();
    let by_user = spec
        .map(|spec| spec.user_specified_image.as_str())
        .unwrap_or_default();
    // The kubelet asks by id, and says beside it what the pod's author wrote.
    let name = match (by_user, asked) {
        ("", asked) if is_id(asked, &id) => first_tag.or(first_digest).unwrap_or(&id).clone(),
        ("", asked) => asked.to_string(),
        (by_user, _) => by_user.to_string(),
    };
    SavedImage {
        name,
        reference: first_digest.unwrap_or(&id).clone(),
        id,
    }
}

fn is_id(asked: &str, id: &str) -> bool {
    id.starts_with(asked)
        || id
            .split_once(':')
            .is_some_and(|(_, hex)| hex.starts_with(asked))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const ID: &str = "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b";

    fn image(tags: &[&str], digests: &[&str]) -> Image {
        Image {
            id: ID.parse().unwrap(),
            repo_tags: tags.iter().map(ToString::to_string).collect(),
            repo_digests: digests.iter().map(ToString::to_string).collect(),
            size_bytes: 1,
            pinned: false,
            pulled_at: SystemTime::UNIX_EPOCH,
            config: Default::default(),
        }
    }

    #[track_caller]
    fn check(asked: &str, by_user: &str, name: &str) {
        let spec = ImageSpec {
            image: asked.into(),
            user_specified_image: by_user.into(),
            ..Default::default()
        };
        let saved = saved(Some(&spec), &image(&["r.io/a:1"], &["r.io/a@sha256:12"]));
        assert_eq!(saved.name, name, "{asked} {by_user}");
        assert_eq!(saved.reference, "r.io/a@sha256:12");
        assert_eq!(saved.id, ID);
    }

    #[test]
    fn the_name_is_the_users_where_it_is_known() {
        check("a:1", "", "a:1");
        check(ID, "a:1", "a:1");
        check(ID, "", "r.io/a:1");
        check("6c3c624b58db", "", "r.io/a:1");
    }

    #[test]
    fn an_image_without_names_goes_by_its_id() {
        let spec = ImageSpec {
            image: ID.into(),
            ..Default::default()
        };
        let saved = saved(Some(&spec), &image(&[], &[]));
        assert_eq!((saved.name.as_str(), saved.reference.as_str()), (ID, ID));
    }
}
