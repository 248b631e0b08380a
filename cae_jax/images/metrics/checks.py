"""What every metric asks of a pair of pictures."""


def check_shapes(x, x_hat) -> None:
  """Raises ValueError unless both pictures have one shape."""
  if x.shape != x_hat.shape:
    raise ValueError(
      f"expected a reconstruction of shape {x.shape}, got {x_hat.shape}; crop or pad it first"
    )
