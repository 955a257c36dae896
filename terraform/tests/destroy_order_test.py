#!/usr/bin/env python3
"""Checks that `terraform destroy` deletes the customer-managed key after everything that it encrypts.

Terraform destroys a resource before the resources that it depends on. If the destruction of a resource fails, Terraform
keeps its dependencies. The destruction of a bucket that contains objects fails. If the bucket did not depend on the key,
Terraform would still schedule the deletion of the key, and the objects would become unreadable."""

import re
import subprocess
import sys
import unittest
from pathlib import Path

MODULE = Path(__file__).resolve().parent.parent
KEY = "aws_kms_key.key"
ALIAS = "aws_kms_alias.key"

# The types of resources that store data encrypted with the key.
ENCRYPTED = {
    "aws_cloudwatch_log_group",
    "aws_lambda_function",
    "aws_s3_bucket",
    "aws_sfn_state_machine",
    "aws_sns_topic",
    "aws_sqs_queue",
}


def dependencies():
    """Maps each resource of the module to its direct and indirect dependencies."""
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

    def test_every_encrypted_resource_depends_on_the_key(self):
        encrypted = {resource for resource in self.dependencies if resource.split(".")[0] in ENCRYPTED}
        self.assertEqual({resource.split(".")[0] for resource in encrypted}, ENCRYPTED)
        self.assertEqual({resource for resource in encrypted if KEY not in self.dependencies[resource]}, set())

    def test_every_bucket_depends_on_the_alias_of_the_key(self):
        buckets = {resource for resource in self.dependencies if resource.startswith("aws_s3_bucket.")}
        self.assertEqual(buckets, {"aws_s3_bucket.results", "aws_s3_bucket.upload"})
        self.assertEqual({bucket for bucket in buckets if ALIAS not in self.dependencies[bucket]}, set())


if __name__ == "__main__":
    sys.exit(unittest.main())
