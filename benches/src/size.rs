//! The sizes of the deployment packages.

use std::fs;

use crate::{BenchError, packages::Packages, table::Table};

/// Prints the table.
pub fn measure(packages: &Packages) -> Result<(), BenchError> {
    let mut files: Vec<_> = fs::read_dir(&packages.zips)?.collect::<Result<_, _>>()?;
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
