//! The cursor of a list as text. Pure.
//!
//! A cursor holds a position in the list and a digest of the filters. So it stays valid while calls are
//! inserted, and it is refused with other filters, where it would skip calls.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use mongodb::bson::oid::ObjectId;
use sha2::{Digest as _, Sha256};

use super::error::ReadingError;
use crate::store::views::Cursor;

/// The form of the bytes: form, time in milliseconds, id, digest.
const FORM: u8 = 1;
const LENGTH: usize = 1 + 8 + 12 + DIGEST_BYTES;
const DIGEST_BYTES: usize = 8;

/// Digest of the filters of a list.
pub type FilterDigest = [u8; DIGEST_BYTES];

/// The digest of filters, given as names and values in any order.
pub fn digest(mut filters: Vec<(String, String)>) -> FilterDigest {
    filters.sort_unstable();
    let mut hash = Sha256::new();
    for text in filters.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let hash = hash.finalize();
    std::array::from_fn(|n| hash[n])
}

/// The text of a cursor.
pub fn encode(cursor: Cursor, filters: FilterDigest) -> String {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.push(FORM);
    bytes.extend(cursor.at.as_millisecond().to_be_bytes());
    bytes.extend(cursor.id.bytes());
    bytes.extend(filters);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor.
///
/// # Errors
/// The text is no cursor, or the cursor belongs to a list with other filters.
pub fn decode(text: &str, filters: FilterDigest) -> Result<Cursor, ReadingError> {
    let invalid = || ReadingError::Invalid("cursor must be a nextCursor of an earlier answer".to_owned());
    let mut bytes = [0; LENGTH];
    let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_error| invalid())?;
    let (form, rest) = bytes.split_first().ok_or_else(invalid)?;
    let (at, rest) = rest.split_first_chunk().ok_or_else(invalid)?;
    let (id, digest) = rest.split_first_chunk().ok_or_else(invalid)?;
    let at = Timestamp::from_millisecond(i64::from_be_bytes(*at)).map_err(|_error| invalid())?;
    if read != LENGTH || *form != FORM {
        return Err(invalid());
    }
    if digest != filters {
        let reason = "cursor belongs to a list with other filters: repeat the filters of the first page";
        return Err(ReadingError::Invalid(reason.to_owned()));
    }
    Ok(Cursor { at, id: ObjectId::from_bytes(*id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &str)]) -> FilterDigest {
        digest(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_cursor_is_read_with_its_own_filters_only() {
        let at = Timestamp::from_millisecond(1_790_000_000_123).unwrap();
        let cursor = Cursor { at, id: ObjectId::from_bytes([7; 12]) };
        let own = filters(&[("status", "busy"), ("agentId", "a")]);
        let text = encode(cursor, own);
        assert_eq!(decode(&text, filters(&[("agentId", "a"), ("status", "busy")])), Ok(cursor));
        for other in [filters(&[]), filters(&[("status", "busya"), ("gentId", "a")])] {
            assert!(
                matches!(decode(&text, other), Err(ReadingError::Invalid(why)) if why.contains("filters"))
            );
        }
    }

    #[test]
    fn other_texts_are_no_cursors() {
        let at = Timestamp::from_millisecond(0).unwrap();
        let text = encode(Cursor { at, id: ObjectId::from_bytes([7; 12]) }, [0; 8]);
        let far = URL_SAFE_NO_PAD.encode([&[FORM][..], &[0x7f; 8], &[0; 20]].concat());
        let other_form = URL_SAFE_NO_PAD.encode([&[9][..], &[0; 28]].concat());
        let long = format!("{text}AAAA");
        for text in ["", "x", "é", "$ne", &text[1..], &text[..text.len() - 1], &long, &far, &other_form] {
            let read = decode(text, [0; 8]);
            assert!(
                matches!(&read, Err(ReadingError::Invalid(why)) if why.contains("nextCursor")),
                "{text} {read:?}"
            );
        }
    }
}
