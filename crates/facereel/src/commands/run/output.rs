//! The output directory of a run.
//!
//! Only files that a run writes are replaced, and only in a directory that contains no other files. Results are written
//! to a temporary directory in it and then renamed file by file. Therefore the directory can be the current one, a
//! mount point or the target of a symbolic link: a rename of the directory itself fails for these.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use lambdas::{layout::MANIFEST, results::Manifest};
use serde_json::Value;
use tempfile::TempDir;

use super::error::RunError;
use crate::stored::VIDEO_FILE;
use local_stack::Error;

/// The file with the history of the execution.
pub(super) const HISTORY: &str = "history.json";

/// The directories for the pages and for the tracks.
const FOLDERS: [&str; 2] = ["faces", "tracks"];

/// All files of a result except those in [`FOLDERS`].
const FILES: [&str; 5] = [HISTORY, MANIFEST, "report.html", "summary.json", VIDEO_FILE];

/// Entries that file systems and file managers create. They are neither rejected nor removed.
const SYSTEM_ENTRIES: [&str; 5] = [".DS_Store", ".Spotlight-V100", ".Trashes", ".fseventsd", "lost+found"];

/// The start of the temporary directory's name.
const STAGING_PREFIX: &str = ".facereel-";

/// A video, as it is named in its results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VideoIdentity {
    /// The name of the file, which is its key in the local upload bucket.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// An output directory that was checked, is writable, and is locked against other runs until this value is dropped.
#[derive(Debug)]
pub(super) struct OutputDir {
    dir: PathBuf,
    /// The directory for the history of an execution that failed; `None` if `dir` is the root.
    failed: Option<PathBuf>,
    /// The lock against other runs. `None`, if the file system has no locks.
    _lock: Option<File>,
    _created: CreatedDirs,
}

impl OutputDir {
    /// Creates the directory if necessary, checks its content and that it is writable. With `only`, results of another
    /// video are rejected as well.
    ///
    /// # Errors
    /// [`RunError::Usage`]; then nothing has changed.
    pub fn prepare(dir: PathBuf, only: Option<&VideoIdentity>) -> Result<Self, RunError> {
        let unwritable = |error: io::Error| {
            RunError::Usage(format!(
                "cannot write the results to {}: {error}; choose another directory with --out",
                dir.display()
            ))
        };
        let created = CreatedDirs::create(&dir).map_err(unwritable)?;
        let lock = lock(&dir)?;
        replaceable_files(&dir, only, None).map_err(RunError::Usage)?;
        let failed = failed_dir(&dir);
        if let Some(failed) = &failed {
            check_failed(failed).map_err(RunError::Usage)?;
        }
        staging(&dir).and_then(TempDir::close).map_err(unwritable)?;
        Ok(Self { dir, failed, _lock: lock, _created: created })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// An empty temporary directory for the results.
    pub fn staging(&self) -> io::Result<TempDir> {
        staging(&self.dir)
    }

    /// Replaces the results in the directory with those in `staging`. The old manifest is removed first and the new one
    /// is written last, so that a manifest never names files of another result.
    ///
    /// # Errors
    /// [`RunError::Kept`]; then the directory is unchanged, and the new results stay in `staging`.
    pub fn replace(&self, staging: TempDir) -> Result<(), RunError> {
        match self.swap(staging.path()) {
            Ok(()) => Ok(()),
            Err(reason) => Err(self.kept(reason, staging)),
        }
    }

    /// The error for results that could not be written to the directory and stay in `directory`.
    pub fn kept(&self, reason: String, directory: TempDir) -> RunError {
        RunError::Kept { dir: self.dir.clone(), reason, kept_in: directory.keep() }
    }

    fn swap(&self, staging: &Path) -> Result<(), String> {
        // The analysis may have taken an hour, so the user may have stored files here in the meantime.
        let mut old = replaceable_files(&self.dir, None, staging.file_name())?;
        let mut new = match list(staging, None).map_err(|error| error.to_string())? {
            Contents { foreign: None, files } => files,
            Contents { foreign: Some(entry), .. } => {
                return Err(format!("the result has an unknown file, {}", entry.display()));
            }
        };
        old.sort_by_key(|file| file != Path::new(MANIFEST));
        new.sort_by_key(|file| file == Path::new(MANIFEST));

        let replaced = staging.join("replaced");
        let mut renames: Vec<_> = old.iter().map(|file| (self.dir.join(file), replaced.join(file))).collect();
        renames.extend(new.iter().map(|file| (staging.join(file), self.dir.join(file))));
        let folders: Vec<_> =
            [&self.dir, &replaced].into_iter().flat_map(|dir| FOLDERS.map(|name| dir.join(name))).collect();
        let result = folders.iter().try_for_each(fs::create_dir_all).and_then(|()| rename_all(&renames));
        // Only empty directories are removed: files that could not be renamed back stay in them.
        for dir in if result.is_ok() { &folders[..FOLDERS.len()] } else { &folders } {
            let _ = fs::remove_dir(dir);
        }
        if result.is_err() {
            let _ = fs::remove_dir(&replaced);
        }
        result.map_err(|error| error.to_string())
    }

    /// Writes the history of a failed execution to `<DIR>.failed`, or, if that cannot be written, to a new directory in the
    /// temporary directory of the system. Returns the path of the file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save_failed(&self, history: &str) -> Result<PathBuf, Error> {
        if let Some(dir) = &self.failed
            && check_failed(dir).is_ok()
            && fs::create_dir_all(dir).is_ok()
        {
            let file = dir.join(HISTORY);
            if fs::write(&file, history).is_ok() {
                return Ok(file);
            }
        }
        let file = temporary()?.keep().join(HISTORY);
        fs::write(&file, history).map_err(Error::file("write", &file))?;
        Ok(file)
    }
}

