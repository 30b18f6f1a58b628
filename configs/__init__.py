"""Every number once: frozen, validated settings and the presets that ship with the project."""
