"""What a refusal by AWS means for the next step: one table."""

from __future__ import annotations

import re

from ..errors import NoCapacityError, ProviderAuthError, ProviderError, QuotaError, RulesOut

LOGIN = "aws sso login, or aws configure"

THROTTLED = {
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "TooManyRequestsException",
}
"""Too many calls: refused for sure."""
UNSURE = {
    *("ServerInternal", "InternalError", "ServiceUnavailable", "Unavailable"),
    *("InternalServerException", "InternalServerError", "InternalFailure"),
    *("500", "502", "503", "504"),  # what stands before AWS fails
}
"""AWS failed: it may or may not have done what it was asked for."""
STALE = {
    "InvalidAMIID.NotFound",
    "InvalidAMIID.Unavailable",
    "InvalidGroup.NotFound",
    "InvalidGroupId.Malformed",
    "InvalidSecurityGroupID.NotFound",
    "InvalidSubnetID.NotFound",
    "InvalidSubnet",
}
"""What was looked up before is not there any more."""
UNKNOWN_MACHINE = {"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"}

_FULL = {
    "InsufficientInstanceCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientCapacity",
    "InsufficientFreeAddressesInSubnet",
    "SpotMaxPriceTooLow",
    "Unsupported",
    "UnsupportedOperation",
}
_QUOTA = {"MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "InstanceLimitExceeded"}
_NOT_THIS_REGION = {"OptInRequired", "AuthFailure"} | STALE
_DENIED = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}
_ACCOUNT = {"PendingVerification", "Blocked", "AccountDisabled"}
_LOGGED_OUT = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
}


def refusal(code: str, text: str, permission: str, region: str) -> ProviderError:
    """Return our error for one of AWS.

    Args:
        code: AWS's code for it.
        text: Its sentence about it.
        permission: What the call needs, ``ec2:RunInstances``.
        region: Where it was made.
    """
    # the rest of what it says is advice, or a message encoded for administrators
    said = re.split(r"\.\s|\. ?$", re.sub(r"\s+", " ", text).strip(), maxsplit=1)[0]
    message = f"{code} in {region}: {said}." if said else f"{code} in {region}."
    if code in _FULL:
        return NoCapacityError(message, cloud_code=code)
    if code in _QUOTA:
        return QuotaError(message, hint=quota_hint(region), cloud_code=code)
    if code in _DENIED:
        named = re.search(r"not authorized to perform: ([\w-]+:\w+)", text)
        missing = named[1] if named else permission
        return ProviderAuthError(
            f"AWS does not let you do {missing} in {region} ({code}).",
            hint=f"Have {missing} allowed: docs/aws.md has a policy with all that is needed.",
            cloud_code=code,
        )
    if code in _LOGGED_OUT:
        clock = " If that does not help, set this computer's clock." if code == "RequestExpired" else ""
        return ProviderAuthError(
            f"AWS does not accept the credentials: {message}",
            hint=f"Log in again: {LOGIN}.{clock}",
            cloud_code=code,
        )
    if code.startswith("AuthFailure.ServiceLinkedRole"):
        return ProviderAuthError(
            f"The account never had a spot machine, and you may not prepare it for that ({code}).",
            hint="Have this done once: aws iam create-service-linked-role --aws-service-name"
            " spot.amazonaws.com.",
            cloud_code=code,
        )
    if code in _ACCOUNT:
        return ProviderAuthError(
            f"AWS holds the account back: {message}",
            hint="Look for a mail of AWS, or open a case at https://console.aws.amazon.com/support.",
            cloud_code=code,
        )
    if code in _NOT_THIS_REGION:
        kind = ProviderAuthError if code in ("OptInRequired", "AuthFailure") else ProviderError
        return kind(
            message,
            hint=f"Use another --region, or check that {region} is enabled for the account.",
            rules_out=RulesOut.REGION,
            cloud_code=code,
        )
    if code in THROTTLED | UNSURE:
        hint = "Try again in a minute." if code in THROTTLED else "Try again, or another --region."
        return ProviderError(message, hint=hint, rules_out=RulesOut.REGION, cloud_code=code)
    return ProviderError(
        message, hint="Trying elsewhere would not help. Please report it, with this text.", cloud_code=code
    )


def quota_hint(region: str, quota: str = "") -> str:
    """Return where to ask for more."""
    path = f"services/ec2/quotas{'/' + quota if quota else ''}?region={region}"
    return (
        f"Ask for more at https://console.aws.amazon.com/servicequotas/home/{path} or use another --region."
    )
