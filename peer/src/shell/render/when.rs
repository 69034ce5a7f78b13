//! Times for people: how long ago, and dates, in UTC as the whole group has them.

use super::progress::duration;

const MS_PER_SEC: u64 = 1000;
const SECS_PER_MINUTE: u64 = 60;
const SECS_PER_HOUR: u64 = 3600;
const SECS_PER_DAY: u64 = 86_400;

/// `5 min ago`; what is to come by the clocks of two machines is now.
pub(super) fn ago(at_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(at_ms) / MS_PER_SEC {
        0 => "just now".to_owned(),
        secs => format!("{} ago", duration(secs)),
    }
}

/// `2026-11-21 16:12`, of milliseconds since 1970, in UTC.
pub(super) fn date(at_ms: u64) -> String {
    let secs = at_ms / MS_PER_SEC;
    let (year, month, day) = civil(secs / SECS_PER_DAY);
    let (hour, minute) = (secs % SECS_PER_DAY / SECS_PER_HOUR, secs % SECS_PER_HOUR / SECS_PER_MINUTE);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

/// Year, month and day of a number of days since 1970: `civil_from_days` of Howard Hinnant's "chrono-compatible low-level
/// date algorithms", for days that are not before 1970. Years begin in March there, so that a leap day is the last.
const fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    const YEARS_PER_ERA: u64 = 400;
    let shifted = days.saturating_add(DAYS_TO_1970);
    let (era, day_of_era) = (shifted / DAYS_PER_ERA, shifted % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * YEARS_PER_ERA + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (secs, text) in [
            (0, "1970-01-01 00:00"),
            (951_782_399, "2000-02-28 23:59"),
            (951_782_400, "2000-02-29 00:00"),
            (1_709_251_199, "2024-02-29 23:59"),
            (4_107_542_399, "2100-02-28 23:59"),
            (4_107_542_400, "2100-03-01 00:00"),
            (1_795_277_520, "2026-11-21 16:12"),
        ] {
            assert_eq!(date(secs * 1000), text);
        }
        assert!(!date(u64::MAX).is_empty());
    }

    #[test]
    fn what_is_past_is_told_by_its_age() {
        assert_eq!(ago(0, 65_000), "1 min 5 s ago");
        assert_eq!((ago(5, 999), ago(9, 0)), ("just now".to_owned(), "just now".to_owned()));
    }
}
