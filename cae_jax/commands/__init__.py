"""Image files to .cae files and back: what the command line does with each file."""
