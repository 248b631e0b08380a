"""What is in a .cae file, in words."""

from cae_jax.codec import info
from cae_jax.commands import results
from cae_jax.streams import Place, name_of, read_bytes


def describe_file(source: Place, _: None = None) -> results.Result:
  """Puts into words what `info` says of a .cae file, in several lines."""
  content = info(read_bytes(source))
  quality = content.quality
  level = "" if quality is None else f", quality {quality:.1f}, tuned for {content.tune}"
  level += ", drawn layer" * content.has_layer
  if content.largest_error is not None:
    level = f", near-lossless, errors of at most {content.largest_error}"
    level = level if content.largest_error else ", lossless"
  metadata = [f"{name} ({size} bytes)" for name, size in content.metadata_bytes.items()]
  lines = [
    f"{name_of(source)}: {content.width} x {content.height} {results.KINDS[content.kind]}",
    f"  {content.size_bytes} bytes, {content.rate_bpp:.4f} bpp",
    f"  weights {content.model_id} ({content.model_hash}){level}",
    f"  sections of {', '.join(map(str, content.section_bytes))} bytes",
    f"  metadata: {', '.join(metadata) or 'none'}",
  ]
  return results.Result("\n".join(lines), results.fields(content))
