"""What belongs to the paper alone: its Table 1, and the slip behind it."""
