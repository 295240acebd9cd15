//! A record in memory that is always as it is in the database.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use tracing::error;

use crate::error::{Error, Kind, Result, chain};
use crate::state::{Saved, State};

/// A record that others read and wait on; it changes only through the database.
pub struct Kept<T> {
    state: State,
    writing: Mutex<()>,
    value: watch::Sender<Version<T>>,
}

/// What a record is now.
struct Version<T> {
    value: Arc<T>,
    /// It is in the database no more.
    deleted: bool,
}

impl<T: Saved> Kept<T> {
    /// Takes a record that is in the database already.
    pub fn loaded(state: &State, value: T) -> Self {
        Self {
            state: state.clone(),
            writing: Mutex::default(),
            value: watch::Sender::new(Version {
                value: Arc::new(value),
                deleted: false,
            }),
        }
    }

    /// Writes a new record.
    pub async fn create(state: &State, value: T) -> Result<Self> {
        state.put(&value).await?;
        Ok(Self::loaded(state, value))
    }

    /// As it is now.
    pub fn get(&self) -> Arc<T> {
        self.value.borrow().value.clone()
    }

    fn is_deleted(&self) -> bool {
        self.value.borrow().deleted
    }

    /// Decides something: `change` is in the database before anybody sees it, or it did not happen.
    pub async fn change<R>(&self, change: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let _one_at_a_time = self.writing.lock().await;
        let mut value = T::clone(&self.get());
        if self.is_deleted() {
            let message = format!("{} {} was removed", T::KIND, value.id());
            return Err(Error::new(Kind::NotFound, message));
        }
        let answer = change(&mut value)?;
        self.state.put(&value).await?;
        self.show(value);
        Ok(answer)
    }

    /// Takes note of something that has happened: it is seen even if the database fails. Nothing
    /// happens any more to what was deleted.
    pub async fn observe(&self, change: impl FnOnce(&mut T)) {
        let _one_at_a_time = self.writing.lock().await;
        if self.is_deleted() {
            return;
        }
        let mut value = T::clone(&self.get());
        change(&mut value);
        if let Err(error) = self.state.put(&value).await {
            error!(
                record = T::KIND,
                id = value.id(),
                error = chain(&error),
                "state is not saved"
            );
        }
        self.show(value);
    }

    fn show(&self, value: T) {
        let value = Arc::new(value);
        self.value.send_modify(|version| version.value = value);
    }

    /// Waits until `is_so`.
    pub async fn wait_until(&self, is_so: impl Fn(&T) -> bool) -> Arc<T> {
        let mut values = self.value.subscribe();
        let value = values.wait_for(|version| is_so(&version.value)).await;
        value.expect("we hold the sender").value.clone()
    }

    /// Shows `see` what it is now and whatever it becomes, with whether it is deleted, which is the end. Of changes
    /// that come quickly only the last may be seen.
    pub async fn follow(&self, mut see: impl FnMut(&T, bool)) {
        let mut versions = self.value.subscribe();
        loop {
            let (value, deleted) = {
                let version = versions.borrow_and_update();
                (version.value.clone(), version.deleted)
            };
            see(&value, deleted);
            if deleted || versions.changed().await.is_err() {
                return;
            }
        }
    }

    /// Removes it from the database.
    pub async fn delete(&self) -> Result<()> {
        let _one_at_a_time = self.writing.lock().await;
        self.state.delete::<T>(self.get().id()).await?;
        self.value.send_modify(|version| version.deleted = true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Note(u32);

    impl Saved for Note {
        const KIND: &'static str = "note";
        const VERSION: u32 = 1;
        fn id(&self) -> &str {
            "a"
        }
    }

    #[tokio::test]
    async fn what_was_deleted_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).unwrap();
        let kept = Kept::create(&state, Note(1)).await.unwrap();
        kept.delete().await.unwrap();
        kept.observe(|note| note.0 = 2).await;
        let changed = kept.change(|note| {
            note.0 = 3;
            Ok(())
        });
        assert_eq!(changed.await.unwrap_err().kind(), Kind::NotFound);
        assert!(state.load::<Note>().await.unwrap().is_empty());
    }
}
