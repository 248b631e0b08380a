"""Flags of a training run of seconds, on small pictures in a folder."""

FLAGS = (
  "--dataset=photos",
  "--valid_dataset=photos",
  "--valid_split=valid",
  "--channels=4,6,8",
  "--patch_size=16",
  "--valid_patch_size=32",
  "--batch_size=8",
  "--learning_rate=0.01",
  "--warmup_steps=2",
)
