//! The Lambda functions' binaries, built from this repository and packed as Lambda wants them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Cursor},
    path::{Path, PathBuf},
    process::Stdio,
};

use aws_sdk_lambda::primitives::Blob;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    task::JoinSet,
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{Error, Progress, dependencies::last_lines, group::Group, workspace};

/// The deployment package of each Lambda function: a zip with the binary as `bootstrap`.
///
/// The default is none at all, for a state machine that calls no function.
#[derive(Debug, Clone, Default)]
pub struct LambdaPackages(BTreeMap<&'static str, Blob>);

impl LambdaPackages {
    /// The functions of the workflow; each is a binary of the package `lambdas`.
    pub const FUNCTIONS: [&str; 5] = ["start-detection", "resume-execution", "list-pages", "fetch-page", "summarize"];

    /// Builds the functions with cargo, in the profile that this very program was built in, and packs them.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] with the compiler's words, [`Error::MissingBinary`] when a binary is missing.
    pub async fn build(progress: &dyn Progress) -> Result<Self, Error> {
        let binaries = cargo_build(progress).await?;
        progress.detail("packing");
        let mut packing = JoinSet::new();
        for name in Self::FUNCTIONS {
            let binary = binaries.get(name).ok_or(Error::MissingBinary { name })?.clone();
            packing.spawn_blocking(move || {
                pack(&binary).map(|zip| (name, Blob::new(zip))).map_err(Error::file("pack", binary))
            });
        }
        packing.join_all().await.into_iter().collect::<Result<_, _>>().map(Self)
    }

    /// The package of each function, by the function's name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Blob)> {
        self.0.iter().map(|(name, zip)| (*name, zip))
    }
}

/// A zip of one binary named `bootstrap`, executable.
fn pack(binary: &Path) -> io::Result<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        // It travels over the loopback only: speed matters, size does not.
        .compression_level(Some(1))
        .unix_permissions(0o755);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bootstrap", options)?;
    io::copy(&mut File::open(binary)?, &mut zip)?;
    Ok(zip.finish()?.into_inner())
}

/// Runs cargo and returns each binary's path by its name.
async fn cargo_build(progress: &dyn Progress) -> Result<BTreeMap<String, PathBuf>, Error> {
    let root = workspace()?;
    // `cargo run` names the cargo that runs; a binary started by itself finds one on PATH.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command
        .current_dir(&root)
        // Out of all default members, and so with the same features of every dependency: nothing is compiled twice.
        .args(["build", "--locked"])
        .args(LambdaPackages::FUNCTIONS.iter().flat_map(|name| ["--bin", name]))
        .args(["--message-format", "json-render-diagnostics", "--color", "never"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let mut child = command.spawn().map_err(Error::file("run", &cargo))?;
    // The compilers that cargo started end with it.
    let mut group = Group::of(child.id());

    let mut binaries = BTreeMap::new();
    let mut said = Vec::new();
    tokio::join!(
        each_line(child.stdout.take(), |line| binaries.extend(binary_in(&line))),
        each_line(child.stderr.take(), |line| {
            if let Some(crate_name) = line.trim_start().strip_prefix("Compiling ") {
                progress.detail(crate_name.split(" (").next().unwrap_or(crate_name));
            } else if line.contains("waiting for file lock") {
                progress.detail("waiting for another cargo to end");
            }
            said.push(line);
        }),
    );
    let status = child.wait().await.map_err(Error::file("run", &cargo))?;
    group.disarm();
    if status.success() { Ok(binaries) } else { Err(Error::NotBuilt { output: last_lines(&said.join("\n"), 40) }) }
}

/// Hands over every line of a child's output until it ends.
async fn each_line(pipe: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(String)) {
    let Some(pipe) = pipe else { return };
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        take(line);
    }
}

/// The binary that one of cargo's JSON messages tells of.
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
    fn only_messages_about_executables_name_a_binary() {
        let built = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"summarize"},"executable":"/t/summarize"}"#;
        assert_eq!(binary_in(built), Some(("summarize".to_owned(), "/t/summarize".into())));
        assert_eq!(binary_in(r#"{"reason":"compiler-artifact","target":{"name":"lambdas"},"executable":null}"#), None);
        assert_eq!(binary_in(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(binary_in("not JSON"), None);
    }

    #[test]
    fn a_package_holds_the_binary_as_an_executable_bootstrap() {
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
