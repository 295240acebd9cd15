//! What programs may tell apart about the errors of this crate.

/// The class of an error; its text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What the caller wrote is no image reference, path or credential.
    InvalidArgument,
    /// No such image, here or at the registry.
    NotFound,
    /// The registry wants other credentials than those given.
    Denied,
    /// No host of the registry could be reached or gave a usable answer: try again later.
    Unavailable,
    /// The registry stalled.
    TimedOut,
    /// The image itself is broken, too large, hostile or of a kind that can't be run.
    BadImage,
    /// The disk is full, or fuller than the configuration allows.
    NoSpace,
    /// The operator's configuration is wrong.
    Misconfigured,
    /// Another server uses the same directory.
    InUse,
    /// This node can't do it: a bug, an I/O error or a missing kernel feature.
    Internal,
}
