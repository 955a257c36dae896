//! Faults: how often what goes wrong.

use crate::clock::Ms;

/// A service that can be out of reach for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Objects.
    S3,
    /// Jobs.
    Rekognition,
    /// Callbacks.
    States,
    /// Invocations.
    Lambda,
}

/// The chance of each fault, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weather {
    /// An outage begins as a state is entered.
    pub outage: f64,
    /// A call is answered with a 5xx and has no effect.
    pub refused: f64,
    /// A call is throttled.
    pub throttled: f64,
    /// A call takes effect, and its answer is lost.
    pub answer_lost: f64,
    /// A call takes a minute or more.
    pub slow: f64,
    /// A function is killed, at any of its awaits.
    pub killed: f64,
    /// An invocation is refused by Lambda itself.
    pub not_invoked: f64,
    /// A function runs, and its result is lost on the way to its caller.
    pub result_lost: f64,
    /// Rekognition's message never arrives.
    pub message_lost: f64,
    /// Rekognition's message arrives up to a day late.
    pub message_late: f64,
    /// Rekognition's message arrives while the job still seems to run.
    pub message_early: f64,
    /// Rekognition's message arrives twice.
    pub message_twice: f64,
}

/// A time in which a service refuses every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Who.
    pub service: Service,
    /// From when.
    pub from: Ms,
    /// Until when.
    pub until: Ms,
}

impl Service {
    pub(super) const ALL: [Self; 4] = [Self::S3, Self::Rekognition, Self::States, Self::Lambda];
}

impl Outage {
    pub(super) fn hits(&self, service: Service, now: Ms) -> bool {
        self.service == service && (self.from..self.until).contains(&now)
    }
}
