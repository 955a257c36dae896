//! The workflow in virtual time: what no fault may do to it, and how long a rush takes.
//!
//! `cargo test` plays the seeds that are named here and no others, so that it gives the same answer every time.
//! `scripts/search-seeds` searches for new ones; `cargo run -p simulation -- replay 17` prints every
//! event of one.

use std::collections::BTreeMap;

use simulation::{
    Batch, Content, HOUR, Kind, Limits, MINUTE, Ms, Quirks, Run, SECOND, Sabotage, Story, Upload, Versioning, Weather,
    run,
};

/// Seeds that are played every time, from 0.
const FIXED_SEEDS: u64 = 500;

/// What the fixed seeds must meet, or they prove nothing about it.
const MUST_BE_MET: &[&str] = &[
    "LimitExceeded",
    "ResourceNotFound",
    "InvalidPaginationToken",
    "callback too late",
    "job not visible yet",
    "dead letter",
    "deploy",
    "fault: aborted",
    "fault: answer lost",
    "fault: conflict",
    "fault: message early",
    "fault: message forged",
    "fault: message late",
    "fault: message lost",
    "fault: message twice",
    "fault: not invoked",
    "fault: refused",
    "fault: result lost",
    "fault: slow",
    "fault: throttled",
    "StartDetection killed",
    "ResumeExecution killed",
    "ListPages killed",
    "FetchPage killed",
    "Summarize killed",
    "StartDetection failed: JobFailed",
    "StartDetection failed: NotAVideo",
    "StartDetection failed: VideoEmpty",
    "StartDetection failed: VideoNotFound",
    "StartDetection failed: VideoTooLarge",
    "StartDetection failed: VideoUnreadable",
    "StartDetection failed: States.HeartbeatTimeout",
    "StartDetection failed: States.Timeout",
    "redrive of StartDetection",
    "redrive of ListPages",
    "redrive of FetchPages",
    "redrive of Summarize",
    "started anew after StartDetection",
    "started anew after ListPages",
    "started anew after FetchPages",
    "started anew after Summarize",
];

#[test]
fn fixed_seeds_hold() {
    let batch = Batch::play(0..FIXED_SEEDS, Limits::default());
    println!("{} seeds met {:#?}", batch.played, batch.met);
    println!("dead callbacks left to expire: {}; longest history: {}", batch.left_to_expire, batch.most_events);
    if let Some((seed, violations)) = batch.failures.first_key_value() {
        let seeds: Vec<_> = batch.failures.keys().collect();
        let told = run(&Story::generate(*seed)).told;
        panic!("{} seeds break the rules: {seeds:?}\nseed {seed}: {violations:#?}\nits story:\n{told}", seeds.len());
    }
    let unmet: Vec<_> = MUST_BE_MET.iter().filter(|what| !batch.met.contains_key(**what)).collect();
    assert!(unmet.is_empty(), "never met: {unmet:?}");
}

#[test]
fn equal_seeds_have_equal_stories() {
    for seed in 0..20 {
        let (one, other) = (run(&Story::generate(seed)), run(&Story::generate(seed)));
        assert_eq!(one.hash, other.hash, "seed {seed}");
        assert!(one.told.lines().count() > 5, "seed {seed} tells nothing");
    }
    assert_ne!(run(&Story::generate(1)).hash, run(&Story::generate(2)).hash);
}

fn video(id: u64, faces: usize, job_ms: Ms) -> Content {
    Content { id, kind: Kind::Video, faces, job_ms, failures: 0 }
}

fn upload(at: Ms, key: &str, content: Content) -> Upload {
    Upload { at, key: key.to_owned(), content, events: vec![SECOND] }
}

#[track_caller]
fn assert_holds(run: &Run) {
    assert!(run.violations.is_empty(), "{:#?}\n{}", run.violations, run.told);
}

/// Each check sees what it is there to see.
mod a_flaw_is_found {
    use super::*;

