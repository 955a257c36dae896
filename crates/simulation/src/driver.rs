//! Runs a scenario: starts the services, triggers every event at its time, lets the operator repair what has failed,
//! and checks the result.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};

use crate::clock::{Ms, SECOND, rfc3339, sleep};
use crate::content::{Content, Kind};
use crate::identity::RESULT_FOLDERS;
use crate::lambda::Functions;
use crate::machine::{self, Execution, Machine, Status};
use crate::s3::run_lifecycle_rules;
use crate::scenario::{Backfill, Scenario, Upload};
use crate::slots::run_second_stack;
use crate::world::{Cloud, RESULTS, UPLOADS, World, hash};
use crate::{BACKFILL, DEFINITION, ExecutionEnd, PaidJob, Run, check, monitor, schedule, sns};

/// How long functions may still run after the last execution has ended.
const LAST_FUNCTIONS: Ms = 600 * SECOND;

/// Runs a scenario to its end.
pub(super) async fn run(scenario: &Scenario) -> Run {
    let (started_jobs, mut new_jobs) = mpsc::unbounded_channel();
    let simulation = Rc::new(Simulation::new(scenario, Cloud::new(World::new(scenario, started_jobs))));
    let Simulation { cloud, functions, .. } = &*simulation;

    let (sns_cloud, subscriber) = (cloud.clone(), functions.clone());
    let messages = spawn_local(async move {
        while let Some(job) = new_jobs.recv().await {
            spawn_local(sns::publish_completion(sns_cloud.clone(), subscriber.clone(), job));
        }
    });
    let schedule = spawn_local(schedule::run(cloud.clone(), functions.clone(), scenario.schedule_phase));
    let lifecycle = spawn_local(run_lifecycle_rules(cloud.clone()));
    let monitor = spawn_local(monitor::run(cloud.clone()));
    if let Some(stack) = scenario.second_stack {
        spawn_local(run_second_stack(cloud.clone(), stack));
    }
    for (key, body) in &scenario.foreign_objects {
        cloud.lock().s3.put(RESULTS, key, body.as_bytes(), body.len() as u64);
    }
    let operator = {
        let (simulation, scenario) = (Rc::clone(&simulation), scenario.clone());
        spawn_local(async move { simulation.operate(&scenario).await })
    };
    // These tasks only start executions.
    for task in simulation.spawn_events(scenario) {
        task.await.expect("a task does not panic");
    }
    simulation.events_are_over.set(true);
    operator.await.expect("a task does not panic");
    simulation.all_ended().await;
    let ends = |execution: &Execution| execution.runs.first().map_or(0, |(_, until)| *until);
    let makespan = cloud.lock().executions.iter().map(ends).max().unwrap_or_default();

    // The last messages arrive, and the last functions end.
    if scenario.fault_rates.message_late > 0.0 {
        sleep(sns::MAX_MESSAGE_DELAY).await;
    }
    sleep(LAST_FUNCTIONS).await;
    simulation.replay_dead_letters().await;
    // One more video, without faults: its job makes the functions remove the queue entries that are no longer needed.
    let content = Content { id: u64::from(u32::MAX), kind: Kind::Video, faces: 1, job_ms: SECOND, failures: 0 };
    let last = Upload { at: 0, key: "the last video.mp4".to_owned(), content, events: vec![0] };
    simulation.upload(scenario.uploads.len(), last).await;
    simulation.all_ended().await;
    sleep(LAST_FUNCTIONS).await;
    messages.abort();
    schedule.abort();
    monitor.abort();
    lifecycle.abort();

    let left_to_expire = check::all(&mut cloud.lock(), scenario);
    result(&mut cloud.lock(), makespan, left_to_expire)
}

fn result(world: &mut World, makespan: Ms, left_to_expire: usize) -> Run {
    let trace = world.trace();
    let jobs = world.rekognition.jobs.values().map(|job| PaidJob {
        key: job.key.clone(),
        idempotency_key: job.idempotency_key.clone(),
        started: job.started,
    });
    let mut jobs: Vec<_> = jobs.collect();
    jobs.sort_by_key(|job| job.started);
    Run {
        violations: std::mem::take(&mut world.violations),
        hash: hash(&trace),
        trace,
        coverage: std::mem::take(&mut world.coverage),
        transitions: world.transitions,
        calls: std::mem::take(&mut world.calls),
        makespan,
        jobs,
        most_events: world.executions.iter().map(|execution| execution.events).max().unwrap_or_default(),
        largest_payload: world.executions.iter().map(|execution| execution.payload).max().unwrap_or_default(),
        left_to_expire,
        executions: world.executions.iter().map(ExecutionEnd::of).collect(),
    }
}

impl ExecutionEnd {
    fn of(execution: &Execution) -> Self {
        let (error, cause) = match &execution.status {
            Status::Failed(failure) => (failure.error.clone(), failure.cause.clone()),
            Status::Succeeded(_) => (String::new(), String::new()),
            other => (format!("{other:?}"), String::new()),
        };
        Self { execution: execution.name.clone(), error, cause, ended: execution.ended }
    }
}

/// The deployed workflow and its executions.
pub(super) struct Simulation {
    pub(super) cloud: Cloud,
    pub(super) functions: Functions,
    machine: Rc<Machine>,
    /// The executions that were started or redriven, by their index.
    pub(super) running: RefCell<Vec<(usize, JoinHandle<()>)>>,
    /// Whether every event of the scenario has occurred.
    pub(super) events_are_over: Cell<bool>,
}

