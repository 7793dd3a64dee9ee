"""Train a network of your own on pictures and motion: python examples/two_stream.py STORE"""

import sys

import torch
from torch import Tensor, nn

from foveal.models.losses import kullback_leibler
from foveal.torch import Augmentation, ClipLoader, Clips, Flow, Mirror, ResizedCrop


class TwoStream(nn.Module):
    """Makes maps [batch, frames, height, width], each of sum 1, from pictures and motion."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.look, self.move = (
            nn.Sequential(
                nn.Conv2d(channels, width, 9, 4, 4), nn.ReLU(), nn.Conv2d(width, 1, 5, padding=2)
            )
            for channels in (3, 2)
        )

    def forward(self, frames: Tensor, flow: Tensor, size: torch.Size) -> Tensor:
        streams = self.look(frames.flatten(0, 1) / 255), self.move(flow.flatten(0, 1).float())
        maps = sum(nn.functional.interpolate(one, size, mode="bilinear") for one in streams)
        return maps.flatten(1).softmax(1).view(*frames.shape[:2], *size)


def train(store: str, epochs: int = 5, flow: str = "flow_tvl1") -> list[float]:
    """Train on a store, and return the mean loss of each epoch."""
    changed = Augmentation(Mirror(), ResizedCrop((0.7, 1)))
    variables = ["frames", Flow(flow), "density"]
    clips = Clips(store, "train", frames=4, variables=variables, transform=changed)
    loader, network, losses = ClipLoader(clips, batch_size=2, seed=1), TwoStream(), []
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for epoch in range(epochs):
        total = 0.0
        for batch in loader:
            maps = network(batch["frames"], batch[flow], batch["density"].shape[-2:])
            loss = kullback_leibler(maps, batch["density"].float())[batch["valid"]].mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
        losses.append(total / len(loader))
        print(f"epoch {epoch + 1}: loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    train(sys.argv[1])
