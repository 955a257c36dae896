//! The time of `facereel blur`, compared with the length of the video.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    BenchError,
    python::Python,
    run::{CLIPS, LENGTH, command, folder, make},
    run_to_end,
    table::Table,
};

/// Makes the clips, analyses them, blurs each twice and prints the table of the second time.
pub fn measure(root: &Path, python: &Python) -> Result<(), BenchError> {
    let (facereel, folder) = (command()?, folder(root)?);
    let ffmpeg = python.ffmpeg()?;
    let mut table = Table::new(&["clip", "length, s", "blur, s", "x real time"]);
    for (name, picture, rate) in CLIPS {
        let (clip, results) = (folder.join(format!("{name}.mp4")), folder.join(name));
        if !clip.is_file() {
            make(&clip, root, python, picture, rate)?;
        }
        if !results.join("manifest.json").is_file() {
            run_to_end(Command::new(&facereel).arg("run").arg(&clip).arg("--out").arg(&results).stdout(Stdio::null()))?;
        }
        let out = folder.join(format!("{name}-blurred.mp4"));
        let blur = || {
            let mut command = Command::new(&facereel);
            command.arg("blur").args([&clip, &results]).arg("--out").arg(&out).arg("--force");
            run_to_end(command.env("FFMPEG", &ffmpeg).stdout(Stdio::null()))
        };
        blur()?;
        let begun = Instant::now();
        blur()?;
        let took = begun.elapsed().as_secs_f64();
        let length = LENGTH.as_secs_f64();
        table.row(&[name.to_owned(), format!("{length:.1}"), format!("{took:.1}"), format!("{:.1}", length / took)]);
    }
    println!("{table}");
    Ok(())
}
