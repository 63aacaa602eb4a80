# %%
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.animation import FuncAnimation


# %%
@dataclass
class Pendulum:
    angle: float
    speed: float = 0.0
    length: float = 1.0

    @property
    def tip(self):
        return self.length * np.sin(self.angle), -self.length * np.cos(self.angle)


GRAVITY = 9.81


# %%
def step(pendulum, dt):
    """Move on by `dt` seconds."""
    pendulum.speed -= GRAVITY / pendulum.length * np.sin(pendulum.angle) * dt
    pendulum.angle += pendulum.speed * dt


def path(pendulum, n, dt=0.05):
    for _ in range(n):
        yield pendulum.tip
        step(pendulum, dt)


# %%
start = Pendulum(angle=2.0)
tips = np.array(list(path(Pendulum(start.angle), 12)))
tips.round(3)[:3]

# %%
fig, ax = plt.subplots(figsize=(2.5, 2.5))
ax.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
(rod,) = ax.plot([], [], "o-", lw=2)
drawn = []


def draw(frame):
    x, y = tips[frame]
    rod.set_data([0, x], [0, y])
    drawn.append(frame)
    return (rod,)


animation = FuncAnimation(fig, draw, frames=len(tips), interval=50, blit=True)
html = animation.to_jshtml(fps=20)
plt.close(fig)

# %%
frames = html.count("data:image/png;base64")
print(frames, "frames")
player = HTML(html)
"class=" in player.data


# %%
def trace(points, name):
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.plot(points[:, 0], points[:, 1], ".-", label=name)
    ax.legend()
    return fig


picture = trace(tips, "tip")

# %% changes: picture
picture.axes[0].set_title("where it was")
picture

# %% changes: start
for _ in path(start, 100, dt=0.01):
    pass
print(f"{start.angle:.4f} {start.speed:.4f}")

# %%
energy = 0.5 * (start.length * start.speed) ** 2 + GRAVITY * start.tip[1]
energy.round(6)

# %%
results = {
    "frames": frames,
    "drawn": sorted(set(drawn)),
    "tips": tips.round(9).tolist(),
    "title": picture.axes[0].get_title(),
    "line": picture.axes[0].lines[0].get_xdata().round(9).tolist(),
    "start": [round(float(start.angle), 9), round(float(start.speed), 9)],
    "energy": round(float(energy), 9),
}
