//! Every path through the state machine, on the local emulator, with the real Lambda functions.

use std::path::{Path, PathBuf};
use std::process::Command;

use face_detection::{CenterFace, FaceDetection};
use facereel::commands::verify::{FoundFace, Picture, Score};
use lambdas::{job::FaceAttributes, layout};
use local_stack::Silent;
use rekognition_local::{Call, Fault, JobStatus, Refusal};
use serde_json::json;
use tests::workflow::{ANY_VIDEO, Canned, Gated, Rig, model};

/// The states of an execution whose pages are in this number of windows.
fn states(windows: usize) -> Vec<&'static str> {
    let window = ["ReadPages", "MorePages?"];
    ["InspectVideo", "StartDetection"].into_iter().chain(window.repeat(windows)).chain(["Summarize"]).collect()
}

fn sample_clip(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sample-clip").join(file)
}

mod pages {
    use super::*;

    #[tokio::test]
    async fn one_page() {
        let detector = Canned::faces(7);
        let rig = Rig::start(detector.clone()).await;
        let execution = rig.upload("one-page.mp4", ANY_VIDEO).await;
        let results = rig.results_of(&execution.arn).await;
        assert_eq!(results.faces, detector.faces);
        assert_eq!(results.manifest.pages.len(), 1);
        assert_eq!(rig.states_of(&execution.arn).await, states(1));
        assert_eq!(rig.billed(), 1);
    }

    #[tokio::test]
    async fn many_pages() {
        let detector = Canned::faces(25);
        let rig = Rig::with(detector.clone(), |options| options.page_limit = 4).await;
        let execution = rig.upload("many-pages.mp4", ANY_VIDEO).await;
        let results = rig.results_of(&execution.arn).await;
        assert_eq!(results.faces, detector.faces);
        assert_eq!(results.manifest.pages.len(), 7);
        assert_eq!(rig.states_of(&execution.arn).await, states(2));
    }

    #[tokio::test]
    async fn many_windows() {
        let detector = Canned::faces(250);
        let rig = Rig::with(detector.clone(), |options| options.page_limit = 1).await;
        let execution = rig.upload("many-windows.mp4", ANY_VIDEO).await;
        let results = rig.results_of(&execution.arn).await;
        assert_eq!(results.faces, detector.faces);
        assert_eq!(results.manifest.pages.len(), 250);
        assert_eq!(rig.states_of(&execution.arn).await, states(21));
    }

    /// The last window is full: there must be no empty one after it.
    #[tokio::test]
    async fn a_full_last_window() {
        let rig = Rig::with(Canned::faces(11), |options| options.page_limit = 1).await;
        let execution = rig.upload("whole-window.mp4", ANY_VIDEO).await;
        assert_eq!(rig.results_of(&execution.arn).await.manifest.pages.len(), 11);
        assert_eq!(rig.states_of(&execution.arn).await, states(2));
    }

    #[tokio::test]
    async fn no_faces_at_all() {
        let rig = Rig::start(Canned::faces(0)).await;
        let execution = rig.upload("empty-room.mp4", ANY_VIDEO).await;
        let results = rig.results_of(&execution.arn).await;
        assert_eq!((results.faces.len(), results.summary.most_faces), (0, None));
        assert_eq!(results.manifest.pages.len(), 1);
        assert_eq!(rig.states_of(&execution.arn).await, states(1));
    }
}

mod refused_videos {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_not_a_video_fails_without_a_job() {
        let rig = Rig::start(Canned::faces(1)).await;
        for (key, body, expected) in
            [("text.mp4", &b"hello, this is plain text"[..], "NotAVideo"), ("short.mov", b"ftyp", "NotAVideo")]
        {
            let execution = rig.upload(key, body).await;
            let (error, cause) = rig.failure_of(&execution.arn).await;
            assert_eq!(error, expected, "{cause}");
            assert!(cause.contains(key), "{cause}");
            assert_eq!(rig.states_of(&execution.arn).await, ["InspectVideo"]);
        }
        assert_eq!(rig.workflow.rekognition.calls().start, 0);
        assert_eq!(rig.result_keys("results/").await, [""; 0]);
        rig.until_nothing_waits().await;
    }

