//! The sizes of the deployment packages.

use std::fs;

use crate::{
    BenchError,
    packages::Packages,
    report::{Goal, Report},
    samples::Samples,
    table::{Name, Table},
};

/// Adds the table and the goal.
pub fn measure(packages: &Packages, report: &mut Report) -> Result<(), BenchError> {
    let mut files: Vec<_> = fs::read_dir(&packages.zips)?.collect::<Result<_, _>>()?;
    files.sort_by_key(|file| file.file_name());
    let mut sizes = Vec::new();
    for file in files.iter().filter(|file| file.path().extension().is_some_and(|extension| extension == "zip")) {
        #[expect(clippy::cast_precision_loss, reason = "a package is some MB")]
        let megabytes = file.metadata()?.len() as f64 / 1e6;
        sizes.push((file.file_name().to_string_lossy().into_owned(), Samples::from(megabytes)));
    }
    let mut table = Table::new(Name::Size, &["package", "MB"]);
    for (name, size) in &sizes {
        table.row(&[name, &size.show(2)]);
    }
    report.add(table);
    report.goal(Goal::at_most("a package, MB: at most 3", 3.0, 2, &sizes));
    Ok(())
}
