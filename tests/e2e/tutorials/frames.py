# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

# %%
rng = np.random.default_rng(7)
days = pd.date_range("2024-01-01", "2024-06-30", freq="D")
stores = ["north", "south", "harbour"]
print(days[0], len(days))

# %% changes: rng
sales = pd.DataFrame(
    {
        "day": rng.choice(days, 2000),
        "store": pd.Categorical(rng.choice(stores, 2000), categories=stores, ordered=True),
        "item": rng.choice(["tea", "coffee", "cake", "bread"], 2000),
        "pieces": rng.integers(1, 6, 2000),
    }
)
sales.head()

# %%
prices = pd.DataFrame({"item": ["tea", "coffee", "cake"], "price": [2.5, 3.0, 4.25]})
merged = sales.merge(prices, on="item", how="left", indicator=True)
merged["_merge"].value_counts()

# %% changes: merged
merged["price"] = merged["price"].fillna(merged["price"].median())
merged["amount"] = merged.pieces * merged.price
merged.describe().round(2)


# %% changes: merged
DISCOUNT = 0.1


def discounted(row):
    """Give something off to those who buy many."""
    return row.amount * (1 - DISCOUNT) if row.pieces >= 4 else row.amount


merged["paid"] = merged.apply(discounted, axis=1)
merged.paid.sum().round(2)

# %%
per_store = merged.groupby("store", observed=True).agg(
    sales=("paid", "size"), total=("paid", "sum"), largest=("amount", "max")
)
per_store


# %% changes: merged
def spread(values):
    return values.quantile(0.9) - values.quantile(0.1)


def share(group):
    return group / group.sum()


merged["share"] = merged.groupby("item")["paid"].transform(share)
spreads = merged.groupby(["store", "item"], observed=True)["paid"].agg(["mean", spread])
spreads.head(3)

# %%
series = merged.set_index("day").sort_index()["paid"]
weekly = series.resample("W").sum()
monthly = series.resample("MS").agg(["sum", "mean", "count"])
monthly

# %%
smooth = weekly.rolling(4, min_periods=1).mean()
ax = weekly.plot(style=".-", label="week", figsize=(6, 2.5))
smooth.plot(ax=ax, label="four weeks")
ax.legend()
plt.show()
# %%
wide = merged.pivot_table(index="store", columns="item", values="paid", aggfunc="sum", observed=True)
wide = wide.rename(columns=str.title)
wide.round(1)

# %%
wide.plot.bar(stacked=True, figsize=(5, 2.5))
plt.tight_layout()

# %% changes: merged
dearest = merged.query("paid > @DISCOUNT * 100").sort_values(["paid", "day"], ascending=False)
merged["size"] = pd.cut(merged.paid, [0, 3, 8, 100], labels=["small", "middle", "large"])
sizes = merged["size"].value_counts().sort_index()
print(dearest.item.unique())

# %%
results = {
    "total": round(float(merged.paid.sum()), 6),
    "stores": per_store.total.round(6).to_dict(),
    "order": list(merged.store.cat.categories),
    "types": merged.dtypes.astype(str).to_dict(),
    "spreads": spreads.spread.round(6).tolist(),
    "weeks": smooth.round(6).tolist(),
    "months": [str(month.date()) for month in monthly.index],
    "frequency": weekly.index.freqstr,
    "wide": wide.round(6).to_dict(),
    "sizes": sizes.to_dict(),
    "dearest": len(dearest),
    "next number": int(rng.integers(1_000_000)),
}