    #[tokio::test]
    async fn an_empty_file_fails() {
        let rig = Rig::start(Canned::faces(1)).await;
        rig.workflow.uploads.put("empty.mp4", Vec::new()).await.unwrap();
        let input = json!({ "bucket": rig.workflow.stack.upload_bucket, "key": "empty.mp4" });
        let (error, cause) = rig.failure_of(&rig.workflow.executions.start(&input).await.unwrap()).await;
        assert_eq!(error, "VideoEmpty", "{cause}");
    }

    #[tokio::test]
    async fn a_deleted_video_fails() {
        let rig = Rig::start(Canned::faces(1)).await;
        let execution = rig.upload("gone.mp4", ANY_VIDEO).await;
        rig.end_of(&execution.arn).await;
        rig.workflow.uploads.delete("gone.mp4").await.unwrap();
        // As if the event were delivered again, late.
        let (error, cause) = rig.failure_of(&rig.start_again(&execution).await).await;
        assert_eq!(error, "VideoNotFound", "{cause}");
        assert!(cause.contains("gone.mp4"), "{cause}");
    }

    #[tokio::test]
    async fn an_input_without_a_video_fails() {
        let rig = Rig::start(Canned::faces(1)).await;
        for input in [json!({ "bucket": "facereel-uploads" }), json!({ "Records": [] }), json!("holiday.mp4")] {
            let arn = rig.workflow.executions.start(&input).await.unwrap();
            let (error, cause) = rig.failure_of(&arn).await;
            assert_eq!(error, "InvalidInput", "{input}: {cause}");
        }
    }

    #[tokio::test]
    async fn an_incomplete_video_fails() {
        let rig = Rig::start(CenterFace::load(model().await).unwrap()).await;
        let whole = std::fs::read(sample_clip("sample.mp4")).unwrap();
        let execution = rig.upload("half.mp4", &whole[..whole.len() / 2]).await;
        let (error, cause) = rig.failure_of(&execution.arn).await;
        assert_eq!(error, "JobFailed", "{cause}");
        assert!(cause.contains("not a readable MP4"), "{cause}");
        assert_eq!(rig.result_keys("results/").await, [""; 0]);
    }
}

mod failed_jobs {
    use super::*;

    #[tokio::test]
    async fn the_cause_of_a_failed_job_is_rekognitions_message() {
        for fault in [
            Fault::JobFails { message: "the codec is not supported".into() },
            Fault::JobErrors { message: "the codec is not supported".into() },
        ] {
            let rig = Rig::start(Canned::faces(1)).await;
            rig.workflow.rekognition.faults().inject(fault);
            let execution = rig.upload("bad.mp4", ANY_VIDEO).await;
            let (error, cause) = rig.failure_of(&execution.arn).await;
            assert_eq!(error, "JobFailed");
            assert!(cause.contains("the codec is not supported"), "{cause}");
            assert_eq!(rig.billed(), 1);
            assert_eq!(rig.states_of(&execution.arn).await, ["InspectVideo", "StartDetection"]);
            assert_eq!(rig.result_keys("results/").await, [""; 0]);
            rig.until_nothing_waits().await;
        }
    }

    /// The failure is reported before Start has returned. It must not count as a failure that an earlier execution has seen.
    #[tokio::test]
    async fn a_job_that_fails_before_start_has_returned_is_billed_once() {
        let rig = Rig::start(Canned::faces(1)).await;
        rig.workflow.rekognition.faults().inject(Fault::JobFails { message: "the codec is not supported".into() });
        rig.workflow.rekognition.faults().inject(Fault::MessageEarly);
        let execution = rig.upload("fails-early.mp4", ANY_VIDEO).await;
        let (error, cause) = rig.failure_of(&execution.arn).await;
        assert_eq!(error, "JobFailed", "{cause}");
        rig.until_nothing_waits().await;
        assert_eq!(rig.billed(), 1);
    }

