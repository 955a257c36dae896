//! The results: complete, true, and never changed once their manifest is written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::clock::{MINUTE, Ms, SECOND};
use crate::content::Faces;
use crate::identity::{RESULT_FOLDERS, idempotency_key, result_folder};
use crate::rekognition::{JobOutcome, SimulatedJob};
use crate::world::{RESULTS, UPLOADS, World};

/// The last object of a result.
const MANIFEST: &str = "manifest.json";

/// The most faces on a page, whatever Rekognition is asked for.
const MAX_FACES_ON_PAGE: usize = 1000;

/// The upper bound of the time between the last look at an object without a version and the Start call: Rekognition may
/// read an object that is uploaded in this time. Longer with faults, because calls are repeated.
fn overwritten_unseen(world: &World) -> Ms {
    if world.fault_free { 10 * SECOND } else { 5 * MINUTE }
}

/// Every good video in the upload bucket has a result.
pub(super) fn videos_have_results(world: &World) -> Vec<String> {
    let found: BTreeSet<_> = manifests(world)
        .map(|(_, manifest)| {
            let text = |field: &str| manifest["video"][field].as_str().map(str::to_owned);
            (text("key").unwrap_or_default(), text("version_id"), text("etag").unwrap_or_default())
        })
        .collect();
    let objects = world.s3.all(UPLOADS);
    let missing = objects.filter(|(key, object)| {
        let video = (key.to_string(), object.kept_version(), object.etag.clone());
        let wanted = world.contents[&object.etag].kind.errors().is_empty() && !world.was_given_up(key);
        wanted && !found.contains(&video)
    });
    missing.map(|(key, object)| format!("{key} {:?} has no result", object.version)).collect()
}

/// Every manifest is true: it names its video and its job, and each object that it names exists, with exactly the faces
/// that Rekognition has found.
pub(super) fn results_are_complete(world: &World) -> Vec<String> {
    let mut violations = Vec::new();
    for (key, manifest) in manifests(world) {
        let folder = key.strip_suffix(MANIFEST).expect("the key of a manifest");
        let found = of_result(world, folder, &manifest);
        violations.extend(found.into_iter().map(|violation| format!("{key}: {violation}")));
    }
    violations
}

fn of_result(world: &World, folder: &str, manifest: &Value) -> Vec<String> {
    let id = manifest["job"]["job_id"].as_str().unwrap_or_default();
    let Some(job) = world.rekognition.jobs.get(id) else { return vec![format!("the job {id} does not exist")] };
    let JobOutcome::Succeeds(faces) = &job.outcome else { return vec![format!("the job {id} failed")] };
    let mut violations = of_identity(world, folder, manifest, job, faces);
    let body = |key: &str| world.s3.get(RESULTS, key, None).map(|object| object.body.clone()).unwrap_or_default();

    let (pages, lines) = pages(world, folder, faces);
    let stored: Vec<_> = pages.iter().map(|page| body(page["key"].as_str().unwrap_or_default())).collect();
    if manifest["faces"] != faces.count || stored.concat() != lines.as_bytes() {
        let count = &manifest["faces"];
        violations.push(format!("its {count} faces are not the {} that Rekognition found", faces.count));
    }
    if manifest["pages"] != json!(pages) {
        violations.push(format!("its pages are {} instead of {}", manifest["pages"], json!(pages)));
    }
    for (object, name) in [("summary", "summary.json"), ("report", "report.html")] {
        let key = format!("{folder}{name}");
        if manifest[object]["key"] != key || manifest[object]["bytes"] != body(&key).len() || body(&key).is_empty() {
            violations.push(format!("its {object} is missing or has another size"));
        }
    }
    let summary: Value = serde_json::from_slice(&body(&format!("{folder}summary.json"))).unwrap_or_default();
    if summary["video"] != manifest["video"] || summary["job"] != manifest["job"] {
        violations.push("its summary belongs to another result".to_owned());
    }
    violations.extend(of_summary(&summary, faces));
    let (tracks, found) = (tracks(faces), stored_tracks(folder, &manifest["tracks"], body));
    if found.as_ref() != Ok(&tracks) || summary["tracks"] != tracks.len() {
        violations.push(match found {
            Ok(found) => format!("its tracks are not the {} of its faces, but {}", tracks.len(), found.len()),
            Err(violation) => violation,
        });
    }
    violations
}

