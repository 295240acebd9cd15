//! Ids of pods and containers: made here, and found again by any unambiguous beginning.

use std::collections::BTreeMap;
use std::ops::Bound;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Error, Kind, Result};

/// 64 random hexadecimal digits.
pub(crate) fn random() -> Result<String> {
    let mut bytes = [0u8; 32];
    let got = getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| Error::caused(Kind::Internal, "make an id", errno))?;
    debug_assert_eq!(got, bytes.len(), "up to 256 bytes come at once");
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What `id` or a beginning of an id names. People type the short ids that listings show.
pub(crate) fn find<'a, V>(table: &'a BTreeMap<String, V>, id: &str) -> Result<Option<&'a V>> {
    if id.is_empty() {
        return Err(Error::invalid("the id is empty"));
    }
    let from = (Bound::Included(id), Bound::Unbounded);
    let mut matches = table
        .range::<str, _>(from)
        .take_while(|(key, _)| key.starts_with(id));
    match (matches.next(), matches.next()) {
        (None, _) => Ok(None),
        // The whole id comes first, and is meant even where another one goes on from it.
        (Some((key, value)), other) if key == id || other.is_none() => Ok(Some(value)),
        _ => Err(Error::invalid(format!(
            "{id} begins more than one id; give more of it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(id: &str, found: Option<Option<i32>>) {
        let table = [("ab", 1), ("abc", 2), ("abd", 3), ("b", 4)];
        let table = table.map(|(key, value)| (key.to_string(), value)).into();
        assert_eq!(
            find(&table, id).map(Option::<&i32>::copied).ok(),
            found,
            "{id}"
        );
    }

    #[test]
    fn a_beginning_names_one_thing_or_is_refused() {
        check("ab", Some(Some(1)));
        check("abc", Some(Some(2)));
        check("b", Some(Some(4)));
        check("c", Some(None));
        check("a", None);
        check("", None);
    }

    #[test]
    fn an_id_is_64_hexadecimal_digits() {
        let id = random().unwrap();
        assert!(
            id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        assert_ne!(id, random().unwrap());
    }
}
