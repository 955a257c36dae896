//! The plain tracker that the tracks are compared with: every face goes to the track whose last box it overlaps most.

use std::collections::BTreeMap;

use face_detection::FaceDetection;

use super::{LONGEST_GAP_MS, Ratios, overlap, ratios};

/// The least overlap. Samples are half a second apart, so a higher one would lose every face that moves.
const LEAST_OVERLAP: f32 = 0.1;

/// The track of each face, by greedy overlap with the last boxes. Like the tracks of the functions, a track ends after a second.
#[must_use]
pub fn overlap_tracks(faces: &[FaceDetection]) -> BTreeMap<usize, usize> {
    let (mut track_of, mut tracks) = (BTreeMap::new(), Vec::<(i64, Ratios)>::new());
    let mut from = 0;
    while let Some(FaceDetection { timestamp, .. }) = faces.get(from) {
        let until = from + faces[from..].iter().take_while(|face| face.timestamp == *timestamp).count();
        let mut pairs = Vec::new();
        for (track, (seen, last)) in tracks.iter().enumerate() {
            if timestamp - seen <= LONGEST_GAP_MS {
                pairs.extend((from..until).map(|face| (overlap(*last, ratios(&faces[face])), track, face)));
            }
        }
        pairs.retain(|(overlap, ..)| *overlap >= LEAST_OVERLAP);
        pairs.sort_by(|one, other| other.0.total_cmp(&one.0));
        for (_, track, face) in pairs {
            if tracks[track].0 < *timestamp && !track_of.contains_key(&face) {
                track_of.insert(face, track);
                tracks[track] = (*timestamp, ratios(&faces[face]));
            }
        }
        for (face, found) in faces.iter().enumerate().take(until).skip(from) {
            track_of.entry(face).or_insert_with(|| {
                tracks.push((*timestamp, ratios(found)));
                tracks.len() - 1
            });
        }
        from = until;
    }
    track_of
}