    #[track_caller]
    fn assert_found(sabotage: Sabotage, story: Story, message: &str) {
        assert_holds(&run(&story));
        let run = run(&Story { sabotage: Some(sabotage), ..story });
        assert!(
            run.violations.iter().any(|violation| violation.contains(message)),
            "no {message:?} among {:#?}\n{}",
            run.violations,
            run.told
        );
    }

    /// Two executions for each of three videos.
    fn story() -> Story {
        let uploads = (0..3).map(|id| Upload {
            events: vec![SECOND, 2 * MINUTE],
            ..upload(0, &format!("{id}.mp4"), video(id, 50, MINUTE))
        });
        Story { uploads: uploads.collect(), faces_per_page: 20, ..Story::calm(1) }
    }

    #[test]
    fn a_job_paid_twice() {
        // The second execution comes while the first one's job runs: later it would find the job ended.
        let mut story = story();
        for upload in &mut story.uploads {
            upload.events = vec![SECOND, 30 * SECOND];
        }
        assert_found(Sabotage::PaysTwice, story, "was paid twice");
    }

    #[test]
    fn a_success_that_is_none() {
        assert_found(Sabotage::ReportsTooEarly, story(), "was told a success that is of a job that still runs");
    }

    #[test]
    fn an_execution_that_waits_for_ever() {
        let story = Story { uploads: vec![upload(0, "a.mp4", video(1, 5, MINUTE))], ..Story::calm(1) };
        assert_found(Sabotage::HidesTheEnd, story, "waited for ever");
    }

    #[test]
    fn half_a_page() {
        assert_found(Sabotage::TruncatesPages, story(), "are not the 50 that Rekognition found");
    }

    #[test]
    fn a_page_changed_under_its_manifest() {
        assert_found(Sabotage::RewritesPages, story(), "was changed under its manifest");
    }

    #[test]
    fn a_manifest_before_its_pages() {
        assert_found(Sabotage::DelaysPages, story(), "was written before");
    }

    #[test]
    fn a_callback_left_behind() {
        assert_found(Sabotage::KeepsWaiters, story(), "is left");
    }

    #[test]
    fn an_error_without_a_name() {
        assert_found(Sabotage::FailsOddly, story(), "failed with the error");
    }

    #[test]
    fn callbacks_stored_after_their_jobs_have_started() {
        let story = Story { uploads: vec![upload(0, "a.mp4", video(1, 5, MINUTE))], ..Story::calm(1) };
        assert_found(Sabotage::StoresWaitersLate, story, "waited for ever");
    }

    #[test]
    fn an_execution_that_only_its_heartbeat_resumes() {
        let story = Story { uploads: vec![upload(0, "a.mp4", video(1, 5, MINUTE))], ..Story::calm(1) };
        assert_found(Sabotage::LosesMessages, story, "comes long after its job's end");
    }
}

/// What was found once and must never come back.
mod regressions {
    use super::*;

    /// A video whose job fails after `job_ms`, and an account with one slot.
    fn failing(seed: u64, job_ms: Ms) -> Story {
        let content = Content { kind: Kind::UnknownCodec, ..video(1, 0, job_ms) };
        let quirks = Quirks { full_before_known: true, ..Quirks::default() };
        Story { uploads: vec![upload(0, "failing.mp4", content)], quirks, slots: 1, ..Story::calm(seed) }
    }

    #[track_caller]
    fn assert_paid_once(story: &Story) {
        let run = run(story);
        assert_holds(&run);
        assert_eq!(run.jobs.iter().filter(|job| job.key == "failing.mp4").count(), 1, "{}", run.told);
    }

    #[test]
    fn a_failing_job_that_outlasts_heartbeats_is_paid_once() {
        // Each heartbeat left a callback behind whose token was dead; telling it counted as told, and the next attempt
        // paid for the next attempt: up to 20 jobs for one broken video.
        for job_ms in [14 * MINUTE, 20 * MINUTE, 45 * MINUTE, 2 * HOUR] {
            assert_paid_once(&failing(1, job_ms));
        }
    }

