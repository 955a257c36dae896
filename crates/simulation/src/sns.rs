//! SNS: delivers Rekognition's completion messages, and messages of other publishers.

use lambdas::functions::Function;
use serde_json::{Value, json};

use crate::clock::{DAY, HOUR, MINUTE, Ms, SECOND, rfc3339, sleep};
use crate::lambda::Functions;
use crate::rekognition::message;
use crate::scenario::InjectedBug;
use crate::world::Cloud;

/// An upper bound of the time from the end of a job to the delivery of its message.
pub(super) const MAX_MESSAGE_DELAY: Ms = DAY + HOUR;

/// Waits for the end of a job that has just been started and delivers its completion message. With faults, the message
/// is early, late, duplicated or lost.
pub(super) async fn publish_completion(cloud: Cloud, functions: Functions, job: String) {
    let (job, early, lost, late, twice) = {
        let mut world = cloud.lock();
        let fault_rates = world.fault_rates();
        let job = world.rekognition.jobs[&job].clone();
        let early = world.chance(fault_rates.message_early);
        let lost = world.chance(fault_rates.message_lost) || world.injected_bug == Some(InjectedBug::LosesMessages);
        (job, early, lost, world.chance(fault_rates.message_late), world.chance(fault_rates.message_twice))
    };
    let message = message(&job).to_string();
    let lasts = job.ends - job.started;
    if early {
        cloud.lock().cover("fault: message early");
        let before = cloud.lock().rng.u64(0..=lasts.min(5 * SECOND));
        sleep(lasts - before).await;
    } else {
        sleep(lasts).await;
    }
    if lost {
        let mut world = cloud.lock();
        world.cover("fault: message lost");
        world.log(|| format!("the message of job {}… is lost", &job.id[..8]));
        return;
    }
    if twice {
        cloud.lock().cover("fault: message twice");
    }
    for _ in 0..=u8::from(twice) {
        let delay = {
            let mut world = cloud.lock();
            // The deployment has removed the subscription of the topic that the job was started with.
            if world.topic != job.topic && !world.unspecified.old_topic_stays_subscribed {
                world.log(|| format!("no subscription exists for the message of job {}…", &job.id[..8]));
                return;
            }
            if late {
                world.cover("fault: message late");
                world.rng.u64(MINUTE..DAY)
            } else {
                world.rng.u64(10..2 * SECOND)
            }
        };
        sleep(delay).await;
        let event = event(&cloud, &[&message]);
        cloud.lock().log(|| format!("the message of job {}… arrives", &job.id[..8]));
        let functions = functions.clone();
        tokio::task::spawn_local(
            async move { functions.invoke_asynchronously(Function::ResumeExecution, event).await },
        );
    }
}

/// Delivers a message that Rekognition did not publish: `message`, or else one that reports success for a random job.
pub(super) async fn deliver_forged(cloud: &Cloud, functions: &Functions, message: Option<String>) {
    let message = message.unwrap_or_else(|| {
        let mut world = cloud.lock();
        let jobs: Vec<_> = world.rekognition.jobs.keys().cloned().collect();
        json!({ "JobId": world.rng.choice(jobs), "Status": "SUCCEEDED" }).to_string()
    });
    let other = json!({ "JobId": "f".repeat(64) }).to_string();
    let event = event(cloud, &[&message, &other]);
    {
        let mut world = cloud.lock();
        world.cover("fault: message forged");
        world.log(|| format!("a forged message arrives: {message}"));
    }
    functions.invoke_asynchronously(Function::ResumeExecution, event).await;
}

/// The event that Lambda passes to the function.
fn event(cloud: &Cloud, messages: &[&str]) -> Value {
    let world = cloud.lock();
    let records = messages.iter().map(|message| {
        json!({
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": format!("{}:subscription", world.topic),
            "Sns": {
                "Type": "Notification",
                "MessageId": format!("message-at-{}", world.now()),
                "TopicArn": world.topic,
                "Subject": null,
                "Message": message,
                "Timestamp": rfc3339(world.now()),
                "SignatureVersion": "1",
                "Signature": "",
                "SigningCertUrl": "",
                "UnsubscribeUrl": "",
                "MessageAttributes": {},
            },
        })
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}
