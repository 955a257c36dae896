"""The obvious Python Lambda: start a job, or page through a finished one and write its faces as one JSON document."""

import json

import boto3

rekognition = boto3.client("rekognition")
s3 = boto3.client("s3")


def handler(event, context):
    if "video" in event:
        return {"job_id": rekognition.start_face_detection(Video={"S3Object": event["video"]})["JobId"]}
    faces = []
    page = rekognition.get_face_detection(JobId=event["job_id"], MaxResults=1000)
    faces.extend(page["Faces"])
    while "NextToken" in page:
        page = rekognition.get_face_detection(JobId=event["job_id"], MaxResults=1000, NextToken=page["NextToken"])
        faces.extend(page["Faces"])
    s3.put_object(Bucket=event["bucket"], Key=event["key"], Body=json.dumps(faces))
    return {"faces": len(faces)}
