"""What went wrong between a machine and a bucket, from what rclone wrote about it."""

from __future__ import annotations

import re

_PERMISSIONS = {
    "PutObject": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "DeleteObject": "s3:DeleteObject",
    "ListObjects": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
}
_GOOGLE = re.compile(r"(storage\.\w+\.\w+) access")


def explain(said: str) -> str:
    """Return what rclone says is wrong, as people understand it; empty when nothing is."""
    action = re.search(r"operation error S3: (\w+)", said)
    google = _GOOGLE.search(said)
    if re.search(r"ExpiredToken|token expired|credentials? (?:has|have) expired", said, re.IGNORECASE):
        return "the machine's credentials have expired; they are renewed while a notebook is open"
    if re.search(r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken", said):
        return "the machine's credentials are not known there any more"
    if re.search(r"AccessDenied|StatusCode: 403|Error 403|[Ff]orbidden", said) and (google or action):
        permission = google[1] if google else ""
        if action:
            permission = _PERMISSIONS.get(action[1], f"s3:{action[1]}")
        return f"the permission {permission} is lacking"
    if re.search(r"connection refused|no such host|i/o timeout|deadline exceeded|unreachable", said):
        return "the bucket does not answer the machine, which goes on trying"
    code = re.search(r"api error (\w+): (.*)", said)
    return f"{code[1]}, {code[2]}" if code else said[-300:]
