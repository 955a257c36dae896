//! The logs of the functions: one line of JSON for each step, with the fields that find the lines of a video, and never a token or a face.

mod common;

use std::{
    io,
    sync::{Arc, Mutex},
};

use aws_sdk_rekognition::{
    Client as Rekognition, operation::start_face_detection::StartFaceDetectionOutput, types::VideoJobStatus,
};
use aws_smithy_mocks::{Rule, mock};
use common::{SentCallbacks, Store, accepting_sfn, clients, report};
use lambda_runtime::tracing::subscriber::{self, fmt::MakeWriter};
use lambdas::{
    fetch_page::{self, fetch_page},
    inspect_video::inspect_video,
    list_pages::list_pages,
    resume_execution::{self, resume_execution},
    start_detection::{self, start_detection},
    summarize::{self, summarize},
};
use serde_json::{Value, json};

/// Replaces standard output.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// The lines that were logged since the last call, as Lambda's JSON format has it.
    fn lines(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains("secret"), "a task token or a page token was logged: {text}");
        assert!(!text.contains("BoundingBox"), "a face was logged: {text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }
}

/// The line with this message, with the fields of its spans.
#[track_caller]
fn line(lines: &[Value], message: &str) -> Value {
    let found = lines.iter().find(|line| line["fields"]["message"] == message);
    let found = found.unwrap_or_else(|| panic!("no line says {message:?}: {lines:#?}"));
    let mut fields = serde_json::Map::new();
    for span in found["spans"].as_array().unwrap() {
        fields.extend(span.as_object().unwrap().clone());
    }
    fields.extend(found["fields"].as_object().unwrap().clone());
    fields.into()
}

#[track_caller]
fn assert_found(line: &Value, idempotency_key: &str) {
    let execution = line.get("execution_name").or(line.get("execution_arn"));
    assert_eq!(execution, Some(&json!("one")), "{line}");
    assert_eq!(line["key"], "holiday.mp4", "{line}");
    assert_eq!(line["idempotency_key"], idempotency_key, "{line}");
}

fn rekognition() -> Vec<Rule> {
    let started = || StartFaceDetectionOutput::builder().job_id("job").build();
    vec![mock!(Rekognition::start_face_detection).then_output(started)]
}

#[tokio::test(start_paused = true)]
async fn every_step_logs_what_happened_and_to_which_video() {
    let log = Log::default();
    let lambdas_format = subscriber::fmt().with_target(false).without_time().json().with_writer(log.clone()).finish();
    let _guard = lambda_runtime::tracing::subscriber::util::SubscriberInitExt::set_default(lambdas_format);

    let (store, sent) = (Store::default(), SentCallbacks::default());
    store.put("holiday.mp4", &b"\0\0\0\x20ftypisom and so on"[..]);
    let rules = rekognition();
    let request = json!({"execution_name": "one", "input": {"bucket": "uploads", "key": "holiday.mp4"}});
    let request = serde_json::from_value(request).unwrap();
    let video = inspect_video(&clients(&store, &[], &[]), request).await.unwrap();
    let inspected = line(&log.lines(), "the video can be analysed");
    assert_eq!((&inspected["execution_name"], &inspected["key"]), (&json!("one"), &json!("holiday.mp4")));

    let config = start_detection::Config {
        results_bucket: "results".into(),
        completion_topic_arn: "topic".into(),
        publish_role_arn: "role".into(),
        face_attributes: lambdas::job::FaceAttributes::Default,
    };
    let request = json!({
        "task_token": "secret token",
        "execution_name": "one", "task_attempt": 0, "started": "2027-01-04T09:00:00Z", "entered": "2027-01-04T09:00:00Z",
        "video": video,
    });
    let request = serde_json::from_value(request).unwrap();
    start_detection(&clients(&store, &rules, &accepting_sfn(&sent)), &config, request).await.unwrap();
    let lines = log.lines();
    let started = line(&lines, "started the job");
    let idempotency_key = started["idempotency_key"].as_str().unwrap();
    assert_found(&started, idempotency_key);
    assert_found(&line(&lines, "waits for a job slot"), idempotency_key);

    let config = resume_execution::Config { results_bucket: "results".into() };
    let completed = {
        let idempotency_key = idempotency_key.to_owned();
        mock!(Rekognition::get_face_detection)
            .then_http_response(move || report(&idempotency_key, &VideoJobStatus::Succeeded, None))
    };
    let event = include_str!("../../tests/fixtures/sns/succeeded.json");
    let clients_of_resume = clients(&store, &[completed], &accepting_sfn(&sent));
    resume_execution(&clients_of_resume, &config, serde_json::from_str(event).unwrap()).await.unwrap();
    let resumed = line(&log.lines(), "sent a callback");
    assert_found(&resumed, idempotency_key);
    assert_eq!(resumed["delivery"], "Delivered");

    let detected: Value = serde_json::from_str(sent.lock().unwrap()[0].1.as_ref().unwrap()).unwrap();
    let job = &detected["job"];
    let page = mock!(Rekognition::get_face_detection).then_http_response(|| {
        let body = r#"{"JobStatus":"SUCCEEDED","Faces":[{"Timestamp":0,"Face":{"BoundingBox":{"Left":0.5}}}]}"#;
        aws_sdk_rekognition::config::http::HttpResponse::new(200.try_into().unwrap(), body.into())
    });
    let clients = clients(&store, &[page], &[]);
    let request = json!({"execution_name": "one", "job": job, "from": {"index": 0, "token": "secret page token"}});
    list_pages(&clients, serde_json::from_value(request).unwrap()).await.unwrap();
    let listed = line(&log.lines(), "listed pages");
    assert_found(&listed, idempotency_key);
    assert_eq!((&listed["listed"], &listed["more"]), (&json!(1), &json!(false)));

    let config = fetch_page::Config { results_bucket: "results".into() };
    let run = json!({"index": 0, "token": "secret page token", "pages": 1});
    let request = json!({"execution_name": "one", "job": job, "batch": run});
    fetch_page(&clients, &config, serde_json::from_value(request).unwrap()).await.unwrap();
    let fetched = line(&log.lines(), "wrote a page");
    assert_found(&fetched, idempotency_key);
    assert_eq!((&fetched["page"], &fetched["faces"]), (&json!(0), &json!(1)));

    let config = summarize::Config { results_bucket: "results".into() };
    let request = json!({"execution_arn": "one", "job": job, "pages": 1});
    summarize(&clients, &config, serde_json::from_value(request).unwrap()).await.unwrap();
    let summarized = line(&log.lines(), "the result is complete");
    assert_found(&summarized, idempotency_key);
    assert_eq!((&summarized["pages"], &summarized["faces"]), (&json!(1), &json!(1)));
}
