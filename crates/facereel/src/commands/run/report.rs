//! The report of a run: a summary of the results, and the command that shows them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use lambdas::{
    report::clock,
    results::{Manifest, Summary},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::documents::document;
use crate::stored::find_video;
use crate::terminal::{
    exit,
    text::{counted, invocation, quoted},
};

/// The complete results of a run.
#[derive(Debug)]
pub struct RunReport {
    pub(super) dir: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) summary: Summary,
    /// The command that shows the results.
    pub(super) next: String,
}

impl RunReport {
    /// The directory of the results.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The command line that shows the results in `dir`. It names the video if `facereel view` would not find it.
pub(super) fn view_command(dir: &Path, summary: &Summary, video: &Path) -> String {
    let mut command = format!("{} view {}", invocation(), quoted(dir));
    let same = |found: PathBuf| fs::canonicalize(found).ok() == fs::canonicalize(video).ok();
    if !find_video(dir, summary).is_some_and(same) {
        command = format!("{command} {}", quoted(video));
    }
    command
}

/// The report of a run as JSON.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The report of `facereel run --json`")]
pub struct RunDocument {
    /// The directory of the results.
    directory: String,
    /// The number of faces, over all moments.
    faces: usize,
    /// The number of moments with a face.
    frames_with_faces: usize,
    /// The moment with the most faces. null, if there are no faces.
    most_faces: Option<BusiestMoment>,
    /// The number of pages, each a file in `faces/`.
    pages: usize,
    /// The command that shows the results.
    view_command: String,
}

/// The moment with the most faces.
#[derive(Debug, Serialize, JsonSchema)]
struct BusiestMoment {
    /// The time in the video, in milliseconds.
    timestamp_ms: i64,
    /// The number of faces.
    faces: usize,
}

impl exit::Report for RunReport {
    fn json(&self) -> Value {
        let Self { dir, manifest, summary, next } = self;
        let most_faces = summary.most_faces.as_ref();
        document(&RunDocument {
            directory: dir.to_string_lossy().into_owned(),
            faces: summary.faces,
            frames_with_faces: summary.frames_with_faces,
            most_faces: most_faces
                .map(|moment| BusiestMoment { timestamp_ms: moment.timestamp_ms, faces: moment.faces }),
            pages: manifest.pages.len(),
            view_command: next.clone(),
        })
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.summary.most_faces {
            None => writeln!(f, "No faces were found.")?,
            Some(busiest) => {
                let moments = counted(self.summary.frames_with_faces, "moment");
                writeln!(f, "Faces     {} in {moments} of the video", self.summary.faces)?;
                writeln!(f, "Busiest   {} at {}", busiest.faces, clock(busiest.timestamp_ms))?;
            }
        }
        writeln!(f, "Results   {}", self.dir.display())?;
        writeln!(f, "            report.html, summary.json, manifest.json, history.json, video.json")?;
        let pages = counted(self.manifest.pages.len(), "page");
        writeln!(f, "            faces/*.jsonl, one face a line ({pages})")?;
        writeln!(f, "            tracks/*.jsonl, one face through time a line")?;
        write!(f, "Next      {}", self.next)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_next_command_names_the_video_only_if_view_would_not_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().join("my results");
        fs::create_dir(&results).unwrap();
        let summary: Summary = serde_json::from_value(json!({
            "video": { "bucket": "b", "key": "clip.mp4", "etag": "e", "bytes": 4 },
            "metadata": {},
            "job": { "job_id": "j", "idempotency_key": "t", "attempt": 0, "face_attributes": "DEFAULT" },
            "faces": 0, "frames_with_faces": 0, "most_faces": null, "timeline": [],
        }))
        .unwrap();
        let beside = dir.path().join("clip.mp4");
        fs::write(&beside, "film").unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join("clip.mp4");
        fs::write(&copy, "mlif").unwrap();

        let shown = format!("view '{}'", results.display());
        let command = view_command(&results, &summary, &beside);
        assert!(command.ends_with(&shown), "{command}");
        let command = view_command(&results, &summary, &copy);
        assert!(command.ends_with(&format!("{shown} {}", copy.display())), "{command}");
    }
}
