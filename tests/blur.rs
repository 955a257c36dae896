//! `facereel blur` with the real detector: no face is found where one is known to be, and everything else is kept.
//!
//! Some of the clips are checked at a few frames. `bench blur` looks at every frame of every clip in every style.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use face_detection::VideoInfo;
use facereel::commands::blur::{BlurError, Ffmpeg, Hiding, hide_tracks};
use lambdas::results::{BestMoment, Track};
use local_stack::{Installation, Silent};
use tests::clips::fixture;
use tests::hiding::Clip;
use tokio::sync::OnceCell;

/// The path of the ffmpeg that the command uses.
async fn program() -> PathBuf {
    // Found once, because this asks several interpreters for their version.
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let find = async || {
        if let Some(program) = env::var_os("FFMPEG") {
            return program.into();
        }
        let dir = Installation::find().unwrap().dependencies_dir().unwrap();
        local_stack::install_ffmpeg(&dir, &Silent).await.unwrap()
    };
    PROGRAM.get_or_init(find).await.clone()
}

/// Runs ffmpeg to its end; returns what it writes to the standard output.
async fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output =
        Command::new(program().await).args(["-nostdin", "-v", "error", "-y"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

async fn hide(video: &Path, tracks: Vec<Track>, hiding: &Hiding, out: &Path) -> Result<(), BlurError> {
    hide_tracks(&Ffmpeg::at(program().await), video, tracks, hiding, out, &Silent).await
}

/// A track that stays at its place, left, top, width and height, during the whole video.
fn still(place: [f32; 4], duration_ms: i64) -> Track {
    let timestamps_ms: Vec<i64> = (0..=duration_ms / 500).map(|sample| 500 * sample).collect();
    Track {
        id: 0,
        part: 0,
        continues: false,
        first_ms: 0,
        last_ms: timestamps_ms[timestamps_ms.len() - 1],
        detections: timestamps_ms.len(),
        mean_confidence: 99.0,
        best: BestMoment { timestamp_ms: 0, face: 0, bounding_box: place },
        faces: (0..timestamps_ms.len()).collect(),
        boxes: vec![place; timestamps_ms.len()],
        timestamps_ms,
    }
}

#[tokio::test]
async fn no_face_is_found_where_one_was() {
    let ffmpeg = Ffmpeg::at(program().await);
    for (clip, interval_ms) in [("tracking/fast", 300), ("tracking/returning", 400)] {
        let hidden = Clip::read(clip, interval_ms);
        assert!(hidden.expected() >= 20, "{clip}");
        assert_eq!(hidden.remaining(&ffmpeg, &Hiding::default()).await, [], "{clip}");
    }
}

/// The luma of every frame as a player shows it.
async fn shown(video: &Path) -> Vec<Vec<u8>> {
    let info = VideoInfo::read(video).unwrap();
    let (width, height) = info.rotation.turned(info.width, info.height);
    let video = video.to_string_lossy();
    let decode = ["-map", "0:V:0", "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", "-"];
    let raw = ffmpeg(&[&["-i", &video], &decode[..]].concat()).await;
    raw.chunks_exact(width * height).map(<[u8]>::to_vec).collect()
}

/// The peak signal-to-noise ratio, in dB, of the pixels in and outside of a box, over all frames.
#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn noise(before: &[Vec<u8>], after: &[Vec<u8>], width: usize, [left, top, across, down]: [f32; 4]) -> [f64; 2] {
    let height = before[0].len() / width;
    let mut sums = [(0.0, 0.0); 2];
    for (before, after) in before.iter().zip(after) {
        for (at, (before, after)) in before.iter().zip(after).enumerate() {
            let (x, y) = ((at % width) as f32 / width as f32, (at / width) as f32 / height as f32);
            // Next to its edge, a pixel belongs to neither.
            let inside = |slack: f32| {
                (left - slack..left + across + slack).contains(&x) && (top - slack..top + down + slack).contains(&y)
            };
            let sum = match (inside(-0.02), inside(0.02)) {
                (true, _) => &mut sums[0],
                (_, false) => &mut sums[1],
                _ => continue,
            };
            sum.0 += f64::from(before.abs_diff(*after)).powi(2);
            sum.1 += 1.0;
        }
    }
    sums.map(|(squares, count)| 10.0 * (255.0_f64.powi(2) / (squares / count).max(1e-9)).log10())
}

/// The place in the picture as it is shown, and no pixel elsewhere, is hidden in each of these videos.
#[tokio::test]
async fn only_the_place_of_the_face_changes_also_in_a_rotated_video() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["index-first", "rotated-90", "rotated-180", "rotated-270", "odd-size", "full-range"] {
        let (video, out) = (fixture(&format!("videos/{name}.mp4")), dir.path().join(format!("{name}.mp4")));
        let place = [0.1, 0.5, 0.3, 0.2];
        let hiding = Hiding { margin: 0.0, ..Hiding::default() };
        hide(&video, vec![still(place, 1000)], &hiding, &out).await.unwrap();
        let (before, after) = (VideoInfo::read(&video).unwrap(), VideoInfo::read(&out).unwrap());
        assert_eq!(before, after, "{name}");
        let (width, _) = after.rotation.turned(after.width, after.height);
        let [inside, outside] = noise(&shown(&video).await, &shown(&out).await, width, place);
        assert!(inside < 27.0 && outside > 38.0, "{name}: {inside:.1} dB inside, {outside:.1} dB outside");
    }
}

