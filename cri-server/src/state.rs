//! Versioned records in an SQLite database: what this server knows after a restart.
//!
//! One transaction per change, durable when the call returns. A record is JSON with a version of its
//! own; older versions are read, newer ones refuse the start, nothing is ever thrown away unread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Something kept in the database.
pub trait Saved: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Names the kind of record in the database; never changes.
    const KIND: &'static str;
    /// The shape of what is written today.
    const VERSION: u32;
    /// Unique among records of this kind.
    fn id(&self) -> &str;
}

/// The database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It could not be opened.
    #[error("open the database {path}")]
    Open {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// It is there, but doing something with it failed.
    #[error("{doing} in the database")]
    Use {
        /// What we were doing.
        doing: String,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// A record is not what its version promises.
    #[error("read {kind} {id} from the database")]
    Unreadable {
        /// Which kind.
        kind: &'static str,
        /// Which one.
        id: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Written by a later release.
    #[error(
        "{what} in the database has version {found}, this release reads up to {known}: \
         install the later release again, or drain the node and remove the database"
    )]
    TooNew {
        /// What was read.
        what: String,
        /// Its version.
        found: u32,
        /// What we know.
        known: u32,
    },
}

/// Version of the tables themselves.
const SCHEMA: u32 = 1;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct State {
    connection: Arc<Mutex<Connection>>,
}

impl State {
    /// Opens the database at `path`, and makes it where there is none.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let at = |source| StateError::Open {
            path: path.to_path_buf(),
            source,
        };
        let connection = Connection::open(path).map_err(at)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .and_then(|()| connection.pragma_update(None, "synchronous", "FULL"))
            .map_err(at)?;
        let state = Self {
            connection: Arc::new(Mutex::new(connection)),
        };
        state.migrate()?;
        Ok(state)
    }

    fn migrate(&self) -> Result<(), StateError> {
        let connection = self.connection.lock();
        let found: u32 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(using("read the version"))?;
        if found > SCHEMA {
            return Err(StateError::TooNew {
                what: "the layout".into(),
                found,
                known: SCHEMA,
            });
        }
        connection
            .execute_batch(
                "BEGIN;
                 CREATE TABLE IF NOT EXISTS records (
                     kind TEXT NOT NULL,
                     id TEXT NOT NULL,
                     version INTEGER NOT NULL,
                     content TEXT NOT NULL,
                     PRIMARY KEY (kind, id)
                 ) STRICT, WITHOUT ROWID;
                 CREATE TABLE IF NOT EXISTS facts (
                     name TEXT PRIMARY KEY NOT NULL,
                     value TEXT NOT NULL
                 ) STRICT, WITHOUT ROWID;
                 PRAGMA user_version = 1;
                 COMMIT;",
            )
            .map_err(using("make tables"))
    }

    /// Writes a record, new or again.
    pub async fn put<T: Saved>(&self, record: &T) -> Result<(), StateError> {
        let id = record.id().to_string();
        let content = serde_json::to_string(record).map_err(|source| StateError::Unreadable {
            kind: T::KIND,
            id: id.clone(),
            source,
        })?;
        self.with(move |connection| {
            let doing = format!("write {} {id}", T::KIND);
            connection
                .prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4)")
                .and_then(|mut put| put.execute(params![T::KIND, id, T::VERSION, content]))
                .map(drop)
                .map_err(using(&doing))
        })
        .await
    }

    /// Removes a record; one that isn't there is fine.
    pub async fn delete<T: Saved>(&self, id: &str) -> Result<(), StateError> {
        let id = id.to_string();
        self.with(move |connection| {
            let doing = format!("remove {} {id}", T::KIND);
            connection
                .prepare_cached("DELETE FROM records WHERE kind = ?1 AND id = ?2")
                .and_then(|mut delete| delete.execute(params![T::KIND, id]))
                .map(drop)
                .map_err(using(&doing))
        })
        .await
    }

    /// All records of a kind.
    pub async fn load<T: Saved>(&self) -> Result<Vec<T>, StateError> {
        let rows = self
            .with(|connection| {
                let mut query = connection
                    .prepare("SELECT id, version, content FROM records WHERE kind = ?1")?;
                let rows = query.query_map(params![T::KIND], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?;
                rows.collect::<Result<Vec<(String, u32, String)>, _>>()
            })
            .await
            .map_err(using(&format!("read every {}", T::KIND)))?;
        rows.into_iter().map(read::<T>).collect()
    }

    /// What was remembered under `name`.
    pub async fn fact(&self, name: &'static str) -> Result<Option<String>, StateError> {
        self.with(move |connection| {
            connection
                .query_row(
                    "SELECT value FROM facts WHERE name = ?1",
                    params![name],
                    |row| row.get(0),
                )
                .optional()
                .map_err(using(&format!("read {name}")))
        })
        .await
    }

    /// Remembers `value` under `name`.
    pub async fn set_fact(&self, name: &'static str, value: String) -> Result<(), StateError> {
        self.with(move |connection| {
            connection
                .execute(
                    "INSERT OR REPLACE INTO facts VALUES (?1, ?2)",
                    params![name, value],
                )
                .map(drop)
                .map_err(using(&format!("write {name}")))
        })
        .await
    }

    /// A commit waits for the disk, so it does not belong on a thread that serves others.
    async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> R + Send + 'static,
    ) -> R {
        let connection = self.connection.clone();
        tokio::task::spawn_blocking(move || work(&connection.lock()))
            .await
            .expect("database work does not panic, and the runtime outlives it")
    }
}