    #[tokio::test]
    async fn a_replay_starts_exactly_one_new_job() {
        let rig = Rig::start(Canned::faces(5)).await;
        rig.workflow.rekognition.faults().inject(Fault::JobFails { message: "internal error".into() });
        let execution = rig.upload("twice.mp4", ANY_VIDEO).await;
        rig.failure_of(&execution.arn).await;
        assert_eq!(rig.billed(), 1);

        let replay = rig.start_again(&execution).await;
        let results = rig.results_of(&replay).await;
        assert_eq!(results.manifest.job.attempt, 1);
        assert_eq!(results.faces.len(), 5);
        assert_eq!(rig.billed(), 2);
    }

    #[tokio::test]
    async fn a_job_that_rekognition_has_deleted_is_started_again() {
        let rig = Rig::start(Canned::faces(5)).await;
        let execution = rig.upload("old.mp4", ANY_VIDEO).await;
        let first = rig.results_of(&execution.arn).await;
        let job = first.manifest.job;
        // Rekognition deletes results after 7 days. A job that ended a moment ago counts as not visible yet.
        let completed = json!({ "job_id": job.job_id, "seen_ms": 0 }).to_string();
        rig.workflow.results.put(&layout::completed_job(&job.idempotency_key), completed.into_bytes()).await.unwrap();
        rig.workflow.rekognition.faults().inject(Fault::ForgetJob { job_id: job.job_id });

        let second = rig.results_of(&rig.start_again(&execution).await).await;
        assert_eq!(second.manifest.job.attempt, 1);
        assert_eq!(rig.billed(), 2);
    }
}

mod never_pays_twice {
    use super::*;

    #[tokio::test]
    async fn a_duplicate_event_waits_for_the_same_job() {
        let (gate, detector) = Gated::before(Canned::faces(4));
        let rig = Rig::start(detector).await;
        let first = rig.upload("duplicate.mp4", ANY_VIDEO).await;
        let second = rig.start_again(&first).await;
        rig.until("both executions wait", async || rig.result_keys("callbacks/").await.len() == 2).await;
        gate.open();

        let results = [rig.results_of(&first.arn).await, rig.results_of(&second).await];
        assert_eq!(results[0].manifest.job, results[1].manifest.job);
        assert_eq!(rig.billed(), 1);
    }

    #[tokio::test]
    async fn a_second_execution_of_the_same_video_is_free() {
        let rig = Rig::start(Canned::faces(4)).await;
        let first = rig.upload("again.mp4", ANY_VIDEO).await;
        rig.results_of(&first.arn).await;
        let manual = json!({ "bucket": rig.workflow.stack.upload_bucket, "key": "again.mp4" });
        let second = rig.workflow.executions.start(&manual).await.unwrap();
        assert_eq!(rig.results_of(&second).await.faces.len(), 4);
        assert_eq!(rig.states_of(&second).await, states(1));
        assert_eq!(rig.billed(), 1);
    }

    #[tokio::test]
    async fn another_video_under_the_same_key_is_another_job() {
        let rig = Rig::start(Canned::faces(4)).await;
        let first = rig.upload("same.mp4", ANY_VIDEO).await;
        let first = rig.results_of(&first.arn).await;
        rig.workflow.uploads.put("same.mp4", [ANY_VIDEO, b"another"].concat()).await.unwrap();
        rig.until("the second upload has started an execution", async || {
            rig.workflow.executions.about("same.mp4").await.unwrap().len() == 2
        })
        .await;
        let mut keys = Vec::new();
        for execution in rig.workflow.executions.about("same.mp4").await.unwrap() {
            keys.push(rig.results_of(&execution.arn).await.manifest.job.idempotency_key);
        }
        assert!(keys.contains(&first.manifest.job.idempotency_key));
        assert_ne!(keys[0], keys[1]);
        assert_eq!(rig.billed(), 2);
    }
}

mod completions {
    use super::*;