/// The video is one that was uploaded, and the job's idempotency key and the folder are those of its content.
fn of_identity(world: &World, folder: &str, manifest: &Value, job: &SimulatedJob, faces: &Faces) -> Vec<String> {
    let (video, identified) = (&manifest["video"], &manifest["job"]);
    let uploaded = world.uploaded.iter().filter(|(_, key, _)| *key == video["key"]);
    let same = |object: &crate::s3::Object| {
        video["etag"] == object.etag
            && video["bytes"] == object.size
            && video["version_id"].as_str() == object.kept_version().as_deref()
    };
    let Some((_, key, object)) = uploaded.clone().find(|(_, _, object)| same(object)) else {
        return vec![format!("the video {video} was never uploaded")];
    };
    let mut violations = Vec::new();
    let content = object.kept_version().unwrap_or_else(|| object.etag.clone());
    let attempt = identified["attempt"].as_u64().unwrap_or(u64::MAX);
    let expected = idempotency_key(key, &content, &job.topic, attempt);
    if identified["idempotency_key"] != expected || job.idempotency_key != expected {
        violations.push(format!("its idempotency key is not {expected}, as the video and the attempt require"));
    }
    if folder != result_folder(key, &expected) {
        violations.push(format!("its folder is not {}", result_folder(key, &expected)));
    }
    if faces.content != world.contents[&object.etag] {
        // Rekognition has read another object: only one that was uploaded just before the job was started.
        let mut newer = uploaded.filter(|(_, _, other)| world.contents[&other.etag] == faces.content);
        let unseen = newer.any(|(at, ..)| *at <= job.started && job.started < at + overwritten_unseen(world));
        if object.kept_version().is_some() || !unseen {
            violations.push("the faces belong to another video".to_owned());
        }
    }
    violations
}

/// The pages of a result as a manifest describes them, and all their lines.
fn pages(world: &World, folder: &str, faces: &Faces) -> (Vec<Value>, String) {
    let size = world.rekognition.faces_per_page.min(MAX_FACES_ON_PAGE);
    let (mut pages, mut all) = (Vec::new(), String::new());
    // A result without faces has one page.
    while pages.is_empty() || pages.len() * size < faces.count {
        let (from, index) = (pages.len() * size, pages.len());
        let until = faces.count.min(from + size);
        let lines = faces.lines(from..until);
        let (first, last) = ((from < until).then_some(from), (from < until).then(|| until - 1));
        pages.push(json!({
            "key": format!("{folder}faces/{index:05}.jsonl"),
            "bytes": lines.len(),
            "faces": until - from,
            "first_ms": first.map(Faces::timestamp),
            "last_ms": last.map(Faces::timestamp),
        }));
        all += &lines;
    }
    (pages, all)
}

/// The tracks of these faces, which never move: for each of them its faces. A face that is not seen for more than a second begins
/// another track.
fn tracks(faces: &Faces) -> Vec<Vec<usize>> {
    let mut tracks: Vec<Vec<usize>> = Vec::new();
    let mut last = BTreeMap::new();
    for index in 0..faces.count {
        let (place, at) = (Faces::place(index), Faces::timestamp(index));
        let before = last.get(&place).filter(|(seen, _)| at - seen <= 1000);
        let track = before.map_or(tracks.len(), |(_, track)| *track);
        if track == tracks.len() {
            tracks.push(Vec::new());
        }
        tracks[track].push(index);
        last.insert(place, (at, track));
    }
    tracks
}

/// The faces of each track in the objects that a manifest names, whose sizes, times and parts must be right.
fn stored_tracks(
    folder: &str,
    objects: &Value,
    body: impl Fn(&str) -> std::sync::Arc<[u8]>,
) -> Result<Vec<Vec<usize>>, String> {
    let mut tracks: BTreeMap<u64, (Vec<usize>, u64, bool)> = BTreeMap::new();
    for (number, object) in objects.as_array().into_iter().flatten().enumerate() {
        let key = format!("{folder}tracks/{number:05}.jsonl");
        let lines = body(&key);
        let mut found: Vec<Value> = Vec::new();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            found.push(serde_json::from_slice(line).map_err(|error| format!("a line of {key} is not JSON: {error}"))?);
        }
        let time = |track: &Value, field: &str| track[field].as_u64().unwrap_or(u64::MAX);
        let expected = json!({
            "key": key,
            "bytes": lines.len(),
            "lines": found.len(),
            "first_ms": found.iter().map(|track| time(track, "first_ms")).min(),
            "last_ms": found.iter().map(|track| time(track, "last_ms")).max(),
        });
        if *object != expected {
            return Err(format!("an object with tracks is {object} instead of {expected}"));
        }
        for track in found {
            let faces = track["faces"].as_array().into_iter().flatten();
            let faces: Vec<usize> = faces.filter_map(|face| usize::try_from(face.as_u64()?).ok()).collect();
            let times: Vec<_> = faces.iter().map(|face| Faces::timestamp(*face)).collect();
            let (whole, parts, continues) =
                tracks.entry(track["id"].as_u64().unwrap_or(u64::MAX)).or_insert((Vec::new(), 0, true));
            let right = *continues && track["part"] == *parts && track["timestamps_ms"] == json!(times);
            let right = right && track["detections"] == faces.len();
            let right = right && Some(time(&track, "first_ms")) == times.first().map(|time| *time as u64);
            if !(right && Some(time(&track, "last_ms")) == times.last().map(|time| *time as u64)) {
                return Err(format!("{key} has a wrong track: {track}"));
            }
            whole.extend(faces);
            *parts += 1;
            *continues = track["continues"] == true;
        }
    }
    if !tracks.keys().copied().eq(0..tracks.len() as u64) || tracks.values().any(|(.., continues)| *continues) {
        return Err("its tracks are not all of those that have begun".to_owned());
    }
    Ok(tracks.into_values().map(|(faces, ..)| faces).collect())
}

