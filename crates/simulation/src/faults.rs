//! Faults: how probable each one is, and outages of services.

use crate::clock::Ms;

/// A service that can be unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3.
    S3,
    /// Amazon Rekognition.
    Rekognition,
    /// AWS Step Functions, as far as the functions call it (`SendTaskSuccess` and the like).
    States,
    /// AWS Lambda: invocations.
    Lambda,
}

/// The probability of each fault, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaultRates {
    /// An outage begins when a state is entered.
    pub outage: f64,
    /// A call is answered with a 5xx status and has no effect.
    pub refused: f64,
    /// A call is throttled.
    pub throttled: f64,
    /// A call takes effect, and its answer is lost.
    pub answer_lost: f64,
    /// A call takes between 15 seconds and two minutes longer.
    pub slow: f64,
    /// A function is killed, at any of its awaits.
    pub killed: f64,
    /// Lambda refuses an invocation.
    pub not_invoked: f64,
    /// A function runs, and its result is lost before it reaches the caller.
    pub result_lost: f64,
    /// Rekognition's message never arrives.
    pub message_lost: f64,
    /// Rekognition's message arrives up to a day late.
    pub message_late: f64,
    /// Rekognition's message arrives while `GetFaceDetection` still reports the job as running.
    pub message_early: f64,
    /// Rekognition's message arrives twice.
    pub message_twice: f64,
}

/// A period in which a service refuses every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The service.
    pub service: Service,
    /// When the outage begins.
    pub from: Ms,
    /// When the outage ends.
    pub until: Ms,
}

impl Service {
    pub(super) const ALL: [Self; 4] = [Self::S3, Self::Rekognition, Self::States, Self::Lambda];
}

impl Outage {
    pub(super) fn affects(&self, service: Service, now: Ms) -> bool {
        self.service == service && (self.from..self.until).contains(&now)
    }
}
