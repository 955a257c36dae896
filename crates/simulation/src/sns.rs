//! SNS: Rekognition's completions on their way, and what others publish.

use serde_json::{Value, json};

use crate::clock::{DAY, HOUR, MINUTE, SECOND, rfc3339, sleep};
use crate::lambda::Functions;
use crate::rekognition::message;
use crate::story::Sabotage;
use crate::world::Cloud;

/// Publishes the completion of a job that has just been started, once it has ended: or too early, late, twice, never.
pub(super) async fn report(cloud: Cloud, functions: Functions, job: String) {
    let (job, early, lost, late, twice) = {
        let mut world = cloud.lock();
        let weather = world.weather();
        let job = world.rekognition.jobs[&job].clone();
        let early = world.chance(weather.message_early);
        let lost = world.chance(weather.message_lost) || world.sabotage == Some(Sabotage::LosesMessages);
        (job, early, lost, world.chance(weather.message_late), world.chance(weather.message_twice))
    };
    let message = message(&job).to_string();
    let lasts = job.ends - job.started;
    if early {
        cloud.lock().meet("fault: message early");
        let before = cloud.lock().dice.u64(0..=lasts.min(5 * SECOND));
        sleep(lasts - before).await;
    } else {
        sleep(lasts).await;
    }
    if lost {
        let mut world = cloud.lock();
        world.meet("fault: message lost");
        world.log(|| format!("the message of job {}… is lost", &job.id[..8]));
        return;
    }
    if twice {
        cloud.lock().meet("fault: message twice");
    }
    for _ in 0..=u8::from(twice) {
        let delay = {
            let mut world = cloud.lock();
            // A deploy has removed the subscription of the topic that the job was started with.
            if world.topic != job.topic && !world.quirks.old_topics_live_on {
                world.log(|| format!("nobody listens to the message of job {}…", &job.id[..8]));
                return;
            }
            if late {
                world.meet("fault: message late");
                world.dice.u64(MINUTE..DAY)
            } else {
                world.dice.u64(10..2 * SECOND)
            }
        };
        sleep(delay).await;
        let event = event(&cloud, &[&message]);
        cloud.lock().log(|| format!("the message of job {}… arrives", &job.id[..8]));
        let functions = functions.clone();
        tokio::task::spawn_local(async move { functions.invoke_asynchronously(event).await });
    }
}

/// Someone publishes what Rekognition did not: `message`, or the lie that one of our jobs has succeeded.
pub(super) async fn forge(cloud: &Cloud, functions: &Functions, message: Option<String>) {
    let message = message.unwrap_or_else(|| {
        let mut world = cloud.lock();
        let jobs: Vec<_> = world.rekognition.jobs.keys().cloned().collect();
        json!({ "JobId": world.dice.choice(jobs), "Status": "SUCCEEDED" }).to_string()
    });
    let other = json!({ "JobId": "f".repeat(64) }).to_string();
    let event = event(cloud, &[&message, &other]);
    {
        let mut world = cloud.lock();
        world.meet("fault: message forged");
        world.log(|| format!("a forged message arrives: {message}"));
    }
    functions.invoke_asynchronously(event).await;
}

/// The event that Lambda hands over.
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

/// Longer than any message is on its way.
pub(super) const LAST_MESSAGE: u64 = DAY + HOUR;
