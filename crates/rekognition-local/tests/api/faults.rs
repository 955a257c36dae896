//! Every fault that can be injected, as a caller observes it.

use std::time::Duration;

use aws_sdk_rekognition::types::VideoJobStatus;
use rekognition_local::{Call, Fault, JobStatus, Refusal};

use crate::support::{Canned, Setup};

#[tokio::test]
async fn the_quota_is_used_up_for_the_injected_number_of_calls() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.server.faults().inject(Fault::LimitExceeded { times: 2 });
    for _ in 0..2 {
        let refused = setup.start().send().await.unwrap_err().into_service_error();
        assert!(refused.is_limit_exceeded_exception(), "{refused:?}");
    }
    setup.start().send().await.unwrap();
    assert_eq!(setup.server.calls().jobs, 1);
}

#[tokio::test]
async fn a_known_token_is_answered_when_the_quota_is_used_up() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let start = || setup.start().client_request_token("token");
    let job_id = start().send().await.unwrap().job_id;
    setup.server.faults().inject(Fault::LimitExceeded { times: 1 });
    assert_eq!(start().send().await.unwrap().job_id, job_id);
    assert!(setup.start().send().await.unwrap_err().into_service_error().is_limit_exceeded_exception());
}

#[tokio::test]
async fn start_calls_are_refused_with_every_temporary_error() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let inject = |error| setup.server.faults().inject(Fault::Busy { call: Call::Start, error, times: 1 });
    inject(Refusal::Throttling);
    inject(Refusal::ProvisionedThroughputExceeded);
    inject(Refusal::InternalServer);
    let refused = async || setup.start().send().await.unwrap_err().into_service_error();
    assert!(refused().await.is_throttling_exception());
    assert!(refused().await.is_provisioned_throughput_exceeded_exception());
    assert!(refused().await.is_internal_server_error());
    setup.start().send().await.unwrap();
    assert_eq!((setup.server.calls().start, setup.server.calls().jobs), (4, 1));
}

#[tokio::test]
async fn get_calls_are_refused_with_every_temporary_error() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let job_id = setup.finished().await;
    let before = setup.server.calls().get;
    let inject = |error| setup.server.faults().inject(Fault::Busy { call: Call::Get, error, times: 1 });
    inject(Refusal::Throttling);
    inject(Refusal::ProvisionedThroughputExceeded);
    inject(Refusal::InternalServer);
    let get = || setup.client.get_face_detection().job_id(&job_id).send();
    let refused = async || get().await.unwrap_err().into_service_error();
    assert!(refused().await.is_throttling_exception());
    assert!(refused().await.is_provisioned_throughput_exceeded_exception());
    assert!(refused().await.is_internal_server_error());
    get().await.unwrap();
    assert_eq!(setup.server.calls().get, before + 4);
}

#[tokio::test]
async fn a_fault_for_one_kind_of_call_does_not_apply_to_the_other() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.server.faults().inject(Fault::Busy { call: Call::Get, error: Refusal::Throttling, times: 1 });
    let job_id = setup.start().send().await.unwrap().job_id.unwrap();
    // The Get call of the observer at SNS uses up the fault, before the test makes its own call.
    setup.aws.messages(1).await;
    setup.get(&job_id).await;
}

#[tokio::test]
async fn only_the_injected_call_is_slow() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let job_id = setup.finished().await;
    let hour = 3_600_000;
    setup.server.faults().inject(Fault::Slow { call: Call::Get, millis: 300, times: 1 });
    setup.server.faults().inject(Fault::Slow { call: Call::Start, millis: hour, times: 1 });
    let asked = std::time::Instant::now();
    setup.get(&job_id).await;
    assert!(asked.elapsed() >= Duration::from_millis(300));
    // The delay of an hour applies to the next Start call only.
    setup.get(&job_id).await;
}