    #[test]
    fn a_failing_job_whose_message_is_lost_is_paid_once() {
        for seed in 0..5 {
            let weather = Weather { message_lost: 1.0, ..Weather::default() };
            assert_paid_once(&Story { weather, calm_at: 24 * HOUR, ..failing(seed, 5 * MINUTE) });
        }
    }

    #[test]
    fn a_failing_job_is_paid_once_though_its_news_and_its_entry_cross() {
        // After a missed heartbeat the entry waits for a slot. Another upload has it looked at just as the message
        // tells the execution: the entry's failure "was told", and a second job was paid for nobody.
        for seed in 0..100 {
            let mut story = failing(seed, 20 * MINUTE);
            let after = 20 * MINUTE + SECOND + seed * 25;
            story.uploads.push(upload(after, "other.mp4", video(2, 5, MINUTE)));
            assert_paid_once(&story);
        }
    }

    #[test]
    fn a_failure_that_was_sent_but_not_heard_is_paid_once() {
        for seed in 0..100 {
            let weather = Weather { message_lost: 1.0, result_lost: 0.5, killed: 0.3, ..Weather::default() };
            let quirks = Quirks { callback_waits_for_function: true, ..Quirks::default() };
            assert_holds(&run(&Story { weather, quirks, calm_at: 6 * HOUR, ..failing(seed, 20 * MINUTE) }));
        }
    }

    #[test]
    fn a_lease_of_the_far_future_stops_nobody() {
        let lease = r#"{"owner":"nobody","until_ms":17990532005000}"#;
        let litter = vec![("queue/lease".to_owned(), lease.to_owned())];
        assert_holds(&run(&Story { uploads: vec![upload(0, "a.mp4", video(1, 5, MINUTE))], litter, ..Story::calm(1) }));
    }

    #[test]
    fn a_video_written_over_while_it_waits_for_a_slot_leaves_no_callback() {
        // Found by seed 3731: after a missed heartbeat the execution sees the new content, and takes a entry for that.
        // The callback for the old one lay at a job that nobody would ever start, until it expired.
        let uploads = vec![
            upload(0, "first.mp4", video(1, 5, 20 * MINUTE)),
            upload(MINUTE, "second.mp4", video(2, 5, MINUTE)),
            upload(5 * MINUTE, "second.mp4", video(3, 5, MINUTE)),
        ];
        assert_holds(&run(&Story { uploads, slots: 1, ..Story::calm(1) }));
    }

    #[test]
    fn a_video_written_over_in_a_bucket_with_suspended_versioning_has_its_own_job() {
        // Both uploads have the version id `null`. As a part of the idempotency key it gave both the same job, and the
        // second video the first one's faces.
        let uploads = vec![upload(0, "a.mp4", video(1, 5, MINUTE)), upload(10 * MINUTE, "a.mp4", video(2, 7, MINUTE))];
        let run = run(&Story { uploads, versioning: Versioning::Suspended, ..Story::calm(1) });
        assert_holds(&run);
        let keys: Vec<_> = run.jobs.iter().filter(|job| job.key == "a.mp4").map(|job| &job.idempotency_key).collect();
        assert!(matches!(keys[..], [first, second] if first != second), "{keys:?}\n{}", run.told);
    }

    #[test]
    fn a_video_waits_for_its_slot_for_days_by_whatever_name_a_missed_heartbeat_is_reported() {
        // The last of six videos waits 30 hours, and misses ten heartbeats. As States.Timeout they used up the eight
        // attempts that are meant for failed calls.
        for heartbeat_is_timeout in [false, true] {
            let uploads = (0..6).map(|id| upload(id * MINUTE, &format!("{id}.mp4"), video(id, 5, 6 * HOUR)));
            let quirks = Quirks { heartbeat_is_timeout, ..Quirks::default() };
            let run = run(&Story { uploads: uploads.collect(), quirks, slots: 1, ..Story::calm(1) });
            assert_holds(&run);
            let repaired = |met: &String| met.starts_with("redrive of") || met.starts_with("started anew");
            assert!(!run.met.keys().any(repaired), "{:?}\n{}", run.met, run.told);
        }
    }

