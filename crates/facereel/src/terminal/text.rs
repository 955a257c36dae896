//! Formatting and parsing of text for several commands.

use std::{env, fmt, path::Path, time::Duration};

/// A count with its noun, such as `1 video` or `2 videos`.
pub(crate) fn counted<N: Copy + fmt::Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A path as one word of a POSIX shell, in single quotes if necessary.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// How the user started this command: `facereel`, a path to it, or `cargo run --`.
pub(crate) fn invocation() -> String {
    // cargo sets this variable for programs that it runs (https://doc.rust-lang.org/cargo/reference/environment-variables.html).
    if env::var_os("CARGO").is_some() {
        let release = if cfg!(debug_assertions) { "" } else { " --release" };
        return format!("cargo run{release} --");
    }
    env::args_os().next().map_or_else(|| "facereel".to_owned(), |program| quoted(Path::new(&program)))
}

/// Parses a duration such as `24h`, `7 days` or `1h 30m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

/// A duration in at most two units, such as `1 day`, `2 h 5 min` or `40 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let two = |one: String, other: u64, unit: &str| if other == 0 { one } else { format!("{one} {other} {unit}") };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        // Below ten minutes, the seconds are relevant.
        (0, 0, 1..10) => two(format!("{minutes} min"), seconds % 60, "s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => two(format!("{hours} h"), minutes, "min"),
        _ => two(counted(days, "day"), hours, "h"),
    }
}

/// The time until a step is complete, after `elapsed` for the fraction `done`. `None`, while too little is known.
pub(crate) fn remaining(elapsed: Duration, done: f32) -> Option<Duration> {
    let known = elapsed >= Duration::from_secs(2) && (0.01..1.0).contains(&done);
    let left = known.then(|| elapsed.mul_f32((1.0 - done) / done));
    left.filter(|left| *left >= Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_at_most_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (601, "10 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86_400, "1 day"),
            (90_000, "1 day 1 h"),
            (604_800, "7 days"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_duration_may_contain_spaces() {
        for (text, hours) in [("24h", 24), ("1 day", 24), ("7days", 168), ("7 days", 168), ("1h 60m", 2)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_hours(hours)), "{text}");
        }
    }

    #[test]
    fn the_remaining_time_is_known_after_a_while() {
        assert_eq!(remaining(Duration::from_secs(30), 0.25), Some(Duration::from_secs(90)));
        for (elapsed, done) in [(1, 0.5), (60, 0.0), (60, 1.0), (5, 0.9)] {
            assert_eq!(remaining(Duration::from_secs(elapsed), done), None);
        }
    }

    #[test]
    fn only_a_count_of_one_is_singular() {
        let texts = [0_u64, 1, 2].map(|count| counted(count, "page"));
        assert_eq!(texts, ["0 pages", "1 page", "2 pages"]);
    }

    #[test]
    fn a_quoted_path_is_one_word_for_a_shell() {
        for path in ["facereel-results/sample", "with space", "it's", "$(touch x)", "", "\u{e9}t\u{e9} *.d"] {
            let script = format!("printf %s {}", quoted(Path::new(path)));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), path, "{script}");
        }
        assert_eq!(quoted(Path::new("facereel-results/sample")), "facereel-results/sample");
    }
}
