//! One run of the checks, in order.

use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::{Value, json};

use super::{
    checks::{Board, Check, NotPassed, Row, Seen},
    cleanup::{Cleanup, Upload},
    clips,
    contract::{self, Files},
    executions::{self, Observed, Search, TaskTokens},
    facts::Facts,
    logs,
    mailbox::Mailbox,
    results, rule,
    score::{FoundFace, Picture, Score},
};
use crate::deployed::{Deployed, Error, UploadRule};
use crate::terminal::text::duration;
use lambdas::{
    job::{FaceAttributes, Job, JobParameters},
    layout,
    results::Manifest,
};
use local_stack::Progress;

/// How long a check that makes only some calls may take.
const CALLS_LIMIT: Duration = Duration::from_mins(1);

/// How long the event of an upload may take to start an execution, and the log of a function to be delivered.
const DELIVERY_LIMIT: Duration = Duration::from_mins(2);

/// How long the event of a result may take. The execution has ended before.
const RESULTS_EVENT_LIMIT: Duration = Duration::from_mins(1);

/// The share of the known faces that must be found, and of the found faces that must be known. It is lower than that of any
/// working detector, and higher than that of boxes in other places.
const AGREEMENT: f64 = 0.8;

/// One run of the checks.
pub(super) struct Session<'a> {
    pub deployed: &'a Deployed,
    pub progress: &'a dyn Progress,
    pub timeout: Duration,
    /// The name of the temporary rule and queue, and the start of the names of the executions. It ends with the id of the run.
    pub name: String,
    pub since: SystemTime,
    /// The rule that the uploads of the checks match.
    pub rule: UploadRule,
    /// Every upload rule.
    pub rules: Vec<UploadRule>,
    pub results_bucket: String,
    pub board: Board,
    pub facts: Vec<Row>,
    /// The task tokens of the executions so far.
    pub tokens: TaskTokens,
    pub cleanup: Cleanup,
}

/// The sample clip, analysed.
struct Sample {
    execution: Observed,
    /// The folder of the result.
    prefix: String,
    files: Files,
}

