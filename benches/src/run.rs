//! The time of `facereel run`, compared with the length of the video, and with the obvious detection in Python.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    BenchError, json_of,
    python::Python,
    report::{Goal, Report},
    run_to_end,
    samples::Samples,
    table::{Name, Table},
};

/// The length of the clips.
pub const LENGTH: Duration = Duration::from_mins(1);

/// The clips: name, size of the picture, and the bit rate that is recommended for uploads
/// (<https://support.google.com/youtube/answer/1722171>).
pub const CLIPS: [(&str, &str, &str); 2] = [("720p", "1280:720", "5M"), ("1080p", "1920:1080", "8M")];

/// The number of rounds, each of all clips.
const ROUNDS: usize = 3;

/// The built command.
pub fn command() -> Result<PathBuf, BenchError> {
    let facereel = std::env::current_exe()?.with_file_name("facereel");
    if facereel.is_file() { Ok(facereel) } else { Err(BenchError::NotBuilt(facereel)) }
}

/// The folder of the clips and their results.
fn folder(root: &Path) -> Result<PathBuf, BenchError> {
    let folder = root.join("target/bench/run");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The path of a clip, which is made if it does not exist.
pub fn clip(root: &Path, python: &Python, (name, picture, rate): (&str, &str, &str)) -> Result<PathBuf, BenchError> {
    let clip = folder(root)?.join(format!("{name}.mp4"));
    if !clip.is_file() {
        make(&clip, root, python, picture, rate)?;
    }
    Ok(clip)
}

/// The figures of a clip, in seconds.
#[derive(Default)]
struct Measured {
    whole: Samples,
    detection: Samples,
    /// `benches/peer/detect.py`: ffmpeg alone, onnxruntime alone, and both as a pipeline.
    decoding: Samples,
    network: Samples,
    piped: Samples,
}

/// The seconds that `benches/peer/detect.py` prints.
#[derive(Deserialize)]
struct Peer {
    decoding: f64,
    network: f64,
    piped: f64,
}

/// Makes the clips, runs each once to fill the caches and then in each round; adds the tables and the goals. `model` is the file of
/// the face model.
pub fn measure(root: &Path, model: &Path, python: &Python, report: &mut Report) -> Result<(), BenchError> {
    let (facereel, ffmpeg) = (command()?, python.ffmpeg()?);
    let mut clips = Vec::new();
    for clip in CLIPS {
        clips.push((clip.0, self::clip(root, python, clip)?, Measured::default()));
    }
    for round in 0..=ROUNDS {
        for (_, clip, measured) in &mut clips {
            let out = clip.with_extension("");
            let began = Instant::now();
            run_to_end(Command::new(&facereel).arg("run").arg(&clip).arg("--out").arg(&out).stdout(Stdio::null()))?;
            let taken = began.elapsed();
            let history = out.join("history.json");
            let detected = detection_in(&fs::read_to_string(&history)?).ok_or(BenchError::History(history))?;
            let script = root.join("benches/peer/detect.py");
            let peer: Peer =
                json_of(Command::new(&python.command).arg(script).arg(&ffmpeg).args([model, clip.as_path()]))?;
            if round > 0 {
                measured.whole.push(taken.as_secs_f64());
                measured.detection.push(detected.as_secs_f64());
                measured.decoding.push(peer.decoding);
                measured.network.push(peer.network);
                measured.piped.push(peer.piped);
            }
        }
    }
    tables(clips, report);
    Ok(())
}

fn tables(clips: Vec<(&'static str, PathBuf, Measured)>, report: &mut Report) {
    let length = LENGTH.as_secs_f64();
    let headings = ["clip", "length, s", "detection, s", "x real time", "whole run, s", "beyond detection, s"];
    let mut table = Table::new(Name::Run, &headings);
    let headings = [
        "clip",
        "facereel's detection, s",
        "ffmpeg alone, s",
        "onnxruntime alone, s",
        "one after the other, s",
        "detection, x that",
        "as a pipeline, s",
        "detection, x that",
    ];
    let mut peers = Table::new(Name::RunPeer, &headings);
    let (mut speeds, mut overheads, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for (name, _, Measured { whole, detection, decoding, network, piped }) in clips {
        let (speed, overhead) = (detection.of(length), whole.minus(&detection));
        let cells = [detection.show(1), speed.show(1), whole.show(1), overhead.show(1)];
        table.row(&[&[name.to_owned(), format!("{length:.1}")], &cells[..]].concat());
        let in_turn = decoding.plus(&network);
        let ratio = detection.over(&in_turn);
        peers.row(&[
            name.to_owned(),
            detection.show(1),
            decoding.show(1),
            network.show(1),
            in_turn.show(1),
            ratio.show(2),
            piped.show(1),
            detection.over(&piped).show(2),
        ]);
        speeds.push((name, speed));
        overheads.push((name, overhead));
        ratios.push((name, ratio));
    }
    report.add(table);
    report.add(peers);
    report.goal(Goal::at_least("detection, times faster than the video plays: at least 4", 4.0, 1, &speeds));
    report.goal(Goal::at_most("detection, x ffmpeg and then onnxruntime: at most 1", 1.0, 2, &ratios));
    report.goal(Goal::at_most("`facereel run` beyond the detection, s: at most 5", 5.0, 1, &overheads));
}

/// Encodes the repeated sample clip, with noise that uses the whole bit rate, because the drawn pictures are smoother than footage.
fn make(clip: &Path, root: &Path, python: &Python, picture: &str, rate: &str) -> Result<(), BenchError> {
    let part = clip.with_extension("part.mp4");
    run_to_end(
        Command::new(python.ffmpeg()?)
            .args(["-loglevel", "error", "-y", "-stream_loop", "-1", "-i"])
            .arg(root.join("tests/fixtures/sample-clip/sample.mp4"))
            .args(["-t", &LENGTH.as_secs().to_string(), "-r", "30", "-an", "-pix_fmt", "yuv420p"])
            .args(["-vf", &format!("scale={picture},noise=alls=12:allf=t")])
            .args(["-c:v", "libx264", "-b:v", rate, "-maxrate", rate, "-bufsize", rate])
            .arg(&part),
    )?;
    Ok(fs::rename(part, clip)?)
}

/// The time that the execution was in `StartDetection`: from the start of the job to the callback.
fn detection_in(history: &str) -> Option<Duration> {
    let events: Vec<Value> = serde_json::from_str(history).ok()?;
    let at =
        |details: &str| events.iter().find(|event| event[details]["name"] == "StartDetection")?["timestamp"].as_f64();
    Duration::try_from_secs_f64(at("stateExitedEventDetails")? - at("stateEnteredEventDetails")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detection_is_the_time_from_the_entry_of_the_state_to_its_exit() {
        let history = r#"[
            {"timestamp": 1.0, "executionStartedEventDetails": {}},
            {"timestamp": 2.5, "stateEnteredEventDetails": {"name": "StartDetection"}},
            {"timestamp": 10.0, "stateExitedEventDetails": {"name": "StartDetection"}},
            {"timestamp": 11.0, "stateEnteredEventDetails": {"name": "ReadPages"}}
        ]"#;
        assert_eq!(detection_in(history), Some(Duration::from_millis(7500)));
        assert_eq!(detection_in("[]"), None);
    }
}