    #[tokio::test]
    async fn a_message_before_start_has_returned() {
        let rig = Rig::start(Canned::faces(3)).await;
        rig.workflow.rekognition.faults().inject(Fault::MessageEarly);
        let execution = rig.upload("early.mp4", ANY_VIDEO).await;
        assert_eq!(rig.results_of(&execution.arn).await.faces.len(), 3);
        assert_eq!(rig.billed(), 1);
    }

    #[tokio::test]
    async fn a_message_that_comes_late() {
        const HOUR: u64 = 3_600_000;
        let (gate, detector) = Gated::before(Canned::faces(3));
        let rig = Rig::start(detector).await;
        rig.workflow.rekognition.faults().inject(Fault::MessageLate { millis: HOUR });
        let execution = rig.upload("late.mp4", ANY_VIDEO).await;
        rig.until_a_job_is_recorded().await;
        gate.open();
        rig.until("the job has ended", async || rig.workflow.rekognition.jobs()[0].status == JobStatus::Succeeded)
            .await;
        assert!(rig.workflow.executions.describe(&execution.arn).await.unwrap().is_running());
        rig.workflow.rekognition.faults().inject(Fault::TimePasses { millis: HOUR });
        assert_eq!(rig.results_of(&execution.arn).await.faces.len(), 3);
    }

    #[tokio::test]
    async fn a_message_that_comes_twice() {
        let (gate, detector) = Gated::before(Canned::faces(3));
        let rig = Rig::start(detector).await;
        rig.workflow.rekognition.faults().inject(Fault::MessageTwice);
        let execution = rig.upload("twice.mp4", ANY_VIDEO).await;
        rig.until_a_job_is_recorded().await;
        gate.open();
        assert_eq!(rig.results_of(&execution.arn).await.faces.len(), 3);
        assert_eq!(rig.states_of(&execution.arn).await, states(1));
        assert_eq!(rig.billed(), 1);
    }
}

mod quotas {
    use super::*;

    #[tokio::test]
    async fn a_video_waits_for_a_slot_and_gets_it() {
        let (gate, detector) = Gated::before(Canned::faces(2));
        let rig = Rig::with(detector, |options| options.max_jobs = 1).await;
        let first = rig.upload("first.mp4", ANY_VIDEO).await;
        rig.until("the first job runs", async || rig.billed() == 1).await;
        let second = rig.upload("second.mp4", ANY_VIDEO).await;
        rig.until("the second was refused a slot", async || rig.workflow.rekognition.calls().start == 2).await;
        assert_eq!(rig.billed(), 1);
        gate.open();

        for execution in [&first, &second] {
            assert_eq!(rig.results_of(&execution.arn).await.faces.len(), 2);
            assert_eq!(rig.states_of(&execution.arn).await, states(1));
        }
        assert_eq!(rig.billed(), 2);
    }

    #[tokio::test]
    async fn a_throttled_start_is_retried() {
        // The function waits while it is throttled. Any other refusal fails the task, whose Retry calls it again.
        for (error, times, expected) in [
            (Refusal::Throttling, 1, None),
            (Refusal::ProvisionedThroughputExceeded, 6, None),
            (Refusal::InternalServer, 1, Some("ServiceUnavailable")),
        ] {
            let rig = Rig::start(Canned::faces(2)).await;
            rig.workflow.rekognition.faults().inject(Fault::Busy { call: Call::Start, error, times });
            let execution = rig.upload("busy.mp4", ANY_VIDEO).await;
            assert_eq!(rig.results_of(&execution.arn).await.faces.len(), 2);
            let errors = rig.errors_of(&execution.arn).await;
            assert!(errors.iter().eq(expected.iter()), "{error:?}: {errors:?}");
            assert_eq!(rig.billed(), 1);
        }
    }

    /// Four refusals are one more than the retries of the SDK.
    #[tokio::test]
    async fn a_throttled_get_is_retried() {
        let rig = Rig::start(Canned::faces(2)).await;
        let busy = Fault::Busy { call: Call::Get, error: Refusal::ProvisionedThroughputExceeded, times: 4 };
        rig.workflow.rekognition.faults().inject(busy);
        let execution = rig.upload("busy.mp4", ANY_VIDEO).await;
        assert_eq!(rig.results_of(&execution.arn).await.faces.len(), 2);
        assert_eq!(rig.billed(), 1);
    }
}

