//! The clips with known faces, and the real detector.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use face_detection::{CenterFace, model};

/// The clips: the name, the file without its suffix, and the interval of its frames in milliseconds.
pub const ALL: [(&str, &str, i64); 6] = [
    ("sample clip", "sample-clip/sample", 80),
    ("crossing", "tracking/crossing", 100),
    ("returning", "tracking/returning", 100),
    ("fast", "tracking/fast", 100),
    ("crowd of 20", "tracking/crowd", 100),
    ("cuts", "tracking/cuts", 100),
];

/// The real network, which is downloaded once.
static MODEL: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/local");
    model::fetch(&target, Path::new("python3")).expect("the model can be fetched")
});

/// The path of a file in `tests/fixtures`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The file with the known faces of a clip.
#[must_use]
pub fn truth(clip: &str) -> PathBuf {
    fixture(&if clip.ends_with("/sample") { "sample-clip/truth.json".to_owned() } else { format!("{clip}.truth.json") })
}

/// The real detector, which looks at the first frame of each interval.
///
/// # Panics
/// When its network cannot be downloaded or loaded.
#[must_use]
pub fn detector(interval_ms: i64) -> CenterFace {
    CenterFace::load(&MODEL).expect("the model can be loaded").with_interval(interval_ms)
}
