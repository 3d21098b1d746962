"""The three networks that judge a window of motion. What they take and give is told in models/README.md.

Every network carries its own preparation (`Prepared`), so that a caller hands over rows of the table `motion` as they are, NaN
where a joint was not seen.
"""

import torch
from torch import nn

# MediaPipe's numbers. Data sets of markers know the first row only.
CORE = (0, 13, 14, 15, 16, 25, 26, 27, 28)
TRUNK = (11, 12, 23, 24)
FEET = (31, 32)
JOINTS = CORE + TRUNK + FEET
INTERACTION = 6
# Pairs that move together or against each other: elbow and wrist, knee and ankle, both wrists, both ankles, head and wrists.
PAIRS = ((13, 15), (14, 16), (25, 27), (26, 28), (15, 16), (27, 28), (0, 15), (0, 16))


def squash(x):
    """asinh, in words that the exporter knows: linear near 0, a logarithm far away."""
    return torch.sign(x) * torch.log(x.abs() + torch.sqrt(x * x + 1))


class Prepared(nn.Module):
    """Rows of motion, [N, T, 198] and [N, T, 6], to features [N, T, `width`] that do not depend on where the camera stands.

    - Motion is taken about a centre of head and knees: who has markers, and no hips, then moves as a pose model's people do.
    - Velocities and accelerations are turned about the vertical so that the window's fastest way lies along x: the
      principal axis of all horizontal velocities, its sign that of the fastest.
    - Paths, the velocities' sums, say how far a limb went; a sum has less noise than what it is the sum of.
    - How fast two joints of a pair part, and how much they go the same way, is the same from any side.
    - `squash` keeps a fast strike from drowning everything else and is linear near 0, where noise is.
    """

    width = len(JOINTS) * 13 + 2 * len(PAIRS) + 2 * INTERACTION

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate
        self.register_buffer("joints", torch.tensor(JOINTS), persistent=False)
        first, second = ([JOINTS.index(pair[side]) for pair in PAIRS] for side in (0, 1))
        self.register_buffer("first", torch.tensor(first), persistent=False)
        self.register_buffer("second", torch.tensor(second), persistent=False)

    def chosen(self, motion):
        """The joints that are looked at, [N, T, 2, JOINTS, 3]: velocities and accelerations."""
        return motion.reshape(motion.shape[0], -1, 2, 33, 3).index_select(3, self.joints)

    def forward(self, rows, interaction):
        known = ~torch.isnan(rows)
        # A place misread for a moment must not carry the path away: no limb is that fast.
        limit = torch.tensor([30.0, 600.0])[:, None, None]
        rows = torch.maximum(torch.minimum(torch.where(known, rows, torch.zeros_like(rows)), limit), -limit)
        seen = known[:, :, 0, :, :1].to(rows.dtype)
        head, left, right = (rows[:, :, :, JOINTS.index(joint)] for joint in (0, 25, 26))
        centre = 0.5 * head + 0.25 * (left + right)
        centre = torch.stack([centre[..., 0], head[..., 1], centre[..., 2]], -1)[:, :, :, None]
        rows = rows - centre
        x, y, z = rows.unbind(-1)
        vx, vz = x[:, :, 0], z[:, :, 0]
        # Twice the angle of the axis: opposite ways are one axis.
        square = vx * vx + vz * vz
        cosine = (square * (vx * vx - vz * vz)).sum((1, 2))
        sine = (square * 2 * vx * vz).sum((1, 2))
        length = torch.sqrt(cosine * cosine + sine * sine) + 1e-9
        # Half the angle without an arctangent, which leaps.
        c = torch.sqrt(torch.clamp(0.5 + 0.5 * cosine / length, min=0))
        s = torch.sqrt(torch.clamp(0.5 - 0.5 * cosine / length, min=0)) * torch.where(sine < 0, -1.0, 1.0)
        c, s = c[:, None, None, None], s[:, None, None, None]
        along, aside = c * x + s * z, c * z - s * x
        forward = (along[:, :, 0] ** 3).sum((1, 2))
        sign = torch.where(forward < 0, -1.0, 1.0)[:, None, None, None]
        rows = torch.stack([along * sign, y, aside * sign], -1)
        velocity, acceleration = rows[:, :, 0], rows[:, :, 1]
        path = torch.cumsum(velocity, 1) / self.rate
        path = path - path.mean(1, keepdim=True)
        speed = torch.sqrt((velocity * velocity).sum(-1) + 1e-9)
        pull = torch.sqrt((acceleration * acceleration).sum(-1) + 1e-9)
        level = torch.sqrt(velocity[..., 0] ** 2 + velocity[..., 2] ** 2 + 1e-9)
        one, two = velocity.index_select(2, self.first), velocity.index_select(2, self.second)
        parting = torch.sqrt(((one - two) ** 2).sum(-1) + 1e-9)
        together = (one * two).sum(-1) / (1 + torch.sqrt(((one * one).sum(-1) * (two * two).sum(-1)) + 1e-9))
        other = ~torch.isnan(interaction)
        parts = [
            squash(velocity).flatten(2),
            squash(acceleration / 10).flatten(2),
            2 * path.flatten(2),
            squash(speed),
            squash(level),
            squash(parting),
            together,
            squash(pull / 10),
            seen.flatten(2),
            squash(torch.where(other, interaction, torch.zeros_like(interaction))),
            other.to(rows.dtype),
        ]
        return torch.cat(parts, 2)