impl Simulation {
    fn new(scenario: &Scenario, cloud: Cloud) -> Self {
        let functions = Functions::new(&cloud, scenario.seed, scenario.clock_skew);
        let definition = DEFINITION.replace("${partition}", "aws");
        let definition = serde_json::from_str(&definition).expect("the definition is JSON");
        let machine = Rc::new(Machine::new(&cloud, functions.clone(), definition));
        Self { cloud, functions, machine, running: RefCell::default(), events_are_over: Cell::new(false) }
    }

    /// Spawns a task for each event of the scenario; it waits until the event's time.
    fn spawn_events(self: &Rc<Self>, scenario: &Scenario) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        for (index, upload) in scenario.uploads.iter().cloned().enumerate() {
            let this = Rc::clone(self);
            tasks.push(spawn_local(async move { this.upload(index, upload).await }));
        }
        for (at, key) in scenario.deletions.iter().cloned() {
            tasks.push(self.spawn_at(at, move |this| {
                let mut world = this.cloud.lock();
                world.log(|| format!("{key} is deleted"));
                world.s3.delete(UPLOADS, &key);
            }));
        }
        for (index, (at, input)) in scenario.manual.iter().cloned().enumerate() {
            // The names order the callbacks of a job, so another name gives a seed another run.
            tasks.push(self.spawn_at(at, move |this| _ = this.start(format!("console-{index}"), input)));
        }
        for at in scenario.aborts.iter().copied() {
            tasks.push(self.spawn_at(at, |this| this.abort_any()));
        }
        for (at, message) in scenario.forged_messages.iter().cloned() {
            let this = Rc::clone(self);
            tasks.push(spawn_local(async move {
                sleep(at).await;
                sns::deliver_forged(&this.cloud, &this.functions, message).await;
            }));
        }
        if let Some(backfill) = scenario.backfill {
            let this = Rc::clone(self);
            tasks.push(spawn_local(async move { this.backfill(backfill).await }));
        }
        if let Some(at) = scenario.deploy {
            tasks.push(self.spawn_at(at, |this| {
                let mut world = this.cloud.lock();
                world.cover("deploy");
                world.log(|| "a deployment changes the topic".to_owned());
                world.topic = "arn:aws:sns:us-east-1:123456789012:completions-2".to_owned();
            }));
        }
        tasks
    }

    fn spawn_at(self: &Rc<Self>, at: Ms, event: impl FnOnce(&Self) + 'static) -> JoinHandle<()> {
        let this = Rc::clone(self);
        spawn_local(async move {
            sleep(at).await;
            event(&this);
        })
    }

    /// Uploads an object, and starts an execution for each delivery of its event.
    async fn upload(&self, index: usize, Upload { at, key, content, events }: Upload) {
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
            "account": "123456789012", "time": rfc3339(at), "region": "us-east-1",
            "resources": [format!("arn:aws:s3:::{UPLOADS}")], "detail": detail,
        });
        let mut deliveries: Vec<_> = events.into_iter().enumerate().collect();
        deliveries.sort_by_key(|(_, after)| *after);
        let mut passed = 0;
        for (delivery, after) in deliveries {
            sleep(after - passed).await;
            passed = after;
            let execution = self.start(format!("event-{index}_{delivery}"), event.clone());
            self.cloud.lock().executions[execution].requested = vec![at];
        }
    }

    /// Starts the backfill, as `facereel backfill` does, and waits for its end.
    async fn backfill(&self, Backfill { at, at_once }: Backfill) {
        sleep(at).await;
        let list = format!("backfill/{at}/videos.json");
        {
            let mut world = self.cloud.lock();
            let results: Vec<_> = world.s3.keys(RESULTS, RESULT_FOLDERS).map(|(key, _)| key.to_owned()).collect();
            let without_result = |key: &str| !results.iter().any(|result| result.contains(key));
            let keys = world.s3.keys(UPLOADS, "").filter(|(key, _)| without_result(key));
            let videos = keys.enumerate().map(|(number, (key, _))| {
                json!({ "bucket": UPLOADS, "key": key, "name": format!("backfill-{number}-{at}") })
            });
            let videos = Value::from(videos.collect::<Vec<_>>()).to_string();
            world.log(|| format!("a backfill of {videos} begins"));
            world.s3.put(RESULTS, &list, videos.as_bytes(), videos.len() as u64);
        }
        let definition =
            serde_json::from_str(&BACKFILL.replace("${partition}", "aws")).expect("the definition is JSON");
        let machine = machine::Backfill::new(&self.cloud, definition);
        machine.run(json!({ "videos": list, "at_once": at_once }), |name, input| self.start(name, input)).await;
    }

    /// Starts an execution; returns its index.
    pub(super) fn start(&self, name: String, input: Value) -> usize {
        let execution = {
            let mut world = self.cloud.lock();
            let execution = Execution::new(name, input, world.now());
            world.executions.push(execution);
            world.executions.len() - 1
        };
        self.run(execution);
        execution
    }

    /// Runs an execution from its current state.
    pub(super) fn run(&self, execution: usize) {
        let running = spawn_local(Rc::clone(&self.machine).run(execution));
        let mut all = self.running.borrow_mut();
        // A redriven execution has ended before.
        all.retain(|(other, _)| *other != execution);
        all.push((execution, running));
    }

    /// Waits for all executions.
    pub(super) async fn all_ended(&self) {
        loop {
            let Some((execution, running)) = self.running.borrow_mut().pop() else { return };
            match running.await {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The execution was aborted.
                Err(_) => {}
                Ok(()) => debug_assert!(self.cloud.lock().executions[execution].status != Status::Running),
            }
        }
    }
}
