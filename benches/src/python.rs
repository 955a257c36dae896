//! Python with the pinned packages that the benchmarks need, in a virtual environment of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{BenchError, run_to_end};

/// What is installed.
const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// The virtual environment.
pub struct Python {
    /// Its interpreter.
    pub command: PathBuf,
}

impl Python {
    /// Makes it below `target/` at the first run, and anew when other packages are asked for.
    pub fn install(root: &Path) -> Result<Self, BenchError> {
        let venv = root.join("target/bench/venv");
        let installed = venv.join("installed");
        let command = venv.join("bin/python");
        if fs::read_to_string(&installed).ok().as_deref() != Some(REQUIREMENTS) {
            run_to_end(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
            run_to_end(Command::new(&command).args(pip).arg(root.join("benches/requirements.txt")))?;
            fs::write(&installed, REQUIREMENTS)?;
        }
        Ok(Self { command })
    }
}