/// The summary has the numbers of these faces.
fn of_summary(summary: &Value, faces: &Faces) -> Vec<String> {
    let (mut frames, mut seconds) = (BTreeMap::<usize, u64>::new(), BTreeMap::<usize, (u64, u64)>::new());
    for index in 0..faces.count {
        let at = Faces::timestamp(index);
        *frames.entry(at).or_default() += 1;
        let (count, ten_thousandths) = seconds.entry(at / 1000).or_default();
        *count += 1;
        *ten_thousandths += faces.ten_thousandths(index);
    }
    // The first of the frames with the most faces.
    let most = frames.iter().max_by_key(|(at, count)| (**count, std::cmp::Reverse(**at)));
    let timeline = seconds.iter().map(|(second, (count, _))| {
        let frames = frames.range(second * 1000..(second + 1) * 1000);
        let most = frames.clone().map(|(_, count)| count).max();
        json!({ "second": second, "faces": count, "frames": frames.count(), "most_faces": most })
    });
    let expected = json!({
        "faces": faces.count,
        "frames_with_faces": frames.len(),
        "most_faces": most.map(|(at, count)| json!({ "faces": count, "timestamp_ms": at })),
        "timeline": timeline.collect::<Vec<_>>(),
        "duration_ms": faces.duration_ms(),
    });
    let mut found = json!({ "duration_ms": summary["metadata"]["duration_ms"] });
    for field in ["faces", "frames_with_faces", "most_faces", "timeline"] {
        found[field] = summary[field].clone();
    }
    let means = seconds.values().map(|(count, ten_thousandths)| mean(*count, *ten_thousandths));
    let means: Vec<_> = means.collect();
    let timeline = found["timeline"].as_array_mut().into_iter().flatten();
    let found_means = timeline.map(|second| second.as_object_mut().and_then(|second| second.remove("mean_confidence")));
    let found_means: Vec<_> = found_means.map(|mean| mean.and_then(|mean| mean.as_f64()).unwrap_or_default()).collect();
    let close = means.iter().zip(&found_means).all(|(one, other)| (one - other).abs() < 1e-6);
    if found == expected && close { Vec::new() } else { vec![format!("its summary is {found} instead of {expected}")] }
}

/// The mean confidence in percent of some faces, from the sum of their ten-thousandths above 99 percent.
#[expect(clippy::cast_precision_loss, reason = "a video has fewer than 2^52 faces")]
fn mean(count: u64, ten_thousandths: u64) -> f64 {
    99.0 + ten_thousandths as f64 / 10_000.0 / count as f64
}

/// A manifest is written after every object that it names. After that, no page and no object with tracks in its folder changes, and no
/// manifest of another job replaces it.
pub(super) fn results_do_not_change(world: &World) -> Vec<String> {
    let (mut written, mut complete, mut violations) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for write in world.s3.writes(RESULTS) {
        let key = &write.key;
        if let Some(folder) = key.strip_suffix(MANIFEST) {
            let manifest: Value = serde_json::from_slice(&write.body).expect("a manifest is JSON");
            let listed =
                ["pages", "tracks"].into_iter().flat_map(|objects| manifest[objects].as_array().into_iter().flatten());
            for object in listed.chain([&manifest["summary"], &manifest["report"]]) {
                let object = object["key"].as_str().unwrap_or_default();
                if !written.contains_key(object) {
                    violations.push(format!("{key} was written before {object}"));
                }
            }
            let job = manifest["job"]["job_id"].clone();
            let earlier = complete.insert(folder.to_owned(), job.clone());
            if earlier.is_some_and(|earlier| earlier != job) {
                violations.push(format!("{key} was replaced by the manifest of another job"));
            }
        } else if let Some((folder, _)) = key.split_once("faces/").or_else(|| key.split_once("tracks/"))
            && complete.contains_key(folder)
            && written.get(key) != Some(&write.etag)
        {
            violations.push(format!("{key} was changed after its manifest was written"));
        }
        written.insert(key.clone(), write.etag.clone());
    }
    violations
}

/// The current manifests, with their keys.
fn manifests(world: &World) -> impl Iterator<Item = (&str, Value)> {
    let documents = world.s3.keys(RESULTS, RESULT_FOLDERS).filter(|(key, _)| key.ends_with(MANIFEST));
    documents.map(|(key, object)| (key, serde_json::from_slice(&object.body).expect("a manifest is JSON")))
}
