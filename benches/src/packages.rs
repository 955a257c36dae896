//! The deployment packages. The benchmarks measure the binaries that are deployed.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{BenchError, cargo, run_to_end};

/// Lambda's name of this machine's architecture.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };

/// The packages of all functions, and other programs in the same profile.
#[derive(Debug, Clone)]
pub struct Packages {
    /// The directory of the packages.
    pub zips: PathBuf,
    /// The function that does nothing.
    pub hello: PathBuf,
    /// Joins faces to tracks.
    pub track_cost: PathBuf,
    unpacked: PathBuf,
}

impl Packages {
    /// Builds what is not built yet. The first build takes minutes.
    pub fn build(root: &Path) -> Result<Self, BenchError> {
        let packages = Self::functions(root)?;
        let build = ["build", "--locked", "--profile", "lambda", "--package", "bench-programs"];
        let programs = ["--bin", "hello", "--bin", "track-cost"];
        run_to_end(Command::new(cargo()).current_dir(root).args(build).args(programs))?;
        Ok(packages)
    }

    /// Builds only the packages.
    pub fn functions(root: &Path) -> Result<Self, BenchError> {
        run_to_end(Command::new(root.join("scripts/build-lambdas")).arg(ARCHITECTURE))?;
        let target = root.join("target");
        let unpacked = target.join("bench/functions");
        fs::create_dir_all(&unpacked)?;
        let binaries = target.join("lambda");
        Ok(Self {
            zips: binaries.join(ARCHITECTURE),
            hello: binaries.join("hello"),
            track_cost: binaries.join("track-cost"),
            unpacked,
        })
    }

    /// The packages of another build, in `zips`.
    pub fn of_another_build(&self, zips: &Path) -> Result<Self, BenchError> {
        let unpacked = self.unpacked.join("another-build");
        fs::create_dir_all(&unpacked)?;
        Ok(Self { zips: zips.to_owned(), unpacked, ..self.clone() })
    }

    /// Unpacks the binary of a function, as Lambda does, and returns its path.
    pub fn unpack(&self, function: &str) -> Result<PathBuf, BenchError> {
        let package = self.zips.join(format!("{function}.zip"));
        let unreadable = |error: zip::result::ZipError| BenchError::Package(package.clone(), error);
        let mut package = zip::ZipArchive::new(File::open(&package)?).map_err(unreadable)?;
        let bootstrap = self.unpacked.join(function);
        // Written to another file and then moved: an earlier binary may still be running.
        let fresh = bootstrap.with_extension("fresh");
        io::copy(&mut package.by_name("bootstrap").map_err(unreadable)?, &mut File::create(&fresh)?)?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o755))?;
        fs::rename(&fresh, &bootstrap)?;
        Ok(bootstrap)
    }
}
