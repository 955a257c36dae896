//! Python with the pinned packages that the benchmarks need, in a separate virtual environment.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{BenchError, run_to_end};

/// The packages that are installed.
const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// The virtual environment.
pub struct Python {
    /// Its interpreter.
    pub command: PathBuf,
}

impl Python {
    /// Creates the environment below `target/` in the first run, and again when the required packages have changed.
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

    /// The path of the ffmpeg in the package `imageio-ffmpeg`.
    pub fn ffmpeg(&self) -> Result<String, BenchError> {
        let print = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe(), end='')";
        let output = Command::new(&self.command).args(["-c", print]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
