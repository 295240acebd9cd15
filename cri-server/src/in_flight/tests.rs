//! Joining, refusing and breaking off.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

type Calls = Arc<InFlight<String, u32>>;

/// Counts how often it ran; takes a while.
async fn slow(runs: Arc<AtomicU32>) -> Result<u32> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(runs.fetch_add(1, Ordering::SeqCst) + 1)
}

fn call(
    calls: &Calls,
    print: &str,
    runs: &Arc<AtomicU32>,
) -> impl Future<Output = Result<u32>> + use<> {
    let (calls, runs, print) = (calls.clone(), runs.clone(), print.to_string());
    async move {
        calls
            .join("web".into(), print, || None, || slow(runs))
            .await
    }
}

#[tokio::test]
async fn a_retry_joins_the_call_under_way() {
    let (calls, runs) = (Calls::default(), Arc::default());
    let answers = tokio::join!(call(&calls, "a", &runs), call(&calls, "a", &runs));
    assert_eq!((answers.0.unwrap(), answers.1.unwrap()), (1, 1));
}

#[tokio::test]
async fn the_same_name_with_another_configuration_is_refused() {
    let (calls, runs) = (Calls::default(), Arc::default());
    let answers = tokio::join!(call(&calls, "a", &runs), call(&calls, "b", &runs));
    assert_eq!(answers.1.unwrap_err().kind(), Kind::AlreadyExists);
    answers.0.unwrap();
}

#[tokio::test]
async fn the_call_goes_on_when_its_caller_has_left() {
    let (calls, runs) = (Calls::default(), Arc::default());
    let first = tokio::time::timeout(Duration::from_millis(5), call(&calls, "a", &runs)).await;
    assert!(first.is_err());
    assert_eq!(call(&calls, "a", &runs).await.unwrap(), 1);
}

#[tokio::test]
async fn the_name_is_free_once_the_call_has_ended() {
    let (calls, runs) = (Calls::default(), Arc::default());
    assert_eq!(call(&calls, "a", &runs).await.unwrap(), 1);
    assert_eq!(call(&calls, "b", &runs).await.unwrap(), 2);
}

#[tokio::test]
async fn a_panic_frees_the_name_and_is_told() {
    let calls = Calls::default();
    let broken = || async { panic!("deliberate") };
    let answer = calls.join("web".into(), "a".into(), || None, broken).await;
    assert_eq!(answer.unwrap_err().kind(), Kind::Internal);
    assert_eq!(call(&calls, "a", &Arc::default()).await.unwrap(), 1);
}

#[tokio::test]
async fn what_exists_is_answered_without_making_it() {
    let calls = Calls::default();
    let never = || async { unreachable!() };
    let answer = calls
        .join("web".into(), "a".into(), || Some(Ok(7)), never)
        .await;
    assert_eq!(answer.unwrap(), 7);
}