    #[test]
    fn a_job_that_is_visible_only_seconds_after_its_start_is_paid_once() {
        // GetFaceDetection answered ResourceNotFound right after Start. That counted as "the results have expired", and
        // the next job of the content was started, and the next: up to twenty for one video.
        let quirks = Quirks { jobs_appear_late: true, ..Quirks::default() };
        // Some end before they are visible.
        let uploads = (0..5).map(|id| upload(id * HOUR, &format!("{id}.mp4"), video(id, 5, SECOND << (2 * id))));
        for seed in 0..5 {
            let run = run(&Story { uploads: uploads.clone().collect(), quirks, ..Story::calm(seed) });
            assert_holds(&run);
            assert!(run.met.contains_key("job not visible yet"), "{:?}", run.met);
            // One more is the next video, which every story ends with.
            assert_eq!(run.jobs.len(), 5 + 1, "{}", run.told);
        }
    }

    #[test]
    fn one_video_on_a_calm_day() {
        let run = run(&Story { uploads: vec![upload(0, "a.mp4", video(1, 2500, MINUTE))], ..Story::calm(1) });
        assert_holds(&run);
        // It, and the next one, which every story ends with.
        assert_eq!((run.jobs.len(), run.ends.len()), (2, 2));
        // 3 pages: StartDetection 6, ListPages 5, FetchPages 4 + 3 * 7, MorePages? 2, Summarize 5, start and end.
        assert_eq!(run.most_events, 6 + 5 + 4 + 3 * 7 + 2 + 5 + 2);
    }
}

/// The largest video that AWS takes: 6 hours, 100 faces a frame, 2 frames a second.
#[test]
fn the_largest_video_stays_within_the_limits() {
    let pages = 6 * 3600 * 2 * 100 / 1000;
    // A page has 10 faces here: the number of pages is what counts.
    let story = Story {
        uploads: vec![upload(0, "largest.mp4", video(1, pages * 10, 6 * HOUR))],
        faces_per_page: 10,
        logged: false,
        ..Story::calm(1)
    };
    let run = run(&story);
    println!("{pages} pages: {} events, {} bytes, {} s", run.most_events, run.largest_payload, run.makespan / SECOND);
    assert_holds(&run);
    assert!(run.most_events < 25_000 && run.largest_payload <= 262_144);
    // Redrives append to the same history: a quarter of it is left for them and for retries.
    assert!(run.most_events < 18_750, "{} events", run.most_events);
}

/// Twenty results of a hundred pages are ready in the same moment, and four thousand calls meet a quota of five a second:
/// that takes its time, and fails nobody.
#[test]
fn many_large_results_at_once_wait_for_their_pages() {
    let uploads = (0..20).map(|id| upload(0, &format!("{id}.mp4"), video(id, 1000, HOUR)));
    let story = Story { uploads: uploads.collect(), faces_per_page: 10, logged: false, ..Story::calm(1) };
    let run = run(&story);
    println!("{} s; {} events; {:?}", (run.makespan - HOUR) / SECOND, run.most_events, run.met);
    assert_holds(&run);
    let failed = run.met.keys().filter(|met| met.starts_with("redrive") || met.starts_with("started anew"));
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(run.most_events < 18_750 / 10, "{} events for a hundred pages", run.most_events);
}

mod a_rush {
    use super::*;

    struct Figures {
        ratio: f64,
        /// How much later than a job behind it in the queue a job was started, in milliseconds.
        overtaken: Ms,
        run: Run,
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds of days")]
    fn figures(name: &str, story: &Story) -> Figures {
        let run = run(story);
        assert_holds(&run);
        let work: Ms = story.uploads.iter().map(|upload| upload.content.job_ms).sum();
        let ideal = work / story.slots as Ms;
        let starts: BTreeMap<_, _> = run.jobs.iter().map(|job| (job.key.as_str(), job.started)).collect();
        let (mut latest, mut overtaken) = (0, 0);
        // Keys are in the order of arrival.
        for started in starts.values() {
            overtaken = overtaken.max(Ms::saturating_sub(latest, *started));
            latest = latest.max(*started);
        }
        let ratio = run.makespan as f64 / ideal as f64;
        let rate = |what: &str| run.met.get(what).copied().unwrap_or_default() as f64 / (run.makespan / SECOND) as f64;
        println!(
            "{name}: makespan {} s, ideal {} s, ratio {ratio:.3}; overtaken by {} s at most; {:.2} Start/s ({:.2} throttled), {:.2} Get/s ({:.2} throttled)",
            run.makespan / SECOND,
            ideal / SECOND,
            overtaken / SECOND,
            rate("call Start"),
            rate("Start throttled by its rate"),
            rate("call Get"),
            rate("Get throttled by its rate"),
        );
        Figures { ratio, overtaken, run }
    }

