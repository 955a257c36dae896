//! Where the parts of facereel are: beside the command in an unpacked bundle, else in the clone in which it was built.

use std::path::{Path, PathBuf};

use lambdas::functions::Function;

use crate::Error;

/// The definition of the state machine, relative to the root of a bundle or a clone.
const DEFINITION: &str = "statemachine/analyze-video.asl.json";

/// The directory of the deployment packages, relative to the root of a bundle. A clone builds them.
const FUNCTIONS: &str = "functions";

/// The parts of facereel that are not in the command itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installation {
    /// An unpacked bundle, at its root. The command is in its `bin`.
    Bundle(PathBuf),
    /// A clone of the repository, at its root.
    Clone(PathBuf),
}

impl Installation {
    /// Finds the parts.
    ///
    /// # Errors
    /// [`Error::WorkspaceMoved`], if the command is in no bundle and its clone was moved after the command was built.
    pub fn find() -> Result<Self, Error> {
        let command = std::env::current_exe().and_then(std::fs::canonicalize).ok();
        match command.as_deref().and_then(bundle_of) {
            Some(root) => Ok(Self::Bundle(root)),
            None => Ok(Self::Clone(workspace()?)),
        }
    }

    fn root(&self) -> &Path {
        match self {
            Self::Bundle(root) | Self::Clone(root) => root,
        }
    }

    /// The definition of the state machine `analyze-video`.
    #[must_use]
    pub fn definition(&self) -> PathBuf {
        self.root().join(DEFINITION)
    }

    /// The directory of the sample clip `sample.mp4`.
    #[must_use]
    pub fn sample_clip(&self) -> PathBuf {
        match self {
            Self::Bundle(root) => root.join("sample-clip"),
            Self::Clone(root) => root.join("tests/fixtures/sample-clip"),
        }
    }

    /// The deployment package of a function; `None` in a clone.
    #[must_use]
    pub(crate) fn package(&self, function: Function) -> Option<PathBuf> {
        match self {
            Self::Bundle(root) => {
                Some(root.join(FUNCTIONS).join(architecture()).join(function.name()).with_extension("zip"))
            }
            Self::Clone(_) => None,
        }
    }

    /// The directory for the emulator, the model and the logs: `facereel` in the user's cache directory
    /// (<https://specifications.freedesktop.org/basedir-spec/latest/>), or `target/local` of a clone.
    ///
    /// # Errors
    /// [`Error::NoCacheDirectory`], if neither `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn dependencies_dir(&self) -> Result<PathBuf, Error> {
        match self {
            Self::Clone(root) => Ok(root.join("target").join("local")),
            Self::Bundle(_) => cache_directory(|name| std::env::var_os(name)),
        }
    }
}

/// The bundle that a command belongs to: it has the definition and the functions beside the directory of the command.
fn bundle_of(command: &Path) -> Option<PathBuf> {
    let bin = command.parent().filter(|bin| bin.ends_with("bin"))?;
    let root = bin.parent()?;
    (root.join(DEFINITION).is_file() && root.join(FUNCTIONS).is_dir()).then(|| root.to_owned())
}

fn cache_directory(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<PathBuf, Error> {
    let directory = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = directory("XDG_CACHE_HOME").or_else(|| Some(directory("HOME")?.join(".cache")));
    cache.map(|cache| cache.join("facereel")).ok_or(Error::NoCacheDirectory)
}

/// The architecture of this machine, as Lambda names it.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }
}

/// The root of the clone in which the command was built.
///
/// # Errors
/// [`Error::WorkspaceMoved`], if the clone was moved after the command was built.
pub fn workspace() -> Result<PathBuf, Error> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2).unwrap_or(package);
    if root.join(DEFINITION).is_file() {
        Ok(root.to_owned())
    } else {
        Err(Error::WorkspaceMoved { expected: root.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_command_with_the_definition_and_the_functions_beside_it_belongs_to_a_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let (root, command) = (dir.path(), dir.path().join("bin/facereel"));
        fs::create_dir_all(root.join("statemachine")).unwrap();
        fs::write(root.join(DEFINITION), "{}").unwrap();
        assert_eq!(bundle_of(&command), None, "a clone has no functions");
        fs::create_dir(root.join("functions")).unwrap();
        assert_eq!(bundle_of(&command).as_deref(), Some(root));
        assert_eq!(bundle_of(&root.join("target/debug/facereel")), None);
    }

    #[test]
    fn the_cache_is_where_the_user_has_it() {
        let find = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
            cache_directory(value).map(|path| path.to_string_lossy().into_owned()).map_err(|error| error.to_string())
        };
        assert_eq!(find(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]).unwrap(), "/c/facereel");
        assert_eq!(find(&[("XDG_CACHE_HOME", ""), ("HOME", "/h")]).unwrap(), "/h/.cache/facereel");
        assert!(find(&[("HOME", "relative")]).unwrap_err().contains("XDG_CACHE_HOME"));
    }

    #[test]
    fn the_tests_run_in_a_clone() {
        let installation = Installation::find().unwrap();
        assert_eq!(installation, Installation::Clone(workspace().unwrap()));
        assert!(installation.definition().is_file() && installation.sample_clip().join("sample.mp4").is_file());
        assert_eq!(installation.package(Function::Summarize), None);
    }
}
