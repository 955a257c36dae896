//! The time of `facereel run`, compared with the length of the video.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{BenchError, python::Python, run_to_end, table::Table};

/// The length of the clips.
pub const LENGTH: Duration = Duration::from_mins(1);

/// The clips: name, size of the picture, and the bit rate that is recommended for uploads
/// (<https://support.google.com/youtube/answer/1722171>).
pub const CLIPS: [(&str, &str, &str); 2] = [("720p", "1280:720", "5M"), ("1080p", "1920:1080", "8M")];

/// The built command.
pub fn command() -> Result<PathBuf, BenchError> {
    let facereel = std::env::current_exe()?.with_file_name("facereel");
    if facereel.is_file() { Ok(facereel) } else { Err(BenchError::NotBuilt(facereel)) }
}

/// The folder of the clips and their results.
pub fn folder(root: &Path) -> Result<PathBuf, BenchError> {
    let folder = root.join("target/bench/run");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Makes the clips, runs each twice and prints the table of the second runs.
pub fn measure(root: &Path, python: &Python) -> Result<(), BenchError> {
    let (facereel, folder) = (command()?, folder(root)?);
    let mut table =
        Table::new(&["clip", "length, s", "detection, s", "x real time", "whole run, s", "beyond detection, s"]);
    for (name, picture, rate) in CLIPS {
        let clip = folder.join(format!("{name}.mp4"));
        if !clip.is_file() {
            make(&clip, root, python, picture, rate)?;
        }
        let out = folder.join(name);
        let run =
            || run_to_end(Command::new(&facereel).arg("run").arg(&clip).arg("--out").arg(&out).stdout(Stdio::null()));
        // The first run fills the caches.
        run()?;
        let begun = Instant::now();
        run()?;
        let whole = begun.elapsed();
        let history = out.join("history.json");
        let detection = detection(&fs::read_to_string(&history)?).ok_or(BenchError::History(history))?;
        let seconds = |duration: Duration| format!("{:.1}", duration.as_secs_f64());
        table.row(&[
            name.to_owned(),
            seconds(LENGTH),
            seconds(detection),
            format!("{:.1}", LENGTH.as_secs_f64() / detection.as_secs_f64()),
            seconds(whole),
            seconds(whole.saturating_sub(detection)),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// Encodes the repeated sample clip, with noise that uses the whole bit rate, because the drawn pictures are smoother than footage.
pub fn make(clip: &Path, root: &Path, python: &Python, picture: &str, rate: &str) -> Result<(), BenchError> {
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
fn detection(history: &str) -> Option<Duration> {
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
        assert_eq!(detection(history), Some(Duration::from_millis(7500)));
        assert_eq!(detection("[]"), None);
    }
}
