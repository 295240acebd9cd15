//! Single files out of an image.

use erofs_image::{FileType, ReadError};

use crate::image::image;
use crate::tar::{Entry, Tar};

#[test]
fn files_are_found_through_links_inside_the_image() {
    let image = image([
        Tar::default()
            .add(Entry::file("usr/lib/etc/passwd", "root:x:0:0"))
            .add(Entry::symlink("etc", "/usr/../../usr/lib/./etc/"))
            .add(Entry::symlink("usr/up", "../../../../etc/passwd"))
            .add(Entry::symlink("usr/lib/root", "/usr/lib"))
            .add(Entry::symlink("loop", "loop"))
            .add(Entry::symlink("dangling", "etc/none")),
        Tar::default().add(Entry::file("big", vec![9; 10_000])),
    ]);
    let reader = image.open();
    let read = |path: &str| reader.read_file(path.as_bytes(), 9999);
    for path in [
        "/etc/passwd",
        "etc//passwd",
        "usr/up",
        "../etc/../etc/./passwd",
        "/usr/up",
        "usr/lib/root/root/etc/passwd",
    ] {
        assert_eq!(read(path).unwrap().unwrap(), b"root:x:0:0", "{path}");
    }
    for path in ["nothing", "dangling", "etc/passwd/x", "usr/up/..", "big/.."] {
        assert_eq!(read(path).unwrap(), None, "{path}");
    }
    assert!(matches!(read("loop"), Err(ReadError::TooManyLinks)));
    assert!(matches!(read("etc"), Err(ReadError::NotAFile)));
    assert!(matches!(
        read("big"),
        Err(ReadError::TooLarge {
            size: 10_000,
            max_bytes: 9999
        })
    ));
    assert_eq!(
        reader.read_file(b"big", 10_000).unwrap().unwrap(),
        vec![9; 10_000]
    );
    assert_eq!(
        reader.metadata(b"/").unwrap().unwrap().file_type,
        FileType::Directory
    );
}

#[test]
fn names_are_found_in_directories_of_many_blocks() {
    let names = (0..3000).map(|n| format!("directory/{n:05}"));
    let image = image([names
        .clone()
        .map(|name| Entry::file(&name, &name))
        .collect()]);
    let reader = image.open();
    for name in names.step_by(97) {
        assert_eq!(
            reader.read_file(name.as_bytes(), 99).unwrap().unwrap(),
            name.as_bytes()
        );
    }
    assert_eq!(reader.metadata(b"directory/03000").unwrap(), None);
}
