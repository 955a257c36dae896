//! The operator: a person who redrives or replaces failed executions, replays dead letters, and stops an execution.

use lambdas::functions::Function;

use crate::clock::{DAY, Ms, sleep};
use crate::driver::Simulation;
use crate::machine::{Execution, Status};
use crate::scenario::Scenario;

/// How often the operator checks after the faults have ended: more often than an execution of any scenario can fail.
const MAX_CHECKS: usize = 10;

/// Step Functions redrives an execution for 14 days after its start.
const REDRIVABLE: Ms = 14 * DAY;

/// Errors that a redrive cannot repair, as their messages say: the execution must be replaced by a new one.
const NOT_REDRIVABLE: &[&str] = &["PageTokenExpired", "JobGone", "PageMissing"];

impl Simulation {
    /// Checks for failed executions and repairs them until none is left, a rule is broken, or the checks are used up.
    pub(super) async fn operate(&self, scenario: &Scenario) {
        let mut waits = scenario.operator_waits.iter().copied();
        let (mut wait, mut checks) = (0, 0);
        while checks < MAX_CHECKS {
            wait = waits.next().unwrap_or(wait);
            checks += usize::from(self.cloud.lock().now() >= scenario.faults_end);
            sleep(wait).await;
            self.replay_dead_letters().await;
            let over = !self.repair_failed() && self.cloud.lock().now() >= scenario.faults_end;
            if over || !self.cloud.lock().violations.is_empty() {
                break;
            }
            self.all_ended().await;
        }
    }

    /// Stops a random running execution, if there is one.
    pub(super) fn abort_any(&self) {
        let running = self.running.borrow();
        let running: Vec<_> = running.iter().filter(|(_, running)| !running.is_finished()).collect();
        let mut world = self.cloud.lock();
        if let Some((execution, running)) = world.rng.choice(running) {
            running.abort();
            world.cover("fault: aborted");
            world.end(*execution, &Status::Aborted);
        }
    }

    /// Redrives or replaces each execution that has failed, unless the video itself is the reason. Returns whether
    /// there was one.
    fn repair_failed(&self) -> bool {
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
        for execution in &failed {
            self.repair(*execution);
        }
        !failed.is_empty()
    }

    fn repair(&self, index: usize) {
        let mut world = self.cloud.lock();
        let (now, redrive) = (world.now(), world.rng.bool());
        let execution = &mut world.executions[index];
        let redrivable = match &execution.status {
            Status::Failed(failure) => !NOT_REDRIVABLE.contains(&failure.error.as_str()),
            _ => true,
        };
        let (name, state) = (execution.name.clone(), execution.state().to_owned());
        if redrive && redrivable && now < execution.started + REDRIVABLE {
            execution.redrives += 1;
            world.cover(&format!("redrive of {state}"));
            world.log(|| format!("{name} is redriven"));
            drop(world);
            self.run(index);
        } else {
            let input = execution.input.clone();
            execution.status = Status::Replaced;
            world.cover(&format!("new execution after {state}"));
            world.log(|| format!("{name} is replaced by a new execution"));
            drop(world);
            self.start(format!("{name}+"), input);
        }
    }

    /// Invokes resume-execution with every dead letter.
    pub(super) async fn replay_dead_letters(&self) {
        let letters = std::mem::take(&mut self.cloud.lock().dead_letters);
        for letter in letters {
            self.cloud.lock().log(|| "a dead letter is replayed".to_owned());
            self.functions.invoke_asynchronously(Function::ResumeExecution, letter).await;
        }
    }
}
