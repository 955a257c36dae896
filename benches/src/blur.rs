//! `facereel blur`: its time, compared with the length of the video, and how many faces remain.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use facereel::commands::blur::{Ffmpeg, X264};
use tests::hiding::Remaining;

use crate::{
    BenchError,
    function::children_time,
    python::Python,
    report::Report,
    run::{CLIPS, clip, command},
    run_to_end,
    samples::Samples,
    table::{Name, Table},
};

/// The part of each clip that is blurred.
const LENGTH: Duration = Duration::from_secs(10);

/// The number of rounds, each of both clips with both programs.
const ROUNDS: usize = 3;

/// Adds both tables.
pub async fn measure(root: &Path, python: &Python, report: &mut Report) -> Result<(), BenchError> {
    let ffmpeg = python.ffmpeg()?;
    report.add(remaining(&Ffmpeg::at(&ffmpeg)).await);
    report.add(time(root, python, &ffmpeg)?);
    Ok(())
}

/// How many known faces are found after they were hidden.
async fn remaining(ffmpeg: &Ffmpeg) -> Table {
    let headings =
        ["clip", "frames", "faces", "found in the clip", "blurred", "pixelated", "blurred without margin and hold"];
    let mut table = Table::new(Name::Remaining, &headings);
    for clip in tests::hiding::measure_clips(ffmpeg).await {
        let Remaining { name, frames, faces, found, blurred, pixelated, boxes_blurred } = clip;
        let counts = [frames, faces, found, blurred, pixelated, boxes_blurred].map(|count| count.to_string());
        table.row(&[&[name.to_owned()], &counts[..]].concat());
    }
    table
}

/// The times of a program.
#[derive(Default)]
struct Times {
    wall: Samples,
    processor: Samples,
}

impl Times {
    fn measure(&mut self, command: &mut Command) -> Result<(), BenchError> {
        let (began, before) = (Instant::now(), children_time()?);
        run_to_end(command)?;
        self.wall.push(began.elapsed().as_secs_f64());
        self.processor.push(children_time()?.saturating_sub(before).as_secs_f64());
        Ok(())
    }
}

/// The time of the command, and of ffmpeg that decodes and encodes the same frames with the same options.
fn time(root: &Path, python: &Python, ffmpeg: &str) -> Result<Table, BenchError> {
    let facereel = command()?;
    let mut measured = Vec::new();
    for whole in CLIPS {
        let part = clip(root, python, whole)?.with_file_name(format!("{}-part.mp4", whole.0));
        let cut = ["-loglevel", "error", "-y", "-t", &LENGTH.as_secs().to_string(), "-i"];
        run_to_end(Command::new(ffmpeg).args(cut).arg(clip(root, python, whole)?).args(["-c", "copy"]).arg(&part))?;
        let results = part.with_extension("");
        run_to_end(Command::new(&facereel).arg("run").arg(&part).arg("--out").arg(&results).stdout(Stdio::null()))?;
        measured.push((whole.0, part, Times::default(), Times::default()));
    }
    for _ in 0..ROUNDS {
        for (_, clip, blur, alone) in &mut measured {
            let out = clip.with_extension("out.mp4");
            let mut command = Command::new(&facereel);
            command.arg("blur").args([&*clip, &clip.with_extension("")]).arg("--out").arg(&out).arg("--force");
            blur.measure(command.env("FFMPEG", ffmpeg).stdout(Stdio::null()))?;
            let mut command = Command::new(ffmpeg);
            command.args(["-loglevel", "error", "-y", "-i"]).arg(&*clip).args([
                "-map",
                "0:V:0",
                "-fps_mode",
                "passthrough",
            ]);
            alone.measure(command.args(X264).args(["-movflags", "+faststart"]).arg(&out))?;
        }
    }
    let length = LENGTH.as_secs_f64();
    let headings =
        ["clip", "length, s", "blur, s", "x real time", "processor, s", "ffmpeg alone: processor, s", "x ffmpeg alone"];
    let mut table = Table::new(Name::Blur, &headings);
    for (name, _, blur, alone) in measured {
        table.row(&[
            name.to_owned(),
            format!("{length:.1}"),
            blur.wall.show(1),
            blur.wall.of(length).show(1),
            blur.processor.show(1),
            alone.processor.show(1),
            blur.processor.over(&alone.processor).show(2),
        ]);
    }
    Ok(table)
}