#[tokio::test]
async fn an_injected_failure_ends_the_job_without_an_analysis() {
    let detector = Canned::faces(1);
    let setup = Setup::new(&detector).await;
    setup.server.faults().inject(Fault::JobFails { message: "the lens was covered".into() });
    let job_id = setup.finished().await;
    let got = setup.get(&job_id).await;
    assert_eq!(got.job_status, Some(VideoJobStatus::Failed));
    assert_eq!(got.status_message.as_deref(), Some("the lens was covered"));
    assert_eq!(setup.aws.messages(1).await[0].message["Status"], "FAILED");
    assert_eq!(detector.analyses(), 0);

    let next = setup.finished().await;
    assert_eq!(setup.get(&next).await.job_status, Some(VideoJobStatus::Succeeded));
}

#[tokio::test]
async fn the_status_in_a_message_can_be_error() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.server.faults().inject(Fault::JobErrors { message: "internal".into() });
    let job_id = setup.finished().await;
    assert_eq!(setup.get(&job_id).await.job_status, Some(VideoJobStatus::Failed));
    assert_eq!(setup.aws.messages(1).await[0].message["Status"], "ERROR");
}

#[tokio::test]
async fn an_early_message_is_published_before_start_returns() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.server.faults().inject(Fault::MessageEarly);
    setup.start().send().await.unwrap();
    assert_eq!(setup.aws.messages_so_far(), 1);
}

#[tokio::test]
async fn a_late_message_is_published_after_its_delay_though_the_job_has_ended() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.server.faults().inject(Fault::MessageLate { millis: 3_600_000 });
    let job_id = setup.start().send().await.unwrap().job_id.unwrap();
    assert_eq!(setup.ended(&job_id).await.job_status, Some(VideoJobStatus::Succeeded));
    // The message of a later job is published first.
    let next = setup.finished().await;
    assert_eq!(setup.aws.messages(1).await[0].message["JobId"], next);
    setup.advance(Duration::from_hours(1));
    assert_eq!(setup.aws.messages(2).await[1].message["JobId"], job_id);
}

#[tokio::test]
async fn a_message_can_be_published_twice() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.server.faults().inject(Fault::MessageTwice);
    setup.finished().await;
    let published = setup.aws.messages(2).await;
    assert_eq!(published[0].message, published[1].message);
}

#[tokio::test]
async fn a_message_can_be_lost() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.server.faults().inject(Fault::MessageNever);
    let silent = setup.start().send().await.unwrap().job_id.unwrap();
    assert_eq!(setup.ended(&silent).await.job_status, Some(VideoJobStatus::Succeeded));
    let next = setup.finished().await;
    let published = setup.aws.messages(1).await;
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].message["JobId"], next);
}

#[tokio::test]
async fn a_failure_and_its_delivery_can_be_injected_together() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.server.faults().inject(Fault::MessageEarly);
    setup.server.faults().inject(Fault::JobErrors { message: "internal".into() });
    setup.start().send().await.unwrap();
    assert_eq!(setup.aws.messages_so_far(), 1);
    assert_eq!(setup.server.jobs()[0].status, JobStatus::Failed);
}

#[tokio::test]
async fn faults_can_be_injected_over_http() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let faults = [
        r#"{"fault":"busy","call":"start","error":"provisioned_throughput_exceeded","times":1}"#,
        r#"{"fault":"limit_exceeded","times":1}"#,
        r#"{"fault":"job_fails","message":"injected"}"#,
        r#"{"fault":"message_early"}"#,
        r#"{"fault":"time_passes","millis":1000}"#,
    ];
    for fault in faults {
        assert_eq!(setup.raw("/_faults", "", fault).await, (204, String::new()), "{fault}");
    }
    let start = || setup.start().send();
    assert!(start().await.unwrap_err().into_service_error().is_provisioned_throughput_exceeded_exception());
    assert!(start().await.unwrap_err().into_service_error().is_limit_exceeded_exception());
    let job_id = start().await.unwrap().job_id.unwrap();
    assert_eq!(setup.get(&job_id).await.status_message.as_deref(), Some("injected"));
}

#[tokio::test]
async fn an_unknown_fault_is_refused() {
    let setup = Setup::new(&Canned::faces(1)).await;
    for fault in ["", "{}", r#"{"fault":"earthquake"}"#, r#"{"fault":"limit_exceeded","time":1}"#] {
        let (status, answer) = setup.raw("/_faults", "", fault).await;
        assert!((400..500).contains(&status), "{fault}: {status} {answer}");
    }
}
