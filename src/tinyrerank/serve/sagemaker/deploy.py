# ruff: noqa: T201 - a script prints
r"""Create an Amazon SageMaker endpoint for a tinyrerank model. Needs boto3, an image in ECR and a role.

    python deploy.py --name reranker --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/tinyrerank:TAG \
        --role arn:aws:iam::ACCOUNT:role/ROLE --bucket BUCKET

``--dry-run`` prints the requests instead of sending them, and needs no account. Without ``--model-data`` the
``model.tar.gz`` beside this file is uploaded. Afterwards:

    boto3.client("sagemaker-runtime").invoke_endpoint(EndpointName="reranker", ContentType="application/json",
        Body=json.dumps({"query": "how do tides work?", "documents": ["The moon pulls.", "Bread rises."]}))
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

ARCHIVE = Path(__file__).resolve().parent / "model.tar.gz"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", required=True, help="of the endpoint, its configuration and its model")
    parser.add_argument("--image", required=True, help="the container image, in ECR")
    parser.add_argument(
        "--role", required=True, help="role that SageMaker takes: reads the bucket, writes logs"
    )
    parser.add_argument("--bucket", help="where model.tar.gz is uploaded")
    parser.add_argument("--model-data", metavar="S3URI", help="an archive that is uploaded already")
    parser.add_argument("--instance-type", default="ml.c7i.large", help="default: %(default)s")
    parser.add_argument("--instances", type=int, default=1, help="default: %(default)s")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--serverless", type=int, metavar="MB", help="a serverless endpoint of so much memory")
    kind.add_argument("--asynchronous", metavar="S3URI", help="an asynchronous endpoint; where answers go")
    parser.add_argument("--dry-run", action="store_true", help="print the requests as JSON and stop")
    args = parser.parse_args(argv)
    if not args.bucket and not args.model_data:
        parser.error("give --bucket, or --model-data with an archive that is uploaded already")
    return args


def requests(args: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """Names and arguments of the API calls, in order."""
    data = args.model_data or f"s3://{args.bucket}/{args.name}/model.tar.gz"
    environment = {"TINYRERANK_SAGEMAKER": "true"}
    if args.asynchronous:
        environment["TINYRERANK_DEADLINE_MS"] = "3300000"  # the service waits an hour
        environment["TINYRERANK_MAX_BODY_BYTES"] = str(2**30)
    variant: dict[str, Any] = {"VariantName": "AllTraffic", "ModelName": args.name}
    if args.serverless:
        variant["ServerlessConfig"] = {"MemorySizeInMB": args.serverless, "MaxConcurrency": 10}
    else:
        variant |= {
            "InstanceType": args.instance_type,
            "InitialInstanceCount": args.instances,
            "ContainerStartupHealthCheckTimeoutInSeconds": 120,
        }
    config: dict[str, Any] = {"EndpointConfigName": args.name, "ProductionVariants": [variant]}
    if args.asynchronous:
        config["AsyncInferenceConfig"] = {"OutputConfig": {"S3OutputPath": args.asynchronous}}
    container = {"Image": args.image, "ModelDataUrl": data, "Environment": environment}
    return [
        (
            "create_model",
            {"ModelName": args.name, "ExecutionRoleArn": args.role, "PrimaryContainer": container},
        ),
        ("create_endpoint_config", config),
        ("create_endpoint", {"EndpointName": args.name, "EndpointConfigName": args.name}),
    ]


def main(argv: list[str] | None = None) -> int:
    """Upload, create, wait."""
    args = parse(argv)
    calls = requests(args)
    if args.dry_run:
        print(json.dumps([{name: arguments} for name, arguments in calls], indent=1))
        return 0
    boto3 = importlib.import_module("boto3")
    if not args.model_data:
        print(f"uploading {ARCHIVE} to s3://{args.bucket}/{args.name}/", file=sys.stderr)
        boto3.client("s3").upload_file(str(ARCHIVE), args.bucket, f"{args.name}/model.tar.gz")
    client = boto3.client("sagemaker")
    for name, arguments in calls:
        print(name.replace("_", " "), file=sys.stderr)
        getattr(client, name)(**arguments)
    print("waiting for the endpoint, some minutes", file=sys.stderr)
    while True:
        answer = client.describe_endpoint(EndpointName=args.name)
        if answer["EndpointStatus"] == "InService":
            print(f"{args.name} is in service", file=sys.stderr)
            return 0
        if answer["EndpointStatus"] == "Failed":
            print(f"{args.name} failed: {answer.get('FailureReason', 'no reason given')}", file=sys.stderr)
            return 1
        time.sleep(15)


if __name__ == "__main__":
    sys.exit(main())