impl Session<'_> {
    /// Makes every check, and with `facts` observes the facts.
    pub(super) async fn check(&mut self, facts: bool) {
        let key = format!("{}sample.mp4", self.cleanup.folder);
        self.check_wiring().await;
        let start_parameters = if facts { start_parameters(self.deployed).await } else { Err(String::new()) };
        let topic = start_parameters.as_ref().ok().map(|parameters| parameters.topic_arn.as_str());
        let mut mailbox = self.open_mailbox(&key, topic).await;
        let subscribed = self.subscribe(&mailbox, topic).await;
        let sample = self.check_sample(&key).await;
        self.check_result(sample.as_ref()).await;
        self.check_second_execution(sample.as_ref()).await;
        self.check_results_event(sample.as_ref(), &mut mailbox).await;
        self.check_missing_video().await;
        self.check_logs().await;
        if let (true, Some(sample)) = (facts, &sample) {
            let messages = subscribed.and_then(|()| mailbox.as_mut().map_err(|error| error.seen().to_owned()));
            self.observe_facts(sample, start_parameters, messages).await;
        }
    }

    /// The rule and the buckets. Nothing is made, and nothing is billed.
    async fn check_wiring(&mut self) {
        let Self { deployed, progress, rule, rules, results_bucket, board, .. } = self;
        let enabled = plain(rule::enabled(deployed, rules));
        board.check(*progress, Check::Rule, &[], CALLS_LIMIT, enabled).await;
        let matches = plain(rule::patterns_match(deployed, rules));
        board.check(*progress, Check::Pattern, &[], CALLS_LIMIT, matches).await;
        let uploads = plain(rule::sends_events(deployed, &rule.bucket));
        board.check(*progress, Check::UploadEvents, &[], CALLS_LIMIT, uploads).await;
        let results = plain(rule::sends_events(deployed, results_bucket));
        board.check(*progress, Check::ResultEvents, &[], CALLS_LIMIT, results).await;
    }

    /// The queue for the event of the result. It exists before the upload, because a new rule needs some time to take effect
    /// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html>).
    async fn open_mailbox(&mut self, key: &str, topic: Option<&str>) -> Result<Mailbox, NotPassed> {
        if !NEEDED_FOR_UPLOAD.iter().all(|check| self.board.passed(*check)) {
            return Err(NotPassed::failed("no video was uploaded"));
        }
        self.progress.step("Creating a queue for events");
        let folder = layout::results_of_video(key);
        let Self { deployed, cleanup, name, results_bucket, .. } = self;
        let opened = Mailbox::open(deployed, cleanup, name, (results_bucket, &folder), topic);
        match tokio::time::timeout(CALLS_LIMIT, opened).await {
            Ok(opened) => Ok(opened?),
            Err(_) => Err(NotPassed::failed("the queue was not created within a minute")),
        }
    }

    /// Subscribes the queue to the completion messages of the jobs.
    async fn subscribe(&mut self, mailbox: &Result<Mailbox, NotPassed>, topic: Option<&str>) -> Result<(), String> {
        let (Ok(mailbox), Some(topic)) = (mailbox, topic) else {
            return Err("there is no queue for completion messages".to_owned());
        };
        let subscribed = mailbox.subscribe(self.deployed, &mut self.cleanup, topic);
        match tokio::time::timeout(CALLS_LIMIT, subscribed).await {
            Ok(subscribed) => subscribed.map_err(|error| error.to_string()),
            Err(_) => Err("the queue was not subscribed within a minute".to_owned()),
        }
    }

    /// Uploads the sample clip and waits for its result.
    async fn check_sample(&mut self, key: &str) -> Option<Sample> {
        let Self { deployed, progress, board, cleanup, tokens, rule, results_bucket, timeout, .. } = self;
        let started = started_by_upload(deployed, cleanup, &rule.bucket, key, clips::SAMPLE.bytes);
        let since = Instant::now();
        let started = async {
            let execution = started.await?;
            Ok((format!("its execution has started after {}", duration(since.elapsed())), execution))
        };
        let execution =
            board.check(*progress, Check::Started, &NEEDED_FOR_UPLOAD, DELIVERY_LIMIT.min(*timeout), started).await;
        let ended = async {
            let arn = &execution.as_ref().expect("the check before has passed").arn;
            let execution = executions::success_of(deployed, arn).await?;
            tokens.add(deployed, arn).await?;
            let prefix = execution.output_text("prefix")?.to_owned();
            cleanup.jobs.extend(idempotency_key(&prefix));
            let files = results::read(deployed, results_bucket, &prefix).await?;
            let seen = format!("it has succeeded {} after the upload", duration(since.elapsed()));
            Ok((seen, Sample { execution, prefix, files }))
        };
        board.check(*progress, Check::Succeeded, &[Check::Started], *timeout, ended).await
    }

    /// The content of the result of the sample clip.
    async fn check_result(&mut self, sample: Option<&Sample>) {
        let Self { progress, board, .. } = self;
        let needs = [Check::Succeeded];
        let sample = || sample.expect("the check before has passed");
        let faces = plain(async { faces_agree(&contract::faces(&sample().files).map_err(NotPassed::Failed)?) });
        board.check(*progress, Check::Faces, &needs, CALLS_LIMIT, faces).await;
        let valid = plain(async {
            let valid = contract::validate(&sample().files).map_err(NotPassed::Failed)?;
            Ok(format!("{valid} files are valid"))
        });
        board.check(*progress, Check::Schemas, &needs, CALLS_LIMIT, valid).await;
        let sums = plain(async { contract::add_up(&sample().prefix, &sample().files).map_err(NotPassed::Failed) });
        board.check(*progress, Check::Sums, &needs, CALLS_LIMIT, sums).await;
    }

    /// A second execution with the same input.
    async fn check_second_execution(&mut self, sample: Option<&Sample>) {
        let Self { deployed, progress, board, cleanup, tokens, results_bucket, timeout, name, .. } = self;
        let found = plain(async {
            let sample = sample.expect("the check before has passed");
            let record = layout::started_job(&idempotency_key(&sample.prefix).unwrap_or_default());
            let before = results::object(deployed, results_bucket, &record).await?;
            let arn = executions::start(deployed, &format!("{name}-again"), &sample.execution.input).await?;
            cleanup.executions.insert(arn.clone());
            let ended = executions::success_of(deployed, &arn).await?;
            tokens.add(deployed, &arn).await?;
            let prefix = ended.output_text("prefix")?;
            if prefix != sample.prefix {
                return Err(NotPassed::Failed(format!("another job, with its result in {prefix}")));
            }
            let first: Manifest = manifest(&sample.files)?;
            let second: Manifest = manifest(&results::read(deployed, results_bucket, prefix).await?)?;
            if second.execution_arn != arn || second.job != first.job {
                return Err(NotPassed::failed("the manifest names another job, or not the second execution"));
            }
            // The functions write the record after every call of StartFaceDetection.
            if results::object(deployed, results_bucket, &record).await? != before {
                return Err(NotPassed::failed("the same job, after a second call of StartFaceDetection"));
            }
            Ok(format!("job {}…, started once", first.job.job_id.chars().take(8).collect::<String>()))
        });
        board.check(*progress, Check::Found, &[Check::Succeeded], *timeout, found).await;
    }

    /// The event of the manifest. The second execution has written the manifest again, so there may be two.
    async fn check_results_event(&mut self, sample: Option<&Sample>, mailbox: &mut Result<Mailbox, NotPassed>) {
        let Self { deployed, progress, board, timeout, .. } = self;
        let limit = RESULTS_EVENT_LIMIT.min(*timeout);
        let arrived = plain(async {
            let sample = sample.expect("the check before has passed");
            let mailbox = mailbox.as_mut().map_err(|error| error.clone())?;
            let manifest = format!("{}{}", sample.prefix, layout::MANIFEST);
            let of_manifest = |event: &Value| event["detail"]["object"]["key"] == manifest;
            match mailbox.wait_for(deployed, limit, of_manifest).await? {
                Some(event) => Ok(format!("{} of manifest.json", event["detail-type"].as_str().unwrap_or_default())),
                None => Err(NotPassed::Failed(format!("no event after {} s", limit.as_secs()))),
            }
        });
        let needs = [Check::ResultEvents, Check::Succeeded];
        board.check(*progress, Check::ResultsEvent, &needs, limit + CALLS_LIMIT, arrived).await;
    }

    /// An execution for a video that is uploaded only after it has failed.
    async fn check_missing_video(&mut self) {
        let Self { deployed, progress, board, cleanup, rule, timeout, name, tokens, .. } = self;
        let key = format!("{}missing.mp4", cleanup.folder);
        let fails = async {
            let input = json!({ "bucket": rule.bucket, "key": key });
            let arn = executions::start(deployed, &format!("{name}-missing"), &input).await?;
            cleanup.executions.insert(arn.clone());
            let ended = executions::end_of(deployed, &arn).await?;
            match (&ended.status, ended.error.as_deref()) {
                (ExecutionStatus::Failed, Some("VideoNotFound")) => Ok(("VideoNotFound".to_owned(), arn)),
                _ => Err(NotPassed::Failed(ended.ending())),
            }
        };
        // Without the rule, the upload that the redrive needs would not be analysed by its own execution as well.
        let needs = NEEDED_FOR_UPLOAD;
        let missing = board.check(*progress, Check::Missing, &needs, DELIVERY_LIMIT.min(*timeout), fails).await;
        let redriven = plain(async {
            let arn = missing.as_ref().expect("the check before has passed");
            let own = started_by_upload(deployed, cleanup, &rule.bucket, &key, clips::SHORT.bytes).await?;
            let redrive = deployed.sfn.redrive_execution().execution_arn(arn).send().await;
            let own = executions::success_of(deployed, &own.arn).await?;
            cleanup.jobs.extend(idempotency_key(own.output_text("prefix")?));
            redrive.map_err(Error::aws("states:RedriveExecution"))?;
            let redriven = executions::success_of_redriven(deployed, arn).await?;
            for execution in [&redriven, &own] {
                tokens.add(deployed, &execution.arn).await?;
            }
            if redriven.output_text("prefix")? != own.output_text("prefix")? {
                return Err(NotPassed::failed("it has succeeded, with another job than the execution of the upload"));
            }
            Ok("it has succeeded, with the job of the execution of the upload".to_owned())
        });
        board.check(*progress, Check::Redriven, &[Check::Missing], *timeout, redriven).await;
    }

    /// The logs of the functions and of the state machine.
    async fn check_logs(&mut self) {
        let Self { deployed, progress, board, tokens, timeout, name, since, .. } = self;
        let run = name.trim_start_matches("facereel-verify-");
        let limit = DELIVERY_LIMIT.min(*timeout);
        let wanted = logs::Wanted { tokens: &tokens.tokens, run, since: *since - executions::CLOCK_SKEW };
        let known = match (wanted.tokens.is_empty(), tokens.parameters) {
            (false, _) => Ok(()),
            (true, true) => Err(NotPassed::failed("no task token is in the histories of the executions")),
            (true, false) => {
                Err(NotPassed::NotSupported("the histories do not contain the parameters of tasks".to_owned()))
            }
        };
        let functions = plain(async {
            known.clone()?;
            logs::search(deployed, &logs::of_functions(deployed).await?, &wanted, limit).await
        });
        board.check(*progress, Check::FunctionLogs, &[Check::Succeeded], limit + CALLS_LIMIT, functions).await;
        let state_machine = plain(async {
            known.clone()?;
            match logs::of_state_machine(deployed).await? {
                Some(group) => logs::search(deployed, &[group], &wanted, limit).await,
                None => Err(NotPassed::NotSupported("its logging is off".to_owned())),
            }
        });
        board.check(*progress, Check::StateMachineLog, &[Check::Succeeded], limit + CALLS_LIMIT, state_machine).await;
    }

    async fn observe_facts(
        &mut self,
        sample: &Sample,
        start_parameters: Result<StartParameters, String>,
        mailbox: Result<&mut Mailbox, String>,
    ) {
        let Ok(manifest) = manifest(&sample.files) else { return };
        let job = start_parameters.and_then(|parameters| parameters.job_of(&manifest));
        let mut facts = Facts {
            deployed: self.deployed,
            progress: self.progress,
            limit: self.timeout,
            run: &self.name,
            bucket: &self.rule.bucket,
            folder: &self.cleanup.folder,
            execution: &sample.execution,
            manifest: &manifest,
            job,
            ended_token: self.tokens.tokens.first().map(String::as_str),
            rows: &mut self.facts,
        };
        facts.observe(mailbox).await;
    }
}

