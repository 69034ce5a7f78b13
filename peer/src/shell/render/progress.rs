//! Progress: how far a download or a hashing is, on one line.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::visible;
use crate::command::{Activity, Progress};

/// Columns of a bar.
const BAR_WIDTH: usize = 16;
/// Columns of a name before it is cut: room for the rest on 120 columns.
const MAX_NAME_WIDTH: usize = 24;
const SECS_PER_MINUTE: u64 = 60;
const SECS_PER_HOUR: u64 = 3600;
const SECS_PER_DAY: u64 = 86_400;

/// A line of at most `width` columns with name, details and, where there is room, a bar.
pub(crate) fn progress_line(progress: &Progress, width: usize) -> String {
    let name = cut(&visible(&progress.name), MAX_NAME_WIDTH);
    let details = progress_details(progress);
    let with_bar = format!("{name} [{}] {details}", bar(progress));
    if with_bar.width() <= width { with_bar } else { cut(&format!("{name} {details}"), width) }
}

/// Chunks, bytes, speed, time left, seeders: what fits the activity.
pub(crate) fn progress_details(progress: &Progress) -> String {
    let percent = percent(progress.bytes, progress.bytes_total);
    let amount = format!("{percent:>3} %  {}", amount(progress.bytes, progress.bytes_total));
    let chunks = format!("{}/{} chunks", progress.chunks, progress.chunks_total);
    let rate = format!("{}/s", bytes(progress.bytes_per_sec));
    match progress.activity {
        Activity::Hashing => format!("{amount}  hashing at {rate}{}", time_left(progress)),
        Activity::Checking => format!("{amount}  looking through what is there already"),
        Activity::Waiting => format!("{amount}  {chunks}  waiting for somebody who has the rest"),
        Activity::Downloading => {
            let seeders = counted(progress.seeders, "seeder");
            format!("{amount}  {chunks}  {rate}{}  {seeders}", time_left(progress))
        }
    }
}

/// Bytes for people: `104.8 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    bytesize::ByteSize::b(count).display().iec().to_string()
}

/// `1.5 of 3.0 MiB`, `512.0 KiB of 3.0 MiB`.
fn amount(part: u64, whole: u64) -> String {
    let (part, whole) = (bytes(part), bytes(whole));
    match (part.split_once(' '), whole.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} of {whole}"),
        _ => format!("{part} of {whole}"),
    }
}

/// Seconds for people, in the two largest units: `2 min 5 s`.
pub(crate) fn duration(secs: u64) -> String {
    let (large, large_unit, small, small_unit) = match secs {
        0..SECS_PER_MINUTE => return format!("{secs} s"),
        SECS_PER_MINUTE..SECS_PER_HOUR => (secs / SECS_PER_MINUTE, "min", secs % SECS_PER_MINUTE, "s"),
        SECS_PER_HOUR..SECS_PER_DAY => (secs / SECS_PER_HOUR, "h", secs % SECS_PER_HOUR / SECS_PER_MINUTE, "min"),
        _ => (secs / SECS_PER_DAY, "d", secs % SECS_PER_DAY / SECS_PER_HOUR, "h"),
    };
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

/// `1 seeder`, `2 seeders`.
pub(super) fn counted(count: u32, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Whole percent, 100 only when all is there.
fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 100;
    }
    let percent = u128::from(part) * 100 / u128::from(whole);
    u64::try_from(percent).unwrap_or(u64::MAX)
}

fn time_left(progress: &Progress) -> String {
    let left = progress.bytes_total.saturating_sub(progress.bytes);
    match left.checked_div(progress.bytes_per_sec) {
        Some(secs) if left > 0 => format!("  {} left", duration(secs + 1)),
        _ => String::new(),
    }
}

fn bar(progress: &Progress) -> String {
    let percent = percent(progress.bytes, progress.bytes_total).min(100);
    let full = usize::try_from(percent).unwrap_or(100) * BAR_WIDTH / 100;
    format!("{}{}", "#".repeat(full), "-".repeat(BAR_WIDTH - full))
}

/// At most so many columns, with `…` where something was left out.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let mut kept = String::new();
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used >= width {
            break;
        }
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half() -> Progress {
        Progress {
            name: "big.bin".to_owned(),
            activity: Activity::Downloading,
            chunks: 512,
            chunks_total: 1024,
            bytes: 128 << 20,
            bytes_total: 256 << 20,
            bytes_per_sec: 32 << 20,
            seeders: 3,
        }
    }

    #[test]
    fn a_line_has_everything_on_a_wide_terminal() {
        assert_eq!(
            progress_line(&half(), 200),
            "big.bin [########--------]  50 %  128.0 of 256.0 MiB  512/1024 chunks  32.0 MiB/s  5 s left  3 seeders"
        );
        assert_eq!(
            progress_line(&half(), 90),
            "big.bin  50 %  128.0 of 256.0 MiB  512/1024 chunks  32.0 MiB/s  5 s left  3 seeders"
        );
    }

    #[test]
    fn a_line_never_wraps() {
        let mut progress = half();
        progress.name = "写真".repeat(30);
        for width in 0..150 {
            assert!(progress_line(&progress, width).width() <= width, "{width}");
        }
        assert!(progress_line(&progress, 60).ends_with('…'));
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        let mut progress = half();
        progress.name = "\x1b[2J\n".to_owned();
        assert!(progress_line(&progress, 80).starts_with("\\u{1b}[2J\\n "));
    }

    #[test]
    fn details_fit_the_activity() {
        let with = |activity| progress_details(&Progress { activity, ..half() });
        assert_eq!(with(Activity::Hashing), " 50 %  128.0 of 256.0 MiB  hashing at 32.0 MiB/s  5 s left");
        assert!(with(Activity::Waiting).ends_with("512/1024 chunks  waiting for somebody who has the rest"));
        let still = Progress { bytes_per_sec: 0, ..half() };
        assert!(!progress_details(&still).contains("left"));
    }

    #[test]
    fn numbers_at_the_edges() {
        assert_eq!((percent(0, 0), percent(999, 1000), percent(1000, 1000)), (100, 99, 100));
        assert_eq!(percent(u64::MAX, 1), u64::MAX);
        let durations = [(0, "0 s"), (59, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (7260, "2 h 1 min")];
        for (secs, text) in durations {
            assert_eq!(duration(secs), text);
        }
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
