//! What kernels and other tools see of blobs and images. Needs root and a kernel with EROFS.

#[cfg(test)]
#[path = "../erofs/image.rs"]
#[allow(dead_code, reason = "shared with the tests that need no root")]
mod image;
#[cfg(test)]
mod mounted;
#[cfg(test)]
mod oci;
#[cfg(test)]
#[path = "../erofs/tar.rs"]
#[allow(dead_code, reason = "shared with the tests that need no root")]
mod tar;
#[cfg(test)]
mod views;