/// The checks without which no upload starts an execution.
const NEEDED_FOR_UPLOAD: [Check; 3] = [Check::Rule, Check::Pattern, Check::UploadEvents];

/// A check without a value for later ones.
async fn plain(work: impl Future<Output = Seen>) -> Result<(String, ()), NotPassed> {
    work.await.map(|seen| (seen, ()))
}

/// Uploads a video and waits for the execution that its event starts. The caller limits the wait.
async fn started_by_upload(
    deployed: &Deployed,
    cleanup: &mut Cleanup,
    bucket: &str,
    key: &str,
    video: &'static [u8],
) -> Result<Observed, Error> {
    let since = SystemTime::now();
    cleanup.uploads.insert(key.to_owned(), Upload::StartsExecution(since));
    let put = deployed.s3.put_object().bucket(bucket).key(key).body(ByteStream::from_static(video));
    put.send().await.map_err(Error::s3("s3:PutObject", bucket))?;
    let execution = Search::since(since).wait_for_start(deployed, key).await?;
    cleanup.uploads.insert(key.to_owned(), Upload::Started);
    cleanup.executions.insert(execution.arn.clone());
    Ok(execution)
}

/// The idempotency key in the folder of a result.
fn idempotency_key(prefix: &str) -> Option<String> {
    prefix.trim_end_matches('/').rsplit('/').next().map(str::to_owned)
}

