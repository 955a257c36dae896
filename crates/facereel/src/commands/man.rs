//! `facereel man`: the manual pages, from the same definition as `--help`.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Write the manual pages into a directory.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel man ~/.local/share/man/man1       then: man facereel-replay")]
pub struct Man {
    /// The directory, which is created if necessary. Pages in it with the same names are replaced.
    dir: PathBuf,
}

/// Why the pages were not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the manual pages to {}: {source}", dir.display())]
pub struct ManError {
    dir: PathBuf,
    source: io::Error,
}

impl Man {
    /// Writes a page for the command line `facereel`, and one for each of its commands.
    ///
    /// # Errors
    /// [`ManError`], if the directory cannot be written to.
    pub fn write(&self, facereel: clap::Command) -> Result<(), ManError> {
        write_pages(&self.dir, facereel).map_err(|source| ManError { dir: self.dir.clone(), source })
    }
}

fn write_pages(dir: &Path, facereel: clap::Command) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    // The subcommand `help` prints what the pages contain. `build` sets the name of each page, such as `facereel-replay`.
    let mut facereel = facereel.disable_help_subcommand(true);
    facereel.build();
    for command in facereel.get_subcommands().chain([&facereel]) {
        let (name, page) = page(command.clone())?;
        std::fs::write(dir.join(name), page)?;
    }
    Ok(())
}

/// The file name and the text of a command's page.
fn page(command: clap::Command) -> io::Result<(String, String)> {
    let man = clap_mangen::Man::new(command);
    let mut page = Vec::new();
    man.render(&mut page)?;
    // The examples keep their lines.
    let page = String::from_utf8_lossy(&page).replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n.nf\n");
    Ok((man.get_filename(), page))
}