/// The time of every frame in units of the track, and the pixel format.
async fn frames(video: &Path) -> (Vec<String>, String) {
    let video = video.to_string_lossy();
    let list = ["-copyts", "-i", &video, "-map", "0:V:0", "-fps_mode", "passthrough", "-enc_time_base", "demux"];
    let list = ffmpeg(&[&list[..], &["-c:v", "wrapped_avframe", "-f", "framecrc", "-"]].concat()).await;
    let text = String::from_utf8(list).unwrap();
    let base = text.lines().find(|line| line.starts_with("#tb 0")).unwrap().to_owned();
    let times = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(',').nth(2).unwrap().trim().to_owned());
    let info = Command::new(program().await).args(["-hide_banner", "-i", &video]).output().unwrap().stderr;
    let info = String::from_utf8_lossy(&info).into_owned();
    let line = info.lines().find(|line| line.contains(": Video: ")).unwrap().to_owned();
    let format = line.split(", ").find(|part| part.starts_with("yuv")).unwrap().to_owned();
    let codec = line.split(": Video: ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    (times.collect(), format!("{codec} {format} {base}"))
}

#[tokio::test]
async fn every_frame_keeps_its_time_and_its_format() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "b-frames.mp4",
        "late-start.mp4",
        "fragmented.mp4",
        "full-range.mp4",
        "ten-bit.mp4",
        "hevc.mp4",
        "interlaced.mp4",
        "with-pcm.mov",
        "no-faces.mp4",
    ] {
        let (video, out) = (fixture(&format!("videos/{name}")), dir.path().join(name));
        hide(&video, vec![still([0.2, 0.2, 0.2, 0.4], 2000)], &Hiding::default(), &out).await.unwrap();
        assert_eq!(frames(&video).await, frames(&out).await, "{name}");
    }
}

/// A video with frames at uneven times, two sounds, subtitles, chapters, a title, a date and a cover.
async fn rich_video(dir: &Path) -> PathBuf {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    fs::write(path("text.srt"), "1\n00:00:00,200 --> 00:00:01,000\nHello\n\n").unwrap();
    let chapters = ";FFMETADATA1\ntitle=A title\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=700\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=700\nEND=2000\ntitle=Two\n";
    fs::write(path("chapters.txt"), chapters).unwrap();
    let clip = fixture("videos/b-frames.mp4").to_string_lossy().into_owned();
    ffmpeg(&["-i", &clip, "-frames:v", "1", &path("cover.png")]).await;
    let (cover, text, chapters, rich) = (path("cover.png"), path("text.srt"), path("chapters.txt"), path("rich.mp4"));
    let inputs = [
        "-i",
        &clip,
        "-f",
        "lavfi",
        "-i",
        "sine=440:d=2",
        "-f",
        "lavfi",
        "-i",
        "sine=880:d=2",
        "-i",
        &text,
        "-i",
        &chapters,
        "-i",
        &cover,
    ];
    let maps = [
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-map",
        "2:a",
        "-map",
        "3:s",
        "-map",
        "5:v",
        "-map_metadata",
        "4",
        "-map_chapters",
        "4",
    ];
    // Every seventh frame is missing, and the others keep their times.
    let codecs = [
        "-filter:v:0",
        "select='mod(n,7)'",
        "-fps_mode",
        "passthrough",
        "-c:v:0",
        "libx264",
        "-c:v:1",
        "png",
        "-disposition:v:1",
        "attached_pic",
        "-c:a",
        "aac",
        "-c:s",
        "mov_text",
    ];
    let metadata = [
        "-metadata",
        "creation_time=2024-05-06T07:08:09Z",
        "-metadata:s:a:1",
        "language=deu",
        "-metadata:s:s:0",
        "language=eng",
    ];
    ffmpeg(&[&inputs[..], &maps, &codecs, &metadata, &[&rich]].concat()).await;
    rich.into()
}

