"""CompressAI's side of compressai.py, in an interpreter of its own: JSON lines in, JSON lines out.

Needs torch and compressai, and nothing of cae_jax.
"""

import json
import os
import platform
import sys
import time

sys.path.pop(0)  # or `import compressai` would find the benchmark of that name

import compressai
import numpy as np
import torch
from compressai.models.google import MeanScaleHyperprior


class Side:
  """One model, and what is measured of it; each method takes and returns JSON-able values."""

  def setup(self, hidden, latent, threads, picture, patches, spread, lmbda):
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    self.net = MeanScaleHyperprior(hidden, latent)
    self.x = _to_torch(np.load(picture)[None])
    self.patches = _to_torch(np.load(patches))
    self.lmbda = lmbda
    self._spread_latents(latent, spread)
    self.net.update()
    self.optimizer = torch.optim.Adam(
      [p for name, p in self.net.named_parameters() if not name.endswith("quantiles")], 1e-4
    )
    with torch.no_grad():
      self.coded = self.net.eval().compress(self.x)
    return {
      "versions": f"CompressAI {compressai.__version__}, torch {torch.__version__}, "
      f"Python {platform.python_version()}",
      "size_bytes": sum(len(strings[0]) for strings in self.coded["strings"]),
    }

  def _spread_latents(self, latent, spread):
    """Latents of a standard deviation, and scales to match, so that there is something to code."""
    with torch.no_grad():
      self.net.g_a[-1].weight *= spread / self.net.g_a(self.x).std()
      self.net.h_s[-1].bias[:latent] = spread

  def train_step(self):
    self.net.train()
    start = time.perf_counter()
    self.optimizer.zero_grad()
    out = self.net(self.patches)
    pixels = self.patches[:, 0].numel()
    rate_bpp = sum(-torch.log2(p).sum() for p in out["likelihoods"].values()) / pixels
    mse = torch.nn.functional.mse_loss(out["x_hat"], self.patches)
    (rate_bpp + self.lmbda * 255**2 * mse).backward()
    self.optimizer.step()
    return time.perf_counter() - start

  def compress(self):
    self.net.eval()
    start = time.perf_counter()
    with torch.no_grad():
      self.net.compress(self.x)
    return time.perf_counter() - start

  def decompress(self):
    self.net.eval()
    start = time.perf_counter()
    with torch.no_grad():
      self.net.decompress(**self.coded)
    return time.perf_counter() - start

  def reference(self, path):
    """Saves all weights, and what each part makes of an input: NHWC."""
    self.net.eval()
    x = self.x[..., :192, :256]
    with torch.no_grad():
      y = self.net.g_a(x)
      z = self.net.h_a(y)
      y_hat, z_hat = torch.round(y), torch.round(20 * z)  # untrained z are below 1
      outputs = {"x": x, "y": y, "z": z, "y_hat": y_hat, "z_hat": z_hat}
      outputs |= {"params": self.net.h_s(z_hat), "x_hat": self.net.g_s(y_hat)}
    arrays = {f"out/{name}": value.permute(0, 2, 3, 1) for name, value in outputs.items()}
    arrays |= {f"net/{name}": value for name, value in self.net.state_dict().items()}
    np.savez(path, **{name: value.numpy() for name, value in arrays.items()})
    return {}


def _to_torch(images):
  return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255


def main():
  replies = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)  # whatever a library prints is no reply
  side = Side()
  for line in sys.stdin:
    request = json.loads(line)
    result = getattr(side, request.pop("do"))(**request)
    print(json.dumps(result), file=replies, flush=True)


if __name__ == "__main__":
  main()
