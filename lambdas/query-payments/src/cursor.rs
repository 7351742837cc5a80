//! Where the next page begins, as a client holds it: the position with a signature over it, the user
//! and the filter.
//!
//! The signature keeps clients from making cursors of their own; no user's data depends on it: a page is
//! always one of the token's user, wherever it begins.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use function::proxy::Invalid;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tables::Position;

use crate::question::Filter;

/// Version of what is signed. A change of its form makes older cursors bad, not misread.
const VERSION: u8 = 1;

/// Bytes of the signature.
const SIGNATURE_BYTES: usize = 32;

/// The answer to any cursor that we did not make for this user and filter.
fn bad() -> Invalid {
    Invalid::new("cursor", "must be the cursor of a page with the same user, status and days")
}

/// The position as a cursor.
#[must_use]
pub fn write(key: &str, user: &str, filter: &Filter, position: &Position) -> String {
    let text = format!("{}\n{}", position.at, position.key);
    let signature = signer(key, user, filter, &text).finalize().into_bytes();
    BASE64_URL_SAFE_NO_PAD.encode([&signature[..], text.as_bytes()].concat())
}

/// The position in a cursor.
///
/// # Errors
/// A cursor that is not ours, or that was made for another user or filter.
pub fn read(key: &str, user: &str, filter: &Filter, cursor: &str) -> Result<Position, Invalid> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
    let (signature, text) = bytes.split_at_checked(SIGNATURE_BYTES).ok_or_else(bad)?;
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    signer(key, user, filter, text).verify_slice(signature).map_err(|_| bad())?;
    let (at, key) = text.split_once('\n').ok_or_else(bad)?;
    Ok(Position { at: at.to_owned(), key: key.to_owned() })
}

fn signer(key: &str, user: &str, filter: &Filter, text: &str) -> Hmac<Sha256> {
    let mut signer = Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    let Filter { status, from, to } = filter;
    // As JSON the parts cannot run into one another.
    let signed = serde_json::json!([VERSION, user, status, from, to, text]);
    signer.update(signed.to_string().as_bytes());
    signer
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::answer::Status;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn filter() -> Filter {
        Filter { status: Status::Refused, from: "2026".to_owned(), to: "2027".to_owned() }
    }

    fn position() -> Position {
        Position { at: "2026-11-20T00:00:00.000Z".to_owned(), key: "id#r-1".to_owned() }
    }

    #[test]
    fn a_cursor_is_read_again_by_its_user_with_its_filter_only() {
        let cursor = write(KEY, "user-a", &filter(), &position());
        assert_eq!(read(KEY, "user-a", &filter(), &cursor), Ok(position()));
        let other = |change: fn(&mut Filter)| {
            let mut filter = filter();
            change(&mut filter);
            filter
        };
        for (key, user, filter) in [
            (KEY, "user-b", filter()),
            ("another key of thirty-two bytes..", "user-a", filter()),
            (KEY, "user-a", other(|filter| filter.status = Status::Held)),
            (KEY, "user-a", other(|filter| filter.from = "2025".to_owned())),
            (KEY, "user-a", other(|filter| filter.to = "2028".to_owned())),
        ] {
            assert_eq!(read(key, user, &filter, &cursor), Err(bad()), "{user} {filter:?}");
        }
    }

    #[test]
    fn no_bit_of_a_cursor_can_be_changed() {
        let cursor = write(KEY, "user-a", &filter(), &position());
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        for index in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[index / 8] ^= 1 << (index % 8);
            let changed = BASE64_URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(read(KEY, "user-a", &filter(), &changed), Err(bad()), "bit {index}");
        }
        for wrong in ["", "x", "ä", "AAAA", &cursor[1..], &cursor[..cursor.len() - 4]] {
            assert_eq!(read(KEY, "user-a", &filter(), wrong), Err(bad()), "{wrong}");
        }
    }
}
