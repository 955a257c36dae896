//! The operator: a person who redrives or replaces failed executions, replays dead letters, and stops an execution.

use lambdas::functions::Function;
use tokio::task::JoinHandle;

use crate::clock::{DAY, Ms, sleep};
use crate::driver::Simulation;
use crate::machine::{Execution, REPLAY, Status};
use crate::scenario::Scenario;

/// How often the operator repairs one execution after the faults have ended: more often than it can fail.
const MAX_REPAIRS: u32 = 10;

/// Step Functions redrives an execution for 14 days after its start.
const REDRIVABLE: Ms = 14 * DAY;

/// Errors that a redrive cannot repair, as their messages say: the execution must be replaced by a new one.
const NOT_REDRIVABLE: &[&str] = &["PageTokenExpired", "JobGone", "PageMissing"];

impl Simulation {
    /// Checks for failed executions and repairs them while others run, until the faults and the events of the scenario are
    /// over and every execution has ended, or a rule is broken.
    pub(super) async fn operate(&self, scenario: &Scenario) {
        let mut waits = scenario.operator_waits.iter().copied();
        let mut wait = 0;
        loop {
            wait = waits.next().unwrap_or(wait);
            sleep(wait).await;
            self.replay_dead_letters().await;
            let repaired = self.repair_failed(scenario);
            let world = self.cloud.lock();
            // `all_ended` reports the panic.
            let panicked = |(execution, running): &(usize, JoinHandle<()>)| {
                running.is_finished() && world.executions[*execution].status == Status::Running
            };
            if !world.violations.is_empty() || self.running.borrow().iter().any(panicked) {
                break;
            }
            let over = world.now() >= scenario.faults_end && self.events_are_over.get();
            if over && !repaired && !world.executions.iter().any(|execution| execution.status == Status::Running) {
                break;
            }
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

    /// Redrives or replaces each execution that has failed, unless the video itself is the reason or the operator gives it
    /// up. Returns whether there was one.
    fn repair_failed(&self, scenario: &Scenario) -> bool {
        let failed: Vec<_> = {
            let mut world = self.cloud.lock();
            let done = |execution: &Execution| match execution.status {
                Status::Running | Status::Succeeded(_) | Status::Replaced => true,
                Status::Failed(_) => world.is_final(execution),
                Status::TimedOut | Status::Aborted => false,
            };
            let failed =
                world.executions.iter().enumerate().filter(|(_, execution)| {
                    !done(execution) && !execution.given_up && execution.repairs < MAX_REPAIRS
                });
            let failed: Vec<_> = failed.map(|(index, _)| index).collect();
            for index in &failed {
                if world.chance(scenario.given_up) {
                    world.cover("given up by the operator");
                    world.executions[*index].given_up = true;
                } else if world.now() >= scenario.faults_end {
                    world.executions[*index].repairs += 1;
                }
            }
            failed.into_iter().filter(|index| !world.executions[*index].given_up).collect()
        };
        for execution in &failed {
            self.repair(*execution);
        }
        !failed.is_empty()
    }

    fn repair(&self, index: usize) {
        let mut world = self.cloud.lock();
        let (now, redrive) = (world.now(), world.rng.bool());
        if world.executions.iter().any(|execution| execution.status == Status::Running) {
            world.cover("repair while others run");
        }
        let execution = &mut world.executions[index];
        let redrivable = match &execution.status {
            Status::Failed(failure) => !NOT_REDRIVABLE.contains(&failure.error.as_str()),
            _ => true,
        };
        let (name, state) = (execution.name.clone(), execution.state().to_owned());
        execution.repaired.push(now);
        if redrive && redrivable && now < execution.started + REDRIVABLE {
            execution.redrives += 1;
            execution.requested.push(now);
            world.cover(&format!("redrive of {state}"));
            world.log(|| format!("{name} is redriven"));
            drop(world);
            self.run(index);
        } else {
            let (input, repairs) = (execution.input.clone(), execution.repairs);
            execution.status = Status::Replaced;
            world.cover(&format!("new execution after {state}"));
            world.log(|| format!("{name} is replaced by a new execution"));
            drop(world);
            let replacement = self.start(replacement_of(&name), input);
            self.cloud.lock().executions[replacement].repairs = repairs;
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

/// The name of the execution that replaces another one, as `facereel replay` gives it.
fn replacement_of(name: &str) -> String {
    let (base, position) = name.rsplit_once(REPLAY).unwrap_or((name, "0"));
    let position: u32 = position.parse().expect("a number that was given here");
    format!("{base}{REPLAY}{}", position + 1)
}
