//! The deployment packages' sizes.

use std::{fs, path::Path};

use crate::{BenchError, table::Table};

/// Prints the table of what `scripts/build-lambdas` has packed.
pub fn measure(root: &Path) -> Result<(), BenchError> {
    let zips = root.join("target/lambda").join(if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" });
    let mut files: Vec<_> = fs::read_dir(&zips).map_err(|_| BenchError::NoZips(zips))?.collect::<Result<_, _>>()?;
    files.sort_by_key(|file| file.file_name());
    let mut table = Table::new(&["package", "MB"]);
    for file in files.iter().filter(|file| file.path().extension().is_some_and(|extension| extension == "zip")) {
        #[expect(clippy::cast_precision_loss, reason = "a package is some MB")]
        let megabytes = file.metadata()?.len() as f64 / 1e6;
        table.row(&[file.file_name().to_string_lossy().into_owned(), format!("{megabytes:.2}")]);
    }
    println!("{table}");
    Ok(())
}