class Lstm(nn.Module):
    """A bidirectional LSTM of 128 units each way."""

    width = 256

    def __init__(self, frames: int, inner: int):
        super().__init__()
        self.body = nn.LSTM(inner, 128, bidirectional=True, batch_first=True)

    def forward(self, x):
        return self.body(x)[0]


class Attention(nn.Module):
    """Four heads. Written out: what a library makes of it does not keep its batch open in an exported graph."""

    def __init__(self, inner: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.into = nn.Linear(inner, 3 * inner)
        self.out = nn.Linear(inner, inner)

    def forward(self, x):
        n, frames, inner = x.shape
        q, k, v = self.into(x).reshape(n, frames, 3, self.heads, inner // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (inner // self.heads) ** -0.5, -1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, frames, inner))


class Transformer(nn.Module):
    """Two encoder layers, norm first, with learned places (Vaswani et al., 2017, section 3)."""

    def __init__(self, frames: int, inner: int):
        super().__init__()
        self.width = inner
        self.places = nn.Parameter(torch.randn(1, frames, inner) * 0.02)
        drop = nn.Dropout(0.2)
        self.attend = nn.ModuleList(nn.Sequential(nn.LayerNorm(inner), Attention(inner), drop) for _ in range(2))
        self.think = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, 2 * inner), nn.GELU(), drop, nn.Linear(2 * inner, inner), drop)
            for _ in range(2)
        )
        self.last = nn.LayerNorm(inner)

    def forward(self, x):
        x = x + self.places
        for attend, think in zip(self.attend, self.think):
            x = x + attend(x)
            x = x + think(x)
        return self.last(x)


class Tcn(nn.Module):
    """Dilated convolutions over time with shortcuts (Bai, Kolter and Koltun, 2018), here looking both ways."""

    def __init__(self, frames: int, inner: int):
        super().__init__()
        self.width = inner
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(inner, inner, 5, padding=2 * 2**k, dilation=2**k), nn.BatchNorm1d(inner), nn.ReLU(), nn.Dropout(0.2)
            )
            for k in range(4)
        )

    def forward(self, x):
        x = x.transpose(1, 2)
        for step in self.steps:
            x = x + step(x)
        return x.transpose(1, 2)


KINDS = {"lstm": Lstm, "transformer": Transformer, "tcn": Tcn}


class Net(nn.Module):
    """A network of one kind, from the chosen joints of rows of motion to logits [N, labels]."""

    def __init__(self, kind: str, labels: int, frames: int, rate: float, inner: int = 64):
        super().__init__()
        self.kind = kind
        self.frames = frames
        self.prepared = Prepared(rate)
        self.drop = nn.Dropout(0.15)
        # Two frames at a time, 15 a second: half the work, and motion has looked at a tenth of a second already.
        self.into = nn.Conv1d(Prepared.width, inner, 4, stride=2, padding=1)
        self.body = KINDS[kind](frames // 2, inner)
        self.out = nn.Sequential(nn.Dropout(0.4), nn.Linear(2 * self.body.width, labels))

    def forward(self, rows, interaction):
        x = self.drop(self.prepared(rows, interaction)).transpose(1, 2)
        x = self.body(torch.relu(self.into(x)).transpose(1, 2))
        return self.out(torch.cat([x.mean(1), x.amax(1)], 1))


class Calibrated(nn.Module):
    """What is exported: probabilities, tempered so that they mean what they say (Guo et al., 2017, section 4.2)."""

    def __init__(self, net: Net, temperature: float):
        super().__init__()
        self.net = net
        self.temperature = temperature

    def forward(self, motion, interaction):
        return torch.softmax(self.net(self.net.prepared.chosen(motion), interaction) / self.temperature, -1)
