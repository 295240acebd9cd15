//! Work that waits for the disk, off the threads that wait for the network.

/// The task that did the work panicked, or the runtime ended.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the work was cut short")]
pub struct CutShort;

/// Runs `work` where it may block. It runs to its end even if nobody waits for it any more.
pub(crate) async fn blocking<T: Send + 'static, E: From<CutShort> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| CutShort)?
}
