"""A user's rows: read by line, checked, and rendered once for the screens and the trainer."""
