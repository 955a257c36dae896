//! The share of a processor that Lambda gives a function, as a quota of a control group.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::BenchError;

/// Lambda gives a function one whole processor at this memory size, in MB, and less in proportion
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const MB_PER_PROCESSOR: u32 = 1769;

/// The length of a period, in microseconds: a function that has used its share in a period waits for the next one. AWS does not
/// document it. The longer it is, the more of a short start needs no waiting.
const PERIOD_US: u32 = 20_000;

/// A control group with a quota of processor time. It is removed when this is dropped.
#[derive(Debug)]
pub struct Share {
    directory: PathBuf,
}

impl Share {
    /// Makes a group with the share of a function of this memory size.
    ///
    /// # Errors
    /// [`BenchError::NoControlGroup`]
    pub fn of_memory(memory_mb: u32) -> Result<Self, BenchError> {
        let quota_us = PERIOD_US * memory_mb / MB_PER_PROCESSOR;
        let name = format!("facereel-bench-{}-{memory_mb}", std::process::id());
        // Version 1 of control groups has a directory for each controller.
        let (version_1, version_2) = (Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup"));
        let made = if version_1.exists() {
            Self::make(
                &version_1.join(name),
                &[("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota_us.to_string())],
            )
        } else {
            Self::make(&version_2.join(name), &[("cpu.max", format!("{quota_us} {PERIOD_US}"))])
        };
        made.map_err(BenchError::NoControlGroup)
    }

    fn make(directory: &Path, settings: &[(&str, String)]) -> io::Result<Self> {
        fs::create_dir(directory)?;
        let share = Self { directory: directory.to_owned() };
        for (file, value) in settings {
            fs::write(directory.join(file), value)?;
        }
        Ok(share)
    }

    /// Moves a process with all of its threads into the group.
    pub fn limit(&self, pid: u32) -> io::Result<()> {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.directory) {
            eprintln!("warning: {} is left: {error}", self.directory.display());
        }
    }
}