mod uploads {
    use super::*;

    #[tokio::test]
    async fn an_upload_in_parts_starts_an_execution() {
        let rig = Rig::start(Canned::faces(2)).await;
        let file = sample_clip("sample.mp4");
        rig.workflow.uploads.upload_in_parts("in parts.mp4", &file, &Silent).await.unwrap();
        let execution = rig.workflow.execution_of("in parts.mp4").await.unwrap();
        assert_eq!(execution.input["detail"]["reason"], "CompleteMultipartUpload");
        let results = rig.results_of(&execution.arn).await;
        assert_eq!(results.manifest.video.bytes, std::fs::metadata(file).unwrap().len());
    }

    #[tokio::test]
    async fn keys_stay_raw_from_the_upload_to_the_results() {
        let long = format!("{}/{}.mp4", "é".repeat(400), "k".repeat(1024 - 800 - 5));
        assert_eq!(long.len(), 1024);
        let keys = [
            "with space.mp4",
            "a+b.mp4",
            "100%2Fraw%20.mp4",
            "\"quoted\" 'too'.mp4",
            "folder/🎬 fête.mp4",
            "UPPER.MOV",
            &long,
        ];
        let rig = Rig::start(Canned::faces(2)).await;
        rig.workflow.uploads.put("notes.txt", ANY_VIDEO).await.unwrap();
        // Some clients write zero bytes before they write the file.
        rig.workflow.uploads.put("placeholder.mp4", Vec::new()).await.unwrap();
        for key in keys {
            rig.workflow.uploads.put(key, ANY_VIDEO).await.unwrap();
        }
        for key in keys {
            let execution = rig.workflow.execution_of(key).await.unwrap();
            assert_eq!(execution.input["detail"]["reason"], "PutObject", "{key}");
            let results = rig.results_of(&execution.arn).await;
            assert_eq!(results.manifest.video.key, key);
            if key != long {
                let page = &results.manifest.pages[0].key;
                assert!(page.starts_with(&format!("results/{key}/")), "{page}");
            }
        }
        assert_eq!(rig.workflow.executions.about("notes.txt").await.unwrap(), [], "a text file starts no execution");
        let placeholder = rig.workflow.executions.about("placeholder.mp4").await.unwrap();
        assert_eq!(placeholder, [], "an empty file starts no execution");
        assert_eq!(rig.billed(), keys.len() as u64);
    }
}

mod real_faces {
    use super::*;

    #[tokio::test]
    async fn the_sample_clips_faces_are_found() {
        let detector = CenterFace::load(model().await).unwrap();
        let rig = Rig::with(detector, |options| {
            options.page_limit = 10;
            options.attributes = FaceAttributes::All;
        })
        .await;
        let clip = std::fs::read(sample_clip("sample.mp4")).unwrap();
        let execution = rig.upload("sample.mp4", &clip).await;
        let results = rig.results_of(&execution.arn).await;

        let found =
            |face: &FaceDetection| FoundFace { timestamp: face.timestamp, bounding_box: face.face.bounding_box };
        let found: Vec<_> = results.faces.iter().map(found).collect();
        let score = Score::of(&found, Picture::Stored);
        println!("sample clip: recall {:.3}, precision {:.3}, {score:?}", score.recall(), score.precision());
        assert!(score.recall() >= 0.9, "{score:?}");
        assert!(score.precision() >= 0.9, "{score:?}");
        assert_eq!(results.summary.metadata.duration_ms, Some(12_000));
        assert_eq!(results.summary.metadata.codec.as_deref(), Some("h264"));
        assert_eq!(results.summary.most_faces.map(|moment| moment.faces), Some(3));
    }
}

