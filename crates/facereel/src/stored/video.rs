//! The video of a result, among the files of this machine.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use lambdas::{results::Summary, video::Video};
use local_stack::Installation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file of a local result that names the file of its video.
pub const VIDEO_FILE: &str = "video.json";

/// `video.json`: where the video of a local result is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "video.json, which `facereel run` writes")]
pub struct VideoFile {
    /// The absolute path of the video when it was analysed.
    path: String,
}

impl VideoFile {
    /// Writes `video.json` into a directory with results. A path that is not UTF-8 is not written: `facereel view` then searches the video.
    ///
    /// # Errors
    /// The error of the operating system, if the file cannot be written.
    pub fn write(dir: &Path, video: &Path) -> io::Result<()> {
        // The file may have been moved while it was analysed, which must not make the analysis fail.
        let path = fs::canonicalize(video).or_else(|_| std::path::absolute(video))?;
        let Some(path) = path.to_str() else { return Ok(()) };
        fs::write(dir.join(VIDEO_FILE), format!("{:#}\n", serde_json::json!(Self { path: path.to_owned() })))
    }

    /// The path in the `video.json` of a directory; `None` without a valid one.
    fn read(dir: &Path) -> Option<PathBuf> {
        let text = fs::read(dir.join(VIDEO_FILE)).ok()?;
        let Self { path } = serde_json::from_slice(&text).ok()?;
        Some(path.into())
    }
}

/// The last part of the key of the video.
#[must_use]
pub fn file_name(summary: &Summary) -> &str {
    name_of(&summary.video)
}

/// The last part of the key of a video.
pub(crate) fn name_of(video: &Video) -> &str {
    video.key.rsplit('/').next().unwrap_or_default()
}

/// Finds the file of the video: the one that `video.json` names, or else a file with its name in the directory of the results, in its
/// parent and the parent of that, in the current directory, or in the sample clip's directory. A file of another size is not taken.
#[must_use]
pub fn find_video(results: &Path, summary: &Summary) -> Option<PathBuf> {
    find_file(results, &summary.video)
}

/// As [`find_video`], for the video of a summary.
#[must_use]
pub fn find_file(results: &Path, video: &Video) -> Option<PathBuf> {
    let results = fs::canonicalize(results).unwrap_or_else(|_| results.to_owned());
    let parents = results.ancestors().take(3).map(Path::to_owned);
    let sample = Installation::find().ok().map(|installation| installation.sample_clip());
    let dirs = parents.chain([PathBuf::new()]).chain(sample);
    // The whole key is tried too, because a bucket is often a copy of a directory.
    let name = Path::new(name_of(video));
    let key = Path::new(&video.key);
    // A key with `..`, or an absolute one, is not tried: it would lead outside of these directories.
    let key = if key.components().all(|part| matches!(part, Component::Normal(_))) { key } else { name };
    let searched = dirs.flat_map(|dir| [dir.join(name), dir.join(key)]);
    VideoFile::read(&results)
        .into_iter()
        .chain(searched)
        .find(|file| fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() == video.bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary(key: &str, bytes: usize) -> Summary {
        serde_json::from_value(json!({
            "video": { "bucket": "b", "key": key, "etag": "e", "bytes": bytes }, "metadata": {},
            "job": { "job_id": "j", "idempotency_key": "t", "attempt": 0, "face_attributes": "DEFAULT" },
            "faces": 0, "frames_with_faces": 0, "most_faces": null, "timeline": [],
        }))
        .unwrap()
    }

    #[test]
    fn the_file_that_video_json_names_is_found_while_its_size_is_the_analysed_one() {
        let (results, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let video = elsewhere.path().join("a film.mp4");
        fs::write(&video, "film").unwrap();
        // The name of the file differs from the key: only video.json leads to it.
        let summary = summary("clip-that-is-nowhere.mp4", 4);
        assert_eq!(find_video(results.path(), &summary), None);
        VideoFile::write(results.path(), &video).unwrap();
        assert_eq!(find_video(results.path(), &summary), Some(fs::canonicalize(&video).unwrap()));

        fs::write(&video, "another film").unwrap();
        assert_eq!(find_video(results.path(), &summary), None);
        // A copy near the results is found instead.
        let copy = results.path().join("clip-that-is-nowhere.mp4");
        fs::write(&copy, "film").unwrap();
        assert_eq!(find_video(results.path(), &summary), Some(fs::canonicalize(&copy).unwrap()));

        fs::write(results.path().join(VIDEO_FILE), "[]").unwrap();
        assert_eq!(find_video(results.path(), &summary), Some(fs::canonicalize(&copy).unwrap()));
    }
}
