//! Points in time as items and attributes hold them.

use time::OffsetDateTime;
use time::macros::format_description;

/// RFC 3339 in UTC with milliseconds: `2026-11-20T12:00:00.123Z`. Such texts sort by time.
///
/// Takes milliseconds since 1970-01-01 UTC; what no calendar of ours can hold becomes 1970-01-01.
#[must_use]
pub fn rfc3339(epoch_ms: i64) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(format)
        .expect("every component of the format is in the time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_kept() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_790_000_000_123), "2026-09-21T14:13:20.123Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
