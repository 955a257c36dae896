//! Who acts in a story: uploaders, `EventBridge`, and the operator who redrives what has failed.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};

use super::{DEFINITION, End, PaidJob, Run, backoff, check, sns, wire};
use crate::clock::{DAY, SECOND, sleep};
use crate::content::{Content, Kind};
use crate::lambda::Functions;
use crate::machine::{Execution, Machine, Status};
use crate::story::{Story, Upload};
use crate::world::{Cloud, RESULTS, UPLOADS, World, hash};

/// How often the operator looks on calm days before giving up: more often than any story has reasons to fail.
const LOOKS: usize = 10;

/// Plays a story.
pub(super) async fn play(story: &Story) -> Run {
    let (started_jobs, mut new_jobs) = mpsc::unbounded_channel();
    let cloud = Cloud::new(World::new(story, started_jobs));
    let functions = Functions::new(&cloud, wire::clients(&cloud), story.queue);
    let definition = serde_json::from_str(&DEFINITION.replace("${partition}", "aws")).expect("the definition is JSON");
    let definition = if story.queue { definition } else { backoff::with_retry(definition) };
    let machine = Rc::new(Machine::new(&cloud, functions.clone(), definition));
    let stage = Rc::new(Stage { cloud: cloud.clone(), machine, running: RefCell::default() });

    let (messenger, messengers) = (cloud.clone(), functions.clone());
    let messages = spawn_local(async move {
        while let Some(job) = new_jobs.recv().await {
            spawn_local(sns::report(messenger.clone(), messengers.clone(), job));
        }
    });
    for (key, body) in &story.litter {
        cloud.lock().s3.put(RESULTS, key, body.as_bytes(), body.len() as u64);
    }
    let mut acts = act(story, &stage, &functions);
    // Whoever starts an execution is an act; whoever has been started is waited for here.
    for act in acts.drain(..) {
        act.await.expect("an act does not panic");
    }
    stage.all_ended().await;
    let makespan = cloud.lock().executions.iter().map(|execution| execution.ended).max().unwrap_or_default();

    let mut patience = story.patience.iter().copied();
    let (mut wait, mut looks) = (0, 0);
    while looks < LOOKS {
        wait = patience.next().unwrap_or(wait);
        looks += usize::from(cloud.lock().now() >= story.calm_at);
        sleep(wait).await;
        stage.replay_dead_letters(&functions).await;
        let over = !stage.redrive() && cloud.lock().now() >= story.calm_at;
        if over || !cloud.lock().wrongs.is_empty() {
            break;
        }
        stage.all_ended().await;
    }
    // The last messages arrive, the last functions end.
    if story.weather.message_late > 0.0 {
        sleep(sns::LAST_MESSAGE).await;
    }
    sleep(600 * SECOND).await;
    stage.replay_dead_letters(&functions).await;
    // The next video on a calm day: whoever comes by the queue removes the entries that nobody needs any more.
    let content = Content { id: u64::from(u32::MAX), kind: Kind::Video, faces: 1, job_ms: SECOND, failures: 0 };
    let next = Upload { at: 0, key: "the next video.mp4".to_owned(), content, events: vec![0] };
    Rc::clone(&stage).upload(story.uploads.len(), next).await;
    stage.all_ended().await;
    sleep(600 * SECOND).await;
    messages.abort();

    let mut world = cloud.lock();
    let left_to_expire = check::all(&mut world, story);
    let told = world.told();
    let jobs = world.rekognition.jobs.values();
    let jobs = jobs.map(|job| PaidJob {
        key: job.key.clone(),
        idempotency_key: job.idempotency_key.clone(),
        started: job.started,
    });
    let mut jobs: Vec<_> = jobs.collect();
    jobs.sort_by_key(|job| job.started);
    Run {
        violations: std::mem::take(&mut world.wrongs),
        hash: hash(&told),
        told,
        met: std::mem::take(&mut world.met),
        makespan,
        jobs,
        most_events: world.executions.iter().map(|execution| execution.events).max().unwrap_or_default(),
        largest_payload: world.executions.iter().map(|execution| execution.payload).max().unwrap_or_default(),
        left_to_expire,
        ends: world.executions.iter().map(End::of).collect(),
    }
}

/// Sets everyone going who acts at a time of their own.
fn act(story: &Story, stage: &Rc<Stage>, functions: &Functions) -> Vec<JoinHandle<()>> {
    let mut acts = Vec::new();
    for (index, upload) in story.uploads.iter().cloned().enumerate() {
        let stage = Rc::clone(stage);
        acts.push(spawn_local(async move { stage.upload(index, upload).await }));
    }
    for (at, key) in story.deletions.iter().cloned() {
        let cloud = stage.cloud.clone();
        acts.push(spawn_local(async move {
            sleep(at).await;
            let mut world = cloud.lock();
            world.log(|| format!("{key} is deleted"));
            world.s3.delete(UPLOADS, &key);
        }));
    }
    for (index, (at, input)) in story.manual.iter().cloned().enumerate() {
        let stage = Rc::clone(stage);
        acts.push(spawn_local(async move {
            sleep(at).await;
            stage.start(format!("by-hand-{index}"), input);
        }));
    }
    for at in story.aborts.iter().copied() {
        let stage = Rc::clone(stage);
        acts.push(spawn_local(async move {
            sleep(at).await;
            stage.abort_any();
        }));
    }
    for (at, message) in story.forgeries.iter().cloned() {
        let (cloud, functions) = (stage.cloud.clone(), functions.clone());
        acts.push(spawn_local(async move {
            sleep(at).await;
            sns::forge(&cloud, &functions, message).await;
        }));
    }
    if let Some(at) = story.deploy {
        let cloud = stage.cloud.clone();
        acts.push(spawn_local(async move {
            sleep(at).await;
            let mut world = cloud.lock();
            world.meet("deploy");
            world.log(|| "a deploy changes the topic".to_owned());
            world.topic = "arn:aws:sns:us-east-1:123456789012:completions-2".to_owned();
        }));
    }
    acts
}