#[tokio::test]
async fn sound_subtitles_chapters_and_metadata_are_kept_and_a_cover_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (video, out) = (rich_video(dir.path()).await, dir.path().join("out.mp4"));
    hide(&video, vec![still([0.2, 0.2, 0.2, 0.4], 2000)], &Hiding::default(), &out).await.unwrap();
    assert_eq!(frames(&video).await, frames(&out).await);
    // The time and the hash of each packet.
    let packets = async |video: &Path, kind: &str| {
        let video = video.to_string_lossy();
        let text = ffmpeg(&["-i", &video, "-map", kind, "-c", "copy", "-f", "framehash", "-"]).await;
        let text = String::from_utf8(text).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    for kind in ["0:a:0", "0:a:1", "0:s:0"] {
        let (before, after) = (packets(&video, kind).await, packets(&out, kind).await);
        assert!(before.len() > 1, "{kind}: {before:?}");
        assert_eq!(before, after, "{kind}");
    }
    let info = async |video: &Path| {
        let messages = Command::new(program().await).args(["-hide_banner", "-i"]).arg(video).output().unwrap().stderr;
        String::from_utf8_lossy(&messages).into_owned()
    };
    let (before, after) = (info(&video).await, info(&out).await);
    let kept = [
        "A title",
        "2024-05-06T07:08:09",
        "title           : One",
        "title           : Two",
        "(deu): Audio",
        "(eng): Subtitle",
    ];
    for part in kept {
        assert!(before.contains(part) && after.contains(part), "{part} is not in {before} or {after}");
    }
    assert!(before.contains("attached pic") && !after.contains("attached pic"), "{after}");
}

#[tokio::test]
async fn a_damaged_video_and_a_full_disk_are_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    // Pseudo-random bytes in the second half of the frames.
    let mut bytes = fs::read(fixture("videos/b-frames.mp4")).unwrap();
    let end = bytes.windows(4).position(|window| window == b"moov").unwrap() - 4;
    let mut state = 1_u32;
    for byte in &mut bytes[end / 2..end] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    let (damaged, out) = (dir.path().join("damaged.mp4"), dir.path().join("out.mp4"));
    fs::write(&damaged, bytes).unwrap();
    let error = hide(&damaged, Vec::new(), &Hiding::default(), &out).await.unwrap_err();
    assert!(matches!(error, BlurError::Decode { .. }), "{error}");
    assert!(
        error.to_string().starts_with("ffmpeg cannot decode the video: ") && error.to_string().lines().count() == 1,
        "{error}"
    );

    // The encoder, which reads from a pipe, ends as on a full disk.
    let script = dir.path().join("ffmpeg");
    let text = "#!/bin/sh\ncase \"$*\" in *pipe:0*) echo 'av_interleaved_write_frame(): No space left on device' >&2; exit 1;; esac\nexec \"$REAL\" \"$@\"\n";
    let text = text.replace("$REAL", &program().await.to_string_lossy());
    // Another process writes it: Linux does not start a file that a process of another test has inherited for writing.
    let write = "printf %s \"$1\" > \"$0\" && chmod 700 \"$0\"";
    assert!(Command::new("sh").args(["-c", write]).arg(&script).arg(text).status().unwrap().success());
    let video = fixture("videos/b-frames.mp4");
    let error =
        hide_tracks(&Ffmpeg::at(script), &video, Vec::new(), &Hiding::default(), &out, &Silent).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("the disk of {} is full", out.display())), "{error}");
}
