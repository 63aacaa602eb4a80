"""GPU names as people and vendors write them, and which offer to take."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from .errors import ConfigurationError
from .model import GpuRequest, Offer

GPUS: Mapping[str, tuple[int, ...]] = {
    "A2": (16,), "A10": (24,), "A10G": (24,), "A16": (16,), "A30": (24,), "A40": (48,), "A100": (40, 80),
    "B200": (180,), "B300": (288,), "GB200": (186,), "GB300": (288,), "GH200": (96,),
    "H20": (96,), "H100": (80,), "H200": (141,),
    "L4": (24,), "L40": (48,), "L40S": (48,),
    "K80": (12,), "M60": (8,), "P4": (8,), "P40": (24,), "P100": (16,), "T4": (16,), "V100": (16, 32),
    "A2000": (12,), "A4000": (16,), "A4500": (20,), "A5000": (24,), "A6000": (48,),
    "RTX2000Ada": (16,), "RTX4000Ada": (20,), "RTX4500Ada": (24,), "RTX5000Ada": (32,), "RTX6000Ada": (48,),
    "RTXPRO4000": (24,), "RTXPRO4500": (32,), "RTXPRO5000": (48,), "RTXPRO6000": (96,),
    "RTX4000": (8,), "RTX5000": (16,), "RTX6000": (24,), "RTX8000": (48,), "TITANRTX": (24,),
    "GTX1080": (8,), "GTX1080Ti": (11,), "RTX2080": (8,), "RTX2080Ti": (11,),
    "RTX3060": (12,), "RTX3070": (8,), "RTX3080": (10,), "RTX3080Ti": (12,), "RTX3090": (24,),
    "RTX3090Ti": (24,), "RTX4060": (8,), "RTX4060Ti": (16,), "RTX4070": (12,), "RTX4080": (16,),
    "RTX4090": (24,), "RTX5070": (12,), "RTX5080": (16,), "RTX5090": (32,),
}  # fmt: skip
"""Every GPU that can be asked for, with the memory it is sold with, in GB."""

_KEYS = {name.upper(): name for name in GPUS} | {f"RTX{n}": n for n in GPUS if re.fullmatch(r"A\d{4}", n)}
# words of vendors' and clouds' names that do not tell one GPU from another
_NOISE = re.compile(
    r"(?:NVIDIA|TESLA|GEFORCE|QUADRO|GRID|SXM\d?|PCIE?|HBM\d?E?|NVL|NVLINK|MEGA|BLACKWELL|SERVER|MAX|Q"
    r"|WORKSTATION|EDITION|GENERATION|LAPTOP|GPU)"
)
_SIZE = re.compile(r"(\d{1,4})G(?:I?B)?")
# 8xA100 and A100 x8; the X of RTX and GTX stands behind a T, and belongs to a name
_TIMES = re.compile(
    r"\s*(?P<before>[1-9]\d{0,2})\s*[xX×]\s*(?P<name>\S.*)|(?P<front>.*[^\sT])\s*[xX×]\s*(?P<behind>[1-9]\d{0,2})\s*",
    re.DOTALL,
)


def parse_gpu(text: str) -> tuple[str, int]:
    """Return the name and number in what a user asks for.

    Args:
        text: ``A100``, ``a100-80gb:4``, ``8xA100``, ``rtx 4090``, ``any``, ``any>=24GB:2``; empty for no GPU.

    Returns:
        The name as in `GPUS` (with the memory, ``A100-80GB``, where it is sold with several and one was
        named), or ``any``, or ``any>=24GB``; and how many.

    Raises:
        ConfigurationError: There is no such GPU, or not with that memory, or the number makes no sense.
    """
    if times := _TIMES.fullmatch(text):
        text = f"{times['name'] or times['front']}:{times['before'] or times['behind']}"
    name, colon, number = text.strip().rpartition(":")
    if not colon:
        name, number = number, "1"
    if not name and not colon:
        return "", 1
    if not re.fullmatch(r"\s*[1-9]\d{0,2}\s*", number):
        raise ConfigurationError(
            f"{number.strip()!r} is no number of GPUs.", hint=f"Write it as {name.strip() or 'A100'}:2."
        )
    return _canonical(name), int(number)


def _canonical(text: str) -> str:
    if match := re.fullmatch(r"\s*(?:any)?\s*(?:>=\s*(\d{1,4}(?:\.\d{1,2})?)\s*(?:GI?B?)?)?\s*", text, re.I):
        return f"any>={float(match[1]):g}GB" if match[1] else "any"
    family, memory = _split(text)
    if family not in GPUS:
        known = ", ".join(GPUS)
        near = difflib.get_close_matches(family.upper(), _KEYS, n=3, cutoff=0.6)
        meant = ", ".join(dict.fromkeys(_KEYS[k] for k in near))
        raise ConfigurationError(
            f"There is no GPU called {text.strip()!r} here." + (f" Did you mean {meant}?" if meant else ""),
            hint=f"Write it as one of these, or any, or any>=24GB: {meant or known}.",
        )
    sold = GPUS[family]
    if memory and memory not in sold:
        sizes = " and ".join(f"{m} GB" for m in sold)
        raise ConfigurationError(
            f"A {family} does not come with {memory} GB.", hint=f"It is sold with {sizes}: use {family}."
        )
    return f"{family}-{memory}GB" if memory and len(sold) > 1 else family


def _split(text: str) -> tuple[str, int]:
    """Return the name in `text` (as in `GPUS` when it is there) and the memory named in it, or 0."""
    words = re.findall(r"[A-Z0-9.]+", re.sub(r"(?<=\d)\s+(?=GI?B\b)", "", text.upper()))
    sizes = [int(m[1]) for w in words if (m := _SIZE.fullmatch(w))]
    telling = [w for w in words if not _NOISE.fullmatch(w) and not _SIZE.fullmatch(w)]
    key, shorter = "".join(telling), "".join(telling[:-1])
    if key not in _KEYS and shorter in _KEYS and re.fullmatch(r"\d{1,4}", telling[-1]):
        return _KEYS[shorter], int(telling[-1])  # A100-80
    return _KEYS.get(key, key), sizes[0] if sizes else 0


def vendor_gpu(text: str, memory: float) -> str:
    """Return our name for a GPU that a driver or a cloud reports.

    Args:
        text: Its name there: ``NVIDIA A100-SXM4-80GB``, ``Tesla T4``.
        memory: Its memory in GiB, which tells variants apart where the name does not.

    Returns:
        A name as `parse_gpu` returns it, or `text` itself where we know no such GPU.
    """
    family, named = _split(text)
    sold = GPUS.get(family)
    if sold is None:
        return text
    if len(sold) == 1:
        return family
    size = named if named in sold else min(sold, key=lambda m: abs(m - memory))
    return f"{family}-{size}GB"


def gpu_fits(wanted: str, gpu: str, memory: float) -> bool:
    """Return whether a GPU is what was asked for.

    Args:
        wanted: As `parse_gpu` returns it.
        gpu: Our name for the GPU at hand; empty for none.
        memory: Its memory in GiB.
    """
    if not gpu:
        return False
    if wanted.startswith("any"):
        # drivers report up to a tenth less than the number a GPU is sold by
        return wanted == gpu or memory >= 0.9 * float(wanted[len("any>=") : -len("GB")] or 0)
    return gpu == wanted or gpu.startswith(f"{wanted}-")


def rank(offers: Iterable[Offer], request: GpuRequest) -> list[Offer]:
    """Return the offers that fit `request`, cheapest first.

    Something that plays a GPU's part comes after every real one. An offer without a region is at hand,
    outside any market: region, zone and spot do not apply to it. Unknown (0) cores and memory fit.
    """
    return sorted(
        (o for o in offers if _fits(o, request)),
        key=lambda o: (bool(o.stand_in_for), o.price, o.spot, -o.gpu_memory, o.zone, o.machine_type),
    )


def _fits(offer: Offer, request: GpuRequest) -> bool:
    if offer.region and not (
        request.region in ("", offer.region)
        and request.zone in ("", offer.zone)
        and request.spot in (None, offer.spot)
    ):
        return False
    if request.gpu and offer.stand_in_for != request.gpu:
        # exactly as many: nobody should pay for eight after asking for one
        fits = gpu_fits(request.gpu, offer.gpu, offer.gpu_memory)
        if not fits or offer.count != request.count:
            return False
    return (
        (request.max_price is None or offer.price <= request.max_price)
        and (not offer.cpus or offer.cpus >= request.cpus)
        and (not offer.memory or offer.memory >= request.memory)
    )