mod view {
    use clap::Parser;
    use facereel::commands::{export::Export, view::View};
    use local_stack::Silent;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        export: Export,
    }

    /// The answer's head and body.
    async fn get(url: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
        let host = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
        (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end..].to_vec())
    }

    #[tokio::test]
    async fn results_and_video_are_served_and_exported_from_s3() {
        let key = "folder/my trip+1%20.mp4";
        let rig = Rig::start(Canned::faces(2)).await;
        let video = std::fs::read(sample_clip("sample.mp4")).unwrap();
        let execution = rig.upload(key, &video).await;
        let results = rig.results_of(&execution.arn).await;

        let idempotency_key = &results.manifest.job.idempotency_key;
        let place = format!("s3://{}/results/{key}/{idempotency_key}/", rig.workflow.stack.results_bucket);
        let viewer = View::of(&place, None).prepare(Some(rig.workflow.emulator.aws())).await.unwrap();
        let url = viewer.url();
        let task = tokio::spawn(viewer.serve());

        for (name, expected) in [
            ("/results/0/manifest.json", serde_json::to_value(&results.manifest).unwrap()),
            ("/results/0/summary.json", serde_json::to_value(&results.summary).unwrap()),
        ] {
            let (_, body) = get(&url, name, "").await;
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected, "{name}");
        }
        let (_, page) = get(&url, "/results/0/faces/00000.jsonl", "").await;
        assert_eq!(page, rig.workflow.results.read(&results.manifest.pages[0].key).await.unwrap());

        let (head, body) = get(&url, "/results/0/video", "").await;
        assert!(head.starts_with("http/1.1 200") && head.contains("accept-ranges: bytes"), "{head}");
        assert!(body == video, "{} bytes of the video's {}", body.len(), video.len());
        let (head, body) = get(&url, "/results/0/video", "Range: bytes=1000-1999\r\n").await;
        assert!(head.starts_with("http/1.1 206"), "{head}");
        assert!(head.contains(&format!("content-range: bytes 1000-1999/{}", video.len())), "{head}");
        assert!(body == video[1000..2000], "another part of the video");
        task.abort();

        // The same result, exported: a row for each face.
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("faces.csv");
        let arguments = ["export", &place, "--to", "csv", "--of", "detections", "--out", out.to_str().unwrap()];
        let command = Command::try_parse_from(arguments).unwrap();
        command.export.run(Some(rig.workflow.emulator.aws()), &Silent).await.unwrap();
        let csv = std::fs::read_to_string(out).unwrap();
        assert_eq!(csv.lines().count(), 1 + results.summary.faces, "{csv}");
        assert!(csv.lines().skip(1).all(|row| row.starts_with("folder/my trip+1%20.mp4,")), "{csv}");
    }

    #[tokio::test]
    async fn an_incomplete_result_is_an_error() {
        let rig = Rig::start(Canned::faces(2)).await;
        let place = format!("s3://{}/results/nothing.mp4/key/", rig.workflow.stack.results_bucket);
        let error = View::of(&place, None).prepare(Some(rig.workflow.emulator.aws())).await.err().expect("an error");
        let text = error.to_string();
        assert!(text.contains(&place) && text.contains("contains no result; name"), "{text}");
    }
}

#[tokio::test]
async fn all_processes_end_with_the_workflow() {
    let rig = Rig::start(Canned::faces(1)).await;
    let execution = rig.upload("last.mp4", ANY_VIDEO).await;
    rig.results_of(&execution.arn).await;
    let group = rig.workflow.emulator.process_group().to_string();
    assert!(!running(&group).is_empty(), "the emulator and its functions run in their own process group");
    drop(rig);
    assert_eq!(running(&group), [""; 0], "processes that are still running");
}

/// The commands that run in a process group.
fn running(group: &str) -> Vec<String> {
    let processes = Command::new("ps").args(["-A", "-o", "pgid=,stat=,args="]).output().unwrap();
    let processes = String::from_utf8_lossy(&processes.stdout).into_owned();
    let of_group = |line: &&str| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(group) && !fields.next().is_some_and(|state| state.starts_with('Z'))
    };
    processes.lines().filter(of_group).map(str::to_owned).collect()
}
