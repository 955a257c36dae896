//! What the commands need in addition to this repository: the emulator and ffmpeg, each in a virtual environment, and the face
//! detection model.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    task::spawn_blocking,
};

use crate::{Error, Progress};

/// Every package of the emulator, by version and hash.
const EMULATOR: Requirements = Requirements {
    environment: "venv",
    file: "emulator-requirements.txt",
    content: include_str!("../emulator-requirements.txt"),
};

/// The package that carries ffmpeg, by version and hash.
const FFMPEG: Requirements = Requirements {
    environment: "ffmpeg",
    file: "ffmpeg-requirements.txt",
    content: include_str!("../ffmpeg-requirements.txt"),
};

/// The locked packages of a virtual environment.
struct Requirements {
    /// The directory of the environment.
    environment: &'static str,
    /// The name of the file with the packages.
    file: &'static str,
    /// The packages.
    content: &'static str,
}

/// The commands that may start an interpreter. The plain name comes first, because it is the one that the user chose.
const PYTHONS: [&str; 7] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python"];

/// Prints the version as `major minor`, then everything that a virtual environment depends on.
const DESCRIBE_PYTHON: &str = "import sys; print(*sys.version_info[:2]); print(sys.version, sys.base_prefix)";

/// The emulator and the model, ready to use.
#[derive(Debug, Clone)]
pub struct Dependencies {
    dir: PathBuf,
    model: PathBuf,
}

impl Dependencies {
    /// Installs what is missing below `dir`. A second call finds everything installed and returns quickly. The next call
    /// completes what an interrupted call has left incomplete. Concurrent calls wait for each other.
    ///
    /// # Errors
    /// [`Error`], if Python is missing or too old, or `PyPI` cannot be reached.
    pub async fn prepare(dir: &Path, progress: &dyn Progress) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        let lock = lock(dir).await?;
        install(dir, &EMULATOR, progress).await?;
        progress.detail("face detection model");
        let (model_dir, python) = (dir.to_owned(), python_of(&dir.join(EMULATOR.environment)));
        let model = spawn_blocking(move || face_detection::model::fetch(&model_dir, &python))
            .await
            .map_err(|panic| Error::Model(panic.into()))?
            .map_err(|error| Error::Model(error.into()))?;
        drop(lock);
        Ok(Self { dir: dir.to_owned(), model })
    }

    /// The file of the `CenterFace` model.
    #[must_use]
    pub fn model(&self) -> &Path {
        &self.model
    }

    /// The directory that holds the emulator and the model.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The interpreter of the virtual environment in which the emulator is installed.
    pub(super) fn python(&self) -> PathBuf {
        python_of(&self.dir.join("venv"))
    }
}

/// Installs the pinned ffmpeg below `dir`, and returns the path of the program. A second call finds it installed. It comes from the
/// package `imageio-ffmpeg`, whose build of ffmpeg is licensed under the GPL.
///
/// # Errors
/// [`Error`], if Python is missing or too old, `PyPI` cannot be reached, or the package has no ffmpeg for this machine.
pub async fn install_ffmpeg(dir: &Path, progress: &dyn Progress) -> Result<PathBuf, Error> {
    fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    let lock = lock(dir).await?;
    install(dir, &FFMPEG, progress).await?;
    drop(lock);
    let programs = dir.join(FFMPEG.environment).join("lib");
    ffmpeg_in(&programs).ok_or(Error::NoProgram { package: "imageio-ffmpeg", dir: programs })
}

/// The program in `<dir>/python<version>/site-packages/imageio_ffmpeg/binaries`.
fn ffmpeg_in(dir: &Path) -> Option<PathBuf> {
    let entries = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries(dir.to_owned())
        .flat_map(|python| entries(python.join("site-packages/imageio_ffmpeg/binaries")))
        .find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ffmpeg-")))
}

/// Waits until no other process installs dependencies. The lock is held until the returned file is dropped.
async fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(Error::file("create", &path))?;
    spawn_blocking(move || file.lock().map(|()| file))
        .await
        .unwrap_or_else(|panic| Err(panic.into()))
        .map_err(Error::file("lock", path))
}

