//! Tracks measured against known faces, with the real detector: the sample clip, and the clips of `fixtures/tracking`.
//!
//! `UPDATE_DOCS=1` writes the table of `BENCHMARKS.md`. It is not compared, because another processor can round the detector's numbers
//! in another way.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use face_detection::{Analysis, CenterFace, Continue, Detector as _, model};
use tests::tracking::{Score, Truth, overlap_tracks, track_of, tracks};

/// Around the table in `BENCHMARKS.md`.
const BEGIN: &str = "<!-- tracks: written by UPDATE_DOCS=1 cargo test -p tests --test tracks -->\n";
const END: &str = "<!-- end of tracks -->\n";

/// The real network, which is downloaded once.
static DETECTOR: LazyLock<CenterFace> = LazyLock::new(|| {
    let model = model::fetch(&root().join("target/local"), Path::new("python3")).expect("the model can be fetched");
    CenterFace::load(&model).expect("the model can be loaded")
});

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A clip with its measures.
struct Measured {
    name: &'static str,
    truth: Truth,
    tracks: Score,
    overlap: Score,
}

fn measure(name: &'static str, video: &str, truth: &str) -> Measured {
    let fixtures = root().join("tests/fixtures");
    let Analysis { faces, metadata } =
        DETECTOR.analyze(&fixtures.join(video), &|_| Continue::Yes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let truth = Truth::read(&fixtures.join(truth), &faces);
    let frame = (metadata.frame_width.unsigned_abs(), metadata.frame_height.unsigned_abs());
    let score = Score::of(&truth, &faces, &track_of(&tracks(&faces, frame)));
    Measured { name, tracks: score, overlap: Score::of(&truth, &faces, &overlap_tracks(&faces)), truth }
}

#[test]
fn faces_keep_their_tracks() {
    let clips = [
        measure("sample clip", "sample-clip/sample.mp4", "sample-clip/truth.json"),
        measure("crossing", "tracking/crossing.mp4", "tracking/crossing.truth.json"),
        measure("returning", "tracking/returning.mp4", "tracking/returning.truth.json"),
        measure("fast", "tracking/fast.mp4", "tracking/fast.truth.json"),
        measure("crowd of 20", "tracking/crowd.mp4", "tracking/crowd.truth.json"),
        measure("cuts", "tracking/cuts.mp4", "tracking/cuts.truth.json"),
    ];
    let table = table(&clips);
    println!("{table}");
    if env::var_os("UPDATE_DOCS").is_some() {
        write_table(&table);
    }
    for Measured { name, truth, tracks, overlap } in &clips {
        let least = match *name {
            "crowd of 20" => 0.85,
            "cuts" => 0.8,
            _ => 0.95,
        };
        assert!(tracks.idf1 >= least && tracks.idf1 > overlap.idf1, "{name}: {tracks:?}, and by overlap {overlap:?}");
        assert!(tracks.found * 10 >= truth.faces * 9, "{name}: {} of {} faces were found", tracks.found, truth.faces);
        if matches!(*name, "crossing" | "returning" | "fast") {
            assert_eq!((tracks.switches, tracks.joined, tracks.tracks), (0, 0, truth.tracks), "{name}: {tracks:?}");
        }
    }
}

fn table(clips: &[Measured]) -> String {
    let mut table = String::from(
        "| clip | true tracks | faces | found | | tracks | switches | fragmentations | joined | IDF1 |\n\
         |---|---:|---:|---:|---|---:|---:|---:|---:|---:|\n",
    );
    for Measured { name, truth, tracks, overlap } in clips {
        let clip = format!("| {name} | {} | {} | {} |", truth.tracks, truth.faces, tracks.found);
        for (clip, tracker, score) in [(clip.as_str(), "facereel", tracks), ("| | | | |", "plain overlap", overlap)] {
            let Score { tracks, switches, fragmentations, joined, idf1, .. } = score;
            let numbers = format!("{tracks} | {switches} | {fragmentations} | {joined} | {idf1:.3}");
            writeln!(table, "{clip} {tracker} | {numbers} |").expect("memory can be written to");
        }
    }
    table
}

/// Replaces the table in `BENCHMARKS.md`.
fn write_table(table: &str) {
    let file = root().join("BENCHMARKS.md");
    let text = fs::read_to_string(&file).expect("the file can be read");
    let (before, rest) = text.split_once(BEGIN).expect("the table begins");
    let (_, after) = rest.split_once(END).expect("the table ends");
    fs::write(&file, format!("{before}{BEGIN}{table}{END}{after}")).expect("the file can be written");
}
