//! Metrics, as log lines that CloudWatch turns into metrics: without a call, a permission or a delay
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
//!
//! Their namespace is `Facereel`, their only dimension the function's name.

use serde_json::{Map, Value, json};

use crate::aws::Clients;

/// A value of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// Videos with a complete result.
    Videos(usize),
    /// Faces in complete results.
    Faces(usize),
    /// Pages of complete results.
    Pages(usize),
    /// The time from the start or redrive of an execution to the start of its job.
    SecondsWaitedForSlot(f64),
    /// Executions for which a job for the same content had succeeded before, so that nothing was billed.
    JobsReattached(usize),
    /// Callbacks for a task that had ended: late or second callbacks, which do no harm.
    LateCallbacks(usize),
}

impl Metric {
    fn parts(self) -> (&'static str, &'static str, Value) {
        match self {
            Self::Videos(count) => ("Videos", "Count", count.into()),
            Self::Faces(count) => ("Faces", "Count", count.into()),
            Self::Pages(count) => ("Pages", "Count", count.into()),
            Self::SecondsWaitedForSlot(seconds) => ("SecondsWaitedForSlot", "Seconds", seconds.into()),
            Self::JobsReattached(count) => ("JobsReattached", "Count", count.into()),
            Self::LateCallbacks(count) => ("LateCallbacks", "Count", count.into()),
        }
    }
}

/// Writes metrics to standard output if the code runs in a Lambda function.
pub fn emit(clients: &Clients, metrics: &[Metric]) {
    if let Ok(function) = std::env::var("AWS_LAMBDA_FUNCTION_NAME") {
        println!("{}", line(&function, clients.now_ms(), metrics));
    }
}

fn line(function: &str, now_ms: i64, metrics: &[Metric]) -> Value {
    let definitions: Vec<_> = metrics.iter().map(|metric| metric.parts()).collect();
    let definitions = definitions.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit }));
    let mut line = Map::from_iter([
        (
            "_aws".to_owned(),
            json!({
                "Timestamp": now_ms,
                "CloudWatchMetrics": [{
                    "Namespace": "Facereel",
                    "Dimensions": [["FunctionName"]],
                    "Metrics": definitions.collect::<Vec<_>>(),
                }],
            }),
        ),
        ("FunctionName".to_owned(), function.into()),
    ]);
    line.extend(metrics.iter().map(|metric| {
        let (name, _, value) = metric.parts();
        (name.to_owned(), value)
    }));
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_declares_each_value_that_it_holds() {
        let metrics = [
            Metric::Videos(1),
            Metric::Faces(33),
            Metric::Pages(2),
            Metric::SecondsWaitedForSlot(0.5),
            Metric::JobsReattached(1),
            Metric::LateCallbacks(1),
        ];
        let line = line("facereel-summarize", 1_795_369_080_123, &metrics);
        assert_eq!(line["_aws"]["Timestamp"], 1_795_369_080_123_i64);
        let [directive] = line["_aws"]["CloudWatchMetrics"].as_array().unwrap().as_slice() else { panic!("{line}") };
        assert_eq!(directive["Namespace"], "Facereel");
        assert_eq!(directive["Dimensions"], json!([["FunctionName"]]));
        assert_eq!(line["FunctionName"], "facereel-summarize");
        let declared = directive["Metrics"].as_array().unwrap();
        assert_eq!(declared.len(), metrics.len());
        for metric in declared {
            assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
            assert!(["Count", "Seconds"].contains(&metric["Unit"].as_str().unwrap()));
        }
    }
}
