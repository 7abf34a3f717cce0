"""Timings, printed: `make bench`. Each compares two ways in one go, turn by turn, since a lone figure says little."""
