use super::*;
use crate::results::BestMoment;

/// The usual time between two samples in milliseconds.
const STEP: i64 = 500;

/// A time, and the boxes of its faces.
type Moment = (i64, Vec<[f32; 4]>);

/// Frames of 16 to 9, and faces with a size of a tenth of the frame's height.
fn face_at(x: f32, y: f32) -> [f32; 4] {
    let (width, height) = (0.1 * 9.0 / 16.0, 0.1);
    [x - width / 2.0, y - height / 2.0, width, height]
}

/// The detections of some moments, in order.
fn detections(moments: &[Moment]) -> Vec<Detection> {
    let faces = moments.iter().flat_map(|(timestamp_ms, boxes)| boxes.iter().map(move |of| (*timestamp_ms, *of)));
    let detection = |(face, (timestamp_ms, bounding_box))| Detection {
        face,
        timestamp_ms,
        bounding_box,
        confidence: 99.0,
        clarity: 1.0,
    };
    faces.enumerate().map(detection).collect()
}

/// The tracks by their ids.
fn tracks(detections: &[Detection]) -> Vec<Track> {
    let mut tracker = Tracker::new(Some((1280, 720)));
    for detection in detections {
        tracker.add(*detection);
    }
    let count = tracker.finish();
    let mut tracks = tracker.take_ended();
    tracks.sort_by_key(|track| (track.id, track.part));
    assert_eq!(tracks.iter().filter(|track| track.part == 0).count(), count);
    tracks
}

/// The times of each track.
fn times(moments: &[Moment]) -> Vec<Vec<i64>> {
    tracks(&detections(moments)).into_iter().map(|track| track.timestamps_ms).collect()
}

/// A face at a constant velocity, at these steps.
fn moving(steps: impl IntoIterator<Item = i16>, from: (f32, f32), by: (f32, f32)) -> Vec<Moment> {
    let at = |step: i16| face_at(from.0 + by.0 * f32::from(step), from.1 + by.1 * f32::from(step));
    steps.into_iter().map(|step| (i64::from(step) * STEP, vec![at(step)])).collect()
}

/// The moments of several faces together.
fn together(faces: &[Vec<Moment>]) -> Vec<Moment> {
    let mut moments = std::collections::BTreeMap::<i64, Vec<_>>::new();
    for (timestamp_ms, boxes) in faces.iter().flatten() {
        moments.entry(*timestamp_ms).or_default().extend(boxes);
    }
    moments.into_iter().collect()
}

#[test]
fn a_face_through_time_is_one_track() {
    let found = tracks(&detections(&moving(0..5, (0.2, 0.5), (0.02, 0.0))));
    let [track] = &found[..] else { panic!("{found:?}") };
    assert_eq!((track.id, track.part, track.continues), (0, 0, false));
    assert_eq!((track.first_ms, track.last_ms, track.detections), (0, 2000, 5));
    assert_eq!(track.timestamps_ms, [0, 500, 1000, 1500, 2000]);
    assert_eq!(track.faces, [0, 1, 2, 3, 4]);
    assert_eq!(format!("{:?}", track.boxes[1]), "[0.1919, 0.45, 0.0563, 0.1]");
    assert!((track.mean_confidence - 99.0).abs() < 1e-9);
}

#[test]
fn two_faces_that_cross_are_not_swapped() {
    // They meet at step 4, where they overlap; one is a little lower.
    let right = moving(0..9, (0.3, 0.5), (0.04, 0.0));
    let left = moving(0..9, (0.63, 0.52), (-0.04, 0.0));
    for moments in [together(&[right.clone(), left.clone()]), together(&[left, right])] {
        let found = tracks(&detections(&moments));
        assert_eq!(found.len(), 2, "{found:?}");
        for track in found {
            let steps: Vec<_> = track.boxes.windows(2).map(|two| two[1][0] - two[0][0]).collect();
            assert!(steps.iter().all(|step| (step - steps[0]).abs() < 0.001), "track {} turned: {steps:?}", track.id);
        }
    }
}

#[test]
fn two_faces_that_cross_are_not_swapped_while_one_hides_the_other() {
    let right = moving(0..9, (0.3, 0.5), (0.04, 0.0));
    let left = moving([0, 1, 2, 3, 5, 6, 7, 8], (0.63, 0.52), (-0.04, 0.0));
    let found = tracks(&detections(&together(&[right, left])));
    assert_eq!(found.iter().map(|track| track.detections).collect::<Vec<_>>(), [9, 8]);
    assert!(found[0].boxes.is_sorted_by(|one, other| one[0] < other[0]));
    assert!(found[1].boxes.is_sorted_by(|one, other| one[0] > other[0]));
}

