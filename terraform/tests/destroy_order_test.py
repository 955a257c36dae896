#!/usr/bin/env python3
"""Checks that `terraform destroy` reaches the customer-managed key last.

Destroy runs against the direction of the dependencies, and where one resource fails, those that it depends on are left.
A bucket with objects in it fails. If it did not depend on the key, Terraform would schedule the key's deletion all the
same, and the objects would be unreadable."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

MODULE = Path(__file__).resolve().parent.parent
KEY = "aws_kms_key.key"
ALIAS = "aws_kms_alias.key"

# What holds data that the key encrypts.
ENCRYPTED = {
    "aws_cloudwatch_log_group",
    "aws_lambda_function",
    "aws_s3_bucket",
    "aws_sfn_state_machine",
    "aws_sns_topic",
    "aws_sqs_queue",
}


def dependencies():
    """Each resource of the module with the resources that it depends on, directly or not."""
    graph = subprocess.run(["terraform", "graph"], cwd=MODULE, check=True, capture_output=True, text=True).stdout
    direct = {resource: set() for resource in re.findall(r'^\s*"([^"]+)" \[', graph, re.M)}
    for resource, other in re.findall(r'^\s*"([^"]+)" -> "([^"]+)";', graph, re.M):
        direct[resource].add(other)

    def reach(resource, seen):
        for other in direct[resource] - seen:
            seen.add(other)
            reach(other, seen)
        return seen

    return {resource: reach(resource, set()) for resource in direct}


class DestroyOrder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dependencies = dependencies()

    def test_everything_encrypted_goes_before_the_key(self):
        encrypted = {resource for resource in self.dependencies if resource.split(".")[0] in ENCRYPTED}
        self.assertEqual({resource.split(".")[0] for resource in encrypted}, ENCRYPTED)
        self.assertEqual({resource for resource in encrypted if KEY not in self.dependencies[resource]}, set())

    def test_the_keys_alias_stays_as_long_as_a_bucket(self):
        buckets = {resource for resource in self.dependencies if resource.startswith("aws_s3_bucket.")}
        self.assertEqual(buckets, {"aws_s3_bucket.results", "aws_s3_bucket.upload"})
        self.assertEqual({bucket for bucket in buckets if ALIAS not in self.dependencies[bucket]}, set())


if __name__ == "__main__":
    sys.exit(unittest.main())