impl End {
    fn of(execution: &Execution) -> Self {
        let (error, cause) = match &execution.status {
            Status::Failed(failure) => (failure.error.clone(), failure.cause.clone()),
            Status::Succeeded(_) => (String::new(), String::new()),
            other => (format!("{other:?}"), String::new()),
        };
        Self { execution: execution.name.clone(), error, cause }
    }
}

/// The executions that run.
struct Stage {
    cloud: Cloud,
    machine: Rc<Machine>,
    running: RefCell<Vec<(usize, JoinHandle<()>)>>,
}

impl Stage {
    async fn upload(self: Rc<Self>, index: usize, Upload { at, key, content, events }: Upload) {
        sleep(at).await;
        let object = self.cloud.lock().upload(&key, &content);
        let mut detail = json!({
            "version": "0",
            "bucket": { "name": UPLOADS },
            "object": { "key": key, "size": object.size, "etag": object.etag, "sequencer": format!("{index:016X}") },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "reason": "PutObject",
        });
        if let Some(version) = object.version {
            detail["object"]["version-id"] = version.into();
        }
        let event = json!({
            "version": "0", "id": format!("event-{index}"), "detail-type": "Object Created", "source": "aws.s3",
            "account": "123456789012", "time": crate::clock::rfc3339(at), "region": "us-east-1",
            "resources": [format!("arn:aws:s3:::{UPLOADS}")], "detail": detail,
        });
        let mut events: Vec<_> = events.into_iter().enumerate().collect();
        events.sort_by_key(|(_, after)| *after);
        let mut passed = 0;
        for (delivery, after) in events {
            sleep(after - passed).await;
            passed = after;
            self.start(format!("event-{index}_{delivery}"), event.clone());
        }
    }

    fn start(&self, name: String, input: Value) {
        let execution = {
            let mut world = self.cloud.lock();
            let execution = Execution::new(name, input, world.now());
            world.executions.push(execution);
            world.executions.len() - 1
        };
        self.run(execution);
    }

    fn run(&self, execution: usize) {
        let running = spawn_local(Rc::clone(&self.machine).run(execution));
        self.running.borrow_mut().push((execution, running));
    }

    async fn all_ended(&self) {
        loop {
            let Some((execution, running)) = self.running.borrow_mut().pop() else { return };
            match running.await {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // One that was aborted.
                Err(_) => {}
                Ok(()) => debug_assert!(self.cloud.lock().executions[execution].status != Status::Running),
            }
        }
    }

    /// Stops one execution that runs, if there is one.
    fn abort_any(&self) {
        let running = self.running.borrow();
        let running: Vec<_> = running.iter().filter(|(_, running)| !running.is_finished()).collect();
        let mut world = self.cloud.lock();
        if let Some((execution, running)) = world.dice.choice(running) {
            running.abort();
            world.meet("fault: aborted");
            world.end(*execution, &Status::Aborted);
        }
    }

    /// Redrives or starts anew whatever has failed for a reason that may be gone; tells whether there was any.
    fn redrive(&self) -> bool {
        let failed: Vec<_> = {
            let world = self.cloud.lock();
            let done = |execution: &Execution| match execution.status {
                Status::Running | Status::Succeeded(_) | Status::Replaced => true,
                Status::Failed(_) => world.is_final(execution),
                Status::TimedOut | Status::Aborted => false,
            };
            let failed = world.executions.iter().enumerate().filter(|(_, execution)| !done(execution));
            failed.map(|(index, _)| index).collect()
        };
        for index in &failed {
            let mut world = self.cloud.lock();
            let (now, redriven) = (world.now(), world.dice.bool());
            let execution = &mut world.executions[*index];
            let anew = match &execution.status {
                // As their messages say.
                Status::Failed(failure) => {
                    ["PageTokenExpired", "JobGone", "PageMissing"].contains(&failure.error.as_str())
                }
                _ => false,
            };
            // Step Functions redrives for 14 days.
            if redriven && !anew && now < execution.started + 14 * DAY {
                execution.redrives += 1;
                let (name, state) = (execution.name.clone(), execution.state().to_owned());
                world.meet(&format!("redrive of {state}"));
                world.log(|| format!("{name} is redriven"));
                drop(world);
                self.run(*index);
            } else {
                let (name, input) = (execution.name.clone(), execution.input.clone());
                execution.status = Status::Replaced;
                let state = execution.state().to_owned();
                world.meet(&format!("started anew after {state}"));
                world.log(|| format!("{name} is started anew"));
                drop(world);
                self.start(format!("{name}+"), input);
            }
        }
        !failed.is_empty()
    }

    async fn replay_dead_letters(&self, functions: &Functions) {
        let letters = std::mem::take(&mut self.cloud.lock().dead_letters);
        for letter in letters {
            self.cloud.lock().log(|| "a dead letter is replayed".to_owned());
            functions.invoke_asynchronously(letter).await;
        }
    }
}