/// Creates the environment of the packages, unless it exists with the same packages and interpreter.
async fn install(dir: &Path, requirements: &Requirements, progress: &dyn Progress) -> Result<(), Error> {
    let Requirements { environment, file, content } = requirements;
    let python = find_python().await?;
    let venv = dir.join(environment);
    let stamp_file = venv.join("stamp");
    let stamp = stamp(content, &python.description);
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(());
    }

    // An environment without the expected stamp is incomplete or out of date.
    if venv.exists() {
        fs::remove_dir_all(&venv).map_err(Error::file("remove", &venv))?;
    }
    progress.detail("Python environment");
    let created = output(Command::new(&python.command).args(["-m", "venv"]).arg(&venv)).await;
    match created {
        Ok(venv_output) if venv_output.status.success() => {}
        Ok(venv_output) => return Err(Error::NoVenv { python: python.command, output: output_tail(&venv_output) }),
        Err(error) => return Err(Error::NoVenv { python: python.command, output: error.to_string() }),
    }

    let requirements = dir.join(file);
    fs::write(&requirements, content).map_err(Error::file("write", &requirements))?;
    pip_install(&venv, &requirements, progress).await?;
    fs::write(&stamp_file, stamp).map_err(Error::file("write", stamp_file))
}

async fn pip_install(venv: &Path, requirements: &Path, progress: &dyn Progress) -> Result<(), Error> {
    let mut pip = Command::new(python_of(venv))
        .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"])
        // Only wheels: nothing is compiled, and pip runs no code of a package during the installation.
        .args(["--require-hashes", "--only-binary=:all:", "--requirement"])
        .arg(requirements)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::file("run", python_of(venv)))?;
    let stdout = pip.stdout.take().map(BufReader::new);
    let watch = async {
        let Some(mut lines) = stdout.map(AsyncBufReadExt::lines) else { return };
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(package) = line.strip_prefix("Collecting ") {
                progress.detail(package.split([' ', ';']).next().unwrap_or(package));
            } else if line.starts_with("Installing") {
                progress.detail("installing");
            }
        }
    };
    let (done, ()) = tokio::join!(pip.wait_with_output(), watch);
    let done = done.map_err(Error::file("run", python_of(venv)))?;
    if done.status.success() { Ok(()) } else { Err(Error::NotInstalled { output: output_tail(&done) }) }
}

/// An interpreter that is new enough for the emulator.
struct Python {
    command: String,
    /// What [`DESCRIBE_PYTHON`] prints: it changes when the interpreter does.
    description: String,
}

async fn find_python() -> Result<Python, Error> {
    let mut found = Vec::new();
    for command in PYTHONS {
        let Ok(answer) = output(Command::new(command).args(["-c", DESCRIBE_PYTHON])).await else { continue };
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        let Some((major, minor)) = version(&answer) else { continue };
        if (major, minor) >= (3, 10) {
            return Ok(Python { command: command.to_owned(), description: answer });
        }
        found.push(format!("{command} {major}.{minor}"));
    }
    Err(Error::NoPython { found: if found.is_empty() { "none".to_owned() } else { found.join(", ") } })
}

/// Reads what [`DESCRIBE_PYTHON`] prints.
fn version(answer: &str) -> Option<(u32, u32)> {
    let (major, minor) = answer.lines().next()?.split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The fingerprint of an environment: it changes with the requirements and with the interpreter.
fn stamp(requirements: &str, python: &str) -> String {
    hex::encode(Sha256::new().chain_update(requirements).chain_update([0]).chain_update(python).finalize())
}

fn python_of(venv: &Path) -> PathBuf {
    venv.join("bin").join("python")
}

async fn output(command: &mut Command) -> std::io::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true).output().await
}

/// The last lines that a failed command wrote to standard output and standard error.
fn output_tail(output: &Output) -> String {
    let text =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned()).join("\n");
    last_lines(text.trim(), 20)
}

/// The last `count` lines of `text`.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_first_line() {
        assert_eq!(version("3 10\n3.10.4 (main)\n"), Some((3, 10)));
        assert_eq!(version("Python is not installed\n"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn the_stamp_changes_with_the_requirements_and_the_interpreter() {
        let here = stamp("a==1", "3.11");
        assert_eq!(here, stamp("a==1", "3.11"));
        assert_ne!(here, stamp("a==2", "3.11"));
        assert_ne!(here, stamp("a==1", "3.12"));
    }

    #[test]
    fn every_requirement_is_pinned_and_hashed() {
        for (file, package) in [(EMULATOR, "ministack==1.5.33 "), (FFMPEG, "imageio-ffmpeg==0.8.1 ")] {
            let requirements: Vec<&str> =
                file.content.lines().filter(|line| !line.starts_with([' ', '#']) && !line.is_empty()).collect();
            assert!(requirements.iter().any(|line| line.starts_with(package)));
            for requirement in requirements {
                assert!(requirement.contains("=="), "{requirement} is not pinned");
                assert!(requirement.ends_with('\\'), "{requirement} has no hash");
            }
        }
    }

    #[test]
    fn last_lines_of_a_short_text_are_the_whole_text() {
        assert_eq!(last_lines("a\nb", 5), "a\nb");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
    }
}
