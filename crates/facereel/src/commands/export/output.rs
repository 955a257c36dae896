//! Where an export is written: a new file, or standard output.

use std::{
    fs::{self, Permissions},
    io::{self, BufWriter, Stdout, Write, stdout},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::ExportError;

/// The output of an export.
pub(super) enum ExportFile {
    /// Standard output.
    Standard(BufWriter<Stdout>),
    /// A temporary file next to `path`. It gets that name when it is complete, and is removed if it does not become complete.
    New {
        /// The temporary file.
        file: BufWriter<NamedTempFile>,
        /// The name of the complete file.
        path: PathBuf,
        /// Whether a file with this name is replaced.
        replace: bool,
    },
}

impl ExportFile {
    /// Opens the file at `path`, or standard output if it is `-`. Nothing is replaced before [`finish`](Self::finish).
    ///
    /// # Errors
    /// [`ExportError::Exists`] without `replace`, [`ExportError::NotAFile`], [`ExportError::Write`].
    pub fn open(path: &Path, replace: bool) -> Result<Self, ExportError> {
        if path.as_os_str() == "-" {
            return Ok(Self::Standard(BufWriter::new(stdout())));
        }
        // The target of a symbolic link is replaced, and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => return Err(ExportError::NotAFile(path)),
            Ok(_) if !replace => return Err(ExportError::Exists(path)),
            _ => {}
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".facereel-")
            // Those of a new file: the system removes the bits of the umask.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .map_err(|source| write_error(&path, source))?;
        Ok(Self::New { file: BufWriter::new(file), path, replace })
    }

    /// The name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Standard(_) => "standard output".to_owned(),
            Self::New { path, .. } => path.display().to_string(),
        }
    }

    /// Writes what is buffered, and gives the file its name.
    ///
    /// # Errors
    /// [`ExportError::Exists`], if there is a file with this name by now; [`ExportError::Write`].
    pub fn finish(self) -> Result<(), ExportError> {
        let to = self.name();
        match self {
            Self::Standard(mut stdout) => stdout.flush().map_err(|source| ExportError::Write { to, source }),
            Self::New { file, path, replace } => {
                let file = file.into_inner().map_err(|error| write_error(&path, error.into_error()))?;
                file.as_file().sync_all().map_err(|source| write_error(&path, source))?;
                let result = if replace { file.persist(&path) } else { file.persist_noclobber(&path) };
                match result {
                    Ok(_) => Ok(()),
                    Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(ExportError::Exists(path)),
                    Err(error) => Err(write_error(&path, error.error)),
                }
            }
        }
    }
}

impl Write for ExportFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(stdout) => stdout.write(bytes),
            Self::New { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(stdout) => stdout.flush(),
            Self::New { file, .. } => file.flush(),
        }
    }
}

fn write_error(path: &Path, source: io::Error) -> ExportError {
    ExportError::Write { to: path.display().to_string(), source }
}
