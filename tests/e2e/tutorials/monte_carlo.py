# %%
import itertools
import math
from functools import lru_cache, partial, reduce

import numpy as np

# %%
SEED = 42
PIECES = 8


def inside(points):
    """Say which points lie in the unit circle."""
    return (points**2).sum(axis=1) <= 1


# %%
def pieces(n, size, seed=SEED):
    """Give `n` pieces of random points, each of its own stream."""
    for child in np.random.SeedSequence(seed).spawn(n):
        yield np.random.default_rng(child).random((size, 2))


estimate = 4 * np.mean([inside(points).mean() for points in pieces(PIECES, 20_000)])
print(f"pi is about {estimate:.5f}, off by {abs(estimate - math.pi):.1e}")


# %%
def running_mean(values):
    total = 0.0
    for count, value in enumerate(values, 1):
        total += value
        yield total / count


means = list(running_mean(4 * inside(p).mean() for p in pieces(PIECES, 5_000)))
means[-1]

# %%
price = partial(lambda spot, strike, rate: max(spot - strike, 0) * math.exp(-rate), strike=100, rate=0.03)
rng = np.random.default_rng(SEED)
state = rng.bit_generator.state["state"]["state"]

# %% changes: rng
paths = 100 * np.exp(np.cumsum(rng.normal(0.0003, 0.01, (2_000, 50)), axis=1))
last = paths[:, -1]
print(paths.shape, np.shares_memory(last, paths))

# %% changes: paths, last
last += 1
values = np.array([price(spot) for spot in paths[:, -1]])
values.mean().round(6)

# %% changes: rng
bootstrap = rng.choice(values, (200, len(values))).mean(axis=1)
low, high = np.percentile(bootstrap, [2.5, 97.5])
f"{low:.4f} … {high:.4f}"


# %%
@lru_cache(maxsize=None)
def walks(steps, at=0):
    """Count the walks that end where they began."""
    if steps == 0:
        return int(at == 0)
    return walks(steps - 1, at - 1) + walks(steps - 1, at + 1)


exact = [walks(n) / 2**n for n in range(2, 20, 2)]
walks.cache_info().currsize > 0


# %%
def counter():
    count = 0

    def tick(by=1):
        nonlocal count
        count += by
        return count

    return tick


ticks = counter()
ticks(), ticks(5)

# %% changes: ticks
pairs = itertools.combinations(range(5), 2)
product = reduce(lambda a, b: a * b % 1009, (x + y + ticks() for x, y in pairs), 1)
product

# %% changes: paths
paths[0] = 0
mixed = [walks(4), ticks.__closure__[0].cell_contents, last[0], (lambda: PIECES)()]
[float(m) for m in mixed]

# %%
results = {
    "estimate": float(estimate),
    "means": means,
    "price": float(values.mean()),
    "last": last[:5].tolist(),
    "shared": bool(np.shares_memory(last, paths)),
    "interval": [float(low), float(high)],
    "exact": exact,
    "product": product,
    "ticks": ticks(0),
    "mixed": [float(m) for m in mixed],
    "next": float(rng.random()),
    "state": str(state),
}
