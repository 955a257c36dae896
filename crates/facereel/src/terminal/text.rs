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

/// Parses a duration such as `24h`, `7days` or `1h 30m`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
