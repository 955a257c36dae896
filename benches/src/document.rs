//! `BENCHMARKS.md`: where its tables are, and the machine and the commit that they were measured on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{BenchError, report::Report};

/// The document's name in the repository.
const NAME: &str = "BENCHMARKS.md";

/// The name of the sentence about the machine and the commit, in its markers.
const HEADER: &str = "measured-on";

/// The document, and the commit that is measured.
pub struct Document {
    root: PathBuf,
    commit: String,
}

impl Document {
    /// The document of a work tree without changes.
    ///
    /// # Errors
    /// [`BenchError::Changed`], if there are some, because the commit would not be what is measured.
    pub fn of_a_clean_tree(root: &Path) -> Result<Self, BenchError> {
        let root = root.to_owned();
        let pathspec = format!(":(exclude){NAME}");
        let changed =
            output(Command::new("git").args(["status", "--porcelain", "--", ".", &pathspec]).current_dir(&root))?;
        if !changed.is_empty() {
            return Err(BenchError::Changed(changed));
        }
        let commit = output(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(&root))?;
        Ok(Self { root, commit })
    }

    /// Writes the tables and the machine.
    ///
    /// # Errors
    /// [`BenchError::Moved`], if the work tree is not that of the beginning any more; [`BenchError::Marker`].
    pub fn write(&self, report: &Report) -> Result<(), BenchError> {
        if Self::of_a_clean_tree(&self.root)?.commit != self.commit {
            return Err(BenchError::Moved);
        }
        let file = self.root.join(NAME);
        let mut text = fs::read_to_string(&file)?;
        text = replace(&text, HEADER, &self.header()?)?;
        for table in report.tables.iter().chain([&report.goals()]) {
            text = replace(&text, table.name.into(), &table.to_string())?;
        }
        Ok(fs::write(file, text)?)
    }

    /// When, what and where was measured.
    fn header(&self) -> Result<String, BenchError> {
        let date = output(Command::new("date").args(["--utc", "+%F"]))?;
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let processor = field(&cpuinfo, "model name").unwrap_or("an unknown processor");
        let cores = std::thread::available_parallelism()?;
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let kib = field(&meminfo, "MemTotal").and_then(|total| total.strip_suffix(" kB")?.parse::<u64>().ok());
        let gigabytes = kib.ok_or(BenchError::Unreadable("meminfo"))? * 1024 / 1_000_000_000;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(format!(
            "Measured on {date} at commit `{}`: {cores} cores of {processor}, {gigabytes} GB of memory, Linux {}.\n",
            self.commit,
            kernel.trim()
        ))
    }
}

/// The value of a field in a file such as `/proc/meminfo`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.trim() == name).map(|(_, value)| value.trim())
}

/// Replaces what is between the markers of `name`.
fn replace(text: &str, name: &str, content: &str) -> Result<String, BenchError> {
    let [begin, end] = markers(name);
    let parts = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = parts.ok_or_else(|| BenchError::Marker(begin.trim().to_owned()))?;
    Ok(format!("{before}{begin}{content}{end}{after}"))
}

/// The lines around what this program writes.
fn markers(name: &str) -> [String; 2] {
    [format!("<!-- {name}: written by `bench all` -->\n"), format!("<!-- end of {name} -->\n")]
}

/// The standard output of a command, without the last line's end.
fn output(command: &mut Command) -> Result<String, BenchError> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(BenchError::Command(format!("{command:?}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;
    use crate::{root, table::Name};

    #[test]
    fn the_document_has_the_marker_of_each_table_once_and_no_other() {
        let text = fs::read_to_string(root().join(NAME)).unwrap();
        let mut expected: Vec<_> = Name::iter()
            .map(<&str>::from)
            .chain([HEADER])
            .flat_map(markers)
            .map(|marker| marker.trim().to_owned())
            .collect();
        let mut found: Vec<_> = text.lines().filter(|line| line.starts_with("<!--")).map(str::to_owned).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        // Each begins before it ends.
        for name in Name::iter().map(<&str>::from).chain([HEADER]) {
            replace(&text, name, "").unwrap();
        }
    }

    #[test]
    fn only_the_lines_between_the_markers_are_replaced() {
        let [begin, end] = markers("size");
        let text = |content: &str| format!("before\n{begin}{content}{end}after\n");
        assert_eq!(replace(&text("old\n"), "size", "new\n").unwrap(), text("new\n"));
        assert!(replace("before\n", "size", "new\n").is_err());
    }

    #[test]
    fn fields_of_the_system_are_read() {
        assert_eq!(field("processor\t: 0\nmodel name\t: AMD EPYC\n", "model name"), Some("AMD EPYC"));
        assert_eq!(field("MemTotal:       24680000 kB\n", "MemTotal"), Some("24680000 kB"));
        assert_eq!(field("", "MemTotal"), None);
    }
}
