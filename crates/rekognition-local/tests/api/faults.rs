//! Every fault that can be ordered, seen from the caller's side.

use std::time::Duration;

use aws_sdk_rekognition::types::VideoJobStatus;
use rekognition_local::{Call, Fault, JobStatus, Refusal};

use crate::support::{Canned, Stand};

#[tokio::test]
async fn the_quota_is_used_up_for_as_many_calls_as_ordered() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.server.faults().order(Fault::LimitExceeded { times: 2 });
    for _ in 0..2 {
        let refused = stand.start().send().await.unwrap_err().into_service_error();
        assert!(refused.is_limit_exceeded_exception(), "{refused:?}");
    }
    stand.start().send().await.unwrap();
    assert_eq!(stand.server.calls().jobs, 1);
}

#[tokio::test]
async fn a_known_token_does_not_see_the_quota() {
    let stand = Stand::new(&Canned::faces(1)).await;
    let start = || stand.start().client_request_token("token");
    let job_id = start().send().await.unwrap().job_id;
    stand.server.faults().order(Fault::LimitExceeded { times: 1 });
    assert_eq!(start().send().await.unwrap().job_id, job_id);
    assert!(stand.start().send().await.unwrap_err().into_service_error().is_limit_exceeded_exception());
}

#[tokio::test]
async fn start_calls_are_refused_in_every_way_that_passes() {
    let stand = Stand::new(&Canned::faces(1)).await;
    let order = |error| stand.server.faults().order(Fault::Busy { call: Call::Start, error, times: 1 });
    order(Refusal::Throttling);
    order(Refusal::ProvisionedThroughputExceeded);
    order(Refusal::InternalServer);
    let refused = async || stand.start().send().await.unwrap_err().into_service_error();
    assert!(refused().await.is_throttling_exception());
    assert!(refused().await.is_provisioned_throughput_exceeded_exception());
    assert!(refused().await.is_internal_server_error());
    stand.start().send().await.unwrap();
    assert_eq!((stand.server.calls().start, stand.server.calls().jobs), (4, 1));
}

#[tokio::test]
async fn get_calls_are_refused_in_every_way_that_passes() {
    let stand = Stand::new(&Canned::faces(1)).await;
    let job_id = stand.finished().await;
    let before = stand.server.calls().get;
    let order = |error| stand.server.faults().order(Fault::Busy { call: Call::Get, error, times: 1 });
    order(Refusal::Throttling);
    order(Refusal::ProvisionedThroughputExceeded);
    order(Refusal::InternalServer);
    let get = || stand.client.get_face_detection().job_id(&job_id).send();
    let refused = async || get().await.unwrap_err().into_service_error();
    assert!(refused().await.is_throttling_exception());
    assert!(refused().await.is_provisioned_throughput_exceeded_exception());
    assert!(refused().await.is_internal_server_error());
    get().await.unwrap();
    assert_eq!(stand.server.calls().get, before + 4);
}

#[tokio::test]
async fn a_fault_for_one_kind_of_call_leaves_the_other_alone() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.server.faults().order(Fault::Busy { call: Call::Get, error: Refusal::Throttling, times: 1 });
    let job_id = stand.start().send().await.unwrap().job_id.unwrap();
    // The onlooker at SNS would take the refusal: it must be gone before the test asks.
    stand.aws.messages(1).await;
    stand.get(&job_id).await;
}

#[tokio::test]
async fn a_slow_call_takes_as_long_as_ordered_and_no_other() {
    let stand = Stand::new(&Canned::faces(1)).await;
    let job_id = stand.finished().await;
    let hour = 3_600_000;
    stand.server.faults().order(Fault::Slow { call: Call::Get, millis: 300, times: 1 });
    stand.server.faults().order(Fault::Slow { call: Call::Start, millis: hour, times: 1 });
    let asked = std::time::Instant::now();
    stand.get(&job_id).await;
    assert!(asked.elapsed() >= Duration::from_millis(300));
    // The hour is the next Start call's.
    stand.get(&job_id).await;
}

