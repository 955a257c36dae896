//! Tracks measured against known faces, with the real detector: the sample clip, and the clips of `fixtures/tracking`.
//!
//! `bench tracks` prints the table. It is not compared, because another processor can round the detector's numbers in another way.

use tests::tracking::{Measured, measure_clips};

#[test]
fn faces_keep_their_tracks() {
    for Measured { name, truth, tracks, overlap } in measure_clips() {
        let least = match name {
            "crowd of 20" => 0.85,
            "cuts" => 0.8,
            _ => 0.95,
        };
        assert!(tracks.idf1 >= least && tracks.idf1 > overlap.idf1, "{name}: {tracks:?}, and by overlap {overlap:?}");
        assert!(tracks.found * 10 >= truth.faces * 9, "{name}: {} of {} faces were found", tracks.found, truth.faces);
        if matches!(name, "crossing" | "returning" | "fast") {
            assert_eq!((tracks.switches, tracks.joined, tracks.tracks), (0, 0, truth.tracks), "{name}: {tracks:?}");
        }
    }
}
