from cae_jax.metrics_file import read_metrics
from cae_jax.training.reporting import MetricsLog


def test_lines_of_a_log_that_a_crash_garbled_are_left_out(tmp_path):
  with MetricsLog(tmp_path, 0) as log:
    for step in (1, 2):
      log.write(step, "train", {"loss": 1.0})
  path = tmp_path / "metrics.jsonl"
  with path.open("ab") as file:
    file.write(b"\x00\xff\x00\n\n7\n" + b'{"step": 3, "split": "train", "lo')
  assert [line["step"] for line in read_metrics(path)] == [1, 2]
  with MetricsLog(tmp_path, 1) as log:
    log.write(2, "train", {"loss": 0.5})
  assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [(1, 1.0), (2, 0.5)]
