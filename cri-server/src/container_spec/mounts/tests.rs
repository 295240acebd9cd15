//! What is refused, the order, and symbolic links of the node.

use cri_api::v1::ImageSpec;
use sandbox::ImageForm;

use super::*;

const FEATURES: Features = Features {
    image_form: ImageForm::Mounted,
    host_network: true,
    host_namespaces: true,
    recursive_read_only_mounts: true,
    user_namespaces: false,
};

fn volume(at: &str) -> CriMount {
    CriMount {
        container_path: at.into(),
        host_path: "/srv".into(),
        ..Default::default()
    }
}

fn image_volume(sub_path: &str) -> CriMount {
    CriMount {
        host_path: String::new(),
        readonly: true,
        image: Some(ImageSpec {
            image: "web".into(),
            ..Default::default()
        }),
        image_sub_path: sub_path.into(),
        ..volume("/v")
    }
}

#[track_caller]
fn check_refused(mount: CriMount, why: &str) {
    let error = plan(&[mount], &FEATURES).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn recursive_read_only_is_refused_where_it_makes_no_sense() {
    let with = |readonly, propagation: MountPropagation| CriMount {
        readonly,
        recursive_read_only: true,
        propagation: propagation.into(),
        ..volume("/v")
    };
    check_refused(
        with(false, MountPropagation::PropagationPrivate),
        "needs readonly",
    );
    for propagation in [
        MountPropagation::PropagationHostToContainer,
        MountPropagation::PropagationBidirectional,
    ] {
        check_refused(with(true, propagation), "needs private propagation");
    }
    let good = with(true, MountPropagation::PropagationPrivate);
    assert!(plan(std::slice::from_ref(&good), &FEATURES).is_ok());
    let lacking = Features {
        recursive_read_only_mounts: false,
        ..FEATURES
    };
    assert!(plan(&[good], &lacking).is_err());
}

#[test]
fn paths_that_lead_nowhere_good_are_refused() {
    check_refused(volume("srv"), "container_path");
    check_refused(volume("/"), "container_path");
    check_refused(
        CriMount {
            host_path: "srv".into(),
            ..volume("/v")
        },
        "host_path is not absolute",
    );
    check_refused(
        CriMount {
            host_path: String::new(),
            ..volume("/v")
        },
        "neither",
    );
}

#[test]
fn an_image_is_mounted_read_only_and_never_from_outside_itself() {
    assert!(plan(&[image_volume("etc/ssl")], &FEATURES).is_ok());
    check_refused(image_volume("../etc"), "leads out");
    check_refused(image_volume("/etc"), "leads out");
    let writable = CriMount {
        readonly: false,
        ..image_volume("")
    };
    check_refused(writable, "read-only");
}

#[test]
fn depth_counts_names_and_not_slashes() {
    let depth = |at: &str| plan(&[volume(at)], &FEATURES).unwrap()[0].depth();
    assert_eq!([depth("/a"), depth("/a//b/"), depth("/./a/b/c")], [1, 2, 3]);
}

#[test]
fn a_symbolic_link_of_the_node_is_followed_and_a_missing_directory_made() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap().join("real");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    assert_eq!(resolve(&real.join("made")).unwrap(), real.join("made"));
    assert_eq!(resolve(&link).unwrap(), real);
}