fn manifest(files: &Files) -> Result<Manifest, NotPassed> {
    let content = files.get(layout::MANIFEST).ok_or_else(|| NotPassed::failed("there is no manifest.json"))?;
    serde_json::from_slice(content).map_err(|error| NotPassed::Failed(format!("manifest.json: {error}")))
}

fn faces_agree(found: &[FoundFace]) -> Seen {
    let score = Score::of(found, Picture::Stored);
    let percent = |ratio: f64| ratio * 100.0;
    let (recall, precision) = (percent(score.recall()), percent(score.precision()));
    let seen =
        format!("{recall:.0} % of {} known faces; {precision:.0} % of {} are right", score.expected, found.len());
    if score.recall().min(score.precision()) >= AGREEMENT { Ok(seen) } else { Err(NotPassed::Failed(seen)) }
}

/// The parameters of the functions' Start calls that are not those of the video.
struct StartParameters {
    topic_arn: String,
    role_arn: String,
}

/// Reads the parameters from the environment of the function `start-detection`.
async fn start_parameters(deployed: &Deployed) -> Result<StartParameters, String> {
    let function = deployed.state_machine.named("start-detection");
    let configuration = deployed.lambda.get_function_configuration().function_name(&function).send();
    let configuration = tokio::time::timeout(CALLS_LIMIT, configuration).await;
    let configuration = configuration.map_err(|_| "lambda:GetFunctionConfiguration has not answered".to_owned())?;
    let configuration =
        configuration.map_err(|error| Error::aws("lambda:GetFunctionConfiguration")(error).to_string())?;
    let mut variables = configuration.environment.and_then(|environment| environment.variables).unwrap_or_default();
    let mut variable = |name: &str| variables.remove(name).ok_or_else(|| format!("{function} has no variable {name}"));
    Ok(StartParameters { topic_arn: variable("COMPLETION_TOPIC_ARN")?, role_arn: variable("PUBLISH_ROLE_ARN")? })
}

impl StartParameters {
    /// The job of a result, as the functions have started it.
    fn job_of(self, manifest: &Manifest) -> Result<Job, String> {
        let face_attributes: FaceAttributes = manifest.job.face_attributes;
        let Self { topic_arn, role_arn } = self;
        let (video, attempt) = (manifest.video.clone(), manifest.job.attempt);
        let job = Job::from(JobParameters { video, face_attributes, topic_arn, role_arn, attempt });
        if job.idempotency_key() == manifest.job.idempotency_key {
            Ok(job)
        } else {
            Err("the job has another idempotency key than this version computes".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faces_in_the_right_places_agree() {
        assert!(matches!(faces_agree(&[]), Err(NotPassed::Failed(seen)) if seen.starts_with("0 % of")));
    }
}