#[test]
fn a_face_that_moves_by_more_than_its_size_is_one_track() {
    assert_eq!(times(&moving(0..6, (0.1, 0.5), (0.14, 0.0))).len(), 1);
}

#[test]
fn a_gap_of_a_second_is_bridged_and_a_longer_one_is_not() {
    let at = |times: &[i64]| times.iter().map(|time| (*time, vec![face_at(0.5, 0.5)])).collect::<Vec<_>>();
    assert_eq!(times(&at(&[0, 500, 1500, 2000])), [[0, 500, 1500, 2000]]);
    // 23.976 frames a second: the samples are the first frames of each half second.
    assert_eq!(times(&at(&[0, 501, 1543])), [[0, 501, 1543]]);
    assert_eq!(times(&at(&[0, 500, 2000, 2500])), [[0, 500], [2000, 2500]]);
}

#[test]
fn another_face_far_away_or_of_another_size_begins_a_track() {
    let near = |other| times(&[(0, vec![face_at(0.2, 0.5)]), (500, vec![other])]).len();
    assert_eq!(near(face_at(0.25, 0.5)), 1);
    assert_eq!(near(face_at(0.6, 0.5)), 2);
    assert_eq!(near([0.15, 0.4, 0.12, 0.21]), 2);
}

#[test]
fn the_order_of_the_faces_of_a_moment_has_no_effect() {
    let paths: Vec<_> = (0..6_u8)
        .map(|index| moving(0..8, (0.1 + 0.12 * f32::from(index), 0.5), (0.01 * f32::from(index % 3), 0.02)))
        .collect();
    let moments = together(&paths);
    let reversed: Vec<_> =
        moments.iter().map(|(time, boxes)| (*time, boxes.iter().rev().copied().collect::<Vec<_>>())).collect();
    let without_faces = |moments: &[_]| {
        let found = tracks(&detections(moments));
        found.into_iter().map(|track| (track.id, track.timestamps_ms, track.boxes)).collect::<Vec<_>>()
    };
    assert_eq!(without_faces(&moments).len(), 6);
    assert_eq!(without_faces(&moments), without_faces(&reversed));
}

#[test]
fn faces_without_a_size_belong_to_no_track() {
    let boxes = vec![[0.5, 0.5, 0.0, 0.0], [f32::NAN, 0.5, 0.1, 0.1], face_at(0.5, 0.5)];
    let found = tracks(&detections(&[(0, boxes.clone()), (500, boxes)]));
    assert_eq!(found.iter().map(|track| track.faces.clone()).collect::<Vec<_>>(), [[2, 5]]);
}

#[test]
fn extreme_boxes_and_times_make_valid_tracks() {
    let ratios = [0.0, 0.1, 1.0, -1.0, f32::MIN_POSITIVE, 1e-40, f32::MAX, f32::MIN, f32::INFINITY, f32::NAN];
    let times = [0, 1, 500, 1000, i64::MAX, i64::MIN];
    let mut dice = 1_u32;
    let mut number = |below: usize| {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (dice >> 16) as usize % below
    };
    let mut seen = detections(&[(0, vec![face_at(0.5, 0.5); 5000])]);
    for detection in &mut seen {
        detection.timestamp_ms = times[number(times.len())];
        detection.bounding_box = [(); 4].map(|()| ratios[number(ratios.len())]);
    }
    let found = tracks(&seen);
    assert!(found.len() > 100, "{} tracks", found.len());
    assert!(found.iter().flat_map(|track| &track.boxes).flatten().all(|ratio| ratio.is_finite()));
}

#[test]
fn times_that_go_back_end_the_tracks() {
    assert_eq!(times(&[(1000, vec![face_at(0.5, 0.5)]), (500, vec![face_at(0.5, 0.5)])]), [[1000], [500]]);
}

#[test]
fn tracks_are_returned_in_the_order_of_their_ends() {
    let at = |x: f32, steps: std::ops::Range<i16>| moving(steps, (x, 0.5), (0.0, 0.0));
    let moments = together(&[at(0.1, 0..9), at(0.5, 0..3), at(0.9, 2..6)]);
    let mut tracker = Tracker::new(None);
    let mut ended = Vec::new();
    for detection in detections(&moments) {
        tracker.add(detection);
        ended.extend(tracker.take_ended());
    }
    assert_eq!(ended.iter().map(|track| track.id).collect::<Vec<_>>(), [1]);
    assert_eq!(tracker.finish(), 3);
    ended.extend(tracker.take_ended());
    assert_eq!(
        ended.iter().map(|track| (track.id, track.last_ms)).collect::<Vec<_>>(),
        [(1, 1000), (2, 2500), (0, 4000)]
    );
}

