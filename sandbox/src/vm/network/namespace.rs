//! Working in a network namespace: on a thread of its own, which ends there.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

use crate::{Error, Kind, Result};

/// Does `work` in the network namespace at `path`. The calling thread stays where it is.
pub(super) async fn within<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let doing = format!("enter network namespace {}", path.display());
    let namespace = File::open(path).map_err(|e| Error::io(&doing, e))?;
    let (tell, told) = oneshot::channel();
    // Not a pooled thread: the next one to use it would be in the namespace, too.
    let thread = std::thread::Builder::new().name("netns".to_owned());
    let started = thread.spawn({
        let doing = doing.clone();
        move || {
            let network = Some(LinkNameSpaceType::Network);
            let entered = move_into_link_name_space(namespace.as_fd(), network);
            let entered = entered.map_err(|e| Error::io(doing, e));
            // Nobody may be waiting any more; what was made is dropped then.
            let _ = tell.send(entered.and_then(|()| work()));
        }
    });
    started.map_err(|e| Error::io("start a thread", e))?;
    told.await
        .unwrap_or_else(|_| Err(Error::new(Kind::Internal, format!("{doing}: it panicked"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_namespace_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = within(file.path(), || Ok(())).await.unwrap_err();
        assert!(
            error.to_string().starts_with("enter network namespace /"),
            "{error}"
        );
        let missing = within(Path::new("/nonexistent"), || Ok(())).await;
        assert!(missing.unwrap_err().chain().contains("/nonexistent"));
    }
}