/// Creates a directory in the temporary directory of the system.
pub(super) fn temporary() -> Result<TempDir, Error> {
    let parent = std::env::temp_dir();
    tempfile::Builder::new()
        .prefix("facereel-")
        .tempdir_in(&parent)
        .map_err(Error::file("create a directory in", parent))
}

fn staging(dir: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(dir)
}

/// The directories that a run has created. Those that are empty at its end are removed.
#[derive(Debug)]
struct CreatedDirs(Vec<PathBuf>);

impl CreatedDirs {
    fn create(dir: &Path) -> io::Result<Self> {
        let missing = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        let created = Self(missing.map(Path::to_owned).collect());
        fs::create_dir_all(dir)?;
        Ok(created)
    }
}

impl Drop for CreatedDirs {
    fn drop(&mut self) {
        // The innermost directory is first.
        for dir in &self.0 {
            if fs::remove_dir(dir).is_err() {
                return;
            }
        }
    }
}

/// Locks a directory against other runs.
fn lock(dir: &Path) -> Result<Option<File>, RunError> {
    let Ok(file) = File::open(dir) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(RunError::Usage(format!(
            "another `facereel run` writes to {}; wait for its end, or choose another directory with --out",
            dir.display()
        ))),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// The content of a directory.
#[derive(Debug, Default)]
struct Contents {
    /// Files with the names of a result's files, relative to the directory.
    files: Vec<PathBuf>,
    /// The first entry, by name, that a run does not write.
    foreign: Option<PathBuf>,
}

/// Lists all entries of a directory except `except`.
fn list(dir: &Path, except: Option<&OsStr>) -> io::Result<Contents> {
    let mut contents = Contents::default();
    for entry in sorted(dir)? {
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if except == Some(&name) {
            continue;
        }
        if FOLDERS.iter().any(|folder| name == **folder) && kind.is_dir() {
            for file in sorted(&entry.path())? {
                let known = file.file_type()?.is_file() && is_numbered(&file.file_name());
                contents.add(Path::new(&name).join(file.file_name()), known);
            }
        } else {
            let known = kind.is_file() && FILES.iter().any(|file| name == **file);
            contents.add(name.into(), known);
        }
    }
    Ok(contents)
}

impl Contents {
    fn add(&mut self, entry: PathBuf, known: bool) {
        if known {
            self.files.push(entry);
        } else {
            self.foreign.get_or_insert(entry);
        }
    }
}

/// The entries of a directory by name, except those of the system.
fn sorted(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.retain(|entry| SYSTEM_ENTRIES.iter().all(|known| entry.file_name() != **known));
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// Whether this is the name of a page or of a file with tracks, such as `00000.jsonl`.
fn is_numbered(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
    number.is_some_and(|number| number.len() >= 5 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The files of an earlier result in a directory, empty for an empty directory. The entry `staging` is ignored. For
/// any other directory, the error is a message for the user.
fn replaceable_files(
    dir: &Path,
    only: Option<&VideoIdentity>,
    staging: Option<&OsStr>,
) -> Result<Vec<PathBuf>, String> {
    let shown = dir.display();
    let Contents { files, foreign } = list(dir, staging)
        .map_err(|error| format!("cannot read {shown}: {error}; choose another directory with --out"))?;
    if let Some(entry) = foreign {
        return Err(format!(
            "{shown} contains {}, which is not a file of facereel's results; choose another directory with --out",
            entry.display()
        ));
    }
    let Some(first) = files.first() else { return Ok(files) };
    let manifest = fs::read(dir.join(MANIFEST)).ok().map(|text| serde_json::from_slice::<Manifest>(&text));
    let video = match manifest {
        Some(Ok(manifest)) => manifest.video,
        Some(Err(_)) => {
            return Err(format!(
                "{shown} contains a {MANIFEST} that facereel has not written; choose another directory with --out"
            ));
        }
        None => {
            return Err(format!(
                "{shown} contains {}, but no {MANIFEST} of facereel; choose another directory with --out",
                first.display()
            ));
        }
    };
    match only {
        Some(only) if (&video.key, video.bytes) != (&only.key, only.bytes) => Err(format!(
            "{shown} contains the results of another video, {} with {} bytes; choose another directory with --out, or \
             replace them with --out {}",
            video.key,
            video.bytes,
            crate::terminal::text::quoted(dir)
        )),
        _ => Ok(files),
    }
}

/// The path `<DIR>.failed` next to the directory.
fn failed_dir(dir: &Path) -> Option<PathBuf> {
    // `.` and `..` have a name only after they are resolved.
    let dir = if dir.file_name().is_some() { dir.to_owned() } else { fs::canonicalize(dir).ok()? };
    let mut name = dir.file_name()?.to_owned();
    name.push(".failed");
    Some(dir.with_file_name(name))
}

/// Returns an error for a directory that contains anything except the history of an execution.
fn check_failed(dir: &Path) -> Result<(), String> {
    let rejected = |what: &str| {
        Err(format!(
            "{} contains {what}, and a failed run writes its history there; choose another directory with --out",
            dir.display()
        ))
    };
    let entries = match sorted(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(format!("cannot read {}: {error}; choose another directory with --out", dir.display()));
        }
    };
    for entry in entries {
        let name = entry.file_name();
        if name != HISTORY || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            return rejected(&name.to_string_lossy());
        }
        if !fs::read(entry.path()).is_ok_and(|text| is_history(&text)) {
            return rejected(&format!("a {HISTORY} that is not of an execution"));
        }
    }
    Ok(())
}

/// Whether this is the history of an execution.
fn is_history(text: &[u8]) -> bool {
    let events: Vec<Value> = serde_json::from_slice(text).unwrap_or_default();
    events.first().is_some_and(|event| event["type"] == "ExecutionStarted")
}

/// Renames files in order. If one fails, those before it are renamed back.
fn rename_all(renames: &[(PathBuf, PathBuf)]) -> io::Result<()> {
    for (index, (from, to)) in renames.iter().enumerate() {
        if let Err(error) = fs::rename(from, to) {
            for (from, to) in renames[..index].iter().rev() {
                let _ = fs::rename(to, from);
            }
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
