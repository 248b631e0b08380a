"""What a picture is: colour, files, tiles, metrics."""