#[test]
fn the_best_moment_is_large_sharp_and_inside_the_frame() {
    let large = [0.4, 0.4, 0.12, 0.12];
    let mut seen = detections(&[0, 500, 1000, 1500].map(|time| (time, vec![[0.4, 0.4, 0.1, 0.1]])));
    seen[1].bounding_box = large;
    seen[1].clarity = 0.5;
    seen[2].bounding_box = large;
    assert_eq!(tracks(&seen)[0].best, BestMoment { timestamp_ms: 1000, face: 2, bounding_box: large });
    let outside = [[0.0, 0.4, 0.1, 0.1], [-0.1, 0.4, 0.15, 0.15]];
    let seen = detections(&[(0, vec![outside[0]]), (500, vec![outside[1]])]);
    assert_eq!(tracks(&seen)[0].best.face, 0);
}

#[test]
fn sharpness_and_pose_are_known_or_not() {
    let clarity = |face: &str| {
        let face: Face = serde_json::from_str(face).unwrap();
        face.sharpness() * face.frontality()
    };
    assert!((clarity("{}") - 1.0).abs() < 1e-9);
    assert!((clarity(r#"{"Quality":{"Brightness":50,"Sharpness":40}}"#) - 0.4).abs() < 1e-9);
    assert!((clarity(r#"{"Pose":{"Roll":80,"Yaw":-45,"Pitch":9}}"#) - 0.45).abs() < 1e-9);
    assert!(clarity(r#"{"Pose":{"Yaw":120.0}}"#).abs() < 1e-9);
}

#[test]
fn a_long_track_is_returned_in_parts() {
    let steps = i64::try_from(2 * MOST_DETECTIONS + 10).unwrap();
    let moments: Vec<_> = (0..steps).map(|step| (step * STEP, vec![face_at(0.5, 0.5)])).collect();
    let found = tracks(&detections(&moments));
    let parts: Vec<_> = found.iter().map(|part| (part.id, part.part, part.continues, part.detections)).collect();
    assert_eq!(parts, [(0, 0, true, MOST_DETECTIONS), (0, 1, true, MOST_DETECTIONS), (0, 2, false, 10)]);
    assert_eq!(found[1].first_ms, found[0].last_ms + STEP);
    assert_eq!(found[1].best.timestamp_ms, found[1].first_ms);
}

/// The most live tracks, and the most detections held, in a video with this number of faces in each of two frames a second. Half of the
/// faces stay; the others are there for a second in every three.
fn most_held(hours: u32, faces: u16) -> (usize, usize) {
    let mut tracker = Tracker::new(None);
    let (mut live, mut held, mut added, mut returned) = (0, 0, 0, 0);
    let mut count = |ended: Vec<Track>| returned += ended.iter().map(|track| track.detections).sum::<usize>();
    for step in 0..hours * 7200 {
        for index in (0..faces).filter(|index| index % 2 == 0 || step / 2 % 3 == 0) {
            let (x, y) = (f32::from(index % 10) / 10.0, f32::from(index / 10) / 10.0);
            let bounding_box = [x, y, 0.02, 0.035];
            let timestamp_ms = i64::from(step) * STEP;
            tracker.add(Detection { face: added, timestamp_ms, bounding_box, confidence: 99.0, clarity: 1.0 });
            added += 1;
        }
        count(tracker.take_ended());
        live = live.max(tracker.live.len());
        held = held.max(tracker.live.iter().map(LiveTrack::held).sum());
    }
    tracker.finish();
    count(tracker.take_ended());
    assert_eq!(returned, added, "a detection was lost");
    (live, held)
}

#[test]
fn the_memory_does_not_depend_on_the_length_of_the_video() {
    // 6 hours is the longest video of Rekognition.
    assert_eq!(most_held(6, 20), most_held(1, 20));
    // 100 faces is the most that it returns for a frame.
    let (live, held) = most_held(1, 100);
    assert_eq!(live, 100);
    assert!(held <= 50 * MOST_DETECTIONS + 50 * 2, "{held} detections were held");
}
