//! The video of a result, among the files of this machine.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use lambdas::{results::Summary, video::Video};
use local_stack::Installation;

/// The last part of the key of the video.
#[must_use]
pub fn file_name(summary: &Summary) -> &str {
    name_of(&summary.video)
}

fn name_of(video: &Video) -> &str {
    video.key.rsplit('/').next().unwrap_or_default()
}

/// Finds the file with the name and size of the video: in the directory of the results, in its parent and the parent of
/// that, in the current directory, or in the sample clip's directory.
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
    dirs.flat_map(|dir| [dir.join(name), dir.join(key)])
        .find(|file| fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() == video.bytes))
}
