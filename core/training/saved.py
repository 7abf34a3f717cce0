"""What lies where in the folder of a trained model. Needs no torch."""

from __future__ import annotations

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = ("adapter_config.json", ADAPTER_WEIGHTS)

ON_NF4 = "on_nf4"
"""Folder with LoftQ's adapter as it was trained, for the base in 4 bits; the other one is for the exact base."""
