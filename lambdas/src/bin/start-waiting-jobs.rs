//! The Lambda function behind the schedule of the queue.

use lambdas::{serve::serve, start_waiting_jobs::start_waiting_jobs};

fn main() -> Result<(), lambda_runtime::Error> {
    serve(start_waiting_jobs)
}
