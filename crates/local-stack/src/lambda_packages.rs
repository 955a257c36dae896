//! The deployment packages of the Lambda functions: those of a bundle, or built from a clone.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Cursor},
    path::{Path, PathBuf},
    process::Stdio,
};

use aws_sdk_lambda::primitives::Blob;
use lambdas::functions::Function;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    task::JoinSet,
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{Error, Installation, Progress, dependencies::last_lines, process_group::ProcessGroup, workspace};

/// The deployment package of each Lambda function: a zip with the binary as `bootstrap`.
///
/// The default is empty, for a state machine that calls no function.
#[derive(Debug, Clone, Default)]
pub struct LambdaPackages(BTreeMap<Function, Blob>);

impl LambdaPackages {
    /// Reads the packages of a bundle. In a clone, builds the functions with cargo, in the profile of this program, and packs
    /// them.
    ///
    /// # Errors
    /// [`Error::MissingPackage`], if the bundle lacks a package; [`Error::NotBuilt`] with the end of the compiler's output;
    /// [`Error::MissingBinary`], if the build lacks a binary; [`Error::File`].
    pub async fn prepare(installation: &Installation, progress: &dyn Progress) -> Result<Self, Error> {
        match installation {
            Installation::Bundle(_) => Self::read(installation),
            Installation::Clone(_) => Self::build(progress).await,
        }
    }

    fn read(installation: &Installation) -> Result<Self, Error> {
        let paths = Function::ALL.iter().filter_map(|function| Some((*function, installation.package(*function)?)));
        let packages = paths.map(|(function, path)| match std::fs::read(&path) {
            Ok(zip) => Ok((function, Blob::new(zip))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::MissingPackage { path }),
            Err(error) => Err(Error::file("read", path)(error)),
        });
        packages.collect::<Result<_, _>>().map(Self)
    }

    async fn build(progress: &dyn Progress) -> Result<Self, Error> {
        let binaries = cargo_build(progress).await?;
        progress.detail("packing");
        let mut packing = JoinSet::new();
        for &function in Function::ALL {
            let name = function.name();
            let binary = binaries.get(name).ok_or(Error::MissingBinary { name })?.clone();
            packing.spawn_blocking(move || {
                pack(&binary).map(|zip| (function, Blob::new(zip))).map_err(Error::file("pack", binary))
            });
        }
        packing.join_all().await.into_iter().collect::<Result<_, _>>().map(Self)
    }

    /// The package of each function.
    pub fn iter(&self) -> impl Iterator<Item = (Function, &Blob)> {
        self.0.iter().map(|(function, zip)| (*function, zip))
    }
}

/// A zip archive with the binary as its executable file `bootstrap`.
fn pack(binary: &Path) -> io::Result<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        // The package is sent over the loopback interface only: speed matters, size does not.
        .compression_level(Some(1))
        .unix_permissions(0o755);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bootstrap", options)?;
    io::copy(&mut File::open(binary)?, &mut zip)?;
    Ok(zip.finish()?.into_inner())
}

/// Runs cargo and returns the path of each binary by its name.
async fn cargo_build(progress: &dyn Progress) -> Result<BTreeMap<String, PathBuf>, Error> {
    let root = workspace()?;
    // `cargo run` sets CARGO to its own path; a binary that was started directly uses the cargo on PATH.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command
        .current_dir(&root)
        // All default members are selected, so that every dependency has the same features and is compiled only once.
        .args(["build", "--locked"])
        .args(Function::ALL.iter().flat_map(|function| ["--bin", function.name()]))
        .args(["--message-format", "json-render-diagnostics", "--color", "never"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let mut child = command.spawn().map_err(Error::file("run", &cargo))?;
    // Ends the compilers that cargo has started, together with cargo.
    let mut group = ProcessGroup::of(child.id());

    let mut binaries = BTreeMap::new();
    let mut stderr_lines = Vec::new();
    tokio::join!(
        each_line(child.stdout.take(), |line| binaries.extend(binary_in(&line))),
        each_line(child.stderr.take(), |line| {
            if let Some(crate_name) = line.trim_start().strip_prefix("Compiling ") {
                progress.detail(crate_name.split(" (").next().unwrap_or(crate_name));
            } else if line.contains("waiting for file lock") {
                progress.detail("waiting for another cargo process");
            }
            stderr_lines.push(line);
        }),
    );
    let status = child.wait().await.map_err(Error::file("run", &cargo))?;
    group.disarm();
    if status.success() {
        Ok(binaries)
    } else {
        Err(Error::NotBuilt { output: last_lines(&stderr_lines.join("\n"), 40) })
    }
}

/// Calls `take` with every line of a child's output until its end.
async fn each_line(pipe: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(String)) {
    let Some(pipe) = pipe else { return };
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        take(line);
    }
}

/// The name and the path of the binary that a JSON message of cargo reports.
fn binary_in(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let binary = message.get("executable")?.as_str()?;
    let name = message.pointer("/target/name")?.as_str()?;
    Some((name.to_owned(), binary.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn only_messages_with_an_executable_report_a_binary() {
        let built = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"summarize"},"executable":"/t/summarize"}"#;
        assert_eq!(binary_in(built), Some(("summarize".to_owned(), "/t/summarize".into())));
        assert_eq!(binary_in(r#"{"reason":"compiler-artifact","target":{"name":"lambdas"},"executable":null}"#), None);
        assert_eq!(binary_in(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(binary_in("not JSON"), None);
    }

    #[test]
    fn a_package_that_the_bundle_lacks_is_named() {
        let bundle = tempfile::tempdir().unwrap();
        let installation = Installation::Bundle(bundle.path().to_owned());
        for (index, function) in Function::ALL.iter().enumerate() {
            let error = LambdaPackages::read(&installation).unwrap_err();
            assert!(error.to_string().contains(&format!("{}.zip is missing", function.name())), "{error}");
            let path = installation.package(*function).unwrap();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, [u8::try_from(index).unwrap()]).unwrap();
        }
        let packages = LambdaPackages::read(&installation).unwrap();
        assert!(packages.iter().enumerate().all(|(index, (_, zip))| zip.as_ref() == [u8::try_from(index).unwrap()]));
    }

    #[test]
    fn a_package_contains_the_binary_as_an_executable_bootstrap() {
        let mut binary = tempfile::NamedTempFile::new().unwrap();
        binary.write_all(b"\x7fELF and so on").unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(pack(binary.path()).unwrap())).unwrap();
        assert_eq!(zip.len(), 1);
        let mut bootstrap = zip.by_name("bootstrap").unwrap();
        assert_eq!(bootstrap.unix_mode().map(|mode| mode & 0o777), Some(0o755));
        let mut content = Vec::new();
        bootstrap.read_to_end(&mut content).unwrap();
        assert_eq!(content, b"\x7fELF and so on");
    }
}