    fn assert_queued(figures: &Figures) {
        // First come, first served: nobody is overtaken by more than the longest job.
        assert!(figures.overtaken <= 5 * MINUTE, "overtaken by {} ms", figures.overtaken);
        assert!(figures.ratio < 1.1, "no slot may idle: {}", figures.ratio);
        assert_eq!(figures.run.jobs.len(), figures.run.ends.len(), "a job a video, an execution a video");
        let count = |what: &str| figures.run.met.get(what).copied().unwrap_or_default();
        assert_eq!(count("Start throttled by its rate"), 0);
        // Pages of several videos may be read in the same second: the SDK asks again.
        assert!(count("Get throttled by its rate") * 100 < count("call Get"), "{:?}", figures.run.met);
    }

    #[test]
    fn of_a_thousand_is_served_in_order_without_idle_slots() {
        let queue = figures("1000 with the queue", &Story::rush(1, 1000));
        assert_queued(&queue);
        let backoff = figures("1000 with backoff", &Story { queue: false, ..Story::rush(1, 1000) });
        assert!(queue.ratio < backoff.ratio, "the queue is there to be faster");
    }

    #[test]
    #[ignore = "takes minutes; `cargo test --workspace --test simulation ten_thousand -- --ignored --nocapture`"]
    fn of_ten_thousand_is_served_in_order_without_idle_slots() {
        assert_queued(&figures("10000 with the queue", &Story::rush(1, 10_000)));
    }

    #[test]
    #[ignore = "minutes of a storm of retries, for the README's figures"]
    fn of_ten_thousand_with_backoff() {
        figures("10000 with backoff", &Story { queue: false, ..Story::rush(1, 10_000) });
    }
}

/// Every fault alone, at its worst: each is survived, and none hides behind another.
mod a_single_fault {
    use super::*;

    #[track_caller]
    fn assert_survived(fault: Weather) {
        for seed in 0..10 {
            let mut uploads: Vec<_> =
                (0..3).map(|id| upload(id * MINUTE, &format!("{id}.mp4"), video(id, 100, 5 * MINUTE))).collect();
            // Jobs that outlast a heartbeat, and fail.
            let failing = Content { kind: Kind::UnknownCodec, ..video(3, 0, 40 * MINUTE) };
            uploads.push(upload(MINUTE, "unknown codec.mp4", failing));
            uploads.push(upload(MINUTE, "fails once.mp4", Content { failures: 1, ..video(4, 10, 20 * MINUTE) }));
            let story =
                Story { uploads, weather: fault, calm_at: 6 * HOUR, faces_per_page: 30, slots: 2, ..Story::calm(seed) };
            let run = run(&story);
            assert!(run.violations.is_empty(), "seed {seed}: {:#?}\n{}", run.violations, run.told);
        }
    }

    macro_rules! faults {
        ($($name:ident: $chance:literal,)*) => {
            $(#[test]
            fn $name() {
                assert_survived(Weather { $name: $chance, ..Weather::default() });
            })*
        };
    }
    faults! {
        outage: 0.3,
        refused: 0.4,
        throttled: 0.5,
        answer_lost: 0.4,
        slow: 0.1,
        killed: 0.6,
        not_invoked: 0.5,
        result_lost: 0.5,
        message_lost: 1.0,
        message_late: 1.0,
        message_early: 1.0,
        message_twice: 1.0,
    }
}
