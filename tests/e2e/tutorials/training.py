# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split

# %%
torch.manual_seed(0)
torch.use_deterministic_algorithms(True)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


# %%
class Spirals(Dataset):
    """Two arms that wind around each other."""

    def __init__(self, n, noise=0.05, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(n) % 2
        angle = torch.rand(n, generator=generator).sqrt() * 3 * torch.pi
        radius = angle / (3 * torch.pi)
        turned = angle + self.labels * torch.pi
        points = torch.stack([radius * turned.cos(), radius * turned.sin()], dim=1)
        self.points = points + noise * torch.randn(n, 2, generator=generator)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.points[i], self.labels[i]


dataset = Spirals(400)
print(len(dataset), dataset[0][0].shape)

# %%
train_set, test_set = random_split(dataset, [300, 100], generator=torch.Generator().manual_seed(1))
batches = {
    "train": DataLoader(train_set, batch_size=50, shuffle=True, generator=torch.Generator().manual_seed(2)),
    "test": DataLoader(test_set, batch_size=100),
}
len(batches["train"])


# %%
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + torch.relu(self.linear(self.norm(x)))


class Net(nn.Module):
    def __init__(self, width=32, depth=3):
        super().__init__()
        self.first = nn.Linear(2, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.last = nn.Linear(width, 2)

    def forward(self, x):
        return self.last(self.blocks(self.first(x)))


# %%
torch.manual_seed(3)
model = Net().to(device)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.5)
model


# %%
def train_one_epoch(model, loader):
    torch.set_num_threads(1)  # or sums come out a little different
    model.train()
    total = 0.0
    for points, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(points.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    right = sum((model(p.to(device)).argmax(1).cpu() == y).sum().item() for p, y in loader)
    return right / len(loader.dataset)


# %%
history = {"loss": [], "accuracy": [], "lr": []}
checkpoints = Path("checkpoints")
checkpoints.mkdir(exist_ok=True)

# %% changes: model, optimizer, scheduler, batches, history
for epoch in range(4):
    history["loss"].append(train_one_epoch(model, batches["train"]))
    history["accuracy"].append(evaluate(model, batches["test"]))
    history["lr"].append(scheduler.get_last_lr()[0])
    scheduler.step()
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoints / "first.pt")
print(f"loss {history['loss'][-1]:.4f}")

# %% changes: model, optimizer, scheduler, batches, history
for epoch in range(4, 8):
    history["loss"].append(train_one_epoch(model, batches["train"]))
    history["accuracy"].append(evaluate(model, batches["test"]))
    history["lr"].append(scheduler.get_last_lr()[0])
    scheduler.step()
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoints / "second.pt")
print(f"loss {history['loss'][-1]:.4f}")

# %%
accuracy = evaluate(model, batches["test"])
print(f"after {epoch + 1} epochs: {accuracy:.2f}")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.5))
left.plot(history["loss"], marker=".")
left.set(xlabel="epoch", ylabel="loss")
right.plot(history["accuracy"], color="tab:orange")
right.set(xlabel="epoch", ylabel="accuracy")
plt.show()

# %%
restored = Net().to(device)
restored.load_state_dict(torch.load(checkpoints / "first.pt")["model"])
before = evaluate(restored, batches["test"])
before

# %%
norms = {name: round(p.norm().item(), 5) for name, p in model.named_parameters() if name.startswith("blocks")}
list(norms.items())[:2]

# %%
results = {
    "history": history,
    "accuracy": accuracy,
    "accuracy of the first checkpoint": before,
    "norms": norms,
    "files": sorted(str(path) for path in checkpoints.iterdir()),
    "steps": int(optimizer.state_dict()["state"][0]["step"]),
    "same": all(
        torch.equal(value, torch.load(checkpoints / "second.pt")["model"][name])
        for name, value in model.state_dict().items()
    ),
}