#[tokio::test]
async fn a_job_fails_on_order_without_an_analysis() {
    let detector = Canned::faces(1);
    let stand = Stand::new(&detector).await;
    stand.server.faults().order(Fault::JobFails { message: "the lens was covered".into() });
    let job_id = stand.finished().await;
    let got = stand.get(&job_id).await;
    assert_eq!(got.job_status, Some(VideoJobStatus::Failed));
    assert_eq!(got.status_message.as_deref(), Some("the lens was covered"));
    assert_eq!(stand.aws.messages(1).await[0].message["Status"], "FAILED");
    assert_eq!(detector.analyses(), 0);

    let next = stand.finished().await;
    assert_eq!(stand.get(&next).await.job_status, Some(VideoJobStatus::Succeeded));
}

#[tokio::test]
async fn a_message_says_error_on_order() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.server.faults().order(Fault::JobErrors { message: "internal".into() });
    let job_id = stand.finished().await;
    assert_eq!(stand.get(&job_id).await.job_status, Some(VideoJobStatus::Failed));
    assert_eq!(stand.aws.messages(1).await[0].message["Status"], "ERROR");
}

#[tokio::test]
async fn an_early_message_is_out_before_start_returns() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.server.faults().order(Fault::MessageEarly);
    stand.start().send().await.unwrap();
    assert_eq!(stand.aws.messages_so_far(), 1);
}

#[tokio::test]
async fn a_late_message_leaves_the_job_ended_and_comes_when_its_time_has_come() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.server.faults().order(Fault::MessageLate { millis: 3_600_000 });
    let job_id = stand.start().send().await.unwrap().job_id.unwrap();
    assert_eq!(stand.ended(&job_id).await.job_status, Some(VideoJobStatus::Succeeded));
    // A job after it is told of first.
    let next = stand.finished().await;
    assert_eq!(stand.aws.messages(1).await[0].message["JobId"], next);
    stand.advance(Duration::from_hours(1));
    assert_eq!(stand.aws.messages(2).await[1].message["JobId"], job_id);
}

#[tokio::test]
async fn a_message_comes_twice_on_order() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.server.faults().order(Fault::MessageTwice);
    stand.finished().await;
    let published = stand.aws.messages(2).await;
    assert_eq!(published[0].message, published[1].message);
}

#[tokio::test]
async fn a_message_never_comes_on_order() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.server.faults().order(Fault::MessageNever);
    let silent = stand.start().send().await.unwrap().job_id.unwrap();
    assert_eq!(stand.ended(&silent).await.job_status, Some(VideoJobStatus::Succeeded));
    let next = stand.finished().await;
    let published = stand.aws.messages(1).await;
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].message["JobId"], next);
}

#[tokio::test]
async fn a_failure_and_its_delivery_can_be_ordered_together() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.server.faults().order(Fault::MessageEarly);
    stand.server.faults().order(Fault::JobErrors { message: "internal".into() });
    stand.start().send().await.unwrap();
    assert_eq!(stand.aws.messages_so_far(), 1);
    assert_eq!(stand.server.jobs()[0].status, JobStatus::Failed);
}

#[tokio::test]
async fn faults_are_ordered_over_http_too() {
    let stand = Stand::new(&Canned::faces(1)).await;
    let faults = [
        r#"{"fault":"busy","call":"start","error":"provisioned_throughput_exceeded","times":1}"#,
        r#"{"fault":"limit_exceeded","times":1}"#,
        r#"{"fault":"job_fails","message":"on order"}"#,
        r#"{"fault":"message_early"}"#,
        r#"{"fault":"time_passes","millis":1000}"#,
    ];
    for fault in faults {
        assert_eq!(stand.raw("/_faults", "", fault).await, (204, String::new()), "{fault}");
    }
    let start = || stand.start().send();
    assert!(start().await.unwrap_err().into_service_error().is_provisioned_throughput_exceeded_exception());
    assert!(start().await.unwrap_err().into_service_error().is_limit_exceeded_exception());
    let job_id = start().await.unwrap().job_id.unwrap();
    assert_eq!(stand.get(&job_id).await.status_message.as_deref(), Some("on order"));
}

#[tokio::test]
async fn a_fault_that_does_not_exist_is_refused() {
    let stand = Stand::new(&Canned::faces(1)).await;
    for fault in ["", "{}", r#"{"fault":"earthquake"}"#, r#"{"fault":"limit_exceeded","time":1}"#] {
        let (status, answer) = stand.raw("/_faults", "", fault).await;
        assert!((400..500).contains(&status), "{fault}: {status} {answer}");
    }
}
