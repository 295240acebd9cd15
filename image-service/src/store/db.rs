//! The database: one file, one transaction for each change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::saved::{BlobKey, Hold, SCHEMA, SavedBlob, SavedImage};
use crate::image::ImageId;

const TABLES: &str = "
    CREATE TABLE images (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE blobs (key TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE holds (image TEXT, holder TEXT, PRIMARY KEY (image, holder)) STRICT;
";

/// The open database.
pub(super) struct Db(Connection);

/// All that is in it.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) images: Vec<SavedImage>,
    pub(super) blobs: Vec<SavedBlob>,
    pub(super) holds: Vec<Hold>,
}

/// The database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// It is damaged, and may be moved aside.
    #[error("image database is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A later version of this program wrote it.
    #[error("image database has version {found}, this program knows {SCHEMA}")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// Anything else: disk full, I/O error.
    #[error("use image database")]
    Sqlite(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.into())
            }
            _ => Self::Sqlite(error),
        }
    }
}

impl DbError {
    /// Whether more space would have helped.
    pub(super) fn is_no_space(&self) -> bool {
        let Self::Sqlite(error) = self else {
            return false;
        };
        error.sqlite_error_code() == Some(ErrorCode::DiskFull)
    }
}

impl Db {
    /// Opens the database and reads all of it. `None` means that it is new, and to be filled.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Contents>), DbError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        // FULL, because a commit promises that the image survives a power cut.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        check(&connection)?;
        let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let db = Self(connection);
        let contents = match version {
            0 => None,
            SCHEMA => Some(db.contents()?),
            found => return Err(DbError::Newer { found }),
        };
        Ok((db, contents))
    }

    /// Makes the tables of a new database, with these contents.
    pub(super) fn fill(&mut self, contents: &Contents) -> Result<(), DbError> {
        self.change(|tx| {
            tx.0.execute_batch(TABLES)?;
            tx.0.pragma_update(None, "user_version", SCHEMA)?;
            contents
                .blobs
                .iter()
                .try_for_each(|blob| tx.put_blob(blob))?;
            contents
                .images
                .iter()
                .try_for_each(|image| tx.put_image(image))
        })
    }

    fn contents(&self) -> Result<Contents, DbError> {
        let mut statement = self.0.prepare("SELECT image, holder FROM holds")?;
        let holds = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let hold = |row: rusqlite::Result<(String, String)>| {
            let (image, holder) = row?;
            let image = image
                .parse::<ImageId>()
                .map_err(|error| DbError::Damaged(error.into()))?;
            Ok(Hold { image, holder })
        };
        Ok(Contents {
            images: self.records("SELECT record FROM images")?,
            blobs: self.records("SELECT record FROM blobs")?,
            holds: holds.map(hold).collect::<Result<_, DbError>>()?,
        })
    }

    fn records<T: DeserializeOwned>(&self, query: &str) -> Result<Vec<T>, DbError> {
        let mut statement = self.0.prepare(query)?;
        let records = statement.query_map([], |row| row.get::<_, String>(0))?;
        let parse = |record: rusqlite::Result<String>| {
            serde_json::from_str(&record?).map_err(|error| DbError::Damaged(error.into()))
        };
        records.map(parse).collect()
    }

    /// One change: all of it or nothing.
    pub(super) fn change(
        &mut self,
        change: impl Fn(&Change<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), DbError> {
        let change_in = Change(self.0.transaction()?);
        change(&change_in)?;
        super::fault::point("before commit");
        change_in.0.commit()?;
        super::fault::point("after commit");
        Ok(())
    }
}

fn check(connection: &Connection) -> Result<(), DbError> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(DbError::Damaged(verdict.into()))
    }
}

/// A change in the making.
pub(super) struct Change<'a>(Transaction<'a>);

impl Change<'_> {
    pub(super) fn put_image(&self, image: &SavedImage) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO images VALUES (?1, ?2)";
        self.0
            .execute(sql, params![image.id.to_string(), json(image)])
            .map(drop)
    }

    pub(super) fn delete_image(&self, id: &ImageId) -> rusqlite::Result<()> {
        self.0
            .execute("DELETE FROM images WHERE id = ?1", [id.to_string()])
            .map(drop)
    }

    pub(super) fn put_blob(&self, blob: &SavedBlob) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO blobs VALUES (?1, ?2)";
        self.0
            .execute(sql, [key_text(&blob.key), json(blob)])
            .map(drop)
    }

    pub(super) fn delete_blob(&self, key: &BlobKey) -> rusqlite::Result<()> {
        self.0
            .execute("DELETE FROM blobs WHERE key = ?1", [key_text(key)])
            .map(drop)
    }

    pub(super) fn put_hold(&self, hold: &Hold) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO holds VALUES (?1, ?2)";
        self.0
            .execute(sql, [hold.image.to_string(), hold.holder.clone()])
            .map(drop)
    }

    pub(super) fn delete_hold(&self, hold: &Hold) -> rusqlite::Result<()> {
        let sql = "DELETE FROM holds WHERE image = ?1 AND holder = ?2";
        self.0
            .execute(sql, [hold.image.to_string(), hold.holder.clone()])
            .map(drop)
    }

    /// Nobody can hold what isn't there.
    pub(super) fn delete_empty_holds(&self) -> rusqlite::Result<()> {
        self.0
            .execute(
                "DELETE FROM holds WHERE image NOT IN (SELECT id FROM images)",
                [],
            )
            .map(drop)
    }
}

fn key_text(key: &BlobKey) -> Value {
    Value::Text(format!("{:?} {} {}", key.kind, key.digest, key.converter))
}

fn json(record: &impl Serialize) -> Value {
    Value::Text(serde_json::to_string(record).expect("a record has only JSON's types"))
}

/// The files that SQLite keeps beside a database.
pub(super) fn files(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}