fn read<T: Saved>((id, version, content): (String, u32, String)) -> Result<T, StateError> {
    if version > T::VERSION {
        return Err(StateError::TooNew {
            what: format!("{} {id}", T::KIND),
            found: version,
            known: T::VERSION,
        });
    }
    serde_json::from_str(&content).map_err(|source| StateError::Unreadable {
        kind: T::KIND,
        id,
        source,
    })
}

fn using(doing: &str) -> impl FnOnce(rusqlite::Error) -> StateError {
    let doing = doing.to_string();
    |source| StateError::Use { doing, source }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Note(String, u32);

    impl Saved for Note {
        const KIND: &'static str = "note";
        const VERSION: u32 = 2;
        fn id(&self) -> &str {
            &self.0
        }
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct LaterNote(String, u32);

    impl Saved for LaterNote {
        const KIND: &'static str = "note";
        const VERSION: u32 = 3;
        fn id(&self) -> &str {
            &self.0
        }
    }

    fn open(dir: &tempfile::TempDir) -> State {
        State::open(&dir.path().join("state.db")).unwrap()
    }

    #[tokio::test]
    async fn records_are_there_after_a_restart_as_last_written() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(&dir);
        state.put(&Note("a".into(), 1)).await.unwrap();
        state.put(&Note("a".into(), 2)).await.unwrap();
        state.put(&Note("b".into(), 3)).await.unwrap();
        state.delete::<Note>("b").await.unwrap();
        state.set_fact("boot", "x".into()).await.unwrap();
        drop(state);
        let state = open(&dir);
        assert_eq!(state.load::<Note>().await.unwrap(), [Note("a".into(), 2)]);
        assert_eq!(state.fact("boot").await.unwrap().as_deref(), Some("x"));
    }

    #[tokio::test]
    async fn a_record_of_a_later_release_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = open(&dir);
        state.put(&LaterNote("a".into(), 1)).await.unwrap();
        let error = state.load::<Note>().await.unwrap_err();
        assert!(
            matches!(error, StateError::TooNew { found: 3, .. }),
            "{error}"
        );
        assert_eq!(state.load::<LaterNote>().await.unwrap().len(), 1);
    }

    #[test]
    fn a_database_of_a_later_release_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 9).unwrap();
        let error = State::open(&path).err().unwrap();
        assert!(
            matches!(error, StateError::TooNew { found: 9, .. }),
            "{error}"
        );
    }
}
