#!/usr/bin/env python3
"""Checks the arguments that every resource of a type must have."""

import re
import sys
import unittest
from pathlib import Path

MODULE = Path(__file__).resolve().parent.parent

# The types without the argument `tags`. The schema of the provider contains it for every other type that the module uses.
WITHOUT_TAGS = {
    "aws_cloudwatch_dashboard",
    "aws_cloudwatch_event_target",
    "aws_glue_catalog_table",
    "aws_iam_role_policy",
    "aws_kms_alias",
    "aws_lambda_function_event_invoke_config",
    "aws_lambda_permission",
    "aws_s3_bucket_lifecycle_configuration",
    "aws_s3_bucket_notification",
    "aws_s3_bucket_ownership_controls",
    "aws_s3_bucket_policy",
    "aws_s3_bucket_public_access_block",
    "aws_s3_bucket_server_side_encryption_configuration",
    "aws_s3_bucket_versioning",
    "aws_sns_topic_policy",
    "aws_sns_topic_subscription",
    "aws_sqs_queue_policy",
}


def resources():
    """The type, the name and the arguments of each resource, as `terraform fmt` formats them."""
    for file in sorted(MODULE.glob("*.tf")):
        for kind, name, body in re.findall(r'^resource "(\w+)" "(\w+)" {\n(.*?)^}$', file.read_text(), re.M | re.S):
            yield kind, name, dict(re.findall(r"^  (\w+) += (.*)$", body, re.M))


class Resources(unittest.TestCase):
    def test_every_resource_has_the_tags(self):
        without = {f"{kind}.{name}" for kind, name, arguments in resources() if arguments.get("tags") != "var.tags" and kind not in WITHOUT_TAGS}
        self.assertEqual(without, set(), "add `tags = var.tags`, or the type to WITHOUT_TAGS")

    def test_every_role_has_the_path_and_the_permissions_boundary(self):
        for kind, name, arguments in resources():
            if kind == "aws_iam_role":
                self.assertEqual((arguments.get("path"), arguments.get("permissions_boundary")), ("var.iam_path", "var.permissions_boundary_arn"), name)

    def test_no_unused_type_is_listed(self):
        self.assertEqual(WITHOUT_TAGS - {kind for kind, _, _ in resources()}, set())


if __name__ == "__main__":
    sys.exit(unittest.main())
